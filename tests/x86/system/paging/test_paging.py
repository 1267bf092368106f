"""The page walk against a model written from SDM vol. 3A 4.3, 4.6 to 4.8: every combination of entry bits."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass

import pytest

from bt.x86.context import PF
from bt.x86.services import WALK_USER, WALK_WRITE, WALKED_GLOBAL, WALKED_LARGE, WALKED_WRITABLE
from tests.x86.system.processor import CR0_PE, CR0_PG, CR0_WP, DIRECTORY, RAM, TABLE, Processor, Trouble

P, W, U, A, D, PS, G = 1, 2, 4, 32, 64, 128, 256
RESERVED = 1 << 17  # above the four address bits of PSE-36
CR4_PSE, CR4_PGE = 1 << 4, 1 << 7
LINEAR = 0x00C0_3456  # directory entry 3, table entry 3
PAGE, LARGE_PAGE = 0x7000, 0x40_0000


@dataclass(frozen=True)
class Walk:
    """One walk: the two entries, the access, the control bits."""

    pde: int
    pte: int
    write: bool
    user: bool
    wp: bool
    cr4: int

    def expected(self) -> tuple[int | None, int, int, int]:
        """(error code, physical address, directory entry afterwards, table entry afterwards)."""
        access = (2 if self.write else 0) | (4 if self.user else 0)
        if not self.pde & P:
            return access, 0, self.pde, self.pte
        if self.pde & PS and self.cr4 & CR4_PSE:
            if self.pde & 0x3E0000:
                return access | 8 | 1, 0, self.pde, self.pte
            if not self._allowed(self.pde):
                return access | 1, 0, self.pde, self.pte
            after = self.pde | A | (D if self.write else 0)
            return None, self.pde & 0xFFC00000 | LINEAR & 0x3FFFFF, after, self.pte
        if not self.pte & P:
            return access, 0, self.pde, self.pte
        if not self._allowed(self.pde & self.pte):
            return access | 1, 0, self.pde, self.pte
        return None, self.pte & ~0xFFF | LINEAR & 0xFFF, self.pde | A, self.pte | A | (D if self.write else 0)

    def _allowed(self, rights: int) -> bool:
        if self.user:
            return bool(rights & U) and (not self.write or bool(rights & W))
        return not self.write or bool(rights & W) or not self.wp

    def expected_flags(self) -> int:
        """walk_flags of a walk that succeeds."""
        large = self.pde & PS and self.cr4 & CR4_PSE
        leaf, rights = (self.pde, self.pde) if large else (self.pte, self.pde & self.pte)
        may_write = rights & W or (not self.user and not self.wp)
        flags = WALKED_WRITABLE if may_write and (self.write or leaf & D) else 0
        flags |= WALKED_LARGE if large else 0
        return flags | (WALKED_GLOBAL if leaf & G and self.cr4 & CR4_PGE else 0)


def _entries() -> list[tuple[int, int]]:
    directory = [sum(bits) for bits in itertools.product((0, P), (0, W), (0, U), (0, PS), (0, RESERVED), (0, G))]
    table = [sum(bits) for bits in itertools.product((0, P), (0, W), (0, U), (0, D), (0, G))]
    # the address of a 4 MiB page and of a table share bits with what is reserved, so a table's lies below bit 13
    return [(bits | (LARGE_PAGE if bits & PS else 0), PAGE | entry) for bits in directory for entry in table]


def _run(processor: Processor, walk: Walk) -> None:
    # without PSE the bits that are reserved in a large page are the table's address
    table = walk.pde & ~0xFFF
    processor.ram.write(DIRECTORY + 4 * (LINEAR >> 22), struct.pack("<I", walk.pde))
    in_ram = table + 0x1000 <= RAM
    if in_ram:
        processor.ram.write(table + 4 * (LINEAR >> 12 & 0x3FF), struct.pack("<I", walk.pte))
    else:
        walk = Walk(walk.pde, 0xFFFFFFFF, walk.write, walk.user, walk.wp, walk.cr4)  # nobody answers: ones
    cpu = processor.cpu
    cpu["cr0"] = CR0_PE | CR0_PG | (CR0_WP if walk.wp else 0)
    cpu["cr4"] = walk.cr4
    cpu["cr2"] = 0
    access = (WALK_WRITE if walk.write else 0) | (WALK_USER if walk.user else 0)
    trouble = processor.call("page_walk", LINEAR, access)
    error, physical, pde, pte = walk.expected()
    assert trouble == (None if error is None else Trouble(PF, error)), walk
    assert cpu["cr2"] == (0 if error is None else LINEAR)
    if error is None:
        assert cpu["memory_value"] == physical, walk
        assert cpu["walk_flags"] == walk.expected_flags(), walk
    assert processor.ram.read(DIRECTORY + 4 * (LINEAR >> 22), 4) == struct.pack("<I", pde), walk
    if in_ram:
        assert processor.ram.read(table + 4 * (LINEAR >> 12 & 0x3FF), 4) == struct.pack("<I", pte), walk


@pytest.mark.parametrize("cr4", [0, CR4_PSE, CR4_PGE, CR4_PSE | CR4_PGE])
def test_every_combination_of_entries(processor: Processor, cr4: int) -> None:
    processor.cpu["cr3"] = DIRECTORY | 0x18  # PWT and PCD are no part of the address
    for pde, pte in _entries():
        for write, user, wp in itertools.product((False, True), repeat=3):
            _run(processor, Walk(pde, pte, write, user, wp, cr4))


def test_without_paging_linear_is_physical(processor: Processor) -> None:
    assert processor.call("page_walk", 0x12345678, WALK_WRITE) is None
    assert processor.cpu["memory_value"] == 0x12345678


def test_a20_masks_every_physical_address(processor: Processor) -> None:
    """With the gate closed what is at 1 MiB + x is what is at x: directory, table, page, and without paging too."""
    processor.ram.write(DIRECTORY, struct.pack("<I", 1 << 20 | TABLE | P))
    processor.ram.write(TABLE, struct.pack("<I", 1 << 20 | PAGE | P))
    cpu = processor.cpu
    cpu["cr0"], cpu["cr3"], cpu["a20_mask"] = CR0_PE | CR0_PG, 1 << 20 | DIRECTORY, (1 << 64) - 1 & ~(1 << 20)
    try:
        assert processor.call("page_walk", 0x123, 0) is None
        assert cpu["memory_value"] == PAGE | 0x123
        cpu["cr0"] = CR0_PE
        assert processor.call("page_walk", 0x32_1234, 0) is None
        assert cpu["memory_value"] == 0x22_1234
    finally:
        cpu["a20_mask"] = (1 << 64) - 1
