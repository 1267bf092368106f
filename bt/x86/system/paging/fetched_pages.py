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


def _place(b: Context, linear: Value) -> tuple[Value, Value]:
    """Pointer to the slot of a linear address (i64), and its bit there (i64)."""
    return b.bit_place("fetched_pages", (linear >> _PAGE_SHIFT) & (64 * FETCHED_PAGES_SLOTS - 1))


def note_fetch(b: Context, linear: Value) -> None:
    """Code was found at a linear address (i64)."""
    slot, bit = _place(b, linear)
    b.store(slot, b.load(slot, 64) | bit)


def was_fetched(b: Context, linear: Value) -> Value:
    """Whether code may have been found in the page of a linear address (i64); i1."""
    slot, bit = _place(b, linear)
    return (b.load(slot, 64) & bit) != 0


def forget_fetches(b: Context) -> None:
    """Nobody trusts any mapping any more."""
    for number in range(FETCHED_PAGES_SLOTS):
        b.put("fetched_pages", b.const(0, 64), number)
