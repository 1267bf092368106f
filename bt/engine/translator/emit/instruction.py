"""Translating one instruction: its source or address into T, its stencil, what follows it."""

from __future__ import annotations

from bt.codegen.builder import Local
from bt.codegen.host_bytes import JUMP_BYTES
from bt.codegen.value import PTR, Value
from bt.engine.structures import (
    CONTROL,
    FLAGS_CONDITION,
    IMMEDIATE_JUMP,
    IMMEDIATE_JUMP_BYTE,
    NO_PLAN,
    NO_REGISTER,
    PLAN,
    RECORD,
    RECORD_BYTES,
    SHAPE,
    SHAPE_BYTES,
    SITE,
    SITE_BYTES,
    SLOTS,
    STENCIL,
    STENCIL_COLD,
    STENCIL_IDENTITY,
    STENCIL_SERVICE,
    TRACE_JUMP,
    VARIANT_SIZE_SHIFT,
)
from bt.engine.translator.emit import trace
from bt.engine.translator.emit.writer import HELPER_PLACES, FragmentWriter, stencil_entry
from bt.engine.translator.plan.plan import (
    Ending,
    Linear,
    Pre,
)
from bt.x86.page import PAGE
from bt.x86.state import CS


class Instruction:
    """Emits one instruction that has a plan."""

    def __init__(
        self, outer: FragmentWriter, record: Value, plan: Value, index: Value, step: Local, ended: Local
    ) -> None:
        self.outer, self.b = outer, outer.b
        self.record, self.plan, self.index = record, plan, index
        self.step, self.ended = step, ended
        self.refund = outer.count - index
        self.taken_site = self.b.local(64, 0)

    def _field(self, name: str) -> Value:
        return RECORD.get(self.b, self.record, name)

    def emit(self) -> None:
        b, o = self.b, self.outer
        o.slot("IMMEDIATE", self._field("immediate"))
        o.slot("TARGET", self._field("immediate"))  # of a transfer that looks at it
        o.slot("NEXT", self._field("next_eip"))
        o.slot("BEHIND", self.refund - 1)
        o.holes.access(PLAN.get(b, self.plan, "write"))
        with b.If(PLAN.get(b, self.plan, "calls") != 0):
            self._predict_return()
        self._source()
        base = b.local(32, PLAN.get(b, self.plan, "live"))
        base.set(b.select(self._field("flags_live") == 0, PLAN.get(b, self.plan, "dead"), base.get()))
        condition = b.local(32, 0)
        times = b.local(32, 1)
        jump = b.local(PTR, self.record)
        self._fuse(base, condition, times, jump)
        choice = self._choice() * times.get() + condition.get()
        number = o.indexed(base.get() + choice + self._absolute())
        linear, size = PLAN.get(b, self.plan, "linear"), PLAN.get(b, self.plan, "size")
        self._cold_slots(number, linear, size, gate=o.gate(self.plan))
        self.before_jump(jump.get())
        identity = STENCIL.get(b, stencil_entry(b, o.control, number), "flags") & STENCIL_IDENTITY
        with b.If(identity != 0):
            CONTROL.count(b, o.control, "identity")
        o.emit(number)
        self.after_jump(jump.get())

    def _choice(self) -> Value:
        """Which stencil of the family: by register numbers, and by the count of a shift."""
        b = self.b
        rm = self._field("rm_number").zext(32) * PLAN.get(b, self.plan, "stride_rm").zext(32)
        reg = self._field("reg_number").zext(32) * PLAN.get(b, self.plan, "stride_reg").zext(32)
        stride = PLAN.get(b, self.plan, "stride_count").zext(32)
        is_condition = (PLAN.get(b, self.plan, "effect") & FLAGS_CONDITION) != 0
        count = (self._field("immediate") & 31) * b.select(is_condition, b.const(0, 32), stride)
        narrow = b.select(self._is_narrow(), PLAN.get(b, self.plan, "stride_address").zext(32), 0)
        return rm + reg + count + narrow

    def _is_narrow(self) -> Value:
        """Whether the address size is 16 bits (i1)."""
        return self._field("address_mask") != 0xFFFFFFFF

    def _absolute(self) -> Value:
        """Distance to the stencil for an operand at a known address, within one page; 0 if this is none."""
        b, o = self.b, self.outer
        linear = self._field("displacement")
        known = (self._field("base_number") == NO_REGISTER) & (self._field("index_number") == NO_REGISTER)
        known = known & o.is_plain(self.record, self._field("segment").zext(32))
        known = known & ((linear & (PAGE - 1)) + PLAN.get(b, self.plan, "size").zext(32)).ule(PAGE)
        o.holes.known(linear, PLAN.get(b, self.plan, "write") != 0)
        return b.select(known, PLAN.get(b, self.plan, "absolute"), 0)

    # -- what comes before ------------------------------------------------------------------------------------------

    def _source(self) -> None:
        """Bring the address or the source operand into T."""
        b, o = self.b, self.outer
        pre = PLAN.get(b, self.plan, "pre")
        form = self._field("form").zext(64)
        shape = CONTROL.get_pointer(b, o.control, "shapes") + (form * SHAPE_BYTES)
        with b.Switch(pre) as cases:
            with cases.case(Pre.ADDRESS):
                self.address()
            with cases.case(Pre.GET_REG):
                self._get(self._field("reg_number"), SHAPE.get(b, shape, "reg_byte"))
            with cases.case(Pre.GET_RM):
                self._get(self._field("rm_number"), SHAPE.get(b, shape, "rm_byte"))
            with cases.case(Pre.LOAD):
                self.address()
                o.holes.access(0)
                narrower = self._field("variant") >> VARIANT_SIZE_SHIFT
                number = o.helper("load", narrower.zext(32))
                self._cold_slots(number, b.const(Linear.T, 8), b.const(4, 8) >> narrower, write=b.const(0, 8))
                o.emit(number)
                o.holes.access(PLAN.get(b, self.plan, "write"))

    def _get(self, number: Value, is_byte: Value) -> None:
        o, b = self.outer, self.b
        offset = b.select(is_byte != 0, b.const(HELPER_PLACES["get_byte"], 32), HELPER_PLACES["get"])
        o.emit(o.indexed(offset + number.zext(32)))

    def address(self, displacement: Value | None = None) -> None:
        """T = linear address of the memory operand; with another displacement than its own, if given."""
        b, o = self.b, self.outer
        displacement = self._field("displacement") if displacement is None else displacement
        o.slot("OFFSET", displacement.sext(64))
        base, index = self._field("base_number").zext(32), self._field("index_number").zext(32)
        scale = self._field("scale").zext(32)
        place = b.local(32, HELPER_PLACES["absolute"])
        no_base, no_index = base == NO_REGISTER, index == NO_REGISTER
        with b.If(~no_base & no_index):
            moved = displacement != 0
            place.set(b.select(moved, b.const(HELPER_PLACES["base_displaced"], 32), HELPER_PLACES["base"]) + base)
        with b.If(no_base & ~no_index):
            place.set((scale << 3) + index + HELPER_PLACES["index"])
        with b.If(~no_base & ~no_index):
            place.set((((scale << 3) + base) << 3) + index + HELPER_PLACES["base_index"])
        o.emit(o.indexed(place.get()))
        with b.If(self._is_narrow()):
            o.emit(o.helper("wrap"))
        segment = self._field("segment").zext(32)
        size = PLAN.get(b, self.plan, "size")
        with b.If((size != 0) & ~o.is_flat(segment)):
            write = PLAN.get(b, self.plan, "write").zext(32)
            pre_load = PLAN.get(b, self.plan, "pre") == Pre.LOAD
            write = b.select(pre_load, b.const(0, 32), write)
            bytes_log = b.intrinsic("cttz", "i32", size.zext(32), "i1 true")
            place = b.local(32, segment * 8 + write * 4 + bytes_log + HELPER_PLACES["segment"])
            with b.If(o.is_real & self._is_narrow() & (segment != CS)):
                place.set(segment * 4 + bytes_log + HELPER_PLACES["segment_real"])
            number = o.indexed(place.get())
            self._cold_slots(number, b.const(0, 8), b.const(0, 8))
            o.emit(number)

    def _predict_return(self) -> None:
        b, o = self.b, self.outer
        back = self._field("next_eip")
        with b.If(o.can_chain(back)):
            slot = o.cold.get() - JUMP_BYTES
            o.cold.set(slot)
            trace.note(b, o.control, TRACE_JUMP, o.site_number.get(), slot)
            stub = o.exit_stub(back, slot + 1)
            o.write_jump(slot, stub)
            o.slot("LANDING", slot)
            o.emit(o.helper("push_return"))

    def _fuse(self, base: Local, condition: Local, times: Local, jump: Local) -> None:
        """A compare and the Jcc behind it share a stencil."""
        b, o = self.b, self.outer
        fused = PLAN.get(b, self.plan, "fused")
        following = self.following_jcc()
        with b.If((fused != NO_PLAN) & (following != 0)):
            base.set(fused)
            times.set(16)
            condition.set(PLAN.get(b, o.plan_of(following), "stride_count").zext(32))
            jump.set(following)
            self.step.set(2)

    def following_jcc(self) -> Value:
        """The record of the Jcc behind this instruction, if it is one and ends the block; else null."""
        b, o = self.b, self.outer
        found = b.local(PTR, 0)
        with b.If((self.index + 2) == o.count):
            following = self.record + RECORD_BYTES
            with b.If((PLAN.get(b, o.plan_of(following), "effect") & FLAGS_CONDITION) != 0):
                found.set(following)
        return found.get()

    # -- around the stencil -------------------------------------------------------------------------------------------

    def _cold_slots(
        self, number: Value, linear: Value, size: Value, write: Value | None = None, gate: Value | None = None
    ) -> None:
        """Stubs for the slow path and the way to the interpreter, or another gate, where the stencil has them."""
        b, o = self.b, self.outer
        flags = STENCIL.get(b, stencil_entry(b, o.control, number), "flags")
        with b.If((flags & (STENCIL_COLD | STENCIL_SERVICE)) != 0):
            site = o.site(
                retry=o.at.get(),
                record=self.record.zext(64),
                page=o.page,
                eip=self._field("eip"),
                refund=self.refund,
                linear=linear,
                size=size,
                write=PLAN.get(b, self.plan, "write") if write is None else write,
                ends=1,
            )
            with b.If((flags & STENCIL_COLD) != 0):
                o.slot("COLD", o.stub(site, o.gates.slow))
            with b.If((flags & STENCIL_SERVICE) != 0):
                o.slot("SERVICE", o.stub(site, o.gates.service if gate is None else gate))

    def before_jump(self, jump: Value) -> None:
        """Where a conditional transfer leads when taken."""
        b, o = self.b, self.outer
        ending = PLAN.get(b, o.plan_of(jump), "ending")
        direct = self._is_direct(jump)
        with b.If(direct & (ending == Ending.NEXT)):
            target = RECORD.get(b, jump, "immediate")
            with b.IfElse(o.can_chain(target)) as arm:
                with arm.then():
                    # the patch address is the stencil's own rel32, known once it has been copied
                    site = o.exit_site(target, 0)
                    o.slot("TAKEN", o.stub(site, o.gates.chain))
                    self.taken_site.set(site)
                with arm.otherwise():
                    o.slot("TAKEN", o.cold_far_exit(target, jump))
                    o.slot("TARGET", target)

    def _is_direct(self, record: Value) -> Value:
        """Whether a record is a relative transfer."""
        b, o = self.b, self.outer
        form = RECORD.get(b, record, "form").zext(64)
        shape = CONTROL.get_pointer(b, o.control, "shapes") + (form * SHAPE_BYTES)
        kind = SHAPE.get(b, shape, "immediate")
        return (kind == IMMEDIATE_JUMP_BYTE) | (kind == IMMEDIATE_JUMP)

    def after_jump(self, jump: Value) -> None:
        """Finish the block's last instruction."""
        b, o = self.b, self.outer
        plan = o.plan_of(jump)
        ending = PLAN.get(b, plan, "ending")
        with b.If(self._is_direct(jump) & (ending == Ending.NEXT)):
            target = RECORD.get(b, jump, "immediate")
            with b.If(o.can_chain(target)):
                where = CONTROL.get_pointer(b, o.control, "sites") + (self.taken_site.get() * SITE_BYTES)
                SITE.put(b, where, "patch", b.load(o.slots + 8 * len(SLOTS), 64))
        with b.If(ending == Ending.JUMP):
            o.exit(RECORD.get(b, jump, "immediate"), jump)
            self.ended.set(1)
        with b.If(ending == Ending.INDIRECT):
            o.at.set(o.jump_free(o.at.get()))
            self.ended.set(1)
