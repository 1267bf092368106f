"""Descriptor tables, gates and page tables as bytes, for tests that build a guest without an assembler."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from bt.x86.state import CS, DS, ES, FS, GS, SS, CpuState
from bt.x86.system.segmentation import segment_cache

PAGE_BYTES = 0x1000
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = 1, 2, 4, 0x20, 0x40, 0x80, 0x100
"""Bits of page-directory and page-table entries (SDM vol. 3A, tables 4-4 to 4-6)."""

CODE, DATA, LDT, TSS = 0x9B, 0x93, 0x82, 0x8B
"""Access bytes of descriptors, present, DPL 0: readable code, writable data, LDT, busy 32-bit TSS."""
DPL_3 = 0x60
BIG, PAGES = 0x4, 0x8
"""Descriptor flags: D/B, G."""
TSS_BYTES = 104
VECTORS_WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17})


def descriptor(access: int, *, base: int = 0, limit: int = 0xFFFFF, flags: int = PAGES | BIG) -> bytes:
    """A segment descriptor (SDM vol. 3A, figure 3-8); `limit` in the unit that `flags` say."""
    return struct.pack(
        "<HHBBBB", limit & 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, access, flags << 4 | limit >> 16, base >> 24
    )


def descriptor_table(entries: Mapping[int, bytes]) -> bytes:
    """A GDT or LDT from descriptors by selector, whatever its RPL and TI."""
    table = bytearray(max(selector & ~7 for selector in entries) + 8)
    for selector, entry in entries.items():
        table[selector & ~7 : (selector & ~7) + 8] = entry
    return bytes(table)


def interrupt_gate(selector: int, target: int, *, dpl: int = 0) -> bytes:
    """A 32-bit interrupt gate (SDM vol. 3A, figure 6-2)."""
    return struct.pack("<HHBBH", target & 0xFFFF, selector, 0, 0x8E | dpl << 5, target >> 16)


def task_state(stack_selector: int, stack_pointer: int) -> bytes:
    """A 32-bit TSS that only has the stack of ring 0, without an I/O permission bitmap."""
    return struct.pack("<4xII88xHH", stack_pointer, stack_selector, 0, TSS_BYTES)


def page_table(entries: Mapping[int, int]) -> bytes:
    """A page directory or table from entries by number; P, A and D are added."""
    table = bytearray(PAGE_BYTES)
    for number, entry in entries.items():
        struct.pack_into("<I", table, 4 * number, entry | PRESENT | ACCESSED | DIRTY)
    return bytes(table)


def flat_segments(cpu: CpuState, code_selector: int, data_selector: int) -> None:
    """Flat 32-bit segments of ring 0 in all six segment registers."""
    for number in (CS, SS, DS, ES, FS, GS):
        selector, access = (code_selector, CODE) if number == CS else (data_selector, DATA)
        segment_cache.fill(cpu, number, selector=selector, base=0, limit=0xFFFFFFFF, access=access, big=True)
