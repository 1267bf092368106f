"""In what modes the fuzzer starts its guest in long mode, and the rest of the processor's state."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from random import Random

from bt.engine.vcpu import Vcpu
from bt.x86 import flags, reset
from bt.x86.state import CS, DS, EDI, ES, ESP, FS, GS, LDTR, SS, TR
from bt.x86.system.registers import control_registers as cr
from bt.x86.system.segmentation import segment_cache
from tests import tables
from tests.robustness.fuzz import long_world, world
from tests.robustness.fuzz.operands import some_value

_CR0 = cr.CR0_PE | cr.CR0_PG | cr.CR0_ET | cr.CR0_NE | cr.CR0_MP
_BASES = (0, 0, 0x1000, 0x3000)
"""Of FS and GS: small, so that the pointers of loops are good with them."""


@dataclass(frozen=True)
class LongSetting:
    """64-bit code, or 32-bit or 16-bit code of compatibility mode."""

    bits: int
    cpl: int

    @property
    def code(self) -> int:
        """Selector."""
        return long_world.CODE_SEGMENTS[self.bits, self.cpl]

    @property
    def is_compatibility(self) -> bool:
        return self.bits != 64


LONG_SETTINGS = {
    "long": LongSetting(64, 0),
    "long ring 3": LongSetting(64, 3),
    "compatibility": LongSetting(32, 0),
    "compatibility ring 3": LongSetting(32, 3),
    "16-bit compatibility": LongSetting(16, 0),
    "16-bit compatibility ring 3": LongSetting(16, 3),
}


def start_long(cpu: Vcpu, setting: LongSetting, random: Random) -> None:
    """Put a vCPU into a setting, whatever it did before, at the first plot of its size. Its RAM holds the world."""
    state = cpu.state
    reset.power_on(state)
    for number in range(16):
        wide = setting.bits == 64 or number > EDI  # else undefined (SDM vol. 1 3.4.1.1)
        state["gpr", number] = random.choice((some_value(random), random.getrandbits(64 if wide else 32)))
    state["gpr", ESP] = world.STACK_TOPS[setting.cpl]
    state["eip"] = long_world.ORIGIN + long_world.AREAS[setting.bits].offset
    state["cpl"] = setting.cpl
    state["gdtr_base"], state["gdtr_limit"] = world.GDT, long_world.GDT_BYTES - 1
    state["idtr_base"], state["idtr_limit"] = world.IDT, 0xFFF
    state["cr0"] = _CR0 | cr.CR0_WP * (random.random() < 0.6) | cr.CR0_AM * (random.random() < 0.1)
    cr4 = cr.CR4_PAE | cr.CR4_OSFXSR | cr.CR4_OSXMMEXCPT
    for bit in (cr.CR4_PGE, cr.CR4_DE, cr.CR4_TSD, cr.CR4_PCE, cr.CR4_FSGSBASE):
        cr4 |= bit * (random.random() < 0.3)
    state["cr4"], state["cr3"] = cr4 & state["cr4_allowed"], long_world.TOP
    state["efer"] = cr.EFER_LME | cr.EFER_LMA | cr.EFER_SCE * (random.random() < 0.9) | cr.EFER_NXE
    _segments(cpu, setting, random)
    _system_calls(cpu, random)
    state["intr_pending"] = state["tsc_offset"] = 0
    reset.initialize_fp(state, reset.X87_MASKS | 0x340, tags=0)
    for slot in range(20, 52):
        state["fp_image", slot] = random.choice((0, 0x3FF0 << 48, 0x3F80_0000_3F80_0000, random.getrandbits(64)))
    reset.write_eflags(state, flags.IF | random.getrandbits(12) & flags.ARITHMETIC)
    cpu.flush()


def _segments(cpu: Vcpu, setting: LongSetting, random: Random) -> None:
    state = cpu.state
    ldt = {"selector": long_world.LDT_SELECTOR, "base": world.LDT, "limit": 15, "access": tables.LDT}
    segment_cache.fill(state, LDTR, big=False, long=False, **ldt)
    task = {"selector": long_world.TASK, "base": long_world.TSS, "limit": long_world.TASK_BYTES - 1}
    segment_cache.fill(state, TR, big=False, long=False, access=tables.TSS, **task)
    data = long_world.USER_DATA_16 if setting.bits == 16 else long_world.USER_DATA
    stack = long_world.USER_DATA if setting.cpl else long_world.KERNEL_DATA
    for number, selector in ((CS, setting.code), (SS, stack), *((each, data) for each in (DS, ES, FS, GS))):
        _load(cpu, number, selector)
    if setting.bits == 64:
        for number in (FS, GS):
            state.set_segment(number, "base", random.choice(_BASES))


def _load(cpu: Vcpu, number: int, selector: int) -> None:
    """A segment register as loading it from the GDT fills it."""
    low, high = struct.unpack("<II", cpu.ram.read(world.GDT + (selector & ~7), 8))
    limit = low & 0xFFFF | high & 0xF0000
    limit = limit << 12 | 0xFFF if high & 1 << 23 else limit
    base = low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000
    access, big, long = high >> 8 & 0xFF | 1, bool(high & 1 << 22), bool(high & 1 << 21)
    segment_cache.fill(cpu.state, number, selector=selector, base=base, limit=limit, access=access, big=big, long=long)


def _system_calls(cpu: Vcpu, random: Random) -> None:
    """SYSCALL leads to a handler that returns, or goes on at level 0; SYSENTER to a plot."""
    state = cpu.state
    state["star"] = (long_world.USER_CODE_32 & ~3) << 48 | long_world.KERNEL_CODE << 32
    plot = long_world.plot_address(random, 64)
    state["lstar"] = random.choice((long_world.SYSTEM_CALL, long_world.SYSTEM_CALL, plot, plot + long_world.HIGH))
    state["sfmask"] = random.choice((0, flags.IF | flags.TF | flags.DF, random.getrandbits(18) & ~2))
    state["kernel_gs_base"] = random.choice(_BASES)
    state["sysenter_cs"] = random.choice((long_world.KERNEL_CODE, long_world.KERNEL_CODE, 0))
    state["sysenter_eip"], state["sysenter_esp"] = plot, world.STACK_TOPS[0]
