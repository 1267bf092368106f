"""Stack and control in units of 64-bit code: on along the path, or to other units."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bt.codegen.host_bytes import JUMP_BYTES, JUMP_REL32
from bt.engine.identity.long.decoded import LongDecoded
from bt.engine.identity.long.encoding import (
    BUDGET,
    CODE_TAG,
    HOST,
    NOT_EQUAL,
    NOT_SIGN,
    RESIDENT,
    RSP_HOME,
    S0,
    S1,
    STATE,
    TEMPORARY,
    Address,
    NotEncodable,
    add_to_slot,
    constant,
    gpr,
    i32,
    instruction,
    lea,
    load,
    move,
    shift,
    store,
)
from bt.engine.identity.long.host_code import SAVED, Passing
from bt.engine.identity.long.integer import access
from bt.engine.identity.long.memory_code import MemoryCode
from bt.engine.identity.long.surroundings import Draft, Step
from bt.x86 import state
from bt.x86.mode import RIP_BITS
from bt.x86.opcodes import FORMS, Method
from bt.x86.page import PAGE
from bt.x86.state import BRANCH_CACHE_ENTRIES, BRANCH_CACHE_ENTRY_BYTES

_RCX, _RBP, _RSP = 1, 5, 4
_RIP_MASK = (1 << RIP_BITS) - 1
_UNIT_CACHE = state.offset("unit_cache")
_ENTRY_BITS = BRANCH_CACHE_ENTRY_BYTES.bit_length() - 1
_PLACES = BRANCH_CACHE_ENTRIES - 1 << _ENTRY_BITS
_WITHIN = frozenset(("control.jcxz", "control.loop"))


class Entry(NamedTuple):
    """Where other units, and its own end, come into a unit, once they have charged for it."""

    inside: int  # host address
    total: int  # instructions to be charged
    out: int  # host address: where to go when the budget does not do
    # All flags are overwritten before anybody sees them. Then they need not be saved, but r11 is to have the address of
    # code that saves them and goes `out`: to there it leads when the unit is dead.
    wants_no_flags: bool


def enter(at: int, entry: Entry, rest: int, flags: Passing) -> bytes:
    """Code at host address `at` that goes there with `rest` instructions charged that are not executed."""
    first, late = flags.first, b""
    if entry.wants_no_flags and flags.late is not None:
        first, late = flags.keep, flags.late
    charge = instruction(b"\x81", 5, BUDGET, wide=True) + i32(entry.total - rest)  # sub
    to_late = b"\x4c\x8d\x1d" + i32(len(charge) + _JCC_BYTES) if entry.wants_no_flags else b""  # lea r11, [rip + it]
    code = first + to_late + charge
    code += bytes((0x0F, 0x80 | NOT_SIGN)) + i32(entry.inside - at - len(code) - _JCC_BYTES) + late
    return code + bytes((JUMP_REL32,)) + i32(entry.out - at - len(code) - JUMP_BYTES)


_JCC_BYTES = 6
_ENTER_BYTES = len(enter(0, Entry(0, 0, 0, wants_no_flags=True), 0, SAVED))  # but for flags
JUMP_LATE = bytes.fromhex("41ffe3")  # jmp r11
HOST_NOP = 0x90
DEAD_BYTES = 8  # overwritten at a unit's beginning when it dies


class Link(NamedTuple):
    """A place to be overwritten with `enter`, how far behind the beginning; where it leads to; the rest as there."""

    at: int
    target: int
    rest: int
    flags: Passing


def is_canonical(address: int) -> bool:
    return address >> 47 in (0, (1 << 17) - 1)


class TransferCode(MemoryCode):
    """Adds the stack and transfers of control."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self.entry = Entry(0, 0, 0, wants_no_flags=False)
        self.links: list[Link] = []  # to places in the same page

    def _stack(self, i: LongDecoded) -> None:
        form = i.its_form
        if i.operand_size != 64:
            raise NotEncodable("16-bit operand")
        self._before_stack({_RSP} if form.meaning == "stack.push" else {_RSP, _RBP, i.rm_number})
        match form.meaning:
            case "stack.push":
                self._push(i)
            case "stack.pop" if form.operands[0].method is Method.OPCODE_REGISTER or not i.is_memory:
                top = self._look_up_stack(0, write=False)
                number = i.rm_number
                if number in RESIDENT:
                    self._put(load(S1, top), store(gpr(number), S1))
                else:
                    self._put(load(HOST[number], top))
                if number != _RSP:
                    self._put(lea(RSP_HOME, Address(RSP_HOME, 8)))
            case "stack.leave":
                top = self._look_up_stack(0, write=False, base=_RBP)
                self._put(load(S1, top), lea(RSP_HOME, Address(_RBP, 8)), move(_RBP, S1))
            case _:
                raise NotEncodable(form.meaning)

    def _before_stack(self, registers: set[int]) -> None:
        """As `_before_writing`, in front of what looks addresses up."""
        self._before_writing(registers, self.at)

    def _push(self, i: LongDecoded) -> None:
        form = i.its_form
        if form.operands[0].method is Method.IMMEDIATE:
            self._push_constant(i.immediate)
            return
        if i.is_memory:
            self._put(load(S1, self._look_up_operand(i, access(i))), store(TEMPORARY, S1))
        top = self._look_up_stack(-8, write=True)
        if i.is_memory:
            self._put(load(S1, TEMPORARY), store(top, S1))
        elif i.rm_number in RESIDENT:
            self._put(load(S1, gpr(i.rm_number)), store(top, S1))
        else:
            self._put(store(top, HOST[i.rm_number]))
        self._put(lea(RSP_HOME, Address(RSP_HOME, -8)))

    def _push_constant(self, value: int) -> None:
        top = self._look_up_stack(-8, write=True)
        self._put(constant(S1, value), store(top, S1), lea(RSP_HOME, Address(RSP_HOME, -8)))

    def _control(self, step: Step) -> None:
        i, onward = step.i, step.onward
        meaning = i.its_form.meaning
        if i.operand_size != 64 and meaning not in ("control.jcc",):
            raise NotEncodable("operand size")
        if meaning in _WITHIN or (meaning == "control.call" and onward is not None):
            self._before_stack({_RSP, _RCX})
        elif meaning not in ("control.jcc", "control.jmp"):
            self._save()  # whoever is come to knows them saved
        match meaning:
            case "control.jcc":
                self._condition(i, onward)
            case "control.jmp":
                self._need_canonical(i.target)
                if onward is None:
                    self._go(i.target, 0, self._passing())
            case "control.call":
                self._need_canonical(i.target)
                self._push_constant(i.next_eip)
                if onward is None:
                    self._go(i.target)
            case "control.jcxz" | "control.loop":
                self._count(i, onward)
            case "control.jmp_indirect":
                self._target(i)
                self._go_indirect(onward)
            case "control.call_indirect":
                self._target(i)
                self._put(store(TEMPORARY, S0))
                self._push_constant(i.next_eip)
                self._put(load(S0, TEMPORARY))
                self._go_indirect(onward)
            case "control.ret":
                self._put(load(S0, self._look_up_stack(0, write=False)))
                self._check_canonical()
                released = 8 + (i.immediate & 0xFFFF if i.its_form.operands else 0)
                self._put(lea(RSP_HOME, Address(RSP_HOME, released)))
                self._go_indirect(onward)
            case _:
                raise NotEncodable(meaning)

    @staticmethod
    def _need_canonical(target: int) -> None:
        if not is_canonical(target):
            raise NotEncodable("it goes nowhere")

    def _target(self, i: LongDecoded) -> None:
        """r10 = where an indirect transfer goes."""
        if i.is_memory:
            self._put(load(S0, self._look_up_operand(i, access(i))))
        else:
            self._destroy()
            number = i.rm_number
            self._put(load(S0, gpr(number)) if number in RESIDENT else move(S0, HOST[number]))
        self._check_canonical()

    def _check_canonical(self) -> None:
        self._held = None
        self._destroy()
        self._put(move(S1, S0), shift(4, S1, 64 - RIP_BITS), shift(7, S1, 64 - RIP_BITS))
        self._put(instruction(b"\x3b", S1, S0, wide=True))
        self._branch(NOT_EQUAL, self._miss())

    def _condition(self, i: LongDecoded, onward: int | None) -> None:
        condition = FORMS[i.form].condition
        assert condition is not None
        taken, other = i.target, i.next_eip
        self._need_canonical(taken)
        self._need_canonical(other)
        self._flags_for(self._facts[self.at])
        if onward == taken:
            self._branch(condition ^ 1, self._leave_to(other))
        else:
            self._branch(condition, self._leave_to(taken))
            if onward is None:
                self._go(other, 0, self._passing())

    def _count(self, i: LongDecoded, onward: int | None) -> None:
        """JRCXZ and LOOP, without a flag changed."""
        if i.address_size_32:
            raise NotEncodable("ECX")
        taken, other = i.target, i.next_eip
        self._need_canonical(taken)
        self._need_canonical(other)
        on_zero, on_other = (taken, other) if i.its_form.meaning == "control.jcxz" else (other, taken)
        if i.its_form.meaning == "control.loop":
            self._put(lea(_RCX, Address(_RCX, -1)))
        self._put(bytes.fromhex("e302 eb05"))  # jrcxz over the jump; jmp over the next
        self._jump_to_stub(self._leave_to(on_zero))
        if onward != on_other:
            self._jump_to_stub(self._leave_to(on_other))

    def _leave_to(self, target: int) -> Callable[[], None]:
        """Stub: on to an address behind this instruction, whatever the flags are now."""
        rest = self._total - self.at - 1
        flags = self._passing()

        def stub() -> None:
            self._go(target, rest, flags)

        return stub

    def _go(self, target: int, rest: int = 0, flags: Passing = SAVED) -> None:
        """On to an address, by way of the cache of units; `rest` and `flags` as in `enter`."""
        if target == self._steps[0].i.eip:
            self._put(enter(self.here, self.entry, rest, flags))
            return
        # a link is written even when the unit is dead: not over the jump that is at its beginning then
        self._put(bytes((HOST_NOP,)) * (self.entry.inside + DEAD_BYTES - self.here))
        begin = len(self._code)
        if target // PAGE == self._steps[0].i.eip // PAGE:
            self.links.append(Link(begin, target, rest, flags))
        self._put(flags.first)
        if rest:
            self._put(add_to_slot(BUDGET, rest))
        signed = target - (1 << 64 if target >> 63 else 0)
        place = _UNIT_CACHE + (((signed << _ENTRY_BITS) ^ signed) & _PLACES)
        self._put(
            constant(S0, target),
            constant(S1, target & _RIP_MASK),
            instruction(b"\x0b", S1, CODE_TAG, wide=True),
            instruction(b"\x3b", S1, Address(STATE, place), wide=True),
        )
        self._jump_if(NOT_EQUAL, self._around.way_to)
        self._put(instruction(b"\xff", 4, Address(STATE, place + 8)))
        room = _ENTER_BYTES + max(len(flags.first), len(flags.keep) + len(flags.late or b""))
        self._put(bytes((HOST_NOP,)) * (begin + room - len(self._code)))

    def _jump_if(self, condition: int, target: int) -> None:
        self._put(bytes((0x0F, 0x80 | condition)), i32(target - self.here - 6))

    def _go_indirect(self, onward: int | None) -> None:
        """On to the canonical address in r10. The flags are saved, the budget is right but for what is not executed of
        the unit when the path goes on at `onward`."""
        if onward is not None:
            rest = self._total - self.at - 1
            self._put(constant(S1, onward), instruction(b"\x3b", S0, S1, wide=True))

            def stub() -> None:
                if rest:
                    self._put(add_to_slot(BUDGET, rest))
                self._search()

            self._branch(NOT_EQUAL, stub)
            return
        self._search()

    def _search(self) -> None:
        self._put(
            move(S1, S0),
            shift(4, S1, _ENTRY_BITS),
            instruction(b"\x33", S1, S0),
            instruction(b"\x81", 4, S1) + i32(_PLACES),
            shift(4, S0, 64 - RIP_BITS),
            shift(5, S0, 64 - RIP_BITS),
            instruction(b"\x0b", S0, CODE_TAG, wide=True),
            instruction(b"\x3b", S0, Address(STATE, _UNIT_CACHE, S1), wide=True),
        )
        self._put(bytes((0x0F, 0x80 | NOT_EQUAL)), bytes(4))
        hole = len(self._code) - 4
        self._put(instruction(b"\xff", 4, Address(STATE, _UNIT_CACHE + 8, S1)))
        self._fill(hole)
        self._put(shift(4, S0, 64 - RIP_BITS), shift(7, S0, 64 - RIP_BITS))
        self.jump(self._around.way_to)
