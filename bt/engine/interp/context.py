"""Semantics as interpreter handlers: operands come from the decoded record, registers live in the state.

A handler is called with the record, the state and the instruction budget in registers, does its instruction and calls
the handler of the next record as a tail call: threaded code without a dispatch loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bt.codegen.abi import Signature, handler
from bt.codegen.builder import UNLIKELY
from bt.codegen.value import PTR, Value
from bt.engine.branch_tags import branch_cache_offset, branch_tag
from bt.engine.structures import LONG_RECORD, RECORD, RECORD_BYTES
from bt.memory.access import MemoryContext
from bt.x86 import context as x86
from bt.x86.state import ESP

# Shared continuations (bt/engine/interp/dispatch.py), all with the handler signature.
DISPATCH = handler("interp_dispatch")  # go on at state's eip, looking at everything afresh
LEAVE = handler("interp_leave")  # back to the caller of the engine


class Continuations(NamedTuple):
    """Those that 16-bit and 32-bit code, and 64-bit code, have each their own of: their records differ."""

    look_up: Signature  # go on at state's eip within the run of code
    trouble: Signature  # the instruction of `record` did not complete; "free" holds FAULT or EXIT
    exhausted: Signature  # no budget for the instruction of `record`
    stale: Signature  # handler of records whose code has changed
    chain: Signature  # handler of the record behind a block that ends without a transfer
    too_long: Signature  # handler of an instruction longer than 15 bytes
    breakpoint: Signature  # handler of an instruction before which to leave


CONTINUATIONS = Continuations(*(handler(f"interp_{name}") for name in Continuations._fields))
LONG_CONTINUATIONS = Continuations(*(handler(f"interp_long_{name}") for name in Continuations._fields))


@dataclass
class HandlerContext(MemoryContext):
    """One interpreter handler."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.record, self._cpu, self.free, self._budget_in = self.arguments
        self.budget = self._budget_in

    @property
    def cpu(self) -> Value:
        return self._cpu

    @property
    def continuations(self) -> Continuations:
        return LONG_CONTINUATIONS if self.long else CONTINUATIONS

    def field(self, name: str) -> Value:
        """A field of the decoded record, at its own width."""
        return (LONG_RECORD if self.long else RECORD).get(self, self.record, name)

    def begin(self) -> None:
        """Charge the budget for one instruction."""
        self.budget = self._budget_in - 1
        with self.Unlikely(self.budget.slt(0)):
            self.go(self.continuations.exhausted, budget=self._budget_in)

    def go(self, target: Signature, *, free: Value | int = 0, budget: Value | None = None) -> None:
        """Tail-call a continuation. Ends the block."""
        extra = self.const(free, 64) if isinstance(free, int) else free
        self.tail_call(
            target, self.signature, [self.record, self.cpu, extra, self.budget if budget is None else budget]
        )

    def go_record(self, record: Value) -> None:
        """Tail-call the handler of a record. Ends the block."""
        target = RECORD.get_pointer(self, record, "handler")
        self.tail_call(target, self.signature, [record, self.cpu, "poison", self.budget])

    def proceed(self) -> None:
        """The instruction is done: on to the next record."""
        if not self.terminated:
            self.go_record(self.record + RECORD_BYTES)

    def shorten_budget(self, insns: Value) -> None:
        self.budget = self.budget - insns

    # -- Context --------------------------------------------------------------------------------------------------

    def abandon(self, status: Value | int = x86.FAULT) -> None:
        self.go(self.continuations.trouble, free=status if isinstance(status, int) else status.zext(64))

    def next_eip(self) -> Value:
        return self.this_eip() + self.field("length").zext(64) if self.long else self.field("next_eip")

    def this_eip(self) -> Value:
        return self.field("eip")

    def icount(self) -> Value:
        return self.get("icount_base") + self.get("run_budget") - self.budget - self.get("deferred")

    def address_mask(self) -> Value:
        if self.long:
            return self.select(self.field("address_size_32") != 0, self.const(0xFFFF_FFFF, 64), -1)
        return self.field("address_mask")

    def source_segment(self) -> int | Value:
        return self.field("segment").zext(64)

    def jump(self, target: Value) -> None:
        self.check_target(target)
        self.put("eip", target)
        self.run_from(target)

    def run_from(self, eip: Value) -> None:
        """Go on at EIP (already in the state) through the record cache. Ends the block."""
        entry = self.slot("record_cache") + branch_cache_offset(eip)
        tag = branch_tag(self, eip)
        hit = (self.load(entry, 64) == tag) & self.budget.sgt(0)
        with self.If(~hit, UNLIKELY):
            self.go(self.continuations.look_up)
        self.go_record(self.load(entry + 8, PTR))

    def resume(self) -> None:
        self.go(DISPATCH)

    def repeat(self) -> None:
        self.put("resume_at", self.icount())  # breakpoints on it have had their turn
        self.put("eip", self.this_eip())
        self.go(DISPATCH)


# -- operands -------------------------------------------------------------------------------------------------------


@dataclass
class RecordRegister:
    """A general register named by the record: `slot` is the field with its displacement."""

    b: HandlerContext
    width: int
    slot: str
    is_memory = False

    def _pointer(self) -> Value:
        return self.b.cpu + self.b.field(self.slot).sext(64)

    def read(self) -> Value:
        return self.b.load(self._pointer(), self.width)

    read_for_update = read

    def write(self, value: Value) -> None:
        assert value.width == self.width
        self.b.store(self._pointer(), value.zext(64) if self.width == 32 else value)


@dataclass
class RecordImmediate:
    """An immediate; also a far pointer, whose selector is at byte `operand_size / 8`."""

    b: HandlerContext
    width: int
    slot: str = "immediate"
    is_memory = False

    def read(self) -> Value:
        return self.b.field(self.slot).trunc(self.width)

    def read_at(self, displacement: int, width: int) -> Value:
        if displacement == 0:
            return self.b.field("immediate").trunc(width)
        assert displacement == self.b.operand_size // 8
        return self.b.field("immediate2").trunc(width)


@dataclass
class RecordNumber:
    """A segment, control or debug register: `number` says which, when the code runs."""

    b: HandlerContext
    width: int
    slot: str
    mask: int = -1
    is_memory = False

    @property
    def number(self) -> Value:
        number = self.b.field(self.slot).zext(64)
        return number if self.mask == -1 else number & self.mask

    def read(self) -> Value:
        """The selector, for a segment register."""
        return self.b.get_segment(self.number, "selector", width=self.width)


@dataclass
class FixedSegment:
    """A segment register named by the form."""

    b: HandlerContext
    width: int
    number: int
    is_memory = False

    def read(self) -> Value:
        return self.b.get_segment(self.number, "selector", width=self.width)


@dataclass
class RecordMemory:
    """The memory operand of the record."""

    b: HandlerContext
    width: int
    shift: Value | None = None
    is_memory = True
    _pointer: Value | None = None

    def offset(self) -> Value:
        """base + (index << scale) + displacement, cut to the address size (SDM vol. 1 3.7.5)."""
        b = self.b
        base = b.load(b.cpu + b.field("base").sext(64), b.address_width)
        index = b.load(b.cpu + b.field("index").sext(64), b.address_width)
        if b.stack_bias:
            biased = b.field("base_number") == ESP
            base = base + b.select(biased, b.const(b.stack_bias, b.address_width), 0)
        offset = base + (index << b.field("scale").zext(b.address_width)) + b.field("displacement")
        if self.shift is not None:
            offset = offset + self.shift
        return offset & b.address_mask()

    def segment(self) -> Value:
        return self.b.field("segment").zext(64)

    def read(self) -> Value:
        return self.b.read_memory(self.segment(), self.offset(), self.width)

    def read_for_update(self) -> Value:
        self._pointer = self.b.update_pointer(self.segment(), self.offset(), self.width)
        return self.b.load(self._pointer, self.width)

    def write(self, value: Value) -> None:
        if self._pointer is None:
            self.b.write_memory(self.segment(), self.offset(), value)
        else:
            self.b.store(self._pointer, value)
            self.b.commit_update(self._pointer)

    def read_at(self, displacement: int, width: int) -> Value:
        where = (self.offset() + displacement) & self.b.address_mask()
        return self.b.read_memory(self.segment(), where, width)

    def write_at(self, displacement: int, value: Value) -> None:
        where = (self.offset() + displacement) & self.b.address_mask()
        self.b.write_memory(self.segment(), where, value)

    def displaced(self, displacement: Value) -> RecordMemory:
        return RecordMemory(self.b, self.width, displacement)
