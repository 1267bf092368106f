"""Command lines of public teaching and hobby projects, as they stand, before small guests in the place of theirs.

The boot sector says which drive it was loaded from, and what the second hard disk begins with if there is one; then it
ends the run by isa-debug-exit, where QEMU has that by default and where most put it.
"""

from __future__ import annotations

import fcntl
import re
import shlex
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

import guest_images
from guest_images.assembler import assemble
from tests.cli import code
from tests.cli.forked import forked
from tests.everyday import one_in

SECTOR, CD_SECTOR = 512, 2048
STATUS = 0x31 << 1 | 1
BOOT_SECTOR = """
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov bl, dl
    mov dx, 0x3fb
    mov al, 3
    out dx, al
    mov dx, 0x3f8
    mov si, text
    call say
    mov al, bl
    shr al, 4
    call digit
    mov al, bl
    and al, 15
    call digit
    mov ax, 0x0201          ; one sector
    mov cx, 1
    mov dx, 0x81            ; the second hard disk's first
    mov bx, 0x8000
    int 0x13
    mov dx, 0x3f8
    jc done
    mov byte ptr [0x8008], 0
    mov al, ' '
    out dx, al
    mov si, 0x8000
    call say
done:
    mov al, 10
    out dx, al
    mov al, 0x31
    out 0xf4, al
    mov dx, 0x501
    out dx, al
    hlt
digit:
    cmp al, 10
    jb decimal
    add al, 'A' - '0' - 10
decimal:
    add al, '0'
    out dx, al
    out 0xe9, al
    ret
say:
    lodsb
    test al, al
    jz said
    out dx, al
    out 0xe9, al
    jmp say
said:
    ret
text:
    .byte "booted from ", 0
"""


class Line(NamedTuple):
    """`arguments` of qemu-system-*; names of IMAGES are put in for words that are one, or end in = and one.

    `source`: project and file. `said`: a regular expression for standard output; `notes`: for each line on stderr one.
    """

    source: str
    arguments: str
    said: str = "booted from 80\n"
    notes: tuple[str, ...] = ()
    status: int = STATUS


HELLO = "hello\nHello, world\nresult=.*\nops=1\n"
ONE = "-smp .*: bt has one processor"
NO_KVM = "guests are translated, with no help"
NO_NETWORK = "bt has no network yet"
NO_SOUND = "bt makes no sound"
MIRRORED = r"(?:.*SeaBIOS .*)?booted from 80"  # SeaBIOS shows its text, too
LINES = (
    Line("mit-pdos/xv6-public, Makefile: make qemu",
         "-serial mon:stdio -drive file=FS,index=1,media=disk,format=raw "
         "-drive file=DISK,index=0,media=disk,format=raw -smp 2 -m 512", "booted from 80 a file s\n", (ONE,)),
    Line("mit-pdos/xv6-public, Makefile: make qemu-nox",
         "-nographic -drive file=FS,index=1,media=disk,format=raw "
         "-drive file=DISK,index=0,media=disk,format=raw -smp 2 -m 512", f"{MIRRORED} a file s\n", (ONE,)),
    Line("MIT 6.828, JOS, GNUmakefile: make qemu",
         "-drive file=DISK,index=0,media=disk,format=raw -serial mon:stdio -gdb tcp::26000 -D LOG"),
    Line("pintos, src/utils/pintos: pintos --",
         "-device isa-debug-exit -drive format=raw,media=disk,index=0,file=DISK -m 4 -net none -nographic "
         "-monitor null",
         f"{MIRRORED}\n"),
    Line("cfenollosa/os-tutorial, 23-fixes/Makefile: make debug", "-s -fda FLOPPY -d guest_errors,int",
         "booted from 00\n"),
    Line("OSDev wiki, Meaty Skeleton, qemu.sh", "-cdrom CD", "booted from E0\n"),
    Line("OSDev wiki, Bare Bones: testing", "-kernel KERNEL", HELLO, status=1),
    Line("rust-osdev/bootimage, src/run.rs, with test-args of phil-opp/blog_os, Cargo.toml",
         "-drive format=raw,file=DISK -no-reboot -device isa-debug-exit,iobase=0xf4,iosize=0x04 -serial stdio "
         "-display none"),
    Line("SerenityOS/serenity, Meta/run.sh of 2020",
         "-s -m 256M -cpu max -d cpu_reset,guest_errors -smp 2 -device VGA,vgamem_mb=64 -hda DISK -device ich9-ahci "
         "-debugcon stdio -soundhw pcspk -soundhw sb16",
         "booted from 80", (ONE, "has its VGA", "disks are IDE", NO_SOUND, NO_SOUND)),
    Line("klange/toaruos, README.md of 1.x: QEMU",
         "-cdrom CD -serial mon:stdio -m 1G -soundhw ac97,pcspk -enable-kvm -rtc base=localtime", "booted from E0\n",
         (NO_SOUND, NO_KVM)),
    Line("zephyrproject-rtos/zephyr, boards/x86/qemu_x86/board.cmake of 2.x",
         "-m 4 -cpu qemu32,+nx,+pae -device isa-debug-exit,iobase=0xf4,iosize=0x04 -no-reboot -nographic -no-acpi "
         "-net none -pidfile PID -chardev stdio,id=con,mux=on -serial chardev:con -mon chardev=con,mode=readline "
         "-icount shift=5,align=off,sleep=off -rtc clock=vm -kernel KERNEL",
         HELLO, ("finds a pentium4", "ACPI", "time follows instructions"), 1),
    Line("ghaerr/elks, qemu.sh",
         "-singlestep -audiodev pa,id=audio0 -machine pcspk-audiodev=audio0 -serial stdio -nodefaults -name ELKS "
         "-machine isapc -cpu 486,tsc -m 8M -display sdl -vga std -rtc base=utc -chardev msmouse,id=c1 "
         "-device isa-serial,chardev=c1,id=s1 -chardev msmouse,id=c2 -device isa-serial,chardev=c2,id=s2 "
         "-netdev user,id=mynet,hostfwd=tcp:127.0.0.1:8080-10.0.2.15:80 -device ne2k_isa,irq=12,netdev=mynet "
         "-fda FLOPPY", "booted from 00\n",
         ("translated as ever", NO_SOUND, NO_NETWORK, NO_NETWORK, "opens no windows", "two ports")),
    Line("made up: the shortest line there is", "SECTOR"),
    Line("giomasce/asmc, test scripts", "-hda DISK -serial stdio -device isa-debug-exit"),
    Line("xorvoid/sectorc, run.sh",
         "-hda DISK -serial stdio -audiodev alsa,id=audio0 -machine pcspk-audiodev=audio0", notes=(NO_SOUND,)),
    Line("made up: a virtio disk behind -device",
         "-drive if=none,id=blk0,format=raw,file=DISK -device virtio-blk-pci,drive=blk0 -display none -serial stdio"),
    Line("ikt218 course, launch scripts",
         "-S -gdb tcp::1234 -boot d -hda CD -hdb FS -m 64 -audiodev sdl,id=sdl1,out.buffer-length=40000 "
         "-machine pcspk-audiodev=sdl1 -serial pty", "", (NO_SOUND,)),
)  # fmt: skip


def boot_sector() -> bytes:
    """512 bytes with the signature, and a partition table without partitions."""
    found = assemble(BOOT_SECTOR, 16, 0x7C00)
    assert len(found) <= 446
    return found.ljust(510, b"\0") + b"\x55\xaa"


def disc() -> bytes:
    """An ISO 9660 disc that boots by El Torito (no emulation), and, as isohybrid ones do, as a disk."""
    sectors = {0: boot_sector().ljust(CD_SECTOR, b"\0"), 20: boot_sector()}
    sectors[16] = b"\1CD001\1".ljust(CD_SECTOR, b"\0")
    sectors[17] = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(64, b"\0") + struct.pack("<I", 19)
    sectors[18] = b"\xffCD001\1"
    validation = b"\1\0\0\0".ljust(28, b"\0") + struct.pack("<H", -(1 + 0xAA55) & 0xFFFF) + b"\x55\xaa"
    sectors[19] = validation + struct.pack("<BBHBBHI", 0x88, 0, 0, 0, 0, 4, 20)
    return b"".join(sectors.get(number, b"").ljust(CD_SECTOR, b"\0") for number in range(200))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The words that stand for files."""
    scratch = tmp_path_factory.mktemp("images")
    contents = {
        "DISK": boot_sector().ljust(1 << 20, b"\0"),
        "SECTOR": boot_sector(),
        "FS": b"a file system".ljust(1 << 20, b"\0"),
        "FLOPPY": boot_sector().ljust(1440 << 10, b"\0"),
        "CD": disc(),
    }
    for name, content in contents.items():
        (scratch / name.lower()).write_bytes(content)
    paths = {name: str(scratch / name.lower()) for name in (*contents, "LOG", "PID")}
    return paths | {"KERNEL": str(guest_images.image("hello").path)}


def words(line: Line, images: dict[str, str]) -> list[str]:
    """The command line with the images' names."""
    put_in = re.sub(
        r"(?<![\w.])(DISK|SECTOR|FS|FLOPPY|CD|KERNEL|LOG|PID)\b", lambda name: images[name[1]], line.arguments
    )
    return shlex.split(put_in)


@contextmanager
def ports_of_gdb(wanted: bool) -> Iterator[None]:
    """One at a time of those whose line has GDB's port in it."""
    with open(Path(tempfile.gettempdir()) / "bt-tests-gdb-port", "w") as lock:
        if wanted:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def going_on(line: Line) -> Iterator[None]:
    """With -S somebody has to say that the guest may go on: GDB, as the project has it."""
    if "-S " not in line.arguments:
        yield
        return
    if (gdb := shutil.which("gdb")) is None:
        pytest.skip("gdb is not installed: tests/install-debian.sh")
    command = [gdb, "-nx", "-batch", "-ex", "set tcp connect-timeout 60", "-ex", "target remote 127.0.0.1:1234"]
    with subprocess.Popen(
        [*command, "-ex", "continue"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        yield
        process.terminate()


def bt_qemu(*arguments: str, timeout: float = 120, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`bt-qemu` in a process of its own."""
    return forked().run("bt.cli.qemu.main", arguments, stdin, timeout)


@pytest.mark.parametrize("line", one_in(3, LINES), ids=lambda line: line.source.partition(",")[0])
def test_a_public_line(images: dict[str, str], line: Line) -> None:
    with ports_of_gdb(" -s " in f" {line.arguments} " or "-gdb" in line.arguments), going_on(line):
        done = bt_qemu(*words(line, images))
    said = [each for each in done.stderr.splitlines() if each.startswith("bt")]
    assert done.returncode == line.status, done.stderr
    assert re.search(rf"(?s)\A(?:{line.said})\Z", done.stdout.replace("\r", "")), done.stdout
    assert len(said) == len(line.notes), said
    assert all(any(re.search(note, each) for each in said) for note in line.notes), said


def test_there_are_ten_projects() -> None:
    assert len({line.source.partition(",")[0] for line in LINES}) >= 10


def test_the_log_of_one_is_qemus(images: dict[str, str], tmp_path: Path) -> None:
    """What -D names is there, with interrupts as QEMU logs them."""
    log = tmp_path / "log"
    guest = code.write(tmp_path / "guest.bin", "int 0x40")
    done = bt_qemu("-kernel", guest, *code.FLAT, "-d", "int", "-D", str(log), "-no-reboot")
    assert (done.returncode, done.stdout) == (0, "")
    assert "v=40 e=0000 i=1 cpl=0" in log.read_text()
