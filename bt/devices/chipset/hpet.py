"""The high precision event timer: one counter of 64 bits and three comparators."""

from collections.abc import Callable, Sequence
from typing import Any

from bt.clock.virtual_clock import Event, VirtualClock
from bt.devices.device import Device, Line

DEFAULT_ADDRESS, LENGTH = 0xFED00000, 0x400
TICK_NS = 10  # 100 MHz, as QEMU's
TIMERS = 3
CAPABILITIES, CONFIGURATION, STATUS, COUNTER, FIRST_TIMER = 0x000, 0x010, 0x020, 0x0F0, 0x100  # offsets
TIMER_BYTES = 0x20
CONFIG, COMPARATOR, ROUTE = 0x00, 0x08, 0x10  # offsets in a timer's registers

# revision 1, three timers, 64 bits, legacy replacement, Intel; and the period in femtoseconds
CAPABILITIES_VALUE = 0x8086_A201 | TICK_NS * 1_000_000 << 32
ENABLED, LEGACY = 1 << 0, 1 << 1  # of the configuration
LEVEL, INTERRUPT, PERIODIC, PERIODIC_CAPABLE = 1 << 1, 1 << 2, 1 << 3, 1 << 4  # of a timer's
WIDE, SET_ACCUMULATOR, NARROW = 1 << 5, 1 << 6, 1 << 8
ROUTE_SHIFT, ROUTE_MASK = 9, 0x1F
CONFIG_WRITABLE = LEVEL | INTERRUPT | PERIODIC | SET_ACCUMULATOR | NARROW | ROUTE_MASK << ROUTE_SHIFT
ROUTABLE = 1 << 2  # inputs of the I/O APIC that a timer may use without legacy replacement: input 2, as QEMU's
ALL = (1 << 64) - 1


class _Timer:
    """What a comparator is set to."""

    __slots__ = ("asserted", "comparator", "config", "event", "period")

    def __init__(self) -> None:
        self.config = PERIODIC_CAPABLE | WIDE
        self.comparator = ALL
        self.period = 0
        self.asserted = False  # pulls its interrupt
        self.event: Event | None = None

    @property
    def bits(self) -> int:
        return 32 if self.config & NARROW else 64


class Hpet(Device):
    """Intel IA-PC HPET specification 1.0a; all three timers periodic and wide, no FSB interrupts.

    `inputs` are wires of its own to the 24 inputs of the I/O APIC; with legacy replacement, of which
    `legacy_changed(on)` tells, timers 0 and 1 use `legacy` instead, in place of the 8254 and the RTC. An edge stays
    high until the next, so that an 8259 does not forget it. The counter is writable while it stands.
    """

    widest_access = 8
    fields = ("_configuration", "_status", "_base", "_start_ns")

    def __init__(
        self,
        clock: VirtualClock,
        inputs: Sequence[Line],
        legacy: tuple[Line, Line],
        legacy_changed: Callable[[bool], None] = lambda on: None,
        name: str = "HPET",
    ) -> None:
        super().__init__(name)
        self._clock = clock
        self._inputs, self._legacy = inputs, legacy
        self._legacy_changed = legacy_changed
        self._timers = [_Timer() for _ in range(TIMERS)]
        self._configuration = self._status = 0
        self._base = 0  # the counter when it stood last
        self._start_ns = 0  # when it began to run from there
        self._lines: list[Line] = [*legacy, *inputs]

    @property
    def counter(self) -> int:
        if not self._configuration & ENABLED:
            return self._base
        return self._base + (self._clock.now_ns - self._start_ns) // TICK_NS & ALL

    def read(self, offset: int, size: int) -> int:
        at = offset & 7
        return self._register(offset & ~7) >> 8 * at & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        at = offset & 7
        mask = (1 << 8 * size) - 1 << 8 * at
        self._write_register(offset & ~7, value << 8 * at & mask, mask)

    def reset(self) -> None:
        for timer in self._timers:
            self._clock.cancel(timer.event)
        self._timers = [_Timer() for _ in range(TIMERS)]
        was = self._configuration
        self._configuration = self._status = self._base = 0
        if was & LEGACY:
            self._legacy_changed(False)
        self._drive()

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "timers": [
                [timer.config, timer.comparator, timer.period, timer.asserted, timer.event and timer.event.state()]
                for timer in self._timers
            ]
        }

    def restore(self, state: dict[str, Any]) -> None:
        was = self._configuration
        super().restore(state)
        for number, (timer, saved) in enumerate(zip(self._timers, state["timers"], strict=True)):
            self._clock.cancel(timer.event)
            timer.config, timer.comparator, timer.period, timer.asserted, event = saved
            timer.event = self._clock.restore_event(event, self._matcher(number))
        if (was ^ self._configuration) & LEGACY:
            self._legacy_changed(bool(self._configuration & LEGACY))
        self._drive()

    # registers

    def _register(self, offset: int) -> int:
        match offset:
            case 0x000:
                return CAPABILITIES_VALUE
            case 0x010:
                return self._configuration
            case 0x020:
                return self._status
            case 0x0F0:
                return self.counter
        number, register = divmod(offset - FIRST_TIMER, TIMER_BYTES)
        if not 0 <= number < TIMERS:
            return 0
        timer = self._timers[number]
        if register == CONFIG:
            return timer.config | ROUTABLE << 32
        if register == COMPARATOR:
            self._catch_up(timer)
            return timer.comparator
        return 0

    def _write_register(self, offset: int, value: int, mask: int) -> None:
        match offset:
            case 0x010:
                self._configure((self._configuration & ~mask | value) & (ENABLED | LEGACY))
            case 0x020:
                for number, timer in enumerate(self._timers):
                    if value >> number & 1 and timer.config & LEVEL:
                        timer.asserted = False
                self._status &= ~value
                self._drive()
            case 0x0F0:
                if not self._configuration & ENABLED:
                    self._base = self._base & ~mask | value
            case _:
                number, register = divmod(offset - FIRST_TIMER, TIMER_BYTES)
                if 0 <= number < TIMERS and register == CONFIG:
                    self._configure_timer(number, value, mask)
                elif 0 <= number < TIMERS and register == COMPARATOR:
                    self._set_comparator(number, value, mask)

    def _configure(self, value: int) -> None:
        changed = value ^ self._configuration
        counter = self.counter
        self._configuration = value
        if changed & ENABLED:
            self._base, self._start_ns = counter, self._clock.now_ns
        if changed & LEGACY:
            self._legacy_changed(bool(value & LEGACY))
            for timer in self._timers:
                timer.asserted = False
            self._status = 0
        if changed:
            for number in range(TIMERS):
                self._plan(number)
            self._drive()

    def _configure_timer(self, number: int, value: int, mask: int) -> None:
        timer = self._timers[number]
        self._catch_up(timer)
        writable = mask & CONFIG_WRITABLE
        before = timer.config
        timer.config = before & ~writable | value & writable
        if timer.config & NARROW:
            timer.comparator &= 0xFFFF_FFFF
            timer.period &= 0xFFFF_FFFF
        if (before ^ timer.config) & (INTERRUPT | LEVEL | ROUTE_MASK << ROUTE_SHIFT):
            timer.asserted = False
            self._status &= ~(1 << number)
        self._plan(number)
        self._drive()

    def _set_comparator(self, number: int, value: int, mask: int) -> None:
        timer = self._timers[number]
        self._catch_up(timer)
        limit = (1 << timer.bits) - 1
        if timer.config & PERIODIC:
            timer.period = (timer.period & ~mask | value) & limit
        if not timer.config & PERIODIC or timer.config & SET_ACCUMULATOR:
            timer.comparator = (timer.comparator & ~mask | value) & limit
            timer.config &= ~SET_ACCUMULATOR
        self._plan(number)

    # matches

    def _catch_up(self, timer: _Timer) -> None:
        """A periodic comparator goes on whether anybody is interrupted or not."""
        if timer.config & PERIODIC and timer.period and timer.event is None and self._configuration & ENABLED:
            limit = (1 << timer.bits) - 1
            behind = self.counter - timer.comparator & limit
            if behind <= limit >> 1:  # it has been passed
                timer.comparator = timer.comparator + (behind // timer.period + 1) * timer.period & limit

    def _plan(self, number: int, has_matched: bool = False) -> None:
        """Schedule the next match, if it interrupts."""
        timer = self._timers[number]
        self._clock.cancel(timer.event)
        timer.event = None
        if not self._configuration & ENABLED or not timer.config & INTERRUPT:
            return
        self._catch_up(timer)
        round_ = 1 << timer.bits
        ticks = timer.comparator - self.counter & round_ - 1
        if has_matched and not ticks:
            ticks = round_
        if ticks < 1 << 60:  # ns beyond the clock's horizon: never
            passed = (self._clock.now_ns - self._start_ns) // TICK_NS  # the counter has only 64 bits of it
            at_ns = self._start_ns + (passed + ticks) * TICK_NS
            timer.event = self._clock.schedule(max(at_ns, self._clock.now_ns), self._matcher(number))

    def _matcher(self, number: int) -> Callable[[], None]:
        return lambda: self._match(number)

    def _match(self, number: int) -> None:
        timer = self._timers[number]
        timer.event = None
        if timer.config & LEVEL:
            self._status |= 1 << number
        else:
            line = self._line_of(number)
            if line is not None:
                line.lower()
        timer.asserted = True
        self._drive()
        self._plan(number, has_matched=True)

    def _line_of(self, number: int) -> Line | None:
        if self._configuration & LEGACY and number < len(self._legacy):
            return self._legacy[number]
        route = self._timers[number].config >> ROUTE_SHIFT & ROUTE_MASK
        return self._inputs[route] if ROUTABLE >> route & 1 else None

    def _drive(self) -> None:
        high = [self._line_of(number) for number, timer in enumerate(self._timers) if timer.asserted]
        for line in self._lines:
            line.set(line in high)
