"""Translating FP instructions to themselves: check, operand into a host pointer, then the instruction re-encoded.

Whether FP instructions may simply be executed is asked once in a block, before the first of them: nothing in a block
changes it but instructions that the interpreter executes. The last x87 instruction that FNSTENV shows is noted once in
a block too; what leaves a block early finds in its site which one it was.
"""

from __future__ import annotations

from bt.codegen import host_bytes
from bt.codegen.builder import Local
from bt.codegen.value import Value
from bt.engine.reencode.encode import (
    FP_ENCODE,
    fp_form,
)
from bt.engine.reencode.forms import (
    COMPARES,
    COMPARES_ANY,
    FP_FORM,
    Inline,
)
from bt.engine.structures import CONTROL, NO_X87_EIP, NO_X87_SEGMENT, PLAN, RECORD, SHAPE, SHAPE_BYTES, VARIANT_MEMORY
from bt.engine.translator.emit.fp_run import FpRun
from bt.engine.translator.emit.instruction import Instruction
from bt.engine.translator.emit.writer import FragmentWriter
from bt.engine.translator.plan.plan import Linear
from bt.engine.translator.stencils.fp_stencils import OPERAND_SIZES
from bt.x86 import state

_FLDCW, _FLDCW_DIGIT = b"\xd9", 5
_LDMXCSR, _LDMXCSR_DIGIT = b"\x0f\xae", 2
_STORE = b"\x89"


class FpBlock:
    """What is known of FP instructions at a place of the block under translation."""

    def __init__(self, outer: FragmentWriter) -> None:
        self.outer, self.b = outer, outer.b
        self.checked: Local = self.b.local(8, 0)  # READY_* bits asked for already
        self.last: Local = self.b.local(32, -1)  # place of the last x87 instruction that is inline
        self.run = FpRun(outer, self.can_translate)

    def can_translate(self, record: Value) -> Value:
        """Whether a record is an FP instruction that is done inline (i1)."""
        b = self.b
        how = FP_FORM.get(b, fp_form(b, record), "inline")
        segment = RECORD.get(b, record, "segment").zext(32)
        memory = (RECORD.get(b, record, "variant") & VARIANT_MEMORY) != 0
        return (how != Inline.NOT) & (self.outer.is_plain(record, segment) | ~memory)

    def look_ahead(self, record: Value, index: Value) -> None:
        """Called backwards for all records: find the last one whose pointers FNSTENV will show."""
        b = self.b
        shown = (FP_FORM.get(b, fp_form(b, record), "pointers") != 0) & self.can_translate(record)
        with b.If(shown & (self.last.get() == -1)):
            self.last.set(index)

    def forget(self) -> None:
        """The interpreter executes an instruction: it may change everything, and notes pointers itself."""
        self.checked.set(0)
        self.outer.x87_eip.set(NO_X87_EIP)
        self.outer.x87_segment.set(NO_X87_SEGMENT)

    def emit(self, record: Value, index: Value, step: Local, ended: Local) -> None:
        """Translate one instruction."""
        b, o = self.b, self.outer

        def make(record: Value, index: Value) -> _FpInstruction:
            return _FpInstruction(self, Instruction(o, record, o.plan_of(record), index, step, ended), record, index)

        instruction = make(record, index)
        instruction.ready()
        with b.If((self.run.left.get() == 0) & instruction.memory):
            self.run.open(record, index, self.checked.get(), self.last.get())
            with b.If(self.run.left.get() != 0):
                self.run.check(instruction.plain.address)
        instruction.emit()
        with b.If(~instruction.memory & (instruction.field("plain") != 0)):
            CONTROL.count(b, o.control, "identity")
        self.run.advance(lambda record, index: make(record, index).emit())


class _FpInstruction:
    def __init__(self, block: FpBlock, plain: Instruction, record: Value, index: Value) -> None:
        self.block, self.outer, self.b = block, block.outer, block.b
        self.plain, self.record, self.index = plain, record, index
        self.form = fp_form(self.b, record)
        self.memory = (RECORD.get(self.b, record, "variant") & VARIANT_MEMORY) != 0

    def field(self, name: str) -> Value:
        return FP_FORM.get(self.b, self.form, name)

    def _bytes(self, code: bytes) -> None:
        self.outer.at.set(self.outer.write_bytes(self.outer.at.get(), code))

    def emit(self) -> None:
        b = self.b
        how = self.field("inline")
        checked = self.block.run.left.get() != 0
        with b.If(self.memory & (~checked | (self.field("pointers") != 0))):
            self.plain.address()
        # a comparison may be followed by its jump; it has no operand that could fault
        early = self.field("compares") != 0
        with b.If((self.field("pointers") != 0) & early):
            self._note_pointers()
        with b.Switch(how) as cases:
            with cases.case(Inline.EXECUTE):
                with b.If(self.memory):
                    with b.If(~checked):
                        self._operand()
                    self._note_operand()
                self._execute()
            with cases.case(Inline.LOAD_CONTROL):
                self._load("fp_load_control", 2, _FLDCW, _FLDCW_DIGIT, "fpu_control")
            with cases.case(Inline.LOAD_MXCSR):
                self._load("fp_load_mxcsr", 4, _LDMXCSR, _LDMXCSR_DIGIT, "fp_scratch")
        with b.If((self.field("pointers") != 0) & ~early):
            self._note_pointers()

    def ready(self) -> None:
        """Leave if instructions of this kind may not simply be executed, unless that has been asked already."""
        b, o = self.b, self.outer
        bits = self.field("ready")
        known = self.block.checked.get()
        with b.If((bits & ~known) != 0):
            site = self._site(size=bits)
            o.slot("COLD", o.stub(site, o.gates.fp))
            o.emit(o.helper("fp_ready", bits.zext(32) - 1))
            self.block.checked.set(known | bits)

    def _site(self, *, size: Value | int, write: Value | int = 0) -> Value:
        b, o = self.b, self.outer
        return o.site(
            retry=o.at.get(),
            record=self.record.zext(64),
            page=o.page,
            eip=RECORD.get(b, self.record, "eip"),
            refund=self.plain.refund,
            linear=int(Linear.T),
            size=size,
            write=write,
            ends=1,
        )

    def _access(self, number: Value, size: Value | int, write: Value | int) -> None:
        """Emit a stencil that accesses memory at T."""
        o = self.outer
        site = self._site(size=size, write=write)
        o.slot("COLD", o.stub(site, o.gates.slow))
        o.slot("SERVICE", o.stub(site, o.gates.service))
        o.emit(number)

    def _operand(self) -> None:
        """Host pointer of the operand into the free argument."""
        b, o = self.b, self.outer
        size, write = self.field("size"), self.field("store")
        place = b.local(32, 0)
        for number, (bytes_, aligned) in enumerate(OPERAND_SIZES):
            with b.If((size == bytes_) & (self.field("aligned") == int(aligned))):
                place.set(number)
        o.holes.access(write)
        self._access(o.helper("fp_operand", write.zext(32) * len(OPERAND_SIZES) + place.get()), size, write)

    def _note_operand(self) -> None:
        """T is the address of the last x87 operand."""
        b, o = self.b, self.outer
        with b.If(self.field("pointers") != 0):
            t, cpu = o.gates.plan.number("t"), o.gates.plan.number("state")
            self._bytes(host_bytes.based(_STORE, t, cpu, state.offset("fpu_dp"), short=True, wide=True))
            o.x87_segment.set(RECORD.get(b, self.record, "segment"))

    def _execute(self) -> None:
        b, o = self.b, self.outer
        with b.If(self.field("condition") != 0):
            number = RECORD.get(b, self.record, "form").zext(64)
            shape = CONTROL.get_pointer(b, o.control, "shapes") + (number * SHAPE_BYTES)
            o.emit(o.helper("fp_condition", SHAPE.get(b, shape, "condition").zext(32)))
            self._bytes(host_bytes.test(o.gates.plan.number("free")))
        delta = CONTROL.get(b, o.control, "write_delta")
        run = self.block.run
        displacement = b.local(32, 0)
        with b.If(run.left.get() != 0):
            displacement.set(RECORD.get(b, self.record, "displacement") - run.low.get())
        end = b.call(FP_ENCODE, b.cpu, self.record, o.at.get() + delta, 1, displacement.get())
        o.at.set(end - delta)
        compares, live = self.field("compares"), RECORD.get(b, self.record, "flags_live") != 0
        with b.If(((compares & COMPARES_ANY) != 0) & live):
            self._bytes(host_bytes.flags_and_overflow_to(o.gates.plan.number("free")))
            o.emit(o.helper("fp_flags_any"))
        with b.If((compares == COMPARES) & live):
            self._bytes(host_bytes.flags_to(o.gates.plan.number("free")))
            following = self.plain.following_jcc()
            with b.IfElse(following != 0) as arm:
                with arm.then():
                    self.plain.step.set(2)
                    condition = PLAN.get(b, o.plan_of(following), "stride_count").zext(32)
                    self.plain.before_jump(following)
                    o.emit(o.helper("fp_flags_jump", condition))
                    self.plain.after_jump(following)
                with arm.otherwise():
                    o.emit(o.helper("fp_flags"))

    def _load(self, helper: str, size: int, opcode: bytes, digit: int, slot: str) -> None:
        """FLDCW, LDMXCSR: checked and put into the state, loaded from there."""
        o = self.outer
        o.holes.access(0)
        self._access(o.helper(helper), size, 0)
        self._bytes(host_bytes.based(opcode, digit, o.gates.plan.number("state"), state.offset(slot)))

    def _note_pointers(self) -> None:
        b, o = self.b, self.outer
        eip = RECORD.get(b, self.record, "eip")
        is_last = self.block.last.get() == self.index
        with b.If(is_last):
            segment = o.x87_segment.get().zext(32)
            o.slot("IMMEDIATE", eip)
            o.emit(o.helper("fp_pointers", b.select(segment == NO_X87_SEGMENT, b.const(0, 32), segment + 1)))
        o.x87_eip.set(b.select(is_last, b.const(NO_X87_EIP, 32), eip))
