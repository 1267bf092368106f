"""Accesses of 64-bit code through the soft TLB, and leaving where they miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bt.engine.identity.long.decoded import LongDecoded
from bt.engine.identity.long.encoding import (
    BUDGET,
    HOST,
    NOT_BELOW,
    NOT_EQUAL,
    RESIDENT,
    RSP_HOME,
    S0,
    S1,
    STATE,
    TEMPORARY,
    Address,
    add_to_slot,
    constant,
    i32,
    instruction,
    lea,
    load,
    move,
    shift,
    slot,
    store,
)
from bt.engine.identity.long.facts import facts_of
from bt.engine.identity.long.host_code import HostCode, NewReach, Once
from bt.engine.identity.long.integer import Access, address_parts
from bt.engine.identity.long.neighbours import FAR, OPERAND, STACK, Group, groups
from bt.engine.identity.long.surroundings import Draft
from bt.engine.structures import NO_REGISTER_LONG
from bt.memory.soft_mmu.host_form import REACH, REACH_BYTES, host_form
from bt.x86 import state
from bt.x86.mode import USER
from bt.x86.page import PAGE
from bt.x86.state import FS


class _Question(NamedTuple):
    """What the TLB is asked for."""

    low: int  # from the address to the first byte, and to behind the last
    high: int
    write: bool
    alignment: int  # the address must be a multiple of so much; 0: anything does
    made: bytes  # code that puts the address into r10, where `at` is none
    at: Address | None
    miss: Once

    @property
    def size(self) -> int:
        return self.high - self.low


class MemoryCode(HostCode):
    """Accesses of a unit's instructions."""

    def __init__(self, draft: Draft) -> None:
        steps, mode, start, reach_top, around, unit, shares = draft
        super().__init__(start)
        self._steps, self._around = steps, around
        form = host_form(user=bool(mode & USER))
        self._place = shift(5, S1, form.shift) + instruction(b"\x81", 4, S1) + i32(form.mask)
        self._compare = [instruction(b"\x3b", S0, Address(STATE, tag, S1), wide=True) for tag in form.tags]
        self._addend = form.addend
        self._looks = around.looks[bool(mode & USER)]
        self._reach_top = reach_top
        self.reaches: list[NewReach] = []
        self._reach_of: dict[int, NewReach] = {}  # by place of the group
        self._total = len(steps)
        self._unit = unit
        self._facts = [facts_of(step.i) for step in steps]
        most = len(steps) if reach_top is not None else state.ADDENDS
        code = [(step.i, facts) for step, facts in zip(steps, self._facts, strict=True)]
        self._groups = groups(code, most) if shares else {}

    @property
    def has_neighbours(self) -> bool:
        return bool(self._groups)

    def _back_to(self, refund: int, record: int) -> None:
        """Leave at a record, with `refund` instructions charged that are not executed. The flags are saved."""
        if refund:
            self._put(add_to_slot(BUDGET, refund))
        self._put(constant(S0, record))
        self.jump(self._around.way_out)

    def _miss(self) -> Callable[[], None]:
        """Stub: the interpreter does the instruction. EFLAGS are destroyed where it is jumped to."""
        refund, record = self._total - self.at, self._steps[self.at].i.record
        save = self._saver()

        def stub() -> None:
            self._put(save)
            self._back_to(refund, record)

        return stub

    def _look_up(self, kind: int, make: Callable[[], Sequence[bytes]], what: Access, at: Address | None) -> Address:
        """The operand in the host for guest memory whose linear address `make` puts into r10, or is `at`.

        r10 belongs to it, r11 is free.
        """
        group = self._groups.get((self.at, kind))
        if group is not None and (self.at, kind) != group.first:
            return self._look_up_neighbour(group, make, at)
        self._destroy()
        bounds = (0, what.size, what.write) if group is None else (group.low, group.high, group.write)
        miss = Once(self, self._miss() if group is None else self._miss_of_neighbours())
        question = _Question(*bounds, what.size if what.aligned else 0, b"" if at else b"".join(make()), at, miss)
        if self._reach_top is None:
            self._ask_tlb(question)
            if group is not None:
                self._put(store(slot("unit_addends", group.place), S0 if at else S1))
        else:
            reach = NewReach(question.size, len(self._code), self._reach_top - REACH_BYTES * (len(self.reaches) + 1))
            self.reaches.append(reach)
            if group is not None:
                self._reach_of[group.place] = reach
            self._ask_reach(question, reach, is_shared=group is not None)
        if self._reach_top is None and at is None:
            self._put(question.made, lea(S0, Address(S0, 0, S1)))
        return self._operand(group, at)

    def _ask_tlb(self, asked: _Question) -> None:
        """Have the addend in r10, or in r11 where the address is to be made."""
        # the entry is that of the first byte, the tag that of the last: where they lie in two pages it never hits
        first = asked.at if asked.at is not None else Address(S0)
        self._put(asked.made, lea(S1, first._replace(displacement=first.displacement + asked.low)))
        last = first._replace(displacement=first.displacement + asked.high - 1)
        self._put(lea(S0, last) if last != Address(S0) else b"")
        # where it must be aligned, the low bits of that stay: if they are not all set, it is no tag
        rest = PAGE - (asked.alignment or 1)
        self._put(instruction(b"\x81", 1, S0, wide=True), i32(rest), self._place, self._compare[asked.write])
        self._branch(NOT_EQUAL, asked.miss)
        self._put(load(S0 if asked.at is not None else S1, Address(STATE, self._addend, S1)))

    def _ask_reach(self, asked: _Question, reach: NewReach, *, is_shared: bool) -> None:
        """Have the addend in r10, or the address in the host where it is to be made."""
        at, low = asked.at, asked.low
        if at is not None:
            register, ask = S0, lea(S0, Address(at.base, at.displacement + low))
        else:
            register, ask = S1, asked.made + (lea(S1, Address(S0, low)) if low else move(S1, S0))
        # how far is the lowest address from the beginning of the reach?
        self._put(ask)
        self._reached(b"\x2b", register, reach, "low")  # sub
        self._reached(b"\x3b", register, reach, "limit")  # cmp

        def outside() -> None:
            to_entry = constant(S1, reach.address + self._around.to_write)
            self._put(ask, b"" if at is not None else move(S0, S1), to_entry)
            self._call(self._looks[asked.write])
            self._branch(NOT_EQUAL, asked.miss)
            self._put(ask if at is None or asked.alignment else b"")
            self.jump(inside)
            reach.detour = len(self._code)
            self._ask_tlb(asked)
            addend, free = (S1, S0) if at is None else (S0, S1)
            if is_shared:
                self._put(constant(free, reach.address + self._around.to_write))
                self._put(store(Address(free, REACH.offsets["addend"]), addend))
            self._put(b"" if at is not None else asked.made + lea(S0, Address(S0, 0, S1)))
            self.jump(found)

        self._branch(NOT_BELOW, outside)
        inside = self.here
        if asked.alignment:
            self._put(instruction(b"\xf6", 0, register, low_bytes=True), bytes((asked.alignment - 1,)))  # test
            self._branch(NOT_EQUAL, asked.miss)
        self._reached(b"\x8b" if at is not None else b"\x03", S0, reach, "addend")  # mov, add
        found = self.here

    def _operand(self, group: Group | None, at: Address | None) -> Address:
        """With r10 the addend, or the address in the host where `at` is none."""
        self._held = None if at is None or group is None else group.place
        return Address(S0) if at is None else Address(at.base, at.displacement, S0)

    def _look_up_neighbour(self, group: Group, make: Callable[[], Sequence[bytes]], at: Address | None) -> Address:
        """Of those that are not the first, no code changes flags."""
        if at is None:
            self._put(*make())
            self._load_addend(S1, group)
            self._put(lea(S0, Address(S0, 0, S1)))
        elif self._held != group.place:
            self._load_addend(S0, group)
        return self._operand(group, at)

    def _load_addend(self, register: int, group: Group) -> None:
        if self._reach_top is None:
            self._put(load(register, slot("unit_addends", group.place)))
        else:
            self._reached(b"\x8b", register, self._reach_of[group.place], "addend")

    def _reached(self, opcode: bytes, register: int, reach: NewReach, name: str) -> None:
        """An instruction with a field of a reach as its second operand, 64 bits."""
        code = bytes((0x48 | register >> 3 << 2,)) + opcode + bytes(((register & 7) << 3 | 5,))
        self._put(code, i32(reach.address + REACH.offsets[name] - (self.here + len(code) + 4)))

    def _miss_of_neighbours(self) -> Callable[[], None]:
        """Stub: as `_miss`, and it is counted."""
        refund, record = self._total - self.at, self._steps[self.at].i.record
        save = self._saver()

        def stub() -> None:
            self._put(save)
            if refund:
                self._put(add_to_slot(BUDGET, refund))
            self._leave_at(record, self._around.way_neighbours)

        return stub

    def _leave_at(self, record: int, way: int) -> None:
        """Leave at a record by a way that wants to know the unit."""
        self._put(constant(S1, self._unit), store(TEMPORARY, S1), constant(S0, record))
        self.jump(way)

    def _look_up_operand(self, i: LongDecoded, what: Access) -> Address:
        def make() -> list[bytes]:
            code = address_parts(i)
            if i.segment >= FS:
                base = Address(STATE, state.segment_offset(i.segment, "base"))
                code.append(instruction(b"\x03", S0, base, wide=True))
            return code

        at = None
        is_plain = i.segment < FS and not i.address_size_32 and i.index_number == NO_REGISTER_LONG
        if is_plain and -FAR < i.displacement < FAR and i.base_number not in (NO_REGISTER_LONG, *RESIDENT):
            at = Address(HOST[i.base_number], i.displacement)
        return self._look_up(OPERAND, make, what, at)

    def _look_up_stack(self, displacement: int, *, write: bool, base: int = RSP_HOME) -> Address:
        at = Address(base, displacement)
        return self._look_up(STACK, lambda: [lea(S0, at)], Access(8, write), at)
