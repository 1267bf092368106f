"""When the mode key is made anew, and with it the epoch in the tags of branch caches."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_, or_

from bt.codegen.value import Value
from bt.x86 import flags, state
from bt.x86.context import Context
from bt.x86.fp.fp_state import AHEAD, FP_PREPARE
from bt.x86.mode import (
    ALIGNMENT_FREE,
    BREAKPOINT_FREE,
    CODE_32,
    CODE_64,
    CS_4_GIB,
    CS_64_KIB,
    DATA_64_KIB,
    DENSE_BITS,
    DENSE_SHIFT,
    EPOCH_BITS,
    FLAT_BIT,
    IN_64_BIT_MODE,
    LONG_EPOCH_BITS,
    LONG_TAG,
    MODE_BITS,
    PARAGRAPH_BASES,
    PARAGRAPHS,
    PLAIN_TAG,
    RIP_BITS,
    STACK_32,
    USER,
    WHOLE_CODE_SEGMENT,
)
from bt.x86.state import BRANCH_CACHE_ENTRY_BYTES, CS, DS, ES, FS, GS, SS
from bt.x86.system.operating_mode import has_8086_segments, in_virtual_8086_mode, is_long_mode
from bt.x86.system.paging.fetched_pages import forget_fetches
from bt.x86.system.registers.control_registers import (
    CR0_AM,
    DR7_ENABLED,
)


def _whole(b: Context, segment: int) -> Value:
    """Whether an access at any offset is good, i1; of CS, to read."""
    part = "read" if segment == CS else "write"
    whole = b.get_segment(segment, f"{part}_low") == 0
    whole = whole & (b.get_segment(segment, f"{part}_high") == state.WHOLE_LIMIT)
    return whole & (b.get_segment(segment, "read_high") == state.WHOLE_LIMIT)


def _flat(b: Context, segment: int) -> Value:
    return _whole(b, segment) & (b.get_segment(segment, "base") == 0)


def _reaches_64_kib(b: Context, segment: int) -> Value:
    from_0 = (b.get_segment(segment, "read_low") | b.get_segment(segment, "write_low")) == 0
    return from_0 & b.get_segment(segment, "read_high").uge(0xFFFF) & b.get_segment(segment, "write_high").uge(0xFFFF)


def _has_paragraphs(b: Context) -> Value:
    """In real or virtual-8086 mode: whether all segments are as a load there leaves them, but for bases, i1."""
    usual = b.select(in_virtual_8086_mode(b), b.const(state.ACCESS_VIRTUAL_8086, 64), state.ACCESS_REAL)
    segments = (ES, CS, SS, DS, FS, GS)
    differences = [b.get_segment(segment, "limit") ^ state.LIMIT_8086 for segment in segments]
    differences += [b.get_segment(segment, "attributes") ^ usual for segment in segments]
    return (reduce(or_, differences) | (b.get_segment(CS, "base") & ~PARAGRAPH_BASES)) == 0


# Emits what memory wants to know of a mode: user, checked, watched (`AccessCode`, bt/memory/backend.py).
ChooseRights = Callable[[Context, Value, Value, Value], None]


def emit_begin_epoch(b: Context, choose_rights: ChooseRights) -> None:
    """Body of `begin_epoch`: what linear addresses mean may have changed. The mode has not, or will be made anew."""
    epoch = _new_epoch(b)
    b.put("mapped_since", epoch)
    b.put("code_epoch", epoch)
    forget_fetches(b)
    mode = b.get("mode")
    choose_rights(b, (mode & USER) != 0, (mode & ALIGNMENT_FREE) == 0, b.get("debugging") != 0)
    _put_tag(b, mode)


def _new_epoch(b: Context) -> Value:
    epoch = b.get("epoch") + 1
    b.put("epoch", epoch)
    bits = b.select(is_long_mode(b), b.const((1 << LONG_EPOCH_BITS) - 1, 64), (1 << EPOCH_BITS) - 1)
    with b.Unlikely((epoch & bits) == 0):
        forget_branches(b)
        b.put("mapped_since", epoch)
    return epoch


def forget_branches(b: Context) -> None:
    """Empty the caches of branch targets.

    Tags have the low bits of the epoch only: an entry that is old enough would match again. Those of 64-bit code have
    few, so that this is to be done, too, whenever EFER.LMA is set: nobody has looked at them since it was cleared.
    """
    for cache, entries in (
        ("branch_cache", state.BRANCH_CACHE_ENTRIES),
        ("record_cache", state.BRANCH_CACHE_ENTRIES),
        ("return_stack", state.RETURN_STACK_ENTRIES),
    ):
        with b.Range(entries * BRANCH_CACHE_ENTRY_BYTES, step=BRANCH_CACHE_ENTRY_BYTES) as at:
            b.store(b.slot(cache) + at, b.const(-1, 64))
    size = b.select(is_long_mode(b), b.const(state.BRANCH_CACHE_ENTRIES * BRANCH_CACHE_ENTRY_BYTES, 64), 0)
    with b.Range(size, step=BRANCH_CACHE_ENTRY_BYTES) as at:  # entering it has it forgotten
        b.store(b.slot("unit_cache") + at, b.const(-1, 64))


def _enter_code_segment(b: Context, segment: Value) -> None:
    """The epoch of another code segment: the one it had, if nothing else has changed since, or one of its own."""
    b.put("code_segment", segment)
    mixed = segment ^ (segment >> 8)  # bases end in zeros, of various lengths
    place = ((mixed >> 4) ^ (mixed >> 8)) & (state.KNOWN_SEGMENTS - 1)
    entry = b.slot("known_segments") + (place << 4)
    known = (b.load(entry, 64) == segment) & b.load(entry + 8, 64).uge(b.get("mapped_since"))
    with b.IfElse(known) as arm:
        with arm.then():
            b.put("code_epoch", b.load(entry + 8, 64))
        with arm.otherwise():
            epoch = _new_epoch(b)
            b.put("code_epoch", epoch)
            b.store(entry, segment)
            b.store(entry + 8, epoch)


def emit_update_mode(b: Context, choose_rights: ChooseRights) -> None:
    """Body of `update_mode`: mode key, rights of memory accesses, tag of the branch caches.

    The caches are searched by EIP, so that another base of CS makes all that is in them useless, and another limit may:
    each code segment has an epoch of its own.
    """
    user = b.get("cpl") == 3
    mode = user.zext(64) * USER
    for segment, bit in FLAT_BIT.items():
        mode = mode | (_flat(b, segment).zext(64) * bit)
    for limit, bit in ((0xFFFF, CS_64_KIB), (0xFFFFFFFF, CS_4_GIB)):
        mode = mode | ((b.get_segment(CS, "limit") == limit).zext(64) * bit)
    for segment, bit in ((CS, CODE_32), (SS, STACK_32)):
        big = (b.get_segment(segment, "attributes") & state.ATTR_BIG) != 0
        mode = mode | (big.zext(64) * bit)
    whole, paragraphs = b.local(1, 0), b.local(1, 0)
    with b.If((b.get_segment(SS, "attributes") & state.ATTR_BIG) == 0):  # the others need not pay for it
        whole.set(reduce(and_, (_reaches_64_kib(b, segment) for segment in (ES, SS, DS, FS, GS))))
        with b.If(whole.get() & has_8086_segments(b)):
            paragraphs.set(_has_paragraphs(b))
    mode = mode | (whole.get().zext(64) * DATA_64_KIB) | (paragraphs.get().zext(64) * PARAGRAPHS)
    may_check = user & ((b.get("cr0") & CR0_AM) != 0)
    checked = may_check & ((b.get("eflags_system") & flags.AC) != 0)
    mode = mode | ((~checked).zext(64) * ALIGNMENT_FREE)
    debugging = (b.get("dr", 7) & DR7_ENABLED) != 0
    mode = mode | ((~debugging).zext(64) * BREAKPOINT_FREE)
    long_code = (b.get_segment(CS, "attributes") & state.ATTR_LONG) != 0
    long_code = long_code & is_long_mode(b)
    mode = b.select(long_code, (mode & IN_64_BIT_MODE) | CODE_64, mode)
    b.put("debugging", debugging)
    with b.Unlikely(((b.get("mode") & CODE_64) != 0) & ~long_code):
        _forget_upper_halves(b)
    b.put("mode", mode)
    b.put("fp_ready", 0)  # CR0 and CR4 have a say in it
    with b.Unlikely((b.get("units_need") != 0) & (b.get("fp_loaded") != 0)):
        b.call(FP_PREPARE, b.cpu, AHEAD)
    choose_rights(b, user, checked, debugging)
    for place, segment in enumerate((FS, GS)):
        base_at = b.segment_slot(segment, "base").zext(64)
        b.store(b.slot("whole_bases", place), b.select(_whole(b, segment), base_at, state.NOWHERE))
    code_segment = b.get_segment(CS, "base") | (b.get_segment(CS, "limit") << 32)
    code_segment = b.select(long_code, b.const(WHOLE_CODE_SEGMENT, 64), code_segment)
    with b.Unlikely(code_segment != b.get("code_segment")):
        _enter_code_segment(b, code_segment)
    _put_tag(b, mode)


def _forget_upper_halves(b: Context) -> None:
    """Of the registers that 32-bit code can name: they are undefined in it (SDM vol. 1 3.4.1.1), so translators need
    not keep them."""
    for number in range(8):
        b.put("gpr", b.get("gpr", number) & 0xFFFFFFFF, number)


def emit_switch_level(b: Context, choose_rights: ChooseRights) -> None:
    """Body of `switch_level`: `update_mode` where CPL alone has become 0 or 3. No breakpoint is enabled, no alignment
    checked."""
    user = b.get("cpl") == 3
    mode = (b.get("mode") & ~USER) | (user.zext(64) * USER) | ALIGNMENT_FREE
    b.put("mode", mode)
    choose_rights(b, user, b.const(0, 1), b.const(0, 1))
    _put_tag(b, mode)


def _put_tag(b: Context, mode: Value) -> None:
    tag = ((b.get("code_epoch") << MODE_BITS) | mode) << 32 & PLAIN_TAG
    dense = (mode >> DENSE_SHIFT) & ((1 << DENSE_BITS) - 1)
    long_tag = (b.get("code_epoch") << DENSE_BITS | dense) << RIP_BITS | LONG_TAG
    b.put("code_tag", b.select((mode & CODE_64) != 0, long_tag, tag))
