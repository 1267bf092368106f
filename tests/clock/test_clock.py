"""Virtual time: exact, reproducible, and independent of how the run is cut into pieces."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt.clock.virtual_clock import (
    Oscillator,
    VirtualClock,
)


def test_an_instruction_takes_a_nanosecond_and_a_bus_some_more() -> None:
    clock = VirtualClock()
    clock.advance(3)
    assert clock.now_ns == 3
    clock.spend(1000)
    assert (clock.now_ns, clock.insns, clock.grant(50)) == (1003, 3, (50, 1000, 0))


def test_callbacks_run_in_order_of_time_then_of_scheduling() -> None:
    clock = VirtualClock()
    seen: list[str] = []
    for at_ns, name in ((20, "c"), (10, "a"), (10, "b"), (30, "late")):
        clock.schedule(at_ns, lambda name=name: seen.append(name))  # type: ignore[misc]  # mypy cannot type defaults
    clock.advance(20)
    assert clock.run_due() == 3
    assert seen == ["a", "b", "c"]


def test_a_callback_may_schedule_what_is_due_at_once() -> None:
    clock = VirtualClock()
    seen: list[int] = []

    def tick() -> None:
        seen.append(len(seen))
        if len(seen) < 5:
            clock.schedule(10 * (len(seen) + 1), tick)

    clock.schedule(10, tick)
    clock.advance(35)
    assert clock.run_due() == 3
    assert clock.budget(1000) == 5


def test_cancelled_events_neither_run_nor_shorten_the_budget() -> None:
    clock = VirtualClock()
    event = clock.schedule(5, lambda: pytest.fail("cancelled"))
    assert event.pending
    clock.cancel(event)
    clock.cancel(None)
    assert not event.pending
    assert clock.budget(100) == 100
    clock.advance(10)
    assert clock.run_due() == 0
    assert not clock.skip_to_next_event()


def test_cancelled_events_do_not_pile_up() -> None:
    """A guest may start a timer that is due in an hour again and again: memory has to stay bounded."""
    clock = VirtualClock()
    seen: list[int] = []
    kept = [clock.schedule(10 * number, lambda number=number: seen.append(number)) for number in range(300)]  # type: ignore[misc]
    for number in range(50_000):
        clock.cancel(clock.schedule(3_600_000_000_000 - number, lambda: seen.append(-1)))
    assert len(clock._events) < 2000
    clock.advance(3_600_000_000_001)
    clock.run_due()
    assert seen == list(range(300))
    assert not any(event.pending for event in kept)


def test_budget_limits() -> None:
    clock = VirtualClock()
    assert clock.budget(1234) == 1234
    clock.schedule(100, lambda: None)
    assert (clock.budget(10), clock.budget(1000)) == (10, 100)
    clock.advance(250)
    assert clock.budget(1000) == 1  # overdue


def test_skipping_idle_time_leaves_the_instruction_count_alone() -> None:
    clock = VirtualClock()
    seen: list[int] = []
    clock.schedule(1_000_001, lambda: seen.append(clock.now_ns))
    clock.advance(1000)
    before_ns = clock.now_ns
    assert clock.skip_to_next_event()
    assert clock.now_ns == 1_000_001
    assert (clock.insns, clock.grant(1)) == (1000, (1, 1_000_001 - before_ns, 0))
    clock.run_due()
    assert seen == [1_000_001]
    assert not clock.skip_to_next_event()


def test_negative_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match="take back"):
        VirtualClock().advance(-1)


@given(idle=st.integers(0, 10**10), done=st.integers(0, 10**12), wait=st.integers(1, 10**12))
def test_budget_is_the_least_number_of_instructions_that_makes_the_event_due(idle: int, done: int, wait: int) -> None:
    clock = VirtualClock()
    clock.spend(idle)
    clock.advance(done)
    at_ns = clock.now_ns + wait
    clock.schedule(at_ns, lambda: None)
    budget = clock.budget(10**40)
    clock.advance(budget - 1)
    assert clock.now_ns < at_ns
    clock.advance(1)
    assert clock.now_ns >= at_ns


def trace(limits: Callable[[int], int], periods: list[int], halts: list[int]) -> list[tuple[str, int, int]]:
    """Run three periodic devices for 20,000 instructions in pieces of `limits(i)`; halt once at each of `halts`."""
    clock = VirtualClock()
    log: list[tuple[str, int, int]] = []

    def device(name: str, period: int, at_ns: int) -> None:
        def tick() -> None:
            log.append((name, clock.insns, clock.now_ns))
            device(name, period, at_ns + period)

        clock.schedule(at_ns, tick)

    for index, period in enumerate(periods):
        device(f"device {index}", period, period)
    stops = sorted({*halts, 20_000})
    piece = 0
    while stops:
        piece += 1
        clock.advance(min(clock.budget(limits(piece)), stops[0] - clock.insns))
        clock.run_due()
        if clock.insns == stops[0]:
            stops.pop(0)
            clock.skip_to_next_event()
            clock.run_due()
    return log


@given(
    periods=st.lists(st.integers(50, 5000), min_size=1, max_size=3),
    halts=st.lists(st.integers(1, 19_999), max_size=5),
    limits=st.lists(st.integers(1, 5000), min_size=1, max_size=7),
)
def test_events_come_at_the_same_instruction_however_the_run_is_cut(
    periods: list[int], halts: list[int], limits: list[int]
) -> None:
    whole = trace(lambda _: 10**9, periods, halts)
    assert trace(lambda piece: limits[piece % len(limits)], periods, halts) == whole


def test_saved_time_and_events_continue_in_their_old_order() -> None:
    def build() -> tuple[VirtualClock, list[str]]:
        return VirtualClock(), []

    clock, _ = build()
    clock.advance(1000)
    clock.spend(17)
    events = {name: clock.schedule(5000, lambda: None) for name in "abc"}
    clock.cancel(events["b"])
    saved = json.loads(json.dumps({"clock": clock.state(), "events": {n: e.state() for n, e in events.items()}}))

    other, seen = build()
    other.schedule(1, lambda: pytest.fail("restoring drops events"))
    other.restore(saved["clock"])
    for name in "cba":  # devices are restored in another order than they scheduled
        other.restore_event(saved["events"][name], lambda name=name: seen.append(name))  # type: ignore[misc]  # as above
    assert other.now_ns == clock.now_ns
    assert other.budget(10**9) == clock.budget(10**9)
    other.advance(other.budget(10**9))
    other.run_due()
    assert seen == ["a", "c"]


def test_the_time_of_a_bus_brings_events_nearer() -> None:
    clock = VirtualClock()
    clock.schedule(5000, lambda: None)
    clock.spend(1500)
    assert clock.budget(10**9) == 3500
    clock.spend(3600)
    assert clock.budget(10**9) == 1
    assert clock.run_due() == 1


@given(hz=st.integers(1, 999_999_999), tick=st.integers(0, 10**15))
def test_oscillator_ticks_and_nanoseconds_are_inverse(hz: int, tick: int) -> None:
    clock = VirtualClock()
    oscillator = Oscillator(clock, hz)
    clock.spend(oscillator.ns_at(tick))
    assert oscillator.ticks == tick
    if tick:
        clock.spend(-1)
        assert oscillator.ticks == tick - 1
