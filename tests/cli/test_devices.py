"""-device, -global, -debugcon and a second -serial, as QEMU spells them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bt.cli import run
from bt.cli.devices import chosen_devices, parse_default, parse_device
from bt.end import End
from bt.errors import BadUsage
from bt.machine.added import KINDS, AddedDevice
from tests.cli import code
from tests.cli.conftest import Bt
from tests.devices.qtest import QEMU, needs_qemu

SAY = "mov edx, {port}\nmov al, '{letter}'\nout dx, al\n"
PORTS = {"COM1": ("0x3f8", "1"), "COM2": ("0x2f8", "2"), "console": ("0xe9", "c"), "log": ("0x402", "l")}
SAY_ALL = "".join(SAY.format(port=port, letter=letter) for port, letter in PORTS.values()) + "cli\nhlt"


@pytest.mark.parametrize(
    ("text", "device", "where"),
    [
        ("isa-debug-exit", AddedDevice("isa-debug-exit"), "501-502"),
        ("isa-debug-exit,iobase=0xf4,iosize=0x04", AddedDevice("isa-debug-exit", (("iobase", 0xF4), ("iosize", 4))),
         "F4-F7"),
        ("pvpanic,id=x", AddedDevice("pvpanic"), "505-505"),
        ("pvpanic,ioport=1286,events=1", AddedDevice("pvpanic", (("ioport", 1286), ("events", 1))), "506-506"),
    ],
)  # fmt: skip
def test_a_device(text: str, device: AddedDevice, where: str) -> None:
    assert parse_device(text) == device
    assert device.where == where


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("e1000", "-device e1000: no device called e1000; there are isa-debug-exit, pvpanic"),
        ("isa-debug-exti", "isa-debug-exit is nearest"),
        ("pvpanic,port=5", "pvpanic has no property port; ioport is nearest"),
        ("pvpanic,port=x", "pvpanic has no property port; ioport is nearest"),
        ("pvpanic,ioport=x", "'x' is no number"),
        ("pvpanic,ioport=65536", "ioport=65536: 0 to 0xffff is wanted"),
        ("isa-debug-exit,iosize=0", "iosize=0: 1 to 0xffff is wanted"),
    ],
)
def test_what_is_no_device(text: str, said: str) -> None:
    with pytest.raises(BadUsage, match=f"^-device {text}: .*{said.partition(': ')[2] or said}"):
        parse_device(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pvpanic.ioport", "NAME.PROPERTY=VALUE is wanted"),
        ("panic.ioport=1", "pvpanic is nearest"),
        ("pvpanic.port=1", "ioport is nearest"),
        ("isa-debugcon.iobase=0x3f8", "iobase=0xe9 and iobase=0x402"),
        ("isa-debugcon.readback=1", "iobase=0xe9 and iobase=0x402"),
    ],
)
def test_what_is_no_default(text: str, said: str) -> None:
    with pytest.raises(BadUsage, match=f"^-global {text}: .*{said}"):
        parse_default(text)


def test_defaults_are_for_devices_that_do_not_say() -> None:
    given = run.parser().parse_args(
        ["-global", "pvpanic.ioport=0x600", "-device", "pvpanic", "-device", "pvpanic,ioport=0x601"]
    )
    assert [device.values["ioport"] for device in chosen_devices(given)] == [0x600, 0x601]


@needs_qemu
@pytest.mark.parametrize("kind", KINDS)
def test_names_and_defaults_are_qemus(kind: str) -> None:
    said = subprocess.run([QEMU, "-device", f"{kind},help"], capture_output=True, text=True, check=False).stdout
    theirs = {name: int(default) for name, default in re.findall(r"(\w+)=.*\(default: (\d+)\)", said)}
    assert {name: each.default for name, each in KINDS[kind].properties.items()} == theirs


@pytest.mark.parametrize("arguments", [["-device", "help"], ["-device", "pvpanic,help"]])
def test_help_says_what_there_is(bt: Bt, arguments: list[str]) -> None:
    done = bt("run", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    names = KINDS if arguments == ["-device", "help"] else KINDS["pvpanic"].properties
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(names)


@pytest.mark.parametrize(
    ("devices", "source", "status"),
    [
        ([], "mov al, 21\nout 0xf4, al", 43),
        (["isa-debug-exit,iobase=0xf4,iosize=4"], "mov al, 21\nout 0xf4, al", 43),
        (["isa-debug-exit"], "mov al, 21\nout 0xf4, al\ncli\nhlt", 0),
        (["isa-debug-exit"], "mov al, 21\nmov edx, 0x501\nout dx, al", 43),
        (["isa-debug-exit"], "mov al, 21\nmov edx, 0x503\nout dx, al\ncli\nhlt", 0),
        (["isa-debug-exit,iobase=0x600", "isa-debug-exit,iobase=0x610"], "mov al, 5\nmov edx, 0x611\nout dx, al", 11),
        (["pvpanic"], "mov al, 1\nmov edx, 0x505\nout dx, al", End.PANIC.status),
        (["pvpanic,events=2"], "mov al, 1\nmov edx, 0x505\nout dx, al\ncli\nhlt", 0),
        (["pvpanic"], "mov edx, 0x505\nin al, dx\nout 0xf4, al", 7),
        ([], "mov al, 1\nmov edx, 0x505\nout dx, al\ncli\nhlt", 0),
    ],
)
def test_guests_find_them(bt: Bt, tmp_path: Path, devices: list[str], source: str, status: int) -> None:
    options = [option for device in devices for option in ("-device", device)]
    done = bt("run", code.write(tmp_path / "guest.bin", source), *code.FLAT, *options)
    assert done.returncode == status
    assert done.stderr.startswith(f"bt: {End.PANIC.sentence} after" if status == End.PANIC.status else "")
    assert done.stderr.count("\n") == (status == End.PANIC.status)


def test_a_crash_kernel_is_a_line_and_the_guest_goes_on(bt: Bt, tmp_path: Path) -> None:
    source = "mov al, 2\nmov edx, 0x505\nout dx, al\nout 0xf4, al"
    done = bt("run", code.write(tmp_path / "guest.bin", source), *code.FLAT, "-device", "pvpanic")
    assert (done.returncode, done.stderr) == (5, "bt: the guest's kernel panicked, and its crash kernel takes over\n")


def test_a_place_that_is_taken_is_one_line(bt: Bt) -> None:
    done = bt("run", "hello", "-device", "pvpanic,ioport=0x3f8")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "COM1" in done.stderr


@pytest.mark.parametrize(
    ("options", "shown", "filed"),
    [
        ([], "1", ""),
        (["-serial", "null", "-serial", "stdio"], "2", ""),
        (["-serial", "file:FILE", "-serial", "null"], "", "1"),
        (["-serial", "null", "-serial", "file:FILE"], "", "2"),
        (["-debugcon", "stdio"], "1c", ""),
        (["-serial", "null", "-debugcon", "file:FILE"], "", "c"),
        (["-debugcon", "file:FILE", "-global", "isa-debugcon.iobase=0x402"], "1", "l"),
    ],
)
def test_who_hears_which_port(bt: Bt, tmp_path: Path, options: list[str], shown: str, filed: str) -> None:
    file = tmp_path / "filed"
    file.touch()
    guest = code.write(tmp_path / "guest.bin", SAY_ALL)
    done = bt("run", guest, *code.FLAT, *(option.replace("FILE", str(file)) for option in options))
    assert (done.returncode, done.stdout, file.read_text()) == (0, shown, filed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-serial", "stdio", "-serial", "stdio"], "COM1 has it already"),
        (["-serial", "null"] * 3, "two ports"),
        (["-debugcon", "tcp"], "-debugcon tcp: there are stdio, file:PATH, pty, "),
    ],
)
def test_what_no_port_can_have(bt: Bt, options: list[str], said: str) -> None:
    done = bt("run", "hello", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_what_is_typed_goes_to_the_port_that_has_stdio(bt: Bt, tmp_path: Path) -> None:
    guest = code.write(tmp_path / "guest.bin", code.ECHO.replace("0x3f", "0x2f"))
    done = bt("run", guest, *code.FLAT, "-serial", "null", "-serial", "stdio", "--timeout", "30", stdin="abq")
    assert (done.stdout, done.returncode) == (">abq", ord("q") * 2 + 1 & 0xFF)
