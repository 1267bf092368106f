"""Two machines in lock step: run both, compare, and find the instruction after which they first differ.

The search leans on determinism: whatever it needs to look at more closely, it runs once more from the start.

1. Run both and compare registers and output every so many instructions, RAM and devices less often.
2. Narrow the span between the last full agreement and the first difference.
3. Go through what is left piece by piece, as the engine translates it: stopping inside a translated block would have
   the interpreter finish it, and hide what is wrong with the translation.
4. Cut the piece that differs down to one instruction, by translating ever less of it.
5. Where stopping makes the difference go away (pieces are right, how they are joined is not), stop as in 1 and then
   once more, at ever closer bounds of the first instruction after which the machines differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from bt.inspect.code import Instruction
from bt.inspect.compare.difference import Difference, deep_differences, differences
from bt.inspect.compare.peer import Peer, PeerFactory

FIRST_PERIOD = 100_000  # instructions between comparisons
LONGEST_PERIOD = 2_000_000
GROWTH = 2
DEEP_SHARE = 0.5  # of the time may go into comparing RAM and devices
PIECEWISE_SPAN = 500  # instructions gone through piece by piece
PARTS = (32, 29, 23)  # of a span; the next number is tried when stopping made the difference go away
HISTORY = 8  # instructions shown before the first difference

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What came of a comparison.

    `instructions`: compared, or retired up to and including `culprit`, which is None where the machines agree or do not
    even start alike. `unstopped`: where stopping to look makes the difference go away, the numbers of instructions that
    ran without a stop to show it at `culprit`.
    """

    names: tuple[str, str]
    instructions: int
    ended: str | None = None
    differences: tuple[Difference, ...] = ()
    culprit: Instruction | None = None
    unstopped: tuple[int, int] | None = None
    piece: tuple[Instruction, ...] = ()  # several, when only all of them together go wrong; culprit is then the last
    before: tuple[Instruction, ...] = ()
    notes: tuple[str, ...] = ()  # what else is to be known, a line each

    @property
    def identical(self) -> bool:
        return not self.differences


class _Differ(Exception):
    """Both machines stand at a point where they differ."""

    def __init__(self, found: list[Difference]) -> None:
        super().__init__(f"{len(found)} differences")
        self.found = found


@dataclass
class _Pair:
    """Two machines at the same instruction count."""

    left: Peer
    right: Peer

    @property
    def instructions(self) -> int:
        return self.left.instructions

    @property
    def ended(self) -> bool:
        return self.left.ended is not None or self.right.ended is not None

    def run_to(self, instructions: int) -> None:
        self.left.run_to(instructions)
        self.right.run_to(instructions)

    def stretch(self) -> int:
        return max(self.left.stretch(), self.right.stretch())

    def align(self) -> None:
        """Go on to where a piece of translation ends."""
        self.run_to(self.instructions + self.stretch())

    def limit_pieces(self, instructions: int) -> None:
        self.left.limit_pieces(instructions)
        self.right.limit_pieces(instructions)

    def compare(self, *, deep: bool = True) -> None:
        """Raises _Differ."""
        found = differences(self.left, self.right)
        if deep:
            found += deep_differences(self.left, self.right)
        if found:
            raise _Differ(found)


@dataclass
class _Span:
    """The machines agree after `good` instructions, and do not after `bad`."""

    good: int
    bad: int
    found: list[Difference] = field(default_factory=list)

    @property
    def width(self) -> int:
        return self.bad - self.good


class LockStep:
    """Compares the machines that two factories make; both must start alike."""

    def __init__(
        self,
        make_left: PeerFactory,
        make_right: PeerFactory,
        *,
        every: int | None = None,
        limit: int | None = None,
        progress: Progress = lambda text: None,
    ) -> None:
        """`every`: instructions between comparisons (default: more and more); `limit`: compare no more instructions."""
        self._make_left, self._make_right = make_left, make_right
        self._period, self._growing = every or FIRST_PERIOD, every is None
        self._limit = limit
        self._progress = progress
        self._names = ("", "")
        self._stops: list[int] = []  # of the search, in instructions

    def run(self) -> Report:
        """Compare to the end of the guest or the limit."""
        outcome = self._search()
        if isinstance(outcome, Report):
            return outcome
        if outcome.bad == 0:
            return Report(self._names, 0, differences=tuple(outcome.found))
        span = self._narrow(outcome)
        if span.width <= PIECEWISE_SPAN:
            span, exact = self._piecewise(span)
            if exact:
                return self._pin_down(span)
        return self._unstopped(outcome)

    @contextmanager
    def _pair(self, start: int = 0) -> Iterator[_Pair]:
        """Fresh machines, taken to `start`."""
        left, right = self._make_left(), self._make_right()
        try:
            pair = _Pair(left, right)
            self._names = (left.name, right.name)
            pair.run_to(start)
            yield pair
        finally:
            left.close()
            right.close()

    # -- 1: all of it ------------------------------------------------------------------------------------------------

    def _search(self) -> Report | _Span:
        period, agreed = self._period, 0
        with self._pair() as pair:
            watch = _DeepWatch()
            while True:
                last = pair.ended or pair.instructions == self._limit
                deep = last or watch.due()
                try:
                    with watch.measure(deep):
                        pair.compare(deep=deep)
                except _Differ as differ:
                    return _Span(agreed, pair.instructions, differ.found)
                if last:
                    return Report(self._names, pair.instructions, pair.left.ended)
                agreed = pair.instructions if deep else agreed
                self._stops.append(pair.instructions)
                self._progress(f"{pair.instructions:,} instructions alike")
                target = pair.instructions + period
                pair.run_to(target if self._limit is None else min(target, self._limit))
                if self._growing:
                    period = min(period * GROWTH, LONGEST_PERIOD)

    # -- 2: less and less of it --------------------------------------------------------------------------------------

    def _narrow(self, span: _Span) -> _Span:
        while span.width > PIECEWISE_SPAN:
            self._progress(f"differ between {span.good:,} and {span.bad:,} instructions")
            attempts = (self._divide(span, parts) for parts in PARTS)
            narrower = next((found for found in attempts if found is not None), None)
            if narrower is None:
                return span
            span = narrower
        return span

    def _divide(self, span: _Span, parts: int) -> _Span | None:
        """Compare at the ends of so many parts of a span. None if the machines agree now."""
        period = max(span.width // parts, 1)
        good = 0
        with self._pair(span.good) as pair:
            while True:
                try:
                    pair.compare()
                except _Differ as differ:
                    return _Span(good, pair.instructions, differ.found)
                good = pair.instructions
                if good >= span.bad or pair.ended:
                    return None
                pair.run_to(min(good + period, span.bad))
                if good + period < span.bad:
                    pair.align()

    # -- 3: piece by piece -------------------------------------------------------------------------------------------

    def _piecewise(self, span: _Span) -> tuple[_Span, bool]:
        """The piece after which the machines differ; False with the old span if they agree now."""
        with self._pair(span.good) as pair:
            good = span.good
            while good < span.bad and not pair.ended:
                pair.align()
                try:
                    pair.compare()
                except _Differ as differ:
                    return _Span(good, pair.instructions, differ.found), True
                good = pair.instructions
        return span, False

    # -- 4: one instruction ------------------------------------------------------------------------------------------

    def _pin_down(self, span: _Span) -> Report:
        """Translate the piece in parts: alone each instruction, or else the shortest beginning that goes wrong."""
        single = self._one_by_one(span)
        if single is not None:
            return self._explain(single)
        good, bad = span.good, span.bad
        found = span.found
        while bad - good > 1:
            middle = (good + bad) // 2
            wrong = self._beginning(span.good, middle)
            if wrong is None:
                good = middle
            else:
                bad, found = middle, wrong
        return self._explain(_Span(bad - 1, bad, found), first=span.good)

    def _one_by_one(self, span: _Span) -> _Span | None:
        with self._pair(span.good) as pair:
            pair.limit_pieces(1)
            good = span.good
            while good < span.bad and not pair.ended:
                pair.run_to(good + 1)
                try:
                    pair.compare()
                except _Differ as differ:
                    return _Span(good, pair.instructions, differ.found)
                good = pair.instructions
        return None

    def _beginning(self, start: int, end: int) -> list[Difference] | None:
        """What differs when just the instructions [start, end) are translated as one piece."""
        with self._pair(start) as pair:
            pair.limit_pieces(end - start)
            pair.run_to(end)
            try:
                pair.compare()
            except _Differ as differ:
                return differ.found
        return None

    def _explain(self, span: _Span, first: int | None = None) -> Report:
        """The report on one instruction, with what the left machine did before it."""
        start = span.good if first is None else first
        trail: list[Instruction] = []
        left = self._make_left()
        try:
            left.run_to(max(start - HISTORY, 0))
            while left.instructions <= span.good and left.ended is None:
                trail.append(left.next_instruction())
                left.run_to(left.instructions + 1)
        finally:
            left.close()
        return Report(
            self._names,
            span.bad,
            differences=tuple(span.found),
            culprit=trail[-1] if trail else None,
            piece=tuple(one for one in trail if one.number >= start) if first is not None else (),
            before=tuple(one for one in trail[:-1] if one.number < start),
        )

    # -- 5: without stopping -----------------------------------------------------------------------------------------

    def _unstopped(self, span: _Span) -> Report:
        """The first instruction after which the machines differ when stopped as in the search, and there."""
        good, bad, found = span.good, span.bad, span.found
        while bad - good > 1:
            middle = (good + bad) // 2
            self._progress(f"differ after {bad:,} instructions, if not stopped before")
            wrong = self._replay(middle)
            if wrong:
                bad, found = middle, wrong
            else:
                good = middle
        first = max(stop for stop in self._stops if stop < bad)
        return replace(self._explain(_Span(bad - 1, bad, found)), unstopped=(first, bad))

    def _replay(self, end: int) -> list[Difference]:
        """What differs at `end` after the stops that the search made before."""
        with self._pair() as pair:
            for stop in self._stops:
                if stop < end:
                    pair.run_to(stop)
            pair.run_to(end)
            return differences(pair.left, pair.right) + deep_differences(pair.left, pair.right)


class _DeepWatch:
    """Says when RAM may be compared again: a small guest's at every point, a large one's as DEEP_SHARE allows."""

    def __init__(self) -> None:
        self._cost = 0.0
        self._last = time.monotonic()

    def due(self) -> bool:
        return (time.monotonic() - self._last) * DEEP_SHARE >= self._cost

    @contextmanager
    def measure(self, deep: bool) -> Iterator[None]:
        start = time.monotonic()
        yield
        if deep:
            self._last = time.monotonic()
            self._cost = self._last - start
