"""The CPU's state before the first instruction: after reset, or as a loader wants it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bt.x86 import flags
from bt.x86.state import (
    CS,
    EDX,
    FAULT_CHAIN_ENTRIES,
    FAULT_FIELDS,
    FIXED_MTRRS,
    GPR_NAMES,
    LDTR,
    SEGMENT_NAMES,
    TR,
    VARIABLE_MTRRS,
    CpuState,
)
from bt.x86.system.segmentation import segment_cache

ACCESS_LDT, ACCESS_TSS_BUSY, ACCESS_DATA = 0x82, 0x8B, 0x93  # CS too is writable data, until it is loaded
CR0_ET = 1 << 4
DR6_RESET, DR7_RESET = 0xFFFF0FF0, 0x400
# MISC_ENABLE: fast strings; no branch trace store, no precise event sampling (SDM vol. 4 table 2-54)
APIC_BASE_RESET, MISC_ENABLE_RESET = 0xFEE00100, 0x1801
FPU_CONTROL_RESET, MXCSR_RESET, MXCSR_MASKS = 0x40, 0x1F80, 0x1F80
FPU_TAGS_RESET = 0xFF  # all in use: +0.0
X87_MASKS, FX_IMAGE_SLOTS, FX_MXCSR_SLOT = 0x3F, 64, 3
PAT_RESET = 0x0007040600070406
_CLEARED = (
    ("mtrr_variable", 2 * VARIABLE_MTRRS),
    ("mtrr_fixed", FIXED_MTRRS),
    ("pdpte", 4),
    ("dr", 4),
    ("fault_chain", FAULT_CHAIN_ENTRIES * len(FAULT_FIELDS)),
)
"""Slots that are 0 after reset, and how many of each."""


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
    for number in range(8):
        cpu["gpr", number] = 0
    for number in range(6):
        selector, base = (0xF000, 0xFFFF0000) if number == CS else (0, 0)
        segment_cache.fill(cpu, number, selector=selector, base=base, limit=0xFFFF, access=ACCESS_DATA, big=False)
    segment_cache.fill(cpu, LDTR, selector=0, base=0, limit=0xFFFF, access=ACCESS_LDT, big=False)
    segment_cache.fill(cpu, TR, selector=0, base=0, limit=0xFFFF, access=ACCESS_TSS_BUSY, big=False)
    for name, value in {
        "eip": 0xFFF0,
        "cr0": 0x60000000 | CR0_ET,
        "cr2": 0,
        "cr3": 0,
        "cr4": 0,
        "cpl": 0,
        "gdtr_base": 0,
        "gdtr_limit": 0xFFFF,
        "idtr_base": 0,
        "idtr_limit": 0xFFFF,
        "pat": PAT_RESET,
        "apic_base": APIC_BASE_RESET,
        "misc_enable": MISC_ENABLE_RESET,
        "efer": 0,
        "mcg_status": 0,
        **dict.fromkeys(("sysenter_cs", "sysenter_esp", "sysenter_eip"), 0),
        "mtrr_default": 0,
        "fpu_control": FPU_CONTROL_RESET,
        "mxcsr_masks": MXCSR_MASKS,
        "fp_loaded": 0,
        "ignore_fp_error": 0,
        "fp_ready": 0,
        **dict.fromkeys(("fpu_ip", "fpu_cs", "fpu_dp", "fpu_ds", "fpu_opcode"), 0),
        "inhibit": (1 << 64) - 1,
        "debug_shadow": (1 << 64) - 1,
        "trapped_at": (1 << 64) - 1,
        "resume_at": (1 << 64) - 1,
        "debug_hits": 0,
        "pushed_resume_flag": 0,
        "nmi_pending": 0,
        "nmi_blocked": 0,
        "mmio_count": 0,
        "mmio_used": 0,
        "deferred": 0,
        "port_ns": 0,
        "delivering": 0,
        "fault_in_new_task": 0,
        "fault_depth": 0,
        "exit_reason": 0,
    }.items():
        cpu[name] = value
    for name, slots in _CLEARED:
        for number in range(slots):
            cpu[name, number] = 0
    cpu["gpr", EDX] = cpu["signature"]
    cpu["dr", 6], cpu["dr", 7] = DR6_RESET, DR7_RESET
    for slot in range(FX_IMAGE_SLOTS):
        cpu["fp_image", slot] = 0
    # in the image the exception masks are set, whatever the guest's are (bt/x86/fp/fp_state.py)
    cpu["fp_image", 0] = FPU_CONTROL_RESET | X87_MASKS | FPU_TAGS_RESET << 32
    cpu["fp_image", FX_MXCSR_SLOT] = MXCSR_RESET
    write_eflags(cpu, 0)


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
