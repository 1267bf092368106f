"""QEMU's RAM beside bt's: QEMU maps a memfd of ours, so that all of it is there to be read at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import TracebackType

from bt.inspect.compare.difference import Difference, ram_differences
from bt.inspect.compare.qemu_stub import QemuStub
from bt.memory.ram import GuestRam
from bt.x86.page import PAGE

# Physical addresses that QEMU's PC has read-only memory at, where bt has RAM: copied, but not compared.
ROM_START, ROM_END = 0xC_0000, 0x10_0000
_PIECE = 256  # bytes of a page that are written as one


class QemuMemory:
    """`ram` is QEMU's; `ours` the RAM it should equal."""

    def __init__(self, ours: GuestRam) -> None:
        self.ours = ours
        self.ram = GuestRam(ours.size)

    def fill(self, stub: QemuStub) -> None:
        """Copy all of bt's RAM, before QEMU has executed anything."""
        for page in self._pages(self.ours):
            contents = self.ours.read(page, PAGE)
            if ROM_START <= page < ROM_END:
                if any(contents):
                    stub.write(page, contents)
            else:
                self.ram.write(page, contents)

    def follow(self, stub: QemuStub) -> None:
        """Copy what differs, by the stub: QEMU must notice when its code changes."""
        for page in self.unlike():
            self.take_over(stub, page, PAGE)

    def take_over(self, stub: QemuStub, physical: int, size: int) -> None:
        """Copy as much of some bytes as differs, and is RAM."""
        end = min(physical + size, self.ours.size)
        for at in range(physical, end, _PIECE):
            piece = self.ours.read(at, min(_PIECE, end - at))
            if piece != self.ram.read(at, len(piece)):
                stub.write(at, piece)

    def unlike(self) -> list[int]:
        """Physical addresses of the pages that differ."""
        pages = set(self._pages(self.ours)) | set(self._pages(self.ram))
        mine, other = self.ours.view, self.ram.view
        return sorted(
            page
            for page in pages
            if not ROM_START <= page < ROM_END and mine[page : page + PAGE] != other[page : page + PAGE]
        )

    def differences(self) -> list[Difference]:
        """What differs in all of RAM, for people."""
        ours, theirs = (partial(ram.read, n=PAGE) for ram in (self.ours, self.ram))
        return ram_differences(self.unlike(), ours, theirs)

    def differences_at(self, physical: int, size: int) -> list[Difference]:
        """What differs in some bytes, which may lie outside of RAM."""
        if physical + size > self.ours.size or (physical + size > ROM_START and physical < ROM_END):
            return []
        mine, other = self.ours.read(physical, size), self.ram.read(physical, size)
        if mine == other:
            return []
        first = next(at for at, (a, b) in enumerate(zip(mine, other, strict=True)) if a != b)
        last = next(at for at in reversed(range(size)) if mine[at] != other[at])
        shown = slice(first, min(last + 1, first + 16))
        return [Difference(f"RAM [{physical + first:#x}]", mine[shown].hex(" "), other[shown].hex(" "))]

    @staticmethod
    def _pages(ram: GuestRam) -> Iterator[int]:
        for start, end in ram.extents():
            yield from range(start, end, PAGE)

    def __enter__(self) -> QemuMemory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ram.close()
