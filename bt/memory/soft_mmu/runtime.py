"""The soft MMU's native functions: the fill of the TLB, and what takes entries out of it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bt.codegen.abi import Signature
from bt.codegen.value import PTR, Value
from bt.memory.access import Body, NativeContext
from bt.memory.backend import (
    ACCESS_FETCH,
    ACCESS_SYSTEM,
    DIRECT,
    KNOWN_TRANSLATION,
    NOT_KNOWN,
    PROTECT,
    RESOLVE,
)
from bt.memory.host_mmu.code import flush_views, flush_views_at, protect_views
from bt.memory.physical import CODE_GRANULE_SHIFT, PhysicalPage, code_map_slot, is_dirty, mark_dirty
from bt.memory.soft_mmu.code import entry_offset, only_code_is_in_the_way, tag_of
from bt.memory.soft_mmu.layout import (
    ADDEND,
    EMPTY,
    INVALID_TAG,
    PHYSICAL,
    PHYSICAL_FLAGS,
    READ_TAG,
    SUPERVISOR,
    SUPERVISOR_64,
    TLB_ENTRY_BYTES,
    USER,
    USER_64,
    WRITE_TAG,
)
from bt.memory.soft_mmu.reaches import forget_reaches, forget_reaches_of
from bt.x86 import services
from bt.x86.context import OK
from bt.x86.mode_update import forget_branches
from bt.x86.page import HUGE_SHIFT, PAGE, REGION_SHIFT
from bt.x86.services import WALKED_WRITABLE
from bt.x86.state import FLUSH_FOR_PYTHON, LARGE_REGIONS_SLOTS
from bt.x86.system.operating_mode import is_long_mode
from bt.x86.system.paging.fetched_pages import was_fetched

SAMPLED = 256


def _resolve(b: NativeContext) -> None:
    _, linear, write, flags = b.arguments
    system = flags & ACCESS_SYSTEM
    table = b.select(system != 0, b.get_pointer("tlb_system"), b.get_pointer("tlb"))
    entry = table + entry_offset(linear)
    wanted = tag_of(linear)
    tag = b.load(b.select(write != 0, entry + WRITE_TAG, entry + READ_TAG), 64)
    fetch = flags & ACCESS_FETCH
    # what lies beside code is stored to time and again
    with b.If((tag == wanted) | ((write != 0) & only_code_is_in_the_way(b, entry, linear))):
        not_executable = b.load(entry + PHYSICAL, 32) & services.WALKED_NO_EXECUTE
        with b.Likely((fetch == 0) | (not_executable == 0)):
            b.put("memory_value", b.load(entry + ADDEND, 64) + linear)
            known = b.load(entry + PHYSICAL, 64) & ~PHYSICAL_FLAGS
            b.put("exit_address", known | (linear & (PAGE - 1)))
            b.ret(OK)
    # one of SAMPLED fills is measured, for all of them: reading the host's counter takes a fifth of a fill
    started = b.local(64, 0)
    with b.Unlikely((b.get("tlb_fills") & (SAMPLED - 1)) == SAMPLED - 1):
        started.set(b.cycles())
    user = b.select((system == 0) & (b.get("cpl") == 3), b.const(services.WALK_USER, 32), 0)
    kind = user | write | b.select(fetch != 0, b.const(services.WALK_FETCH, 32), 0)
    status = b.call(services.PAGE_WALK, b.cpu, linear, kind)
    with b.Unlikely(status != OK):
        # entries of the page go with a page fault (SDM vol. 3A 4.10.4.1), which handlers that map it anew count on
        b.attempt(services.INVALIDATE_PAGE, b.cpu, linear)
        b.ret(status)
    walked = b.get("walk_flags")
    with b.Unlikely((walked & services.WALKED_LARGE) != 0):
        slot, bit = _large_region(b, linear)
        b.store(slot, b.load(slot, 64) | bit)
        b.put("tlb_has_huge", b.get("tlb_has_huge") | (walked & services.WALKED_HUGE))
    physical = b.get("memory_value") & -PAGE
    within = linear & (PAGE - 1)
    b.put("exit_address", physical | within)
    there = PhysicalPage(b, physical)
    with b.If(~there.is_memory):
        b.put("memory_value", 0)
        b.ret(OK)
    b.count("tlb_fills")
    with b.If((write != 0) & there.is_writable):
        mark_dirty(b, physical)
    b.put("memory_value", there.host | within)
    with b.Unlikely(table == b.slot(EMPTY)):  # which stays empty
        b.ret(OK)
    # the first store since the dirty log was read has to come by here, and all stores to code, and to ROM, which is
    # never marked
    in_the_way = (b.load(code_map_slot(b, physical), 64) != 0) | ~is_dirty(b, physical)
    writable = (walked & WALKED_WRITABLE) != 0
    before = b.load(entry + READ_TAG, 64)
    with b.If(before != INVALID_TAG):
        forget_reaches_of(b, before)
    b.store(entry + WRITE_TAG, b.select(writable & ~in_the_way, wanted, b.const(INVALID_TAG, 64)))
    b.store(entry + READ_TAG, wanted)
    b.store(entry + ADDEND, there.host - (linear & -PAGE))
    kept = walked & (services.WALKED_GLOBAL | services.WALKED_NO_EXECUTE | services.WALKED_LARGE)
    settled = (write != 0) & there.is_writable
    b.store(entry + PHYSICAL, physical | kept | b.select(settled, walked & WALKED_WRITABLE, b.const(0, 64)))
    _is_full(b, entry)
    b.put("tlb_has_global", b.get("tlb_has_global") | (kept & services.WALKED_GLOBAL))
    with b.Unlikely(started.get() != 0):
        took = (b.cycles() - started.get()) * SAMPLED
        b.put("tlb_fill_cycles", b.get("tlb_fill_cycles") + took)


def _direct(b: NativeContext) -> None:
    _, linear, write, size = b.arguments
    null = b.const(0, PTR)
    entry = b.get_pointer("tlb") + entry_offset(linear)
    wanted = tag_of(linear)
    tag = b.select(write != 0, entry + WRITE_TAG, entry + READ_TAG)
    with b.If(b.load(tag, 64) != wanted):
        saved_cr2 = b.get("cr2")
        status = b.call(RESOLVE, b.cpu, linear, write, 0)
        with b.If(status != OK):
            b.put("cr2", saved_cr2)  # only a probe: the checked access that follows raises the fault
        with b.If(b.load(tag, 64) != wanted):
            # granules of code from the first to the last that are touched
            first, last = (at >> CODE_GRANULE_SHIFT & 63 for at in (linear, linear + size - 1))
            touched = (b.const(-1, 64) << first) & (b.const(-1, 64) >> (b.const(63, 64) - last))
            code = b.load(code_map_slot(b, b.load(entry + PHYSICAL, 64)), 64) & touched
            with b.If((write == 0) | (code != 0) | ~only_code_is_in_the_way(b, entry, linear)):
                b.ret(null)
    b.ret(b.load(entry + ADDEND, PTR) + linear)


def _is_full(b: NativeContext, entry: Value) -> None:
    """Note that an entry of one of TABLES is not empty any more."""
    place = (entry.zext(64) - b.slot(SUPERVISOR).zext(64)) >> (TLB_ENTRY_BYTES.bit_length() - 1)
    slot, bit = b.bit_place("tlb_filled", place)
    b.store(slot, b.load(slot, 64) | bit)
    slot, bit = b.bit_place("tlb_filled_slots", place >> 6)
    b.store(slot, b.load(slot, 64) | bit)
    b.put("tlb_filled_rows", b.get("tlb_filled_rows") | (b.const(1, 64) << (place >> 12)))


@contextmanager
def _Filled(b: NativeContext) -> Iterator[tuple[Value, Value, Value]]:  # noqa: N802, it reads as b.Loop
    """For each entry that may not be empty: pointer to it; its slot of `tlb_filled` and its bit there, to be taken out
    by whoever empties it."""
    slots = b.slot("tlb_filled_slots")
    with b.EachBit(b.get("tlb_filled_rows")) as row, b.EachBit(b.load(slots + (row << 3), 64)) as column:
        place = (row << 6) + column
        slot = b.slot("tlb_filled") + (place << 3)
        with b.EachBit(b.load(slot, 64)) as bit:
            number = (place << 6) + bit
            yield b.slot(SUPERVISOR) + (number * TLB_ENTRY_BYTES), slot, b.const(1, 64) << bit


def _empty(b: NativeContext, entry: Value) -> None:
    b.store(entry + READ_TAG, b.const(INVALID_TAG, 64))
    b.store(entry + WRITE_TAG, b.const(INVALID_TAG, 64))


def _clear_tables(b: NativeContext, *, keep_global: bool) -> None:
    """Empty the tables; the entries of global pages stay with `keep_global`."""
    with _Filled(b) as (entry, slot, bit):
        stays = b.load(entry + PHYSICAL, 32) & services.WALKED_GLOBAL if keep_global else b.const(0, 32)
        with b.If(stays == 0):
            _empty(b, entry)
            b.store(slot, b.load(slot, 64) ^ bit)
    if not keep_global:
        with b.EachBit(b.get("tlb_filled_rows")) as row:
            b.store(b.slot("tlb_filled_slots") + (row << 3), b.const(0, 64))
        b.put("tlb_filled_rows", 0)


def _flush_tlb(b: NativeContext) -> None:
    b.count("tlb_flushes")
    forget_reaches(b)
    with b.IfElse((b.arguments[1] == 0) & (b.get("tlb_has_global") != 0)) as arm:
        with arm.then():
            _clear_tables(b, keep_global=True)
        with arm.otherwise():
            _clear_tables(b, keep_global=False)
            b.put("tlb_has_global", 0)
            b.put("tlb_has_huge", 0)
            for number in range(LARGE_REGIONS_SLOTS):
                b.put("large_regions", 0, number)
    flush_views(b, b.arguments[1] == 0)
    with b.Unlikely((b.arguments[1] == FLUSH_FOR_PYTHON) & is_long_mode(b)):
        forget_branches(b)
    b.call(services.BEGIN_EPOCH, b.cpu)
    with b.Unlikely(b.arguments[1] == FLUSH_FOR_PYTHON):
        b.call(services.UPDATE_MODE, b.cpu)


def _large_region(b: NativeContext, linear: Value) -> tuple[Value, Value]:
    """Pointer to the slot of `large_regions` for an address, and its bit there (i64 each)."""
    return b.bit_place("large_regions", (linear >> REGION_SHIFT) & (64 * LARGE_REGIONS_SLOTS - 1))


def invalidate_page(b: NativeContext, linear: Value) -> None:
    """What INVALIDATE_PAGE does, for a linear address (i64), without the call.

    A large page has an entry for each 4 KiB that were accessed, and goes as a whole (SDM vol. 3A 4.10.2.3).
    """
    tag = tag_of(linear)

    def empty(tables: Sequence[str]) -> None:
        for table in tables:
            entry = b.slot(table) + entry_offset(linear)
            with b.If(b.load(entry + READ_TAG, 64) == tag):
                _empty(b, entry)
                forget_reaches_of(b, tag)

    empty((SUPERVISOR, USER))
    with b.If(is_long_mode(b)):
        empty((SUPERVISOR_64, USER_64))
    slot, bit = _large_region(b, linear)
    regions = b.load(slot, 64)
    has_huge = b.get("tlb_has_huge") != 0
    is_large = ((regions & bit) != 0) | has_huge
    with b.Unlikely(is_large):
        forget_reaches(b)
        shift = b.select(has_huge, b.const(HUGE_SHIFT, 64), REGION_SHIFT)
        with _Filled(b) as (entry, _, _):
            other = b.load(entry + READ_TAG, 64)
            with b.If((other >> shift) == (tag >> shift)):
                _empty(b, entry)
        b.store(slot, regions & ~bit)
    flush_views_at(b, linear)
    with b.Unlikely(is_large | was_fetched(b, linear)):
        b.call(services.BEGIN_EPOCH, b.cpu)


def _protect(b: NativeContext) -> None:
    _, first, size = b.arguments
    forget_reaches(b)
    with _Filled(b) as (entry, _, _), b.If(((b.load(entry + PHYSICAL, 64) & ~PHYSICAL_FLAGS) - first).ult(size)):
        b.store(entry + WRITE_TAG, b.const(INVALID_TAG, 64))
        b.store(entry + PHYSICAL, b.load(entry + PHYSICAL, 64) & ~WALKED_WRITABLE)
    protect_views(b, first, size)


def _known_translation(b: NativeContext) -> None:
    linear = b.arguments[1]
    entry = b.get_pointer("tlb") + entry_offset(linear)
    tag = tag_of(linear)
    with b.If(b.load(entry + READ_TAG, 64) != tag):
        b.ret(NOT_KNOWN)
    writable = b.load(entry + WRITE_TAG, 64) == tag
    known = b.load(entry + PHYSICAL, 64) & ~WALKED_WRITABLE
    b.ret(known | (writable.zext(64) * WALKED_WRITABLE))


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (RESOLVE, _resolve),
    (DIRECT, _direct),
    (services.FLUSH_TLB, _flush_tlb),
    (services.INVALIDATE_PAGE, lambda b: invalidate_page(b, b.arguments[1])),
    (PROTECT, _protect),
    (KNOWN_TRANSLATION, _known_translation),
)
