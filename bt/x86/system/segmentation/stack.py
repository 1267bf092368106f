"""Stack accesses of far transfers: 16 or 32 bits wide as a gate or an operand size says when the code runs."""

from __future__ import annotations

from dataclasses import dataclass

from bt.codegen.abi import native
from bt.codegen.builder import Local
from bt.codegen.value import PTR, Value
from bt.x86.context import SS_FAULT, TS, Context
from bt.x86.state import ESP, SS
from bt.x86.system.segmentation.descriptor_table import (
    Descriptor,
    check_stack_segment,
    error_code,
    fetch,
    is_null,
)
from bt.x86.system.tasks.task_state import INNER_STACK

# Read the current stack: bytes above its top, width in bits (16 or 32). Answers in memory_value, zero-extended.
STACK_READ = native("stack_read", PTR, "i32", "i32")
# Write a stack by linear address: address, value, width in bits, 1 to do it as supervisor.
STACK_WRITE = native("stack_write", PTR, "i32", "i32", "i32", "i32")
# #SS with an error code unless a frame fits: stack pointer, its mask, first and last valid offset, items, bytes of
# each, error code.
CHECK_STACK_ROOM = native("check_stack_room", PTR, "i32", "i32", "i64", "i64", "i32", "i32", "i32")


def stack_value(b: Context, displacement: Value, width: Value) -> Value:
    """16 or 32 bits at the top of the stack + displacement bytes, i32; ESP stays."""
    b.attempt(STACK_READ, b.cpu, displacement, width)
    return b.get("memory_value", width=32)


@dataclass
class NewStack:
    """A stack under construction: nothing of it is in the registers until the transfer commits."""

    b: Context
    width: Value  # of an item in bits, i32
    base: Local
    mask: Local
    pointer: Local
    start: Local
    first: Local
    last: Local
    error: Local  # error code of #SS
    supervisor: Local
    selector: Local  # what SS becomes, with its descriptor; selector 0: SS stays
    low: Local
    high: Local

    @classmethod
    def create(cls, b: Context, width: Value) -> NewStack:
        base, mask, pointer, start, error, supervisor, selector, low, high = (b.local(32, 0) for _ in range(9))
        first, last = b.local(64), b.local(64)
        return cls(b, width, base, mask, pointer, start, first, last, error, supervisor, selector, low, high)

    def use_current(self, error: Value | int) -> None:
        """Push onto SS:ESP with the rights of the current level."""
        b = self.b
        self._begin(b.get_segment(SS, "base", width=32), b.stack_mask(), b.reg(ESP), error)
        self.first.set(b.get_segment(SS, "write_low"))
        self.last.set(b.get_segment(SS, "write_high"))
        self.supervisor.set(0)

    def use_inner(self, level: Value, external: Value | int) -> None:
        """Push onto the stack the TSS has for a more privileged level, which is supervisor to paging.

        #TS, or #SS where that segment is not present, with the EXT bit `external` in the error code.
        """
        b = self.b
        b.attempt(INNER_STACK, b.cpu, level, external)
        found = b.get("memory_value")
        pointer, selector = found.trunc(32), (found >> 32).trunc(32)
        b.fault_if(is_null(selector), TS, external)
        descriptor = fetch(b, selector, TS, external)
        check_stack_segment(b, selector, descriptor, level, TS, external)
        self._begin(descriptor.base(), descriptor.stack_mask(), pointer, error_code(selector, external))
        first, last = descriptor.range()
        self.first.set(first)
        self.last.set(last)
        self.supervisor.set(1)
        self.selector.set(selector)
        self.low.set(descriptor.low)
        self.high.set(descriptor.high)

    def _begin(self, base: Value, mask: Value, pointer: Value, error: Value | int) -> None:
        self.base.set(base)
        self.mask.set(mask)
        self.pointer.set(pointer)
        self.start.set(pointer)
        self.error.set(error)

    def check_room(self, items: Value) -> None:
        b = self.b
        b.attempt(
            CHECK_STACK_ROOM,
            b.cpu,
            self.pointer.get(),
            self.mask.get(),
            self.first.get(),
            self.last.get(),
            items,
            self.width >> 3,
            self.error.get(),
        )

    def push(self, value: Value) -> None:
        b = self.b
        top = self.pointer.get() - (self.width >> 3)
        linear = self.base.get() + (top & self.mask.get())
        b.attempt(STACK_WRITE, b.cpu, linear, value, self.width, self.supervisor.get())
        self.pointer.set(top)

    def commit(self) -> None:
        """Make it the stack: SS if it is another one, and ESP. Only the accessed bit in memory can fault."""
        b = self.b
        with b.If(self.selector.get() != 0):
            descriptor = Descriptor(b, self.low.get(), self.high.get()).mark_accessed(self.selector.get())
            descriptor.load_into(SS, self.selector.get())
        # with a 16-bit stack only SP has moved
        mask = self.mask.get()
        b.set_reg(ESP, (self.start.get() & ~mask) | (self.pointer.get() & mask))


def _stack_read(b: Context) -> None:
    _, displacement, width = b.arguments
    offset = (b.reg(ESP) + displacement) & b.stack_mask()
    with b.IfElse(width == 32) as arm:
        with arm.then():
            b.put("memory_value", b.read_memory(SS, offset, 32))
        with arm.otherwise():
            b.put("memory_value", b.read_memory(SS, offset, 16))


def _stack_write(b: Context) -> None:
    _, linear, value, width, supervisor = b.arguments
    with b.IfElse(supervisor != 0) as rights:
        for arm, system in ((rights.then, True), (rights.otherwise, False)):
            with arm(), b.IfElse(width == 32) as size:
                with size.then():
                    b.write_linear(linear, value, system=system)
                with size.otherwise():
                    b.write_linear(linear, value.trunc(16), system=system)


def _check_stack_room(b: Context) -> None:
    _, pointer, mask, first, last, items, size, error = b.arguments
    top, left = b.local(32, pointer), b.local(32, items)
    with b.Loop() as loop:
        top.set(top.get() - size)
        offset = (top.get() & mask).zext(64)
        b.fault_if(offset.ult(first) | (offset + (size - 1).zext(64)).ugt(last), SS_FAULT, error)
        left.set(left.get() - 1)
        loop.break_if(left.get() == 0)


RUNTIME = ((STACK_READ, _stack_read), (STACK_WRITE, _stack_write), (CHECK_STACK_ROOM, _check_stack_room))
