"""4-level paging, of long mode: 48-bit linear addresses, pages of 4 KiB, 2 MiB and 1 GiB (SDM vol. 3A 4.5)."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86 import features
from bt.x86.context import Context
from bt.x86.services import WALKED_HUGE
from bt.x86.system.paging.pae_paging import FRAME, LARGE_OFFSET, LARGE_RESERVED, NO_EXECUTE
from bt.x86.system.paging.paging import LARGE, WALK_FOUR_LEVELS, Parent, Walk, no_execute_enabled

HUGE_OFFSET = 0x3FFF_FFFF
HUGE_RESERVED = HUGE_OFFSET & ~0x1FFF  # bit 12 is PAT
IGNORED = 0x7FF << 52  # of any entry: bits 52 to 62


def _reserved_bits(b: Context) -> Value:
    """Of an entry of any level: beyond physical addresses up to bit 51, and bit 63 while it means nothing, i64."""
    never = b.get("physical_reserved") & ~IGNORED
    return never & b.select(no_execute_enabled(b), b.const(~NO_EXECUTE, 64), -1)


def _walk_four_levels(b: Context) -> None:
    """WALK_FOUR_LEVELS. Rights are those of all levels together, and so is bit 63."""
    _, linear, access = b.arguments
    walk = Walk(b, linear, access, 64)
    reserved = _reserved_bits(b)
    with_huge_pages = features.has(b, "pdpe1gb")

    def entry(table: Value, shift: int) -> tuple[Value, Value]:
        """The entry of a table that linear address bits from `shift` + 3 on choose, and its physical address."""
        address = ((table & FRAME) | ((linear >> shift) & 0xFF8)) & walk.a20
        found = walk.entry(address)
        walk.require_present(found)
        return found, address

    top, top_address = entry(b.get("cr3"), 36)
    walk.refuse_reserved(top & (reserved | LARGE))
    pointer, pointer_address = entry(top, 27)
    huge = (pointer & LARGE) != 0
    refused = b.select(with_huge_pages, b.const(HUGE_RESERVED, 64), LARGE)
    walk.refuse_reserved(pointer & (reserved | b.select(huge, refused, 0)))
    rights, no_execute = top & pointer, b.local(64, top | pointer)
    directory, directory_address, has_directory = b.local(64, 0), b.local(64, 0), b.local(1, 0)
    with b.IfElse(huge) as size:
        with size.then():
            physical = (pointer & FRAME & ~HUGE_OFFSET) | (linear & HUGE_OFFSET)
            walk.found(pointer, pointer_address, rights, physical, is_large=True)
        with size.otherwise():
            found, address = entry(pointer, 18)
            large = (found & LARGE) != 0
            walk.refuse_reserved(found & (reserved | b.select(large, b.const(LARGE_RESERVED, 64), 0)))
            no_execute.set(no_execute.get() | found)
            with b.IfElse(large) as arm:
                with arm.then():
                    physical = (found & FRAME & ~LARGE_OFFSET) | (linear & LARGE_OFFSET)
                    walk.found(found, address, rights & found, physical, is_large=True)
                with arm.otherwise():
                    leaf, leaf_address = entry(found, 9)
                    walk.refuse_reserved(leaf & reserved)
                    no_execute.set(no_execute.get() | leaf)
                    physical = (leaf & FRAME) | (linear & 0xFFF)
                    walk.found(leaf, leaf_address, rights & found & leaf, physical, is_large=False)
                    directory.set(found)
                    directory_address.set(address)
                    has_directory.set(1)
    parents = (
        Parent(b.const(1, 1), top, top_address),
        Parent(~huge, pointer, pointer_address),
        Parent(has_directory.get(), directory.get(), directory_address.get()),
    )
    walk.finish(parents, no_execute.get().bit(63) & no_execute_enabled(b))
    b.put("walk_flags", b.get("walk_flags") | (huge.zext(64) * WALKED_HUGE))


RUNTIME = ((WALK_FOUR_LEVELS, _walk_four_levels),)
