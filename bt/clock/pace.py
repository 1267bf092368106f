"""Idle time takes a person as long as the guest: for virtual clocks of machines that somebody looks at."""

from __future__ import annotations

import time
from collections.abc import Callable

from bt.clock.virtual_clock import NS_PER_SECOND, VirtualClock

# What busy guests get ahead of the host, or behind it, before they idle is made up for while they do, but no more of it
# than nobody minds: enough for a timer to keep its rate whatever its handler takes.
MOST_AHEAD_NS, MOST_BEHIND_NS = 20_000_000, 100_000_000
LEAST_SLEEP_NS = 1_000_000  # of the host: below it waking up costs more than it is worth; the next one makes up for it
LONGEST_SLEEP_NS = NS_PER_SECOND


class Pace:
    """Has virtual time, while the processor is halted, go no faster than the host's.

    A guest that does not idle is never slowed, and its instructions are counted as ever: where the host's time comes in
    is when somebody types, and then only as the moment at which it is.
    """

    def __init__(
        self,
        clock: VirtualClock,
        sleep: Callable[[float], None],
        host_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`sleep` lets so many seconds of the host pass, fewer if somebody has something for the machine."""
        self._clock, self._sleep, self._host_ns = clock, sleep, host_ns
        # two moments that are the same; whoever idles moves them on
        self._virtual_at_ns, self._host_at_ns = clock.now_ns, host_ns()

    def idle(self) -> None:
        """Let time pass until the next event is due or somebody wakes us, on both clocks."""
        self._stay_near()
        to_event_ns = self._clock.ns_to_next_event
        left_ns = LONGEST_SLEEP_NS if to_event_ns is None else to_event_ns
        wait_ns = left_ns + self._ahead_ns()
        if wait_ns >= LEAST_SLEEP_NS:
            self._sleep(min(wait_ns, LONGEST_SLEEP_NS) / NS_PER_SECOND)
            left_ns = min(left_ns, max(0, -self._ahead_ns()))
        self._clock.idle(left_ns)

    def _ahead_ns(self) -> int:
        """How far virtual time is ahead of the host's."""
        return (self._clock.now_ns - self._virtual_at_ns) - (self._host_ns() - self._host_at_ns)

    def _stay_near(self) -> None:
        ahead_ns = max(-MOST_BEHIND_NS, min(MOST_AHEAD_NS, self._ahead_ns()))
        self._virtual_at_ns, self._host_at_ns = self._clock.now_ns, self._host_ns() + ahead_ns
