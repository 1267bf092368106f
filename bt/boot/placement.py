"""Guest-physical memory as the loaders see it: the PC's memory map, and where things can be put.

A loader first plans all it wants to store as `Piece`s, checks the plan, and only then writes: an image that turns
out to be damaged leaves RAM untouched.
"""

import struct
from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple, Protocol

from bt.errors import BadImage, BadUsage
from bt.memory.map_layout import DEVICE_HOLE, HIGH_RAM, MOST_RAM
from bt.x86.page import PAGE

MIB = 1 << 20

EBDA = 0x9_FC00  # extended BIOS data area: one KiB, where PC firmware keeps it
VIDEO_HOLE = 0xA_0000  # adapters and ROMs from here up to 1 MiB: no RAM
ROM = 0xF_0000
HIGH_MEMORY = 0x10_0000
LEAST_RAM = 2 << 20  # images load at 1 MiB
MOST_LOW_RAM = DEVICE_HOLE  # what loaders place things in

BIOS_DATA_AREA = 0x400
TABLES_FROM = 0x8000  # where loaders without a fixed layout begin to look for room

_ZEROES = bytes(MIB)


class PhysicalMemory(Protocol):
    """Guest RAM of `size` bytes, of which `low_ram` begin at physical address 0."""

    @property
    def size(self) -> int: ...

    def read(self, paddr: int, n: int, /) -> bytes: ...

    def write(self, paddr: int, data: bytes, /) -> None: ...


def check_ram_size(size: int, shown: str) -> None:
    """Raise BadUsage unless a PC can have `size` bytes of RAM; `shown` is how the user wrote them."""
    if size % PAGE or not LEAST_RAM <= size <= MOST_RAM:
        raise BadUsage(f"{shown}: a guest has {LEAST_RAM >> 20}M to {MOST_RAM / (1 << 30):g}G, in whole pages of 4 KiB")


def check_address_lines(size: int, bits: int, who: str) -> None:
    """Raise BadUsage unless a processor with `bits` of physical addresses reaches `size` bytes of RAM."""
    if size > MOST_LOW_RAM and HIGH_RAM + size - MOST_LOW_RAM > 1 << bits:
        raise BadUsage(
            f"{who} has no address lines for more than {MOST_LOW_RAM >> 20}M; give less, or another processor"
        )


def low_ram(ram_size: int) -> int:
    """Bytes of RAM below the addresses of devices; the rest begins at 4 GiB."""
    return min(ram_size, DEVICE_HOLE)


class MemoryType(IntEnum):
    """Types of address ranges as INT 15h, AX=E820h reports them (ACPI 6.5, table 15.4)."""

    USABLE = 1
    RESERVED = 2


class MemoryRange(NamedTuple):
    """One line of the memory map; `base` and `length` in bytes."""

    base: int
    length: int
    type: MemoryType


def memory_map(ram_size: int) -> list[MemoryRange]:
    """The E820 map of a PC with `ram_size` bytes of RAM, ascending, without overlaps."""
    usable, reserved = MemoryType.USABLE, MemoryType.RESERVED
    ranges = [MemoryRange(0, min(EBDA, ram_size), usable)]
    if ram_size > EBDA:
        ranges.append(MemoryRange(EBDA, min(VIDEO_HOLE, ram_size) - EBDA, reserved))
    ranges.append(MemoryRange(ROM, HIGH_MEMORY - ROM, reserved))
    if ram_size > HIGH_MEMORY:
        ranges.append(MemoryRange(HIGH_MEMORY, low_ram(ram_size) - HIGH_MEMORY, usable))
    if ram_size > DEVICE_HOLE:
        ranges.append(MemoryRange(HIGH_RAM, ram_size - DEVICE_HOLE, usable))
    return ranges


def lower_kib(ram_size: int) -> int:
    """Conventional memory from address 0, in KiB."""
    return min(EBDA, ram_size) // 1024


def upper_kib(ram_size: int) -> int:
    """Memory from 1 MiB up to the addresses of devices, in KiB."""
    return max(low_ram(ram_size) - HIGH_MEMORY, 0) // 1024


class Piece(NamedTuple):
    """What goes to physical [paddr, paddr + size): `data`, then zeroes. `what` names it in errors."""

    paddr: int
    data: bytes | memoryview
    size: int
    what: str

    @property
    def end(self) -> int:
        return self.paddr + self.size

    @property
    def place(self) -> str:
        return f"{self.what} at {self.paddr:#x}..{self.end - 1:#x}"

    def overlaps(self, start: int, end: int) -> bool:
        return self.paddr < end and start < self.end


class Executable(NamedTuple):
    """A parsed image: its pieces, and the physical address in one of them where it starts."""

    entry: int
    pieces: Sequence[Piece]


def piece(paddr: int, data: bytes, what: str) -> Piece:
    """A piece with nothing to zero after its data."""
    return Piece(paddr, data, len(data), what)


def check_pieces(name: str, pieces: Sequence[Piece], ram_size: int) -> None:
    """Raise BadImage unless all pieces lie in RAM, outside the video hole, and apart from each other.

    More memory is advised only where nothing else is wrong, and then so much that the pieces fit.
    """
    for each in pieces:
        if each.paddr < 0 or each.end > MOST_LOW_RAM:
            raise BadImage(f"{name}: {each.place} can never be in RAM, which ends at {MOST_LOW_RAM - 1:#x} at most")
        if each.overlaps(VIDEO_HOLE, HIGH_MEMORY):
            raise BadImage(f"{name}: {each.place} lies in the hole {VIDEO_HOLE:#x}..{HIGH_MEMORY - 1:#x}: no RAM there")
    ascending = sorted(pieces, key=lambda each: each.paddr)
    for low, high in pairwise(ascending):
        if low.end > high.paddr:
            raise BadImage(f"{name}: {high.what} at {high.paddr:#x} overlaps {low.what}, which ends at {low.end:#x}")
    last = max(pieces, key=lambda each: each.end)
    if last.end > low_ram(ram_size):
        raise BadImage(f"{name}: {last.place} lies outside RAM ({ram_size / MIB:g} MiB); {enough_memory(last.end)}")


def enough_memory(size: int) -> str:
    """The advice to give a guest at least `size` bytes (at most `MOST_LOW_RAM`)."""
    return f"give -m {-(-size // MIB)}M or more"


def first_fit(size: int, taken: Iterable[Piece]) -> int:
    """Lowest page from `TABLES_FROM` up with `size` free bytes: below 640 KiB, above 1 MiB only if that is full.

    Whether there is RAM is for `check_pieces` to say.
    """
    occupied = sorted(taken, key=lambda each: each.paddr)
    low = _above(TABLES_FROM, size, occupied)
    return low if low + size <= EBDA else _above(HIGH_MEMORY, size, occupied)


def _above(start: int, size: int, occupied: Sequence[Piece]) -> int:
    for each in occupied:
        if each.overlaps(start, start + size):
            start = align_up(each.end, PAGE)
    return start


def bios_data_area(taken: Iterable[Piece]) -> list[Piece]:
    """The words of the BIOS data area that kernels look at, unless the image itself occupies the place.

    0x400 COM1's port, 0x40E the EBDA's segment, 0x413 conventional memory in KiB. Kernels follow the EBDA pointer
    in search of ACPI and MP tables, and go astray if it is zero.
    """
    area = bytearray(0x100)
    struct.pack_into("<H", area, 0x00, 0x3F8)
    struct.pack_into("<H", area, 0x0E, EBDA >> 4)
    struct.pack_into("<H", area, 0x13, EBDA // 1024)
    block = piece(BIOS_DATA_AREA, bytes(area), "BIOS data area")
    return [] if any(each.overlaps(block.paddr, block.end) for each in taken) else [block]


def store(ram: PhysicalMemory, pieces: Iterable[Piece]) -> None:
    """Write checked pieces to RAM."""
    for each in pieces:
        if each.data:
            ram.write(each.paddr, bytes(each.data))
        # in slices: a bss may be most of the RAM
        for start in range(each.paddr + len(each.data), each.end, MIB):
            ram.write(start, _ZEROES[: min(MIB, each.end - start)])


def align_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def align_down(value: int, alignment: int) -> int:
    return value // alignment * alignment
