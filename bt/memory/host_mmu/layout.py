"""Where views are, what lies around them, and what is noted of those that follow page tables.

A view is 4 GiB of host addresses, one for each guest address, from a multiple of 4 GiB on. Nothing is mapped right in
front of it and behind it: an access that begins at FFFFFFFFh, of whatever size, faults in a guard, and so does one
whose address would have wrapped.
"""

from bt.codegen.layout import Layout
from bt.x86.page import PAGE, REGION_SHIFT

VIEW_BYTES = 1 << 32
GUARD_BYTES = 1 << 20
"""B, in front of it: more than any instruction accesses at once, or than a small negative displacement leads to."""
GUARD_BEHIND_BYTES = (7 << 32) + (1 << 31) + GUARD_BYTES
"""B, behind: as far as a register of 32 bits, times eight, leads with a displacement (operand_forms.py)."""

PROBE_BYTES = 1 << 16
PROBE = PROBE_BYTES - GUARD_BYTES
"""From a view to 64 KiB in front of it that can be read, with nothing around: to find out whether an offset is below
64 KiB without a comparison. They lie in the far half of the guard, where no small negative displacement leads."""

USER_VIEWS = 4
PAGED_VIEWS = 1 + USER_VIEWS
"""The first is for the CPLs below 3. The others are for 3, each for a value of CR3."""
MOST_LOOKED_AFTER = 1 << 11
"""Of more pages than these it is not found out, when CR3 is loaded, whether they are still the same."""
MOST_MAPPED = 1 << 13
"""Pages that a view with page tables has at once; the host allows a process 65,530 mappings."""
PAGED_VIEW = Layout(
    (
        ("address", 64),  # of the view, host; 0: there is none
        ("cr3", 64),  # for CPL 3: what it is a view of, and when it was loaded last
        ("loaded_at", 64),
        ("count", 64),  # of the pages listed
        ("fd", 64),  # of the guest's RAM
        ("ram", 64),  # its host address, and bytes
        ("ram_bytes", 64),
    )
)
# Behind it a u32 for each region of the view: of how many pages that are mapped there the guest's is a large one. Then
# a u32 for each page listed: its number; and a u64 for each page of the view.
LARGES = PAGE
LISTED_PAGES = LARGES + 4 * (VIEW_BYTES >> REGION_SHIFT)
PAGES = LISTED_PAGES + 4 * MOST_MAPPED
PAGED_VIEW_BYTES = PAGES + 8 * (VIEW_BYTES // PAGE)
# What is at a page: physical address, and of WALKED_* (bt/x86/services.py) whether it is writable, global, large.
PAGE_LISTED, PAGE_MAPPED = 1 << 10, 1 << 11
