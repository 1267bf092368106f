"""The CPU's state before the first instruction: after reset, or as a loader wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bt.x86 import features, flags
from bt.x86.state import (
    APIC_BASE_ENABLED,
    CS,
    DR6_RESET,
    DR7_RESET,
    EDX,
    FIELDS,
    FP_FIELDS,
    FPU_CONTROL_RESET,
    GPR_NAMES,
    LDTR,
    MXCSR_RESET,
    SAVED_KINDS,
    SEGMENT_NAMES,
    TR,
    CpuState,
)
from bt.x86.system.segmentation import segment_cache

ACCESS_LDT, ACCESS_TSS_BUSY, ACCESS_DATA = 0x82, 0x8B, 0x93  # CS too is writable data, until it is loaded
FPU_TAGS_RESET = 0xFF  # all in use: +0.0
X87_MASKS, FX_MXCSR_SLOT = 0x3F, 3
_RESET = tuple((field, field.reset) for field in FIELDS if field.kind in SAVED_KINDS and field.reset is not None)


class Segment(Protocol):
    """A segment register as loaders describe it (bt/boot/state.py)."""

    @property
    def selector(self) -> int: ...
    @property
    def base(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def access(self) -> int: ...
    @property
    def flags32(self) -> bool: ...


class Entry(Protocol):
    """What the CPU must look like at a guest's entry (bt/boot/state.py)."""

    @property
    def eip(self) -> int: ...
    @property
    def gpr(self) -> Mapping[str, int]: ...
    @property
    def eflags(self) -> int: ...
    @property
    def segments(self) -> Mapping[str, Segment]: ...
    @property
    def gdt_base(self) -> int: ...
    @property
    def gdt_limit(self) -> int: ...
    @property
    def cr0(self) -> int: ...


def power_on(cpu: CpuState) -> None:
    """State after reset (SDM vol. 3A table 10-1), as far as software can see it."""
    for field, value in _RESET:
        cpu.fill(field, value)
    for number in range(6):
        selector, base = (0xF000, 0xFFFF0000) if number == CS else (0, 0)
        segment_cache.fill(cpu, number, selector=selector, base=base, limit=0xFFFF, access=ACCESS_DATA, big=False)
    segment_cache.fill(cpu, LDTR, selector=0, base=0, limit=0xFFFF, access=ACCESS_LDT, big=False)
    segment_cache.fill(cpu, TR, selector=0, base=0, limit=0xFFFF, access=ACCESS_TSS_BUSY, big=False)
    cpu["gpr", EDX] = cpu["signature"]
    if features.shown_by(cpu, "apic"):
        cpu["apic_base"] |= APIC_BASE_ENABLED
    cpu["dr", 6], cpu["dr", 7] = DR6_RESET, DR7_RESET
    initialize_fp(cpu, FPU_CONTROL_RESET, FPU_TAGS_RESET)
    write_eflags(cpu, 0)


def initialize_fp(cpu: CpuState, control: int, tags: int) -> None:
    """Registers of 0 and no exception anywhere, as after reset; `tags` as FXSAVE has them (SDM vol. 1 10.5.1.1)."""
    for field in FP_FIELDS:
        cpu.fill(field, field.reset or 0)
    cpu["fpu_control"] = control
    # in the image the exception masks are set, whatever the guest's are (bt/x86/fp/fp_state.py)
    cpu["fp_image", 0] = control | X87_MASKS | tags << 32
    cpu["fp_image", FX_MXCSR_SLOT] = MXCSR_RESET


def flag_slots(image: int) -> tuple[int, int]:
    """The slots `flag_result` and `flag_aux` for the arithmetic flags of an EFLAGS image (bt/x86/flags.py)."""
    zf, sf, pf = bool(image & flags.ZF), bool(image & flags.SF), bool(image & flags.PF)
    result = 0 if zf else (sf << 31) | 0x100 | (not pf)
    flips = ((sf << 40) | ((not pf) << 41)) if zf else 0
    cf, of, af = bool(image & flags.CF), bool(image & flags.OF), bool(image & flags.AF)
    return result, result ^ (cf << 32) ^ ((cf ^ of) << 31) ^ (af << 4) ^ flips


def write_eflags(cpu: CpuState, image: int) -> None:
    """Load EFLAGS from outside: the Python twin of flags.write_arithmetic."""
    cpu["flag_result"], cpu["flag_aux"] = flag_slots(image)
    cpu["eflags_system"] = image & flags.DEFINED & ~flags.ARITHMETIC


def read_eflags(cpu: CpuState) -> int:
    """EFLAGS as a guest would push it: the Python twin of flags.read_eflags."""
    result, aux = cpu["flag_result"], cpu["flag_aux"]
    carries = result ^ aux
    image = cpu["eflags_system"] | flags.ALWAYS_ONE
    odd = (result & 0xFF).bit_count() & 1
    for value, mask in (
        (carries >> 32 & 1, flags.CF),
        (odd ^ 1 ^ (aux >> 41 & 1), flags.PF),
        (carries >> 4 & 1, flags.AF),
        (result & 0xFFFFFFFF == 0, flags.ZF),
        ((result >> 31 ^ aux >> 40) & 1, flags.SF),
        ((carries >> 32 ^ carries >> 31) & 1, flags.OF),
    ):
        image |= mask if value else 0
    return image


def enter(cpu: CpuState, entry: Entry) -> None:
    """Reset the CPU, then put it where a loader wants it. The engine must `flush` afterwards."""
    power_on(cpu)
    for number, name in enumerate(GPR_NAMES):
        cpu["gpr", number] = entry.gpr[name]
    for name, s in entry.segments.items():
        number = SEGMENT_NAMES.index(name)
        segment_cache.fill(cpu, number, selector=s.selector, base=s.base, limit=s.limit, access=s.access, big=s.flags32)
    cpu["eip"], cpu["cr0"] = entry.eip, entry.cr0
    cpu["gdtr_base"], cpu["gdtr_limit"] = entry.gdt_base, entry.gdt_limit
    write_eflags(cpu, entry.eflags)
