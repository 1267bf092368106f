"""Virtual time: counted in guest instructions, so that every run and every engine sees the same events alike.

An instruction takes one nanosecond. That is the machine's nominal rate, 1 GHz, and so the time stamp counter counts
nanoseconds too: one number is the time of every device and of RDTSC.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

NS_PER_SECOND = 1_000_000_000
NEVER_NS = 1 << 63


class Event:
    """A callback due at `at_ns`. Among events due at the same time the lower `order` runs first."""

    __slots__ = ("at_ns", "callback", "order")

    def __init__(self, at_ns: int, order: int, callback: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.order = order
        self.callback: Callable[[], None] | None = callback  # None once run or cancelled

    @property
    def pending(self) -> bool:
        return self.callback is not None

    def state(self) -> list[int] | None:
        """What `VirtualClock.restore_event` needs; None once run or cancelled."""
        return [self.at_ns, self.order] if self.pending else None


class VirtualClock:
    """The machine's only clock, in mode "icount": deterministic.

    Time is the instructions executed, a nanosecond each, plus `offset_ns`: what passed beside them, while the processor
    was halted or waited for a bus. The two are kept apart: an engine is told how many *instructions* remain until the
    next event, so every event comes at the same instruction in every engine.
    """

    def __init__(self) -> None:
        self.insns = 0
        self._beside_ns = 0
        self._events: list[tuple[int, int, Event]] = []
        self._due_ns = NEVER_NS  # when the first pending event is due
        self._next_order = 0

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the machine was switched on; never goes back."""
        return self.insns + self._beside_ns

    def grant(self, limit: int) -> tuple[int, int, int]:
        """What an engine's run gets: a budget, the time, its scale (bt/engine/protocol.py).

        The budget is 1 to `limit` instructions, until the next event is due: exactly so.
        """
        left = self._due_ns - self.insns - self._beside_ns
        # max(1, min(...)) takes 300 ns more
        return 1 if left < 1 or limit < 1 else left if left < limit else limit, self._beside_ns, 0

    def budget(self, limit: int) -> int:
        """The instructions of `grant`."""
        return self.grant(limit)[0]

    def advance(self, insns: int, beside_ns: int = 0) -> None:
        """Account for `insns` executed guest instructions, and for what passed beside them. Runs no events."""
        if insns < 0:
            raise ValueError(f"cannot take back {-insns} instructions")
        self.insns += insns
        self._beside_ns += beside_ns

    def spend(self, ns: int) -> None:
        """Let `ns` nanoseconds pass beside the instructions, on a bus."""
        self._beside_ns += ns

    def schedule(self, at_ns: int, callback: Callable[[], None]) -> Event:
        """Have `run_due` call `callback` once, as soon as virtual time has reached `at_ns`."""
        self._next_order += 1
        return self._push(Event(at_ns, self._next_order, callback))

    def cancel(self, event: Event | None) -> None:
        """Forget `event`; one that has run, was cancelled or is None is ignored."""
        if event is not None:
            event.callback = None
            if event.at_ns == self._due_ns:
                self._find_due()

    def run_due(self) -> int:
        """Run the callbacks now due, in order of time, including those they schedule; returns how many ran."""
        ran = 0
        while self._due_ns <= self.now_ns:
            _, _, event = heappop(self._events)
            callback, event.callback = event.callback, None
            self._find_due()
            assert callback is not None
            callback()
            ran += 1
        return ran

    @property
    def ns_to_next_event(self) -> int | None:
        """Nanoseconds until the next event is due, 0 or more; None if there is none to wait for."""
        return None if self._due_ns == NEVER_NS else max(0, self._due_ns - self.now_ns)

    def skip_to_next_event(self, limit_ns: int = NEVER_NS) -> bool:
        """The processor is halted: let time pass until the next event is due, but not beyond `limit_ns`.

        False if there is none to wait for.
        """
        if self._due_ns == NEVER_NS:
            return False
        wait_ns = min(self._due_ns, limit_ns) - self.now_ns
        if wait_ns > 0:
            self.idle(wait_ns)
        return True

    def idle(self, ns: int) -> None:
        """Let `ns` nanoseconds pass while the processor is halted."""
        self._beside_ns += ns

    def state(self) -> dict[str, Any]:
        """Time as JSON; events belong to whoever scheduled them (`Event.state`)."""
        return {
            "now_ns": self.now_ns,
            "insns": self.insns,
            "beside_ns": self._beside_ns,
            "next_order": self._next_order,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to `state` and drop all events: their owners, restored next, call `restore_event`."""
        for _, _, event in self._events:
            event.callback = None
        self._events.clear()
        self._find_due()
        self.insns = state["insns"]
        self._beside_ns = state["beside_ns"]
        self._next_order = state["next_order"]

    def restore_event(self, state: list[int] | None, callback: Callable[[], None]) -> Event | None:
        """Schedule an event again from its `Event.state`, in its old place among those due at the same time."""
        if state is None:
            return None
        at_ns, order = state
        return self._push(Event(at_ns, order, callback))

    def _push(self, event: Event) -> Event:
        heappush(self._events, (event.at_ns, event.order, event))
        self._find_due()
        return event

    def _find_due(self) -> None:
        """Drop what was cancelled, and note when the first event is due: asked at every exit of the engine."""
        while self._events and not self._events[0][2].pending:
            heappop(self._events)
        self._due_ns = self._events[0][0] if self._events else NEVER_NS


class Oscillator:
    """A crystal of `hz` running since the machine was switched on: virtual time in whole periods and back."""

    def __init__(self, clock: VirtualClock, hz: int) -> None:
        self._clock = clock
        self._hz = hz

    @property
    def ticks(self) -> int:
        """Whole periods so far."""
        return self._clock.now_ns * self._hz // NS_PER_SECOND

    def ns_at(self, tick: int) -> int:
        """The first virtual nanosecond at which `ticks` is `tick`."""
        return -(-tick * NS_PER_SECOND // self._hz)
