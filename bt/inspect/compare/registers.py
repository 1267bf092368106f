"""The architectural state of a vCPU by name: what two engines must agree on after the same number of instructions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bt.x86 import reset
from bt.x86.opcodes import EFLAGS_BITS
from bt.x86.state import EXACTLY, FIELDS, GPR_NAMES, SEGMENT_FIELDS, SEGMENT_NAMES, WHILE_NOW, CpuState, Field

_ALL = (1 << 64) - 1
FX_GUEST_SLOTS = 36
# bits of an FXSAVE image that are the guest's: the pointers are kept in slots of their own
FX_VISIBLE = {0: 0x0000_FFFF_FFFF_FFFF, 1: 0, 2: 0, 3: 0xFFFF_FFFF}
_COMPARED = tuple(field for field in FIELDS if field.comparison is EXACTLY)
_MOMENTS = tuple(field.name for field in FIELDS if field.comparison is WHILE_NOW)
_FLAG_NAMES = {letter: f"{letter}f" for letter in "cpazstido"} | {
    "l": "iopl", "n": "nt", "r": "rf", "v": "vm", "k": "ac", "f": "vif", "g": "vip", "x": "id",
}  # fmt: skip
FLAGS = {name: EFLAGS_BITS[letter] for letter, name in _FLAG_NAMES.items()}
"""Masks in EFLAGS by the names that `describe` uses."""


def read_registers(cpu: CpuState, instructions: int) -> dict[str, int]:
    """Every register a guest can see, hidden parts of segment registers included, `instructions` retired so far.

    The lazy flags and whatever else is an engine's own business is not among them.
    """
    found = {"eflags": reset.read_eflags(cpu)}
    for field in _COMPARED:
        found |= _values(cpu, field)
    for name in _MOMENTS:  # an instruction count: an old one means nothing
        found[f"{name} now"] = int(cpu[name] == instructions)
    return found


def _values(cpu: CpuState, field: Field) -> dict[str, int]:
    """The slots of a field by the names that people know."""
    name = field.name
    match name:
        case "gpr":
            return {register: cpu[name, number] for number, register in enumerate(GPR_NAMES)}
        case "dr":
            return {f"dr{number}": cpu[name, number] for number in range(field.slots)}
        case "segment":
            return {
                f"{segment}.{part}": cpu.segment(number, part)
                for number, segment in enumerate(SEGMENT_NAMES)
                for part in SEGMENT_FIELDS
            }
        case "fp_image":
            # the host's own registers are out of it while Python looks; behind XMM7 the image is not the guest's
            return {f"{name}.{slot}": cpu[name, slot] & FX_VISIBLE.get(slot, _ALL) for slot in range(FX_GUEST_SLOTS)}
        case _ if field.slots > 1:
            return {f"{name}.{slot}": cpu[name, slot] for slot in range(field.slots)}
        case _:
            return {name: cpu[name]}


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
