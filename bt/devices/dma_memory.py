"""Guest memory as a bus master sees it: addresses that are no memory read as ones and take no data, ROM takes none."""

from typing import Protocol

from bt.memory.map import PhysicalMap, Range, Use
from bt.memory.ram import OutsideRam

PAGE_BYTES = 4096  # where RAM can begin and end


class GuestMemory(Protocol):
    """Memory by guest-physical address; raises OutsideRam, with nothing done, unless all of an access is memory."""

    def read(self, paddr: int, n: int, /) -> bytes: ...
    def write(self, paddr: int, data: bytes | bytearray | memoryview, /) -> None: ...


class MappedMemory:
    """All memory that is in a machine's map, whose own `write` goes into ROM, too."""

    def __init__(self, map_: PhysicalMap) -> None:
        self._map = map_

    def read(self, paddr: int, n: int, /) -> bytes:
        return self._map.read(paddr, n)

    def write(self, paddr: int, data: bytes | bytearray | memoryview, /) -> None:
        end = paddr + len(data)
        whole = self._map.at(paddr)
        if whole is not None and whole.use is Use.RAM and end <= whole.start + whole.length:  # nearly always
            whole.memory.write(whole.offset + paddr - whole.start, data)
            return
        piece = memoryview(data)
        parts: list[Range] = []
        at = paddr
        while at < end:
            found = self._map.at(at)
            if found is None:
                raise OutsideRam(f"no memory at {at:#x}")
            parts.append(found.part(at, end))
            at = parts[-1].end
        for part in parts:
            start = part.start - paddr
            stored = piece[start : start + part.length]
            if part.use is Use.ROM_OVER_RAM:
                self._map.ram.write(part.start, stored)
            elif part.use is not Use.ROM:
                part.memory.write(part.offset, stored)


class DmaMemory:
    """Nothing raises. Addresses wrap at `address_bits`, what the device can count to."""

    def __init__(self, memory: GuestMemory, address_bits: int = 32) -> None:
        self._memory = memory
        self._mask = (1 << address_bits) - 1

    def read(self, paddr: int, n: int) -> bytes:
        paddr &= self._mask
        below = self._mask + 1 - paddr
        if n > below:
            return self.read(paddr, below) + self.read(0, n - below)
        try:
            return self._memory.read(paddr, n)
        except OutsideRam:
            first = min(n, PAGE_BYTES - paddr % PAGE_BYTES)
            if first == n:
                return b"\xff" * n
            return b"".join(self.read(paddr + at, size) for at, size in _pieces(first, n))

    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None:
        paddr &= self._mask
        below = self._mask + 1 - paddr
        if len(data) > below:
            self.write(paddr, data[:below])
            self.write(0, data[below:])
            return
        try:
            self._memory.write(paddr, data)
        except OutsideRam:
            n = len(data)
            first = min(n, PAGE_BYTES - paddr % PAGE_BYTES)
            if first < n:
                for at, size in _pieces(first, n):
                    self.write(paddr + at, data[at : at + size])


def _pieces(first: int, n: int) -> list[tuple[int, int]]:
    """Offset and length of `first` bytes and of the pages after them, of `n` bytes."""
    return [(0, first)] + [(at, min(PAGE_BYTES, n - at)) for at in range(first, n, PAGE_BYTES)]
