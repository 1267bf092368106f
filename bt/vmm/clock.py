"""Virtual time: counted in guest instructions, so that every run and every engine sees the same events alike."""

import time
from collections.abc import Callable
from fractions import Fraction
from heapq import heappop, heappush
from typing import Any, Literal, get_args

from bt import arguments

NS_PER_SECOND = 1_000_000_000

ClockMode = Literal["icount", "host"]


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
    """The machine's only clock.

    In mode "icount" (deterministic) time is what the instructions executed took at a fixed rate, plus the time
    skipped while the processor was halted. The two are kept apart: an engine is told how many *instructions* remain
    until the next event, so every event comes at the same instruction in every engine. All arithmetic is in integers.

    In mode "host" time follows the host's monotonic clock, for guests that talk to people; `budget` is then only an
    estimate of how far the engine will get, and nothing is reproducible.
    """

    def __init__(
        self,
        insns_per_second: int | Fraction = NS_PER_SECOND,
        mode: ClockMode = "icount",
        *,
        host_ns: Callable[[], int] = time.monotonic_ns,
        host_sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`host_ns` and `host_sleep` (seconds) are the host's time, used in mode "host" only. Raises BadUsage for modes
        that there are not."""
        arguments.one_of("clock", mode, get_args(ClockMode))
        if insns_per_second <= 0:
            raise ValueError(f"{insns_per_second} instructions per second: the rate must be positive")
        self.mode = mode
        self.insns = 0
        self.idle_ns = 0
        self._ns_per_insn = NS_PER_SECOND / Fraction(insns_per_second)
        self._events: list[tuple[int, int, Event]] = []
        self._next_order = 0
        self._host_ns = host_ns
        self._host_sleep = host_sleep
        self._host_origin_ns = host_ns() if mode == "host" else 0

    @property
    def now_ns(self) -> int:
        """Virtual nanoseconds since the machine was switched on; never goes back."""
        if self.mode == "host":
            return self._host_ns() - self._host_origin_ns
        rate = self._ns_per_insn
        return self.insns * rate.numerator // rate.denominator + self.idle_ns

    def advance(self, insns: int) -> None:
        """Account for `insns` executed guest instructions. Runs no events: see `run_due`."""
        if insns < 0:
            raise ValueError(f"cannot take back {-insns} instructions")
        self.insns += insns

    def schedule(self, at_ns: int, callback: Callable[[], None]) -> Event:
        """Have `run_due` call `callback` once, as soon as virtual time has reached `at_ns`."""
        self._next_order += 1
        return self._push(Event(at_ns, self._next_order, callback))

    def cancel(self, event: Event | None) -> None:
        """Forget `event`; one that has run, was cancelled or is None is ignored."""
        if event is not None:
            event.callback = None

    def budget(self, limit: int) -> int:
        """Instructions to run, 1 to `limit`, until the next event is due (exactly so in mode "icount")."""
        event = self._next_event()
        if event is None:
            return max(1, limit)
        if self.mode == "host":
            needed = self._insns_for(event.at_ns - self.now_ns)
        else:
            needed = self._insns_for(event.at_ns - self.idle_ns) - self.insns
        return max(1, min(limit, needed))

    def run_due(self) -> int:
        """Run the callbacks now due, in order of time, including those they schedule; returns how many ran."""
        ran = 0
        while (event := self._next_event()) is not None and event.at_ns <= self.now_ns:
            heappop(self._events)
            callback, event.callback = event.callback, None
            if callback is not None:
                callback()
                ran += 1
        return ran

    def skip_to_next_event(self) -> bool:
        """The processor is halted: let time pass until the next event is due; False if there is none to wait for."""
        event = self._next_event()
        if event is None:
            return False
        wait_ns = event.at_ns - self.now_ns
        if wait_ns > 0:
            self.idle_ns += wait_ns
            if self.mode == "host":
                # rounded up to a microsecond: waking early would only make the caller halt once more
                self._host_sleep((wait_ns + 999) // 1000 / 1_000_000)
        return True

    def state(self) -> dict[str, Any]:
        """Time as JSON; events belong to whoever scheduled them (`Event.state`)."""
        return {
            "now_ns": self.now_ns,
            "insns": self.insns,
            "idle_ns": self.idle_ns,
            "next_order": self._next_order,
            "ns_per_insn": [self._ns_per_insn.numerator, self._ns_per_insn.denominator],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to `state` and drop all events: their owners, restored next, call `restore_event`."""
        for _, _, event in self._events:
            event.callback = None
        self._events.clear()
        self.insns = state["insns"]
        self.idle_ns = state["idle_ns"]
        self._next_order = state["next_order"]
        self._ns_per_insn = Fraction(*state["ns_per_insn"])
        if self.mode == "host":
            self._host_origin_ns = self._host_ns() - state["now_ns"]

    def restore_event(self, state: list[int] | None, callback: Callable[[], None]) -> Event | None:
        """Schedule an event again from its `Event.state`, in its old place among those due at the same time."""
        if state is None:
            return None
        at_ns, order = state
        return self._push(Event(at_ns, order, callback))

    def _push(self, event: Event) -> Event:
        heappush(self._events, (event.at_ns, event.order, event))
        return event

    def _next_event(self) -> Event | None:
        while self._events:
            event = self._events[0][2]
            if event.pending:
                return event
            heappop(self._events)
        return None

    def _insns_for(self, ns: int) -> int:
        """The least number of instructions that take at least `ns` nanoseconds."""
        rate = self._ns_per_insn
        return -(-ns * rate.denominator // rate.numerator)


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
