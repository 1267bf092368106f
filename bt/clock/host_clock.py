"""The clock in mode "host": time follows the host's monotonic clock, for guests that talk to people."""

import time
from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import VirtualClock
from bt.x86.state import CLOCK_SCALE_SHIFT


class CycleRate:
    """Nanoseconds a cycle of the host's time stamp counter takes: measured all the time, so ever more exactly."""

    SHORTEST_NS = 2_000_000  # of a measurement: reading two clocks is 50 ns uncertain, so 25 ppm

    def __init__(self, cycles: Callable[[], int], host_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """`cycles` reads the host's time stamp counter."""
        self._cycles, self._host_ns = cycles, host_ns
        self._first_cycles, self._first_ns = cycles(), host_ns()

    def scale(self) -> int:
        """Nanoseconds a cycle, times 2**CLOCK_SCALE_SHIFT. Waits out `SHORTEST_NS` when asked too early."""
        while (elapsed_ns := self._host_ns() - self._first_ns) < self.SHORTEST_NS:
            pass
        return (elapsed_ns << CLOCK_SCALE_SHIFT) // (self._cycles() - self._first_cycles)


class HostClock(VirtualClock):
    """The machine's clock as the host's: a budget is only an estimate of how far the engine will get, and nothing is
    reproducible. Buses and idling take the time they take.

    An engine tells the time by the host's time stamp counter: from what it was when its run began, by the scale.

    For devices time stands still while they serve one exit, as it does in mode "icount". A timer that reads the time to
    start from, and again to see whether it has run out, must not lose its interrupt because the host ran somebody else
    in between.
    """

    def __init__(
        self,
        cycles: Callable[[], int],
        *,
        host_ns: Callable[[], int] = time.monotonic_ns,
        host_sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`cycles` reads the host's time stamp counter; `host_ns` and `host_sleep` (seconds) are the host's time."""
        super().__init__()
        self._host_ns = host_ns
        self._host_sleep = host_sleep
        self._origin_ns = host_ns()
        self._now_ns = 0  # when the host's time was last looked at
        self._rate = CycleRate(cycles, host_ns)

    @property
    def now_ns(self) -> int:
        return self._now_ns

    def grant(self, limit: int) -> tuple[int, int, int]:
        scale = self._rate.scale()  # may wait
        self._look()
        return max(1, min(limit, self._due_ns - self._now_ns)), self._now_ns, scale

    def advance(self, insns: int, beside_ns: int = 0) -> None:
        super().advance(insns, beside_ns)
        self._look()

    def spend(self, ns: int) -> None:
        pass

    def run_due(self) -> int:
        self._look()
        return super().run_due()

    def idle(self, ns: int) -> None:
        # rounded up to a microsecond: waking early would only make the caller halt once more
        self._host_sleep((ns + 999) // 1000 / 1_000_000)
        self._look()

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._now_ns = state["now_ns"]
        self._origin_ns = self._host_ns() - self._now_ns

    def _look(self) -> None:
        self._now_ns = self._host_ns() - self._origin_ns
