"""Runs: FP instructions whose operands are neighbours in memory, checked all at once.

Vectors and structures are read and written field by field, base register and page the same. The first instruction of a
run checks the whole range and leaves the host address of its lowest byte in the free argument, which FP instructions
leave alone. Where the range is not in one page of the TLB, or not aligned, the run is executed from a copy off the hot
path, in which every instruction checks for itself.
"""

from __future__ import annotations

from collections.abc import Callable

from bt.codegen.builder import Local
from bt.codegen.value import Value
from bt.engine.reencode.fp_encode import fp_form
from bt.engine.reencode.fp_forms import FP_FORM
from bt.engine.structures import CONTROL, RECORD, RECORD_BYTES, TRACE_COPY, VARIANT_MEMORY
from bt.engine.translator.emit import trace
from bt.engine.translator.emit.writer import FragmentWriter
from bt.engine.translator.stencils.fp_stencils import VECTOR_BYTES

MOST_BYTES = 512  # a longer range would cross a page too often
COPY_BYTES = 160  # room an instruction of the copy may need
_PLACE = ("base_number", "index_number", "scale")


class FpRun:
    """The run that the instruction under translation belongs to, if any."""

    def __init__(self, outer: FragmentWriter, can_translate: Callable[[Value], Value]) -> None:
        b = outer.b
        self.outer, self.b = outer, b
        self._can_translate = can_translate
        self.left: Local = b.local(32, 0)  # instructions to come, the present one included; 0: no run
        self.low: Local = b.local(32, 0)  # displacement of the lowest byte
        self._span: Local = b.local(32, 0)
        self._store: Local = b.local(8, 0)
        self._aligned: Local = b.local(8, 0)
        self._first: Local = b.local(32, 0)
        self._last: Local = b.local(32, 0)
        self._copy: Local = b.local(64, 0)
        self._x87_eip: Local = b.local(32, 0)
        self._x87_segment: Local = b.local(8, 0)

    def open(self, record: Value, index: Value, ready: Value, last: Value) -> None:
        """Look for a run that begins here. `ready`: READY_* bits asked for; it ends with the instruction at `last`."""
        b, o = self.b, self.outer
        low, high = b.local(32), b.local(32)
        store, aligned, congruent = b.local(8, 0), b.local(8, 0), b.local(1, 1)
        operands, final, at = b.local(32, 0), b.local(32, index), b.local(32, index)
        first = RECORD.get(b, record, "displacement")
        low.set(first)
        high.set(first)
        with b.Loop() as loop:
            loop.break_if(at.get().uge(o.count))
            here = o.records + (at.get().zext(64) * RECORD_BYTES)
            form = fp_form(b, here)
            memory = (RECORD.get(b, here, "variant") & VARIANT_MEMORY) != 0
            fits = self._can_translate(here) & (FP_FORM.get(b, form, "plain") != 0)
            fits = fits & ((FP_FORM.get(b, form, "ready") & ~ready) == 0)
            same = b.const(1, 1)
            for name in _PLACE:
                same = same & (RECORD.get(b, here, name) == RECORD.get(b, record, name))
            loop.break_if(~fits | (memory & ~same))
            with b.If(memory):
                displacement = RECORD.get(b, here, "displacement")
                end = displacement + FP_FORM.get(b, form, "size").zext(32)
                lowest = b.select(displacement.slt(low.get()), displacement, low.get())
                highest = b.select(end.sgt(high.get()), end, high.get())
                congruent.set(congruent.get() & (((displacement - first) & (VECTOR_BYTES - 1)) == 0))
                vector = aligned.get() | FP_FORM.get(b, form, "aligned")
                loop.break_if((highest - lowest).ugt(MOST_BYTES) | ((vector != 0) & ~congruent.get()))
                low.set(lowest)
                high.set(highest)
                aligned.set(vector)
                store.set(store.get() | FP_FORM.get(b, form, "store"))
                operands.set(operands.get() + 1)
                final.set(at.get())
            loop.break_if(at.get() == last)
            at.set(at.get() + 1)
        with b.If(operands.get().ugt(1)):
            self.left.set(final.get() - index + 1)
            self._first.set(index)
            self._last.set(final.get())
            self.low.set(low.get())
            self._span.set(high.get() - low.get())
            self._store.set(store.get())
            self._aligned.set(aligned.get())

    def check(self, address: Callable[[Value], None]) -> None:
        """Emit the check. `address`: emits T = linear address at a displacement from the operand's registers."""
        o = self.outer
        self._x87_eip.set(o.x87_eip.get())
        self._x87_segment.set(o.x87_segment.get())
        copy = o.cold.get() - (self.left.get().zext(64) * COPY_BYTES)
        o.cold.set(copy)
        self._copy.set(copy)
        address(self.low.get())
        o.holes.access(self._store.get())
        o.slot("OFFSET", self._span.get().zext(64) - 1)
        o.slot("COLD", copy)
        o.emit(o.helper("fp_run", self._aligned.get().zext(32)))

    def advance(self, emit: Callable[[Value, Value], None]) -> None:
        """An instruction has been emitted. Behind the last one write the copy: `emit` a record at its index, alone."""
        b = self.b
        with b.If(self.left.get() != 0):
            self.left.set(self.left.get() - 1)
            with b.If(self.left.get() == 0):
                self._write_copy(emit)

    def _write_copy(self, emit: Callable[[Value, Value], None]) -> None:
        b, o = self.b, self.outer
        resume = o.at.get()
        eip, segment = o.x87_eip.get(), o.x87_segment.get()
        diary = CONTROL.get(b, o.control, "trace_next")
        CONTROL.put(b, o.control, "trace_next", 0)
        o.x87_eip.set(self._x87_eip.get())
        o.x87_segment.set(self._x87_segment.get())
        o.at.set(self._copy.get())
        index = b.local(32, self._first.get())
        with b.Loop() as loop:
            emit(o.records + (index.get().zext(64) * RECORD_BYTES), index.get())
            loop.break_if(index.get() == self._last.get())
            index.set(index.get() + 1)
        end = o.write_jump(o.at.get(), resume)
        CONTROL.put(b, o.control, "trace_next", diary)
        trace.note(b, o.control, TRACE_COPY, end - self._copy.get(), self._copy.get())
        o.at.set(resume)
        o.x87_eip.set(eip)
        o.x87_segment.set(segment)
