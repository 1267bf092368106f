"""The dirty log: one byte a RAM page, PAGE_DIRTY once the page was written to (bt/memory/dirty_log.py keeps it).

A page has no write tag in a TLB before it is marked, so that no store to a page that is marked costs anything, and none
to any page while no log is kept.
"""

from __future__ import annotations

from bt.codegen.value import Value
from bt.x86.context import Context
from bt.x86.state import PAGE_DIRTY


def mark_dirty(b: Context, physical: Value) -> None:
    """Mark the RAM page of a guest physical address (i64) that is written to, if a log is kept."""
    with b.Unlikely(b.get("dirty_log") != 0):
        b.store(_mark(b, physical), b.const(PAGE_DIRTY, 8))


def needs_no_mark(b: Context, physical: Value) -> Value:
    """Whether stores to a RAM page may go unnoticed: it is marked, or no log is kept (i1)."""
    free = b.local(1, 1)
    with b.Unlikely(b.get("dirty_log") != 0):
        free.set(b.load(_mark(b, physical), 8) != 0)
    return free.get()


def _mark(b: Context, physical: Value) -> Value:
    return b.get_pointer("dirty_log") + (physical >> 12)
