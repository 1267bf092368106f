"""Marked pages of a copy go back to RAM, natively: 5,000 scattered ones take 4 ms instead of 10 from Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bt.codegen.abi import Signature, native
from bt.codegen.value import PTR, Value
from bt.memory.access import Body, NativeContext
from bt.memory.physical import code_map_slot
from bt.x86.page import PAGE
from bt.x86.services import CODE_WRITTEN

# RAM, host address of a copy of it, one byte a page that is not 0 where it is to be copied, and how many. Always OK.
COPY_PAGES = native("copy_pages", PTR, PTR, PTR, "i64")
# Kill the code that came from marked pages: state, physical address of the first, marks as above. Always OK.
FORGET_MARKED = native("forget_marked", PTR, "i64", PTR, "i64")


@contextmanager
def _marked(b: NativeContext, marks: Value, pages: Value) -> Iterator[Value]:
    """Once for each marked page: its offset in bytes."""
    index = b.local(64, 0)
    with b.Loop() as loop:
        page = index.get()
        loop.break_if(page == pages)
        index.set(page + 1)
        with b.If(b.load(marks + page, 8) != 0):
            yield page << 12


def _copy_pages(b: NativeContext) -> None:
    ram, copy, marks, pages = b.arguments
    with _marked(b, marks, pages) as at:
        b.asm(
            "rep movsq",
            "={rdi},={rsi},={rcx},0,1,2,~{memory},~{dirflag},~{flags}",
            "{ i64, i64, i64 }",
            (ram + at).zext(64),
            (copy + at).zext(64),
            b.const(PAGE // 8, 64),
        )


def _forget_marked(b: NativeContext) -> None:
    _, first, marks, pages = b.arguments
    with _marked(b, marks, pages) as at:
        physical = first + at
        with b.Unlikely(b.load(code_map_slot(b, physical), 64) != 0):
            b.call(CODE_WRITTEN, b.cpu, physical, PAGE)


RUNTIME: tuple[tuple[Signature, Body], ...] = ((COPY_PAGES, _copy_pages), (FORGET_MARKED, _forget_marked))
