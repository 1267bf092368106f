"""Two engines with the same program in lock step; where they part; the least program with which they do."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from bt.inspect.code import next_instruction
from bt.x86.system.registers.control_registers import CR0_PG
from tests.robustness.fuzz import world
from tests.robustness.fuzz.guest import Guest
from tests.robustness.fuzz.program import Event, Program, cut

_HISTORY = 12
_NO_OPERATION = b"\x90"


@dataclass(frozen=True)
class Difference:
    """The engines agree after `good` instructions, and not after `bad`; `what` differs then."""

    good: int
    bad: int
    what: dict[str, tuple[object, object]]


class Pair:
    """Two guests, the reference first. `watch` is called before each run of a program."""

    def __init__(self, left: Guest, right: Guest, watch: Callable[[Program], object] = lambda program: None) -> None:
        self.left, self.right, self._watch = left, right, watch
        compare = ctypes.CDLL(None).memcmp
        compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self._compare = compare

    def run(self, program: Program) -> Difference | None:
        """Run all of it. RAM is compared at the end alone, or where registers differ."""
        self._load(program)
        good = 0
        for event, target in zip(program.events, accumulate(e.after for e in program.events), strict=True):
            for guest in (self.left, self.right):
                guest.run_to(target)
            if self._registers_differ():
                return Difference(good, target, self._what())
            good = target
            for guest in (self.left, self.right):
                guest.happen(event)
        return Difference(0, good, self._what()) if self._memory_differs() else None

    def _load(self, program: Program) -> None:
        self._watch(program)
        self.left.load(program)
        self.right.load(program)

    def _registers_differ(self) -> bool:
        return self.left.image() != self.right.image()

    def _memory_differs(self) -> bool:
        return bool(self._compare(self.left.ram.address, self.right.ram.address, world.RAM_BYTES))

    def _what(self) -> dict[str, tuple[object, object]]:
        a, b = self.left.registers(), self.right.registers()
        found = {name: (a[name], b[name]) for name in a if a[name] != b[name]}
        named = {name: pair for name, pair in found.items() if not name.startswith("from ")}
        mine, other = bytes(self.left.ram.view), bytes(self.right.ram.view)
        places = (at for at in range(0, len(mine), 4) if mine[at : at + 4] != other[at : at + 4])
        for at, _ in zip(places, range(6), strict=False):
            named[f"RAM [{at:#x}]"] = (mine[at : at + 4].hex(" "), other[at : at + 4].hex(" "))
        return named or found

    # -- where -------------------------------------------------------------------------------------------------------

    def _run_to(self, program: Program, instructions: int) -> None:
        """Run just so many instructions, stopping only where events are."""
        self._load(program)
        at = 0
        for event in program.events:
            at += event.after
            for guest in (self.left, self.right):
                guest.run_to(min(at, instructions))
            if at >= instructions:
                break
            for guest in (self.left, self.right):
                guest.happen(event)

    def differs_by(self, program: Program, instructions: int) -> Difference | None:
        """What differs after just so many instructions."""
        self._run_to(program, instructions)
        if self._registers_differ() or self._memory_differs():
            return Difference(0, instructions, self._what())
        return None

    def locate(self, program: Program) -> Difference:
        """Narrow a difference down to one instruction, as far as stopping there leaves it in place."""
        good, bad = 0, program.instructions
        found = self.differs_by(program, bad)
        if found is None:
            for bad in accumulate(event.after for event in program.events):
                found = self.differs_by(program, bad)
                if found is not None:
                    break
        if found is None:
            return Difference(0, program.instructions, {})
        while bad - good > 1:
            middle = (good + bad) // 2
            closer = self.differs_by(program, middle)
            if closer is None:
                good = middle
            else:
                bad, found = middle, closer
        return Difference(good, bad, found.what)

    def is_stale_paging(self, program: Program, found: Difference) -> bool:
        """Whether a difference is one that processors may have: from entries of page tables that were changed and are
        still in the TLB of one, in the other's no more (SDM vol. 3A 4.10.4.3). Without limits that flush the one, or
        when both are flushed, it goes away."""
        self._run_to(program, found.good)  # by the instruction that differs they may be put right again: by a restart
        changed = self.left.has_changed_page_tables or self.right.has_changed_page_tables
        self._run_to(program, found.bad)
        changed |= self.left.has_changed_page_tables or self.right.has_changed_page_tables
        same_ram = self.left.ram_without_access_bits == self.right.ram_without_access_bits
        # an entry may have been changed and put right again
        restored = program.limited and bool(self.left.cpu.state["cr0"] & CR0_PG)
        if not (changed or restored) and (self._registers_differ() or not same_ram):
            return False
        if program.limited and self.run(replace(program, limited=False)) is None and changed:
            return True
        self._run_to(program, found.good)
        for guest in (self.left, self.right):
            guest.cpu.call("flush_tlb", 1)
            guest.run_to(found.bad)
        return not self._registers_differ()

    def history(self, program: Program, until: int) -> list[str]:
        """The last instructions before `until` and the one there, as the reference executes them."""
        guest, lines = self.left, []
        self._watch(program)
        guest.load(program)
        at = 0
        for event in program.events:
            at += event.after
            first = max(until - _HISTORY, 0)
            if at > first:
                while guest.instructions < min(at, until + 1) and not guest.ended:
                    if guest.instructions < first:
                        guest.run_to(first)
                        continue
                    one = next_instruction(guest.cpu)
                    code = f"{one.number:6} {guest.cpu.state['cpl']} {one.eip:08x}"
                    lines.append(f"{code} {one.code.hex():24} {one.text}")
                    guest.run_to(guest.instructions + 1)
            else:
                guest.run_to(at)
            if at > until:
                break
            guest.happen(event)
        return lines


def minimise(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Cut events off, then put NOP in place of ever smaller parts of the code, as long as it fails."""
    for count in range(1, len(program.events)):
        shorter = replace(program, events=program.events[:count])
        if fails(shorter):
            program = shorter
            break
    for number in range(len(program.events)):
        calm = list(program.events)
        calm[number] = Event(calm[number].after, "run")
        if calm != list(program.events) and fails(replace(program, events=tuple(calm))):
            program = replace(program, events=tuple(calm))
    return _less_code(program, fails)


def _less_code(program: Program, fails: Callable[[Program], bool]) -> Program:
    code = b"".join(program.slots)
    size = len(code) // 4
    while size:
        for at in _parts(code, size):
            less = code[:at] + _NO_OPERATION * size + code[at + size :]
            changed = replace(program, slots=cut(less))
            if less != code and fails(changed):
                code, program = less, changed
        size //= 2
    return program


def _parts(code: bytes, size: int) -> Iterable[int]:
    """Where parts of that size begin that are not all NOP."""
    return [at for at in range(0, len(code), size) if code[at : at + size].strip(_NO_OPERATION)]
