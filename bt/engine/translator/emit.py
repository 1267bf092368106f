"""The translator proper, in generated code: a decoded block in, a fragment of host code out.

Copy and patch (after Xu and Kjolstad, OOPSLA 2021): each instruction's stencils are copied one behind the other and
their holes filled; cold paths go to stubs at the other end of the cache, so that the hot code stays dense. All of this
is native because it happens for every guest instruction that ever runs: Python would take microseconds each.
"""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.builder import PTR, Local, Signature, Value
from bt.engine.structures import (
    BLOCK,
    CONTROL,
    FLAGS_CONDITION,
    FLAGS_KILLED,
    FLAGS_KILLED_BY_COUNT,
    FLAGS_READ,
    IMMEDIATE_JUMP,
    IMMEDIATE_JUMP_BYTE,
    NO_PLAN,
    NO_REGISTER,
    PLAN,
    PLAN_BYTES,
    RECORD,
    RECORD_BYTES,
    RELOCATION,
    RELOCATION_ABS8,
    RELOCATION_ABS32,
    RELOCATION_ABS64,
    RELOCATION_PC32,
    SHAPE,
    SHAPE_BYTES,
    SHAPE_ENDS,
    SITE,
    SITE_BYTES,
    SLOTS,
    STENCIL,
    STENCIL_COLD,
    STENCIL_IDENTITY,
    STENCIL_SERVICE,
    TRACE_END,
    TRACE_JUMP,
    TRACE_LINK,
    TRACE_RECORD,
    TRACE_STENCIL,
    TRACE_STUB,
    VARIANTS,
)
from bt.engine.translator import trace
from bt.engine.translator.catalogue import Ending, Pre
from bt.engine.translator.context import JUMP_FREE
from bt.engine.translator.gates import CHAIN_GATE, HEAD_GATE, MISS_GATE, SERVICE_GATE, SLOW_GATE, STALE_GATE
from bt.engine.translator.table import helper_offsets
from bt.memory.access import ADDEND, PAGE, READ_TAG, WRITE_TAG, NativeContext
from bt.x86 import state
from bt.x86.mode import USER
from bt.x86.state import CS, FS, GS, TLB_BYTES

TRANSLATE = native("translate", PTR, PTR, result="i64")  # state, block; host address of the fragment, 0 = cache full
EMIT_STENCIL = native("emit_stencil", PTR, PTR, PTR, "i32", "i64", result="i64")  # state, control, slots, id, at

BYTES_PER_INSN = 400  # room one instruction may need, hot and cold each
BYTES_PER_BLOCK = 400
SITES_PER_INSN = 3
_SLOT = {name: 8 * number for number, name in enumerate(SLOTS)}
_HELPER = helper_offsets()
_JUMP_REL32 = 0xE9
_MOV_FREE = 0xBC41  # mov r12d, imm32


def _write_base(b: NativeContext, control: Value, host: Value) -> Value:
    """Where to write what will run at a host address."""
    return (host + CONTROL.get(b, control, "write_delta")).to_pointer()


def _address_of(b: NativeContext, gate: Signature) -> Value:
    """Host address of a gate."""
    b.module.need(gate)
    return Value(b, f"ptrtoint (ptr @{gate.name} to i64)", "i64")


def emit_emit_stencil(b: NativeContext) -> None:
    """Body of `emit_stencil`: copy one stencil to host address `at` and fill its holes; answers the end."""
    _, control, slots, number, at = b.arguments
    trace.note(b, control, TRACE_STENCIL, number.zext(64), at)
    entry = CONTROL.get_pointer(b, control, "stencils") + (number.zext(64) << 4)
    length = STENCIL.get(b, entry, "length").zext(64)
    source = CONTROL.get_pointer(b, control, "stencil_code") + STENCIL.get(b, entry, "code").zext(64)
    target = _write_base(b, control, at)
    index = b.local(64, 0)
    with b.Loop() as loop:
        i = index.get()
        loop.break_if(i.uge(length))
        b.store(target + i, b.load(source + i, 64))
        index.set(i + 8)
    end = at + length
    b.store(slots + _SLOT["CONT"], end)
    first = STENCIL.get(b, entry, "first").zext(64)
    relocation = b.local(PTR, CONTROL.get_pointer(b, control, "stencil_relocations") + (first << 3))
    left = b.local(16, STENCIL.get(b, entry, "relocations"))
    with b.Loop() as loop:
        loop.break_if(left.get() == 0)
        here = relocation.get()
        offset = RELOCATION.get(b, here, "offset").zext(64)
        slot = RELOCATION.get(b, here, "slot").zext(64)
        addend = RELOCATION.get(b, here, "addend").sext(64)
        value = b.load(slots + (slot << 3), 64) + addend
        place = target + offset
        with b.Switch(RELOCATION.get(b, here, "kind")) as kind:
            with kind.case(RELOCATION_ABS32):
                b.store(place, value.trunc(32))
            with kind.case(RELOCATION_PC32):
                b.store(place, (value - (at + offset)).trunc(32))
                # an exit's own jump: chaining patches it in place
                with b.If(slot == SLOTS.index("TAKEN")):
                    b.store(slots + 8 * len(SLOTS), at + offset)
            with kind.case(RELOCATION_ABS64):
                b.store(place, value)
            with kind.case(RELOCATION_ABS8):
                b.store(place, value.trunc(8))
        relocation.set(here + RELOCATION.size)
        left.set(left.get() - 1)
    b.ret(end)


class _Translator:
    """Builds `translate`."""

    def __init__(self, b: NativeContext) -> None:
        self.b = b
        self.block = b.arguments[1]
        self.control = b.get_pointer("engine")
        self.records = BLOCK.get_pointer(b, self.block, "records")
        self.count = BLOCK.get(b, self.block, "count").zext(32)
        slots = b.local(f"[{len(SLOTS) + 1} x i64]")
        self.slots = Value(b, slots.ref, PTR)
        self.at = b.local(64, CONTROL.get(b, self.control, "hot_next"))
        self.cold = b.local(64, CONTROL.get(b, self.control, "cold_next"))
        self.site_number = b.local(64, CONTROL.get(b, self.control, "sites_next"))
        self.page = BLOCK.get(b, self.block, "physical") & -PAGE

    # -- small tools ----------------------------------------------------------------------------------------------

    def slot(self, name: str, value: Value) -> None:
        self.b.store(self.slots + _SLOT[name], value.zext(64))

    def plan_of(self, record: Value) -> Value:
        b = self.b
        number = RECORD.get(b, record, "form").zext(64) * VARIANTS + RECORD.get(b, record, "variant").zext(64)
        return CONTROL.get_pointer(b, self.control, "plans") + (number * PLAN_BYTES)

    def indexed(self, index: Value) -> Value:
        """Stencil number at a place of the index."""
        table = CONTROL.get_pointer(self.b, self.control, "stencil_index")
        return self.b.load(table + (index.zext(64) << 2), 32)

    def helper(self, name: str, offset: Value | int = 0) -> Value:
        base = self.b.const(_HELPER[name], 32)
        return self.indexed(base + offset)

    def site(self, **values: Value | int) -> Value:
        """Claim a site and fill it; answers its number (i64)."""
        b = self.b
        number = self.site_number.get()
        self.site_number.set(number + 1)
        where = CONTROL.get_pointer(b, self.control, "sites") + (number * SITE_BYTES)
        for name, value in values.items():
            SITE.put(b, where, name, value)
        return number

    def stub(self, site: Value, gate: Signature) -> Value:
        """A cold stub: the site's number into the free argument, then to a gate. Answers its host address."""
        b = self.b
        at = self.cold.get() - 11
        self.cold.set(at)
        self.write_stub(at, site, _address_of(b, gate))
        return at

    def write_stub(self, at: Value, site: Value, gate: Value) -> None:
        b = self.b
        trace.note(b, self.control, TRACE_STUB, site, at)
        where = _write_base(b, self.control, at)
        b.store(where, b.const(_MOV_FREE, 16))
        b.store(where + 2, site.trunc(32))
        b.store(where + 6, b.const(_JUMP_REL32, 8))
        b.store(where + 7, (gate - (at + 11)).trunc(32))

    def emit(self, number: Value) -> None:
        b = self.b
        self.at.set(b.call(EMIT_STENCIL, b.cpu, self.control, self.slots, number, self.at.get()))

    def note(self, kind: int, subject: Value) -> None:
        """Tell the diary where the code has got to."""
        trace.note(self.b, self.control, kind, subject.zext(64), self.at.get(), self.cold.get())

    def jump_free(self, at: Value) -> Value:
        b = self.b
        where = _write_base(b, self.control, at)
        for offset, byte in enumerate(JUMP_FREE):
            b.store(where + offset, b.const(byte, 8))
        return at + len(JUMP_FREE)

    # -- the whole ------------------------------------------------------------------------------------------------

    def build(self) -> None:
        b, control = self.b, self.control
        room = self.count.zext(64) * (2 * BYTES_PER_INSN) + 2 * BYTES_PER_BLOCK
        full = (self.at.get() + room).ugt(self.cold.get())
        sites = self.site_number.get() + self.count.zext(64) * SITES_PER_INSN + 8
        full = full | sites.ugt(CONTROL.get(b, control, "sites_end"))
        with b.Unlikely(full):
            b.ret(0)
        started = b.emit("call i64 @llvm.readcyclecounter()", "i64")
        b.module.declarations.add("declare i64 @llvm.readcyclecounter()")
        start = (self.at.get() + 15) & -16
        self.at.set(start)
        trace.begin(b, control, self.block, start, self.cold.get())
        self._liveness()
        self._head()
        self._mode_slots()
        ended = self._instructions()
        with b.If(~ended):
            last = self._record(self.count - 1)
            self.note(TRACE_LINK, last)
            self._exit(RECORD.get(b, last, "next_eip"))
        self.note(TRACE_END, self.block)
        BLOCK.put(b, self.block, "host", start)
        CONTROL.put(b, control, "hot_next", self.at.get())
        CONTROL.put(b, control, "cold_next", self.cold.get())
        CONTROL.put(b, control, "sites_next", self.site_number.get())
        cycles = b.emit("call i64 @llvm.readcyclecounter()", "i64") - started
        for name, amount in (
            ("units", b.const(1, 64)),
            ("unit_insns", self.count.zext(64)),
            ("unit_bytes", BLOCK.get(b, self.block, "bytes").zext(64)),
            ("translate_cycles", cycles),
        ):
            CONTROL.put(b, control, name, CONTROL.get(b, control, name) + amount)
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
            seen = ((effect & FLAGS_READ) != 0) & ~counted
            seen = seen | (PLAN.get(b, plan, "observes") != 0) | (PLAN.get(b, plan, "live") == NO_PLAN)
            live.set(killed | seen)

    def _head(self) -> None:
        b = self.b
        eip = BLOCK.get(b, self.block, "eip")
        site = self.site(eip=eip, refund=self.count, page=self.page)
        self.slot("COUNT", self.count)
        self.slot("HEAD_COLD", self.stub(site, HEAD_GATE))
        BLOCK.put(b, self.block, "stale_stub", self.stub(site, STALE_GATE))
        self.emit(self.helper("head"))

    def _mode_slots(self) -> None:
        b = self.b
        user = (b.get("mode") & USER) != 0
        shift = b.select(user, b.const(TLB_BYTES, 64), 0)
        self.table = shift + state.offset("tlb_supervisor")
        self.slot("ADDEND_OFFSET", self.table + ADDEND)
        self.slot("BRANCH_MISS", _address_of(b, MISS_GATE))

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
            plain = PLAN.get(b, plan, "live") != NO_PLAN
            plain = plain & (RECORD.get(b, record, "address_mask") == 0xFFFFFFFF)
            uses_memory = (PLAN.get(b, plan, "pre") == Pre.ADDRESS) | (PLAN.get(b, plan, "pre") == Pre.LOAD)
            plain = plain & ~(uses_memory & (RECORD.get(b, record, "segment") == CS))
            with b.IfElse(plain) as arm:
                with arm.then():
                    _Instruction(self, record, plan, at, step, ended).emit()
                with arm.otherwise():
                    self._service(record, at, ended)
            index.set(at + step.get())
        return ended.get()

    def _service(self, record: Value, index: Value, ended: Local) -> None:
        """Have the interpreter execute the instruction, and go on behind it."""
        b = self.b
        form = RECORD.get(b, record, "form").zext(64)
        shape = CONTROL.get_pointer(b, self.control, "shapes") + (form * SHAPE_BYTES)
        ends = ((SHAPE.get(b, shape, "flags") & SHAPE_ENDS) != 0).zext(8)
        after = self.at.get() + 11
        site = self.site(
            retry=after,
            record=record.zext(64),
            page=self.page,
            eip=RECORD.get(b, record, "eip"),
            refund=self.count - index,
            ends=ends,
        )
        self.write_stub(self.at.get(), site, _address_of(b, SERVICE_GATE))
        self.at.set(after)
        ended.set(ends.trunc(1))
        CONTROL.put(b, self.control, "serviced", CONTROL.get(b, self.control, "serviced") + 1)

    # -- exits ----------------------------------------------------------------------------------------------------

    def _same_page(self, target: Value) -> Value:
        return ((target ^ BLOCK.get(self.b, self.block, "eip")) & -PAGE) == 0

    def _exit(self, target: Value) -> None:
        """A direct transfer at the end of the fragment."""
        b = self.b
        with b.IfElse(self._same_page(target)) as arm:
            with arm.then():
                at = self.at.get()
                trace.note(b, self.control, TRACE_JUMP, self.site_number.get(), at)
                stub = self.exit_stub(target, at + 1)
                where = _write_base(b, self.control, at)
                b.store(where, b.const(_JUMP_REL32, 8))
                b.store(where + 1, (stub - (at + 5)).trunc(32))
                self.at.set(at + 5)
            with arm.otherwise():
                self.slot("TARGET", target)
                self.emit(self.helper("far_exit"))
                self.at.set(self.jump_free(self.at.get()))

    def exit_stub(self, target: Value, patch: Value) -> Value:
        """The cold stub of a chainable exit whose rel32 is at host address `patch`."""
        return self.stub(self.site(patch=patch, page=self.page, eip=target), CHAIN_GATE)

    def cold_far_exit(self, target: Value) -> Value:
        """A transfer to another page, among the cold stubs; answers its host address."""
        b = self.b
        at = (self.cold.get() - FAR_EXIT_BYTES) & -16
        self.cold.set(at)
        self.slot("TARGET", target)
        number = self.helper("far_exit")
        end = b.call(EMIT_STENCIL, b.cpu, self.control, self.slots, number, at)
        self.jump_free(end)
        return at


FAR_EXIT_BYTES = 96


class _Instruction:
    """Emits one instruction that has a plan."""

    def __init__(self, outer: _Translator, record: Value, plan: Value, index: Value, step: Local, ended: Local) -> None:
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
        o.slot("OFFSET", self._field("displacement").sext(64))
        o.slot("NEXT", self._field("next_eip"))
        self._tags(PLAN.get(b, self.plan, "write"))
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
        number = o.indexed(base.get() + choice)
        self._cold_slots(number, PLAN.get(b, self.plan, "linear"), PLAN.get(b, self.plan, "size"))
        self._taken(jump.get())
        identity = STENCIL.get(b, self._entry(number), "flags") & STENCIL_IDENTITY
        with b.If(identity != 0):
            CONTROL.put(b, o.control, "identity", CONTROL.get(b, o.control, "identity") + 1)
        o.emit(number)
        self._after(jump.get())

    def _entry(self, number: Value) -> Value:
        return CONTROL.get_pointer(self.b, self.outer.control, "stencils") + (number.zext(64) << 4)

    def _tags(self, write: Value) -> None:
        b, o = self.b, self.outer
        o.slot("TAG_OFFSET", o.table + b.select(write != 0, b.const(WRITE_TAG, 64), READ_TAG))

    def _choice(self) -> Value:
        """Which stencil of the family: by register numbers, and by the count of a shift."""
        b = self.b
        rm = self._field("rm_number").zext(32) * PLAN.get(b, self.plan, "stride_rm").zext(32)
        reg = self._field("reg_number").zext(32) * PLAN.get(b, self.plan, "stride_reg").zext(32)
        stride = PLAN.get(b, self.plan, "stride_count").zext(32)
        is_condition = (PLAN.get(b, self.plan, "effect") & FLAGS_CONDITION) != 0
        count = (self._field("immediate") & 31) * b.select(is_condition, b.const(0, 32), stride)
        return rm + reg + count

    # -- what comes before ------------------------------------------------------------------------------------------

    def _source(self) -> None:
        """Bring the address or the source operand into T."""
        b, o = self.b, self.outer
        pre = PLAN.get(b, self.plan, "pre")
        form = self._field("form").zext(64)
        shape = CONTROL.get_pointer(b, o.control, "shapes") + (form * SHAPE_BYTES)
        with b.Switch(pre) as cases:
            with cases.case(Pre.ADDRESS):
                self._address()
            with cases.case(Pre.GET_REG):
                self._get(self._field("reg_number"), SHAPE.get(b, shape, "reg_byte"))
            with cases.case(Pre.GET_RM):
                self._get(self._field("rm_number"), SHAPE.get(b, shape, "rm_byte"))
            with cases.case(Pre.LOAD):
                self._address()
                self._tags(b.const(0, 8))
                number = o.helper("load")
                self._cold_slots(number, b.const(1, 8), b.const(4, 8), write=b.const(0, 8))
                o.emit(number)
                self._tags(PLAN.get(b, self.plan, "write"))

    def _get(self, number: Value, is_byte: Value) -> None:
        o, b = self.outer, self.b
        offset = b.select(is_byte != 0, b.const(_HELPER["get_byte"], 32), _HELPER["get"])
        o.emit(o.indexed(offset + number.zext(32)))

    def _address(self) -> None:
        b, o = self.b, self.outer
        base, index = self._field("base_number").zext(32), self._field("index_number").zext(32)
        scale = self._field("scale").zext(32)
        place = b.local(32, _HELPER["absolute"])
        no_base, no_index = base == NO_REGISTER, index == NO_REGISTER
        with b.If(~no_base & no_index):
            moved = self._field("displacement") != 0
            place.set(b.select(moved, b.const(_HELPER["base_displaced"], 32), _HELPER["base"]) + base)
        with b.If(no_base & ~no_index):
            place.set((scale << 3) + index + _HELPER["index"])
        with b.If(~no_base & ~no_index):
            place.set((((scale << 3) + base) << 3) + index + _HELPER["base_index"])
        o.emit(o.indexed(place.get()))
        segment = self._field("segment").zext(32)
        size = PLAN.get(b, self.plan, "size")
        with b.If(segment.uge(FS) & (size != 0)):
            write = PLAN.get(b, self.plan, "write").zext(32)
            pre_load = PLAN.get(b, self.plan, "pre") == Pre.LOAD
            write = b.select(pre_load, b.const(0, 32), write)
            bytes_log = b.intrinsic("cttz", "i32", size.zext(32), "i1 true")
            which = (segment == GS).zext(32) * 8 + write * 4 + bytes_log
            number = o.helper("segment", which)
            self._cold_slots(number, b.const(0, 8), b.const(0, 8))
            o.emit(number)

    def _predict_return(self) -> None:
        b, o = self.b, self.outer
        back = self._field("next_eip")
        with b.If(o._same_page(back)):
            slot = o.cold.get() - 5
            o.cold.set(slot)
            trace.note(b, o.control, TRACE_JUMP, o.site_number.get(), slot)
            stub = o.exit_stub(back, slot + 1)
            where = _write_base(b, o.control, slot)
            b.store(where, b.const(_JUMP_REL32, 8))
            b.store(where + 1, (stub - (slot + 5)).trunc(32))
            o.slot("LANDING", slot)
            o.emit(o.helper("push_return"))

    def _fuse(self, base: Local, condition: Local, times: Local, jump: Local) -> None:
        """A compare and the Jcc behind it share a stencil."""
        b, o = self.b, self.outer
        fused = PLAN.get(b, self.plan, "fused")
        with b.If((fused != NO_PLAN) & ((self.index + 2) == o.count)):
            following = self.record + RECORD_BYTES
            next_plan = o.plan_of(following)
            with b.If((PLAN.get(b, next_plan, "effect") & FLAGS_CONDITION) != 0):
                base.set(fused)
                times.set(16)
                condition.set(PLAN.get(b, next_plan, "stride_count").zext(32))
                jump.set(following)
                self.step.set(2)

    # -- around the stencil -------------------------------------------------------------------------------------------

    def _cold_slots(self, number: Value, linear: Value, size: Value, write: Value | None = None) -> None:
        """Stubs for the slow path and the way to the interpreter, where the stencil has them."""
        b, o = self.b, self.outer
        flags = STENCIL.get(b, self._entry(number), "flags")
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
                o.slot("COLD", o.stub(site, SLOW_GATE))
            with b.If((flags & STENCIL_SERVICE) != 0):
                o.slot("SERVICE", o.stub(site, SERVICE_GATE))

    def _taken(self, jump: Value) -> None:
        """Where a conditional transfer leads when taken."""
        b, o = self.b, self.outer
        ending = PLAN.get(b, o.plan_of(jump), "ending")
        direct = self._is_direct(jump)
        with b.If(direct & (ending == Ending.NEXT)):
            target = RECORD.get(b, jump, "immediate")
            with b.IfElse(o._same_page(target)) as arm:
                with arm.then():
                    # the patch address is the stencil's own rel32, known once it has been copied
                    site = o.site(patch=0, page=o.page, eip=target)
                    o.slot("TAKEN", o.stub(site, CHAIN_GATE))
                    self.taken_site.set(site)
                with arm.otherwise():
                    o.slot("TAKEN", o.cold_far_exit(target))
                    o.slot("TARGET", target)

    def _is_direct(self, record: Value) -> Value:
        """Whether a record is a relative transfer."""
        b, o = self.b, self.outer
        form = RECORD.get(b, record, "form").zext(64)
        shape = CONTROL.get_pointer(b, o.control, "shapes") + (form * SHAPE_BYTES)
        kind = SHAPE.get(b, shape, "immediate")
        return (kind == IMMEDIATE_JUMP_BYTE) | (kind == IMMEDIATE_JUMP)

    def _after(self, jump: Value) -> None:
        """Finish the block's last instruction."""
        b, o = self.b, self.outer
        plan = o.plan_of(jump)
        ending = PLAN.get(b, plan, "ending")
        with b.If(self._is_direct(jump) & (ending == Ending.NEXT)):
            target = RECORD.get(b, jump, "immediate")
            with b.If(o._same_page(target)):
                where = CONTROL.get_pointer(b, o.control, "sites") + (self.taken_site.get() * SITE_BYTES)
                SITE.put(b, where, "patch", b.load(o.slots + 8 * len(SLOTS), 64))
        with b.If(ending == Ending.JUMP):
            o._exit(RECORD.get(b, jump, "immediate"))
            self.ended.set(1)
        with b.If(ending == Ending.INDIRECT):
            o.at.set(o.jump_free(o.at.get()))
            self.ended.set(1)


def emit_translate(b: NativeContext) -> None:
    """Body of `translate`."""
    _Translator(b).build()
