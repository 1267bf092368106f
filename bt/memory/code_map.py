"""Which bytes of guest memory code was decoded from: a map of 64 bits a page, one for each 64 bytes of it."""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import Context

CODE_GRANULE_SHIFT = 6


def code_map_slot(b: Context, physical: Value) -> Value:
    """Pointer to the code map (u64) of a RAM page."""
    return b.get_pointer("page_info") + ((physical >> 12) << 3)
