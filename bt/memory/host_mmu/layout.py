"""Where a view is and what lies around it.

A view is 4 GiB of host addresses, one for each guest address, from a multiple of 4 GiB on. Nothing is mapped in front
of it and behind it: an access that begins at FFFFFFFFh, of whatever size, faults in the guard.
"""

VIEW_BYTES = 1 << 32
GUARD_BYTES = 1 << 20
"""B: more than any instruction accesses at once."""
