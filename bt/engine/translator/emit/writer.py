"""Writing fragments: stencils copied and patched, sites and cold stubs, direct exits.

Copy and patch (after Xu and Kjolstad, OOPSLA 2021): hot code grows up from one end of the cache, cold stubs grow down
from the other, so that the hot code stays dense.
"""

from __future__ import annotations

from bt.codegen.abi import Signature
from bt.codegen.host_bytes import JUMP_BYTES, JUMP_REL32, MOV_IMMEDIATE_BYTES, move_immediate
from bt.codegen.value import PTR, Value
from bt.engine.decode_address import nibbles
from bt.engine.structures import (
    BLOCK,
    CONTROL,
    NO_X87_EIP,
    NO_X87_SEGMENT,
    PLAN,
    PLAN_BYTES,
    RECORD,
    RELOCATION,
    RELOCATION_ABS8,
    RELOCATION_ABS32,
    RELOCATION_ABS64,
    RELOCATION_PC32,
    SITE,
    SITE_BYTES,
    SLOTS,
    STENCIL,
    TRACE_JUMP,
    TRACE_STENCIL,
    TRACE_STUB,
    VARIANTS,
)
from bt.engine.translator.emit import trace
from bt.engine.translator.gates.signatures import EMIT_STENCIL, Gates
from bt.engine.translator.plan.plan import Gate
from bt.engine.translator.plan.table import PLAN_TABLES, helper_offsets
from bt.memory.access import ACCESS_CODE, NativeContext
from bt.memory.backend import AccessHoles
from bt.x86 import mode
from bt.x86.page import PAGE
from bt.x86.state import DS, ES, SS

SLOT_OFFSETS = {name: 8 * number for number, name in enumerate(SLOTS)}
HELPER_PLACES = helper_offsets()
STUB_BYTES = MOV_IMMEDIATE_BYTES + JUMP_BYTES
FAR_EXIT_BYTES = 128  # room for the checked_exit stencil and its jump
# Which bit of the mode key says that a segment is flat; of CS none, which writes may not go through.
_NEVER = 15
_FLAT_BITS = tuple((mode.FLAT_BIT[n] if n in (ES, SS, DS) else 1 << _NEVER).bit_length() - 1 for n in range(8))


def write_base(b: NativeContext, control: Value, host: Value) -> Value:
    """Where to write what will run at a host address."""
    return (host + CONTROL.get(b, control, "write_delta")).to_pointer()


def address_of(b: NativeContext, gate: Signature) -> Value:
    """Host address of a gate."""
    b.module.need(gate)
    return Value(b, f"ptrtoint (ptr @{gate.name} to i64)", "i64")


def stencil_entry(b: NativeContext, control: Value, number: Value) -> Value:
    """Pointer to the STENCIL of a number."""
    return CONTROL.get_pointer(b, control, "stencils") + (number.zext(64) * STENCIL.size)


def emit_emit_stencil(b: NativeContext) -> None:
    """Body of `emit_stencil`: copy one stencil to host address `at` and fill its holes; answers the end."""
    _, control, slots, number, at = b.arguments
    trace.note(b, control, TRACE_STENCIL, number.zext(64), at)
    entry = stencil_entry(b, control, number)
    length = STENCIL.get(b, entry, "length").zext(64)
    source = CONTROL.get_pointer(b, control, "stencil_code") + STENCIL.get(b, entry, "code").zext(64)
    target = write_base(b, control, at)
    with b.Range(length, step=8) as i:
        b.store(target + i, b.load(source + i, 64))
    end = at + length
    b.store(slots + SLOT_OFFSETS["CONT"], end)
    first = STENCIL.get(b, entry, "first").zext(64)
    relocation = b.local(PTR, CONTROL.get_pointer(b, control, "stencil_relocations") + (first * RELOCATION.size))
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


class FragmentWriter:
    """What building one fragment needs, whichever instruction is at hand."""

    def __init__(self, b: NativeContext, gates: Gates) -> None:
        self.b = b
        self.gates = gates
        self.block = b.arguments[1]
        self.control = b.get_pointer("engine")
        self.records = BLOCK.get_pointer(b, self.block, "records")
        self.count = BLOCK.get(b, self.block, "count").zext(32)
        slots = b.local(f"[{len(SLOTS) + 1} x i64]")
        self.slots = Value(b, slots.ref, PTR)
        self.at = b.local(64, CONTROL.get(b, self.control, "hot_next"))
        self.cold = b.local(64, CONTROL.get(b, self.control, "cold_next"))
        self.site_number = b.local(64, CONTROL.get(b, self.control, "sites_next"))
        self.holes: AccessHoles  # of this block's memory accesses, see mode_slots
        self.x87_eip = b.local(32, NO_X87_EIP)  # see SITE
        self.x87_segment = b.local(8, NO_X87_SEGMENT)
        self.page = BLOCK.get(b, self.block, "physical") & -PAGE
        self.mode = BLOCK.get(b, self.block, "mode")
        flat = (self.mode & mode.FLAT_32) == mode.FLAT_32
        self.is_real = (self.mode & mode.REAL) == mode.REAL
        flat_plans, real_plans, other_plans = (CONTROL.pointer(self.control, name) for name in PLAN_TABLES)
        self.plans = b.load(b.select(flat, flat_plans, b.select(self.is_real, real_plans, other_plans)), PTR)
        # EIPs that are known to be within CS: up to here; 0 if its limit is not part of the mode
        all_of_it = b.select((self.mode & mode.CS_4_GIB) != 0, b.const(-1, 32), 0)
        self.reach = b.select((self.mode & mode.CS_64_KIB) != 0, b.const(0xFFFF, 32), all_of_it)

    # -- small tools ----------------------------------------------------------------------------------------------

    def slot(self, name: str, value: Value) -> None:
        self.b.store(self.slots + SLOT_OFFSETS[name], value.zext(64))

    def plan_of(self, record: Value) -> Value:
        b = self.b
        number = RECORD.get(b, record, "form").zext(64) * VARIANTS + RECORD.get(b, record, "variant").zext(64)
        return self.plans + (number * PLAN_BYTES)

    def gate(self, plan: Value) -> Value:
        """Host address of the gate for what stencils do not do, of an instruction with this plan."""
        b = self.b
        address = b.local(64, address_of(b, self.gates.service))
        number = PLAN.get(b, plan, "gate")
        with b.Unlikely(number != Gate.SERVICE), b.Switch(number) as cases:
            for gate in Gate:
                if gate is not Gate.SERVICE:
                    with cases.case(gate):
                        address.set(address_of(b, self.gates.instead(gate)))
        return address.get()

    def is_flat(self, segment: Value) -> Value:
        """Whether offsets into a data segment (i32) are linear addresses that need no look at it (i1)."""
        return ((self.mode >> nibbles(self.b, _FLAT_BITS, segment)) & 1) != 0

    def is_plain(self, record: Value, segment: Value) -> Value:
        """Whether a memory operand in this segment (i32) is a 32-bit offset that is its linear address (i1)."""
        return self.is_flat(segment) & (RECORD.get(self.b, record, "address_mask") == 0xFFFF_FFFF)

    def indexed(self, index: Value) -> Value:
        """Stencil number at a place of the index."""
        table = CONTROL.get_pointer(self.b, self.control, "stencil_index")
        return self.b.load(table + (index.zext(64) << 2), 32)

    def helper(self, name: str, offset: Value | int = 0) -> Value:
        base = self.b.const(HELPER_PLACES[name], 32)
        return self.indexed(base + offset)

    def site(self, **values: Value | int) -> Value:
        """Claim a site and fill it; answers its number (i64)."""
        b = self.b
        number = self.site_number.get()
        self.site_number.set(number + 1)
        where = CONTROL.get_pointer(b, self.control, "sites") + (number * SITE_BYTES)
        values |= {"x87_eip": self.x87_eip.get(), "x87_segment": self.x87_segment.get()}
        for name, value in values.items():
            SITE.put(b, where, name, value)
        return number

    def stub(self, site: Value, gate: Signature | Value) -> Value:
        """A cold stub: the site's number into the free argument, then to a gate (one that is chosen when the code is
        made: its host address). Answers its host address."""
        at = self.cold.get() - STUB_BYTES
        self.cold.set(at)
        self.write_stub(at, site, gate if isinstance(gate, Value) else address_of(self.b, gate))
        return at

    def write_stub(self, at: Value, site: Value, gate: Value) -> None:
        b = self.b
        trace.note(b, self.control, TRACE_STUB, site, at)
        where = write_base(b, self.control, at)
        to_free = move_immediate(self.gates.plan.number("free"))
        b.store(where, b.const(int.from_bytes(to_free, "little"), 8 * len(to_free)))
        b.store(where + len(to_free), site.trunc(32))
        b.store(where + MOV_IMMEDIATE_BYTES, b.const(JUMP_REL32, 8))
        b.store(where + (MOV_IMMEDIATE_BYTES + 1), (gate - (at + STUB_BYTES)).trunc(32))

    def emit(self, number: Value) -> None:
        b = self.b
        self.at.set(b.call(EMIT_STENCIL, b.cpu, self.control, self.slots, number, self.at.get()))

    def note(self, kind: int, subject: Value) -> None:
        """Tell the diary where the code has got to."""
        trace.note(self.b, self.control, kind, subject.zext(64), self.at.get(), self.cold.get())

    def write_bytes(self, at: Value, code: bytes) -> Value:
        """Put fixed bytes at a host address; answers where they end."""
        b = self.b
        where = write_base(b, self.control, at)
        for offset, byte in enumerate(code):
            b.store(where + offset, b.const(byte, 8))
        return at + len(code)

    def write_jump(self, at: Value, target: Value) -> Value:
        """A jmp rel32 at one host address to another; answers where it ends."""
        b = self.b
        where = write_base(b, self.control, at)
        end = at + JUMP_BYTES
        b.store(where, b.const(JUMP_REL32, 8))
        b.store(where + 1, (target - end).trunc(32))
        return end

    def jump_free(self, at: Value) -> Value:
        """To the address in the free argument."""
        return self.write_bytes(at, self.gates.jump_free_code)

    def mode_slots(self) -> None:
        """What the holes of memory accesses and branch misses stand for in the mode of this block."""
        b = self.b
        self.holes = ACCESS_CODE.begin_block(b, self.slot)
        self.slot("BRANCH_MISS", address_of(b, self.gates.miss))

    # -- exits ----------------------------------------------------------------------------------------------------

    def can_chain(self, target: Value) -> Value:
        """Whether a direct transfer may be patched to go to the fragment of its target (i1).

        That must be in the block's page, so that no other page can be mapped there; and in a segment of known limit,
        for there is nobody to find out that another one with a lower limit is used.
        """
        b = self.b
        distance = target - BLOCK.get(b, self.block, "eip").trunc(32)
        place = BLOCK.get(b, self.block, "physical").trunc(32) & (PAGE - 1)
        return (place + distance).ult(PAGE) & (self.reach != 0) & target.ule(self.reach)

    def _far_exit(self, target: Value, jump: Value | None) -> Value:
        """Stencil number of a transfer through the branch cache, its holes filled; `jump` may have to be refused."""
        b = self.b
        self.slot("TARGET", target)
        number = b.local(32, self.helper("far_exit"))
        if jump is not None:
            with b.Unlikely(target.ugt(self.reach)):
                number.set(self.helper("checked_exit"))
                eip = RECORD.get(b, jump, "eip")
                site = self.site(record=jump.zext(64), page=self.page, eip=eip, refund=1, ends=1)
                self.slot("SERVICE", self.stub(site, self.gates.service))
        return number.get()

    def exit(self, target: Value, jump: Value | None = None) -> None:
        """A direct transfer at the end of the fragment: by `jump`, or because nothing else follows."""
        b = self.b
        with b.IfElse(self.can_chain(target)) as arm:
            with arm.then():
                at = self.at.get()
                trace.note(b, self.control, TRACE_JUMP, self.site_number.get(), at)
                stub = self.exit_stub(target, at + 1)
                self.at.set(self.write_jump(at, stub))
            with arm.otherwise():
                self.emit(self._far_exit(target, jump))
                self.at.set(self.jump_free(self.at.get()))

    def exit_stub(self, target: Value, patch: Value) -> Value:
        """The cold stub of a chainable exit whose rel32 is at host address `patch`."""
        return self.stub(self.exit_site(target, patch), self.gates.chain)

    def exit_site(self, target: Value, patch: Value | int) -> Value:
        """Claim the site of a chainable exit; answers its number."""
        b = self.b
        CONTROL.count(b, self.control, "exits")
        end = BLOCK.get(b, self.block, "eip") + BLOCK.get(b, self.block, "bytes").zext(64)
        return self.site(patch=patch, page=self.page, eip=target, backward=target.zext(64).ult(end).zext(8))

    def cold_far_exit(self, target: Value, jump: Value) -> Value:
        """A transfer that cannot be chained, among the cold stubs; answers its host address."""
        b = self.b
        number = self._far_exit(target, jump)
        at = (self.cold.get() - FAR_EXIT_BYTES) & -16
        self.cold.set(at)
        end = b.call(EMIT_STENCIL, b.cpu, self.control, self.slots, number, at)
        self.jump_free(end)
        return at
