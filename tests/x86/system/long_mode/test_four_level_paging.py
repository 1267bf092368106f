"""4-level paging against a model of SDM vol. 3A 4.5: entries of all levels in combination, and every access."""

from __future__ import annotations

import itertools
import random
import struct
from dataclasses import dataclass

import pytest

from bt.engine.linear import translate
from bt.monitor.paging import mappings
from bt.x86 import cpu_model
from bt.x86.services import (
    WALK_FETCH,
    WALK_USER,
    WALK_WRITE,
    WALKED_GLOBAL,
    WALKED_HUGE,
    WALKED_LARGE,
    WALKED_NO_EXECUTE,
    WALKED_WRITABLE,
)
from bt.x86.state import ESP
from bt.x86.system.registers.control_registers import EFER_NXE
from tests.x86.system.long_mode.long_processor import DIRECTORY, PAGE, POINTERS, TABLE, TOP, LongProcessor
from tests.x86.system.processor import CR0_WP, Trouble

P, W, U, A, D, PS, G, NX = (1 << n for n in (0, 1, 2, 5, 6, 7, 8, 63))
PF = 14
HIGH_RESERVED, IGNORED = 1 << 40, 1 << 55
RESERVED_OF_LARGE, RESERVED_OF_HUGE = 1 << 14, 1 << 25
LINEAR = 0xFFFF_8123_4567_89AB
SHIFTS = (39, 30, 21, 12)
PLACES = (TOP, POINTERS, DIRECTORY, TABLE)
FRAMES = (POINTERS, DIRECTORY, TABLE, PAGE)
ACCESSES = [user | kind for user in (0, WALK_USER) for kind in (0, WALK_WRITE, WALK_FETCH)]


@dataclass(frozen=True)
class Walk:
    """One access, and the entries of all levels that it comes by."""

    entries: tuple[int, ...]
    access: int
    wp: bool
    nxe: bool
    huge: bool

    def expected(self) -> tuple[int | None, int, tuple[int, ...], int]:
        """Error code or None, physical address, entries afterwards, WALKED_* bits."""
        write, user, fetch = (self.access & bit for bit in (WALK_WRITE, WALK_USER, WALK_FETCH))
        error = (2 if write else 0) | (4 if user else 0) | (16 if fetch and self.nxe else 0)
        rights, no_execute, leaf = W | U, 0, 0
        for level, entry in enumerate(self.entries):
            if not entry & P:
                return error, 0, self.entries, 0
            if entry & self._reserved(level, entry):
                return error | 9, 0, self.entries, 0
            rights, no_execute, leaf = rights & entry, no_execute | entry & NX, level
            if entry & PS and level in (1, 2):
                break
        may_write = rights & W or (not user and not self.wp)
        if (user and not rights & U) or (write and not may_write) or (fetch and no_execute and self.nxe):
            return error | 1, 0, self.entries, 0
        after = tuple(
            entry | (A if level <= leaf else 0) | (D if level == leaf and write else 0)
            for level, entry in enumerate(self.entries)
        )
        within = (1 << SHIFTS[leaf]) - 1
        physical = (after[leaf] & 0xF_FFFF_F000 & ~within) | (LINEAR & within)
        found = WALKED_WRITABLE if may_write and after[leaf] & D else 0
        found |= WALKED_GLOBAL if after[leaf] & G else 0
        found |= WALKED_NO_EXECUTE if no_execute and self.nxe else 0
        return None, physical, after, found | (0, WALKED_LARGE | WALKED_HUGE, WALKED_LARGE, 0)[leaf]

    def _reserved(self, level: int, entry: int) -> int:
        bits = HIGH_RESERVED | (0 if self.nxe else NX)
        if level == 0:
            return bits | PS
        if level == 1 and entry & PS:
            return bits | (RESERVED_OF_LARGE | RESERVED_OF_HUGE if self.huge else PS)
        return bits | (RESERVED_OF_LARGE if level == 2 and entry & PS else 0)


def _random_entry(level: int, rng: random.Random) -> int:
    entry = P | W | U
    for bit, chance in ((P, 30), (W, 4), (U, 4)):
        if not rng.randrange(chance):
            entry &= ~bit
    odd = (A, D, G, NX, IGNORED, HIGH_RESERVED, *((RESERVED_OF_LARGE, RESERVED_OF_HUGE) if level in (1, 2) else ()))
    for bit in odd:
        if not rng.randrange(12 if bit in (HIGH_RESERVED, RESERVED_OF_LARGE, RESERVED_OF_HUGE) else 3):
            entry |= bit
    if level < 3 and not rng.randrange(12 if level == 0 else 3):
        entry |= PS
    frame = 0 if entry & PS and level else FRAMES[level]
    return entry & ~(0 if entry & PS else RESERVED_OF_LARGE | RESERVED_OF_HUGE) | frame


@pytest.mark.parametrize(("nxe", "huge"), list(itertools.product((False, True), repeat=2)))
def test_entries_of_all_levels(processor: LongProcessor, nxe: bool, huge: bool) -> None:
    cpu_model.parse("qemu64,+pdpe1gb" if huge else "qemu64").install(processor.cpu)
    rng = random.Random(17)
    for _ in range(3000):
        wp = bool(rng.randrange(2))
        walk = Walk(tuple(_random_entry(n, rng) for n in range(4)), rng.choice(ACCESSES), wp, nxe, huge)
        cpu = processor.cpu
        cpu["cr0"] = cpu["cr0"] & ~CR0_WP | (CR0_WP if wp else 0)
        cpu["efer"] = cpu["efer"] & ~EFER_NXE | (EFER_NXE if nxe else 0)
        at = [place + 8 * (LINEAR >> shift & 511) for place, shift in zip(PLACES, SHIFTS, strict=True)]
        for place, entry in zip(at, walk.entries, strict=True):
            processor.ram.write(place, struct.pack("<Q", entry))
        error, physical, after, flags = walk.expected()
        trouble = processor.call("page_walk", LINEAR, walk.access)
        if error is None:
            assert trouble is None, walk
            assert (cpu["memory_value"], cpu["walk_flags"]) == (physical, flags), walk
            assert translate(processor.vcpu, LINEAR).physical == physical
        else:
            assert trouble == Trouble(PF, error), walk
            assert cpu["cr2"] == LINEAR
        assert tuple(struct.unpack("<Q", processor.ram.read(place, 8))[0] for place in at) == after, walk


def test_mappings_for_people(processor: LongProcessor) -> None:
    """`info mem` of the monitor."""
    _map(processor, 0xFFFF_8123_4567_8000, PAGE)
    found = {(each.linear, each.physical, each.size) for each in mappings(processor.vcpu)}
    assert {(0, 0, 2 << 20), (0xFFFF_8123_4567_8000, PAGE, 0x1000)} <= found


def _map(processor: LongProcessor, linear: int, page: int) -> None:
    """By 4 KiB, with tables of its own below the second half of the top table."""
    rights = P | W | U
    for place, shift, target in zip(PLACES, SHIFTS, (*FRAMES[:3], page), strict=True):
        processor.ram.write(place + 8 * (linear >> shift & 511), struct.pack("<Q", target | rights))


def test_addresses_that_differ_in_high_bits_alone_are_different(processor: LongProcessor) -> None:
    """A TLB tag is whole: bit 47 as well as bit 32."""
    addresses = (0x1234_5000, 0x1_1234_5000, 0x7FFF_1234_5000, 0xFFFF_FFFF_1234_5000)
    for number, linear in enumerate(addresses):
        page = PAGE + 0x1000 * number
        _map(processor, linear, page)
        assert processor.call("resolve", linear, 0, 0) is None
        assert processor.cpu["exit_address"] == page, hex(linear)
        for other in addresses[:number]:  # they share an entry of the TLB
            assert processor.call("invalidate_page", other) is None
    for number, linear in enumerate(addresses):
        _map(processor, linear, PAGE + 0x1000 * number)
        assert processor.call("resolve", linear, 0, 0) is None
        assert processor.cpu["exit_address"] == PAGE + 0x1000 * number, hex(linear)


def test_accesses_by_all_bits_of_an_address(processor: LongProcessor) -> None:
    """Two that differ in what lies above bit 46, by the look into the TLB that any access begins with."""
    lower, upper = 0x0000_0000_1234_5000, 0xFFFF_8000_1234_5000
    _map(processor, lower, PAGE)
    tables = (0x25000, 0x26000, 0x27000, 0x28000)
    places = (TOP, *tables[:3])
    for place, shift, target in zip(places, SHIFTS, tables, strict=True):
        processor.ram.write(place + 8 * (upper >> shift & 511), struct.pack("<Q", target | P | W | U))
    for value, (linear, page) in enumerate(((lower, PAGE), (upper, tables[3])), 1):
        processor.ram.write(page, struct.pack("<Q", value))
        processor.cpu["gpr", ESP] = linear
        assert processor.call("long_stack_read", 0, 64) is None
        assert processor.cpu["memory_value"] == value


@pytest.mark.parametrize("huge", [False, True])
def test_invlpg_forgets_all_of_a_large_page(processor: LongProcessor, huge: bool) -> None:
    cpu_model.parse("qemu64,+pdpe1gb").install(processor.cpu)
    shift, place = (30, POINTERS) if huge else (21, DIRECTORY)
    first = 0x40_0000_0000
    _map(processor, first, PAGE)
    entry = place + 8 * (first >> shift & 511)
    processor.ram.write(entry, struct.pack("<Q", P | W | U | PS))
    far = first + (1 << shift) - 0x1000
    assert processor.call("resolve", far, 0, 0) is None
    processor.ram.write(entry, struct.pack("<Q", 0))
    assert processor.call("invalidate_page", first) is None
    assert processor.call("resolve", far, 0, 0) == Trouble(PF, 0)
