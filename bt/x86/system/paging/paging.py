"""Paging: the walk behind the software TLB (SDM vol. 3A 4.3 to 4.8): 32-bit paging here, PAE paging in pae_paging.py.

With 4 KiB and 4 MiB pages, the latter anywhere in 36 bits of physical addresses where the model has PSE-36.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from bt.codegen.abi import native
from bt.codegen.builder import Local
from bt.codegen.value import PTR, Value
from bt.x86 import features
from bt.x86.context import OK, PF, Context
from bt.x86.services import (
    PAGE_WALK,
    WALK_FETCH,
    WALK_PEEK,
    WALK_USER,
    WALK_WRITE,
    WALKED_GLOBAL,
    WALKED_LARGE,
    WALKED_NO_EXECUTE,
    WALKED_WRITABLE,
)
from bt.x86.system.registers.control_registers import (
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PGE,
    CR4_PSE,
    EFER_LMA,
    EFER_NXE,
)

# PAGE_WALK where CR4.PAE chooses another format (pae_paging.py), and in long mode (four_level_paging.py).
WALK_PAE = native("walk_pae", PTR, "i64", "i32")
WALK_FOUR_LEVELS = native("walk_four_levels", PTR, "i64", "i32")

# Bits of the entries of both formats (SDM vol. 3A tables 4-4 to 4-11)
PRESENT, WRITABLE, USER, ACCESSED, DIRTY, LARGE, GLOBAL = (1 << n for n in (0, 1, 2, 5, 6, 7, 8))
# In an entry for a 4 MiB page bit 12 is PAT; with PSE-36 bits 13-16 are address bits 32-35.
LARGE_RESERVED, LARGE_RESERVED_PSE_36 = 0x1FF << 13, 0x1F << 17
PSE_36_SHIFT, PSE_36_BITS = 32 - 13, 0xF << 13

# Bits of the page-fault error code (SDM vol. 3A figure 4-12); user and write are the access's own.
ERROR_PRESENT, ERROR_WRITE, ERROR_USER, ERROR_RESERVED, ERROR_FETCH = 1, 2, 4, 8, 16


class Parent(NamedTuple):
    """An entry that leads to another paging structure: whether the walk comes by it (i1), its physical address."""

    exists: Value
    entry: Value
    address: Value


@dataclass
class Walk:
    """One translation under way: entries in guest memory of `bits` each, the access, and what has been found so far."""

    b: Context
    linear: Value  # i64
    access: Value
    bits: int

    def __post_init__(self) -> None:
        b = self.b
        self.a20 = b.get("a20_mask")
        self.write, self.user = self.access & WALK_WRITE, self.access & WALK_USER
        self.leaf, self.leaf_address = b.local(self.bits), b.local(64)
        self.rights: Local = b.local(self.bits)  # of all levels together
        self.physical = b.local(64)
        self.is_large = b.local(1, 0)

    def entry(self, address: Value) -> Value:
        """The entry at a physical address (i64)."""
        return self.b.read_physical(address, self.bits)

    def page_fault(self, reason: Value | int) -> None:
        """#PF for the access. Ends the block."""
        b = self.b
        b.put("cr2", self.linear)
        b.fault(PF, ((self.write << 1) | (self.user << 1)) | reason | self._fetch_bit())

    def _fetch_bit(self) -> Value:
        """The I/D bit is only there when instruction fetches can be refused (SDM vol. 3A 4.7)."""
        b = self.b
        fetch = ((self.access & WALK_FETCH) != 0) & no_execute_enabled(b)
        return fetch.zext(32) * ERROR_FETCH

    def require_present(self, entry: Value) -> None:
        with self.b.Unlikely((entry & PRESENT) == 0):
            self.page_fault(0)

    def refuse_reserved(self, reserved: Value) -> None:
        """#PF if any of an entry's reserved bits is set."""
        with self.b.Unlikely(reserved != 0):
            self.page_fault(ERROR_PRESENT | ERROR_RESERVED)

    def _set_bits(self, address: Value, entry: Value, bits: Value | int) -> None:
        """Write the entry back with `bits` set, if they are not all set already."""
        b = self.b
        updated = entry | bits
        with b.Unlikely(updated != entry):
            with b.If((self.access & WALK_PEEK) != 0):
                self.page_fault(0)
            b.write_physical(address, updated)

    def found(self, leaf: Value, address: Value, rights: Value, physical: Value, *, is_large: bool) -> None:
        """The leaf, at a physical address (i64); the rights of all levels, and what the linear address is (i64)."""
        self.leaf.set(leaf)
        self.leaf_address.set(address)
        self.rights.set(rights)
        self.physical.set(physical)
        self.is_large.set(int(is_large))

    def finish(self, parents: Iterable[Parent], no_execute: Value) -> None:
        """Check the rights (`no_execute`, i1, of all levels), set A and D, which change only when the access is
        allowed, and answer. `parents`: what leads to the leaf."""
        b = self.b
        leaf, rights = self.leaf.get(), self.rights.get()
        may_write = (rights & WRITABLE) != 0
        # a supervisor ignores read-only pages unless CR0.WP
        supervisor_override = (self.user == 0) & ((b.get("cr0", width=32) & CR0_WP) == 0)
        may_write = may_write | supervisor_override
        refused = ((self.user != 0) & ((rights & USER) == 0)) | ((self.write != 0) & ~may_write)
        refused = refused | (((self.access & WALK_FETCH) != 0) & no_execute)
        with b.Unlikely(refused):
            self.page_fault(ERROR_PRESENT)
        dirty = b.select(self.write != 0, b.const(DIRTY, self.bits), 0)
        for parent in parents:
            with b.If(parent.exists):
                self._set_bits(parent.address, parent.entry, ACCESSED)
        self._set_bits(self.leaf_address.get(), leaf, dirty | ACCESSED)
        is_global = ((leaf & GLOBAL) != 0) & ((b.get("cr4", width=32) & CR4_PGE) != 0)
        is_dirty = ((leaf | dirty) & DIRTY) != 0
        found = is_global.zext(32) * WALKED_GLOBAL
        found = found | ((is_dirty & may_write).zext(32) * WALKED_WRITABLE)
        found = found | (self.is_large.get().zext(32) * WALKED_LARGE)
        b.put("walk_flags", found | (no_execute.zext(32) * WALKED_NO_EXECUTE))
        b.put("memory_value", self.physical.get() & self.a20)


def no_execute_enabled(b: Context) -> Value:
    """PAE paging with EFER.NXE, i1."""
    return ((b.get("cr4", width=32) & CR4_PAE) != 0) & ((b.get("efer", width=32) & EFER_NXE) != 0)


def _page_walk(b: Context) -> None:
    """PAGE_WALK: no paging, or 32-bit paging."""
    cpu, linear, access = b.arguments
    with b.Unlikely((b.get("cr0", width=32) & CR0_PG) == 0):
        b.put("memory_value", linear & b.get("a20_mask"))
        b.put("walk_flags", WALKED_WRITABLE)
        b.ret(OK)
    with b.If((b.get("cr4", width=32) & CR4_PAE) != 0):
        with b.If((b.get("efer", width=32) & EFER_LMA) != 0):
            b.ret(b.call(WALK_FOUR_LEVELS, cpu, linear, access))
        b.ret(b.call(WALK_PAE, cpu, linear, access))

    walk = Walk(b, linear, access, 32)
    linear = linear.trunc(32)
    directory = (b.get("cr3", width=32) & 0xFFFF_F000) | ((linear >> 20) & 0xFFC)
    directory_address = directory.zext(64) & walk.a20
    parent = walk.entry(directory_address)
    walk.require_present(parent)
    large = ((parent & LARGE) != 0) & ((b.get("cr4", width=32) & CR4_PSE) != 0)
    with b.IfElse(large) as arm:
        with arm.then():
            pse_36 = features.has(b, "pse36")
            walk.refuse_reserved(parent & b.select(pse_36, b.const(LARGE_RESERVED_PSE_36, 32), LARGE_RESERVED))
            upper = (parent & PSE_36_BITS).zext(64) << PSE_36_SHIFT
            physical = upper | ((parent & 0xFFC0_0000) | (linear & 0x003F_FFFF)).zext(64)
            walk.found(parent, directory_address, parent, physical, is_large=True)
        with arm.otherwise():
            table_address = ((parent & 0xFFFF_F000) | ((linear >> 10) & 0xFFC)).zext(64) & walk.a20
            entry = walk.entry(table_address)
            walk.require_present(entry)
            physical = ((entry & 0xFFFF_F000) | (linear & 0xFFF)).zext(64)
            walk.found(entry, table_address, parent & entry, physical, is_large=False)
    walk.finish([Parent(~large, parent, directory_address)], b.const(0, 1))


RUNTIME = ((PAGE_WALK, _page_walk),)
