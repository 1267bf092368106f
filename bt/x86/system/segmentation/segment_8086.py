"""Segments as the 8086 has them: base = selector * 16, in real and virtual-8086 mode (SDM vol. 3B, 8086 emulation).

In real mode a load replaces selector and base only. Limit and size stay what protected mode left in the hidden part:
"big real mode" is nothing else. (The SDM promises only that limits last until the next load, vol. 3A 10.9.2; every
processor since the 386 keeps them beyond it.) What a register holds becomes readable and writable, CS too.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import state
from bt.x86.context import GP, OK, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, ESP, WHOLE_LIMIT
from bt.x86.system.operating_mode import in_virtual_8086_mode
from bt.x86.system.segmentation.stack import (
    NewStack,
    stack_value,
)

# Load a segment register: number, selector. Cannot fail; leaves the mode key to be brought up to date.
LOAD_8086_SEGMENT = native("load_8086_segment", PTR, "i32", "i32")
# Far transfers. Selector, offset; for a call EIP to return to and operand size in bits; for a return operand size and
# bytes of parameters to release.
FAR_JUMP_8086 = native("far_jump_8086", PTR, "i32", "i32")
FAR_CALL_8086 = native("far_call_8086", PTR, "i32", "i32", "i32", "i32")
FAR_RETURN_8086 = native("far_return_8086", PTR, "i32", "i32")


def check_offset(b: Context, offset: Value) -> None:
    """#GP(0) if a far transfer leads beyond the limit of CS, which it does not change."""
    b.fault_if(offset.zext(64).ugt(b.get_segment(CS, "limit")), GP, 0)


def enter_8086_code(b: Context, selector: Value, offset: Value) -> None:
    """CS:EIP = selector:offset; cannot fail."""
    b.attempt(LOAD_8086_SEGMENT, b.cpu, CS, selector)
    b.put("eip", offset)
    b.attempt(UPDATE_MODE, b.cpu)


def _load_8086_segment(b: Context) -> None:
    _, segment, selector = b.arguments
    virtual = in_virtual_8086_mode(b)
    kept = b.get_segment(segment, "attributes") & (state.ATTR_BIG | state.ATTR_GRANULAR)
    limit = b.select(virtual, b.const(state.LIMIT_8086, 64), b.get_segment(segment, "limit"))
    last = b.select(limit == 0xFFFF_FFFF, b.const(WHOLE_LIMIT, 64), limit)
    b.put_segment(segment, "selector", selector)
    b.put_segment(segment, "base", selector << 4)
    b.put_segment(segment, "limit", limit)
    b.put_segment(
        segment, "attributes", b.select(virtual, b.const(state.ACCESS_VIRTUAL_8086, 64), kept | state.ACCESS_REAL)
    )
    for kind in ("read", "write"):
        b.put_segment(segment, f"{kind}_low", 0)
        b.put_segment(segment, f"{kind}_high", last)


def _far_jump(b: Context) -> None:
    _, selector, offset = b.arguments
    check_offset(b, offset)
    enter_8086_code(b, selector, offset)


def _far_call(b: Context) -> None:
    _, selector, offset, return_eip, width = b.arguments
    stack = NewStack.create(b, width)
    stack.use_current(0)
    stack.check_room(b.const(2, 32))
    check_offset(b, offset)
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_eip)
    stack.commit()
    enter_8086_code(b, selector, offset)


def _far_return(b: Context) -> None:
    _, width, release = b.arguments
    size = width >> 3
    eip = stack_value(b, b.const(0, 32), width)
    selector = stack_value(b, size, width) & 0xFFFF
    check_offset(b, eip)
    b.set_stack_pointer(b.reg(ESP) + size + size + release)
    enter_8086_code(b, selector, eip)
    b.ret(OK)


RUNTIME = (
    (LOAD_8086_SEGMENT, _load_8086_segment),
    (FAR_JUMP_8086, _far_jump),
    (FAR_CALL_8086, _far_call),
    (FAR_RETURN_8086, _far_return),
)
