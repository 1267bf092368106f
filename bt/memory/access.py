"""How generated code reaches guest memory: segment check, the back-end's look for plain memory, slow path.

`MemoryContext` is the memory half of a `Context`; interpreter handlers and runtime functions inherit it. (Stencils have
the same back-end, but their operands sit in pinned registers: bt/engine/translator/stencils/context.py.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from bt.codegen.value import PTR, Value
from bt.memory.backend import (
    ACCESS_SYSTEM,
    DIRECT,
    OPERAND_BEGIN,
    OPERAND_COMMIT,
    OPERAND_FILL,
    OPERAND_WRITE,
    SLOW_READ,
    SLOW_WRITE,
    UPDATE_BEGIN,
    UPDATE_COMMIT,
    AccessCode,
)
from bt.memory.physical import PhysicalPage, code_map_slot, mark_dirty
from bt.memory.soft_mmu.code import SoftMmuCode
from bt.x86 import context as x86
from bt.x86.context import Context
from bt.x86.services import CODE_WRITTEN
from bt.x86.state import SS
from bt.x86.system.long_mode.canonical import is_canonical

ACCESS_CODE: AccessCode = SoftMmuCode()
FLOATING_BUS = -1  # what nobody answers to reads as ones


@dataclass
class MemoryContext(Context):
    """Memory access with the rights of the current privilege level."""

    def read_linear(self, linear: Value, width: int, *, system: bool = False) -> Value:
        linear, size = linear.zext(64), width // 8
        result = self.local(width)
        hit, pointer = ACCESS_CODE.probe(self, linear, size, write=False, system=system)
        miss = ~hit
        with self.IfElse(miss, ", !prof !1") as arm:
            with arm.then():
                self.attempt(SLOW_READ, self.cpu, linear, size, ACCESS_SYSTEM if system else 0)
                result.set(self.get("memory_value", width=width))
            with arm.otherwise():
                result.set(self.load(pointer(), width))
        return result.get()

    def write_linear(self, linear: Value, value: Value, *, system: bool = False) -> None:
        linear, size = linear.zext(64), value.width // 8
        hit, pointer = ACCESS_CODE.probe(self, linear, size, write=True, system=system)
        with self.IfElse(hit, ", !prof !0") as arm:
            with arm.then():
                self.store(pointer(), value)
            with arm.otherwise():
                self.attempt(SLOW_WRITE, self.cpu, linear, size, value.zext(64), ACCESS_SYSTEM if system else 0)

    def checked_linear(self, segment: int | Value, offset: Value, size: int, *, write: bool) -> Value:
        """Linear address after the segment's limit and type check; #SS(0) or #GP(0) (SDM vol. 3A 5.3, 5.5).

        In 64-bit mode it is checked for being canonical (vol. 1 3.3.7.1).
        """
        if self.long:
            linear = self.segment_linear(segment, offset)
            with self.Unlikely(~is_canonical(linear, size)):
                self._refuse(segment)
            return linear
        kind = "write" if write else "read"
        first = offset.zext(64)
        too_low = first.ult(self.get_segment(segment, f"{kind}_low"))
        too_high = (first + (size - 1)).ugt(self.get_segment(segment, f"{kind}_high"))
        with self.Unlikely(too_low | too_high):
            self._refuse(segment)
        return self.segment_linear(segment, offset)

    def _refuse(self, segment: int | Value) -> None:
        if isinstance(segment, int):
            self.fault(x86.SS_FAULT if segment == SS else x86.GP, 0)
        else:
            self.fault(self.select(segment.zext(64) == SS, self.const(x86.SS_FAULT, 64), x86.GP), 0)

    def read_memory(self, segment: int | Value, offset: Value, width: int) -> Value:
        return self.read_linear(self.checked_linear(segment, offset, width // 8, write=False), width)

    def write_memory(self, segment: int | Value, offset: Value, value: Value) -> None:
        self.write_linear(self.checked_linear(segment, offset, value.width // 8, write=True), value)

    def update_pointer(self, segment: int | Value, offset: Value, width: int) -> Value:
        """Host pointer of a read-modify-write operand; finish with `commit_update` after storing through it."""
        linear = self.checked_linear(segment, offset, width // 8, write=True).zext(64)
        pointer = self.local(PTR)
        hit, direct = ACCESS_CODE.probe(self, linear, width // 8, write=True)
        with self.IfElse(hit, ", !prof !0") as arm:
            with arm.then():
                pointer.set(direct())
            with arm.otherwise():
                self.attempt(UPDATE_BEGIN, self.cpu, linear, width // 8)
                pointer.set(self.get_pointer("memory_value"))
        return pointer.get()

    def commit_update(self, pointer: Value) -> None:
        with self.Unlikely(pointer == self.slot("bounce")):
            self.attempt(UPDATE_COMMIT, self.cpu)

    def operand_pointer(
        self, segment: int | Value, offset: Value, size: int, *, write: bool = False, fill: bool = False, align: int = 1
    ) -> Value:
        if align > 1 and self.long:  # before it is looked at whether the address is canonical
            self.fault_if((self.segment_linear(segment, offset) & (align - 1)) != 0, x86.GP, 0)
        linear = self.checked_linear(segment, offset, size, write=write).zext(64)
        if align > 1 and not self.long:
            self.fault_if((linear & (align - 1)) != 0, x86.GP, 0)
        pointer = self.local(PTR)
        hit, direct = ACCESS_CODE.probe(self, linear, size, write=write)
        with self.IfElse(hit, ", !prof !0") as arm:
            with arm.then():
                pointer.set(direct())
            with arm.otherwise():
                self.attempt(OPERAND_BEGIN, self.cpu, linear, size, OPERAND_WRITE * write | OPERAND_FILL * fill)
                pointer.set(self.get_pointer("memory_value"))
        return pointer.get()

    def commit_operand(self, pointer: Value) -> None:
        with self.Unlikely(pointer == self.slot("fp_operand")):
            self.attempt(OPERAND_COMMIT, self.cpu)

    def direct_pointer(self, linear: Value, size: Value, *, write: bool) -> Value:
        return self.call(DIRECT, self.cpu, linear.zext(64), int(write), size.zext(64))

    def look_up(
        self, linear: Value, size: int | Value, *, write: bool, system: bool
    ) -> tuple[Value, Callable[[], Value]]:
        return ACCESS_CODE.probe(self, linear, size, write=write, system=system)

    def read_physical(self, address: Value, width: int) -> Value:
        result = self.local(width, FLOATING_BUS)
        page = PhysicalPage(self, address)
        with self.Likely(page.is_memory):
            result.set(self.load(page.host.to_pointer(), width))
        return result.get()

    def write_physical(self, address: Value, value: Value) -> None:
        page = PhysicalPage(self, address)
        with self.Likely(page.is_writable):
            self.store(page.host.to_pointer(), value)
            mark_dirty(self, address)
            with self.Unlikely(self.load(code_map_slot(self, address), 64) != 0):
                self.call(CODE_WRITTEN, self.cpu, address, value.width // 8)
        with self.Unlikely(page.is_over_ram):
            self.store(page.host_behind.to_pointer(), value)


class NativeContext(MemoryContext):
    """A runtime function with the C convention: argument 0 is the state; result OK, FAULT or EXIT."""

    @property
    def cpu(self) -> Value:
        return self.arguments[0]

    def abandon(self, status: Value | int = x86.FAULT) -> None:
        self.ret(status)

    def _no_instruction(self) -> NoReturn:
        raise TypeError(f"{self.signature.name} is no instruction: it has no place in the guest's code")

    def next_eip(self) -> Value:
        self._no_instruction()

    def this_eip(self) -> Value:
        self._no_instruction()

    def jump(self, target: Value) -> None:
        self._no_instruction()

    def resume(self) -> None:
        self._no_instruction()

    def repeat(self) -> None:
        self._no_instruction()

    def icount(self) -> Value:
        self._no_instruction()

    def address_mask(self) -> Value:
        self._no_instruction()

    def source_segment(self) -> int | Value:
        self._no_instruction()


Body = Callable[[NativeContext], None]
"""Builds the body of a runtime function."""
