"""CR8: the class of the local APIC's task priority (SDM vol. 3A 10.8.6.1); without an APIC a register like others."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import GP, Context
from bt.x86.features import has
from bt.x86.services import READ_LOCAL_APIC, WRITE_LOCAL_APIC
from bt.x86.state import APIC_BASE_ENABLED

_TASK_PRIORITY = 0x80  # offset of the APIC's register, whose bits 4 to 7 are the class
_CLASS_SHIFT, _CLASS = 4, 0xF


def _is_in_apic(b: Context) -> Value:
    return has(b, "apic") & ((b.get("apic_base") & APIC_BASE_ENABLED) != 0)


def read_task_priority(b: Context) -> Value:
    """CR8, i64. May leave the instruction for the device's answer."""
    found = b.local(64, b.get("cr8"))
    with b.If(_is_in_apic(b)):
        b.attempt(READ_LOCAL_APIC, b.cpu, _TASK_PRIORITY)
        found.set((b.get("memory_value") >> _CLASS_SHIFT) & _CLASS)
    return found.get()


def write_task_priority(b: Context, value: Value) -> None:
    """CR8 becomes `value` (i64), and the class below it 0. #GP(0) for reserved bits."""
    b.fault_if((value >> _CLASS_SHIFT) != 0, GP, 0)
    with b.IfElse(_is_in_apic(b)) as where:
        with where.then():
            b.attempt(WRITE_LOCAL_APIC, b.cpu, _TASK_PRIORITY, value.trunc(32) << _CLASS_SHIFT)
        with where.otherwise():
            b.put("cr8", value)
