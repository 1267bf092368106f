"""What loaders tell kernels: a block of structures, and modules beside it."""

from collections.abc import Sequence
from typing import NamedTuple

from bt.boot.placement import Piece, align_up, piece
from bt.memory.map_layout import HIGH_MEMORY
from bt.x86.page import PAGE


class Module(NamedTuple):
    """A file handed to the kernel, with the string that goes with it."""

    data: bytes
    command_line: bytes = b""


class Block:
    """Bytes of a block that will lie at `base`, with the addresses of what was put into it."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.bytes = bytearray()

    def put(self, data: bytes, alignment: int = 4) -> int:
        """Append at the next boundary of `alignment` bytes; the physical address."""
        self.bytes += bytes(-len(self.bytes) % alignment)
        address = self.base + len(self.bytes)
        self.bytes += data
        return address

    def put_string(self, text: bytes) -> int:
        return self.put(text + b"\0")


def place_modules(modules: Sequence[Module], taken: Sequence[Piece]) -> list[Piece]:
    """Modules above all pieces and above 1 MiB, each from a page of its own on. Whether they fit is not asked."""
    placed: list[Piece] = []
    free = max(HIGH_MEMORY, *(each.end for each in taken))
    for number, module in enumerate(modules):
        placed.append(piece(align_up(free, PAGE), module.data, f"module {number}"))
        free = placed[-1].end
    return placed
