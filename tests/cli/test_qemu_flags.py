"""QEMU's options, those first that public projects have most often: each is seen to do something."""

from __future__ import annotations

import argparse
import re
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import PIL.Image
import pytest

import guest_images
from bt.cli import run
from bt.cli.drives import Unattached, config_options, parse_drive, parse_frontend
from bt.cli.qemu import rtc
from bt.cli.qemu.defaults import boot_as_qemu
from bt.cli.qemu.machine_types import parse_machine
from bt.cli.qemu.without_effect import DEVICES, OPTIONS
from bt.errors import BadUsage
from bt.machine.media import Drive
from tests.chardev.test_chardevs import free_port
from tests.cli import code
from tests.cli.conftest import Bt
from tests.cli.test_public_lines import STATUS, boot_sector, bt_qemu, disc, ports_of_gdb
from tests.console.guests import PICTURE

QEMU = shutil.which("qemu-system-i386")
HELLO = guest_images.image("hello").path

EXIT = "mov al, 3\nout 0xf4, al\n"  # status 7
COM2 = code.SAY_READY.replace("0x3f8", "0x2f8")
LOG = "mov al, 'l'\nout 0xe9, al\n"
KERNEL = f"-kernel GUEST {' '.join(code.FLAT)} "
# the RTC's year on COM1, two characters
YEAR = "mov al, 9\nout 0x70, al\nin al, 0x71\nmov bl, al\nmov edx, 0x3f8\n" + "".join(
    f"mov al, bl\n{shift}\nand al, 15\nadd al, '0'\nout dx, al\n" for shift in ("shr al, 4", "nop")
)
RESET = code.RESET
DRAW = PICTURE.partition("    mov al, 0x60 ")[0]


class Row(NamedTuple):
    """What of FILE, standard output and error is there then: regular expressions; `file` None: none."""

    arguments: str
    source: str = code.SAY_READY + EXIT
    said: str = ">"
    status: int = 7
    file: str | None = None
    stdin: str = ""
    told: str = ""


NOTE = "bt: .*\n"
FIRST_TIER: dict[str, tuple[Row, ...]] = {
    "-serial": (
        Row(f"{KERNEL}-serial stdio"),
        Row(f"{KERNEL}-serial file:FILE", said="", file=">"),
        Row(f"{KERNEL}-chardev file,id=a,path=FILE -serial chardev:a", said="", file=">"),
        Row(f"{KERNEL}-serial null -serial stdio", code.SAY_READY + COM2 + EXIT),
        Row(
            f"{KERNEL}-serial mon:stdio",
            code.ECHO,
            r"(?s)(?=.*>).*VM status: running.*q.*",
            (ord("q") << 1 | 1) & 255,
            stdin="\x01cinfo status\n\x01cq",
        ),
        Row(f"{KERNEL}-serial pty", code.SAY_READY + EXIT, "", told=r"char device redirected to /dev/pts/\d+ .*\n"),
    ),
    "-m": tuple(
        # what the CMOS RAM says at 34h and 35h: 64 KiB above 16 MiB
        Row(
            f"{KERNEL}-m {size}",
            f"mov al, {register}\nout 0x70, al\nin al, 0x71\nout 0xf4, al",
            "",
            (units >> shift & 255) << 1 & 255 | 1,
        )
        for size, units in (("64", 48 << 4), ("32M", 16 << 4), ("1G", 1008 << 4), ("size=48M,slots=2", 32 << 4))
        for register, shift in ((0x34, 0), (0x35, 8))
    ),
    "-drive": (
        Row("-drive file=DISK,format=raw", "", "booted from 80\n", STATUS),
        Row(
            "-drive file=FS,format=raw,index=1 -drive file=DISK,index=0,media=disk,readonly=on",
            "",
            r"booted from 80 .*\n",
            STATUS,
        ),
        Row("-drive file=FLOPPY,if=floppy,format=raw", "", "booted from 00\n", STATUS),
        Row("-drive file=CD,media=cdrom", "", "booted from E0\n", STATUS),
        Row("-drive if=none,id=d,file=DISK -device ide-hd,drive=d,bus=ide.1,unit=1", "", "booted from 80\n", STATUS),
    ),
    "-device": (
        Row(
            f"{KERNEL}-device isa-debug-exit,iobase=0x600,iosize=2",
            "mov al, 1\nout 0xf4, al\nmov edx, 0x600\nmov al, 5\nout dx, al",
            "",
            11,
        ),
        Row(f"{KERNEL}-device isa-debug-exit", "mov edx, 0x501\nmov al, 5\nout dx, al", "", 11),
        Row(f"{KERNEL}-chardev stdio,id=a -device isa-debugcon,iobase=0xe9,chardev=a", LOG + EXIT, "l"),
        Row(f"{KERNEL}-device e1000,netdev=n -netdev user,id=n,hostfwd=tcp::5555-:22", told=NOTE * 2),
    ),
    "-s": (
        Row(f"{KERNEL}-s"),
        Row(f"{KERNEL}-gdb none"),
    ),
    "-kernel": (Row(KERNEL),),
    "-cdrom": (Row("-cdrom CD -serial stdio", "", "booted from E0\n", STATUS),),
    "-hda": (Row("-hda DISK -hdb FS -serial stdio", "", r"booted from 80 .*\n", STATUS),),
    "-no-reboot": (
        Row(f"{KERNEL}-no-reboot", code.SAY_READY + RESET, status=0),
        Row(
            f"{KERNEL}-no-reboot",
            code.SAY_READY + code.TRIPLE_FAULT,
            status=0,
            told=r"bt: triple fault at 0008:.* after \d+ instructions\n(?:  .*\n)+",
        ),
    ),
    "-S": (
        Row(
            f"{KERNEL}-S -serial null -monitor stdio", EXIT, r"(?s).*VM status: paused(?s:.*)", stdin="info status\nc\n"
        ),
    ),
    "-boot": (
        Row("-hda DISK -cdrom CD -boot d", "", "booted from E0\n", STATUS),
        Row("-hda DISK -cdrom CD -boot c", "", "booted from 80\n", STATUS),
        Row("-hda DISK -fda FLOPPY -boot order=a,menu=off", "", "booted from 00\n", STATUS),
    ),
    "-display": (
        Row(f"{KERNEL}-display none -serial stdio"),
        Row(f"{KERNEL}-display none", said=""),
        Row(f"{KERNEL}-display gtk,zoom-to-fit=on -serial stdio", told="bt: -display gtk: bt opens no windows.*\n"),
        Row(f"{KERNEL}-display curses", status=1, said="", told=".*standard input is no terminal\n"),
    ),
    "-vga": (Row(f"{KERNEL}-vga std"), Row(f"{KERNEL}-vga cirrus", told=NOTE)),
    "-nographic": (Row(f"{KERNEL}-nographic"),),
    "-fda": (Row("-fda FLOPPY", "", "booted from 00\n", STATUS),),
    "-monitor": (
        Row(f"{KERNEL}-monitor null"),
        Row(
            f"{KERNEL}-serial none -monitor stdio",
            code.ENDLESS,
            r"(?s).*\(qemu\) .*",
            0,
            stdin="quit\n",
            told=r"bt: stopped by the user.*\n",
        ),
    ),
    "-d": (
        Row(
            f"{KERNEL}-d int -D FILE -no-reboot",
            "int 0x40",
            "",
            0,
            file=r"(?s).*v=40 e=0000 i=1 cpl=0.*",
            told="(?s)bt: triple fault.*",
        ),
        Row(f"{KERNEL}-d cpu_reset -D FILE --max-insns 90", RESET, "", 4, file=r"(?s)CPU Reset.*", told=NOTE),
        Row(
            f"{KERNEL}-no-reboot -no-shutdown -d cpu_reset,in_asm,int,pcall,page,mmu,guest_errors -D FILE",
            file=r"(?s).*0x00100000: .* mov .*",
            told="bt: -no-shutdown: .*\nbt: -d pcall,page,mmu: bt logs int, cpu_reset, .*\n",
        ),
        Row(f"{KERNEL}-d inn", said="", status=1, told="bt-qemu: -d inn: there are int, .*\n"),
        Row(f"{KERNEL}-d in_asm,guest_errors -D FILE", file=r"(?s).*0x00100000: .* mov .*"),
    ),
    "-append": (Row("-kernel HELLO -append n=2", said="hello\n(Hello, world\n){2}(?s:.*)", status=1),),
    "-initrd": (Row("-kernel MULTIBOOT -initrd DISK", said="(?s).*module.*", status=1),),
}
SECOND_TIER: dict[str, tuple[Row, ...]] = {
    "-rtc": (
        Row(f"{KERNEL}-rtc base=2031-05-01T12:00:00", YEAR + EXIT, "31"),
        Row(f"{KERNEL}-rtc base=localtime,clock=host", YEAR + EXIT, f"{datetime.now().year % 100:02}"),
        Row(KERNEL, YEAR + EXIT, f"{datetime.now(UTC).year % 100:02}"),
    ),
    "-cpu": (
        Row(f"{KERNEL}-cpu pentium3"),
        Row(f"{KERNEL}-cpu 486,tsc"),
        Row(f"{KERNEL}-cpu Nehalem", told="bt: -cpu Nehalem: bt has no such processor; the guest finds a x86-64-v2\n"),
        Row(f"{KERNEL}-cpu core2duo,+avx", told="bt: -cpu core2duo,.avx: bt has no such processor; .* qemu64\n"),
        Row(f"{KERNEL}-cpu i80286", said="", status=1, told="bt-qemu: .* no model 'i80286'; .*\n"),
    ),
    "-smp": (Row(f"{KERNEL}-smp 1"), Row(f"{KERNEL}-smp cpus=1,cores=1"), Row(f"{KERNEL}-smp 4", told=NOTE)),
    "-M": (
        Row(f"{KERNEL}-M pc-i440fx-7.2,accel=tcg"),
        Row(f"{KERNEL}-machine pcspk-audiodev=a -audiodev none,id=a"),
        Row(f"{KERNEL}-M q35", told="bt: -M q35: bt has QEMU's pc.*\n"),
        Row(f"{KERNEL}-M isapc -machine accel=kvm", told=NOTE),
        Row(f"{KERNEL}-M raspi2", said="", status=1, told="bt-qemu: -M raspi2: there are pc, isapc\n"),
        Row("-M help", "", "Supported machines are:\npc .*\nisapc .*\n", 0),
    ),
    "-debugcon": (Row(f"{KERNEL}-debugcon stdio", LOG + code.SAY_READY + EXIT, "l"),),
    "-snapshot": (Row("-snapshot -hda DISK", "", "booted from 80\n", STATUS),),
    "-nodefaults": (Row(f"{KERNEL}-nodefaults", said=""), Row(f"{KERNEL}-nodefaults -serial stdio")),
    "-version": (Row("--version", "", r"QEMU emulator version \d+\.\d+\.\d+ \(bt .*\)\n", 0),),
    "-curses": (Row(f"{KERNEL}-curses", status=1, said="", told=".*standard input is no terminal\n"),),
}  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    import guest_images

    contents = {
        "DISK": boot_sector().ljust(1 << 20, b"\0"),
        "FS": b"a file system".ljust(1 << 20, b"\0"),
        "FLOPPY": boot_sector().ljust(1440 << 10, b"\0"),
        "CD": disc(),
    }
    for name, content in contents.items():
        (tmp_path / name.lower()).write_bytes(content)
    found = {name: str(tmp_path / name.lower()) for name in (*contents, "FILE", "GUEST")}
    images = {"HELLO": "hello", "MULTIBOOT": "multiboot2-info"}
    return found | {name: str(guest_images.image(image).path) for name, image in images.items()}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{flag} {number}", marks=pytest.mark.slow if number else ())  # everyday: one of each
        for flag, rows in (FIRST_TIER | SECOND_TIER).items()
        for number, row in enumerate(rows)
    ],
)
def test_an_option(files: dict[str, str], row: Row) -> None:
    if row.source:
        code.write(Path(files["GUEST"]), row.source)
    put_in = re.sub(r"\b(DISK|FS|FLOPPY|CD|FILE|GUEST|HELLO|MULTIBOOT)\b", lambda name: files[name[1]], row.arguments)
    with ports_of_gdb("-s" in row.arguments.split()):
        done = bt_qemu(*put_in.split(), stdin=row.stdin)
    assert done.returncode == row.status, done.stderr
    assert re.fullmatch(row.said, done.stdout.replace("\r", "")), done.stdout
    assert re.fullmatch(row.told, done.stderr), done.stderr
    if row.file is not None:
        assert re.fullmatch(row.file, Path(files["FILE"]).read_text())


def given(*arguments: str) -> argparse.Namespace:
    return run.parser().parse_args(arguments)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_has_no_effect_is_taken_with_a_note(name: str) -> None:
    """One line that names it, however many dashes it has; what follows is still parsed."""
    option = OPTIONS[name]
    argument = ["some=thing"] if option.has_argument else []
    for dash in ("-", "--"):
        found = given(f"{dash}{name}", *argument, "-m", "64")
        assert found.memory == 64 << 20
        assert len(found.notes) == (option.fine not in ("", ".*"))
        assert all(note.startswith(f"{dash}{name}") and note.endswith(option.why) for note in found.notes)


@pytest.mark.skipif(QEMU is None, reason="qemu-system-i386 is not installed: tests/install-debian.sh")
def test_what_has_no_effect_takes_what_qemu_says_it_takes() -> None:
    """In QEMU's help an argument is a space behind its option (but for -dtb), what the option does is further away."""
    assert QEMU is not None
    text = subprocess.run([QEMU, "-help"], capture_output=True, text=True, check=True).stdout
    theirs = {name: bool(re.match(r" \S", rest)) for name, rest in re.findall(r"^-([\w-]+)(.*)", text, re.MULTILINE)}
    known = theirs.keys() & OPTIONS.keys() - {"dtb"}
    assert len(known) > 40
    assert {name: theirs[name] for name in known} == {name: OPTIONS[name].has_argument for name in known}


def test_a_file_alone_is_a_disk() -> None:
    """A kernel, too: as in QEMU it takes -kernel to start one."""
    found = given(str(HELLO))
    boot_as_qemu(found)
    assert found.image is None
    assert found.boots_firmware
    assert [drive.file for drive in found.drives] == [str(HELLO)]


@pytest.mark.parametrize("arguments", [("-smp", "1"), ("-net", "none"), ("-nic", "none"), ("-vga", "std"),
                                       ("-accel", "tcg,thread=single"), ("-k", "en-us"), ("-parallel", "none"),
                                       ("-smp", "1,maxcpus=1")])  # fmt: skip
def test_what_asks_for_nothing_that_is_missing_is_no_note(arguments: tuple[str, ...]) -> None:
    assert given(*arguments).notes == []


@pytest.mark.parametrize("name", DEVICES)
def test_devices_that_bt_has_not_are_a_note(name: str) -> None:
    (note,) = given("-device", f"{name},id=x,netdev=n,bus=pci.0").notes
    assert note == f"-device {name},id=x,netdev=n,bus=pci.0: {DEVICES[name]}"


@pytest.mark.parametrize(
    ("word", "meant"),
    [("-smpp", "-smp"), ("-serail", "-serial"), ("--timout", "--timeout"), ("-nograpic", "-nographic"),
     ("-enable-kmv", "-enable-kvm"), ("-cdrm", "-cdrom"), ("-kernl", "-kernel"), ("-xyzzy", None), ("-mfoo", None),
     ("-sS", "-s")],
)  # fmt: skip
def test_the_nearest_of_an_unknown_option(word: str, meant: str | None) -> None:
    with pytest.raises(BadUsage) as raised:
        given(word, "2")
    hint = f"did you mean {meant}? " if meant else ""
    assert str(raised.value) == f"{word}: no such option; {hint}`bt run --help` lists them"


@pytest.mark.parametrize(("program", "status"), [("bt", 2), ("bt-qemu", 1)])
def test_the_status_of_bad_usage(bt: Bt, program: str, status: int) -> None:
    done = bt("run", "-smpp", "2") if program == "bt" else bt_qemu("-smpp", "2")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    assert done.stderr.startswith(f"{program}: -smpp: no such option; did you mean -smp?")


def test_an_argument_may_begin_with_a_dash(bt: Bt) -> None:
    assert given("-append", "-v --x", "-kernel", "-", "-initrd=-i").append == "-v --x"
    assert given("-append", "-m", "64").append == "-m"


def test_help_is_in_groups() -> None:
    text = run.parser().format_help()
    groups = re.findall(r"^([a-z][^:\n]*):", text, re.MULTILINE)
    assert groups[1:7] == ["options", "the guest", "disks and firmware, as in QEMU", "devices, as in QEMU",
                           "screen, keyboard, serial ports", "how it runs, and how it ends"]  # fmt: skip
    assert all(f"-{name}" in text for name in OPTIONS)
    assert max(len(line) for line in text.splitlines() if line.startswith(("  -", "      "))) <= 110


@pytest.mark.parametrize(
    ("text", "said"),
    [("ide-hd", "drive=ID is wanted"), ("ide-hd,drive=a,brand=x", "does not know brand"),
     ("ide-hd,drive=a,bus=ide.0,unit=x", "'x' is no number")],
)  # fmt: skip
def test_what_is_no_frontend(text: str, said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        parse_frontend(text)


def test_drives_behind_devices() -> None:
    parsed = parse_drive("if=none,id=x,file=a.img,media=cdrom")
    assert parsed == Unattached("x", Drive("a.img", "ide", "cdrom"))
    with pytest.raises(BadUsage, match="id= is missing"):
        parse_drive("if=none,file=a.img")
    line = given("-drive", "if=none,id=x,file=a", "-drive", "if=none,id=y,file=b", "-drive", "if=none,id=z,file=c",
                 "-device", "virtio-blk-pci,drive=x", "-device", "ide-hd,drive=y,bus=ide.1")  # fmt: skip
    found = {(drive.interface, drive.index, drive.file) for drive in config_options(line, None, None)["drives"]}
    assert found == {("virtio", None, "a"), ("ide", 2, "b"), ("floppy", None, None), ("ide", None, None)}
    with pytest.raises(BadUsage, match="no -drive with if=none has id=w"):
        config_options(given("-device", "ide-hd,drive=w"), None, None)


def test_machines_add_up() -> None:
    assert given("-M", "isapc", "-machine", "accel=tcg").machine == "isapc"
    assert parse_machine("type=isapc,accel=tcg") == "isapc"
    assert parse_machine("q35") == "pc"


def test_the_clock() -> None:
    assert rtc.base("") == datetime(2000, 1, 1, tzinfo=UTC)
    assert rtc.base("base=2006-06-17") == datetime(2006, 6, 17, tzinfo=UTC)
    assert abs(rtc.base("base=utc") - datetime.now(UTC)) < timedelta(minutes=1)
    wall = datetime.now().replace(tzinfo=UTC)
    assert abs(rtc.base("base=localtime,clock=vm") - wall) < timedelta(minutes=1)
    for text, said in (("base=noon", "'noon' is no date"), ("bass=utc", "does not know bass")):
        with pytest.raises(BadUsage, match=said):
            given("-rtc", text)


@pytest.mark.parametrize(("options", "status"), [([], 6), (["--triple-fault", "reset", "-no-reboot"], 0)])
def test_a_triple_fault_ends_with_its_chain(bt: Bt, tmp_path: Path, options: list[str], status: int) -> None:
    guest = code.write(tmp_path / "guest.bin", code.TRIPLE_FAULT)
    done = bt("run", guest, *code.FLAT, *options)
    assert done.returncode == status
    assert re.fullmatch(r"bt: triple fault at 0008:00100007 after 2 instructions\n(?:  .*\n)+", done.stderr)
    assert "#UD" in done.stderr


def test_a_triple_fault_that_resets(bt: Bt, tmp_path: Path) -> None:
    """For as long as it takes, as under QEMU; what led to it is said once."""
    guest = code.write(tmp_path / "guest.bin", code.SAY_READY + code.TRIPLE_FAULT)
    done = bt("run", guest, *code.FLAT, "--triple-fault", "reset", "--max-insns", "1000")
    assert (done.returncode, done.stderr.count("triple fault at")) == (4, 1)
    assert len(done.stdout) > 100


def test_a_guest_that_has_halted_is_there_while_somebody_may_ask(tmp_path: Path) -> None:
    """QEMU never ends for it; bt does as soon as nobody can notice."""
    guest = code.write(tmp_path / "guest.bin", DRAW + "cli\nhlt\n")
    shot = tmp_path / "shot.ppm"
    done = bt_qemu("-kernel", guest, *code.FLAT, "-monitor", "stdio", stdin=f"info status\nscreendump {shot}\nquit\n")
    assert "VM status: running" in done.stdout
    with PIL.Image.open(shot) as picture:
        assert picture.size == (720, 400)
    done = bt_qemu("-kernel", guest, *code.FLAT, "-display", "none")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_process_is_named(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    guest = code.write(tmp_path / "guest.bin", EXIT)
    assert bt_qemu("-kernel", guest, *code.FLAT, "-pidfile", str(pid)).returncode == 7
    assert not pid.exists()
    done = bt_qemu("-kernel", guest, *code.FLAT, "-pidfile", str(tmp_path / "no" / "pid"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("kind", ["unix", "telnet", "tcp", "mon"])
def test_a_monitor_on_a_socket(tmp_path: Path, kind: str) -> None:
    """Somebody connects, asks, and ends the guest; who waits for the connection is said on stderr."""
    port, path = free_port(), tmp_path / "monitor"
    options = {
        "unix": ["-monitor", f"unix:{path},server,nowait"],
        "telnet": ["-monitor", f"telnet:127.0.0.1:{port},server,nowait"],
        "tcp": ["-monitor", f"tcp::{port},server=on,wait=off"],
        "mon": ["-chardev", f"socket,id=m,path={path},server=on,wait=off", "-mon", "chardev=m,mode=readline"],
    }[kind]
    guest = code.write(tmp_path / "guest.bin", code.SAY_READY + code.ENDLESS)
    command = [sys.executable, "-m", "bt.cli.qemu.main", "-kernel", guest, *code.FLAT, *options]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b">"
        client = socket.socket(socket.AF_UNIX if kind in ("unix", "mon") else socket.AF_INET)
        client.settimeout(60)
        client.connect(str(path) if kind in ("unix", "mon") else ("127.0.0.1", port))
        client.sendall(b"info status\n")
        said = b""
        while b"running" not in said:
            said += client.recv(1000)
        assert b"VM status: running" in said
        client.sendall(b"quit\n")
        assert process.wait(60) == 0
        client.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [(["-mon", "chardev=x"], "no -chardev has id=x"),
     (["-chardev", "null,id=x", "-mon", "chardev=x,mode=control"], "mode=control; bt has the monitor for people")],
)  # fmt: skip
def test_what_is_no_monitor(bt: Bt, options: list[str], said: str) -> None:
    done = bt("run", "hello", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
