"""What finds an address in the branch caches: a tag of 64 bits, and a place.

All code that looks an address up, enters one or predicts one asks here, so that a mode with longer addresses has one
place to say how it makes its own (docs/architecture.md, section 12).
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import Context
from bt.x86.mode import RIP_BITS
from bt.x86.state import BRANCH_CACHE_ENTRIES, BRANCH_CACHE_ENTRY_BYTES

_ENTRY_SHIFT = BRANCH_CACHE_ENTRY_BYTES.bit_length() - 1


def branch_tag(b: Context, eip: Value) -> Value:
    """Tag of EIP (i32, or i64 below 4 GiB) in the present mode and epoch, i64; of RIP in 64-bit code.

    RIP has 48 bits that say something, so epoch and mode have the other 16 (`mode._put_tag`).
    """
    if b.long:
        eip = eip & ((1 << RIP_BITS) - 1)
    return b.get("code_tag") | eip.zext(64)


def branch_cache_offset(eip: Value) -> Value:
    """Byte offset of the entry for EIP in the record cache and the branch cache, i64.

    Functions begin at multiples of 16: without the higher bits they would share a sixteenth of the entries.
    """
    mixed = (eip.zext(64) << _ENTRY_SHIFT) ^ eip.zext(64)
    return mixed & (BRANCH_CACHE_ENTRIES - 1 << _ENTRY_SHIFT)
