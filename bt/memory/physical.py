"""Physical memory in generated code: what is at an address, what was written, where code was decoded from.

`page_info` has 64 bits for each page of the physical address space, one for each 64 bytes of it that code came from;
`dirty_log` a byte, PAGE_DIRTY since something was written there. Both are as long as the address space, and pages of
them appear when touched: the host's page tables are what makes them sparse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.memory.map_layout import (
    CHUNK_PAGES,
    CHUNK_SHIFT,
    CHUNK_TABLE,
    CHUNKS,
    PAGE_MEMORY,
    PAGE_OVER_RAM,
    PAGE_SHIFT,
    PAGE_WRITABLE,
    PAGES,
)
from bt.x86.page import PAGE
from bt.x86.state import PAGE_DIRTY

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.x86.context import Context

CODE_GRANULE_SHIFT = 6


class PhysicalPage:
    """What the map says of the page of a physical address (i64).

    Nearly always it is RAM, whose chunks have one entry, known beforehand: the host's predictor takes that for granted
    while the map is read, so that the levels of a page walk need not wait for it (a walk took 10 ns more, nano-ptemod).
    """

    def __init__(self, b: Context, physical: Value) -> None:
        self.b, self.physical = b, physical
        chunk = b.load(b.get_pointer("memory_map") + (((physical >> CHUNK_SHIFT) & (CHUNKS - 1)) << 3), 64)
        ram = b.get("ram_entry")
        # LLVM must not find out that after the comparison `chunk` would do as well
        entry = b.local(64, b.asm("", "=r,0", "i64", ram))
        with b.Unlikely(chunk != ram):
            entry.set(chunk)
            with b.If((chunk & CHUNK_TABLE) != 0):
                number = (physical >> PAGE_SHIFT) & (CHUNK_PAGES - 1)
                entry.set(b.load((chunk - CHUNK_TABLE).to_pointer() + (number << 3), 64))
        self.entry = entry.get()

    @property
    def is_memory(self) -> Value:
        """i1. If not, it is a device's or nobody's."""
        return (self.entry & PAGE_MEMORY) != 0

    @property
    def is_writable(self) -> Value:
        """i1. Stores to other memory, ROM, vanish."""
        return (self.entry & PAGE_WRITABLE) != 0

    @property
    def is_over_ram(self) -> Value:
        """i1. Not writable, and yet stores do not vanish: they go to `host_behind`."""
        return (self.entry & PAGE_OVER_RAM) != 0

    @property
    def host_behind(self) -> Value:
        """Host address of the byte of RAM at this address, whatever lies over it (i64)."""
        return self.physical + (self.b.get("ram_entry") & -PAGE)

    @property
    def host(self) -> Value:
        """Host address of the byte, if it is memory (i64)."""
        return self.physical + (self.entry & -PAGE)


def page_number(physical: Value) -> Value:
    """i64, within the address space whatever the address."""
    return (physical >> PAGE_SHIFT) & (PAGES - 1)


def code_map_slot(b: Context, physical: Value) -> Value:
    """Pointer to the code map (u64) of a page."""
    return b.get_pointer("page_info") + (page_number(physical) << 3)


def mark_dirty(b: Context, physical: Value) -> None:
    """Note that a page is written to."""
    b.store(_mark(b, physical), b.const(PAGE_DIRTY, 8))


def is_dirty(b: Context, physical: Value) -> Value:
    """Whether stores to a page may go unnoticed, because it is marked (i1)."""
    return b.load(_mark(b, physical), 8) != 0


def _mark(b: Context, physical: Value) -> Value:
    return b.get_pointer("dirty_log") + page_number(physical)
