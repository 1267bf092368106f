"""What units leave for, and how they are entered: the functions that the gates ask (see translator/gates)."""

from __future__ import annotations

from bt.codegen.abi import Signature, native
from bt.codegen.builder import Module
from bt.codegen.value import PTR, Value
from bt.engine.identity import ways
from bt.engine.identity.crossing import RESUME_UNIT, UNIT_END, UNIT_ENTER, UNIT_FAULT, UNIT_MISS, UNIT_SERVICE
from bt.engine.identity.heat import (
    COLD,
    HOT,
    INDIFFERENT,
    KILL_UNIT,
    KILL_UNITS,
    NOTE_BLOCK,
    NOTE_HEAT,
    OWN_FAULTS,
    code_linear,
    emit_kill_unit,
    emit_kill_units,
    emit_note_block,
    emit_note_heat,
    heat_slot,
    is_counted,
    may_enter,
    note_sample,
    shut_way_in,
)
from bt.engine.identity.layout import (
    BIAS,
    EAGER,
    HEAT_UNIT,
    LATE_AF,
    LATE_BY_COUNT,
    LATE_CARRIED_OF,
    LATE_KEPT,
    LATE_KEPT_AF,
    LATE_NO_OF,
    LATE_ROL,
    LATE_ROR,
    MOST_SHORT,
    MOST_TRAPS,
    OPENING_COST,
    SAMPLES_BY_STAYS,
    SHORT_STAY,
    TRAP_BESIDE_CODE,
    TRAP_COST,
    TRAP_OUTSIDE,
    TRAPPING,
    UNIT,
    UNIT_BYTES,
    UNIT_SITE,
    UNIT_SITE_BYTES,
)
from bt.engine.identity.making.deadness import KEPT
from bt.engine.identity.signals import FAULT_HANDLER, emit_fault_handler, emit_own_faults
from bt.engine.identity.ways import NOTE_WAY
from bt.engine.structures import BLOCK, CONTROL, RECORD, UNIT_HEAD
from bt.engine.translator.gates.fragments import (
    counted_fragment,
    fragment,
    known_fragment,
    remember,
)
from bt.engine.translator.gates.gates import (
    address_of_code,
    emit_spilling_gates,
    go_on,
    note_x87,
)
from bt.engine.translator.gates.services import interpret_one
from bt.engine.translator.gates.signatures import FLAT_32_GATES, NEXT_CODE
from bt.host.faults import SIGSEGV
from bt.memory.access import Body, NativeContext
from bt.memory.host_mmu.code import OPEN_PAGE
from bt.memory.host_mmu.layout import VIEW_BYTES
from bt.memory.host_mmu.result import ATTENTION, OPENED
from bt.memory.soft_mmu.code import lies_beside_code
from bt.x86 import flags
from bt.x86.exits import ExitReason
from bt.x86.page import PAGE
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS
from bt.x86.system.operating_mode import is_paging

_SERVICE, _FAULT, _END, _MISS, _ENTER = (
    native(f"unit_{name}_exit", PTR, "i64", result="i64") for name in ("service", "fault", "end", "miss", "enter")
)
_GATES = (
    (UNIT_SERVICE, _SERVICE),
    (UNIT_FAULT, _FAULT),
    (UNIT_END, _END),
    (UNIT_MISS, _MISS),
    (UNIT_ENTER, _ENTER),
)

_OVERFLOW_SHIFT, _SIGN_SHIFT = flags.OF.bit_length() - 1, flags.SF.bit_length() - 1


def emit_unit_gates(module: Module) -> None:
    """Add the gates to a module."""
    emit_spilling_gates(module, FLAT_32_GATES, _GATES)


def _site(b: NativeContext) -> Value:
    control = b.get_pointer("engine")
    return CONTROL.get_pointer(b, control, "unit_sites") + (b.arguments[1] * UNIT_SITE_BYTES)


def _unit(b: NativeContext, number: Value) -> Value:
    control = b.get_pointer("engine")
    return CONTROL.get_pointer(b, control, "units") + (number.zext(64) * UNIT_BYTES)


def _refund(b: NativeContext, site: Value) -> Value:
    return UNIT_SITE.get(b, site, "refund").sext(64)


def _count(b: NativeContext, name: str, amount: int | Value = 1) -> None:
    CONTROL.count(b, b.get_pointer("engine"), name, amount)


def _settle(b: NativeContext, refund: Value | int, site: Value | None = None) -> None:
    """Flags as tier 1 has them, and the account of what the tiers did. `site`: which may have flags to repair."""
    saved = b.get("host_flags")
    arithmetic = b.local(64, ((saved >> 8) & 0xFF) | ((saved & 1) << _OVERFLOW_SHIFT))
    if site is not None:
        due = UNIT_SITE.get(b, site, "due")
        with b.Unlikely(due != 0):
            arithmetic.set(_repaired(b, arithmetic.get(), due))
    flags.write_arithmetic(b, arithmetic.get())
    with b.Unlikely(b.get_segment(CS, "base", width=32) != b.get("code_segment", width=32)):
        b.call(UPDATE_MODE, b.cpu)  # units have gone on in another segment
    _count(b, "unit_insns", b.get("unit_entered") - (b.get("budget") + refund))
    b.put("in_unit", 0)


def _repaired(b: NativeContext, image: Value, due: Value) -> Value:
    """EFLAGS bits with what `late_repair` would have done to them."""

    def is_due(bits: int) -> Value:
        return (due & bits) != 0

    kept = KEPT["arith.mul"]
    noted = (image & ~kept) | ((b.get("noted_flags") >> 8) & kept)
    result, count = b.get("noted_result"), b.get("noted_count")
    repaired = b.select(is_due(LATE_KEPT), noted, image)
    repaired = b.select(is_due(LATE_AF | LATE_KEPT_AF), repaired | flags.AF, repaired)
    by_count = is_due(LATE_BY_COUNT)
    by_one = is_due(LATE_NO_OF) & by_count & ((count & 30) == 0)
    highest = result >> 31
    of = (image >> _OVERFLOW_SHIFT) & 1
    for bit, value in (
        (LATE_CARRIED_OF, ((image >> _SIGN_SHIFT) ^ image) & 1),
        (LATE_NO_OF, b.select(by_one, of, b.const(0, 64))),
        (LATE_ROL, (highest ^ image) & 1),
        (LATE_ROR, (highest ^ (result >> 30)) & 1),
    ):
        of = b.select(is_due(bit), value, of)
    repaired = (repaired & ~flags.OF) | (of << _OVERFLOW_SHIFT)
    return b.select(by_count & ((count & 31) == 0), image, repaired)


def _resume(b: NativeContext, place: Value, charged: Value | int) -> None:
    """Go on in a unit, at a host address (i64), with the flags of the state.

    `charged`: so many instructions that are still to be executed there have been charged (i64).
    """
    _count(b, "unit_insns", charged)
    image = flags.read_arithmetic(b).zext(64)
    b.put("host_flags", ((image & 0xFF) << 8) | ((image >> _OVERFLOW_SHIFT) & 1))
    b.put("unit_target", place)
    b.ret(address_of_code(b, RESUME_UNIT))


def _in_code(b: NativeContext, offset: Value) -> Value:
    return CONTROL.get(b, b.get_pointer("engine"), "unit_code") + offset.zext(64)


def _service(b: NativeContext) -> None:
    """The interpreter executes one instruction of a unit; then on behind it, if nothing has changed."""
    site = _site(b)
    refund = _refund(b, site)
    _settle(b, refund, site)
    _count(b, "unit_services")
    _interpret_one(b, site, refund)


def _note_x87(b: NativeContext, site: Value) -> None:
    note_x87(b, UNIT_SITE.get(b, site, "x87_eip"), UNIT_SITE.get(b, site, "x87_segment").zext(32))
    operand = UNIT_SITE.get_pointer(b, site, "x87_operand")
    with b.If(operand.zext(64) != 0):  # its registers have not been written to since
        base, index = (b.load(b.cpu + RECORD.get(b, operand, name).sext(64), 32) for name in ("base", "index"))
        offset = base + (index << RECORD.get(b, operand, "scale").zext(32)) + RECORD.get(b, operand, "displacement")
        b.put("fpu_dp", offset)


def _interpret_one(b: NativeContext, site: Value, refund: Value) -> None:
    _note_x87(b, site)
    stays, left = interpret_one(b, UNIT_SITE.get_pointer(b, site, "record"), refund)
    _go_on_behind(b, site, refund, stays, left)


def _go_on_behind(b: NativeContext, site: Value, refund: Value, stays: Value, left: Value) -> None:
    """The interpreter has done the instruction: on in the unit, if it `stays` what it is."""
    behind = UNIT_SITE.get(b, site, "behind")
    stays = stays & (behind != 0) & ~_is_dead(b, site) & may_enter(b)
    with b.If(stays & left.sge(BIAS)):
        b.put("budget", left)
        _resume(b, _in_code(b, behind), refund - 1)
    eip = b.get("eip", width=32)
    raised = (b.get("exit_reason") == 0) & (eip != RECORD.get(b, UNIT_SITE.get_pointer(b, site, "record"), "next_eip"))
    with b.If(raised):
        _judge_stay(b, code_linear(b, eip))
    go_on(b)


def _is_dead(b: NativeContext, site: Value) -> Value:
    return UNIT.get(b, _unit(b, UNIT_SITE.get(b, site, "unit")), "dead") != 0


def _fault(b: NativeContext) -> None:
    """The view does not let an access through, or a division fails: open the page, or let the interpreter do it."""
    site = _site(b)
    refund = _refund(b, site)
    _settle(b, refund, site)
    _count(b, "unit_faults")
    linear = b.get("fault_linear")
    b.put("fault_write", b.get("fault_write") | UNIT_SITE.get(b, site, "stores").zext(64))
    is_paged = is_paging(b)
    with b.If(is_paged):
        _count(b, "earned", -TRAP_COST)
    in_view = (b.get("fault_signal") == SIGSEGV) & linear.ult(VIEW_BYTES)
    # Where a page begins an access across two may have been stopped, and the page before it is not walked to yet, as
    # it must be first. The interpreter has the right order, and when it has done the instruction, the page may open.
    begins = is_paged & ((linear & (PAGE - 1)) == 0)
    result = b.local(32, ATTENTION)
    with b.If(in_view & ~begins):
        result.set(_open(b, linear))
        with b.Unlikely(_is_dead(b, site)):
            _look_afresh(b, site, refund)  # the walk wrote an accessed bit into its very code
        with b.If((result.get() == OPENED) & may_enter(b)):
            _resume(b, _in_code(b, UNIT_SITE.get(b, site, "retry")), refund)
    outside = (b.get("fault_signal") == SIGSEGV) & linear.uge(VIEW_BYTES)
    writes = in_view & (b.get("fault_write") != 0)
    _note_x87(b, site)
    stays, left = interpret_one(b, UNIT_SITE.get_pointer(b, site, "record"), refund)
    with b.If(result.get() == ATTENTION):
        reasons = (outside.zext(64) * TRAP_OUTSIDE) | (
            (writes & lies_beside_code(b, linear)).zext(64) * TRAP_BESIDE_CODE
        )
        _count_trap(b, site, reasons)
    with b.If(in_view & begins & stays), b.If(_open(b, linear) == OPENED):
        UNIT_SITE.put(b, site, "traps", UNIT_SITE.get(b, site, "traps") - 1)
    _go_on_behind(b, site, refund, stays, left)


def _open(b: NativeContext, linear: Value) -> Value:
    result = b.call(OPEN_PAGE, b.cpu, linear.trunc(32), b.get("fault_write", width=32))
    with b.If(result == OPENED):
        _count(b, "pages_opened")
        with b.If(is_paging(b)):
            ways.reckon(b, b.get_pointer("engine"), OPENING_COST)
            with b.Unlikely(b.get("paged_view_rests") != 0):
                b.call(UPDATE_MODE, b.cpu)
    return result


def _count_trap(b: NativeContext, site: Value, reasons: Value) -> None:
    """An instruction that traps time and again is a service in the next unit, or otherwise done there, which depends on
    the `reasons` (TRAP_* bits)."""
    traps = UNIT_SITE.get(b, site, "traps") + 1
    UNIT_SITE.put(b, site, "traps", traps)
    with b.If(traps == MOST_TRAPS):
        control = b.get_pointer("engine")
        place = CONTROL.get(b, control, "trapping_next")
        record = UNIT_SITE.get_pointer(b, site, "record")
        with b.If(place.ult(TRAPPING)):
            entry = RECORD.get(b, record, "eip").zext(64) | reasons
            b.store(CONTROL.get_pointer(b, control, "trapping") + (place << 3), entry)
            CONTROL.put(b, control, "trapping_next", place + 1)
            b.call(KILL_UNIT, b.cpu, UNIT_SITE.get(b, site, "unit").zext(64))


def _end(b: NativeContext) -> None:
    """The budget does not cover the rest of a unit."""
    site = _site(b)
    refund = _refund(b, site)
    _settle(b, refund, site)
    _count(b, "unit_ends")
    _look_afresh(b, site, refund)


def _look_afresh(b: NativeContext, site: Value, refund: Value) -> None:
    """Nothing of the instruction has been done; go on there, but not here."""
    _note_x87(b, site)
    b.put("eip", RECORD.get(b, UNIT_SITE.get_pointer(b, site, "record"), "eip"))
    b.put("budget", b.get("budget") + refund)
    b.ret(b.call(NEXT_CODE, b.cpu))


def _miss(b: NativeContext) -> None:
    """No unit begins at the address in T."""
    _settle(b, 0)
    _count(b, "unit_misses")
    eip = b.get("scratch", width=32)
    b.put("eip", eip)
    control = b.get_pointer("engine")
    with b.Unlikely(CONTROL.get(b, control, "table_pages").ugt(CONTROL.get(b, control, "table_limit"))):
        b.put("exit_reason", int(ExitReason.PROMOTE))
        b.ret(b.call(NEXT_CODE, b.cpu))
    heat = b.local(32, INDIFFERENT)
    with b.If(b.get("heat_limit") != 0):
        heat.set(b.call(NOTE_HEAT, b.cpu, eip))
        with b.If(heat.get() == HOT):
            b.ret(b.call(NEXT_CODE, b.cpu))
    linear = code_linear(b, eip)
    has_unit = (heat.get() == INDIFFERENT) & (b.load(heat_slot(b, linear), 16) == HEAT_UNIT)
    with b.If(heat.get() == COLD):
        host = counted_fragment(b, eip)
        remember(b, eip, host, counted=True)
        b.ret(host)
    with b.If(has_unit | (b.get("heat_limit") == EAGER)):
        host = fragment(b)
        with b.If(has_unit):
            _enter_known(b, linear, host)
        b.ret(host)
    _judge_stay(b, linear)
    b.ret(known_fragment(b, eip))


def _enter_known(b: NativeContext, linear: Value, host: Value) -> None:
    """Go on in the unit of the block that was found for an address, if that may be entered.

    If it has none, it is for another place that counting has stopped.
    """
    block = b.get_pointer("block")
    with b.If((BLOCK.get(b, block, "in_units") & UNIT_HEAD) == 0):
        b.store(heat_slot(b, linear), b.const(0, 16))
        b.ret(host)
    number = BLOCK.get(b, block, "unit").zext(64)
    is_it = UNIT.get(b, _unit(b, number), "linear") == linear
    with b.If(is_it & may_enter(b) & b.get("budget").sge(BIAS)):
        _enter_unit(b, number)
    b.ret(host)


def _judge_stay(b: NativeContext, linear: Value) -> None:
    """Have tier 1 not lead any more to a unit with which tier 2 is left, for what stays in tier 1 or for a handler, as
    soon as it is entered, time and again. Other units still do: theirs would become as short, one after the other.

    If that stays there because nobody has counted it, the guest has been found there once more: what units lead to is
    hot.
    """
    unit = _unit(b, b.get("unit_number"))
    short = UNIT.get(b, unit, "short")
    with b.IfElse((b.get("unit_entered") - b.get("budget")).ult(SHORT_STAY)) as arm:
        with arm.then():
            UNIT.put(b, unit, "short", short + 1)
            with b.Unlikely(short == MOST_SHORT), b.IfElse(is_counted(b, linear)) as reason:
                with reason.then():
                    shut_way_in(b, unit)
                with reason.otherwise():
                    UNIT.put(b, unit, "short", 0)
                    note_sample(b, linear, SAMPLES_BY_STAYS)
        with arm.otherwise(), b.If(short != 0):
            UNIT.put(b, unit, "short", short - 1)


def _enter(b: NativeContext) -> None:
    """From the head of a fragment that a unit has taken over."""
    _enter_unit(b, b.arguments[1])


def _enter_unit(b: NativeContext, number: Value) -> None:
    b.put("unit_number", number)
    unit = _unit(b, number)
    with b.If(b.load(UNIT.get_pointer(b, unit, "slot"), 64) != UNIT.get(b, unit, "code")):
        b.call(NOTE_WAY, b.cpu, number)
    _resume(b, UNIT.get(b, unit, "code"), 0)


RUNTIME: tuple[tuple[Signature, Body], ...] = (
    (_SERVICE, _service),
    (_FAULT, _fault),
    (_END, _end),
    (_MISS, _miss),
    (_ENTER, _enter),
    (NOTE_HEAT, emit_note_heat),
    (NOTE_BLOCK, emit_note_block),
    (KILL_UNIT, emit_kill_unit),
    (KILL_UNITS, emit_kill_units),
    *ways.RUNTIME,
    (OWN_FAULTS, emit_own_faults),
    (FAULT_HANDLER, emit_fault_handler),
)
