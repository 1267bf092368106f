"""Ways into units by linear address: slots of the branch tables.

A slot is written when its unit is entered from tier 1, which finds code by physical address, and empty again as soon as
the address may mean something else. So what is found there is what the guest would fetch.
"""

from __future__ import annotations

from collections.abc import Callable

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.engine.identity.heat import KILL_UNIT
from bt.engine.identity.layout import (
    LONGEST_REST,
    MOST_DEBT,
    MOST_EARNED,
    PATHS,
    SHORTEST_REST,
    UNIT,
    UNIT_BYTES,
    WAY,
    WAY_BYTES,
    WAYS,
    WAYS_THERE,
)
from bt.engine.structures import CONTROL
from bt.memory.access import NativeContext
from bt.memory.backend import KNOWN_TRANSLATION, NOT_KNOWN
from bt.x86.page import REGION_SHIFT
from bt.x86.services import FORGET_WAYS, FORGET_WAYS_AT, WALKED_GLOBAL
from bt.x86.system.operating_mode import is_paging

NOTE_WAY = native("note_way", PTR, "i64")  # have the slot of a unit lead to it: its number

_SLOTS_A_PAGE = 512
_SLOT_PAGE = 8 * _SLOTS_A_PAGE


def emit_note_way(b: NativeContext) -> None:
    """Body of `note_way`."""
    control = b.get_pointer("engine")
    unit = CONTROL.get_pointer(b, control, "units") + (b.arguments[1] * UNIT_BYTES)
    slot = UNIT.get(b, unit, "slot")
    with b.If(b.load(slot.to_pointer(), 64) == 0):  # nobody has been at this page of the table
        page = slot & -_SLOT_PAGE
        with b.Range(_SLOTS_A_PAGE) as i:
            b.store((page + (i << 3)).to_pointer(), CONTROL.get(b, control, "miss_gate"))
        CONTROL.count(b, control, "table_pages")
    with b.If(CONTROL.get(b, control, "ways_next") == WAYS):
        b.call(FORGET_WAYS, b.cpu, 0)
    number = CONTROL.get(b, control, "ways_next")
    linear = UNIT.get(b, unit, "linear")
    is_global = b.local(32, 0)
    with b.If(is_paging(b)):
        known = b.call(KNOWN_TRANSLATION, b.cpu, linear.zext(64))
        is_global.set(((known != NOT_KNOWN) & ((known & WALKED_GLOBAL) != 0)).zext(32))
    way = _way(b, control, number)
    for name, value in (("slot", slot), ("linear", linear), ("is_global", is_global.get())):
        WAY.put(b, way, name, value)
    CONTROL.put(b, control, "ways_next", number + 1)
    _count_there(b, control, linear, 1)
    b.store(slot.to_pointer(), UNIT.get(b, unit, "code"))


def _way(b: NativeContext, control: Value, number: Value) -> Value:
    return CONTROL.get_pointer(b, control, "ways") + (number * WAY_BYTES)


def _there(b: NativeContext, control: Value, linear: Value) -> Value:
    """Where it is counted how many lead to the region of an address."""
    return CONTROL.get_pointer(b, control, "ways") + WAYS_THERE + ((linear >> REGION_SHIFT).zext(64) << 2)


def _count_there(b: NativeContext, control: Value, linear: Value, change: int) -> None:
    where = _there(b, control, linear)
    b.store(where, b.load(where, 32) + change)


def _keep(b: NativeContext, control: Value, is_kept: Callable[[Value], Value]) -> None:
    """Forget all other ways. `is_kept`: whether one stays (i1)."""
    kept = b.local(64, 0)
    miss_gate = CONTROL.get(b, control, "miss_gate")
    with b.Range(CONTROL.get(b, control, "ways_next")) as number:
        way = _way(b, control, number)
        slot = WAY.get(b, way, "slot")
        with b.IfElse(is_kept(way)) as arm:
            with arm.then():
                to = _way(b, control, kept.get())
                for name in ("slot", "linear", "is_global"):
                    WAY.put(b, to, name, WAY.get(b, way, name))
                kept.set(kept.get() + 1)
            with arm.otherwise():
                _count_there(b, control, WAY.get(b, way, "linear"), -1)
                b.store(slot.to_pointer(), miss_gate)
    CONTROL.put(b, control, "ways_next", kept.get())


def reckon(b: NativeContext, control: Value, cost: int = 0) -> None:
    """Whether views with paging are worth it: address spaces, or what is accessed in one, may change all the time.

    `cost`: what has just been paid for them, in instructions.
    """
    retired = CONTROL.get(b, control, "unit_insns")
    earned = CONTROL.get(b, control, "earned") + (retired - CONTROL.get(b, control, "reckoned")) - cost
    CONTROL.put(b, control, "reckoned", retired)
    with b.IfElse(earned.sgt(MOST_EARNED)) as arm:
        with arm.then():
            CONTROL.put(b, control, "earned", MOST_EARNED)
            CONTROL.put(b, control, "next_rest", SHORTEST_REST)
        with arm.otherwise():
            CONTROL.put(b, control, "earned", earned)
    with b.Unlikely(earned.slt(-MOST_DEBT) & b.get("heat_wanted").ugt(PATHS)):
        rest = b.intrinsic("umax", "i64", CONTROL.get(b, control, "next_rest"), b.const(SHORTEST_REST, 64))
        b.put("paged_view_rests", b.get("icount_base") + rest)
        longer = b.intrinsic("umin", "i64", rest << 1, b.const(LONGEST_REST, 64))
        CONTROL.put(b, control, "next_rest", longer)
        CONTROL.put(b, control, "earned", 0)


def emit_forget_ways(b: NativeContext) -> None:
    """Body of `forget_ways`."""
    keep_global = b.arguments[1]
    control = b.get_pointer("engine")
    reckon(b, control)
    with b.Unlikely((CONTROL.get(b, control, "wide_units") != 0) & is_paging(b)):
        with b.Range(CONTROL.get(b, control, "units_next"), 1) as number:
            unit = CONTROL.get_pointer(b, control, "units") + (number * UNIT_BYTES)
            with b.If(UNIT.get(b, unit, "wide") != 0):
                b.call(KILL_UNIT, b.cpu, number)
        CONTROL.put(b, control, "wide_units", 0)
    _keep(b, control, lambda way: (keep_global != 0) & (WAY.get(b, way, "is_global") != 0))


def emit_forget_ways_at(b: NativeContext) -> None:
    """Body of `forget_ways_at`."""
    linear = b.arguments[1]
    control = b.get_pointer("engine")
    with b.If(b.load(_there(b, control, linear), 32) != 0):
        _keep(b, control, lambda way: (WAY.get(b, way, "linear") >> REGION_SHIFT) != (linear >> REGION_SHIFT))


RUNTIME = (
    (NOTE_WAY, emit_note_way),
    (FORGET_WAYS, emit_forget_ways),
    (FORGET_WAYS_AT, emit_forget_ways_at),
)
