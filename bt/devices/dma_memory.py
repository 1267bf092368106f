"""Guest memory as a bus master sees it: addresses that are no RAM read as ones and take no data."""

from typing import Protocol

from bt.memory.ram import OutsideRam

PAGE_BYTES = 4096  # where RAM can begin and end


class GuestMemory(Protocol):
    """RAM by guest-physical address; raises OutsideRam unless all of an access is RAM."""

    def read(self, paddr: int, n: int) -> bytes: ...
    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None: ...


class DmaMemory:
    """Nothing raises. Addresses wrap at `address_bits`, what the device can count to."""

    def __init__(self, memory: GuestMemory, address_bits: int = 32) -> None:
        self._memory = memory
        self._mask = (1 << address_bits) - 1

    def read(self, paddr: int, n: int) -> bytes:
        paddr &= self._mask
        try:
            return self._memory.read(paddr, n)
        except OutsideRam:
            first = min(n, PAGE_BYTES - paddr % PAGE_BYTES)
            if first == n:
                return b"\xff" * n
            return b"".join(self.read(paddr + at, size) for at, size in _pieces(first, n))

    def write(self, paddr: int, data: bytes | bytearray | memoryview) -> None:
        paddr &= self._mask
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
