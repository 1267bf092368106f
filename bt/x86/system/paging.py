"""Two-level paging with 4 KiB and 4 MiB pages (SDM vol. 3A 4.3, 4.6 to 4.8): the page walk behind the software TLB.

Room for later: PAE and its NX bit are another walk, chosen here by CR4.PAE.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import OK, PF, Context
from bt.x86.services import PAGE_WALK, WALK_USER, WALK_WRITE, WALKED_GLOBAL, WALKED_WRITABLE
from bt.x86.system.control_registers import CR0_PG, CR0_WP, CR4_PGE, CR4_PSE

# Bits of page-directory and page-table entries (SDM vol. 3A tables 4-4 to 4-6)
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = (1 << n for n in (0, 1, 2, 5, 6, 7, 8))
# In an entry for a 4 MiB page; bit 12 is PAT, bits 13-21 would be address bits 32-40 with PSE-36, which we have not.
LARGE_RESERVED = 0x1FF << 13

# Bits of the page-fault error code (SDM vol. 3A figure 4-12); user and write are the access's own.
ERROR_PRESENT, ERROR_WRITE, ERROR_USER, ERROR_RESERVED = 1, 2, 4, 8

# What nobody answers to reads as ones.
FLOATING_BUS = 0xFFFF_FFFF


def _in_ram(b: Context, address: Value) -> Value:
    return address.zext(64).ult(b.get("ram_size"))


def _read_entry(b: Context, address: Value) -> Value:
    entry = b.local(32, FLOATING_BUS)
    with b.Likely(_in_ram(b, address)):
        entry.set(b.load(b.get_pointer("ram_base") + address, 32))
    return entry.get()


def _set_bits(b: Context, address: Value, entry: Value, bits: Value | int) -> None:
    """Write the entry back with `bits` set, if they are not all set already."""
    updated = entry | bits
    with b.Unlikely((updated != entry) & _in_ram(b, address)):
        b.store(b.get_pointer("ram_base") + address, updated)


def _page_walk(b: Context) -> None:
    """PAGE_WALK: rights of all levels are combined first; A and D bits change only when the access is allowed."""
    _, linear, access = b.arguments
    a20 = b.get("a20_mask", width=32)
    with b.Unlikely((b.get("cr0", width=32) & CR0_PG) == 0):
        b.put("memory_value", linear & a20)
        b.put("walk_flags", WALKED_WRITABLE)
        b.ret(OK)

    write, user = access & WALK_WRITE, access & WALK_USER
    access_error = (write << 1) | (user << 1)

    def page_fault(reason: int) -> None:
        b.put("cr2", linear)
        b.fault(PF, access_error | reason)

    cr4 = b.get("cr4", width=32)
    directory_address = ((b.get("cr3", width=32) & 0xFFFF_F000) | ((linear >> 20) & 0xFFC)) & a20
    directory_entry = _read_entry(b, directory_address)
    with b.Unlikely((directory_entry & PRESENT) == 0):
        page_fault(0)

    leaf, leaf_address = b.local(32), b.local(32)
    rights, physical = b.local(32), b.local(32)
    large = ((directory_entry & LARGE) != 0) & ((cr4 & CR4_PSE) != 0)
    with b.IfElse(large) as arm:
        with arm.then():
            with b.Unlikely((directory_entry & LARGE_RESERVED) != 0):
                page_fault(ERROR_PRESENT | ERROR_RESERVED)
            leaf.set(directory_entry)
            leaf_address.set(directory_address)
            rights.set(directory_entry)
            physical.set((directory_entry & 0xFFC0_0000) | (linear & 0x003F_FFFF))
        with arm.otherwise():
            table_address = ((directory_entry & 0xFFFF_F000) | ((linear >> 10) & 0xFFC)) & a20
            table_entry = _read_entry(b, table_address)
            with b.Unlikely((table_entry & PRESENT) == 0):
                page_fault(0)
            leaf.set(table_entry)
            leaf_address.set(table_address)
            rights.set(directory_entry & table_entry)
            physical.set((table_entry & 0xFFFF_F000) | (linear & 0xFFF))

    may_write = (rights.get() & WRITABLE) != 0
    # a supervisor ignores read-only pages unless CR0.WP
    supervisor_override = (user == 0) & ((b.get("cr0", width=32) & CR0_WP) == 0)
    may_write = may_write | supervisor_override
    refused = ((user != 0) & ((rights.get() & USER) == 0)) | ((write != 0) & ~may_write)
    with b.Unlikely(refused):
        page_fault(ERROR_PRESENT)

    dirty = b.select(write != 0, b.const(DIRTY, 32), 0)
    with b.If(~large):
        _set_bits(b, directory_address, directory_entry, ACCESSED)
    _set_bits(b, leaf_address.get(), leaf.get(), dirty | ACCESSED)

    is_global = ((leaf.get() & GLOBAL) != 0) & ((cr4 & CR4_PGE) != 0)
    is_dirty = ((leaf.get() | dirty) & DIRTY) != 0
    b.put(
        "walk_flags",
        b.select(is_global, b.const(WALKED_GLOBAL, 32), 0)
        | b.select(is_dirty & may_write, b.const(WALKED_WRITABLE, 32), 0),
    )
    b.put("memory_value", physical.get() & a20)


RUNTIME = ((PAGE_WALK, _page_walk),)
