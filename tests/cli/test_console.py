"""-serial, -chardev, -monitor, -nographic, --screenshot and --pace on the command line."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import PIL.Image
import pytest

from bt.chardev.chardev import Chardev
from bt.cli import run
from bt.cli.chardevs import Chardevs
from bt.cli.console import chosen_clock
from bt.devices.display.render import image
from bt.errors import BadUsage
from bt.firmware import roms
from tests.chardev.test_chardevs import free_port, received
from tests.cli import code
from tests.cli.conftest import Bt
from tests.console.guests import PICTURE
from tests.guests.images import built
from tests.guests.qemu import connect

HERE = {"host": "127.0.0.1", "port": 4444}
DRAW = PICTURE.partition("    mov al, 0x60 ")[0] + "\ncli\nhlt\n"
needs_seabios = pytest.mark.skipif(roms.find("bios-256k.bin") is None, reason="SeaBIOS is not installed")


def told(device: Chardev) -> tuple[str, dict[str, object]]:
    return type(device).__name__, dict(device.choices)


@pytest.mark.parametrize(
    ("text", "kind", "choices"),
    [
        ("stdio", "Stdio", {}),
        ("mon:stdio", "Stdio", {}),
        ("null", "Null", {}),
        ("none", "Null", {}),
        ("vc", "Null", {}),
        ("vc:80Cx25C", "Null", {}),
        ("pty", "PseudoTerminal", {}),
        ("file:a,b:c", "File", {"path": "a,b:c"}),
        ("tcp:127.0.0.1:4444", "Socket", HERE | {"is_telnet": False}),
        ("tcp::4444", "Socket", {"host": "", "port": 4444, "is_telnet": False}),
        ("tcp::4444,server", "Socket", {"host": "", "port": 4444, "is_telnet": False, "is_server": True}),
        ("tcp::4444,server,nowait", "Socket",
         {"host": "", "port": 4444, "is_telnet": False, "is_server": True, "waits": False}),
        ("tcp:127.0.0.1:4444,server=on,wait=off,nodelay", "Socket",
         HERE | {"is_telnet": False, "is_server": True, "waits": False}),
        ("tcp:[::1]:4444", "Socket", {"host": "::1", "port": 4444, "is_telnet": False}),
        ("telnet::4444,server,nowait", "Socket",
         {"host": "", "port": 4444, "is_telnet": True, "is_server": True, "waits": False}),
        ("unix:/tmp/s,server,nowait", "Socket", {"path": "/tmp/s", "is_server": True, "waits": False}),
        ("chardev:c0", "Socket", {"path": "/tmp/labgrid"}),
        ("chardev:c1", "Stdio", {}),
        ("chardev:c2", "File", {"path": "a,b", "appends": True}),
    ],
)  # fmt: skip
def test_spellings(text: str, kind: str, choices: dict[str, object]) -> None:
    known = Chardevs(
        ["socket,id=c0,path=/tmp/labgrid", "stdio,mux=on,id=c1,signal=off", "file,id=c2,path=a,,b,append=on"],
        screen="null",
    )
    wanted = known.wanted("-serial", "serial0", text)
    assert told(wanted.device) == (kind, choices)
    assert wanted.is_multiplexed is (text in ("mon:stdio", "chardev:c1"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp", "there are stdio, file:PATH, pty"),
        ("tcp:4444", "HOST:PORT is wanted, such as tcp:127.0.0.1:4444"),
        ("tcp::http", "'http' is no port"),
        ("tcp::4444,sever", "bt does not know sever"),
        ("tcp::4444,wait=maybe", "wait=maybe; on or off is wanted"),
        ("chardev:c9", "no -chardev has id=c9"),
        ("spicevmc", "there are stdio"),
        ("stdio:1", "there are stdio"),
    ],
)
def test_what_is_no_device(text: str, said: str) -> None:
    with pytest.raises(BadUsage, match=f"^-serial {re.escape(text)}: {said}"):
        Chardevs([], screen="null").wanted("-serial", "serial0", text)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["stdio"], "id= is missing"),
        (["socket,id=a"], "port= or path= is missing"),
        (["file,id=a"], "path= is missing"),
        (["null,id=a", "null,id=a"], "there is one called a already"),
        (["spicevmc,id=a"], "no kind of character device called spicevmc"),
        (["null,id=a,path=b"], "null does not take path"),
    ],
)
def test_what_is_no_chardev(texts: list[str], said: str) -> None:
    with pytest.raises(BadUsage, match=f"^-chardev {texts[-1]}: {said}"):
        Chardevs(texts, screen="null")


def echo(tmp_path: Path, *options: str) -> list[str]:
    guest = code.write(tmp_path / "guest.bin", code.ECHO)
    return [sys.executable, "-m", "bt.cli.main", "run", guest, *code.FLAT, "--timeout", "60", *options]


@pytest.mark.parametrize("family", ["tcp", "unix", "chardev"])
def test_a_guest_on_a_socket(tmp_path: Path, family: str) -> None:
    """The server waits, so that nothing is lost; input and output pass, and the guest's end closes it."""
    port, path = free_port(), tmp_path / "socket"
    options = {
        "tcp": ["-serial", f"tcp::{port},server"],
        "unix": ["-serial", f"unix:{path},server=on,wait=on"],
        "chardev": ["-chardev", f"socket,id=line,port={port},host=127.0.0.1,server=on", "-serial", "chardev:line"],
    }[family]
    with subprocess.Popen(echo(tmp_path, *options), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert b"waiting for a connection" in process.stderr.readline()
        client = socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET)
        client.connect(str(path) if family == "unix" else ("127.0.0.1", port))
        assert received(client, 1) == b">"
        client.sendall(b"hello, q")
        assert received(client, 9) == b"hello, q"
        client.close()
        assert process.wait(60) == (ord("q") << 1 | 1) & 0xFF


def test_a_guest_on_a_pseudo_terminal(tmp_path: Path) -> None:
    with subprocess.Popen(
        echo(tmp_path, "-serial", "pty"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = re.fullmatch(r"char device redirected to (/dev/pts/\d+) \(label serial0\)\n", process.stderr.readline())
        assert said is not None
        fd = os.open(said[1], os.O_RDWR | os.O_NOCTTY)
        os.write(fd, b"abc")
        seen = b""
        while b"c" not in seen and select.select([fd], [], [], 30)[0]:
            seen += os.read(fd, 100)
        assert seen == b">abc"
        os.write(fd, b"q")
        os.close(fd)
        assert process.wait(60) == (ord("q") << 1 | 1) & 0xFF


def test_the_monitor_shares_what_it_is_told_to(bt: Bt, tmp_path: Path) -> None:
    """By Ctrl-A c, through a pipe, too; Ctrl-A is an ordinary character where nobody shares."""
    guest = code.write(tmp_path / "guest.bin", code.ECHO)
    limits = ("--timeout", "30")
    done = bt("run", guest, *code.FLAT, *limits, "-serial", "mon:stdio", stdin="a\x01cinfo status\r\x01cb\x01\x01q")
    assert done.returncode == (ord("q") << 1 | 1) & 0xFF
    said = re.sub("\n+", "\n", done.stdout.replace("\r", ""))
    # what the guest says meanwhile may be anywhere: that it is ready, and what it was sent before
    monitor = f"[{code.READY}a]*".join(map(re.escape, "info status\nVM status: running\n(bt) "))
    assert re.search(monitor, said), said
    assert done.stdout.endswith("b\x01q")
    done = bt("run", guest, *code.FLAT, *limits, "-serial", "stdio", stdin="\x01cq")
    assert done.stdout == ">\x01cq"


def test_commands_come_to_a_monitor_that_was_asked_for(bt: Bt) -> None:
    """The serial port is on standard output by default only: it is shown, and what is typed is not its."""
    found = bt("run", "hello", "-S", "-monitor", "stdio", stdin="info status\ncont\n")
    assert "VM status: paused" in found.stdout
    assert "Hello, world" in found.stdout
    assert found.returncode == 1


@pytest.mark.parametrize(("program", "waits"), [("bt", "on"), ("bt", "off"), ("bt-qemu", "off")])
def test_each_connection_to_a_monitor_is_greeted(tmp_path: Path, program: str, waits: str) -> None:
    """With the prompt that programs wait for: `bt-qemu`'s is QEMU's."""
    path = tmp_path / "monitor"
    begin = ["bt.cli.main", "run", "hello"] if program == "bt" else ["bt.cli.qemu.main", "-display", "none"]
    monitor = f"unix:{path},server=on,wait={waits}"
    command = [sys.executable, "-m", *begin, "-S", "-serial", "null", "-monitor", monitor]
    prompt = f"({program.removeprefix('bt-')}) ".encode()
    greeting = prompt[1:-2] + b" monitor - type 'help' for more information\r\n" + prompt
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for line, answer in ((b"info status\n", b"info status\r\nVM status: paused\r\n" + prompt), (b"quit\n", b"")):
            with connect(path, process) as client:
                assert received(client, len(greeting)) == greeting
                client.sendall(line)
                assert received(client, len(answer)) == answer
        assert process.wait(60) == (130 if program == "bt" else 0)


def test_lines_with_the_time(bt: Bt, tmp_path: Path) -> None:
    """Ctrl-A t, as QEMU has it: from the next line on."""
    guest = code.write(tmp_path / "guest.bin", code.ECHO)
    options = (*code.FLAT, "--timeout", "30", "-serial", "mon:stdio")
    done = bt("run", guest, *options, stdin="\x01ta\nb\nq")
    time_of_day = r"\[00:00:\d\d\.\d{3}\] "
    assert re.fullmatch(rf"(?:{time_of_day})?>a\n{time_of_day}b\n{time_of_day}q", done.stdout), done.stdout
    assert bt("run", guest, *options, stdin="\x01t\x01ta\nb\nq").stdout == ">a\nb\nq"


def test_the_end_of_standard_input_is_no_end(bt: Bt, tmp_path: Path) -> None:
    """The guest goes on to where it ends by itself."""
    guest = code.write(
        tmp_path / "guest.bin", code.SAY_READY + "mov ecx, 300000000\nagain:\nloop again\nmov al, 3\nout 0xf4, al"
    )
    done = bt("run", guest, *code.FLAT)
    assert (done.stdout, done.returncode, done.stderr) == (code.READY, 7, "")


@pytest.mark.parametrize("name", ["shot.png", "shot.ppm"])
def test_a_screenshot_is_what_the_vga_shows(bt: Bt, tmp_path: Path, name: str) -> None:
    guest, path = code.write(tmp_path / "guest.bin", DRAW), tmp_path / name
    done = bt("run", guest, *code.FLAT, "--screenshot", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    given = run.parser().parse_args(["run", guest, *code.FLAT][1:])
    machine = run.powered_on(given, *run.chosen(given))
    machine.run()
    shown = image(machine.board.vga)
    with PIL.Image.open(path) as picture:
        assert picture.size == (shown.width, shown.height) == (720, 400)
        assert picture.convert("RGB").tobytes() == shown.rgb
    assert len(set(zip(*[iter(shown.rgb)] * 3, strict=True))) >= 2, "something is on it"


@pytest.mark.parametrize(
    ("name", "said"), [("shot.gif", "a screenshot is a .png or a .ppm file"), ("no/shot.png", "there is no directory")]
)
def test_screenshots_that_cannot_be(bt: Bt, tmp_path: Path, name: str, said: str) -> None:
    done = bt("run", "hello", "--screenshot", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_who_does_not_see_the_screen_is_told(bt: Bt, tmp_path: Path) -> None:
    guest = code.write(tmp_path / "guest.bin", DRAW)
    hint = (
        "bt: the guest draws on its screen and says nothing on its serial port: --display terminal shows the screen\n"
    )
    assert bt("run", guest, *code.FLAT).stderr == hint
    assert bt("run", guest, *code.FLAT, "-display", "none").stderr == ""
    talking = code.write(tmp_path / "talking.bin", code.SAY_READY + DRAW)
    assert bt("run", talking, *code.FLAT).stderr == ""
    silent = code.write(tmp_path / "silent.bin", code.HALT)
    assert bt("run", silent, *code.FLAT).stderr == ""


def test_it_is_told_while_the_guest_runs(tmp_path: Path) -> None:
    guest = code.write(tmp_path / "guest.bin", DRAW.replace("cli\nhlt", code.ENDLESS))
    command = [sys.executable, "-m", "bt.cli.main", "run", guest, *code.FLAT]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("bt: the guest draws on its screen")
        time.sleep(2.5)
        process.terminate()
        assert process.stderr.read() == "", "once"


@needs_seabios
@pytest.mark.parametrize(("options", "is_mirrored"), [(["-nographic"], True), (["-display", "none"], False)])
def test_seabios_shows_its_text_where_there_is_no_screen(
    bt: Bt, tmp_path: Path, options: list[str], is_mirrored: bool
) -> None:
    disk = built("services-disk.img")(tmp_path)
    done = bt("run", "-hda", str(disk), "-snapshot", *options, "--max-insns", "30e6", stdin="", timeout=120)
    assert done.returncode == 4
    assert ("SeaBIOS (version" in done.stdout) is is_mirrored


@pytest.mark.parametrize(
    ("options", "clock"),
    [
        ([], "icount"),
        (["-display", "none"], "icount"),
        (["-display", "curses"], "host"),
        (["-curses"], "host"),
        (["--display", "terminal", "--clock", "icount"], "icount"),
        (["--display", "terminal", "--pace", "off"], "icount"),
        (["-nographic"], "icount"),
        (["-nographic", "-curses"], "icount"),
        (["--clock", "host"], "host"),
    ],
)
def test_whose_time_it_is(options: list[str], clock: str) -> None:
    assert chosen_clock(run.parser().parse_args(["hello", *options])) == clock


@pytest.mark.parametrize(("pace", "least", "most"), [("on", 4.8, 60), ("off", 0, 4.5)])
def test_pace_can_be_chosen(bt: Bt, tmp_path: Path, pace: str, least: float, most: float) -> None:
    from tests.console.guests import FIVE_SECONDS

    guest = code.write(tmp_path / "guest.bin", FIVE_SECONDS)
    done = bt("run", guest, *code.FLAT, "--pace", pace, "--json", "-")
    assert done.returncode == 1
    assert least < json.loads(done.stdout)["wall_seconds"] < most  # without what it takes to start, on a busy host


def test_windows_are_a_line(bt: Bt) -> None:
    done = bt("run", "hello", "-display", "gtk,zoom-to-fit=off")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "bt opens no windows" in done.stderr
