"""A bare guest for one engine: flat, at CPL 0 or 3, without paging, with 4 KiB or with 4 MiB pages.

Linear addresses are physical ones, and again from ALIAS up where there is paging. All is there for user code too.
Three software interrupts serve the programs: DONE ends the run, EXTERNAL has Python store EDX at the program's target,
MAP gives the page at MAPPED another frame in the way the program was made for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial

from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import (
    flags,
    reset,
)
from bt.x86.exits import ExitReason
from bt.x86.state import CS, DS, EAX, EBX, EDX, ES, ESP, FS, GS, SS, TR
from bt.x86.system.segmentation import segment_cache
from guest_images.assembler import assemble
from tests import tables
from tests.engines import EngineFactory, factories

RAM_BYTES = 4 << 20  # what one large page covers
GDT, TSS, IDT, STUBS = 0x1000, 0x1800, 0x2000, 0x3000
DIRECTORY, TABLE, OTHER_DIRECTORY, OTHER_TABLE, LOW_TABLE = 0x4000, 0x5000, 0x6000, 0x7000, 0x8000
KERNEL_STACK, USER_STACK, BUFFER, PROGRAM = 0xA000, 0xB000, 0xB000, 0x10000
MAPPED, FRAME, OTHER_FRAME = 0x80_0000 + 0x30000, 0x30000, 0x40000
"""The linear page that MAP switches between two frames; its neighbour above follows from the one to the other too."""
ALIAS = 0x80_0000
KERNEL_CODE, KERNEL_DATA, USER_CODE, USER_DATA, TASK = 0x08, 0x10, 0x1B, 0x23, 0x28
DONE, EXTERNAL, MAP = 0x30, 0x31, 0x32
INSTRUCTION_LIMIT = 200_000
ALL_MASKED = 0x37F  # FNINIT's

_DONE_AT, _EXTERNAL_AT, _MAP_AT, _FAULT_AT = STUBS, STUBS + 0x10, STUBS + 0x20, STUBS + 0x80
_PE, _WP, _PG, _PSE, _PGE = 1, 1 << 16, 1 << 31, 1 << 4, 1 << 7
_ALL = tables.WRITABLE | tables.USER


class Paging(Enum):
    """How linear addresses become physical ones."""

    OFF = "no paging"
    SMALL = "4 KiB"
    LARGE = "4 MiB"


@dataclass(frozen=True)
class Mode:
    """What a program runs under; the same program runs in all of them."""

    paging: Paging
    cpl: int

    def __str__(self) -> str:
        return f"{self.paging.value} cpl {self.cpl}"


MODES = tuple(Mode(paging, cpl) for paging in Paging for cpl in (0, 3))


class SmcGuest:
    """One engine with its memory, used for all programs."""

    def __init__(self, make_engine: EngineFactory, library: Library) -> None:
        self.ram = GuestRam(RAM_BYTES)
        self.cpu = make_engine(library, PhysicalMap(self.ram))

    def run(
        self,
        mode: Mode,
        memory: Mapping[int, bytes],
        target: int = 0,
        switch: str = "",
        external: Callable[[], None] | None = None,
    ) -> tuple[int, int]:
        """Run from PROGRAM until DONE; EAX and EBX then.

        `memory` is by physical address, `target` the one that EXTERNAL stores to, unless `external` is what it does
        instead. `switch` is the code of MAP: assembly that may use EDI and gets 0 or 1 in EDX, the number of the frame.
        """
        self._start(mode, memory, switch)
        state = self.cpu.state
        left = INSTRUCTION_LIMIT
        while left > 0:
            before = self.cpu.instructions
            leave = self.cpu.run(left)
            left -= self.cpu.instructions - before
            at = state["eip"] - 1
            if leave.reason is not ExitReason.HLT or at not in (_DONE_AT, _EXTERNAL_AT):
                raise AssertionError(f"{leave} at {state['eip']:x}, CR2 {state['cr2']:x}")
            if at == _DONE_AT:
                return state["gpr", EAX], state["gpr", EBX]
            if external is not None:
                external()
                continue
            self.ram.write(target, state["gpr", EDX].to_bytes(4, "little"))
        raise AssertionError("does not end")

    def start(self, mode: Mode, memory: Mapping[int, bytes], switch: str = "") -> Vcpu:
        """The processor about to run what is in memory."""
        self._start(mode, memory, switch)
        return self.cpu

    def _start(self, mode: Mode, memory: Mapping[int, bytes], switch: str) -> None:
        self.ram.write(0, bytes(0x60000))
        for address, data in {**_tables(), **memory, _MAP_AT: _map_handler(switch)}.items():
            self.ram.write(address, data)
        state = self.cpu.state
        reset.power_on(state)
        tables.flat_segments(state, KERNEL_CODE, KERNEL_DATA)
        segment_cache.fill(state, TR, selector=TASK, base=TSS, limit=103, access=tables.TSS, big=False)
        for number in (CS, SS, DS, ES, FS, GS) if mode.cpl == 3 else ():
            selector, access = (USER_CODE, tables.CODE) if number == CS else (USER_DATA, tables.DATA)
            access |= tables.DPL_3
            segment_cache.fill(state, number, selector=selector, base=0, limit=0xFFFFFFFF, access=access, big=True)
        state["cpl"] = mode.cpl
        state["gdtr_base"], state["gdtr_limit"], state["idtr_base"], state["idtr_limit"] = (
            GDT,
            TSS - GDT - 1,
            IDT,
            0x1FF,
        )
        state["eip"], state["gpr", ESP] = PROGRAM, USER_STACK
        state["fpu_control"] = ALL_MASKED  # else no unit is entered once there are some with x87 instructions
        state["cr0"] = _PE | (0 if mode.paging is Paging.OFF else _PG | _WP)
        state["cr3"] = DIRECTORY
        state["cr4"] = _PSE | _PGE
        if mode.paging is not Paging.OFF:
            self._map(mode.paging)
        reset.write_eflags(state, flags.IF)
        self.cpu.flush()

    def _map(self, paging: Paging) -> None:
        """Two address spaces; they differ in where the linear page MAPPED and the one behind it lead.

        All other pages are global.
        """
        identity = {number: number << 12 | _ALL | tables.GLOBAL for number in range(1024)}
        self.ram.write(LOW_TABLE, tables.page_table(identity))
        low = LOW_TABLE | _ALL if paging is Paging.SMALL else tables.LARGE | _ALL | tables.GLOBAL
        for directory, table, frame in ((DIRECTORY, TABLE, FRAME), (OTHER_DIRECTORY, OTHER_TABLE, OTHER_FRAME)):
            first = (MAPPED - ALIAS) >> 12
            mapped = {first: frame | _ALL, first + 1: frame + tables.PAGE_BYTES | _ALL}
            self.ram.write(table, tables.page_table({**identity, **mapped}))
            self.ram.write(directory, tables.page_table({0: low, ALIAS >> 22: table | _ALL}))


@cache
def _tables() -> dict[int, bytes]:
    gdt = {
        KERNEL_CODE: tables.descriptor(tables.CODE),
        KERNEL_DATA: tables.descriptor(tables.DATA),
        USER_CODE: tables.descriptor(tables.CODE | tables.DPL_3),
        USER_DATA: tables.descriptor(tables.DATA | tables.DPL_3),
        TASK: tables.descriptor(tables.TSS, base=TSS, limit=tables.TSS_BYTES - 1, flags=0),
    }
    handlers = dict.fromkeys(range(64), _FAULT_AT) | {DONE: _DONE_AT, EXTERNAL: _EXTERNAL_AT, MAP: _MAP_AT}
    return {
        GDT: tables.descriptor_table(gdt),
        TSS: tables.task_state(KERNEL_DATA, KERNEL_STACK),
        IDT: b"".join(tables.interrupt_gate(KERNEL_CODE, handlers[vector], dpl=3) for vector in range(64)),
        _DONE_AT: b"\xf4",
        _EXTERNAL_AT: b"\xf4\xcf",  # hlt; iretd
        _FAULT_AT: b"\xf4",
    }


@cache
def _map_handler(switch: str) -> bytes:
    return assemble(f"{switch}\niretd", 32, _MAP_AT)


@cache
def guest(engine: str) -> SmcGuest:
    """The guest of an engine; there is one for the whole session, because code caches are large."""
    return SmcGuest(factories()[engine], load_library())


@cache
def stencils() -> SmcGuest:
    """The same of tier 1 alone, where each way becomes short as soon as it is known."""
    return SmcGuest(partial(TranslatingVcpu, tier="1"), load_library())
