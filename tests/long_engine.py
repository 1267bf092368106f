"""Cases of 64-bit code on an engine.

The processor is put into 64-bit mode at CPL 3 from outside, with page tables of four levels, and an exception leaves
the engine instead of being delivered: what system code does is tested elsewhere (tests/x86/system/long_mode).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from bt.engine.vcpu import ALL_EXCEPTIONS, Vcpu
from bt.x86 import reset
from bt.x86.exits import ExitReason
from bt.x86.state import ATTR_LONG, CS, DS, ES, FS, GS, SS, CpuState
from bt.x86.system.registers.control_registers import EFER_LMA, EFER_LME, EFER_SCE
from bt.x86.system.segmentation import segment_cache
from tests import tables
from tests.cases import layout
from tests.cases.model import EFLAGS_FIXED, FLAG_BITS, VISIBLE_FLAGS, Case, ExecutorError, Outcome, State, Trap
from tests.oracles.host_child import CHILD_BASE
from tests.oracles.host_child_long import CODE_SELECTOR, STACK_SELECTOR

# Guest physical pages: page tables of four levels (the last twice), the GDT, then the regions side by side.
_PML4, _PDPT, _DIRECTORY, _LOW_TABLE, _MONITOR_TABLE, _GDT, REGIONS = range(0, 0x7000, 0x1000)
_CR0, _CR4 = 0x8005_0031, 0x620  # PG, AM, WP, NE, ET, PE; PAE, OSFXSR, OSXMMEXCPT
_EFER = EFER_SCE | EFER_LME | EFER_LMA  # without NXE, no error code tells fetches
_DEBUG, _PROTECTION, _PAGE_FAULT = 1, 13, 14
_USER_DATA = tables.DATA | tables.DPL_3
_LONG, _FPU_CONTROL = 0x2, 0x37F


def boot(engine: Vcpu) -> None:
    """64-bit mode at CPL 3, with the regions of cases mapped."""
    ram, cpu = engine.ram, engine.state
    user = tables.WRITABLE | tables.USER
    ram.write(_PML4, _table({0: _PDPT | user}))
    ram.write(_PDPT, _table({CHILD_BASE >> 30: _DIRECTORY | user, 0: _DIRECTORY | user}))
    ram.write(_DIRECTORY, _table({0: _LOW_TABLE | user, CHILD_BASE >> 21 & 511: _MONITOR_TABLE | tables.WRITABLE}))
    pages, physical = {}, REGIONS
    for region in layout.REGIONS:
        for linear in range(region.start, region.end, layout.PAGE_BYTES):
            pages[linear // layout.PAGE_BYTES] = physical | tables.USER | (tables.WRITABLE if region.writable else 0)
            physical += layout.PAGE_BYTES
    ram.write(_LOW_TABLE, _table(pages))
    ram.write(_MONITOR_TABLE, _table({CHILD_BASE >> 12 & 511: _GDT | tables.WRITABLE}))
    gdt = tables.descriptor_table(
        {
            layout.CODE_SELECTOR: tables.descriptor(tables.CODE | tables.DPL_3),
            layout.DATA_SELECTOR: tables.descriptor(_USER_DATA),
            CODE_SELECTOR: tables.descriptor(tables.CODE | tables.DPL_3, flags=tables.PAGES | _LONG),
        }
    )
    ram.write(_GDT, gdt)
    reset.power_on(cpu)
    cpu["cr0"], cpu["cr3"], cpu["cr4"], cpu["efer"] = _CR0, _PML4, _CR4, _EFER
    cpu["gdtr_base"], cpu["gdtr_limit"] = CHILD_BASE, len(gdt) - 1
    cpu["cpl"] = 3
    cpu["trap_vectors"] = ALL_EXCEPTIONS
    _load_segments(cpu)
    engine.flush()


def _table(entries: Mapping[int, int]) -> bytes:
    """A paging structure of eight-byte entries; P, A and D are added."""
    table = bytearray(layout.PAGE_BYTES)
    for number, entry in entries.items():
        struct.pack_into("<Q", table, 8 * number, entry | tables.PRESENT | tables.ACCESSED | tables.DIRTY)
    return bytes(table)


def _load_segments(cpu: CpuState) -> None:
    """As Linux has them in a 64-bit program."""
    code = tables.CODE | tables.DPL_3
    segment_cache.fill(cpu, CS, selector=CODE_SELECTOR, base=0, limit=0xFFFFFFFF, access=code, big=False)
    cpu.set_segment(CS, "attributes", cpu.segment(CS, "attributes") | ATTR_LONG)
    segment_cache.fill(cpu, SS, selector=STACK_SELECTOR, base=0, limit=0xFFFFFFFF, access=_USER_DATA, big=True)
    for number in (DS, ES, FS, GS):
        segment_cache.fill(cpu, number, selector=0, base=0, limit=0, access=0, big=False)


def run(engine: Vcpu, case: Case, limit: int, after: Callable[[], dict[int, bytes]]) -> Outcome:
    """Run a case whose memory is there already, for at most `limit` instructions; `after` reads memory."""
    cpu = engine.state
    for number, value in enumerate(case.start.registers):
        cpu["gpr", number] = value
    cpu["eip"] = case.start.eip
    reset.write_eflags(cpu, case.start.eflags | (FLAG_BITS["tf"] if case.steps else 0))
    reset.initialize_fp(cpu, _FPU_CONTROL, tags=0)
    _load_segments(cpu)
    engine.call("update_mode")
    for _ in range(case.steps or 1):
        leave = engine.run(limit)
        if leave.reason is not ExitReason.EXCEPTION:
            raise ExecutorError(f"{case.where or 'case'}: {case}: {leave} in engine {engine.name}")
        if leave.address != _DEBUG:
            break
    return _outcome(case, cpu, leave.address, after())


def _outcome(case: Case, cpu: CpuState, vector: int, memory: dict[int, bytes]) -> Outcome:
    error_code = cpu["fault_error"] if vector in tables.VECTORS_WITH_ERROR_CODE else None
    trap: Trap | None = Trap(vector, error_code, cpu["cr2"] if vector == _PAGE_FAULT else None)
    eflags = reset.read_eflags(cpu)
    if case.steps:
        eflags = eflags & ~FLAG_BITS["tf"] | case.start.eflags & FLAG_BITS["tf"]
    registers = tuple(cpu["gpr", number] for number in range(16))
    state = State(registers, cpu["eip"], eflags & VISIBLE_FLAGS | EFLAGS_FIXED, memory)
    at_filler = vector == _PROTECTION and case.is_end(state.eip) and state.byte(state.eip) == layout.FILLER
    if at_filler or (vector == _DEBUG and case.steps):
        trap = None
    return Outcome(state, trap)
