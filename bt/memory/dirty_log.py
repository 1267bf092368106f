"""Which pages of RAM, or of a window, were written to since one of several moments.

Generated code has a log of its own, a byte a physical page, by which it may enter write tags (bt/memory/physical.py).
The map hands over what it finds there whenever somebody asks for the log of a piece of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from bt.host.area import Area
from bt.x86.state import PAGE_DIRTY

_RUN = re.compile(b"%c%c*" % (PAGE_DIRTY, PAGE_DIRTY))  # its first byte is found by memchr; a class or + is not
Marks = bytes
"""One byte a page: PAGE_DIRTY, or 0 where nothing was written."""


class DirtyLog:
    """One byte a page.

    A moment is named by a copy of RAM that was true then, or by whoever wants to know, and forgotten with it.
    """

    def __init__(self, pages: int) -> None:
        self._area = Area(pages)
        # pages written to since RAM was what the copy is, up to the last `same_as`: marks as a number, to be ORed
        self._earlier: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def mark(self, first: int, end: int) -> None:
        """The pages from number `first` to before `end` are written to."""
        self._area.map[first:end] = bytes((PAGE_DIRTY,)) * (end - first)

    def merge(self, first: int, marks: Marks) -> None:
        """The pages from number `first` on that are marked are written to."""
        end = first + len(marks)
        before = self._area.map[first:end]
        if PAGE_DIRTY in before:  # 60 us for 128 MiB
            marks = (int.from_bytes(before) | int.from_bytes(marks)).to_bytes(end - first)
        self._area.map[first:end] = marks

    def since(self, copy: object) -> Marks | None:
        """The pages written to since RAM was what `copy` is; None where that is not known."""
        earlier = self._earlier.get(copy)
        if not earlier:
            return None if earlier is None else self._now()
        return (int.from_bytes(self._now()) | earlier).to_bytes(self._area.size)

    def same_as(self, copy: object, put_back: Marks | None = None) -> None:
        """RAM is what `copy` is, from now on, because the pages `put_back`, not marked for that, were copied."""
        self._earlier.pop(copy, None)
        now = self._now()
        if self._earlier:
            changed = int.from_bytes(now) | int.from_bytes(put_back or b"")
            for other in self._earlier:
                self._earlier[other] |= changed
        self._earlier[copy] = 0
        first = now.find(PAGE_DIRTY)
        if first >= 0:  # 3 us for 128 MiB; to give its memory back, and have it come again, 40
            end = now.rfind(PAGE_DIRTY) + 1
            self._area.map[first:end] = bytes(end - first)

    def close(self) -> None:
        """Give the memory back."""
        self._area.close()

    def _now(self) -> Marks:
        return self._area.map[:]


def runs(marks: Marks) -> Iterator[tuple[int, int]]:
    """The marked pages as runs: number of the first, and of the one behind the last."""
    return (found.span() for found in _RUN.finditer(marks))
