"""PAE paging: 64-bit entries, 36-bit physical addresses, 2 MiB pages, execute disable (SDM vol. 3A 4.4)."""

from __future__ import annotations

from bt.codegen.abi import native
from bt.codegen.value import PTR, Value
from bt.x86.context import GP, OK, Context
from bt.x86.system.paging.paging import (
    LARGE,
    PRESENT,
    WALK_PAE,
    Parent,
    Walk,
    no_execute_enabled,
)
from bt.x86.system.registers.control_registers import (
    CR0_PG,
    CR4_PAE,
    EFER_LME,
)

# Load CR3: its value. With PAE paging the four page-directory-pointer-table entries go into registers, and #GP(0) if
# one that is present has reserved bits set; in long mode, if CR3 has address bits that there are not. The caller
# flushes the TLB.
LOAD_PAGE_DIRECTORY_BASE = native("load_page_directory_base", PTR, "i64")
# The part of it that reads the PDPTEs for a CR3, where paging and PAE will be as CR0 and CR4 given say.
LOAD_PDPTES = native("load_pdptes", PTR, "i64", "i32", "i32")

PDPT_ADDRESS = 0xFFFF_FFE0  # of CR3
PDPTE_RESERVED = 0x1E6  # bits 1, 2 and 5 to 8 (SDM vol. 3A table 4-8)
NO_EXECUTE = 1 << 63
FRAME = 0xF_FFFF_F000  # of an entry that has no reserved bit set
LARGE_OFFSET = 0x1F_FFFF
LARGE_RESERVED = LARGE_OFFSET & ~0x1FFF  # bit 12 is PAT


def _load_pdptes(b: Context) -> None:
    _, cr3, cr0, cr4 = b.arguments
    is_long = (b.get("efer", width=32) & EFER_LME) != 0
    with b.If(((cr0 & CR0_PG) == 0) | ((cr4 & CR4_PAE) == 0) | is_long):
        b.ret(OK)
    reserved = b.get("physical_reserved") | PDPTE_RESERVED
    walk = Walk(b, b.const(0, 64), b.const(0, 32), 64)
    entries = [walk.entry(((cr3 & PDPT_ADDRESS) + 8 * number) & walk.a20) for number in range(4)]
    for entry in entries:
        b.fault_if(((entry & PRESENT) != 0) & ((entry & reserved) != 0), GP, 0)
    for number, entry in enumerate(entries):
        b.put("pdpte", entry, number)


def _load_page_directory_base(b: Context) -> None:
    cpu, value = b.arguments
    b.fault_if((value & b.get("physical_reserved")) != 0, GP, 0)
    b.attempt(LOAD_PDPTES, cpu, value, b.get("cr0", width=32), b.get("cr4", width=32))
    b.put("cr3", value)


def _reserved_bits(b: Context) -> Value:
    """Bits 62 to the end of physical addresses, and bit 63 while it means nothing, i64."""
    return b.get("physical_reserved") & b.select(no_execute_enabled(b), b.const(~NO_EXECUTE, 64), -1)


def _walk_pae(b: Context) -> None:
    """WALK_PAE. Rights of the PDPTEs there are none; reserved bits count in entries that are present."""
    _, linear, access = b.arguments
    walk = Walk(b, linear, access, 64)
    reserved = _reserved_bits(b)
    pointer = b.load(b.slot("pdpte") + (((linear >> 30) & 3) << 3), 64)
    walk.require_present(pointer)
    directory_address = ((pointer & FRAME) | ((linear >> 18) & 0xFF8)) & walk.a20
    parent = walk.entry(directory_address)
    walk.require_present(parent)
    large = (parent & LARGE) != 0
    walk.refuse_reserved(parent & (reserved | b.select(large, b.const(LARGE_RESERVED, 64), 0)))
    no_execute = b.local(64, parent)
    with b.IfElse(large) as arm:
        with arm.then():
            physical = (parent & FRAME & ~LARGE_OFFSET) | (linear & LARGE_OFFSET)
            walk.found(parent, directory_address, parent, physical, is_large=True)
        with arm.otherwise():
            table_address = ((parent & FRAME) | ((linear >> 9) & 0xFF8)) & walk.a20
            entry = walk.entry(table_address)
            walk.require_present(entry)
            walk.refuse_reserved(entry & reserved)
            no_execute.set(parent | entry)
            physical = (entry & FRAME) | (linear & 0xFFF)
            walk.found(entry, table_address, parent & entry, physical, is_large=False)
    parents = [Parent(~large, parent, directory_address)]
    walk.finish(parents, no_execute.get().bit(63) & no_execute_enabled(b))


RUNTIME = (
    (LOAD_PAGE_DIRECTORY_BASE, _load_page_directory_base),
    (LOAD_PDPTES, _load_pdptes),
    (WALK_PAE, _walk_pae),
)
