"""Which linear pages code has been fetched from since mappings changed last.

What finds code by its linear address (branch cache, record cache, return stack) trusts the mapping of those pages and
of no others. When another page is mapped anew all of that stays: systems do so to their data all the time.

`fetched_pages` has fewer bits than there are pages: one that is set may be another page's.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import Context
from bt.x86.page import PAGE
from bt.x86.state import FETCHED_PAGES_SLOTS

_PAGE_SHIFT = PAGE.bit_length() - 1


assert FETCHED_PAGES_SLOTS <= 64, "`fetched_slots` has a bit for each"


def _number(linear: Value) -> Value:
    """Of the bit for the page of a linear address (i64)."""
    return (linear >> _PAGE_SHIFT) & (64 * FETCHED_PAGES_SLOTS - 1)


def note_fetch(b: Context, linear: Value) -> None:
    """Code was found at a linear address (i64)."""
    number = _number(linear)
    slot, bit = b.bit_place("fetched_pages", number)
    b.store(slot, b.load(slot, 64) | bit)
    b.put("fetched_slots", b.get("fetched_slots") | (b.const(1, 64) << (number >> 6)))


def was_fetched(b: Context, linear: Value) -> Value:
    """Whether code may have been found in the page of a linear address (i64); i1."""
    slot, bit = b.bit_place("fetched_pages", _number(linear))
    return (b.load(slot, 64) & bit) != 0


def forget_fetches(b: Context) -> None:
    """Nobody trusts any mapping any more."""
    with b.EachBit(b.get("fetched_slots")) as number:
        b.store(b.slot("fetched_pages") + (number << 3), b.const(0, 64))
    b.put("fetched_slots", 0)
