"""In what modes the fuzzer starts its guest, and the rest of the processor's state, which is random."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from bt.engine.vcpu import Vcpu
from bt.x86 import (
    flags,
    reset,
)
from bt.x86.state import CS, DR7_RESET, DS, ES, ESP, FS, GS, LDTR, MXCSR_MASKS, SS, TR
from bt.x86.system.registers import control_registers as cr
from bt.x86.system.segmentation import segment_cache
from tests import tables
from tests.robustness.fuzz import world
from tests.robustness.fuzz.operands import some_address, some_value

_CHANCE_OF_TRAP, _CHANCE_OF_BREAKPOINTS, _CHANCE_OF_ALIGNMENT = 0.04, 0.08, 0.1


@dataclass(frozen=True)
class Setting:
    """A mode to start in; `weight`: how often. Real and virtual-8086 mode are those without `selectors`."""

    bits: int = 32
    cpl: int = 0
    paging: str = ""  # "", "small", "large", "pae"
    selectors: bool = True
    code: int | None = None  # selectors in place of the flat ones of the ring
    stack: int | None = None
    data: int | None = None
    cr4: int = 0
    limit: int = 0xFFFF  # of data segments in real mode
    weight: float = 1.0

    @property
    def is_flat(self) -> bool:
        """All segments have 32 bits, no base and no limit."""
        return self.bits == 32 and self.code is self.stack is self.data is None

    @property
    def directory(self) -> int:
        """CR3."""
        return {"pae": world.PAE_POINTERS, "large": world.LARGE_DIRECTORY}.get(self.paging, world.DIRECTORY)


_PAE, _PSE, _VME = cr.CR4_PAE, cr.CR4_PSE, cr.CR4_VME
SETTINGS = {
    "real": Setting(16, selectors=False),
    "big real": Setting(16, selectors=False, limit=0xFFFFFFFF),
    "16-bit": Setting(16, code=world.KERNEL_CODE_16, stack=world.STACK_16, data=world.KERNEL_DATA_16),
    "16-bit ring 3": Setting(
        16, 3, "small", code=world.USER_CODE_16, stack=world.STACK_16_USER, data=world.USER_DATA_16
    ),
    "flat": Setting(weight=2),
    "flat ring 3": Setting(cpl=3),
    "paged": Setting(paging="small", weight=3),
    "paged ring 1": Setting(cpl=1, paging="small"),
    "paged ring 2": Setting(cpl=2, paging="small"),
    "paged ring 3": Setting(cpl=3, paging="small", weight=3),
    "large pages": Setting(paging="large", cr4=_PSE, weight=2),
    "large pages ring 3": Setting(cpl=3, paging="large", cr4=_PSE),
    "pae": Setting(paging="pae", cr4=_PAE, weight=2),
    "pae ring 3": Setting(cpl=3, paging="pae", cr4=_PAE),
    "virtual-8086": Setting(16, 3, "small", selectors=False),
    "virtual-8086 extensions": Setting(16, 3, "small", selectors=False, cr4=_VME),
    "expand-down": Setting(data=world.EXPAND_DOWN, paging="small"),
    "small data": Setting(data=world.SMALL_DATA),
    "16-bit stack": Setting(stack=world.STACK_16, paging="small"),
    "16-bit stack ring 3": Setting(cpl=3, stack=world.STACK_16_USER, paging="large", cr4=_PSE),
}


def start(cpu: Vcpu, setting: Setting, random: Random) -> None:
    """Put a vCPU into a setting, whatever it did before. Its RAM holds the world already."""
    state = cpu.state
    reset.power_on(state)
    for number in range(8):
        state["gpr", number] = some_address(random, setting.bits) if random.random() < 0.7 else some_value(random)
    stack = world.STACK_TOPS[setting.cpl] - 4 * random.randrange(32)
    state["gpr", ESP] = stack | (random.getrandbits(16) << 16 if setting.stack and random.random() < 0.3 else 0)
    state["eip"] = world.slot_address(random)
    state["cpl"] = setting.cpl
    state["gdtr_base"], state["gdtr_limit"] = world.GDT, world.GDT_BYTES - 1
    state["idtr_base"], state["idtr_limit"] = world.IDT, 0x7FF
    if not setting.selectors and not setting.cpl:
        state["idtr_base"], state["idtr_limit"] = world.VECTOR_TABLE, 0x3FF
    _control_registers(cpu, setting, random)
    _segments(cpu, setting)
    _debug_registers(cpu, random)
    _model_specific(cpu, random)
    _floating_point(cpu, random)
    state["intr_pending"] = state["tsc_offset"] = 0
    reset.write_eflags(state, _eflags(setting, random))
    cpu.flush()


def calm(cpu: Vcpu) -> None:
    """Take from a vCPU that is in a setting all that would look at each instruction or access, or keep FP away."""
    state = cpu.state
    state["eip"] = world.CODE
    state["cr0"] &= ~(cr.CR0_TS | cr.CR0_EM | cr.CR0_AM)
    state["cr4"] |= (cr.CR4_OSFXSR | cr.CR4_OSXMMEXCPT) & state["cr4_allowed"]
    state["dr", 7] = DR7_RESET
    reset.initialize_fp(state, reset.X87_MASKS | 0x340, tags=0)
    reset.write_eflags(state, flags.IF | flags.IOPL)
    cpu.flush()


def _control_registers(cpu: Vcpu, setting: Setting, random: Random) -> None:
    state, allowed = cpu.state, cpu.state["cr4_allowed"]
    cr0 = cr.CR0_ET | cr.CR0_PE * (setting.selectors or setting.cpl > 0) | cr.CR0_PG * bool(setting.paging)
    for bit, chance in (
        (cr.CR0_WP, 0.6),
        (cr.CR0_NE, 0.7),
        (cr.CR0_MP, 0.5),
        (cr.CR0_TS, 0.1),
        (cr.CR0_EM, 0.04),
        (cr.CR0_AM, _CHANCE_OF_ALIGNMENT),
    ):
        cr0 |= bit * (random.random() < chance)
    cr4 = setting.cr4 | (cr.CR4_OSFXSR | cr.CR4_OSXMMEXCPT) * (random.random() < 0.9)
    for bit in (cr.CR4_PGE, cr.CR4_DE, cr.CR4_TSD, cr.CR4_PCE, cr.CR4_PVI):
        cr4 |= bit * (random.random() < 0.25)
    state["cr0"], state["cr4"], state["cr3"] = cr0, cr4 & allowed, setting.directory
    if setting.paging == "pae":
        for number in range(4):
            state["pdpte", number] = world.PAE_DIRECTORIES + number * tables.PAGE_BYTES | 1
        state["efer"] = random.choice((0, 0x800))


def _segments(cpu: Vcpu, setting: Setting) -> None:
    state, ring = cpu.state, setting.cpl
    ldt = {"selector": world.LDT_SELECTOR, "base": world.LDT, "limit": world.LDT_BYTES - 1, "access": tables.LDT}
    segment_cache.fill(state, LDTR, big=False, long=False, **ldt)
    task = {"selector": world.MAIN_TASK, "base": world.MAIN_TSS, "limit": world.TASK_BYTES - 1, "access": tables.TSS}
    segment_cache.fill(state, TR, big=False, long=False, **task)
    for number in (CS, SS, DS, ES, FS, GS):
        if setting.selectors:
            flat = world.CODE_BY_RING if number == CS else world.DATA_BY_RING
            wanted = {CS: setting.code, SS: setting.stack}.get(number, setting.data)
            _load(cpu, number, flat[ring] if wanted is None else wanted)
        else:
            base = 0 if number in (CS, SS) else world.DATA
            limit = 0xFFFF if number in (CS, SS) or ring else setting.limit
            access = tables.DATA | ring << 5
            segment_cache.fill(state, number, selector=base >> 4, base=base, limit=limit, access=access, big=False)


def _load(cpu: Vcpu, number: int, selector: int) -> None:
    """A segment register as loading it from the GDT fills it."""
    low, high = struct.unpack("<II", cpu.ram.read(world.GDT + (selector & ~7), 8))
    limit = low & 0xFFFF | high & 0xF0000
    if high & 1 << 23:
        limit = limit << 12 | 0xFFF
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
    access, big = high >> 8 & 0xFF | 1, bool(high & 1 << 22)
    segment_cache.fill(cpu.state, number, selector=selector, base=base, limit=limit, access=access, big=big)


def _debug_registers(cpu: Vcpu, random: Random) -> None:
    if random.random() < _CHANCE_OF_BREAKPOINTS:
        for number in range(4):
            in_code = random.random() < 0.5
            address = world.slot_address(random) if in_code else world.DATA + random.randrange(world.DATA_BYTES)
            cpu.state["dr", number] = address
        cpu.state["dr", 7] = DR7_RESET | random.getrandbits(16) << 16 | random.getrandbits(8)


def _model_specific(cpu: Vcpu, random: Random) -> None:
    if random.random() < 0.7:
        cpu.state["sysenter_cs"] = random.choice((world.KERNEL_CODE, world.KERNEL_CODE, 0, 0x28))
        cpu.state["sysenter_eip"] = world.slot_address(random)
        cpu.state["sysenter_esp"] = world.STACK_TOPS[0]


def _floating_point(cpu: Vcpu, random: Random) -> None:
    """Registers with difficult numbers; the masks of exceptions as fp_state.py keeps them apart."""
    state = cpu.state
    masks = reset.X87_MASKS if random.random() < 0.7 else random.getrandbits(6)
    control = random.getrandbits(16) & 0x0F00 | 0x40
    state["fpu_control"] = control | masks
    status = random.getrandbits(3) << 11 | (random.getrandbits(6) if random.random() < 0.2 else 0)
    tags = random.choice((0, 0, 0xFF, random.getrandbits(8)))
    state["fp_image", 0] = control | reset.X87_MASKS | status << 16 | tags << 32
    mxcsr_masks = MXCSR_MASKS if random.random() < 0.7 else random.getrandbits(6) << 7
    state["mxcsr_masks"] = mxcsr_masks
    state["fp_image", reset.FX_MXCSR_SLOT] = MXCSR_MASKS | random.getrandbits(16) & 0xE03F
    edges = (0, 1, 1 << 63, 0x3FF0 << 48, 0x7FF0 << 48, 0x7FF8 << 48, (1 << 64) - 1, 0x3F80_0000_7F80_0001)
    for register in range(8):
        state["fp_image", 4 + 2 * register] = random.choice((*edges, random.getrandbits(64) | 1 << 63))
        state["fp_image", 5 + 2 * register] = random.choice((0, 0x3FFF, 0x7FFF, 0xFFFF, 0x3FFE, random.getrandbits(16)))
    for slot in range(20, 36):
        state["fp_image", slot] = random.choice((*edges, random.getrandbits(64)))


def _eflags(setting: Setting, random: Random) -> int:
    eflags = random.getrandbits(12) & flags.ARITHMETIC
    for bit, chance in (
        (flags.IF, 0.7),
        (flags.DF, 0.2),
        (flags.TF, _CHANCE_OF_TRAP),
        (flags.NT, 0.1),
        (flags.AC, 2 * _CHANCE_OF_ALIGNMENT),
        (flags.IOPL, 0.4),
        (flags.VIF, 0.1),
        (flags.VIP, 0.05),
        (flags.ID, 0.2),
    ):
        eflags |= bit * (random.random() < chance)
    return eflags | flags.VM * (not setting.selectors and setting.cpl > 0)
