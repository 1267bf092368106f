"""The processor's mode in words."""

from __future__ import annotations

from bt.engine.translator.gates.interpreted import TRANSLATABLE
from bt.x86 import flags, mode
from bt.x86.state import SEGMENT_NAMES, CpuState
from bt.x86.system.registers.control_registers import (
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    EFER_LMA,
)

_SEGMENTS = tuple(mode.FLAT_BIT.items())


def operating_mode(cpu: CpuState) -> str:
    """Real, virtual-8086, protected, compatibility or 64-bit mode (SDM vol. 3A 2.2)."""
    if not cpu["cr0"] & CR0_PE:
        return "real mode"
    if cpu["efer"] & EFER_LMA:
        return "64-bit mode" if cpu["mode"] & mode.CODE_64 else "compatibility mode"
    return "virtual-8086 mode" if cpu["eflags_system"] & flags.VM else "protected mode"


def describe_mode(cpu: CpuState) -> str:
    """Operating mode, paging, A20 gate and mode key: "real mode, no paging, CPL 0, 16-bit code, 16-bit stack"..."""
    paging = "no paging"
    if cpu["cr0"] & CR0_PG:
        paging = "PAE paging" if cpu["cr4"] & CR4_PAE else "32-bit paging"
    if cpu["efer"] & EFER_LMA:
        paging = "4-level paging"
    gate = [] if cpu["a20_mask"] >> 20 & 1 else ["A20 off"]
    return ", ".join((operating_mode(cpu), paging, *gate, f"CPL {cpu['cpl']}", *_key_parts(cpu["mode"])))


def describe_key(key: int) -> str:
    """A mode key (bt/x86/mode.py): "CPL 0 to 2, 32-bit code, 32-bit stack, flat segments"."""
    return ", ".join(("CPL 3" if key & mode.USER else "CPL 0 to 2", *_key_parts(key)))


def _key_parts(key: int) -> list[str]:
    """All of it but the privilege level."""
    parts = ["64-bit code"]
    if not key & mode.CODE_64:
        parts = [
            f"{32 if key & mode.CODE_32 else 16}-bit code",
            f"{32 if key & mode.STACK_32 else 16}-bit stack",
            _flatness(key),
        ]
    if not key & mode.ALIGNMENT_FREE:
        parts.append("alignment checked")
    if not key & mode.BREAKPOINT_FREE:
        parts.append("breakpoints set")
    return parts


def _flatness(key: int) -> str:
    flat = [SEGMENT_NAMES[number].upper() for number, bit in _SEGMENTS if key & bit]
    if len(flat) in (0, len(_SEGMENTS)):
        return "flat segments" if flat else "no flat segments"
    return f"flat {' '.join(flat)} only"


def why_interpreted(key: int) -> str:
    """What keeps code of a mode from being translated; empty if nothing does."""
    missing = TRANSLATABLE & ~key
    reasons = ["alignment checked"] * bool(missing & mode.ALIGNMENT_FREE)
    reasons += ["breakpoints set"] * bool(missing & mode.BREAKPOINT_FREE)
    reasons += ["64-bit code"] * bool(key & mode.CODE_64)
    return ", ".join(reasons)


def describe_segments(cpu: CpuState) -> list[str]:
    """Selector, base and limit of each segment register that data and code go through."""
    return [
        "{} {:04x} base {:08x} limit {:08x}".format(
            name.upper(), *(cpu.segment(number, part) for part in ("selector", "base", "limit"))
        )
        for number, name in enumerate(SEGMENT_NAMES[:6])
    ]
