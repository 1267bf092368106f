"""Linear addresses of a guest, looked up in its page tables from outside: it does not notice."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from bt.memory.map import PhysicalMap
from bt.memory.ram import OutsideRam
from bt.x86 import features
from bt.x86.page import PAGE
from bt.x86.state import CpuState
from bt.x86.system.paging.pae_paging import (
    FRAME,
    LARGE_OFFSET,
)
from bt.x86.system.paging.paging import (
    LARGE,
    PRESENT,
    PSE_36_BITS,
    PSE_36_SHIFT,
)
from bt.x86.system.registers.control_registers import (
    CR0_PG,
    CR4_PAE,
    CR4_PSE,
    EFER_LMA,
)

LARGE_PAGE = 4 << 20
MASK_32, MASK_64 = (1 << 32) - 1, (1 << 64) - 1


class Processor(Protocol):
    """Registers and what is at physical addresses."""

    @property
    def state(self) -> CpuState: ...
    @property
    def memory(self) -> PhysicalMap: ...


class Address(NamedTuple):
    """A linear address and where it is in guest physical memory; None if its page is not mapped."""

    linear: int
    physical: int | None


def translate(cpu: Processor, linear: int) -> Address:
    """Look up a linear address in the guest's page tables (SDM vol. 3A 4.3 to 4.5), leaving accessed bits alone.

    Where there is no long mode it has 32 bits; in long mode one that is not canonical is nowhere.
    """
    physical: int | None
    if cpu.state["efer"] & EFER_LMA:
        linear &= MASK_64
        physical = _walk_four_levels(cpu, linear)
    else:
        linear &= MASK_32
        physical = linear
        if cpu.state["cr0"] & CR0_PG:
            physical = (_walk_pae if cpu.state["cr4"] & CR4_PAE else _walk)(cpu, linear)
    return Address(linear, None if physical is None else physical & cpu.state["a20_mask"])


def _walk(cpu: Processor, linear: int) -> int | None:
    directory = entry(cpu, (cpu.state["cr3"] & -PAGE) | (linear >> 20 & 0xFFC), 4)
    if directory is None:
        return None
    if directory & LARGE and cpu.state["cr4"] & CR4_PSE:
        pse_36 = features.shown_by(cpu.state, "pse36")
        upper = (directory & PSE_36_BITS) << PSE_36_SHIFT if pse_36 else 0
        return upper | (directory & -LARGE_PAGE) | linear % LARGE_PAGE
    table = entry(cpu, (directory & -PAGE) | (linear >> 10 & 0xFFC), 4)
    return None if table is None else (table & -PAGE) | linear % PAGE


def _walk_pae(cpu: Processor, linear: int) -> int | None:
    pointer = cpu.state["pdpte", linear >> 30]
    directory = entry(cpu, (pointer & FRAME) | (linear >> 18 & 0xFF8), 8) if pointer & PRESENT else None
    if directory is None:
        return None
    if directory & LARGE:
        return (directory & FRAME & ~LARGE_OFFSET) | (linear & LARGE_OFFSET)
    table = entry(cpu, (directory & FRAME) | (linear >> 9 & 0xFF8), 8)
    return None if table is None else (table & FRAME) | linear % PAGE


def _walk_four_levels(cpu: Processor, linear: int) -> int | None:
    if linear >> 47 not in (0, (1 << 17) - 1):
        return None
    table: int | None = cpu.state["cr3"]
    for shift in (39, 30, 21, 12):
        assert table is not None
        table = entry(cpu, (table & FRAME) | (linear >> shift & 511) << 3, 8)
        if table is None:
            return None
        if shift == 12 or (table & LARGE and shift != 39):
            within = (1 << shift) - 1
            return (table & FRAME & ~within) | (linear & within)
    return None


def entry(cpu: Processor, physical: int, size: int) -> int | None:
    """A paging structure's entry of `size` bytes; None if it is not present, or not in memory."""
    physical &= cpu.state["a20_mask"]
    try:
        found = int.from_bytes(cpu.memory.read(physical, size), "little")
    except OutsideRam:
        return None
    return found if found & PRESENT else None


def read_linear(cpu: Processor, linear: int, size: int) -> bytes:
    """Up to `size` bytes at a linear address; fewer where memory or the mapping ends."""
    found = bytearray()
    while len(found) < size:
        linear_now, physical = translate(cpu, linear + len(found))
        part = min(size - len(found), PAGE - linear_now % PAGE)
        if physical is None:
            break
        try:
            found += cpu.memory.read(physical, part)
        except OutsideRam:
            break
    return bytes(found)
