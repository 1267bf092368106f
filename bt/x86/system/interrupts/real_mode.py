"""Interrupts and IRET of real mode: the interrupt vector table, 16-bit frames (SDM vol. 3B, 8086 emulation).

With CR4.VME software interrupts of virtual-8086 mode go the same way: see virtual_8086.py.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86 import flags
from bt.x86.context import GP, Context
from bt.x86.state import CS
from bt.x86.system.segmentation.segment_8086 import (
    check_offset,
    enter_8086_code,
)
from bt.x86.system.segmentation.stack import NewStack

# Deliver an interrupt through a vector table as the 8086 has it: vector, linear address of the table, its last byte,
# EIP to return to, FLAGS to push, EFLAGS bits to clear.
VECTOR_TABLE_INTERRUPT = native("vector_table_interrupt", PTR, "i32", "i32", "i64", "i32", "i32", "i32")

ENTRY_BYTES = 4  # offset, then segment
CLEARED = flags.IF | flags.TF | flags.AC | flags.RF


def deliver_in_real_mode(b: Context, vector: Value, return_eip: Value) -> None:
    """An interrupt or exception of any kind; error codes are not pushed."""
    table, last = b.get("idtr_base", width=32), b.get("idtr_limit")
    image = flags.read_eflags(b)
    b.attempt(VECTOR_TABLE_INTERRUPT, b.cpu, vector, table, last, return_eip, image, CLEARED)


def _vector_table_interrupt(b: Context) -> None:
    _, vector, table, last, return_eip, image, cleared = b.arguments
    at = vector * ENTRY_BYTES
    # error codes are for virtual-8086 mode, where a protected-mode handler sees them
    b.fault_if((at + (ENTRY_BYTES - 1)).zext(64).ugt(last), GP, 0)
    offset = b.read_linear(table + at, 16).zext(32)
    selector = b.read_linear(table + at + 2, 16).zext(32)
    stack = NewStack.create(b, b.const(16, 32))
    stack.use_current(0)
    stack.check_room(b.const(3, 32))
    check_offset(b, offset)
    stack.push(image)
    stack.push(b.get_segment(CS, "selector", width=32))
    stack.push(return_eip)
    stack.commit()
    b.put("eflags_system", b.get("eflags_system", width=32) & ~cleared)
    b.put("inhibit", 0)
    enter_8086_code(b, selector, offset)


RUNTIME = ((VECTOR_TABLE_INTERRUPT, _vector_table_interrupt),)
