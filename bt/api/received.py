"""What a guest has sent on COM1, kept for whoever asks: the last of it, and how far somebody has taken it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re

    from bt.api.stops import Pattern

KEPT_BYTES = 1 << 20  # when there are twice as many the older half goes
MATCH_BYTES = 4096  # what a pattern matches lies within so many bytes


class Received:
    """Bytes in their order, each handed on to `sink` besides."""

    def __init__(self, sink: Callable[[int], None] | None) -> None:
        self._sink = sink
        self._kept = bytearray()
        self._dropped = 0  # bytes that were before these
        self.taken = 0  # of all bytes, those before here are nobody's business any more
        self._patterns: Sequence[Pattern] = ()
        self._matched: Callable[[Pattern, re.Match[bytes]], None] = _nobody_waits

    def receive(self, byte: int) -> None:
        """The guest has sent a byte."""
        kept = self._kept
        kept.append(byte)
        if self._sink is not None:
            self._sink(byte)
        if len(kept) >= 2 * KEPT_BYTES:
            self._dropped += len(kept) - KEPT_BYTES
            del kept[:-KEPT_BYTES]
        if self._patterns:
            self.look()

    @property
    def kept(self) -> bytes:
        return bytes(self._kept)

    @property
    def count(self) -> int:
        """How many bytes the guest has sent."""
        return self._dropped + len(self._kept)

    def between(self, start: int, end: int) -> bytes:
        """Of all bytes, those from number `start` to before `end`, as far as they are kept."""
        return bytes(self._kept[max(0, start - self._dropped) : max(0, end - self._dropped)])

    def watch(
        self, patterns: Sequence[Pattern], matched: Callable[[Pattern, re.Match[bytes]], None] | None = None
    ) -> None:
        """From now on call `matched` when what is not taken matches one of these; none: nobody waits any more."""
        self._patterns, self._matched = patterns, matched or _nobody_waits

    def look(self) -> None:
        """See whether what is not taken matches; what is before the end of the match is taken then."""
        start = max(self.taken, self.count - MATCH_BYTES)
        window = self.between(start, self.count)
        for pattern in self._patterns:
            if (match := pattern.compiled.search(window)) is not None:
                self.taken = max(start, self._dropped) + match.end()
                self._matched(pattern, match)
                return


def _nobody_waits(pattern: Pattern, match: re.Match[bytes]) -> None:
    pass
