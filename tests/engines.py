"""bt's engines as executors of cases, and the list of engines that every engine test goes through.

A case runs as a process under a monitor of a few instructions: it loads segments and registers and returns to CPL 3;
every exception comes back through an interrupt gate to a HLT. So beside the case's own instructions each run goes
through IRET, exception delivery with a change of stacks, HLT and paging.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache, partial

from bt.engine.library.library import (
    Library,
    load_library,
)
from bt.engine.translator.vcpu import TranslatingVcpu
from bt.engine.vcpu import Vcpu
from bt.memory.map import PhysicalMap
from bt.memory.ram import GuestRam
from bt.x86 import cpu_model, reset
from bt.x86.exits import ExitReason
from bt.x86.state import ESP, LDTR, SS, TR
from bt.x86.system.segmentation import segment_cache
from guest_images.assembler import assemble
from tests import long_engine, tables
from tests.cases import layout
from tests.cases.model import (
    EFLAGS_FIXED,
    FLAG_BITS,
    VISIBLE_FLAGS,
    Case,
    ExecutorError,
    Outcome,
    State,
    Trap,
)
from tests.oracles.host_child import CHILD_BASE, CODE_16_SELECTOR, STACK_16_SELECTOR

EngineFactory = Callable[..., Vcpu]  # of a Library, a PhysicalMap and, if not the default, `model`

INSTRUCTION_LIMIT = 1_000_000
"""A case that has not ended after so many does not end."""

# Guest physical pages. The first eight are the monitor's, mapped in the same order where the host oracle's child has
# its own memory, which cases leave alone; then come the regions, side by side.
_DIRECTORY, _LOW_TABLE, _MONITOR_TABLE, _TABLES, _IDT, _CODE, _STUBS, _STACK, _REGIONS = range(0, 0x9000, 0x1000)
_MONITOR = CHILD_BASE
_LDT, _TSS = _TABLES + 0x400, _TABLES + 0x800  # behind the GDT in its page
_MEMORY_BYTES = sum(region.size for region in layout.REGIONS)

_CR0 = 0x8005_0031  # PG, AM, WP, NE, ET, PE: as Linux has it
_FLAT_END = 0x100_000  # of what cases reach without paging, but for wild addresses
_WILD_LIMIT = 4000  # instructions; without paging nothing stops a case that has gone wild
_CR0_PG = 0x8000_0000
_CR4 = 0x600  # OSFXSR, OSXMMEXCPT
_KERNEL_CODE, _KERNEL_DATA, _TSS_SELECTOR, _LDT_SELECTOR = 0x10, 0x18, 0x40, 0x50
_LDT_BYTES, _STUB_BYTES = 16, 16
_BREAKPOINT, _OVERFLOW = 3, 4
_DEBUG, _PROTECTION, _PAGE_FAULT = 1, 13, 14

_ENTER_FRAME = struct.Struct("<17I")  # gs fs es ds, edi esi ebp - ebx edx ecx eax, eip cs eflags esp ss
_STOP_FRAME = struct.Struct("<15I")  # edi esi ebp - ebx edx ecx eax, vector error, eip cs eflags esp ss

_FPU_CONTROL = 0x37F  # what a new process has, as after FNINIT; nothing in the registers

_MONITOR_CODE = """
enter:
    pop gs
    pop fs
    pop es
    pop ds
    popad
    iretd
    .align 16
stop:                       ; the stubs jump here with vector and error code on the stack
    pushad
    hlt
    popad                   ; run again after a single step: go on
    add esp, 8
    iretd
"""
_ENTER, _STOP = _CODE, _CODE + 16


def _descriptor_tables() -> bytes:
    """A page: GDT with a 32-bit Linux program's selectors, LDT with the 16-bit segments of cases, TSS."""
    gdt = tables.descriptor_table(
        {
            _KERNEL_CODE: tables.descriptor(tables.CODE),
            _KERNEL_DATA: tables.descriptor(tables.DATA),
            layout.CODE_SELECTOR: tables.descriptor(tables.CODE | tables.DPL_3),
            layout.DATA_SELECTOR: tables.descriptor(tables.DATA | tables.DPL_3),
            _TSS_SELECTOR: tables.descriptor(tables.TSS, base=_MONITOR + _TSS, limit=tables.TSS_BYTES - 1, flags=0),
            _LDT_SELECTOR: tables.descriptor(tables.LDT, base=_MONITOR + _LDT, limit=_LDT_BYTES - 1, flags=0),
        }
    )
    ldt = tables.descriptor_table(
        {
            CODE_16_SELECTOR: tables.descriptor(tables.CODE | tables.DPL_3, flags=tables.PAGES),
            STACK_16_SELECTOR: tables.descriptor(tables.DATA | tables.DPL_3, flags=tables.PAGES),
        }
    )
    tss = tables.task_state(_KERNEL_DATA, _MONITOR + _STACK + layout.PAGE_BYTES)
    return gdt.ljust(_LDT - _TABLES, b"\0") + ldt.ljust(_TSS - _LDT, b"\0") + tss


def _interrupt_table() -> bytes:
    """32-bit interrupt gates to the stubs; user code may use those of INT3 and INTO."""
    return b"".join(
        tables.interrupt_gate(
            _KERNEL_CODE, _MONITOR + _STUBS + vector * _STUB_BYTES, dpl=3 if vector in (_BREAKPOINT, _OVERFLOW) else 0
        )
        for vector in range(256)
    )


def _stubs() -> bytes:
    """For each vector: push 0 in place of an error code where there is none, push the vector, jump to `stop`."""
    code = bytearray()
    for vector in range(256):
        code += b"\x90\x90" if vector in tables.VECTORS_WITH_ERROR_CODE else b"\x6a\x00"
        code += b"\x68" + struct.pack("<I", vector)
        code += b"\xe9" + struct.pack("<i", _STOP - (_STUBS + len(code) + 5))
        code += b"\xcc" * (-len(code) % _STUB_BYTES)
    return bytes(code)


def _region_pages() -> dict[int, int]:
    """Page-table entries of the regions."""
    pages, physical = {}, _REGIONS
    for region in layout.REGIONS:
        for linear in range(region.start, region.end, layout.PAGE_BYTES):
            pages[linear // layout.PAGE_BYTES] = physical | tables.USER | (tables.WRITABLE if region.writable else 0)
            physical += layout.PAGE_BYTES
    return pages


class EngineExecutor:
    """Executor on one engine; a vCPU and its memory are made at the first run of a CPU model and used for all cases.

    `paged=False`: without paging, everything at its linear address; what is not mapped is zero and may be written.
    """

    def __init__(self, make_engine: EngineFactory, *, paged: bool = True, limit: int | None = None) -> None:
        """`limit`: instructions that a case may take."""
        self._make_engine, self._paged = make_engine, paged
        self._limit = limit or (INSTRUCTION_LIMIT if paged else _WILD_LIMIT)
        self._base = 0 if paged else _MONITOR  # physical address of the monitor's pages
        self._engines: dict[str, Vcpu] = {}

    def run(self, case: Case) -> Outcome:
        """Run one case; ExecutorError if it does not end, or brings down the monitor."""
        if case.bits == 64:
            return self._run_long(case)
        engine = self._engines.get(case.cpu) or self._boot(case.cpu)
        images = case.images()
        self._write_regions(engine, images)
        frame = _enter_frame(case)
        top = self._base + _STACK + layout.PAGE_BYTES
        engine.ram.write(top - len(frame), frame)
        self._set_stack(engine, _MONITOR + _STACK + layout.PAGE_BYTES - len(frame), case)
        reset.initialize_fp(engine.state, _FPU_CONTROL, tags=0)
        engine.state["ignore_fp_error"] = 0
        engine.state["eip"] = _MONITOR + _ENTER
        # the host's first single step is on arrival, before anything has run: there are as many here as cases count
        for _ in range(case.steps or 1):
            leave = engine.run(self._limit)
            stop = _STOP_FRAME.unpack(engine.ram.read(top - _STOP_FRAME.size, _STOP_FRAME.size))
            if leave.reason is not ExitReason.HLT or stop[11] & 3 != 3:
                self.close()
                raise ExecutorError(f"{case.where or 'case'}: {case}: {leave} in engine {engine.name}")
            if stop[8] != _DEBUG:
                break
        return _outcome(case, stop, engine.state["cr2"], _memory_after(self._regions(engine), images))

    def _run_long(self, case: Case) -> Outcome:
        key = f"{case.cpu} in 64-bit mode"
        engine = self._engines.get(key)
        if engine is None:
            ram = GuestRam(long_engine.REGIONS + _MEMORY_BYTES)
            engine = self._engines[key] = self._make_engine(_library(), PhysicalMap(ram), cpu_model.parse(case.cpu))
            long_engine.boot(engine)
        images = case.images()
        engine.ram.write(long_engine.REGIONS, b"".join(images.values()))

        def after() -> dict[int, bytes]:
            return _memory_after(engine.ram.read(long_engine.REGIONS, _MEMORY_BYTES), images)

        return long_engine.run(engine, case, self._limit, after)

    def run_many(self, cases: Iterable[Case]) -> list[Outcome]:
        """Run cases one after another."""
        return [self.run(case) for case in cases]

    def _write_regions(self, engine: Vcpu, images: Mapping[int, bytes]) -> None:
        if self._paged:
            engine.ram.write(_REGIONS, b"".join(images.values()))
            return
        gaps = {0: bytes(layout.REGIONS[0].start)} | {
            region.end: bytes((following.start if following else _FLAT_END) - region.end)
            for region, following in zip(layout.REGIONS, (*layout.REGIONS[1:], None), strict=True)
        }
        for start, data in {**images, **gaps}.items():
            if engine.ram.read(start, len(data)) != data:  # units live on where code is what it was
                engine.ram.write(start, data)

    def _regions(self, engine: Vcpu) -> bytes:
        if self._paged:
            return engine.ram.read(_REGIONS, _MEMORY_BYTES)
        return b"".join(engine.ram.read(region.start, region.size) for region in layout.REGIONS)

    def statistics(self) -> Counter[str]:
        """What the engines counted, all together."""
        return sum((Counter(engine.statistics()) for engine in self._engines.values()), Counter())

    @property
    def units(self) -> int:
        """Blocks translated so far; 0 on an engine that does not translate."""
        return sum(engine.statistics().get("fragments", 0) for engine in self._engines.values())

    def callouts(self) -> Counter[str]:
        """How often translated code had the interpreter do an instruction, by mnemonic."""
        return sum((engine.callouts() for engine in self._engines.values()), Counter())

    def close(self) -> None:
        """Give the memory back; the next run starts afresh."""
        for engine in self._engines.values():
            engine.close()
            engine.ram.close()
        self._engines.clear()

    @staticmethod
    def _set_stack(engine: Vcpu, top: int, case: Case) -> None:
        """Let SS:ESP of the monitor point to the linear address `top`.

        IRET to a 16-bit stack leaves the upper half of ESP alone, so it must be the case's already, and the base of SS
        makes up for it.
        """
        esp = top if case.stack_bits == 32 else case.start.registers[ESP] & 0xFFFF0000 | top & 0xFFFF
        base = (top - esp) & 0xFFFFFFFF
        if engine.state.segment(SS, "base") != base:
            engine.state.set_segment(SS, "base", base)
            engine.call("update_mode")
        engine.state["gpr", ESP] = esp

    def _boot(self, model: str) -> Vcpu:
        """An engine at CPL 0 with the monitor in memory."""
        ram = GuestRam(_REGIONS + _MEMORY_BYTES if self._paged else _MONITOR + _REGIONS)
        base = self._base
        user = tables.WRITABLE | tables.USER
        ram.write(
            base + _DIRECTORY,
            tables.page_table({0: _LOW_TABLE | user, _MONITOR >> 22: _MONITOR_TABLE | tables.WRITABLE}),
        )
        ram.write(base + _LOW_TABLE, tables.page_table(_region_pages()))
        ram.write(
            base + _MONITOR_TABLE,
            tables.page_table({page >> 12: page | tables.WRITABLE for page in range(0, _REGIONS, 0x1000)}),
        )
        ram.write(base + _TABLES, _descriptor_tables())
        ram.write(base + _IDT, _interrupt_table())
        ram.write(base + _CODE, assemble(_MONITOR_CODE, 32, _MONITOR + _CODE))
        ram.write(base + _STUBS, _stubs())
        engine = self._make_engine(_library(), PhysicalMap(ram), cpu_model.parse(model))
        cpu = engine.state
        reset.power_on(cpu)
        tables.flat_segments(cpu, _KERNEL_CODE, _KERNEL_DATA)
        for number, selector, physical, size, access in (
            (LDTR, _LDT_SELECTOR, _LDT, _LDT_BYTES, tables.LDT),
            (TR, _TSS_SELECTOR, _TSS, tables.TSS_BYTES, tables.TSS),
        ):
            base = _MONITOR + physical
            segment_cache.fill(cpu, number, selector=selector, base=base, limit=size - 1, access=access, big=False)
        cr0 = _CR0 if self._paged else _CR0 & ~_CR0_PG
        cpu["cr0"], cpu["cr3"], cpu["cr4"] = cr0, _DIRECTORY, _CR4
        cpu["gdtr_base"], cpu["gdtr_limit"] = _MONITOR + _TABLES, 0x5F
        cpu["idtr_base"], cpu["idtr_limit"] = _MONITOR + _IDT, 0x7FF
        engine.flush()
        self._engines[model] = engine
        return engine


def _enter_frame(case: Case) -> bytes:
    eax, ecx, edx, ebx, esp, ebp, esi, edi = case.start.registers
    single_step = FLAG_BITS["tf"] if case.steps is not None else 0
    code = layout.CODE_SELECTOR if case.bits == 32 else CODE_16_SELECTOR
    stack = layout.DATA_SELECTOR if case.stack_bits == 32 else STACK_16_SELECTOR
    return _ENTER_FRAME.pack(
        *[layout.DATA_SELECTOR] * 4,
        *(edi, esi, ebp, 0, ebx, edx, ecx, eax),
        *(case.start.eip, code, case.start.eflags | single_step, esp, stack),
    )


def _outcome(case: Case, stop: tuple[int, ...], cr2: int, memory: dict[int, bytes]) -> Outcome:
    edi, esi, ebp, _, ebx, edx, ecx, eax, vector, error_code, eip, _, eflags, esp, _ = stop
    trap: Trap | None = Trap(
        vector, error_code if vector in tables.VECTORS_WITH_ERROR_CODE else None, cr2 if vector == _PAGE_FAULT else None
    )
    state = State((eax, ecx, edx, ebx, esp, ebp, esi, edi), eip, eflags, memory)
    at_filler = vector == _PROTECTION and case.is_end(eip) and state.byte(eip) == layout.FILLER
    if at_filler or (vector == _DEBUG and case.steps):
        trap = None
    if case.steps:
        eflags = eflags & ~FLAG_BITS["tf"] | case.start.eflags & FLAG_BITS["tf"]
    return Outcome(replace(state, eflags=eflags & VISIBLE_FLAGS | EFLAGS_FIXED), trap)


def _memory_after(everything: bytes, before: Mapping[int, bytes]) -> dict[int, bytes]:
    """The regions' contents; unchanged ones share their bytes with `before`, which saves most of the time."""
    images, position = {}, 0
    for start, old in before.items():
        images[start] = old if everything.startswith(old, position) else everything[position : position + len(old)]
        position += len(old)
    return images


@cache
def _library() -> Library:
    return load_library()


TIER_2 = "bt-tier2"


def factories(*, unpaged: bool = True) -> dict[str, EngineFactory]:
    """How to make each engine there is, by name. `unpaged`: for guests that can have units of tier 2, all at once."""
    found: dict[str, EngineFactory] = {"interp": Vcpu, "bt": TranslatingVcpu}
    return found | ({TIER_2: partial(TranslatingVcpu, tier="2")} if unpaged else {})


def executors() -> dict[str, EngineExecutor]:
    """An executor for each engine; nothing is built or loaded before the first case runs."""
    return {name: EngineExecutor(factory) for name, factory in factories(unpaged=False).items()}
