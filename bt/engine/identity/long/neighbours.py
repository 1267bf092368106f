"""Accesses of a unit whose addresses are constants apart: one question to the soft TLB serves them all.

Nothing in a unit changes the soft TLB, so what a page's addend was it is until the unit is left. The first access asks
for all bytes from the lowest to the highest of its neighbours; they lie in one page, or the unit is left there. Behind
that the others only add. A unit that is left so too often is made anew without (`LEAVE_NEIGHBOURS`).

What is known of a register is which value it had at some place (`_Known.origin`) and how far it has gone from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bt.engine.identity.long.decoded import LongDecoded
from bt.engine.identity.long.encoding import RESIDENT
from bt.engine.identity.long.facts import Facts, facts_of
from bt.engine.identity.long.integer import Access
from bt.engine.identity.long.recipes import number_of
from bt.engine.structures import NO_REGISTER_LONG
from bt.x86.state import FS

OPERAND, STACK = range(2)
MOST_SPAN = 512  # bytes: the more, the more often it is in two pages
FAR = 1 << 30  # displacements this far are taken as they are, and nothing added
_RCX, _RSP, _RBP = 1, 4, 5
_WORD = 8


class Group(NamedTuple):
    """Neighbours; from the address of the first to the lowest, and to behind the highest."""

    place: int  # among those of the unit
    first: tuple[int, int]  # number of the instruction, OPERAND or STACK
    low: int
    high: int
    write: bool


class _Known(NamedTuple):
    """`moved` behind what a register was at a place: at the beginning that of number `origin`, if below 16."""

    origin: int
    moved: int = 0


class _Gathering:
    """A group in the making; offsets from the origin of its registers."""

    def __init__(self, offset: int) -> None:
        self.start = self.low = self.high = offset
        self.write = False
        self.members: list[tuple[int, int]] = []


class _Registers:
    """What is known of each."""

    def __init__(self) -> None:
        self._next = 16
        self.origins = list(range(16))
        self.moved = [0] * 16

    def copy(self, target: int, source: int) -> None:
        self.origins[target], self.moved[target] = self.origins[source], self.moved[source]

    def move(self, number: int, by: int) -> None:
        self.moved[number] += by

    def lose(self, number: int) -> None:
        self.origins[number], self.moved[number] = self._next, 0
        self._next += 1


def groups(code: Sequence[tuple[LongDecoded, Facts]], most: int) -> dict[tuple[int, int], Group]:
    """The groups of at least two, by each of their members; the largest, when there are more than `most`."""
    registers = _Registers()
    open_groups: dict[tuple[int, int, int], _Gathering] = {}
    all_groups: list[_Gathering] = []
    for number, (i, facts) in enumerate(code):
        for kind, key, offset, what in _accesses(i, facts, registers):
            group = open_groups.get(key)
            end = offset + what.size
            if group is None or max(group.high, end) - min(group.low, offset) > MOST_SPAN:
                group = open_groups[key] = _Gathering(offset)
                all_groups.append(group)
            group.low, group.high = min(group.low, offset), max(group.high, end)
            group.write |= what.write
            group.members.append((number, kind))
        _follow(i, facts, registers)
    shared = [group for group in all_groups if len(group.members) > 1]
    if len(shared) > most:
        shared = sorted(shared, key=lambda group: -len(group.members))[:most]
    return {
        member: Group(place, g.members[0], g.low - g.start, g.high - g.start, g.write)
        for place, g in enumerate(shared)
        for member in g.members
    }


def _accesses(
    i: LongDecoded, facts: Facts, registers: _Registers
) -> list[tuple[int, tuple[int, int, int], int, Access]]:
    """OPERAND or STACK, what the address depends on, how far from there it is, the access; in the order of looking."""
    what, stack = facts.operand, facts.on_stack
    found = []
    if what is not None and i.segment < FS and not i.address_size_32:
        base, index = i.base_number, i.index_number
        # both resident: that takes an addition
        is_plain = base != NO_REGISTER_LONG and not (base in RESIDENT and index in RESIDENT)
        if is_plain and not what.aligned and -FAR < i.displacement < FAR:
            offset = i.displacement + registers.moved[base]
            key = (registers.origins[base], -1, 0)
            if index != NO_REGISTER_LONG:
                offset += registers.moved[index] << i.scale
                key = (registers.origins[base], registers.origins[index], i.scale)
            found.append((OPERAND, key, offset, what))
    if stack is not None:
        key = (registers.origins[stack.base], -1, 0)
        found.append((STACK, key, registers.moved[stack.base] + stack.displacement, Access(_WORD, stack.write)))
    return found


def followed(i: LongDecoded) -> list[_Known]:
    """What is known of the registers behind an instruction, by those in front of it."""
    registers = _Registers()
    _follow(i, facts_of(i), registers)
    return [_Known(*known) for known in zip(registers.origins, registers.moved, strict=True)]


def _follow(i: LongDecoded, facts: Facts, registers: _Registers) -> None:
    """What an instruction does to registers."""
    if facts.moves and _is_moved(i, facts, registers):
        return
    for number in facts.lost:
        registers.lose(number)


def _is_moved(i: LongDecoded, facts: Facts, registers: _Registers) -> bool:
    """Move registers by what is known, if all is."""
    form = i.its_form
    target = number_of(i, form.operands[0]) if form.operands else None
    match facts.meaning:
        case "control.loop" if not i.address_size_32:
            registers.move(_RCX, -1)
        case "stack.push" | "control.call" | "control.call_indirect":
            registers.move(_RSP, -_WORD)
        case "control.ret":
            registers.move(_RSP, _WORD + (i.immediate & 0xFFFF if form.operands else 0))
        case "stack.leave":
            registers.copy(_RSP, _RBP)
            registers.move(_RSP, _WORD)
            registers.lose(_RBP)
        case _ if target is None:
            return False
        case "arith.add":
            registers.move(target, i.immediate)
        case "arith.sub":
            registers.move(target, -i.immediate)
        case "arith.inc":
            registers.move(target, 1)
        case "arith.dec":
            registers.move(target, -1)
        case "move.lea" if i.index_number == NO_REGISTER_LONG != i.base_number and not i.address_size_32:
            registers.copy(target, i.base_number)
            registers.move(target, i.displacement)
        case "move.mov" if (source := number_of(i, form.operands[1])) is not None:
            registers.copy(target, source)
        case "stack.pop":
            registers.move(_RSP, _WORD)
            registers.lose(target)
        case _:
            return False
    return True
