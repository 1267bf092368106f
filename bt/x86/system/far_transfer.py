"""Far JMP and CALL to code segments (SDM vol. 2, JMP and CALL; vol. 3A 5.8.1).

Room for later: call gates, task gates and TSS selectors are the other descriptors a far transfer may name; today each
raises #GP with the selector, as a type that is not allowed does.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, NP, Context
from bt.x86.services import UPDATE_MODE
from bt.x86.state import CS, ESP
from bt.x86.system.descriptor_table import SELECTOR_RPL, Descriptor, error_code, fetch, is_null
from bt.x86.system.operating_mode import has_8086_segments
from bt.x86.system.segment_8086 import FAR_CALL_8086, FAR_JUMP_8086
from bt.x86.system.segment_load import current_privilege_level
from bt.x86.system.stack import NewStack

# selector, offset
FAR_JUMP = native("far_jump", PTR, "i32", "i32")
# selector, offset, EIP to return to, operand size in bits
FAR_CALL = native("far_call", PTR, "i32", "i32", "i32", "i32")


def _check_target(b: Context, selector: Value, offset: Value) -> Descriptor:
    """The code segment of a far transfer, which never changes CPL."""
    b.fault_if(is_null(selector), GP, 0)
    code = fetch(b, selector)
    cpl, dpl = current_privilege_level(b), code.dpl()
    not_conforming = ~code.is_conforming_code()
    wrong_level = dpl.ugt(cpl) | (not_conforming & ((dpl != cpl) | (selector & SELECTOR_RPL).ugt(cpl)))
    b.fault_if(~code.is_code() | wrong_level, GP, error_code(selector))
    b.fault_if(~code.present(), NP, error_code(selector))
    b.fault_if(offset.ugt(code.limit()), GP, 0)
    return code


def _enter(b: Context, code: Descriptor, selector: Value, offset: Value) -> None:
    code.load_into(CS, (selector & ~SELECTOR_RPL) | current_privilege_level(b))
    b.put("eip", offset)
    b.attempt(UPDATE_MODE, b.cpu)


def _far_jump(b: Context) -> None:
    cpu, selector, offset = b.arguments
    with b.If(has_8086_segments(b)):
        b.ret(b.call(FAR_JUMP_8086, cpu, selector, offset))
    code = _check_target(b, selector, offset).mark_accessed(selector)
    _enter(b, code, selector, offset)


def _far_call(b: Context) -> None:
    cpu, selector, offset, return_eip, width = b.arguments
    with b.If(has_8086_segments(b)):
        b.ret(b.call(FAR_CALL_8086, cpu, selector, offset, return_eip, width))
    code = _check_target(b, selector, offset)
    stack = NewStack.create(b, width)
    stack.use_current(0)
    stack.check_room(b.const(2, 32))
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_eip)
    code = code.mark_accessed(selector)
    b.set_reg(ESP, stack.final_pointer())
    _enter(b, code, selector, offset)


RUNTIME = ((FAR_JUMP, _far_jump), (FAR_CALL, _far_call))
