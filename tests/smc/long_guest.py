"""A bare guest in 64-bit mode for one engine: at CPL 0 or 3, with pages of 4 KiB or 2 MiB.

Linear addresses are physical ones, and again from ALIAS up, in the upper half. Programs end by UD2 and ask by HLT,
which level 3 may not: Python stores RDX at their target then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from bt.engine.library.library import Library, load_library
from bt.engine.vcpu import ALL_EXCEPTIONS
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import cpu_model, reset
from bt.x86.exits import ExitReason
from bt.x86.state import ATTR_LONG, CS, DS, EBX, EDX, ES, ESP, SS
from bt.x86.system.registers.control_registers import EFER_LMA, EFER_LME
from bt.x86.system.segmentation import segment_cache
from bt.x86.vectors import Vector
from tests import tables
from tests.engines import EngineFactory, factories

RAM_BYTES = 4 << 20
TOP, LOW_POINTERS, HIGH_POINTERS, DIRECTORY, FIRST_TABLE, GDT = range(0x1000, 0x7000, 0x1000)
PROGRAM, STACK, BUFFER = 0x10000, 0xB000, 0xC000
ALIAS = 0xFFFF_8000_0000_0000
INSTRUCTION_LIMIT = 200_000
_ALL = tables.PRESENT | tables.WRITABLE | tables.USER
_CODE, _DATA = 0x08, 0x10
_CR0, _CR4 = 0x8001_0031, 0x620  # PG, WP, NE, ET, PE; PAE, OSFXSR, OSXMMEXCPT


@dataclass(frozen=True)
class Mode:
    """What a program runs under."""

    large: bool
    cpl: int

    def __str__(self) -> str:
        return f"{'2 MiB' if self.large else '4 KiB'} cpl {self.cpl}"


MODES = tuple(Mode(large, cpl) for large in (False, True) for cpl in (0, 3))


class LongGuest:
    """One engine with its memory, used for all programs."""

    def __init__(self, make_engine: EngineFactory, library: Library) -> None:
        self.ram = GuestRam(RAM_BYTES)
        self.cpu = make_engine(library, PhysicalMap(self.ram), cpu_model.parse("qemu64"))

    def run(self, mode: Mode, memory: Mapping[int, bytes], target: int) -> int:
        """Run from PROGRAM until UD2; RBX then. `memory` is by physical address."""
        self._start(mode, memory)
        state = self.cpu.state
        left = INSTRUCTION_LIMIT
        while left > 0:
            before = self.cpu.instructions
            leave = self.cpu.run(left)
            left -= self.cpu.instructions - before
            if leave.reason is ExitReason.EXCEPTION and leave.address == Vector.UD:
                return state["gpr", EBX]
            if leave.reason is ExitReason.EXCEPTION and leave.address == Vector.GP:
                assert self.ram.read(state["eip"], 1) == b"\xf4", f"#GP at {state['eip']:x}"
                state["eip"] += 1
            elif leave.reason is not ExitReason.HLT:
                raise AssertionError(f"{leave} at {state['eip']:x}, CR2 {state['cr2']:x}")
            self.ram.write(target, state["gpr", EDX].to_bytes(8, "little"))
        raise AssertionError("does not end")

    def stops(self, mode: Mode, memory: Mapping[int, bytes], step: int) -> list[tuple[int, ...]]:
        """RIP, EFLAGS and the general registers after every `step` instructions until UD2."""
        self._start(mode, memory)
        state = self.cpu.state
        seen: list[tuple[int, ...]] = []
        while len(seen) * step < INSTRUCTION_LIMIT:
            leave = self.cpu.run(step)
            seen.append((state["eip"], reset.read_eflags(state), *(state["gpr", number] for number in range(16))))
            if leave.reason is ExitReason.EXCEPTION:
                return seen
        raise AssertionError("does not end")

    def _start(self, mode: Mode, memory: Mapping[int, bytes]) -> None:
        self.ram.write(0, bytes(0x60000))
        directory = {0: tables.LARGE | _ALL} if mode.large else {0: FIRST_TABLE | _ALL}
        for address, entries in (
            (TOP, {0: LOW_POINTERS | _ALL, 256: HIGH_POINTERS | _ALL}),
            (LOW_POINTERS, {0: DIRECTORY | _ALL}),
            (HIGH_POINTERS, {0: DIRECTORY | _ALL}),
            (DIRECTORY, directory),
            (FIRST_TABLE, {number: number << 12 | _ALL for number in range(512)}),
        ):
            self.ram.write(address, b"".join(entries.get(number, 0).to_bytes(8, "little") for number in range(512)))
        for address, data in memory.items():
            self.ram.write(address, data)
        state = self.cpu.state
        reset.power_on(state)
        level = mode.cpl << 5
        for number in (SS, DS, ES):
            access = tables.DATA | level
            segment_cache.fill(state, number, selector=_DATA, base=0, limit=0xFFFFFFFF, access=access, big=True)
        segment_cache.fill(state, CS, selector=_CODE, base=0, limit=0xFFFFFFFF, access=tables.CODE | level, big=False)
        state.set_segment(CS, "attributes", state.segment(CS, "attributes") | ATTR_LONG)
        state["cpl"] = mode.cpl
        state["cr0"], state["cr3"], state["cr4"], state["efer"] = _CR0, TOP, _CR4, EFER_LME | EFER_LMA
        state["trap_vectors"] = ALL_EXCEPTIONS
        state["eip"], state["gpr", ESP] = PROGRAM, STACK
        self.cpu.flush()


@cache
def long_guest(engine: str) -> LongGuest:
    """The guest of an engine; there is one for the whole session, because code caches are large."""
    return LongGuest(factories()[engine], load_library())
