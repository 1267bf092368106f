"""`info tlb`, `info mem`: what the guest's page tables map, from the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bt.engine.linear import LARGE_PAGE, Processor, entry
from bt.engine.vcpu import own_vcpu
from bt.machine import Machine
from bt.monitor.command import Command, lines
from bt.x86.page import PAGE
from bt.x86.state import CpuState
from bt.x86.system.paging.pae_paging import FRAME
from bt.x86.system.paging.paging import LARGE, PRESENT
from bt.x86.system.registers.control_registers import CR0_PG, CR4_PAE, CR4_PSE, EFER_LMA

_PAE_LARGE_PAGE = 2 << 20
_NO_EXECUTE = 1 << 63
_USER, _WRITABLE = 1 << 2, 1 << 1
# letters of an entry's bits, in QEMU's order: no execute, global, large, dirty, accessed, PCD, PWT, user, writable
_LETTERS = ((_NO_EXECUTE, "X"), (1 << 8, "G"), (LARGE, "P"), (1 << 6, "D"), (1 << 5, "A"), (1 << 4, "C"), (1 << 3, "T"),
            (_USER, "U"), (_WRITABLE, "W"))  # fmt: skip
_4_GIB = 1 << 32
_TOP_SHIFT, _PAGE_SHIFT, _UPPER_HALF = 39, 12, 0xFFFF << 48


class Mapping(NamedTuple):
    """One entry that maps a page: `size` bytes from linear to physical address; `rights` of all levels together."""

    linear: int
    physical: int
    size: int
    entry: int
    rights: int


def mappings(cpu: Processor) -> Iterator[Mapping]:
    """Ascending, of the tables that CR3 names."""
    if not cpu.state["cr0"] & CR0_PG:
        return
    if cpu.state["efer"] & EFER_LMA:
        yield from _four_level(cpu, cpu.state["cr3"], 39, 0, _USER | _WRITABLE)
    else:
        yield from _pae(cpu) if cpu.state["cr4"] & CR4_PAE else _two_level(cpu)


def _two_level(cpu: Processor) -> Iterator[Mapping]:
    for number in range(1024):
        directory = entry(cpu, (cpu.state["cr3"] & -PAGE) + 4 * number, 4)
        if directory is None:
            continue
        linear = number * LARGE_PAGE
        if directory & LARGE and cpu.state["cr4"] & CR4_PSE:
            physical = directory & -LARGE_PAGE | (directory & 0x1FE000) << 19
            yield Mapping(linear, physical, LARGE_PAGE, directory, directory)
            continue
        for place in range(1024):
            found = entry(cpu, (directory & -PAGE) + 4 * place, 4)
            if found is not None:
                yield Mapping(linear + place * PAGE, found & -PAGE, PAGE, found, found & directory)


def _pae(cpu: Processor) -> Iterator[Mapping]:
    for quarter in range(4):
        pointer = cpu.state["pdpte", quarter]
        if not pointer & PRESENT:
            continue
        for number in range(512):
            directory = entry(cpu, (pointer & FRAME) + 8 * number, 8)
            if directory is None:
                continue
            linear = (quarter << 30) + number * _PAE_LARGE_PAGE
            if directory & LARGE:
                physical = directory & FRAME & -_PAE_LARGE_PAGE
                yield Mapping(linear, physical, _PAE_LARGE_PAGE, directory, directory)
                continue
            for place in range(512):
                found = entry(cpu, (directory & FRAME) + 8 * place, 8)
                if found is not None:
                    yield Mapping(linear + place * PAGE, found & FRAME, PAGE, found, found & directory)


def _four_level(cpu: Processor, table: int, shift: int, linear: int, rights: int) -> Iterator[Mapping]:
    """Of a table whose entries map 2**shift bytes each, from a linear address on; `rights` of the levels above."""
    for number in range(512):
        found = entry(cpu, (table & FRAME) + 8 * number, 8)
        if found is None:
            continue
        at = linear | number << shift
        if shift == _TOP_SHIFT and number >= 256:
            at |= _UPPER_HALF
        if shift == _PAGE_SHIFT or (found & LARGE and shift != _TOP_SHIFT):
            yield Mapping(at, found & FRAME & -(1 << shift), 1 << shift, found, found & rights)
        else:
            yield from _four_level(cpu, found, shift - 9, at, rights & found)


def _is_off(state: CpuState) -> bool:
    return not state["cr0"] & CR0_PG


def _tlb(pc: Machine, rest: str) -> str:
    if _is_off(pc.cpu.state):
        return "PG disabled\n"
    found = []
    for each in mappings(own_vcpu(pc.cpu)):
        is_large = each.size != PAGE
        letters = "".join(
            letter if each.entry & bit and (bit != LARGE or is_large) else "-" for bit, letter in _LETTERS
        )
        found.append(f"{each.linear:016x}: {each.physical:016x} {letters}")
    return lines(found)


def _mem(pc: Machine, rest: str) -> str:
    if _is_off(pc.cpu.state):
        return "PG disabled\n"
    found: list[str] = []
    start = end = rights = -1

    def close() -> None:
        if start >= 0:
            shown = ("u" if rights & _USER else "-") + "r" + ("w" if rights & _WRITABLE else "-")
            found.append(f"{start:016x}-{end:016x} {end - start:016x} {shown}")

    for each in mappings(own_vcpu(pc.cpu)):
        wanted = each.rights & (_USER | _WRITABLE)
        if each.linear != end or wanted != rights:
            close()
            start, rights = each.linear, wanted
        end = each.linear + each.size
    close()
    return lines(found)


INFO = (
    Command(("tlb",), "", "show virtual to physical memory mappings", _tlb),
    Command(("mem",), "", "show the active virtual memory mappings", _mem),
)
