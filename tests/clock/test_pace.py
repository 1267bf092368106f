"""Idle time takes the host as long as the guest, busy guests are not slowed."""

from __future__ import annotations

from collections.abc import Callable

from bt.clock.pace import LEAST_SLEEP_NS, MOST_AHEAD_NS, MOST_BEHIND_NS, Pace
from bt.clock.virtual_clock import VirtualClock

MS = 1_000_000


class Host:
    """A host whose time passes when somebody sleeps, or says so."""

    def __init__(self) -> None:
        self.ns = 10**12
        self.slept_ns = 0
        self.interrupt: Callable[[int], int] = lambda ns: ns  # of a sleep that long

    def now(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        slept = self.interrupt(round(seconds * 1e9))
        self.ns += slept
        self.slept_ns += slept


def paced() -> tuple[VirtualClock, Host, Pace]:
    clock, host = VirtualClock(), Host()
    return clock, host, Pace(clock, host.sleep, host.now)


def idle_to_event(clock: VirtualClock, pace: Pace) -> None:
    while clock.ns_to_next_event:
        pace.idle()
    clock.run_due()


def test_an_idle_guest_waits_as_long_as_it_says() -> None:
    clock, host, pace = paced()
    clock.schedule(5_000 * MS, lambda: None)
    idle_to_event(clock, pace)
    assert (clock.now_ns, host.slept_ns) == (5_000 * MS, 5_000 * MS)
    assert clock.insns == 0


def test_a_timer_keeps_its_rate_whatever_its_handler_takes() -> None:
    """1,000 ticks of 10 ms, with a handler of 3 ms of the host in which 1 ms of the guest passes, or 5."""
    for busy_ms in (1, 5):
        clock, host, pace = paced()
        start = host.ns
        for tick in range(1000):
            clock.schedule((tick + 1) * 10 * MS, lambda: None)
            idle_to_event(clock, pace)
            clock.advance(busy_ms * MS)
            host.ns += 3 * MS
        assert abs(host.ns - start - 10_000 * MS) < 10 * MS


def test_short_waits_are_made_up_for() -> None:
    """Waking up costs more than 100 us; 50 of them are 5 ms nevertheless."""
    clock, host, pace = paced()
    for number in range(50):
        clock.schedule((number + 1) * MS // 10, lambda: None)
        idle_to_event(clock, pace)
    assert 5 * MS - LEAST_SLEEP_NS <= host.slept_ns <= 5 * MS


def test_busy_time_is_not_paid_for_later() -> None:
    """Ten seconds of computing in one of the host, or in a hundred: what follows waits as long as it says, nearly."""
    for host_ms in (1_000, 100_000):
        clock, host, pace = paced()
        clock.advance(10_000 * MS)
        host.ns += host_ms * MS
        clock.schedule(clock.now_ns + 1_000 * MS, lambda: None)
        idle_to_event(clock, pace)
        assert 1_000 * MS - MOST_BEHIND_NS <= host.slept_ns <= 1_000 * MS + MOST_AHEAD_NS


def test_who_wakes_it_finds_the_time_that_it_is() -> None:
    clock, host, pace = paced()
    clock.schedule(1_000 * MS, lambda: None)
    host.interrupt = lambda ns: 300 * MS
    pace.idle()
    assert clock.now_ns == 300 * MS
    host.interrupt = lambda ns: ns
    idle_to_event(clock, pace)
    assert (clock.now_ns, host.slept_ns) == (1_000 * MS, 1_000 * MS)


def test_time_passes_with_nothing_to_wait_for() -> None:
    clock, host, pace = paced()
    host.interrupt = lambda ns: 100 * MS
    pace.idle()
    assert clock.now_ns == host.slept_ns == 100 * MS


def test_a_clock_that_went_back() -> None:
    """A snapshot was restored: no wait for what has been."""
    clock, host, pace = paced()
    state = clock.state()
    clock.advance(10**12)
    pace.idle()
    clock.restore(state)
    slept_ns = host.slept_ns
    clock.schedule(500 * MS, lambda: None)
    idle_to_event(clock, pace)
    assert host.slept_ns - slept_ns >= 500 * MS - MOST_BEHIND_NS
