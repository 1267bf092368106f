"""Which bytes of a page are code: for stores to variables that lie among it.

The map of 64-byte granules (bt/memory/physical.py) says where code may have been written, and then all blocks of the
page are looked at. A loop that polls a variable among code would have that done in every pass: iPXE waits so for its
clock's interrupt, with 302 blocks in the page, 12,000 host cycles each time, 850 with this. So pages in which a store
has hit nothing get a row here: a bit for each byte that a living block has, or had since the row was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.codegen.layout import Layout
from bt.engine.structures import CONTROL
from bt.memory.physical import CODE_GRANULE_SHIFT, page_number
from bt.x86.page import PAGE

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.memory.access import NativeContext

ROWS = 64  # a page's is that of its number modulo this
GRANULE = 1 << CODE_GRANULE_SHIFT  # bytes: as many as a word has bits
ROW = Layout((("page", 64), *((f"granule{n}", 64) for n in range(PAGE // GRANULE))))
ROW_BYTES = ROW.size
HAS_ROW = 1  # added to the address of the page: 0 is none's


def is_spared(b: NativeContext, control: Value, physical: Value, size: Value) -> Value:
    """i1: no code is in [physical, physical + size), which is known of stores that stay within a granule."""
    row = _row(b, control, physical)
    begin, length = physical & (GRANULE - 1), size.zext(64)
    # of a longer one, which is not known, the shift must be one all the same
    stored = (b.const(-1, 64) >> ((b.const(GRANULE, 64) - length) & (GRANULE - 1))) << begin
    known = (begin + length).ule(GRANULE) & (ROW.get(b, row, "page") == _tag(physical))
    return known & ((b.load(_granule(row, physical), 64) & stored) == 0)


def begin_row(b: NativeContext, control: Value, physical: Value) -> None:
    """The page gets a row, without code so far."""
    row = _row(b, control, physical)
    ROW.put(b, row, "page", _tag(physical))
    with b.Range(b.const(PAGE // GRANULE, 32)) as n:
        b.store(ROW.pointer(row, "granule0") + (n.zext(64) << 3), b.const(0, 64))


def add_code(b: NativeContext, control: Value, physical: Value, size: Value) -> None:
    """A block has the bytes [physical, physical + size), as far as the page goes; noted if that has a row."""
    row = _row(b, control, physical)
    with b.If(ROW.get(b, row, "page") == _tag(physical)):
        page_end = (physical & -PAGE) + PAGE
        end = b.local(64, physical + size.zext(64))
        with b.If(end.get().ugt(page_end)):
            end.set(page_end)
        at = b.local(64, physical)
        with b.Loop() as loop:
            loop.break_if(at.get().uge(end.get()))
            granule_end = (at.get() | (GRANULE - 1)) + 1
            stop = b.select(granule_end.ult(end.get()), granule_end, end.get())
            bits = (b.const(-1, 64) >> (b.const(GRANULE, 64) - (stop - at.get()))) << (at.get() & (GRANULE - 1))
            word = _granule(row, at.get())
            b.store(word, b.load(word, 64) | bits)
            at.set(stop)


def _row(b: NativeContext, control: Value, physical: Value) -> Value:
    number = page_number(physical) & (ROWS - 1)
    return CONTROL.get_pointer(b, control, "code_bytes") + (number * ROW_BYTES)


def _tag(physical: Value) -> Value:
    return (physical & -PAGE) | HAS_ROW


def _granule(row: Value, physical: Value) -> Value:
    return ROW.pointer(row, "granule0") + (((physical & (PAGE - 1)) >> CODE_GRANULE_SHIFT) << 3)
