"""Far JMP and CALL in long mode: to code of 64 bits or less, and through 64-bit call gates (SDM vol. 2, JMP and CALL).

There are no tasks, and gates of 16 and 32 bits are none any more.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, NP, OK, Context
from bt.x86.state import CS, ESP, SS
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.long_mode.long_returns import check_rip
from bt.x86.system.long_mode.long_stack import POINTER_BYTES, RSP_0, SUPERVISOR_LEVELS, TASK_STACK, Frame
from bt.x86.system.operating_mode import in_64_bit_mode
from bt.x86.system.segmentation.descriptor_table import (
    BIG,
    CODE_OR_DATA,
    FETCH_WIDE_DESCRIPTOR,
    SELECTOR_RPL,
    SET_NULL_SEGMENT,
    Descriptor,
    error_code,
    fetch,
    is_null,
    require_64_bit_code,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level, enter_code
from bt.x86.system.segmentation.stack import NewStack

# selector, offset
FAR_JUMP_LONG = native("far_jump_long", PTR, "i32", "i64")
# selector, offset, RIP to return to, operand size in bits
FAR_CALL_LONG = native("far_call_long", PTR, "i32", "i64", "i64", "i32")
# The gate's selector, checked not to be null; 1 for a call; RIP to return to.
_THROUGH_LONG_GATE = native("through_long_gate", PTR, "i32", "i32", "i64")

_CALL_GATE = 12


def _find(b: Context, selector: Value) -> Descriptor:
    b.fault_if(is_null(selector), GP, 0)
    return fetch(b, selector)


def _check_code(b: Context, selector: Value, offset: Value, code: Descriptor) -> None:
    """The code segment of a direct transfer, which never changes CPL."""
    cpl, dpl = current_privilege_level(b), code.dpl()
    not_conforming = ~code.is_conforming_code()
    wrong_level = dpl.ugt(cpl) | (not_conforming & ((dpl != cpl) | (selector & SELECTOR_RPL).ugt(cpl)))
    both = code.is_long_code() & ((code.high & BIG) != 0)
    b.fault_if(~code.is_code() | wrong_level | both, GP, error_code(selector))
    b.fault_if(~code.present(), NP, error_code(selector))
    check_rip(b, code, offset)


def _far_jump_long(b: Context) -> None:
    cpu, selector, offset = b.arguments
    found = _find(b, selector)
    with b.Unlikely((found.high & CODE_OR_DATA) == 0):
        b.ret(b.call(_THROUGH_LONG_GATE, cpu, selector, 0, 0))
    _check_code(b, selector, offset, found)
    enter_code(b, found.mark_accessed(selector), selector, offset, current_privilege_level(b))


def _far_call_long(b: Context) -> None:
    cpu, selector, offset, return_rip, width = b.arguments
    found = _find(b, selector)
    with b.Unlikely((found.high & CODE_OR_DATA) == 0):
        b.ret(b.call(_THROUGH_LONG_GATE, cpu, selector, 1, return_rip))
    _check_code(b, selector, offset, found)
    level = current_privilege_level(b)
    with b.If(in_64_bit_mode(b)):
        frame = Frame(b, b.local(64, b.reg(ESP, 64)), width, b.const(0, 32))
        frame.require_room((width >> 2).zext(64), 0)
        frame.push(b.get_segment(CS, "selector"))
        frame.push(return_rip)
        code = found.mark_accessed(selector)
        b.set_reg(ESP, frame.pointer.get())
        enter_code(b, code, selector, offset, level)
        b.ret(OK)
    stack = NewStack.create(b, width)
    stack.use_current(0)
    stack.check_room(b.const(2, 32))
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_rip.trunc(32))
    code = found.mark_accessed(selector)
    stack.commit()
    enter_code(b, code, selector, offset, level)


def _through_long_gate(b: Context) -> None:
    """Its 16 bytes name a 64-bit offset. The stack's items have 64 bits, and parameters are not copied."""
    cpu, gate_selector, is_call, return_rip = b.arguments
    b.attempt(FETCH_WIDE_DESCRIPTOR, cpu, gate_selector)
    raw, upper = b.get("memory_value"), b.get("walk_flags")
    gate = Descriptor(b, raw.trunc(32), (raw >> 32).trunc(32))
    error, cpl = error_code(gate_selector), current_privilege_level(b)
    dpl = gate.dpl()
    out_of_reach = dpl.ult(cpl) | dpl.ult(gate_selector & SELECTOR_RPL)
    b.fault_if((gate.system_type() != _CALL_GATE) | out_of_reach, GP, error)
    b.fault_if(~gate.present(), NP, error)
    selector = gate.low >> 16
    offset = ((gate.low & 0xFFFF) | (gate.high & 0xFFFF_0000)).zext(64) | (upper << 32)
    code = _find(b, selector)
    error = error_code(selector)
    conforming = code.is_conforming_code()
    wrong_level = code.dpl().ugt(cpl) | ((is_call == 0) & ~conforming & (code.dpl() != cpl))
    b.fault_if(~code.is_code() | wrong_level, GP, error)
    require_64_bit_code(b, code, error)
    b.fault_if(~code.present(), NP, error)
    inner = ~conforming & code.dpl().ult(cpl)
    level = b.select(inner, code.dpl(), cpl)
    stack = b.local(64, b.reg(ESP, 64))
    with b.If(inner):
        b.attempt(TASK_STACK, cpu, level * POINTER_BYTES + RSP_0, 0)
        stack.set(b.get("memory_value"))
    frame = Frame(b, stack, 64, inner.zext(32) & level.ult(SUPERVISOR_LEVELS).zext(32))
    with b.If(is_call != 0):
        frame.require_room(b.select(inner, b.const(32, 64), 16), 0)
    b.fault_if(~is_canonical(offset), GP, 0)
    with b.If(is_call != 0):
        with b.If(inner):
            frame.push(b.get_segment(SS, "selector"))
            frame.push(b.reg(ESP, 64))
        frame.push(b.get_segment(CS, "selector"))
        frame.push(return_rip)
    code = code.mark_accessed(selector)
    b.set_reg(ESP, frame.pointer.get())
    with b.If(inner):
        b.attempt(SET_NULL_SEGMENT, cpu, SS, level)
    enter_code(b, code, selector, offset, level)


RUNTIME = (
    (FAR_JUMP_LONG, _far_jump_long),
    (FAR_CALL_LONG, _far_call_long),
    (_THROUGH_LONG_GATE, _through_long_gate),
)
