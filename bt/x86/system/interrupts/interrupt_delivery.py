"""Interrupts and exceptions through interrupt, trap and task gates in protected mode (SDM vol. 3A 6.11 to 6.14).

Out of virtual-8086 mode the way always leads to level 0, whose stack gets the data segment registers too.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, NP, OK, Context
from bt.x86.services import DELIVER_INTERRUPT, INT_SOFTWARE, UPDATE_MODE
from bt.x86.state import CS, DS, ES, ESP, FS, GS, SS
from bt.x86.system.interrupts.real_mode import deliver_in_real_mode
from bt.x86.system.long_mode.long_interrupts import DELIVER_LONG
from bt.x86.system.operating_mode import in_real_mode, in_virtual_8086_mode, is_long_mode
from bt.x86.system.segmentation.descriptor_table import (
    SELECTOR_RPL,
    SET_NULL_SEGMENT,
    TASK_GATE,
    Descriptor,
    error_code,
    fetch,
    is_null,
)
from bt.x86.system.segmentation.flat_transfer import (
    CLEARED_BY_EVENTS,
    ENTER_FLAT,
    GATE_TRAP,
    TAKEN,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level
from bt.x86.system.segmentation.stack import NewStack
from bt.x86.system.tasks.tasks import (
    SWITCH_TASK,
    TASK_CALL,
)

# vector, kind (INT_*), EIP to push, 1 if an error code is pushed, that error code, bits to set in the pushed EFLAGS
DELIVER_EVENT = native("deliver_event", PTR, "i32", "i32", "i64", "i32", "i32", "i32")

ERROR_IDT = 2  # the error code's index is one of the IDT
# Gate types are 0D11T in binary: D = 32-bit, T = trap gate (leaves IF alone)
GATE_32, GATE_TYPE_MASK, GATE_TYPE = 1 << 11, 0x16 << 8, 0x06 << 8

# Pushed before SS and then cleared, for their selectors mean nothing in protected mode
_SAVED_BY_8086 = (GS, FS, DS, ES)


def _read_gate(b: Context, vector: Value, kind: Value, external: Value) -> Descriptor:
    """The IDT's entry for a vector, checked up to what it points to."""
    error = (vector << 3) | ERROR_IDT | external
    offset = vector << 3
    b.fault_if((offset | 7).zext(64).ugt(b.get("idtr_limit")), GP, error)
    linear = b.get("idtr_base", width=32) + offset
    low, high = (b.read_linear(linear + at, 32, system=True) for at in (0, 4))
    gate = Descriptor(b, low, high)
    b.fault_if(((high & GATE_TYPE_MASK) != GATE_TYPE) & (gate.system_type() != TASK_GATE), GP, error)
    b.fault_if((kind == INT_SOFTWARE) & gate.dpl().ult(current_privilege_level(b)), GP, error)
    b.fault_if(~gate.present(), NP, error)
    return gate


def begin_delivery(b: Context) -> None:
    """What no event leaves of those before it, whichever way it goes."""
    b.put("step_trap", 0)  # INT n clears TF before its trap could come
    b.put("resume_at", -1)
    b.put("loaded_resume_flag", 0)


def _deliver_event(b: Context) -> None:
    cpu, vector, kind, return_eip, has_error, error_value, pushed_flags = b.arguments
    begin_delivery(b)
    with b.If(b.call(ENTER_FLAT, *b.arguments) == TAKEN):
        b.ret(OK)
    with b.If(is_long_mode(b)):
        b.ret(b.call(DELIVER_LONG, *b.arguments))
    return_eip = return_eip.trunc(32)
    with b.If(in_real_mode(b)):
        deliver_in_real_mode(b, vector, return_eip)
        b.ret(OK)
    external = (kind != INT_SOFTWARE).zext(32)
    cpl = current_privilege_level(b)
    virtual_8086 = in_virtual_8086_mode(b)

    gate = _read_gate(b, vector, kind, external)
    selector = gate.low >> 16
    with b.Unlikely(gate.system_type() == TASK_GATE):
        task = (selector, TASK_CALL, external, return_eip, pushed_flags, has_error, error_value)
        b.attempt(SWITCH_TASK, cpu, *task)
        b.ret(OK)
    wide = (gate.high & GATE_32) != 0
    target = (gate.low & 0xFFFF) | b.select(wide, gate.high & 0xFFFF_0000, 0)
    b.fault_if(is_null(selector), GP, external)
    code = fetch(b, selector, GP, external)
    b.fault_if(~code.is_code() | code.dpl().ugt(cpl), GP, error_code(selector, external))
    not_for_8086 = virtual_8086 & (code.is_conforming_code() | (code.dpl() != 0))
    b.fault_if(not_for_8086, GP, error_code(selector, external))
    b.fault_if(~code.present(), NP, error_code(selector, external))
    inner = ~code.is_conforming_code() & code.dpl().ult(cpl)
    level = b.select(inner, code.dpl(), cpl)

    # the stack the frame goes to: of the inner level, with its checks, or the current one
    stack = NewStack.create(b, b.select(wide, b.const(32, 32), 16))
    with b.IfElse(inner) as arm:
        with arm.then():
            stack.use_inner(level, external)
        with arm.otherwise():
            stack.use_current(external)
    outer_items = b.select(virtual_8086, b.const(2 + len(_SAVED_BY_8086), 32), b.select(inner, b.const(2, 32), 0))
    stack.check_room(b.const(3, 32) + outer_items + has_error)
    b.fault_if(target.ugt(code.limit()), GP, external)

    eflags = flags.read_eflags(b)
    with b.If(virtual_8086):
        for segment in _SAVED_BY_8086:
            stack.push(b.get_segment(segment, "selector", width=32))
    with b.If(inner):
        stack.push(b.get_segment(SS, "selector", width=32))
        stack.push(b.reg(ESP))
    stack.push(eflags | pushed_flags)
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_eip)
    with b.If(has_error != 0):
        stack.push(error_value)

    # nothing can fault from here on but the accessed bits, and those come before everything they are set for
    code = code.mark_accessed(selector)
    stack.commit()
    with b.If(virtual_8086):
        for segment in _SAVED_BY_8086:
            b.attempt(SET_NULL_SEGMENT, cpu, segment, 0)
    code.load_into(CS, (selector & ~SELECTOR_RPL) | level)
    b.put("cpl", level)
    b.put("eip", target)
    b.put("inhibit", 0)
    is_trap_gate = (gate.high & GATE_TRAP) != 0
    system = b.get("eflags_system", width=32) & ~CLEARED_BY_EVENTS
    b.put("eflags_system", b.select(is_trap_gate, system, system & ~flags.IF))
    b.attempt(UPDATE_MODE, cpu)


def _deliver_interrupt(b: Context) -> None:
    """DELIVER_INTERRUPT: what pushes no error code."""
    cpu, vector, kind, return_eip = b.arguments
    resume_flag = b.get("pushed_resume_flag", width=32) * flags.RF
    b.attempt(DELIVER_EVENT, cpu, vector, kind, return_eip, 0, 0, resume_flag)


RUNTIME = ((DELIVER_EVENT, _deliver_event), (DELIVER_INTERRUPT, _deliver_interrupt))
