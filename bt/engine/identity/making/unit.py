"""Writing a unit: host code for a trace, with exact counts.

A unit is charged for as a whole, by one `sub; js` in front of an instruction where the flags are strictly dead, or with
them saved where there is no such place near. Whoever leaves early gives back what was not executed; what is executed
before the charge and leaves has it still to pay. Cold stubs follow the hot code.

    head:   instructions before the charge
            sub r15, TOTAL / js end
            the others; side exits jump to stubs
            jmp head, or T = target and through the branch table
    stubs:  lea r15, [r15 + not executed] / T = target / through the table
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bt.codegen.abi import FLAT_32
from bt.codegen.host_bytes import JUMP_BYTES, JUMP_REL32, move_immediate, rex
from bt.engine.identity.crossing import LOAD_FLAGS, NOTE_OPERAND, SAVE_FLAGS, add_to_budget, note_x87
from bt.engine.identity.layout import BIAS, UNIT_SITE, UNIT_SITE_BYTES
from bt.engine.identity.making.changed_registers import address_registers, changed_registers
from bt.engine.identity.making.deadness import strictly_dead
from bt.engine.identity.making.flag_repairs import late_repair
from bt.engine.identity.making.paths import Trace
from bt.engine.identity.making.steps import (
    JECXZ,
    NOT_EQUAL,
    RESTORE_ECX,
    SAVE_ECX,
    SHORT_JUMP,
    SHORT_JUMP_BYTES,
    TO_TABLE,
    Ending,
    Placed,
    Step,
    address_of_x87,
    compare_t,
    count_down,
    counter_alone,
    difference_from_t,
    go_to_table,
)
from bt.engine.reencode.decoded import Decoded
from bt.engine.structures import NO_X87_EIP, NO_X87_SEGMENT
from bt.x86.opcodes import FORMS

_BUDGET, _FREE = FLAT_32.number("budget"), FLAT_32.number("free")
_SIGN = 8  # condition code
LATEST_CHARGE = 24
"""Instructions; with those until the flags are overwritten at most BIAS."""
_LOOK_AHEAD = BIAS - LATEST_CHARGE
_SITE = struct.Struct("<IIQIIiHHIHHQ")


class LastX87(NamedTuple):
    """What FNSTENV shows of the x87 instructions since it was noted in the state last."""

    eip: int = NO_X87_EIP
    segment: int = NO_X87_SEGMENT  # of the last operand in memory
    operand: Decoded | None = None  # the instruction with it, while its registers are what they were

    @property
    def note(self) -> bytes:
        """Code that notes it."""
        return b"" if self.eip == NO_X87_EIP else self.note_operand + note_x87(self.eip, self.segment)

    @property
    def note_operand(self) -> bytes:
        """Code that notes the address of the operand."""
        return b"" if self.operand is None else address_of_x87(self.operand) + NOTE_OPERAND


class Site(NamedTuple):
    """A UNIT_SITE in the making; host addresses."""

    at: int
    record: int
    retry: int
    behind: int
    refund: int
    x87: LastX87
    due: int
    stores: bool


class Unit(NamedTuple):
    """What was written: code for `start`, sites by their host addresses, where tier 1 comes in."""

    start: int
    code: bytes
    sites: list[Site]
    total: int  # instructions
    charge_at: int  # number of the instruction that it charges in front of
    charged_dead: bool  # where no flags are that anybody sees
    head_is_dead: bool  # whoever enters need not bring any flags
    begins: list[int]  # host address of each instruction, of the charge in front of it; then of the stubs

    def packed_sites(self, number: int, base: int) -> bytes:
        """As UNIT_SITEs of unit `number`, behind the host address `base`."""

        def packed(s: Site) -> bytes:
            behind = s.behind and s.behind - base
            eip, segment, operand = s.x87
            x87_record = 0 if operand is None else operand.record
            retry = s.retry - base
            return _SITE.pack(
                s.at - base, number, s.record, retry, behind, s.refund, 0, s.stores, eip, segment, s.due, x87_record
            )

        return b"".join(map(packed, self.sites))


assert _SITE.size == UNIT_SITE_BYTES
assert list(UNIT_SITE.offsets.values()) == [0, 4, 8, 16, 20, 24, 28, 30, 32, 36, 38, 40]


class UnitWriter:
    """Writes one unit at host address `start`; `gates`: ways out by their use; `first_site`: the next number."""

    def __init__(self, trace: Trace, start: int, first_site: int, gates: Mapping[str, int]) -> None:
        self._trace, self._start, self._first_site, self._gates = trace, start, first_site, gates
        self._code = bytearray()
        self._sites: list[Site] = []
        self._stubs: list[tuple[int, Callable[[], None]]] = []  # where the rel32 that leads there is
        self._x87 = LastX87()
        self._due = 0  # LATE_* bits of the instruction that is being written
        self._total = len(trace.steps)
        self._leaves = [(placed.step.i, placed.step.can_leave) for placed in trace.steps]
        self._charge_at, self._dead = self._place_of_charge()
        self._head_is_dead = strictly_dead(self._leaves, _LOOK_AHEAD)

    # -- where to charge -----------------------------------------------------------------------------------------------

    def _place_of_charge(self) -> tuple[int, bool]:
        for place in range(min(self._total, LATEST_CHARGE)):
            if strictly_dead(self._leaves[place:], _LOOK_AHEAD):
                return place, True
            placed = self._trace.steps[place].step
            if placed.service or placed.ending not in (Ending.NEXT, Ending.JUMP):
                break
        return 0, False

    def _not_executed(self, index: int) -> int:
        """Of what is charged when the instruction at `index` is reached, what is still to be executed."""
        return (self._total if index >= self._charge_at else 0) - index

    # -- bytes ---------------------------------------------------------------------------------------------------------

    @property
    def _here(self) -> int:
        return self._start + len(self._code)

    def _jump(self, target: int) -> None:
        self._code += bytes((JUMP_REL32,)) + (target - self._here - 5).to_bytes(4, "little", signed=True)

    def _to_gate(self, name: str, number: int) -> None:
        self._code += move_immediate(_FREE) + number.to_bytes(4, "little")
        self._jump(self._gates[name])

    def _branch(self, condition: int, stub: Callable[[], None]) -> None:
        self._code += bytes((0x0F, 0x80 | condition)) + bytes(4)
        self._stubs.append((len(self._code) - 4, stub))

    def _branch_to_head(self, condition: int) -> None:
        self._code += bytes((0x0F, 0x80 | condition))
        self._code += (self._start - self._here - 4).to_bytes(4, "little", signed=True)

    def _site(self, at: int, record: int, retry: int, behind: int, refund: int, *, stores: bool = False) -> int:
        self._sites.append(Site(at, record, retry, behind, refund, self._x87, self._due, stores))
        return self._first_site + len(self._sites) - 1

    # -- the unit ------------------------------------------------------------------------------------------------------

    def write(self) -> Unit:
        trace = self._trace
        begins = []
        for index, placed in enumerate(trace.steps):
            begins.append(self._here)
            self._code += placed.first
            self._due = placed.due
            if index == self._charge_at:
                self._charge(index)
            self._instruction(index, placed)
        if trace.exit is not None and trace.steps[-1].onward is not None:
            self._note_x87()
            self._repair()
            self._code += go_to_table(trace.exit)
        begins.append(self._here)
        for hole, stub in self._stubs:
            self._fill(hole, self._here)
            stub()
        return Unit(
            self._start,
            bytes(self._code),
            self._sites,
            self._total,
            self._charge_at,
            self._dead,
            self._head_is_dead,
            begins,
        )

    def _fill(self, hole: int, target: int) -> None:
        self._code[hole : hole + 4] = (target - (self._start + hole + 4)).to_bytes(4, "little", signed=True)

    def _charge(self, index: int) -> None:
        if not self._dead:
            self._code += SAVE_FLAGS
        at = self._here
        self._code += _subtract(self._total)
        site = self._site(at, self._trace.steps[index].step.i.record, at, 0, self._total - index)

        def end() -> None:
            if not self._dead:
                self._code += LOAD_FLAGS
            self._to_gate("end", site)

        self._branch(_SIGN, end)
        if not self._dead:
            self._code += LOAD_FLAGS

    def _instruction(self, index: int, placed: Placed) -> None:
        step, record = placed.step, placed.step.i.record
        operand = self._x87.operand
        if operand is not None and not step.service and changed_registers(step.i) & address_registers(operand):
            self._code += self._x87.note_operand
            self._x87 = self._x87._replace(operand=None)
        start = self._here
        if step.service:
            site = self._site(start, record, start, 0, self._not_executed(index))
            self._to_gate("service", site)
            if step.ending is Ending.NEXT:
                self._sites[-1] = self._sites[-1]._replace(behind=self._here)
            self._x87 = LastX87()  # the way out has noted it, and the interpreter its own
            self._due = placed.due_after
            return
        if step.can_leave:
            for code, can_fault in step.check:
                if can_fault:
                    self._site(self._here, record, start, 0, self._not_executed(index))
                self._code += code
            looked = self._look(index, step)
            # behind what ends blocks there may be something else to do first, once the interpreter has done it: TF
            goes_on = step.ending is Ending.NEXT and not FORMS[step.i.form].ends_block
            behind = self._here + sum([len(code) for code, _ in step.parts]) if goes_on else 0
            for code, can_fault in step.parts:
                if can_fault:
                    self._site(self._here, record, start, behind, self._not_executed(index), stores=step.stores)
                self._code += code
            if looked is not None:
                self._sites[looked] = self._sites[looked]._replace(behind=behind)
        else:
            for code, _ in step.parts:
                self._code += code
        if step.x87:
            now = (step.i.segment, step.i) if step.i.is_memory else self._x87[1:]
            self._x87 = LastX87(step.i.eip, *now)
        self._ending(index, placed)

    def _look(self, index: int, step: Step) -> int | None:
        """Look whether what follows may be done; the place of the site by which the interpreter does it, if need be."""
        look = step.look
        if look is None:
            return None
        site = self._site(self._here, step.i.record, self._here, 0, self._not_executed(index))
        place = len(self._sites) - 1

        def interpreted() -> None:
            self._code += look.restore
            self._to_gate("service", site)

        for code, condition in look.pieces:
            self._code += code
            self._branch(condition, interpreted)
        self._code += look.found
        return place

    def _note_x87(self) -> None:
        self._code += self._x87.note
        self._x87 = LastX87()

    def _repair(self) -> None:
        self._code += late_repair(self._due)
        self._due = 0

    def _ending(self, index: int, placed: Placed) -> None:
        step, is_last = placed.step, index == self._total - 1
        self._due = placed.due_after
        if step.ending is Ending.NEXT and not is_last and placed.onward is not None:
            return
        closing = is_last and self._trace.closes
        if closing or placed.onward is None:
            self._note_x87()
            if not (closing and self._head_is_dead):
                self._repair()
        match step.ending:
            case Ending.NEXT | Ending.JUMP | Ending.CALL:
                if closing:
                    self._jump(self._start)
                elif placed.onward is None:
                    self._code += go_to_table(step.i.immediate)
            case Ending.CONDITION:
                self._condition(index, placed, closing=closing)
            case Ending.COUNT:
                self._count(index, placed, closing=closing)
            case Ending.RETURN if placed.onward is not None:
                self._return(index, placed.onward, closing=closing)
            case Ending.RETURN | Ending.INDIRECT:
                self._code += TO_TABLE

    def _leave_to(self, index: int, target: int | None, first: bytes = b"") -> Callable[[], None]:
        """The stub of a side exit behind the instruction at `index`; None: to T. `first`: code that it begins with."""
        before = first + self._x87.note
        if self._due:
            before += late_repair(self._due)

        def stub() -> None:
            self._code += before
            rest = self._not_executed(index) - 1
            if rest:
                self._code += add_to_budget(rest)
            if target is None:
                self._code += TO_TABLE
            elif target == self._trace.head.eip:
                self._jump(self._start)
            else:
                self._code += go_to_table(target)

        return stub

    def _return(self, index: int, onward: int, *, closing: bool) -> None:
        """On in the trace if T is where its call came from, as it nearly always is."""
        following = self._leaves if closing else self._leaves[index + 1 :]  # none, where another unit is next
        if strictly_dead(following, _LOOK_AHEAD):
            self._code += compare_t(onward)
            self._branch(NOT_EQUAL, self._leave_to(index, None))
        else:
            self._code += SAVE_ECX + difference_from_t(onward) + JECXZ + bytes((JUMP_BYTES,))
            self._code += bytes((JUMP_REL32,)) + bytes(4)
            self._stubs.append((len(self._code) - 4, self._leave_to(index, None, RESTORE_ECX)))
            self._code += RESTORE_ECX
        if closing:
            self._jump(self._start)

    def _condition(self, index: int, placed: Placed, *, closing: bool) -> None:
        i = placed.step.i
        condition = FORMS[i.form].condition
        assert condition is not None
        taken, other = i.immediate, i.next_eip
        onward = placed.onward
        if onward is None:  # it is not known where it goes
            self._branch(condition, self._leave_to(index, taken))
            self._code += go_to_table(other)
        elif closing and onward == taken:
            self._branch_to_head(condition)
            self._leave_to(index, other)()
        elif onward == taken:
            self._branch(condition ^ 1, self._leave_to(index, other))
        else:
            self._branch(condition, self._leave_to(index, taken))
            if closing:
                self._jump(self._start)

    def _count(self, index: int, placed: Placed, *, closing: bool) -> None:
        """JCXZ, LOOP, LOOPE and LOOPNE, without a flag changed."""
        i = placed.step.i
        meaning = FORMS[i.form].meaning
        taken, other = i.immediate, i.next_eip
        on_zero, on_other = (taken, other) if meaning == "control.jcxz" else (other, taken)
        if meaning != "control.jcxz":
            self._code += count_down(i)
        alone, whole = counter_alone(i)
        self._code += alone + JECXZ + bytes((SHORT_JUMP_BYTES,)) + bytes((SHORT_JUMP, 5))
        self._code += bytes((JUMP_REL32,)) + bytes(4)  # ECX is 0
        leave = self._leave_to(index, on_zero)

        def leave_whole() -> None:
            self._code += whole
            leave()

        self._stubs.append((len(self._code) - 4, leave_whole))
        self._code += whole
        if meaning in ("control.loope", "control.loopne"):
            self._branch(5 if meaning == "control.loope" else 4, self._leave_to(index, other))
        if placed.onward is None:
            self._code += bytes((JUMP_REL32,)) + bytes(4)
            self._stubs.append((len(self._code) - 4, self._leave_to(index, on_other)))
        elif closing:
            self._jump(self._start)


def _subtract(amount: int) -> bytes:
    """sub r15, amount"""
    prefix = rex(base=_BUDGET) | 8
    modrm = 0xC0 | 5 << 3 | _BUDGET & 7
    if amount < 128:
        return bytes((prefix, 0x83, modrm, amount))
    return bytes((prefix, 0x81, modrm)) + amount.to_bytes(4, "little")
