"""Interrupts and exceptions in long mode: 16-byte gates, always to 64-bit code (SDM vol. 3A 6.14).

There are no task gates, SS is null on an inner level, and the frame has always SS and RSP, below an address that is a
multiple of 16. A gate may name a stack of its own in the TSS.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, NP, Context
from bt.x86.services import INT_SOFTWARE, UPDATE_MODE
from bt.x86.state import CS, ESP, SS
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.long_mode.long_stack import (
    INTERRUPT_STACK_1,
    POINTER_BYTES,
    RSP_0,
    SUPERVISOR_LEVELS,
    TASK_STACK,
    Frame,
)
from bt.x86.system.segmentation.descriptor_table import (
    SELECTOR_RPL,
    SET_NULL_SEGMENT,
    Descriptor,
    error_code,
    fetch,
    is_null,
    require_64_bit_code,
)
from bt.x86.system.segmentation.segment_load import current_privilege_level

# Arguments of DELIVER_EVENT (interrupt_delivery.py)
DELIVER_LONG = native("deliver_long", PTR, "i32", "i32", "i64", "i32", "i32", "i32")

_GATE_BYTES = 16
_ERROR_IDT = 2  # the error code's index is one of the IDT
_INTERRUPT_GATE, _TRAP_GATE = 0xE, 0xF
_INTERRUPT_STACK = 7  # of a gate's second dword
_CLEARED = flags.TF | flags.NT | flags.RF | flags.VM


def _gate(b: Context, vector: Value, kind: Value, external: Value) -> tuple[Descriptor, Value]:
    """The IDT's entry for a vector, checked up to what it points to; and the offset it names, i64."""
    error = (vector << 3) | _ERROR_IDT | external
    offset = (vector * _GATE_BYTES).zext(64)
    b.fault_if((offset + (_GATE_BYTES - 1)).ugt(b.get("idtr_limit")), GP, error)
    linear = b.get("idtr_base") + offset
    low, high, upper = (b.read_linear(linear + 4 * place, 32, system=True) for place in range(3))
    gate = Descriptor(b, low, high)
    kind_of_gate = gate.system_type()
    b.fault_if((kind_of_gate != _INTERRUPT_GATE) & (kind_of_gate != _TRAP_GATE), GP, error)
    b.fault_if((kind == INT_SOFTWARE) & gate.dpl().ult(current_privilege_level(b)), GP, error)
    b.fault_if(~gate.present(), NP, error)
    target = ((low & 0xFFFF) | (high & 0xFFFF_0000)).zext(64) | (upper.zext(64) << 32)
    return gate, target


def _deliver_long(b: Context) -> None:
    cpu, vector, kind, return_rip, has_error, error_value, pushed_flags = b.arguments
    external = (kind != INT_SOFTWARE).zext(32)
    cpl = current_privilege_level(b)
    gate, target = _gate(b, vector, kind, external)
    selector = gate.low >> 16
    b.fault_if(is_null(selector), GP, external)
    code = fetch(b, selector, GP, external)
    error = error_code(selector, external)
    b.fault_if(~code.is_code() | code.dpl().ugt(cpl), GP, error)
    b.fault_if(~code.present(), NP, error)
    require_64_bit_code(b, code, error)
    inner = ~code.is_conforming_code() & code.dpl().ult(cpl)
    level = b.select(inner, code.dpl(), cpl)

    stack = b.local(64, b.reg(ESP, 64))
    number = gate.high & _INTERRUPT_STACK
    with b.If(inner | (number != 0)):
        by_gate = (number - 1) * POINTER_BYTES + INTERRUPT_STACK_1
        at = b.select(number != 0, by_gate, level * POINTER_BYTES + RSP_0)
        b.attempt(TASK_STACK, cpu, at, external)
        stack.set(b.get("memory_value"))
    stack.set(stack.get() & -16)
    frame = Frame(b, stack, 64, level.ult(SUPERVISOR_LEVELS).zext(32))
    frame.require_room((has_error.zext(64) << 3) + 40, external)
    b.fault_if(~is_canonical(target), GP, external)
    frame.push(b.get_segment(SS, "selector"))
    frame.push(b.reg(ESP, 64))
    frame.push((flags.read_eflags(b) | pushed_flags).zext(64))
    frame.push(b.get_segment(CS, "selector"))
    frame.push(return_rip)
    with b.If(has_error != 0):
        frame.push(error_value)

    code = code.mark_accessed(selector)  # the last thing that can fault
    code.load_into(CS, (selector & ~SELECTOR_RPL) | level)
    with b.If(inner):
        b.attempt(SET_NULL_SEGMENT, cpu, SS, level)
    b.set_reg(ESP, frame.pointer.get())
    b.put("cpl", level)
    b.put("eip", target)
    b.put("inhibit", 0)
    system = b.get("eflags_system", width=32) & ~_CLEARED
    b.put("eflags_system", b.select(gate.system_type() == _TRAP_GATE, system, system & ~flags.IF))
    b.attempt(UPDATE_MODE, cpu)


RUNTIME = ((DELIVER_LONG, _deliver_long),)
