"""The clock that follows the host, on a host whose time the test tells."""

from bt.clock.host_clock import CycleRate, HostClock
from bt.clock.virtual_clock import NS_PER_SECOND
from bt.devices.apic.timer import ApicTimer
from bt.x86.state import CLOCK_SCALE_SHIFT


class FakeHost:
    def __init__(self) -> None:
        self.ns = 5_000_000
        self.slept: list[float] = []

    def cycles(self) -> int:
        return 3 * self.ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ns += round(seconds * NS_PER_SECOND)


def test_host_mode_follows_the_host_and_sleeps_when_halted() -> None:
    host = FakeHost()
    clock = HostClock(host.cycles, host_ns=lambda: host.ns, host_sleep=host.sleep)
    ran: list[int] = []
    clock.schedule(4_000_500, lambda: ran.append(clock.now_ns))
    assert clock.now_ns == 0
    clock.advance(10**9)  # instructions do not make time pass
    assert clock.now_ns == 0
    host.ns += 3_000_000
    assert clock.grant(10**9)[:2] == (1_000_500, 3_000_000)
    assert clock.skip_to_next_event()
    assert host.slept == [0.001001]
    clock.run_due()
    assert ran == [4_001_000]


def test_in_host_mode_a_bus_takes_the_time_it_takes() -> None:
    host = FakeHost()
    clock = HostClock(host.cycles, host_ns=lambda: host.ns, host_sleep=host.sleep)
    clock.spend(10**6)
    assert clock.now_ns == 0
    host.ns += 3_000_000
    assert clock.grant(1)[1] == clock.now_ns == 3_000_000


def test_a_device_is_served_in_an_instant_however_long_the_host_takes() -> None:
    """A kernel's one-shot timer of 2 us lost its interrupt, and the kernel slept on, where the host ran others."""
    host, fired = FakeHost(), list[bool]()

    def passing() -> int:
        host.ns += 5_000_000
        return host.ns

    clock = HostClock(host.cycles, host_ns=passing, host_sleep=host.sleep)
    timer = ApicTimer(clock, lambda: fired.append(True))
    timer.set_vector(0x40)
    timer.set_initial(1000)
    assert timer.current == 1000
    clock.run_due()
    assert fired == [True]


def test_the_rate_of_host_cycles_is_measured_over_all_the_time_passed() -> None:
    host = FakeHost()
    start = host.ns
    rate = CycleRate(lambda: 3 * (host.ns - start) + 11, lambda: host.ns)
    for _ in range(3):
        host.ns += 10**9 + 7
        assert rate.scale() == (1 << CLOCK_SCALE_SHIFT) // 3


def test_the_rate_of_host_cycles_is_not_measured_over_an_instant() -> None:
    host = FakeHost()

    def passing() -> int:
        host.ns += 1000
        return host.ns

    rate = CycleRate(lambda: 2 * host.ns, passing)
    first = host.ns
    rate.scale()
    assert host.ns - first >= CycleRate.SHORTEST_NS
