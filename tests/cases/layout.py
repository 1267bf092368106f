"""Where a case's code and data live: the same in every executor.

The guest of a case is one flat 32-bit process at CPL 3 with paging on.  Whatever is not listed here is not present and
faults with a page fault whose error code has the user bit.  Selectors are those of a 32-bit program on 64-bit Linux, so
that `push ds` gives the same value on the host CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAGE_BYTES = 0x1000

CODE_SELECTOR = 0x23
DATA_SELECTOR = 0x2B
"""SS, DS, ES, FS and GS: base 0, limit 4 GiB, writable, DPL 3."""

FILLER = 0xF4
"""HLT: fills the code regions around the case's bytes, so that leaving them is a #GP(0) at the address reached."""


@dataclass(frozen=True)
class Region:
    """A mapped range of the case's address space; `start` is page aligned, `size` in bytes."""

    name: str
    start: int
    size: int
    writable: bool = True
    fill: int = 0

    @property
    def end(self) -> int:
        """First address behind the region."""
        return self.start + self.size

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


LOW_DATA = Region("low data", 0x8000, 0x2000)
"""Reachable with 16-bit addressing, and by a 16-bit stack."""
LOW_CODE = Region("low code", 0xC000, 0x1000, fill=FILLER)
"""Code of the cases with `bits=16`: CS.D = 0, base 0, EIP below 64 KiB."""
CODE = Region("code", 0x10000, 0x2000, fill=FILLER)
DATA = Region("data", 0x20000, 0x4000)
READ_ONLY = Region("read-only", 0x26000, 0x1000, writable=False)
STACK = Region("stack", 0x30000, 0x2000)

REGIONS = (LOW_DATA, LOW_CODE, CODE, DATA, READ_ONLY, STACK)
"""All of them, by ascending address.  Code regions are writable: a case may modify itself."""

STACK_TOP = STACK.start + STACK.size // 2
"""ESP where the case does not say: the middle, so that both directions have room."""


def region_at(address: int) -> Region | None:
    """The region that holds the byte at `address`, or None where nothing is mapped."""
    return next((region for region in REGIONS if address in region), None)


def images(patches: Mapping[int, bytes]) -> dict[int, bytes]:
    """Contents of every region, keyed by start address: the fill bytes with `patches` laid over them.

    A patch must lie inside one region; ValueError otherwise.
    """
    by_region: dict[int, list[tuple[int, bytes]]] = {}
    for address, data in patches.items():
        region = region_at(address)
        if region is None or address + len(data) > region.end:
            raise ValueError(f"{len(data)} bytes at {address:#x} are not inside one mapped region")
        by_region.setdefault(region.start, []).append((address - region.start, data))
    result = {}
    for region in REGIONS:
        wanted = by_region.get(region.start)
        if wanted is None:
            result[region.start] = _BLANK[region.start]
            continue
        image = bytearray(_BLANK[region.start])
        for offset, data in wanted:
            image[offset : offset + len(data)] = data
        result[region.start] = bytes(image)
    return result


_BLANK: Mapping[int, bytes] = {region.start: bytes([region.fill]) * region.size for region in REGIONS}
