"""Guest-physical memory as the loaders see it: the PC's memory map, and where things can be put.

A loader first plans all it wants to store as `Piece`s, checks the plan, and only then writes: an image that turns
out to be damaged leaves RAM untouched.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

from bt.errors import BadImage, BadUsage
from bt.firmware.e820 import EBDA
from bt.memory.map_layout import DEVICE_HOLE, HIGH_MEMORY, HIGH_RAM, MOST_RAM, VIDEO_HOLE, low_ram
from bt.x86.page import PAGE

MIB = 1 << 20

LEAST_RAM = 2 << 20  # images load at 1 MiB
MOST_LOW_RAM = DEVICE_HOLE  # what loaders place things in

BIOS_DATA_AREA, BIOS_DATA_AREA_BYTES = 0x400, 0x100
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


def has_data_area(taken: Iterable[Piece]) -> bool:
    """Whether an image leaves room for the BIOS data area and its extension, which a hand-over is to fill then."""
    places = ((BIOS_DATA_AREA, BIOS_DATA_AREA + BIOS_DATA_AREA_BYTES), (EBDA, VIDEO_HOLE))
    return not any(each.overlaps(*place) for each in taken for place in places)


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
