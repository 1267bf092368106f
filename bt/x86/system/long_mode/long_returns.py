"""IRET and far RET in long mode, out of 64-bit and out of compatibility mode (SDM vol. 2, IRET and RET).

What is returned to may be of either: a code segment's L says so. 64-bit code may have no stack segment outside level 3.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, NP, OK, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, ESP, SS
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.long_mode.long_stack import long_stack_value
from bt.x86.system.operating_mode import in_64_bit_mode
from bt.x86.system.registers.eflags import LOADED_BY_IRET_AT_CPL_0, load_flags, loadable_flags
from bt.x86.system.segmentation.descriptor_table import (
    BIG,
    SELECTOR_RPL,
    SET_NULL_SEGMENT,
    Descriptor,
    check_stack_segment,
    error_code,
    fetch,
    is_null,
)
from bt.x86.system.segmentation.segment_load import DROP_SEGMENTS, current_privilege_level

# Operand size in bits, bytes of parameters to release.
FAR_RETURN_LONG = native("far_return_long", PTR, "i32", "i32")
# Operand size in bits.
INTERRUPT_RETURN_LONG = native("interrupt_return_long", PTR, "i32")
# Pop code, perhaps stack, and go there: operand size in bits, bytes between CS and what is behind, bytes of parameters
# to release, 1 to pop the stack whatever the level. Leaves `mode` to be updated.
_RETURN_TO_LONG = native("return_to_long", PTR, "i32", "i32", "i32", "i32")


def _check_code(b: Context, selector: Value) -> Descriptor:
    """As without long mode (returns.py); and no segment is of 64 and of 32 bits."""
    b.fault_if(is_null(selector), GP, 0)
    descriptor = fetch(b, selector)
    error = error_code(selector)
    level, dpl = selector & SELECTOR_RPL, descriptor.dpl()
    wrong_level = b.select(descriptor.is_conforming_code(), dpl.ugt(level), dpl != level)
    inward = level.ult(current_privilege_level(b))
    both = descriptor.is_long_code() & ((descriptor.high & BIG) != 0)
    b.fault_if(~descriptor.is_code() | inward | wrong_level | both, GP, error)
    b.fault_if(~descriptor.present(), NP, error)
    return descriptor


def check_rip(b: Context, code: Descriptor, rip: Value, error: Value | int = 0) -> None:
    """#GP where a code segment has no such RIP (i64): it is not canonical, or beyond the limit."""
    beyond = b.select(code.is_long_code(), ~is_canonical(rip), rip.ugt(code.limit().zext(64)))
    b.fault_if(beyond, GP, error)


def set_rsp(b: Context, value: Value, code: Descriptor, stack: Descriptor | None) -> None:
    """Load RSP (i64), ESP or SP, by what the code is that goes on, and by its stack."""
    whole = b.select(code.is_long_code(), value, value & 0xFFFF_FFFF)
    if stack is not None:
        is_16_bit = ~code.is_long_code() & ((stack.high & BIG) == 0)
        whole = b.select(is_16_bit, (b.reg(ESP, 64) & ~0xFFFF) | (value & 0xFFFF), whole)
    b.set_reg(ESP, whole)


def _return_to_long(b: Context) -> None:
    cpu, width, gap, release, with_stack = b.arguments
    size = width >> 3
    rip = long_stack_value(b, 0, width)
    selector = long_stack_value(b, size, width).trunc(32) & 0xFFFF
    code = _check_code(b, selector)
    level = selector & SELECTOR_RPL
    after = size + size + gap
    outer = level != current_privilege_level(b)
    with b.If(~outer & (with_stack == 0)):
        check_rip(b, code, rip)
        same_level = code.mark_accessed(selector)
        with b.IfElse(in_64_bit_mode(b)) as arm:
            with arm.then():
                b.set_reg(ESP, b.reg(ESP, 64) + after.zext(64))
            with arm.otherwise():
                b.set_stack_pointer(b.reg(ESP) + after)
        same_level.load_into(CS, selector)
        b.put("eip", rip)
        b.ret(OK)

    pointer = long_stack_value(b, after, width)
    stack_selector = long_stack_value(b, after + size, width).trunc(32) & 0xFFFF
    null = is_null(stack_selector)
    low, high = b.local(32, 0), b.local(32, 0)
    with b.IfElse(null) as arm:
        with arm.then():
            b.fault_if(~code.is_long_code() | (level == 3), GP, 0)
        with arm.otherwise():
            found = fetch(b, stack_selector)
            check_stack_segment(b, stack_selector, found, level)
            low.set(found.low)
            high.set(found.high)
    check_rip(b, code, rip)
    code = code.mark_accessed(selector)
    stack = Descriptor(b, low.get(), high.get())
    with b.IfElse(null) as arm:
        with arm.then():
            b.attempt(SET_NULL_SEGMENT, cpu, SS, stack_selector)
        with arm.otherwise():
            stack.mark_accessed(stack_selector).load_into(SS, stack_selector)
    code.load_into(CS, selector)
    set_rsp(b, pointer + release.zext(64), code, stack)
    b.put("cpl", level)
    b.put("eip", rip)
    with b.If(outer):
        b.attempt(DROP_SEGMENTS, cpu)


def _far_return_long(b: Context) -> None:
    cpu, width, release = b.arguments
    b.attempt(_RETURN_TO_LONG, cpu, width, release, release, 0)
    b.attempt(UPDATE_MODE, cpu)


def _interrupt_return_long(b: Context) -> None:
    cpu, width = b.arguments
    b.fault_if((b.get("eflags_system", width=32) & flags.NT) != 0, GP, 0)  # there are no tasks to return to
    size = width >> 3
    for displacement in (b.const(0, 32), size):  # pages are touched in ascending order
        long_stack_value(b, displacement, width)
    image = long_stack_value(b, size + size, width).trunc(32)
    mask = loadable_flags(b, b.select(width == 16, b.const(16, 32), 32))
    whole = (width != 16) & (current_privilege_level(b) == 0)
    mask = mask | b.select(whole, b.const(LOADED_BY_IRET_AT_CPL_0, 32), 0)
    b.attempt(_RETURN_TO_LONG, cpu, width, size, 0, in_64_bit_mode(b).zext(32))
    load_flags(b, image, mask)
    b.put("loaded_resume_flag", (width != 16) & ((image & flags.RF) != 0))
    b.attempt(UPDATE_MODE, cpu)


RUNTIME = (
    (FAR_RETURN_LONG, _far_return_long),
    (INTERRUPT_RETURN_LONG, _interrupt_return_long),
    (_RETURN_TO_LONG, _return_to_long),
)
