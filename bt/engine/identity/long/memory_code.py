"""Accesses of 64-bit code through the soft TLB, and leaving where they miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    store,
)
from bt.engine.identity.long.host_code import HostCode, NewReach, Once
from bt.engine.identity.long.integer import Access, address_parts
from bt.engine.identity.long.neighbours import OPERAND, STACK, Group, groups
from bt.engine.identity.long.surroundings import Step, Surroundings
from bt.engine.structures import NO_REGISTER_LONG
from bt.memory.soft_mmu.host_form import host_form
from bt.memory.soft_mmu.reaches import REACH, REACH_BYTES
from bt.x86 import state
from bt.x86.mode import USER
from bt.x86.page import PAGE
from bt.x86.state import FS


class MemoryCode(HostCode):
    """Accesses of the instructions `steps`, in mode `mode`, by host code at `start`, with reaches below `reach_top`.

    `shares_as`: host address of the LONG_UNIT that it becomes; None: no access asks for its neighbours.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        mode: int,
        start: int,
        reach_top: int,
        around: Surroundings,
        shares_as: int | None,
    ) -> None:
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
        self._unit = shares_as
        self._groups = {} if shares_as is None else groups([step.i for step in steps])
        self.at = 0  # number of the instruction that is written

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
        low, high, write = group[2:] if group is not None else (0, what.size, what.write)
        reach = NewReach(high - low, len(self._code), self._reach_top - REACH_BYTES * (len(self.reaches) + 1))
        self.reaches.append(reach)
        if group is not None:
            self._reach_of[group.place] = reach
        if at is not None:
            made, asked = b"", S0
            ask = lea(S0, Address(at.base, at.displacement + low))
        else:
            made, asked = b"".join(make()), S1
            ask = made + (lea(S1, Address(S0, low)) if low else move(S1, S0))
        # how far is the lowest address from the beginning of the reach?
        self._put(ask)
        self._reached(b"\x2b", asked, reach, "low")  # sub
        self._reached(b"\x3b", asked, reach, "limit")  # cmp
        miss = Once(self, self._miss() if group is None else self._miss_of_neighbours())

        def outside() -> None:
            to_entry = constant(S1, reach.address + self._around.to_write)
            self._put(ask, b"" if at is not None else move(S0, S1), to_entry)
            self._call(self._looks[write])
            self._branch(NOT_EQUAL, miss)
            self._put(ask if at is None or what.aligned else b"")
            self.jump(inside)
            reach.detour = len(self._code)
            # the entry is that of the first byte, the tag that of the last: where they lie in two pages it never hits
            self._put(ask, move(S1, S0) if at is not None else move(S0, S1))
            self._put(lea(S0, Address(S0, reach.size - 1)) if reach.size > 1 else b"")
            # where it must be aligned, the low bits of that stay: if they are not all set, it is no tag
            rest = PAGE - what.size if what.aligned else PAGE - 1
            self._put(instruction(b"\x81", 1, S0, wide=True), i32(rest), self._place, self._compare[write])
            self._branch(NOT_EQUAL, miss)
            self._put(load(S1, Address(STATE, self._addend, S1)))
            if group is not None:
                self._put(constant(S0, reach.address + self._around.to_write))
                self._put(store(Address(S0, REACH.offsets["addend"]), S1))
            self._put(move(S0, S1) if at is not None else made + lea(S0, Address(S0, 0, S1)))
            self.jump(found)

        self._branch(NOT_BELOW, outside)
        inside = self.here
        if what.aligned:
            self._put(instruction(b"\xf6", 0, asked, low_bytes=True), bytes((what.size - 1,)))  # test
            self._branch(NOT_EQUAL, miss)
        self._reached(b"\x8b" if at is not None else b"\x03", S0, reach, "addend")  # mov, add
        found = self.here
        return self._operand(reach, at)

    def _operand(self, reach: NewReach, at: Address | None) -> Address:
        """With r10 the addend, or the address in the host where `at` is none."""
        self._held = None if at is None else reach
        return Address(S0) if at is None else Address(at.base, at.displacement, S0)

    def _look_up_neighbour(self, group: Group, make: Callable[[], Sequence[bytes]], at: Address | None) -> Address:
        """Of those that are not the first, no code changes flags."""
        reach = self._reach_of[group.place]
        if at is None:
            self._put(*make())
            self._reached(b"\x8b", S1, reach, "addend")
            self._put(lea(S0, Address(S0, 0, S1)))
        elif self._held is not reach:
            self._reached(b"\x8b", S0, reach, "addend")
        return self._operand(reach, at)

    def _reached(self, opcode: bytes, register: int, reach: NewReach, name: str) -> None:
        """An instruction with a field of a reach as its second operand, 64 bits."""
        code = bytes((0x48 | register >> 3 << 2,)) + opcode + bytes(((register & 7) << 3 | 5,))
        self._put(code, i32(reach.address + REACH.offsets[name] - (self.here + len(code) + 4)))

    def _miss_of_neighbours(self) -> Callable[[], None]:
        """Stub: as `_miss`, and it is counted."""
        refund, record, unit = self._total - self.at, self._steps[self.at].i.record, self._unit
        save = self._saver()
        assert unit is not None

        def stub() -> None:
            self._put(save, constant(S1, unit), store(TEMPORARY, S1))
            if refund:
                self._put(add_to_slot(BUDGET, refund))
            self._put(constant(S0, record))
            self.jump(self._around.way_neighbours)

        return stub

    def _look_up_operand(self, i: LongDecoded, what: Access) -> Address:
        def make() -> list[bytes]:
            code = address_parts(i)
            if i.segment >= FS:
                base = Address(STATE, state.segment_offset(i.segment, "base"))
                code.append(instruction(b"\x03", S0, base, wide=True))
            return code

        at = None
        is_plain = i.segment < FS and not i.address_size_32 and i.index_number == NO_REGISTER_LONG
        if is_plain and i.base_number not in (NO_REGISTER_LONG, *RESIDENT):
            at = Address(HOST[i.base_number], i.displacement)
        return self._look_up(OPERAND, make, what, at)

    def _look_up_stack(self, displacement: int, *, write: bool, base: int = RSP_HOME) -> Address:
        at = Address(base, displacement)
        return self._look_up(STACK, lambda: [lea(S0, at)], Access(8, write), at)
