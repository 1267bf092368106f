"""Call gates: far JMP and CALL through them, with the change of stacks and parameters copied (SDM vol. 3A 5.8.3)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, NP, OK, Context
from bt.x86.state import CS, ESP, SS
from bt.x86.system.segmentation.descriptor_table import (
    Descriptor,
    error_code,
    fetch,
    is_null,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level, enter_code
from bt.x86.system.segmentation.stack import (
    NewStack,
    stack_value,
)

# The gate's low and high dword, checked already for reach and presence.
JUMP_THROUGH_GATE = native("jump_through_gate", PTR, "i32", "i32")
# The same, and the EIP to return to.
CALL_THROUGH_GATE = native("call_through_gate", PTR, "i32", "i32", "i32")

GATE_IS_32_BIT = 1 << 11
PARAMETER_COUNT = 0x1F


def _target(b: Context, gate: Descriptor) -> tuple[Value, Value, Value]:
    """Selector and offset a gate names, and whether it is a 32-bit gate."""
    wide = (gate.high & GATE_IS_32_BIT) != 0
    offset = (gate.low & 0xFFFF) | b.select(wide, gate.high & 0xFFFF_0000, 0)
    return gate.low >> 16, offset, wide


def _check_code(b: Context, selector: Value, *, inward: bool) -> Descriptor:
    """The gate's code segment: at the current level, or more privileged where a call may go `inward`."""
    b.fault_if(is_null(selector), GP, 0)
    code = fetch(b, selector)
    cpl, dpl = current_privilege_level(b), code.dpl()
    wrong_level = dpl.ugt(cpl) if inward else dpl.ugt(cpl) | (~code.is_conforming_code() & (dpl != cpl))
    b.fault_if(~code.is_code() | wrong_level, GP, error_code(selector))
    b.fault_if(~code.present(), NP, error_code(selector))
    return code


def _jump_through_gate(b: Context) -> None:
    _, low, high = b.arguments
    selector, offset, _ = _target(b, Descriptor(b, low, high))
    code = _check_code(b, selector, inward=False)
    b.fault_if(offset.ugt(code.limit()), GP, 0)
    enter_code(b, code.mark_accessed(selector), selector, offset, current_privilege_level(b))


def _call_through_gate(b: Context) -> None:
    _, low, high, return_eip = b.arguments
    selector, offset, wide = _target(b, Descriptor(b, low, high))
    code = _check_code(b, selector, inward=True)
    cpl = current_privilege_level(b)
    inner = ~code.is_conforming_code() & code.dpl().ult(cpl)
    level = b.select(inner, code.dpl(), cpl)
    width = b.select(wide, b.const(32, 32), 16)
    size = width >> 3
    stack = NewStack.create(b, width)
    with b.IfElse(inner) as arm:
        with arm.then():
            stack.use_inner(level, 0)
            count = high & PARAMETER_COUNT
            stack.check_room(count + 4)
            b.fault_if(offset.ugt(code.limit()), GP, 0)
            stack.push(b.get_segment(SS, "selector", width=32))
            stack.push(b.reg(ESP))
            left = b.local(32, count)
            with b.Loop() as loop:  # the last parameter pushed comes first
                loop.break_if(left.get() == 0)
                left.set(left.get() - 1)
                stack.push(stack_value(b, left.get() * size, width))
        with arm.otherwise():
            stack.use_current(0)
            stack.check_room(b.const(2, 32))
            b.fault_if(offset.ugt(code.limit()), GP, 0)
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_eip)
    code = code.mark_accessed(selector)
    stack.commit()
    enter_code(b, code, selector, offset, level)
    b.ret(OK)


RUNTIME = ((JUMP_THROUGH_GATE, _jump_through_gate), (CALL_THROUGH_GATE, _call_through_gate))
