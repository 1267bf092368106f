"""What is worth a unit: places are counted as tier 1 comes back to them, then the path taken from there is noted.

After Duesterwald and Bala, "Software profiling for hot path prediction: less is more" (ASPLOS 2000): what is executed
next when a place has become hot is most likely what usually follows. The path is run by the interpreter, block by
block, so that recording changes nothing that a guest could find out.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.engine.identity.layout import (
    EAGER,
    HEAT_ENTRIES,
    HEAT_UNIT,
    HOT_SAMPLES,
    PAGED_HEAT_SHIFT,
    PATH_BLOCKS,
    PATH_INSNS,
    PATHS,
    UNIT,
    UNIT_BYTES,
)
from bt.engine.structures import BLOCK, BLOCK_BYTES, CONTROL, IN_UNIT
from bt.memory.access import NativeContext
from bt.memory.backend import KNOWN_TRANSLATION, NOT_KNOWN
from bt.memory.host_mmu.code import view_usable
from bt.x86.exits import ExitReason
from bt.x86.fp.fp_state import AHEAD, FP_PREPARE
from bt.x86.page import PAGE
from bt.x86.services import CODE_WRITTEN, UPDATE_MODE
from bt.x86.state import CS
from bt.x86.system.operating_mode import is_paging

_PAGE_SHIFT = PAGE.bit_length() - 1

NOTE_HEAT = native("note_heat", PTR, "i32")  # EIP that tier 1 leads back to
COLD, HOT, INDIFFERENT = range(3)  # leave the way as it is; a path is being recorded; all ways may be short
NOTE_BLOCK = native("note_block", PTR, PTR)  # the next block of the path
NOTED, PATH_ENDS = range(2)
KILL_UNITS = native("kill_units", PTR, PTR)  # those with code from a block
KILL_UNIT = native("kill_unit", PTR, "i64")  # by number
OWN_FAULTS = native("own_faults", PTR)  # see bt/engine/identity/signals.py


def code_linear(b: NativeContext, eip: Value) -> Value:
    """The linear address of an EIP in the present code segment (i32)."""
    return eip + b.get_segment(CS, "base", width=32)


def heat_slot(b: NativeContext, linear: Value) -> Value:
    """Where it is counted how often a place was come back to."""
    control = b.get_pointer("engine")
    place = (linear ^ (linear >> 16)).zext(64) & (HEAT_ENTRIES - 1)
    return CONTROL.get_pointer(b, control, "heat") + (place << 1)


def is_counted(b: NativeContext, linear: Value) -> Value:
    """Whether it is counted how often a place is come back to (i1).

    With paging, where each place of an operating system has its turn, only where much of the time goes.
    """
    limit, is_paged = b.get("heat_limit"), is_paging(b)
    sampled = b.load(_sampled(b, linear), 8).uge(HOT_SAMPLES)
    return (limit != 0) & (limit.ule(PATHS) | ~is_paged | sampled)


def is_known_at_once(b: NativeContext) -> Value:
    """Whether the branch cache may know a place that is come to for the first time (i1).

    With paging it may wherever the interpreter has led: system calls and IRET go to the same places all the time.
    """
    limit = b.get("heat_limit")
    return (limit == 0) | (limit.ugt(PATHS) & is_paging(b))


def _sampled(b: NativeContext, linear: Value) -> Value:
    return CONTROL.get_pointer(b, b.get_pointer("engine"), "samples") + (linear >> _PAGE_SHIFT).zext(64)


def sample(b: NativeContext) -> None:
    """At the end of a run: note where the guest is, if time has come to an end."""
    counts = b.get("heat_limit").ugt(PATHS) & is_paging(b)
    counts = counts & (b.get("exit_reason") == int(ExitReason.BUDGET))
    with b.If(counts):
        note_sample(b, code_linear(b, b.get("eip", width=32)))


def note_sample(b: NativeContext, linear: Value, times: int = 1) -> None:
    """The guest was found in a page; when that has happened HOT_SAMPLES times, places there are counted."""
    place = _sampled(b, linear)
    before = b.load(place, 8)
    now = before + times
    with b.If(now.ult(HOT_SAMPLES)):
        b.store(place, now)
    with b.If(before.ult(HOT_SAMPLES) & now.uge(HOT_SAMPLES)):
        known = b.call(KNOWN_TRANSLATION, b.cpu, linear.zext(64))
        with b.If(known != NOT_KNOWN):
            b.store(place, b.const(HOT_SAMPLES, 8))
            b.call(CODE_WRITTEN, b.cpu, known & -PAGE, PAGE)  # its ways are short already


def emit_note_heat(b: NativeContext) -> None:
    """Body of `note_heat`."""
    linear = code_linear(b, b.arguments[1])
    slot = heat_slot(b, linear)
    with b.If(~is_counted(b, linear)):
        b.ret(INDIFFERENT)
    heat = b.load(slot, 16)
    with b.If(heat.uge(HEAT_UNIT)):
        b.ret(INDIFFERENT)
    limit = b.get("heat_limit")
    with_pages = is_paging(b) & limit.ugt(PATHS)
    with b.If((heat.zext(64) + 1).ult(b.select(with_pages, limit << PAGED_HEAT_SHIFT, limit))):
        b.store(slot, heat + 1)
        b.ret(COLD)
    with b.If(b.get("recording") == 0):
        b.store(slot, b.const(0, 16))
        control = b.get_pointer("engine")
        b.put("recording", 1)
        CONTROL.put(b, control, "recorded_count", 0)
        CONTROL.put(b, control, "recorded_insns", 0)
        CONTROL.put(b, control, "recorded_base", b.get_segment(CS, "base"))
    b.ret(HOT)


def emit_note_block(b: NativeContext) -> None:
    """Body of `note_block`."""
    block = b.arguments[1]
    control = b.get_pointer("engine")
    count, insns = CONTROL.get(b, control, "recorded_count"), CONTROL.get(b, control, "recorded_insns")
    path = CONTROL.get_pointer(b, control, "recorded")
    closes = (count != 0) & (b.load(path, 64) == block.zext(64))
    ends = closes | (count == PATH_BLOCKS) | insns.uge(PATH_INSNS)
    # the block that it goes on to is noted too: how the last branch went
    with b.If(count.ule(PATH_BLOCKS)):
        b.store(path + (count << 3), block.zext(64))
        CONTROL.put(b, control, "recorded_count", count + 1)
        CONTROL.put(b, control, "recorded_insns", insns + BLOCK.get(b, block, "count").zext(64))
    # eagerly it is the whole path, which has not even run
    with b.If(ends | (b.get("heat_limit") == EAGER)):
        b.put("recording", 0)
        b.put("exit_reason", int(ExitReason.PROMOTE))
        b.ret(PATH_ENDS)
    b.ret(NOTED)


def prepare_units(b: NativeContext) -> None:
    """At the beginning of a run: whether to begin with tier 2, a path that was cut short; GS for the view, the signal
    handler in its place."""
    b.put("recording", 0)
    rests = b.get("paged_view_rests")
    with b.Unlikely((rests != 0) & b.get("icount_base").uge(rests)):
        b.put("paged_view_rests", 0)
        b.call(UPDATE_MODE, b.cpu)
    control = b.get_pointer("engine")
    is_over = CONTROL.get(b, control, "run_cycles").uge(b.get("patience"))
    with b.Unlikely(is_over & (b.get("exit_reason") == 0)), b.If(view_usable(b)):
        b.put("exit_reason", int(ExitReason.PROMOTE))
    with b.Unlikely(b.get("view") != 0):
        b.asm("wrgsbase $0", "r", "void", b.get("view"))
        b.call(OWN_FAULTS, b.cpu)
        with b.If(b.get("units_need") != 0):
            b.call(FP_PREPARE, b.cpu, AHEAD)
    with b.Unlikely((CONTROL.get(b, control, "recorded_count") != 0) & (b.get("exit_reason") == 0)):
        b.put("exit_reason", int(ExitReason.PROMOTE))


def may_enter(b: NativeContext) -> Value:
    """Whether a unit may be entered now, i1; `IdentityTier` has the same for the ways in from fragments."""
    return (b.get("view_open") != 0) & ((b.get("units_need") & ~b.get("fp_ready")) == 0)


def emit_kill_units(b: NativeContext) -> None:
    """Body of `kill_units`."""
    control, block = b.get_pointer("engine"), b.arguments[1]
    BLOCK.put(b, block, "in_units", 0)
    number = (block.zext(64) - CONTROL.get(b, control, "blocks_base")).udiv(BLOCK_BYTES).trunc(32)
    members = CONTROL.get_pointer(b, control, "members")
    with b.Range(CONTROL.get(b, control, "members_next")) as i:
        pair = members + (i << 3)
        with b.If(b.load(pair, 32) == number):
            b.call(KILL_UNIT, b.cpu, b.load(pair + 4, 32).zext(64))


def emit_kill_unit(b: NativeContext) -> None:
    """Body of `kill_unit`: nobody finds it any more, and the fragment that led to it is itself again."""
    control = b.get_pointer("engine")
    unit = CONTROL.get_pointer(b, control, "units") + (b.arguments[1] * UNIT_BYTES)
    with b.If(UNIT.get(b, unit, "dead") != 0):
        b.ret(0)
    shut_way_in(b, unit)
    UNIT.put(b, unit, "dead", 1)
    CONTROL.count(b, control, "units_killed")
    b.store(UNIT.get_pointer(b, unit, "slot"), CONTROL.get(b, control, "miss_gate"))
    block = UNIT.get_pointer(b, unit, "block")
    in_units = BLOCK.get(b, block, "in_units")
    BLOCK.put(b, block, "in_units", in_units & IN_UNIT)
    b.store(heat_slot(b, UNIT.get(b, unit, "linear")), b.const(0, 16))


def shut_way_in(b: NativeContext, unit: Value) -> None:
    """The fragment that led to a unit is itself again; not that of a dead unit, whose block may be dead as well."""
    block, control = UNIT.get_pointer(b, unit, "block"), b.get_pointer("engine")
    where = BLOCK.get(b, block, "host") + CONTROL.get(b, control, "write_delta")
    with b.If(UNIT.get(b, unit, "dead") == 0):
        b.store(where.to_pointer(), UNIT.get(b, unit, "head"))
