"""The timer of the local APIC: counts down once or again and again."""

from collections.abc import Callable
from typing import Any

from bt.clock.virtual_clock import Event, VirtualClock
from bt.devices.apic.local_apic_native import PERIODIC, TimerShared

TICK_NS = 1  # of the undivided clock: 1 GHz, as QEMU's; guests measure it
MASKED = 1 << 16  # of the local vector
COUNT_MASK = 0xFFFF_FFFF


def divisor(configuration: int) -> int:
    """SDM vol. 3A, "Divide Configuration Register": bits 3, 1 and 0."""
    code = configuration >> 1 & 4 | configuration & 3
    return 1 if code == 7 else 2 << code


class ApicTimer(TimerShared):
    """SDM vol. 3A, "APIC Timer": one-shot and periodic; `expired()` is called for each interrupt.

    The count is worked out from the time when somebody asks; an event is due only while it would interrupt.
    """

    def __init__(self, clock: VirtualClock, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._event: Event | None = None
        self._initial = self._configuration = 0
        self._start_ns = 0  # when the count was the initial one
        self._vector = MASKED

    @property
    def initial(self) -> int:
        return self._initial

    @property
    def configuration(self) -> int:
        return self._configuration

    @property
    def current(self) -> int:
        """The count now; 0 when it has run out."""
        if not self._initial:
            return 0
        ticks = (self._clock.now_ns - self._start_ns) // self._tick_ns
        if self._vector & PERIODIC:
            return self._initial - ticks % self._initial
        return max(0, self._initial - ticks)

    def set_initial(self, value: int) -> None:
        """Start from `value`; 0 stops."""
        self._initial = value & COUNT_MASK
        self._start_ns = self._clock.now_ns
        self._plan()

    def set_configuration(self, value: int) -> None:
        """The count goes on at the new rate."""
        left = self.current
        self._configuration = value & 0b1011
        self._go_on_from(left)

    def set_vector(self, value: int) -> None:
        """The local vector was written: mask and mode."""
        if (value ^ self._vector) & PERIODIC:
            left = self.current
            self._vector = value
            self._go_on_from(left)
        else:
            self._vector = value
            self._plan()

    def reset(self) -> None:
        self._initial = self._configuration = 0
        self._vector = MASKED
        self._plan()

    def state(self) -> dict[str, Any]:
        return {
            "initial": self._initial,
            "configuration": self._configuration,
            "start_ns": self._start_ns,
            "vector": self._vector,
            "event": self._event.state() if self._event else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._initial, self._configuration = state["initial"], state["configuration"]
        self._start_ns, self._vector = state["start_ns"], state["vector"]
        self._clock.cancel(self._event)
        self._event = self._clock.restore_event(state["event"], self._fire)

    @property
    def _tick_ns(self) -> int:
        return TICK_NS * divisor(self._configuration)

    def _go_on_from(self, count: int) -> None:
        self._start_ns = self._clock.now_ns - (self._initial - count) * self._tick_ns
        self._plan()

    def _plan(self) -> None:
        self._clock.cancel(self._event)
        self._event = None
        if not self._initial or self._vector & MASKED:
            return
        period_ns = self._initial * self._tick_ns
        passed = (self._clock.now_ns - self._start_ns) // period_ns
        if self._vector & PERIODIC or not passed:
            self._event = self._clock.schedule(self._start_ns + (passed + 1) * period_ns, self._fire)

    def _fire(self) -> None:
        self._event = None
        self._plan()
        self._expired()
