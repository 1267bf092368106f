"""Accesses of 64-bit code through the soft TLB, and leaving where they miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bt.engine.identity.long.decoded import LongDecoded
from bt.engine.identity.long.encoding import (
    BUDGET,
    HOST,
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
from bt.engine.identity.long.host_code import HostCode
from bt.engine.identity.long.integer import Access, address_parts
from bt.engine.identity.long.neighbours import OPERAND, STACK, Group, groups
from bt.engine.identity.long.surroundings import Step, Surroundings
from bt.engine.structures import NO_REGISTER_LONG
from bt.memory.soft_mmu.host_form import host_form
from bt.x86 import state
from bt.x86.mode import USER
from bt.x86.page import PAGE
from bt.x86.state import FS


class MemoryCode(HostCode):
    """Accesses of the instructions `steps`, in mode `mode`, by host code at `start`.

    `shares_as`: host address of the LONG_UNIT that it becomes; None: no access asks for its neighbours.
    """

    def __init__(
        self, steps: Sequence[Step], mode: int, start: int, around: Surroundings, shares_as: int | None
    ) -> None:
        super().__init__(start)
        self._steps, self._around = steps, around
        form = host_form(user=bool(mode & USER))
        self._place = shift(5, S1, form.shift) + instruction(b"\x81", 4, S1) + i32(form.mask)
        self._compare = [instruction(b"\x3b", S0, Address(STATE, tag, S1), wide=True) for tag in form.tags]
        self._addend = form.addend
        self._add = instruction(b"\x03", S0, Address(STATE, form.addend, S1), wide=True)
        # the address of a byte in r10 becomes its page's tag, that in r11 the place of an entry
        self._to_tag = instruction(b"\x81", 1, S0, wide=True) + i32(PAGE - 1)
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
        self._jump(self._around.way_out)

    def _miss(self) -> Callable[[], None]:
        """Stub: the interpreter does the instruction. EFLAGS are destroyed where it is jumped to."""
        refund, record = self._total - self.at, self._steps[self.at].i.record
        save = self._saver()

        def stub() -> None:
            self._put(save)
            self._back_to(refund, record)

        return stub

    def _look_up(self, kind: int, make: Callable[[], Sequence[bytes]], what: Access, at: Address | None) -> None:
        """r10 = host address of guest memory whose linear address `make` puts there, or is `at`."""
        group = self._groups.get((self.at, kind))
        if group is not None:
            self._look_up_neighbour(group, (self.at, kind) == group.first, make, at)
            return
        self._held = None
        self._destroy()
        # the entry is that of the first byte, the tag that of the last: where they lie in two pages it never hits
        to_last = lea(S0, Address(S0, what.size - 1)) if what.size > 1 else b""
        # where it must be aligned, the low bits of that stay: if they are not all set, it is no tag
        to_tag = instruction(b"\x81", 1, S0, wide=True) + i32(PAGE - what.size) if what.aligned else self._to_tag
        self._put(*make(), move(S1, S0), to_last, to_tag, self._place, self._compare[what.write])
        self._branch(NOT_EQUAL, self._miss())
        self._put(*make(), self._add)

    def _look_up_neighbour(
        self, group: Group, is_first: bool, make: Callable[[], Sequence[bytes]], at: Address | None
    ) -> None:
        """Of those that are not the first, no code changes flags."""
        addend = slot("unit_addends", group.place)
        held = self._held
        if is_first:
            self._destroy()
            self._put(*make(), lea(S1, Address(S0, group.low)), lea(S0, Address(S0, group.high - 1)))
            self._put(self._to_tag, self._place, self._compare[group.write])
            self._branch(NOT_EQUAL, self._miss_of_neighbours())
            self._put(load(S1, Address(STATE, self._addend, S1)), store(addend, S1))
        elif held != group.place:
            self._put(load(S1, addend))
        self._held = group.place
        if at is not None:
            self._put(lea(S0, Address(S1, at.displacement, at.base)))
        else:
            self._put(*make(), lea(S0, Address(S0, 0, S1)))

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
            self._jump(self._around.way_neighbours)

        return stub

    def _look_up_operand(self, i: LongDecoded, what: Access) -> None:
        def make() -> list[bytes]:
            code = address_parts(i)
            if i.segment >= FS:
                base = Address(STATE, state.segment_offset(i.segment, "base"))
                code.append(instruction(b"\x03", S0, base, wide=True))
            return code

        at = None
        if i.index_number == NO_REGISTER_LONG and i.base_number not in (NO_REGISTER_LONG, *RESIDENT):
            at = Address(HOST[i.base_number], i.displacement)
        self._look_up(OPERAND, make, what, at)

    def _look_up_stack(self, displacement: int, *, write: bool, base: int = RSP_HOME) -> None:
        at = Address(base, displacement)
        self._look_up(STACK, lambda: [lea(S0, at)], Access(8, write), at)
