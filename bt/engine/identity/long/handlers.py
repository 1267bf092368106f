"""How the interpreter comes to units of 64-bit code and back: handlers of records, like any other.

The first record of a block has a handler that counts (`COUNT`), until the block has a unit or can have none: then it is
the unit's entry, or the instruction's own handler. So nobody looks for units: they are found as records are.
"""

from __future__ import annotations

from bt.codegen.builder import Module
from bt.codegen.value import PTR, Value
from bt.engine.branch_tags import branch_cache_offset, branch_tag
from bt.engine.identity.long.layout import (
    DEAR_INSNS,
    LONG_PATH_RECORDS,
    LONG_UNIT,
    LONG_UNIT_BYTES,
    MOST_MISSES,
)
from bt.engine.identity.long.signatures import (
    COUNT,
    ENTER,
    KILL_LONG_UNITS,
    LEAVE_NEIGHBOURS,
    LEAVE_SAMPLED,
    LEAVE_TO,
    LEAVE_UNIT,
    PREPARE_FP,
)
from bt.engine.interp.context import DISPATCH, HandlerContext
from bt.engine.structures import BLOCK_BYTES, CONTROL, LONG_RECORD, LONG_VARIANTS, RECORD
from bt.memory.access import NativeContext
from bt.x86 import flags
from bt.x86.exits import ExitReason
from bt.x86.fp.fp_state import AHEAD, FP_PREPARE

_OVERFLOW_SHIFT = flags.OF.bit_length() - 1


def emit_long_handlers(module: Module) -> None:
    """Add the handlers to a module."""
    for signature, body in (
        (COUNT, _count),
        (ENTER, _enter),
        (LEAVE_UNIT, _leave_unit),
        (LEAVE_TO, _leave_to),
        (LEAVE_NEIGHBOURS, _leave_neighbours),
        (LEAVE_SAMPLED, _leave_sampled),
        (PREPARE_FP, _prepare_fp),
    ):
        b = HandlerContext(module, signature, long=True)
        body(b)
        b.finish()


def own_handler(b: HandlerContext) -> Value:
    """The handler of the record's instruction."""
    number = b.field("form").zext(64) * LONG_VARIANTS + b.field("variant").zext(64)
    handlers = CONTROL.get_pointer(b, b.get_pointer("engine"), "long_handlers")
    return b.load(handlers + (number << 3), PTR)


def _go_own(b: HandlerContext) -> None:
    b.tail_call(own_handler(b), b.signature, [b.record, b.cpu, "poison", b.budget])


def _note_record(b: HandlerContext, control: Value) -> None:
    """Note the block that begins at the record; where the path ends there, leave for it to be made a unit."""
    count = CONTROL.get(b, control, "long_recorded_count")
    path = CONTROL.get_pointer(b, control, "long_recorded")
    b.store(path + (count << 3), b.record.zext(64))
    CONTROL.put(b, control, "long_recorded_count", count + 1)
    closes = (count != 0) & (b.load(path, 64) == b.record.zext(64))
    is_unit = b.free == 1
    is_eager = CONTROL.get(b, control, "long_heat_wanted") == 1
    ends = closes | (count + 1).uge(LONG_PATH_RECORDS) | is_unit | is_eager
    with b.If(ends & (b.get("exit_reason") == 0)):
        b.put("exit_reason", int(ExitReason.PROMOTE))
        b.put("eip", b.this_eip())
        b.go(DISPATCH)


def _may_note(b: HandlerContext, recorded: Value) -> Value:
    """Whether there is room in the path, and the record's instruction is the next to run, i1: without budget there may
    be a trap first, which leaving would lose."""
    return recorded.ult(LONG_PATH_RECORDS) & b.budget.sgt(0)


def _count(b: HandlerContext) -> None:
    control = b.get_pointer("engine")
    recorded = CONTROL.get(b, control, "long_recorded_count")
    heat = b.field("heat") + 1
    LONG_RECORD.put(b, b.record, "heat", heat)
    is_hot = heat.zext(64) == CONTROL.get(b, control, "long_heat_wanted")
    with b.Unlikely((is_hot | (recorded != 0)) & _may_note(b, recorded)):
        b.free = b.const(0, 64)
        _note_record(b, control)
    _go_own(b)


def _enter(b: HandlerContext) -> None:
    control = b.get_pointer("engine")
    hot = b.free
    recorded = CONTROL.get(b, control, "long_recorded_count")
    with b.Unlikely((recorded != 0) & _may_note(b, recorded)):
        b.free = b.const(1, 64)
        _note_record(b, control)
        _go_own(b)
    eip = b.this_eip()
    place = b.slot("unit_cache") + branch_cache_offset(eip)
    b.store(place, branch_tag(b, eip))
    b.store(place + 8, hot)
    b.put("budget", b.budget)
    b.put("unit_entered", b.budget)
    b.put("in_unit", 1)
    image = flags.read_arithmetic(b).zext(64)
    b.put("host_flags", ((image & 0xFF) << 8) | ((image >> _OVERFLOW_SHIFT) & 1))
    resume = CONTROL.get_pointer(b, control, "long_resume")
    b.tail_call(resume, b.signature, [b.record, b.cpu, hot, b.budget])


def _settle(b: HandlerContext) -> Value:
    """Flags as the interpreter has them; answers the control block."""
    control = b.get_pointer("engine")
    b.budget = b.get("budget")
    saved = b.get("host_flags")
    flags.write_arithmetic(b, ((saved >> 8) & 0xFF) | ((saved & 1) << _OVERFLOW_SHIFT))
    CONTROL.count(b, control, "unit_insns", b.get("unit_entered") - b.budget)
    b.put("in_unit", 0)
    return control


def _leave_unit(b: HandlerContext) -> None:
    _go_on(b, _settle(b))


def _go_on(b: HandlerContext, control: Value) -> None:
    handler_now = RECORD.get(b, b.record, "handler")
    with b.Unlikely(handler_now == CONTROL.get(b, control, "long_stale_handler")):
        b.go_record(b.record)
    _go_own(b)


def _leave_neighbours(b: HandlerContext) -> None:
    control = _settle(b)
    unit = b.get_pointer("scratch")
    misses = LONG_UNIT.get(b, unit, "misses") + 1
    LONG_UNIT.put(b, unit, "misses", misses)
    with b.Unlikely(misses == MOST_MISSES):
        now = CONTROL.get(b, control, "unit_insns")
        is_dear = (now - LONG_UNIT.get(b, unit, "counted_from")).ult(MOST_MISSES * DEAR_INSNS)
        LONG_UNIT.put(b, unit, "misses", 0)
        LONG_UNIT.put(b, unit, "counted_from", now)
        _have_made(b, control, is_dear, "long_dear_unit", unit)
    _go_on(b, control)


def _leave_sampled(b: HandlerContext) -> None:
    control = _settle(b)
    unit = b.get_pointer("scratch")
    samples = LONG_UNIT.get(b, unit, "samples") + 1
    LONG_UNIT.put(b, unit, "samples", samples)
    with b.Unlikely(samples.uge(CONTROL.get(b, control, "long_samples_wanted"))):
        # see `_may_note`; who comes to a dead unit may leave here, too (`Entry.wants_no_flags`)
        is_wanted = b.budget.sgt(0) & (LONG_UNIT.get(b, unit, "dead") == 0)
        _have_made(b, control, is_wanted, "long_hot_unit", unit)
    _go_on(b, control)


def _have_made(b: HandlerContext, control: Value, condition: Value, field: str, unit: Value) -> None:
    """Leave for Python to make a unit anew, if it is asked for nothing else."""
    with b.If(condition & (b.get("exit_reason") == 0)):
        CONTROL.put(b, control, field, unit.zext(64))
        b.put("exit_reason", int(ExitReason.PROMOTE))
        b.put("eip", b.this_eip())
        b.go(DISPATCH)


def _leave_to(b: HandlerContext) -> None:
    target = b.free
    _settle(b)
    b.put("eip", target)
    b.run_from(target)


def _prepare_fp(b: HandlerContext) -> None:
    b.call(FP_PREPARE, b.cpu, AHEAD)
    resume = CONTROL.get_pointer(b, b.get_pointer("engine"), "long_resume")
    b.tail_call(resume, b.signature, [b.record, b.cpu, b.free, b.budget])


# -- the end of units ------------------------------------------------------------------------------------------------


def _kill_long_units(b: NativeContext) -> None:
    control, block = b.get_pointer("engine"), b.arguments[1]
    number = (block.zext(64) - CONTROL.get(b, control, "blocks_base")).udiv(BLOCK_BYTES).trunc(32)
    members = CONTROL.get_pointer(b, control, "long_members")
    with b.Range(CONTROL.get(b, control, "long_members_next")) as i:
        pair = members + (i << 3)
        with b.If(b.load(pair, 32) == number):
            unit = CONTROL.get_pointer(b, control, "long_units") + (b.load(pair + 4, 32).zext(64) * LONG_UNIT_BYTES)
            with b.If(LONG_UNIT.get(b, unit, "dead") == 0):
                _kill(b, control, unit)


def _kill(b: NativeContext, control: Value, unit: Value) -> None:
    """Nobody finds it any more: its record has its own handler again, and other units that come to it leave there."""
    LONG_UNIT.put(b, unit, "dead", 1)
    CONTROL.count(b, control, "units_killed")
    record = LONG_UNIT.get_pointer(b, unit, "record")
    with b.If(RECORD.get(b, record, "handler") == LONG_UNIT.get(b, unit, "entry")):
        number = LONG_RECORD.get(b, record, "form").zext(64) * LONG_VARIANTS
        number = number + LONG_RECORD.get(b, record, "variant").zext(64)
        handlers = CONTROL.get_pointer(b, control, "long_handlers")
        RECORD.put(b, record, "handler", b.load(handlers + (number << 3), 64))
    for place, code in (("hot", "dead_jump"), ("inside", "dead_inside")):
        where = LONG_UNIT.get(b, unit, place) + CONTROL.get(b, control, "write_delta")
        b.store(where.to_pointer(), LONG_UNIT.get(b, unit, code))


RUNTIME = ((KILL_LONG_UNITS, _kill_long_units),)
