"""The interval timer: Intel 8254, three 16-bit counters clocked at 1.193182 MHz."""

from typing import Any

from bt.clock.virtual_clock import (
    Event,
    Oscillator,
    VirtualClock,
)
from bt.devices.chipset.pit8254_native import (
    COUNTER_LATCH,
    HIGH_BYTE,
    LOW_BYTE,
    LOW_THEN_HIGH,
    PIT_HZ,
    CounterShared,
    PitShared,
    latch_count,
    read_count,
)
from bt.devices.device import Device, Line
from bt.memory.native_registers import NativeRegister

CONTROL = 3  # offset of the control word register; 0-2 are the counters

# control word
READ_BACK = 0b11  # in place of a counter number
READ_BACK_NO_COUNT, READ_BACK_NO_STATUS = 1 << 5, 1 << 4
STATUS_OUT, STATUS_NULL_COUNT = 1 << 7, 1 << 6


class Counter(CounterShared):
    """One counter (data sheet 231164, "Mode definitions").

    Nothing is counted: output and count are functions of the ticks since the count was loaded, `_start`. A count
    written, and a trigger, take effect at the next tick.
    """

    fields = (
        "_access", "_mode", "_mode_bits", "_bcd", "_gate", "_count", "_start", "_held", "_next_count", "_next_start",
        "_write_latch", "_expect_high", "_read_high", "_status_latch", "_latched", "_latched_bytes",
    )  # fmt: skip

    def __init__(self, oscillator: Oscillator) -> None:
        self._oscillator = oscillator
        self.power_on()

    def power_on(self) -> None:
        self._gate = True
        self.write_control(0)

    def write_control(self, value: int) -> None:
        """A control word for this counter, other than the latch commands."""
        self._access = value >> 4 & 3
        self._mode_bits = value >> 1 & 7
        self._mode = self._mode_bits & 3 if self._mode_bits & 2 else self._mode_bits  # 110 and 111 are 2 and 3
        self._bcd = bool(value & 1)
        self._count = 0  # 1-65536; 0 until one is loaded
        self._start = 0  # the tick at which it was, or will be, loaded
        self._held = None  # ticks since then when counting was suspended
        self._next_count = 0  # written, but to be loaded by a trigger or at _next_start
        self._next_start = None
        self._write_latch = 0
        self._expect_high = self._access == HIGH_BYTE  # which byte the guest writes next
        self._read_high = self._access == HIGH_BYTE  # and reads next
        self._status_latch = None
        self._latched = 0  # bytes still to be read
        self._latched_bytes = 0  # those, the next in bits 7:0

    @property
    def out(self) -> bool:
        """The OUT pin."""
        self._load_next_if_due()
        elapsed = self._elapsed()
        match self._mode:
            case 0:
                # the first byte of a new count takes OUT low at once
                half_written = self._access == LOW_THEN_HIGH and self._expect_high
                return self._count != 0 and elapsed >= self._count and not half_written
            case 1:
                return elapsed >= self._count
            case 2:
                return not self._counting() or elapsed % self._count != self._count - 1
            case 3:
                return not self._counting() or elapsed % self._count < self._high_ticks(self._count)
            case _:
                return self._count == 0 or elapsed != self._count

    def next_rise(self) -> int | None:
        """The tick of OUT's next rising edge; None if it takes the guest's doing."""
        self._load_next_if_due()
        if not self._counting():
            return None
        now = self._oscillator.ticks
        if self._mode in (2, 3):
            start, count = self._start, self._count
            rise = start + (max(0, now - start) // count + 1) * count
            if self._next_start is not None and self._next_start < rise:  # mode 3: the low half is the new count's
                rise = self._next_start + self._next_count // 2
            return rise
        rise = self._start + self._count + (self._mode >= 4)
        return rise if rise > now else None

    def set_gate(self, level: bool) -> None:
        """The GATE pin."""
        self._load_next_if_due()
        rising = level and not self._gate
        falling = self._gate and not level
        if falling and self._mode not in (1, 5):
            self._held = self._elapsed()
        self._gate = level
        if not rising:
            return
        if self._mode in (0, 4):
            self._resume()
        else:  # a trigger: starts the one-shot, or the period anew
            if self._next_count:
                self._count, self._next_count, self._next_start = self._next_count, 0, None
            self._start = self._oscillator.ticks + 1
            self._held = None

    def read(self) -> int:
        """The next byte: of latched status, else of a latched count, else of the running count."""
        if self._status_latch is not None:
            status, self._status_latch = self._status_latch, None
            return status
        if self._latched:
            byte = self._latched_bytes & 0xFF
            self._latched -= 1
            self._latched_bytes >>= 8
            return byte
        count = self._current()
        high = self._read_high
        if self._access == LOW_THEN_HIGH:
            self._read_high = not high
        return count >> 8 if high else count & 0xFF

    def write(self, value: int) -> None:
        """The next byte of a count; nothing is loaded before the last."""
        self._load_next_if_due()
        if self._access == LOW_THEN_HIGH and not self._expect_high:
            if self._mode == 0 and self._held is None:
                self._held = self._elapsed()
            self._write_latch = value
            self._expect_high = True
            return
        if self._expect_high:
            value = value << 8 | self._write_latch
            self._expect_high = self._access == HIGH_BYTE
        self._write_latch = 0
        self._accept(self._from_guest(value))

    def latch_count(self) -> None:
        """Hold the count for reading; ignored while an earlier one is waiting to be read."""
        if not self._latched:
            count = self._current()
            self._latched_bytes = {LOW_BYTE: count & 0xFF, HIGH_BYTE: count >> 8}.get(self._access, count)
            self._latched = 1 if self._access in (LOW_BYTE, HIGH_BYTE) else 2

    def latch_status(self) -> None:
        """Hold the status byte for reading; ignored while an earlier one is waiting to be read."""
        if self._status_latch is None:
            self._load_next_if_due()
            null_count = not self._count or self._next_count or self._oscillator.ticks < self._start
            self._status_latch = (
                (STATUS_OUT if self.out else 0)
                | (STATUS_NULL_COUNT if null_count else 0)
                | self._access << 4
                | self._mode_bits << 1
                | self._bcd
            )

    def _accept(self, count: int) -> None:
        now = self._oscillator.ticks
        is_periodic = self._mode in (2, 3)
        if self._mode in (1, 5):
            self._next_count = count
        elif is_periodic and self._counting():
            self._next_count = count
            self._next_start = self._end_of_cycle(now)
        elif is_periodic and self._count:  # stopped by its gate, which will load this when it triggers
            self._next_count = count
        else:
            self._count = count
            self._start = now + 1
            self._held = None if self._gate else 0

    def _resume(self) -> None:
        if self._held is not None:
            self._start = self._oscillator.ticks - self._held
            self._held = None

    def _counting(self) -> bool:
        return self._count != 0 and self._held is None

    def _elapsed(self) -> int:
        """Ticks since the count was loaded, as far as the gate let them count."""
        return max(0, self._oscillator.ticks - self._start) if self._held is None else self._held

    def _end_of_cycle(self, now: int) -> int:
        """When a new count is taken up: the end of the period in mode 2, of the half-period in mode 3."""
        elapsed = max(0, now - self._start)
        period_start = self._start + elapsed // self._count * self._count
        half = period_start + self._high_ticks(self._count)
        return half if self._mode == 3 and now < half else period_start + self._count

    def _load_next_if_due(self) -> None:
        if self._next_start is None or self._oscillator.ticks < self._next_start:
            return
        was_high_half = self._mode == 3 and (self._next_start - self._start) % self._count != 0
        self._start, self._count = self._next_start, self._next_count
        if was_high_half:
            self._start -= self._high_ticks(self._count)
        self._next_count, self._next_start = 0, None

    def _high_ticks(self, count: int) -> int:
        """Mode 3: the high part of a period, one tick longer than the low part if `count` is odd."""
        return (count + 1) // 2

    def _current(self) -> int:
        """The counting element as the guest reads it."""
        self._load_next_if_due()
        elapsed = self._elapsed()
        match self._mode:
            case 2 if self._count:
                value = self._count - elapsed % self._count
            case 3 if self._count:
                phase = elapsed % self._count
                high = self._high_ticks(self._count)
                value = (self._count & ~1) - 2 * (phase if phase < high else phase - high)
            case _:
                value = self._count - elapsed
        return self._to_guest(value)

    def _to_guest(self, value: int) -> int:
        if not self._bcd:
            return value & 0xFFFF
        return int(str(value % 10_000), 16)

    def _from_guest(self, value: int) -> int:
        if not self._bcd:
            return value or 0x10000
        return sum((value >> 4 * digit & 15) * 10**digit for digit in range(4)) or 10_000


class Pit8254(PitShared, Device):
    """Intel 8254 programmable interval timer (data sheet 231164): counters at offsets 0-2, control word at 3.

    Counter 0's output drives `irq0`: it falls when a control word says so, and otherwise just before each rise. The low
    parts in between are left out, so that a tick needs one event; the guest sees the true output in the status byte.
    Counters 0 and 1 have their gates tied high; `gate2` is the gate of `counter2`.
    """

    version = 2

    def __init__(self, clock: VirtualClock, irq0: Line, name: str = "PIT") -> None:
        super().__init__(name)
        self._clock = clock
        self._irq0 = irq0
        self._oscillator = Oscillator(clock, PIT_HZ)
        self._counters = [Counter(self._oscillator) for _ in range(3)]
        self._event: Event | None = None
        self.gate2 = Line("8254 GATE2")
        self.gate2.watch(self._counters[2].set_gate)
        self._counters[2].set_gate(self.gate2.level)
        self._counter0, self._counter1, self._counter2 = (counter.block for counter in self._counters)

    def out(self, counter: int) -> bool:
        """The OUT pin of `counter`, 0-2."""
        return self._counters[counter].out

    @property
    def counter2(self) -> Counter:
        return self._counters[2]

    def native_registers(self) -> dict[int, NativeRegister]:
        counts = {n: NativeRegister(counter.block, read=read_count) for n, counter in enumerate(self._counters)}
        return counts | {CONTROL: NativeRegister(self.block, write=latch_count)}

    def read(self, offset: int, size: int) -> int:
        if offset == CONTROL:
            return 0xFF  # the bus floats: "no-operation (3-state)"
        return self._counters[offset].read()

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == CONTROL:
            self._write_control(value)
        else:
            self._counters[offset].write(value)
            if offset == 0:
                if not self.out(0):
                    self._irq0.lower()
                self._schedule_rise()

    def reset(self) -> None:
        """The counters as at power-on: the chip has no reset pin, but there is no firmware that programs it anew."""
        for counter in self._counters:
            counter.power_on()
        self._counters[2].set_gate(self.gate2.level)
        self._clock.cancel(self._event)
        self._event = None
        self._irq0.lower()

    def state(self) -> dict[str, Any]:
        return {
            "counters": [{name: getattr(counter, name) for name in Counter.fields} for counter in self._counters],
            "event": self._event.state() if self._event else None,
            "irq0": self._irq0.level,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for counter, fields in zip(self._counters, state["counters"], strict=True):
            for name in Counter.fields:
                setattr(counter, name, fields[name])
        self._clock.cancel(self._event)
        self._event = self._clock.restore_event(state["event"], self._rise)
        self._irq0.set(state["irq0"])

    def _write_control(self, value: int) -> None:
        number = value >> 6
        if number == READ_BACK:
            for bit, counter in enumerate(self._counters, start=1):
                if value >> bit & 1:
                    if not value & READ_BACK_NO_COUNT:
                        counter.latch_count()
                    if not value & READ_BACK_NO_STATUS:
                        counter.latch_status()
        elif value >> 4 & 3 == COUNTER_LATCH:
            self._counters[number].latch_count()
        else:
            self._counters[number].write_control(value)
            if number == 0:
                self._irq0.set(self.out(0))
                self._schedule_rise()

    def _schedule_rise(self) -> None:
        self._clock.cancel(self._event)
        tick = self._counters[0].next_rise()
        self._event = None if tick is None else self._clock.schedule(self._oscillator.ns_at(tick), self._rise)

    def _rise(self) -> None:
        self._irq0.lower()
        self._irq0.raise_()
        self._schedule_rise()
