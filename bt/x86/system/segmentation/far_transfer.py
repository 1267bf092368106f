"""Far JMP and CALL (SDM vol. 2, JMP and CALL; vol. 3A 5.8): to code segments, through call and task gates, to tasks."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, NP, OK, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS
from bt.x86.system.long_mode.long_far_transfer import FAR_CALL_LONG, FAR_JUMP_LONG
from bt.x86.system.operating_mode import has_8086_segments, is_long_mode
from bt.x86.system.segmentation.call_gate import (
    CALL_THROUGH_GATE,
    JUMP_THROUGH_GATE,
)
from bt.x86.system.segmentation.descriptor_table import (
    CALL_GATE_16,
    CALL_GATE_32,
    CODE_OR_DATA,
    SELECTOR_RPL,
    TASK_GATE,
    TSS_16,
    TSS_32,
    Descriptor,
    error_code,
    fetch,
    is_null,
)
from bt.x86.system.segmentation.segment_8086 import (
    FAR_CALL_8086,
    FAR_JUMP_8086,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level
from bt.x86.system.segmentation.stack import NewStack
from bt.x86.system.tasks.tasks import (
    SWITCH_TASK,
    TASK_CALL,
    TASK_JUMP,
)

# selector, offset, EIP of the next instruction
FAR_JUMP = native("far_jump", PTR, "i32", "i64", "i64")
# selector, offset, EIP to return to, operand size in bits
FAR_CALL = native("far_call", PTR, "i32", "i64", "i64", "i32")


def _find(b: Context, selector: Value) -> Descriptor:
    b.fault_if(is_null(selector), GP, 0)
    return fetch(b, selector)


def _transfer_by_system_descriptor(
    b: Context, selector: Value, found: Descriptor, next_eip: Value, *, is_call: bool
) -> None:
    """Gates and tasks. The offset of the instruction's pointer means nothing then. Ends the function."""
    error = error_code(selector)
    dpl = found.dpl()
    kind = found.system_type()
    is_task = (kind == TSS_16) | (kind == TSS_32)
    is_gate = (kind == CALL_GATE_16) | (kind == CALL_GATE_32)
    unfit = ~is_task & ~is_gate & (kind != TASK_GATE)
    out_of_reach = dpl.ult(current_privilege_level(b)) | dpl.ult(selector & SELECTOR_RPL)
    b.fault_if(unfit | out_of_reach, GP, error)
    b.fault_if(~found.present(), NP, error)
    with b.If(is_gate):
        if is_call:
            b.attempt(CALL_THROUGH_GATE, b.cpu, found.low, found.high, next_eip)
        else:
            b.attempt(JUMP_THROUGH_GATE, b.cpu, found.low, found.high)
        b.ret(OK)
    task = b.select(is_task, selector, found.low >> 16)
    b.attempt(SWITCH_TASK, b.cpu, task, TASK_CALL if is_call else TASK_JUMP, 0, next_eip, 0, 0, 0)
    b.ret(OK)


def _check_code(b: Context, selector: Value, offset: Value, code: Descriptor) -> None:
    """The code segment of a direct transfer, which never changes CPL."""
    cpl, dpl = current_privilege_level(b), code.dpl()
    not_conforming = ~code.is_conforming_code()
    wrong_level = dpl.ugt(cpl) | (not_conforming & ((dpl != cpl) | (selector & SELECTOR_RPL).ugt(cpl)))
    b.fault_if(~code.is_code() | wrong_level, GP, error_code(selector))
    b.fault_if(~code.present(), NP, error_code(selector))
    b.fault_if(offset.ugt(code.limit()), GP, 0)


def _enter(b: Context, code: Descriptor, selector: Value, offset: Value) -> None:
    code.load_into(CS, (selector & ~SELECTOR_RPL) | current_privilege_level(b))
    b.put("eip", offset)
    b.attempt(UPDATE_MODE, b.cpu)


def _far_jump(b: Context) -> None:
    cpu, selector, offset, next_eip = b.arguments
    with b.If(is_long_mode(b)):
        b.ret(b.call(FAR_JUMP_LONG, cpu, selector, offset))
    offset, next_eip = offset.trunc(32), next_eip.trunc(32)
    with b.If(has_8086_segments(b)):
        b.ret(b.call(FAR_JUMP_8086, cpu, selector, offset))
    found = _find(b, selector)
    with b.Unlikely((found.high & CODE_OR_DATA) == 0):
        _transfer_by_system_descriptor(b, selector, found, next_eip, is_call=False)
    _check_code(b, selector, offset, found)
    _enter(b, found.mark_accessed(selector), selector, offset)


def _far_call(b: Context) -> None:
    cpu, selector, offset, return_eip, width = b.arguments
    with b.If(is_long_mode(b)):
        b.ret(b.call(FAR_CALL_LONG, *b.arguments))
    offset, return_eip = offset.trunc(32), return_eip.trunc(32)
    with b.If(has_8086_segments(b)):
        b.ret(b.call(FAR_CALL_8086, cpu, selector, offset, return_eip, width))
    found = _find(b, selector)
    with b.Unlikely((found.high & CODE_OR_DATA) == 0):
        _transfer_by_system_descriptor(b, selector, found, return_eip, is_call=True)
    _check_code(b, selector, offset, found)
    stack = NewStack.create(b, width)
    stack.use_current(0)
    stack.check_room(b.const(2, 32))
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_eip)
    code = found.mark_accessed(selector)
    stack.commit()
    _enter(b, code, selector, offset)


RUNTIME = ((FAR_JUMP, _far_jump), (FAR_CALL, _far_call))
