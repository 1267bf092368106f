"""Where an instruction may store: its memory operands, the string it fills, the stack."""

from __future__ import annotations

from collections.abc import Iterator

from bt.engine.linear import translate
from bt.engine.vcpu import Vcpu
from bt.inspect.code import IN_LDT, RPL, SELECTOR_INDEX, stack_top
from bt.x86 import flags
from bt.x86.decode import RIP, Instruction
from bt.x86.mode import CODE_64
from bt.x86.opcodes import Method, Width
from bt.x86.page import PAGE
from bt.x86.state import EDI, ES, FS, GS, LDTR, SEGMENT_NAMES
from bt.x86.system.registers.control_registers import CR0_PE, EFER_LMA

_BYTES = {Width.SAVE: 108, Width.ENVIRONMENT: 28, Width.FX: 512}
_OTHERS = 16  # bytes of any other operand, at most
_STACK = 64  # bytes of the stack above its top, where it has moved: ENTER and PUSHA write no more that matters
_32_BITS, _64_BITS = (1 << 32) - 1, (1 << 64) - 1
Extent = tuple[int, int]  # physical address, bytes


class Stores:
    """Made before an instruction executes; asked afterwards."""

    def __init__(self, cpu: Vcpu, instruction: Instruction | None) -> None:
        """`instruction`: None for one that is none."""
        state = cpu.state
        self._cpu = cpu
        self._stack = stack_top(cpu)
        self._operand: list[Extent] = []
        self._string: tuple[int, int] | None = None
        if instruction is None:
            return
        mask = (1 << instruction.address_size) - 1
        operands = instruction.form.operands
        if (memory := instruction.memory) is not None:
            size = max([_BYTES.get(operand.width, _OTHERS) for operand in operands] or [_OTHERS])
            registers = ((memory.base, 1), (memory.index, memory.scale))
            offset = memory.displacement + sum(
                (state["eip"] + instruction.length if number == RIP else state["gpr", number]) * scale
                for number, scale in registers
                if number is not None
            )
            self._operand = list(self._physical(self._base(memory.segment) + (offset & mask), size))
        if any(operand.method is Method.DESTINATION_STRING for operand in operands):
            self._string = (state["gpr", EDI] & mask, mask)

    def _base(self, segment: int) -> int:
        """In 64-bit mode only FS and GS have one."""
        has_none = self._cpu.state["mode"] & CODE_64 and segment not in (FS, GS)
        return 0 if has_none else self._cpu.state.segment(segment, "base")

    def extents(self) -> Iterator[Extent]:
        """Physical memory that the instruction may have changed; not all of what it may have in rare cases."""
        yield from self._operand
        if self._string is not None:
            before, mask = self._string
            now = self._cpu.state["gpr", EDI] & mask
            start, end = min(before, now), max(before, now) + 8
            base = self._base(ES)
            yield from self._physical(base + start, min(end - start, PAGE * 8))
        if (top := stack_top(self._cpu)) != self._stack:
            yield from self._physical(top, _STACK)

    def descriptors(self) -> Iterator[Extent]:
        """Those that the segment registers name now: loading them sets accessed and busy bits."""
        state = self._cpu.state
        if not state["cr0"] & CR0_PE or state["eflags_system"] & flags.VM:
            return
        for number in range(len(SEGMENT_NAMES)):
            selector = state.segment(number, "selector")
            base = state.segment(LDTR, "base") if selector & IN_LDT else state["gdtr_base"]
            if selector & ~RPL:
                yield from self._physical(base + (selector & SELECTOR_INDEX), 8)

    def _physical(self, linear: int, size: int) -> Iterator[Extent]:
        while size > 0:
            linear &= _64_BITS if self._cpu.state["efer"] & EFER_LMA else _32_BITS
            part = min(size, PAGE - linear % PAGE)
            physical = translate(self._cpu, linear).physical
            if physical is not None:
                yield physical, part
            linear, size = linear + part, size - part
