"""What the tables of the soft MMU look like: one for each privilege, the same for 64-bit mode, and an empty one.

Stencils, which are for 32-bit code, compare 32 bits of a tag: so their tables know no address beyond 4 GiB. In long
mode the processor's own accesses, whose tables may be anywhere, go by those of 64-bit mode.

An entry holds a read tag, a write tag and an addend: host address = linear address + addend. A tag is the address of
the last byte of a page, which is never zero: so an empty entry is zeros, and tables cost no memory before they are
used. An access of n bytes hits when the tag is that of its *last* byte's page, so a page-crossing access misses without
a check of its own. Entries
whose page holds translated code never have a write tag: stores there take the slow path, which looks for self-modified
code.
"""

from bt.x86.state import TLB_BYTES, TLB_TABLES

TLB_ENTRY_BYTES = 32
TLB_ENTRIES = TLB_BYTES // TLB_ENTRY_BYTES
READ_TAG, WRITE_TAG, ADDEND, PHYSICAL = 0, 8, 16, 24  # offsets within an entry
INVALID_TAG = 0
# PHYSICAL has, beside the physical page, WALKED_GLOBAL, WALKED_NO_EXECUTE and WALKED_LARGE (bt/x86/services.py) of the
# walk that made the entry, and WALKED_WRITABLE if it was for writing and the page is marked dirty.
PHYSICAL_FLAGS = 4096 - 1

TABLES = TLB_TABLES  # one behind the other in the state, as `tlb_filled` counts their entries
SUPERVISOR, USER, SUPERVISOR_64, USER_64 = TABLES
EMPTY = "tlb_none"  # accesses that all take the slow path
# Displacement from a linear address, shifted right so far, to its entry.
ENTRY_SHIFT = 12 - (TLB_ENTRY_BYTES.bit_length() - 1)
ENTRY_MASK = (TLB_ENTRIES - 1) * TLB_ENTRY_BYTES

# Holes of stencils (bt/memory/backend.py): displacements from the state pointer of the tags and addends of this mode's
# table, of the tag and the addend of an operand at a known address; and the tag of that operand's page. True: signed.
HOLES = {"TAG_OFFSET": True, "ADDEND_OFFSET": True, "ENTRY_TAG": True, "ENTRY_ADDEND": True, "PAGE_TAG": False}

_PARTS = {READ_TAG: "read_tag", WRITE_TAG: "write_tag", ADDEND: "addend", PHYSICAL: "physical"}


def part_name(table: str, displacement: int) -> str | None:
    """What people call a displacement into a slot of the CPU state, if that is one of the tables."""
    return f"{table}.{_PARTS[displacement]}" if table in (*TABLES, EMPTY) and displacement in _PARTS else None
