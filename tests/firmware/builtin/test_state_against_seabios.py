"""What a boot sector finds, and what a mode set leaves in the VGA, is what SeaBIOS leaves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin.video.modes import MODES
from bt.machine.media import Drive
from bt.x86.state import EAX, EDX
from tests.firmware.builtin.calls import Caller, started
from tests.firmware.seabios import needs_seabios

# not compared: time, random places of SeaBIOS's own data, and what is listed with its reason
DATA_BYTES = 0x100
DIFFERENT = {
    area.MODE_CONTROL: "what a CGA would have: SeaBIOS leaves 0", area.PALETTE_CONTROL: "the same",
    **dict.fromkeys(range(area.CURSORS, area.CURSORS + 2), "SeaBIOS has written messages"),
    **dict.fromkeys(range(area.TICKS, area.TICKS + 4), "time"),
    **dict.fromkeys((0x4B9, 0x4BC, 0x4BD), "SeaBIOS's own"),
    **dict.fromkeys(range(0x4A8, 0x4AC), "a table of fonts and the like that is in no VGA's ROM here"),
}  # fmt: skip

# SeaBIOS sets it at the addresses of a monochrome display before there is one, and so most of its registers not at all
MONOCHROME = 0x07
# IBM's blinking and planes of the monochrome display with 350 lines
OF_MODES = {0x0F: {"attribute 10": (0x01, 0x0B), "attribute 12": (0x01, 0x05)}}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Caller, Caller]]:
    folder = tmp_path_factory.mktemp("disks")
    floppy = folder / "floppy"
    floppy.write_bytes(bytes(1440 << 10))
    drive = Drive(str(floppy), "floppy", snapshot=True)
    with started(folder, None, drive) as theirs, started(folder, "builtin", drive) as ours:
        yield theirs, ours


@needs_seabios
def test_data_area(machines: tuple[Caller, Caller]) -> None:
    theirs, ours = (each.read(area.BDA, DATA_BYTES) for each in machines)
    assert differing(theirs, ours, area.BDA, DIFFERENT) == {}


@needs_seabios
def test_registers_of_the_boot_sector(machines: tuple[Caller, Caller]) -> None:
    for number in (EAX, EDX):
        theirs, ours = (each.machine.cpu.state["gpr", number] & 0xFFFF for each in machines)
        assert ours == theirs


@needs_seabios
def test_chips(machines: tuple[Caller, Caller]) -> None:
    theirs, ours = (chips(each) for each in machines)
    assert {name: (theirs[name], value) for name, value in ours.items() if theirs[name] != value} == {}


def chips(caller: Caller) -> dict[str, int]:
    ports = caller.machine.ports
    found = {f"{port:x}": ports.read(port, 1) for port in (0x21, 0xA1, 0x92, 0x3F2, 0x4D0, 0x4D1)}
    found["61"] = ports.read(0x61, 1) & 0x0F  # above are refresh and counter 2
    ports.write(0x43, 1, 0xE2)  # status of counter 0
    found["counter 0"] = ports.read(0x40, 1) & 0x3F
    for index in (0x0A, 0x0B, 0x0F):
        ports.write(0x70, 1, index)
        found[f"CMOS {index:x}"] = ports.read(0x71, 1) & 0x7F
    ports.write(0x64, 1, 0x20)
    found["command byte"] = ports.read(0x60, 1)
    return found


@needs_seabios
@pytest.mark.parametrize("mode", sorted(set(MODES) - {MONOCHROME}))
def test_modes_of_the_vga(machines: tuple[Caller, Caller], mode: int) -> None:
    for each in machines:
        each.call(0x10, eax=0x03)
        each.call(0x10, eax=mode)
    theirs, ours = (vga(each) for each in machines)
    different = {name: (theirs[name], value) for name, value in ours.items() if theirs[name] != value}
    assert different == OF_MODES.get(mode, {})


def vga(caller: Caller) -> dict[str, int | bytes]:
    read, write = caller.machine.ports.read, caller.machine.ports.write
    miscellaneous = read(0x3CC, 1)
    crtc = 0x3D4 if miscellaneous & 1 else 0x3B4
    found: dict[str, int | bytes] = {"miscellaneous": miscellaneous, "mask": read(0x3C6, 1)}
    for name, port, count in (("sequencer", 0x3C4, 5), ("graphics", 0x3CE, 9), ("crtc", crtc, 25)):
        for index in range(count):
            write(port, 1, index)
            found[f"{name} {index:x}"] = read(port + 1, 1)
    for index in range(0x15):
        read(crtc + 6, 1)
        write(0x3C0, 1, index)
        found[f"attribute {index:x}"] = read(0x3C1, 1)
    read(crtc + 6, 1)
    write(0x3C0, 1, 0x20)
    write(0x3C7, 1, 0)
    found["palette"] = bytes(read(0x3C9, 1) for _ in range(768))
    return found


def differing(theirs: bytes, ours: bytes, start: int, allowed: dict[int, str]) -> dict[str, str]:
    return {
        f"{start + at:x}": f"SeaBIOS {a:x}, builtin {b:x}"
        for at, (a, b) in enumerate(zip(theirs, ours, strict=True))
        if a != b and start + at not in allowed
    }
