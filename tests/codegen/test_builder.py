"""The builder's own vocabulary: what a construct does when its code runs."""

from __future__ import annotations

import pytest

from bt.codegen.abi import native
from bt.codegen.arena import Arena
from bt.codegen.builder import Module
from bt.codegen.layout import Layout
from bt.codegen.value import PTR
from tests.codegen.native import callable_at, load

_DIGITS = native("digits", "i64", result="i64")


def _digits(start: int, step: int, count: int) -> int:
    """The indexes of a Range up to an end known at run time, as decimal digits of a number."""
    module = Module("range")
    b = module.function(_DIGITS)
    number = b.local(64, 0)
    with b.Range(b.arguments[0], start, step=step) as i:
        number.set(number.get() * 10 + i)
    b.ret(number.get())
    b.finish()
    with Arena(1 << 16, name="test") as arena:
        return callable_at(load(arena, module.text())["digits"], 1)(count)


@pytest.mark.parametrize(
    ("start", "step", "end", "digits"),
    [(0, 1, 4, 123), (1, 1, 4, 123), (2, 3, 9, 258), (2, 3, 8, 25), (0, 8, 8, 0), (5, 1, 5, 0), (6, 1, 5, 0)],
)
def test_range_counts_like_pythons(start: int, step: int, end: int, digits: int) -> None:
    assert _digits(start, step, end) == digits == int("".join(map(str, range(start, end, step))) or 0)


def test_range_is_as_wide_as_its_end() -> None:
    b = Module("widths").function(_DIGITS)
    with b.Range(b.const(7, 16)) as narrow, b.Range(7) as wide:
        assert (narrow.width, wide.width) == (16, 64)


def test_count_adds_to_a_field() -> None:
    layout = Layout((("other", 32), ("hits", 64)))
    signature = native("hit", PTR, "i16", result="i64")
    module = Module("count")
    b = module.function(signature)
    layout.count(b, b.arguments[0], "hits")
    layout.count(b, b.arguments[0], "hits", b.arguments[1])
    b.ret(layout.get(b, b.arguments[0], "hits"))
    b.finish()
    with Arena(1 << 16, name="test") as arena:
        function = callable_at(load(arena, module.text())["hit"], 2)
        place = arena.write_base + (1 << 15)
        assert [function(place, 40), function(place, 0xFFFF)] == [41, 41 + 0x10000]
