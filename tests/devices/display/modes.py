"""Register values of the BIOS's modes (IBM PS/2 Hardware Interface Technical Reference, video modes), and traffic."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from bt.clock.virtual_clock import VirtualClock
from bt.devices.display.registers import FIRST_PORT
from bt.devices.display.vga import MEMORY_BYTES, Vga

APERTURE = 0xA0000
EGA_COLOURS = "00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f"


class Mode(NamedTuple):
    miscellaneous: int
    sequencer: bytes
    crtc: bytes
    graphics: bytes
    attributes: bytes


def _mode(miscellaneous: int, sequencer: str, crtc: str, graphics: str, attributes: str) -> Mode:
    return Mode(miscellaneous, *map(bytes.fromhex, (sequencer, crtc, graphics, attributes)))


MODES = {
    0x01: _mode(
        0x67, "03 08 03 00 02",
        "2d 27 28 90 2b a0 bf 1f 00 4f 2d 0e 00 00 00 00 9c 8e 8f 14 1f 96 b9 a3 ff",
        "00 00 00 00 00 10 0e 00 ff", f"{EGA_COLOURS} 0c 00 0f 08 00",
    ),
    0x03: _mode(
        0x67, "03 00 03 00 02",
        "5f 4f 50 82 55 81 bf 1f 00 4f 2d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff",
        "00 00 00 00 00 10 0e 00 ff", f"{EGA_COLOURS} 0c 00 0f 08 00",
    ),
    0x04: _mode(
        0x63, "03 09 03 00 02",
        "2d 27 28 90 2b 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 a2 ff",
        "00 00 00 00 00 30 0f 00 ff", "00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17 01 00 03 00 00",
    ),
    0x06: _mode(
        0x63, "03 01 01 00 06",
        "5f 4f 50 82 54 80 bf 1f 00 c1 00 00 00 00 00 00 9c 8e 8f 28 00 96 b9 c2 ff",
        "00 00 00 00 00 00 0d 00 ff", f"00 {'17 ' * 15} 01 00 01 00 00",
    ),
    0x0D: _mode(
        0x63, "03 09 0f 00 06",
        "2d 27 28 90 2b 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 e3 ff",
        "00 00 00 00 00 00 05 0f ff", "00 01 02 03 04 05 06 07 10 11 12 13 14 15 16 17 01 00 0f 00 00",
    ),
    0x12: _mode(
        0xE3, "03 01 0f 00 06",
        "5f 4f 50 82 54 80 0b 3e 00 40 00 00 00 00 00 00 ea 8c df 28 00 e7 04 e3 ff",
        "00 00 00 00 00 00 05 0f ff", f"{EGA_COLOURS} 01 00 0f 00 00",
    ),
    0x13: _mode(
        0x63, "03 01 0f 00 0e",
        "5f 4f 50 82 54 80 bf 1f 00 41 00 00 00 00 00 00 9c 8e 8f 28 40 96 b9 a3 ff",
        "00 00 00 00 00 40 05 0f ff", "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 41 00 0f 00 00",
    ),
}  # fmt: skip

Access = tuple[int, int | None]  # port, value written or None for a read


def indexed(port: int, index: int, value: int) -> Iterator[Access]:
    yield port, index
    yield port + 1, value


def mode_set(mode: Mode) -> Iterator[Access]:
    yield 0x3C2, mode.miscellaneous
    yield from indexed(0x3D4, 0x11, 0)  # not protected
    for port, values in ((0x3C4, mode.sequencer), (0x3D4, mode.crtc), (0x3CE, mode.graphics)):
        for index, value in enumerate(values):
            yield from indexed(port, index, value)
    yield 0x3DA, None  # the next write to 3C0h is an index
    for index, value in enumerate(mode.attributes):
        yield 0x3C0, index
        yield 0x3C0, value
    yield 0x3C0, 0x20


def palette(rng: random.Random) -> Iterator[Access]:
    yield 0x3C6, 0xFF
    yield 0x3C8, 0
    for _ in range(3 * 256):
        yield 0x3C9, rng.randrange(64)


def font_access(on: bool) -> Iterator[Access]:
    """Between these map 2 is at A0000h, as fonts are loaded."""
    for index, value in ((2, 4 if on else 3), (4, 7 if on else 2)):
        yield from indexed(0x3C4, index, value)
    for index, value in ((4, 2 if on else 0), (5, 0 if on else 0x10), (6, 4 if on else 0x0E)):
        yield from indexed(0x3CE, index, value)


class Ours:
    """A VGA at a PC's addresses."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.stored: set[int] = set()  # pages of 4 KiB of the buffer that the device has told of
        self.vga = Vga(self.clock, bytearray(MEMORY_BYTES), stored=self._stored)

    def _stored(self, start: int, length: int) -> None:
        self.stored.update(range(start >> 12, (start + length - 1 >> 12) + 1))

    def take_stored(self) -> list[int]:
        pages, self.stored = sorted(self.stored), set()
        return pages

    def out(self, accesses: Iterator[Access]) -> None:
        for port, value in accesses:
            if value is None:
                self.port_in(port)
            else:
                self.vga.registers.write(port - FIRST_PORT, 1, value)

    def port_in(self, port: int) -> int:
        return self.vga.registers.read(port - FIRST_PORT, 1)

    def dispi(self, index: int, value: int | None = None) -> int:
        self.vga.dispi.write(0, 2, index)
        if value is not None:
            self.vga.dispi.write(1, 2, value)
        return self.vga.dispi.read(1, 2)

    def store(self, address: int, data: bytes) -> None:
        for start in range(0, len(data), 8):
            part = data[start : start + 8]
            self.vga.memory.write(address - APERTURE + start, len(part), int.from_bytes(part, "little"))

    def load(self, address: int, length: int) -> bytes:
        return bytes(self.vga.memory.read(address - APERTURE + n, 1) for n in range(length))
