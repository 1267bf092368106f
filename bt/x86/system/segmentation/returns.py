"""IRET and far RET: the way out to the same or an outer level (SDM vol. 2, IRET and RET, protected mode)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, NP, OK, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, ESP, SS, TR
from bt.x86.system.interrupts.virtual_8086 import (
    ENTER_VIRTUAL_8086,
    INTERRUPT_RETURN_8086,
)
from bt.x86.system.long_mode.long_returns import FAR_RETURN_LONG, INTERRUPT_RETURN_LONG
from bt.x86.system.operating_mode import has_8086_segments, is_long_mode
from bt.x86.system.registers.eflags import (
    LOADED_BY_IRET_AT_CPL_0,
    load_flags,
    loadable_flags,
)
from bt.x86.system.segmentation.descriptor_table import (
    SELECTOR_RPL,
    Descriptor,
    check_stack_segment,
    error_code,
    fetch,
    is_null,
)
from bt.x86.system.segmentation.flat_transfer import RETURN_FLAT, TAKEN
from bt.x86.system.segmentation.segment_8086 import FAR_RETURN_8086
from bt.x86.system.segmentation.segment_load import DROP_SEGMENTS, current_privilege_level
from bt.x86.system.segmentation.stack import stack_value
from bt.x86.system.tasks.tasks import (
    BACK_LINK,
    SWITCH_TASK,
    TASK_RETURN,
)

# Far return: operand size in bits, bytes of parameters to release.
FAR_RETURN = native("far_return", PTR, "i32", "i32")
# IRET: operand size in bits, EIP of the next instruction (where a nested task goes on when it is called again).
INTERRUPT_RETURN = native("interrupt_return", PTR, "i32", "i64")
# Pop code (and stack) and go there: operand size in bits, bytes between CS and the outer stack pointer, bytes of
# parameters to release. Leaves `mode` to be updated.
_RETURN_TO = native("return_to", PTR, "i32", "i32", "i32")


def _check_code(b: Context, selector: Value) -> Descriptor:
    """The code segment to return to: no more privileged than the current one, and its RPL says where."""
    b.fault_if(is_null(selector), GP, 0)
    descriptor = fetch(b, selector)
    error = error_code(selector)
    level, dpl = selector & SELECTOR_RPL, descriptor.dpl()
    wrong_level = b.select(descriptor.is_conforming_code(), dpl.ugt(level), dpl != level)
    inward = level.ult(current_privilege_level(b))
    b.fault_if(~descriptor.is_code() | inward | wrong_level, GP, error)
    b.fault_if(~descriptor.present(), NP, error)
    return descriptor


def _return_to(b: Context) -> None:
    cpu, width, gap, release = b.arguments
    size = width >> 3
    eip = stack_value(b, b.const(0, 32), width)
    selector = stack_value(b, size, width) & 0xFFFF
    code = _check_code(b, selector)
    level = selector & SELECTOR_RPL
    after = size + size + gap
    with b.If(level == current_privilege_level(b)):
        b.fault_if(eip.ugt(code.limit()), GP, 0)
        same_level = code.mark_accessed(selector)
        b.set_stack_pointer(b.reg(ESP) + after)
        same_level.load_into(CS, selector)
        b.put("eip", eip)
        b.ret(0)

    pointer = stack_value(b, after, width)
    stack_selector = stack_value(b, after + size, width) & 0xFFFF
    b.fault_if(is_null(stack_selector), GP, 0)
    stack = fetch(b, stack_selector)
    check_stack_segment(b, stack_selector, stack, level)
    b.fault_if(eip.ugt(code.limit()), GP, 0)
    code, stack = code.mark_accessed(selector), stack.mark_accessed(stack_selector)
    code.load_into(CS, selector)
    stack.load_into(SS, stack_selector)
    # a 16-bit stack takes SP only; the upper half of ESP stays the inner level's, as on hardware
    mask = stack.stack_mask()
    b.set_reg(ESP, (b.reg(ESP) & ~mask) | ((pointer + release) & mask))
    b.put("cpl", level)
    b.put("eip", eip)
    b.attempt(DROP_SEGMENTS, cpu)


def _far_return(b: Context) -> None:
    cpu, width, release = b.arguments
    with b.If(is_long_mode(b)):
        b.ret(b.call(FAR_RETURN_LONG, *b.arguments))
    with b.If(has_8086_segments(b)):
        b.ret(b.call(FAR_RETURN_8086, cpu, width, release))
    b.attempt(_RETURN_TO, cpu, width, release, release)
    b.attempt(UPDATE_MODE, cpu)


def _interrupt_return(b: Context) -> None:
    cpu, width, next_eip = b.arguments
    with b.If(width == 32), b.If(b.call(RETURN_FLAT, cpu) == TAKEN):
        b.ret(OK)
    with b.If(is_long_mode(b)):
        b.ret(b.call(INTERRUPT_RETURN_LONG, cpu, width))
    next_eip = next_eip.trunc(32)
    with b.If(has_8086_segments(b)):
        b.ret(b.call(INTERRUPT_RETURN_8086, cpu, width))
    with b.Unlikely((b.get("eflags_system", width=32) & flags.NT) != 0):
        link = b.read_linear(b.get_segment(TR, "base", width=32) + BACK_LINK, 16, system=True).zext(32)
        b.attempt(SWITCH_TASK, cpu, link, TASK_RETURN, 0, next_eip, 0, 0, 0)
        b.ret(OK)
    size = width >> 3
    for displacement in (b.const(0, 32), size):  # pages are touched in ascending order
        stack_value(b, displacement, width)
    image = stack_value(b, size + size, width)
    to_virtual_8086 = (width == 32) & ((image & flags.VM) != 0) & (current_privilege_level(b) == 0)
    with b.If(to_virtual_8086):
        b.ret(b.call(ENTER_VIRTUAL_8086, cpu))
    # what may change is decided by the level returned from
    mask = loadable_flags(b, width)
    whole = (width == 32) & (current_privilege_level(b) == 0)
    mask = mask | b.select(whole, b.const(LOADED_BY_IRET_AT_CPL_0, 32), 0)
    b.attempt(_RETURN_TO, cpu, width, size, 0)
    load_flags(b, image, mask)
    b.put("loaded_resume_flag", (width == 32) & ((image & flags.RF) != 0))
    b.attempt(UPDATE_MODE, cpu)


RUNTIME = (
    (FAR_RETURN, _far_return),
    (INTERRUPT_RETURN, _interrupt_return),
    (_RETURN_TO, _return_to),
)
