"""Places in guest code as people name them: a linear address, or a selector and an offset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bt.engine.linear import read_linear
from bt.engine.protocol import Engine
from bt.engine.vcpu import Vcpu
from bt.errors import BadUsage
from bt.inspect.code import IN_LDT, SELECTOR_INDEX
from bt.inspect.modes import operating_mode
from bt.x86.state import ATTR_CODE_OR_DATA, ATTR_DPL_SHIFT, ATTR_PRESENT, CS, LDTR, SEGMENT_FIELDS
from bt.x86.system.segmentation import segment_cache

_CODE, _CONFORMING = 1 << 3, 1 << 2
_GRANULAR, _BIG = 8, 4  # of a descriptor's flags


@dataclass(frozen=True)
class Place:
    """`offset` in the segment that `selector` names; without one a linear address."""

    offset: int
    selector: int | None = None

    def is_next(self, cpu: Engine) -> bool:
        """Whether the instruction there is the one to be executed next."""
        eip, selector, base = cpu.state["eip"], cpu.state.segment(CS, "selector"), cpu.state.segment(CS, "base")
        if self.selector is None:
            return (base + eip) & 0xFFFF_FFFF == self.offset
        return (selector, eip) == (self.selector, self.offset)

    def __str__(self) -> str:
        return f"{self.offset:#x}" if self.selector is None else f"{self.selector:04x}:{self.offset:04x}"


@contextmanager
def looking_at(cpu: Vcpu, place: Place) -> Iterator[int]:
    """While the block lasts, CS is the segment of a place; gives the offset. BadUsage if the place is none for code."""
    state = cpu.state
    if place.selector is None:
        offset = (place.offset - state.segment(CS, "base")) & 0xFFFF_FFFF
        if offset > state.segment(CS, "limit"):
            selector, base, limit = (state.segment(CS, part) for part in ("selector", "base", "limit"))
            segment = f"CS {selector:04x} (base {base:#x}, limit {limit:#x})"
            raise BadUsage(f"--at {place}: outside of {segment}; give SELECTOR:OFFSET")
        yield offset
        return
    if place.selector == state.segment(CS, "selector"):
        yield place.offset
        return
    saved, level = [state.segment(CS, part) for part in SEGMENT_FIELDS], state["cpl"]
    try:
        _load_code_segment(cpu, place)
        cpu.call("update_mode")
        yield place.offset
    finally:
        for part, value in zip(SEGMENT_FIELDS, saved, strict=True):
            state.set_segment(CS, part, value)
        state["cpl"] = level
        cpu.call("update_mode")


def _load_code_segment(cpu: Vcpu, place: Place) -> None:
    """CS and CPL as after a jump to the place (SDM vol. 3A 5.8.1, 20.1.1), without its checks of privilege."""
    assert place.selector is not None
    if operating_mode(cpu.state) != "protected mode":
        cpu.state.set_segment(CS, "selector", place.selector)
        cpu.state.set_segment(CS, "base", place.selector << 4)
        return
    descriptor = _descriptor(cpu, place)
    access, flags = descriptor[5], descriptor[6] >> 4
    if not access & ATTR_PRESENT or not access & ATTR_CODE_OR_DATA or not access & _CODE:
        raise BadUsage(f"--at {place}: selector {place.selector:04x} is no code segment")
    limit = int.from_bytes(descriptor[:2], "little") | (descriptor[6] & 0xF) << 16
    segment_cache.fill(
        cpu.state,
        CS,
        selector=place.selector,
        base=int.from_bytes(descriptor[2:5], "little") | descriptor[7] << 24,
        limit=limit << 12 | 0xFFF if flags & _GRANULAR else limit,
        access=access,
        big=bool(flags & _BIG),
    )
    if not access & _CONFORMING:
        cpu.state["cpl"] = access >> ATTR_DPL_SHIFT & 3


def _descriptor(cpu: Vcpu, place: Place) -> bytes:
    assert place.selector is not None
    state = cpu.state
    base, limit = state["gdtr_base"], state["gdtr_limit"]
    if place.selector & IN_LDT:
        base, limit = state.segment(LDTR, "base"), state.segment(LDTR, "limit")
    index = place.selector & SELECTOR_INDEX
    descriptor = read_linear(cpu, base + index, 8) if index + 7 <= limit else b""
    if len(descriptor) < 8 or place.selector & ~3 == 0:
        raise BadUsage(f"--at {place}: no descriptor for selector {place.selector:04x}")
    return descriptor
