"""The translator proper, in generated code: a decoded block in, a fragment of host code out.

Copy and patch (after Xu and Kjolstad, OOPSLA 2021): each instruction's stencils are copied one behind the other and
their holes filled; cold paths go to stubs at the other end of the cache, so that the hot code stays dense. All of this
is native because it happens for every guest instruction that ever runs: Python would take microseconds each.
"""

from __future__ import annotations

from bt.codegen.builder import Local
from bt.codegen.value import Value
from bt.engine.structures import (
    BLOCK,
    BYTES_PER_BLOCK,
    BYTES_PER_INSN,
    CONTROL,
    FLAGS_KILLED,
    FLAGS_KILLED_BY_COUNT,
    FLAGS_READ,
    NO_PLAN,
    PLAN,
    RECORD,
    RECORD_BYTES,
    SHAPE,
    SHAPE_BYTES,
    SHAPE_ENDS,
    TRACE_END,
    TRACE_LINK,
    TRACE_RECORD,
)
from bt.engine.translator.emit import trace
from bt.engine.translator.emit.fp import FpBlock
from bt.engine.translator.emit.instruction import Instruction
from bt.engine.translator.emit.writer import STUB_BYTES, FragmentWriter, write_base
from bt.engine.translator.gates.signatures import Gates
from bt.engine.translator.plan.plan import Gate, Linear
from bt.memory.access import NativeContext
from bt.x86.state import ES

SITES_PER_INSN = 3
PLACE_BYTES = 8  # in front of a fragment: the guest physical address that it begins at


class _Translator(FragmentWriter):
    """Builds `translate`."""

    def build(self) -> None:
        b, control = self.b, self.control
        room = self.count.zext(64) * (2 * BYTES_PER_INSN) + 2 * BYTES_PER_BLOCK
        full = (self.at.get() + room).ugt(self.cold.get())
        sites = self.site_number.get() + self.count.zext(64) * SITES_PER_INSN + 8
        full = full | sites.ugt(CONTROL.get(b, control, "sites_end"))
        with b.Unlikely(full):
            b.ret(0)
        started = b.cycles()
        start = (self.at.get() + PLACE_BYTES + 15) & -16
        b.store(write_base(b, control, start - PLACE_BYTES), BLOCK.get(b, self.block, "physical"))
        self.at.set(start)
        trace.begin(b, control, self.block, start, self.cold.get())
        self.fp = FpBlock(self)
        self._liveness()
        self._head()
        self.mode_slots()
        ended = self._instructions()
        with b.If(~ended):
            last = self._record(self.count - 1)
            self.note(TRACE_LINK, last)
            self.exit(RECORD.get(b, last, "next_eip"))
        self.note(TRACE_END, self.block)
        BLOCK.put(b, self.block, "host", start)
        CONTROL.put(b, control, "hot_next", self.at.get())
        CONTROL.put(b, control, "cold_next", self.cold.get())
        CONTROL.put(b, control, "sites_next", self.site_number.get())
        cycles = b.cycles() - started
        for name, amount in (
            ("fragments", b.const(1, 64)),
            ("translated_insns", self.count),
            ("translated_bytes", BLOCK.get(b, self.block, "bytes")),
            ("translate_cycles", cycles),
        ):
            CONTROL.count(b, control, name, amount)
        b.ret(start)

    def _record(self, index: Value) -> Value:
        return self.records + (index.zext(64) * RECORD_BYTES)

    def _liveness(self) -> None:
        """Backwards: whose arithmetic flags will anybody see? At the end of a block, everybody's."""
        b = self.b
        live = b.local(1, 1)
        index = b.local(32, self.count)
        with b.Loop() as loop:
            loop.break_if(index.get() == 0)
            index.set(index.get() - 1)
            record = self._record(index.get())
            plan = self.plan_of(record)
            effect = PLAN.get(b, plan, "effect")
            RECORD.put(b, record, "flags_live", live.get())
            counted = (effect & FLAGS_KILLED_BY_COUNT) != 0
            counted = counted & ((RECORD.get(b, record, "immediate") & 31) != 0)
            killed = live.get() & ((effect & FLAGS_KILLED) == 0) & ~counted
            seen = (
                ((effect & FLAGS_READ) != 0)
                | (PLAN.get(b, plan, "observes") != 0)
                | (PLAN.get(b, plan, "live") == NO_PLAN)
            )
            live.set(killed | seen)
            self.fp.look_ahead(record, index.get())

    def _head(self) -> None:
        b = self.b
        eip = BLOCK.get(b, self.block, "eip")
        physical = BLOCK.get(b, self.block, "physical")
        site = self.site(eip=eip, refund=self.count, page=physical, retry=self.at.get(), size=0)
        self.slot("COUNT", self.count)
        self.slot("HEAD_COLD", self.stub(site, self.gates.head))
        BLOCK.put(b, self.block, "stale_stub", self.stub(site, self.gates.stale))
        self.emit(self.helper("head"))

    def _instructions(self) -> Value:
        """All instructions; answers whether the block ended by itself (i1)."""
        b = self.b
        ended = b.local(1, 0)
        index = b.local(32, 0)
        with b.Loop() as loop:
            at = index.get()
            loop.break_if(at.uge(self.count))
            record = self._record(at)
            self.note(TRACE_RECORD, record)
            plan = self.plan_of(record)
            step = b.local(32, 1)
            with b.IfElse(self._has_plan(record, plan)) as arm:
                with arm.then():
                    Instruction(self, record, plan, at, step, ended).emit()
                with arm.otherwise(), b.IfElse(self.fp.can_translate(record)) as fp:
                    with fp.then():
                        self.fp.emit(record, at, step, ended)
                    with fp.otherwise():
                        self._service(record, plan, at, ended)
            index.set(at + step.get())
        return ended.get()

    def _has_plan(self, record: Value, plan: Value) -> Value:
        """Whether stencils do this instruction (i1): elements of strings in flat segments only, at 32-bit addresses."""
        b = self.b
        linear = PLAN.get(b, plan, "linear")
        segment = b.select(linear == Linear.SOURCE, RECORD.get(b, record, "segment").zext(32), b.const(ES, 32))
        is_string = (linear == Linear.SOURCE) | (linear == Linear.DESTINATION)
        return (PLAN.get(b, plan, "live") != NO_PLAN) & (~is_string | self.is_plain(record, segment))

    def _service(self, record: Value, plan: Value, index: Value, ended: Local) -> None:
        """Have the interpreter execute the instruction, or whoever does it in its place, and go on behind it."""
        b = self.b
        form = RECORD.get(b, record, "form").zext(64)
        shape = CONTROL.get_pointer(b, self.control, "shapes") + (form * SHAPE_BYTES)
        ends = ((SHAPE.get(b, shape, "flags") & SHAPE_ENDS) != 0).zext(8)
        after = self.at.get() + STUB_BYTES
        site = self.site(
            retry=after,
            record=record.zext(64),
            page=self.page,
            eip=RECORD.get(b, record, "eip"),
            refund=self.count - index,
            ends=ends,
        )
        self.fp.forget()
        self.write_stub(self.at.get(), site, self.gate(plan))
        self.at.set(after)
        ended.set(ends.trunc(1))
        CONTROL.count(b, self.control, "serviced", (PLAN.get(b, plan, "gate") == Gate.SERVICE).zext(64))


def emit_translate(b: NativeContext, gates: Gates) -> None:
    """Body of `translate`, for fragments that leave through `gates`."""
    _Translator(b, gates).build()
