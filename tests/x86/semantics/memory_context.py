"""The simplest operand environment there is: one native function per instruction, every operand a constant place.

It stands on its own, without an engine: guest memory is one host buffer with one byte of rights a page, registers are
in the CPU state. What passes here and fails in an engine is the engine's fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bt.codegen.value import PTR, Value
from bt.engine.meaning import meaning_function
from bt.x86 import decode as decoder
from bt.x86 import state
from bt.x86.context import FAULT, PF, Context
from bt.x86.opcodes import Method, Operand, Width
from bt.x86.operands import Constant, NamedRegister

PAGE_BYTES = 4096
PAGES = 64
PRESENT, WRITABLE = 1, 2
PF_PRESENT, PF_WRITE, PF_USER = 1, 2, 4

# What the function of an instruction answers.
NEXT, JUMPED = 0, 3

_WIDTHS = {Width.B: 8, Width.BS: 0, Width.W: 16, Width.D: 32, Width.Y: 32, Width.Q: 64, Width.QX: 64, Width.NONE: 32}


@dataclass
class MemoryContext(Context):
    """One instruction at a fixed address in a flat guest of PAGES pages, at CPL 3."""

    memory: int = 0  # host address of guest memory
    rights: int = 0  # host address of one byte a page
    instruction: decoder.Instruction | None = None
    address: int = 0  # EIP of the instruction
    directly: bool = True  # whether direct_pointer ever answers

    @property
    def cpu(self) -> Value:
        return self.arguments[0]

    def abandon(self, status: Value | int = FAULT) -> None:
        self.ret(status)

    # -- memory ---------------------------------------------------------------------------------------------------

    def _host(self, base: int) -> Value:
        return self.emit(f"inttoptr i64 {base} to ptr", PTR)

    def _denied(self, linear: Value, *, write: bool) -> tuple[Value, Value]:
        """Whether the page of `linear` refuses the access, and whether it is present."""
        page = linear >> 12
        beyond = page.uge(PAGES)
        held = self.load(self._host(self.rights) + (page & (PAGES - 1)).zext(64), 8)
        held = self.select(beyond, self.const(0, 8), held)
        wanted = PRESENT | WRITABLE if write else PRESENT
        return (held & wanted) != wanted, (held & PRESENT) != 0

    def _check(self, linear: Value, size: int, *, write: bool) -> None:
        for first, position in ((True, linear), (False, (linear + (size - 1)) & -PAGE_BYTES)):
            denied, present = self._denied(position, write=write)
            crossed = (linear & -PAGE_BYTES) != position
            with self.Unlikely(denied if first else denied & crossed):
                self.put("cr2", position)
                error = present.zext(32) * PF_PRESENT | (PF_USER | PF_WRITE * write)
                self.fault(PF, error)

    def read_memory(self, segment: int | Value, offset: Value, width: int) -> Value:
        return self.read_linear(self.segment_linear(segment, offset), width)

    def write_memory(self, segment: int | Value, offset: Value, value: Value) -> None:
        self.write_linear(self.segment_linear(segment, offset), value)

    def read_linear(self, linear: Value, width: int, *, system: bool = False) -> Value:
        self._check(linear, width // 8, write=False)
        return self.load(self._host(self.memory) + linear.zext(64), width)

    def write_linear(self, linear: Value, value: Value, *, system: bool = False) -> None:
        self._check(linear, value.width // 8, write=True)
        self.store(self._host(self.memory) + linear.zext(64), value)

    def update_pointer(self, segment: int | Value, offset: Value, width: int) -> Value:
        linear = self.segment_linear(segment, offset)
        self._check(linear, width // 8, write=True)
        return self._host(self.memory) + linear.zext(64)

    def commit_update(self, pointer: Value) -> None:
        """The pointer was to guest memory itself."""

    def operand_pointer(
        self, segment: int | Value, offset: Value, size: int, *, write: bool = False, fill: bool = False, align: int = 1
    ) -> Value:
        linear = self.segment_linear(segment, offset)
        self._check(linear, size, write=write)
        return self._host(self.memory) + linear.zext(64)

    def commit_operand(self, pointer: Value) -> None:
        """As for `commit_update`."""

    def direct_pointer(self, linear: Value, size: Value, *, write: bool) -> Value:
        if not self.directly:
            return self.const(0, PTR)
        denied, _ = self._denied(linear, write=write)
        return self.select(denied, self.const(0, PTR), self._host(self.memory) + linear.zext(64))

    # -- the instruction ------------------------------------------------------------------------------------------

    @property
    def decoded(self) -> decoder.Instruction:
        assert self.instruction is not None
        return self.instruction

    def address_mask(self) -> Value:
        return self.const((1 << self.decoded.address_size) - 1, 32)

    def source_segment(self) -> int | Value:
        return state.DS if self.decoded.segment is None else self.decoded.segment

    def icount(self) -> Value:
        raise LookupError("no integer instruction counts instructions")

    def next_eip(self) -> Value:
        return self.const(self.address + self.decoded.length, 32)

    def jump(self, target: Value) -> None:
        self.check_target(target)
        self.put("eip", target)
        self.ret(JUMPED)

    def resume(self) -> None:
        self.ret(JUMPED)

    def repeat(self) -> None:
        self.put("eip", self.address)
        self.ret(JUMPED)


@dataclass
class AddressedOperand:
    b: MemoryContext
    width: int
    place: decoder.MemoryOperand
    shift: Value | None = None
    is_memory = True

    def offset(self) -> Value:
        b, place = self.b, self.place
        total = b.const(place.displacement, 32)
        if place.base is not None:
            total = total + b.reg(place.base)
            if place.base == state.ESP:
                total = total + b.stack_bias
        if place.index is not None:
            total = total + b.reg(place.index) * place.scale
        if self.shift is not None:
            total = total + self.shift
        return total & b.address_mask()

    def read(self) -> Value:
        return self.b.read_memory(self.place.segment, self.offset(), self.width)

    def read_for_update(self) -> Value:
        return self.b.load(self.b.update_pointer(self.place.segment, self.offset(), self.width), self.width)

    def write(self, value: Value) -> None:
        assert value.width == self.width
        self.b.write_memory(self.place.segment, self.offset(), value)

    def read_at(self, displacement: int, width: int) -> Value:
        offset = (self.offset() + displacement) & self.b.address_mask()
        return self.b.read_memory(self.place.segment, offset, width)

    def displaced(self, displacement: Value) -> AddressedOperand:
        return AddressedOperand(self.b, self.width, self.place, displacement)


@dataclass
class StringOperand:
    width: int
    is_memory = True


def _operand(b: MemoryContext, operand: Operand, immediates: list[int]) -> Any:
    found = b.decoded
    width = _WIDTHS.get(operand.width, found.operand_size) or found.operand_size
    if operand.width is Width.VW and found.memory is not None:
        width = 16
    match operand.method:
        case Method.REGISTER_OR_MEMORY | Method.MEMORY_ONLY | Method.OFFSET if found.memory is not None:
            return AddressedOperand(b, width, found.memory)
        case Method.REGISTER_OR_MEMORY | Method.REGISTER_RM:
            return NamedRegister(b, width, found.rm)
        case Method.REGISTER:
            return NamedRegister(b, width, found.reg)
        case Method.OPCODE_REGISTER:
            return NamedRegister(b, width, found.opcode & 7)
        case Method.FIXED_REGISTER:
            return NamedRegister(b, width, operand.number)
        case Method.ONE:
            return Constant(b, width, 1)
        case Method.IMMEDIATE:
            return Constant(b, width, immediates.pop(0))
        case Method.RELATIVE:
            return Constant(b, 32, found.target(b.address + found.length))
        case Method.SOURCE_STRING | Method.DESTINATION_STRING:
            return StringOperand(width)
    raise LookupError(f"{found.form!r}: operand {operand!r} is not integer code")


def emit_instruction(b: MemoryContext) -> None:
    """The body of `b.instruction`. LookupError if that is none of bt/x86/semantics."""
    form = b.decoded.form
    b.operand_size = b.decoded.operand_size
    b.rep = b.decoded.rep if form.rep else None
    b.condition_code = form.condition or 0
    meaning = meaning_function(form.meaning)
    if not meaning.__module__.startswith("bt.x86.semantics."):
        raise LookupError(f"{form!r} is not integer code")
    immediates = list(b.decoded.immediates)
    meaning(b, *(_operand(b, operand, immediates) for operand in form.operands))
