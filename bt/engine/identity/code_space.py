"""Where units lie: pieces of the library's arena, each known to the signal handler."""

from __future__ import annotations

import ctypes

from bt.codegen.arena import ArenaFull
from bt.engine.library.library import Library
from bt.engine.library.pieces import Pieces
from bt.host.faults import FAULTS
from bt.host.reserved import Refused

MOST_PIECES = 16  # 4 MiB
_ALIGNMENT = 64
_NO_MORE = (1 << 64) - 1


class CodeSpace:
    """Code and data for units, filled from the first piece to the last."""

    def __init__(self, library: Library, state: int) -> None:
        """`state`: host address of the processor's. Raises Refused where there is no room left."""
        self._state = state
        self._to_write = library.arena.write_base - library.arena.exec_base
        try:
            self._pieces = Pieces(library, MOST_PIECES, vital=False)
        except ArenaFull:
            raise Refused("no room for its code is left") from None
        self._entries: list[int] = []
        self._extents: list[tuple[int, int]] = []
        self._begin_piece(1)

    def next(self, most: int, first_site: int) -> int | None:
        """Where up to `most` bytes can be written next, whose sites count from `first_site`; None when all is full."""
        start = -(-self._next // _ALIGNMENT) * _ALIGNMENT
        if start + most > self._pieces.end:
            if not self._pieces.grow():
                return None
            FAULTS.no_more_sites(self._entries[-1], first_site)
            self._begin_piece(first_site)
            start = self._next
        return start if start + most <= self._pieces.end else None

    def _begin_piece(self, first_site: int) -> None:
        begin, end = self._pieces.current, self._pieces.end
        self._entries.append(FAULTS.enter(begin, end, self._state, (first_site, _NO_MORE)))
        self._next = begin

    def add(self, start: int, code: bytes) -> None:
        """Write what `next` was asked for."""
        self.write(start, code)
        self._next = start + len(code)
        self._extents.append((start, len(code)))

    def write(self, host: int, code: bytes) -> None:
        """Write anywhere in the library's arena."""
        ctypes.memmove(host + self._to_write, code, len(code))

    @property
    def written(self) -> list[tuple[int, bytes]]:
        """Host address and bytes of each piece that was added."""
        return [(start, ctypes.string_at(start, size)) for start, size in self._extents]

    @property
    def scratch(self) -> int:
        """Host address of room that the next unit will take."""
        return self._next

    def forget(self) -> None:
        """Begin anew."""
        self._leave()
        self._pieces.shrink()
        self._extents.clear()
        self._begin_piece(1)

    def _leave(self) -> None:
        for number in self._entries:
            FAULTS.leave(number)
        self._entries.clear()

    def close(self) -> None:
        self._leave()
        self._pieces.close()
