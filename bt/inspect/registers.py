"""The architectural state of a vCPU by name: what two engines must agree on after the same number of instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bt.x86 import reset
from bt.x86.opcodes import EFLAGS_BITS
from bt.x86.state import FIXED_MTRRS, GPR_NAMES, SEGMENT_FIELDS, SEGMENT_NAMES, VARIABLE_MTRRS, CpuState

_PLAIN = (
    "eip",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "cpl",
    "gdtr_base",
    "gdtr_limit",
    "idtr_base",
    "idtr_limit",
    "sysenter_cs",
    "sysenter_esp",
    "sysenter_eip",
    "efer",
    "pat",
    "apic_base",
    "misc_enable",
    "tsc_offset",
    "fpu_control",
    "mxcsr_masks",
    "fpu_ip",
    "fpu_cs",
    "fpu_dp",
    "fpu_ds",
    "fpu_opcode",
    "a20_mask",
    "mode",
    "intr_pending",
    "fault_depth",
    "nmi_pending",
    "nmi_blocked",
    "mcg_status",
    "mtrr_default",
)
_ARRAYS = {"pdpte": 4, "mtrr_variable": 2 * VARIABLE_MTRRS, "mtrr_fixed": FIXED_MTRRS}
FX_GUEST_SLOTS = 36
# bits of an FXSAVE image that are the guest's: the pointers are kept in slots of their own
FX_VISIBLE = {0: 0x0000_FFFF_FFFF_FFFF, 1: 0, 2: 0, 3: 0xFFFF_FFFF}
_DEBUG_REGISTERS = (0, 1, 2, 3, 6, 7)
_FLAG_NAMES = {letter: f"{letter}f" for letter in "cpazstido"} | {
    "l": "iopl", "n": "nt", "r": "rf", "v": "vm", "k": "ac", "f": "vif", "g": "vip", "x": "id",
}  # fmt: skip
FLAGS = {name: EFLAGS_BITS[letter] for letter, name in _FLAG_NAMES.items()}
"""Masks in EFLAGS by the names that `describe` uses."""


def read_registers(cpu: CpuState, instructions: int) -> dict[str, int]:
    """Every register a guest can see, hidden parts of segment registers included, `instructions` retired so far.

    The lazy flags and whatever else is an engine's own business is not among them.
    """
    found = {name: cpu["gpr", number] for number, name in enumerate(GPR_NAMES)}
    found["eflags"] = reset.read_eflags(cpu)
    for name in _PLAIN:
        found[name] = cpu[name]
    for name, slots in _ARRAYS.items():
        for number in range(slots):
            found[f"{name}.{number}"] = cpu[name, number]
    for number in _DEBUG_REGISTERS:
        found[f"dr{number}"] = cpu["dr", number]
    for number, segment in enumerate(SEGMENT_NAMES):
        for part in SEGMENT_FIELDS:
            found[f"{segment}.{part}"] = cpu.segment(number, part)
    # the host's own registers are out of it while Python looks; behind XMM7 the image is not the guest's
    for slot in range(FX_GUEST_SLOTS):
        found[f"fp_image.{slot}"] = cpu["fp_image", slot] & FX_VISIBLE.get(slot, (1 << 64) - 1)
    # the slot names the instruction count at which no interrupt is taken; an old one means nothing
    found["interrupt_shadow"] = int(cpu["inhibit"] == instructions)
    return found


def describe(name: str, value: int) -> str:
    """A register's value for people: hexadecimal, with the set flags by name behind EFLAGS."""
    if name != "eflags":
        return f"{value:#x}"
    return f"{value:#x} {' '.join(_flags(value, EFLAGS_BITS.__getitem__, _FLAG_NAMES))}".rstrip()


def _flags(image: int, mask_of: Callable[[str], int], names: dict[str, str]) -> Iterable[str]:
    for letter, name in names.items():
        mask = mask_of(letter)
        if image & mask:
            yield name if mask & (mask - 1) == 0 else f"{name}={image // (mask & -mask) & 3}"
