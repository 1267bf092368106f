"""The stack in long mode: 64 bits without a segment where code is of 64 bits, else as ever (SDM vol. 1 6.2.5)."""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.abi import native
from bt.codegen.builder import Local
from bt.codegen.value import PTR, Value
from bt.x86.context import OK, SS_FAULT, TS, Context
from bt.x86.state import ESP, TR
from bt.x86.system.long_mode.canonical import is_canonical
from bt.x86.system.operating_mode import in_64_bit_mode
from bt.x86.system.segmentation.descriptor_table import error_code
from bt.x86.system.segmentation.stack import STACK_READ

# Read the current stack: bytes above its top, width in bits. Answers in memory_value, zero-extended.
LONG_STACK_READ = native("long_stack_read", PTR, "i32", "i32")
# Write at a linear address: address, value, width in bits, 1 to do it as supervisor.
_LONG_STACK_WRITE = native("long_stack_write", PTR, "i64", "i64", "i32", "i32")
# A stack pointer of the TSS: its offset there, EXT bit for error codes. Answers in memory_value.
TASK_STACK = native("task_stack", PTR, "i32", "i32")

# Offsets in a 64-bit TSS (SDM vol. 3A figure 8-11)
RSP_0, INTERRUPT_STACK_1, POINTER_BYTES = 4, 36, 8
SUPERVISOR_LEVELS = 3  # 0 to 2


def long_stack_value(b: Context, displacement: Value | int, width: Value | int) -> Value:
    """What is at the top of the stack + displacement bytes, i64; RSP stays."""
    b.attempt(LONG_STACK_READ, b.cpu, displacement, width)
    return b.get("memory_value")


@dataclass
class Frame:
    """Items that are pushed one by one; nothing is in RSP until the transfer commits."""

    b: Context
    pointer: Local  # where the last one is, linear (i64)
    width: Value | int  # of an item in bits
    supervisor: Value  # i32: 1 if the stack is one of levels 0 to 2

    def push(self, value: Value) -> None:
        b, width = self.b, self.width
        size = (width >> 3).zext(64) if isinstance(width, Value) else width // 8
        self.pointer.set(self.pointer.get() - size)
        b.attempt(_LONG_STACK_WRITE, b.cpu, self.pointer.get(), value.zext(64), width, self.supervisor)

    def require_room(self, size: Value | int, error: Value | int) -> None:
        """#SS unless so many bytes (i64) below are at canonical addresses."""
        b = self.b
        size = size if isinstance(size, Value) else b.const(size, 64)
        b.fault_if(~is_canonical(self.pointer.get() - size, size), SS_FAULT, error)


def _long_stack_read(b: Context) -> None:
    cpu, displacement, width = b.arguments
    with b.If(~in_64_bit_mode(b)):
        b.ret(b.call(STACK_READ, cpu, displacement, width))
    linear = b.reg(ESP, 64) + displacement.zext(64)
    b.fault_if(~is_canonical(linear, (width >> 3).zext(64)), SS_FAULT, 0)
    for bits in (16, 32):
        with b.If(width == bits):
            b.put("memory_value", b.read_linear(linear, bits))
            b.ret(OK)
    b.put("memory_value", b.read_linear(linear, 64))


def _long_stack_write(b: Context) -> None:
    _, linear, value, width, supervisor = b.arguments
    with b.IfElse(supervisor != 0) as rights:
        for arm, system in ((rights.then, True), (rights.otherwise, False)):
            with arm():
                for bits in (16, 32, 64):
                    with b.If(width == bits):
                        b.write_linear(linear, value.trunc(bits), system=system)


def _task_stack(b: Context) -> None:
    """#TS if it is beyond the limit of the TSS."""
    _, at, external = b.arguments
    beyond = (at + (POINTER_BYTES - 1)).zext(64).ugt(b.get_segment(TR, "limit"))
    b.fault_if(beyond, TS, error_code(b.get_segment(TR, "selector", width=32), external))
    b.put("memory_value", b.read_linear(b.get_segment(TR, "base") + at.zext(64), 64, system=True))


RUNTIME = ((LONG_STACK_READ, _long_stack_read), (_LONG_STACK_WRITE, _long_stack_write), (TASK_STACK, _task_stack))
