"""The 8254 in native code: counts, running or latched, and the command that latches one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bt.devices.native import native_code
from bt.devices.shared import Flag, OptionalWord, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

PIT_HZ = 1_193_182
COUNTER_LATCH, LOW_BYTE, HIGH_BYTE, LOW_THEN_HIGH = range(4)  # RW1:RW0 of the control word


class CounterShared(Shared):
    """What a counter shares; see `Counter`."""

    _access, _mode, _bcd = Word(), Word(), Flag()
    _count, _start, _held, _next_start = Word(), Word(), OptionalWord(), OptionalWord()
    _expect_high, _read_high = Flag(), Flag()
    _status_latch, _latched, _latched_bytes = OptionalWord(), Word(), Word()


class PitShared(Shared):
    """Where the counters' blocks are."""

    _counter0, _counter1, _counter2 = Word(), Word(), Word()


class _Counting(NamedTuple):
    """A counter at a tick (i64 each)."""

    start: Value  # what it counts down from
    elapsed: Value
    phase: Value  # within a period
    high: Value  # ticks of the high part of a period in mode 3
    is_held: Value  # i1


def _counting(b: NativeDevice, block: Value, ticks: Value) -> _Counting:
    """Asks Python when a new count is due to be taken up."""
    next_start = b.word(CounterShared._next_start, block)
    b.ask_if(next_start.sge(0) & ticks.sge(next_start))
    count, held = b.word(CounterShared._count, block), b.word(CounterShared._held, block)
    running = b.intrinsic("smax", "i64", ticks - b.word(CounterShared._start, block), b.const(0, 64))
    elapsed = b.select(held.slt(0), running, held)
    phase = elapsed.urem(b.select(count == 0, b.const(1, 64), count))
    return _Counting(count, elapsed, phase, (count + 1) >> 1, held.sge(0))


def _current(b: NativeDevice, block: Value) -> Value:
    """`Counter._current`, i64. Asks Python for a decimal count."""
    b.ask_if(b.is_set(CounterShared._bcd, block))
    at = _counting(b, block, b.periods(b.now_ns(), PIT_HZ))
    value = b.local(64, at.start - at.elapsed)
    with b.If(at.start != 0), b.Switch(b.word(CounterShared._mode, block)) as modes:
        with modes.case(2):
            value.set(at.start - at.phase)
        with modes.case(3):
            down = b.select(at.phase.ult(at.high), at.phase, at.phase - at.high)
            value.set((at.start & -2) - (down << 1))
    return value.get() & 0xFFFF


def out(b: NativeDevice, block: Value, ticks: Value) -> Value:
    """`Counter.out` of the counter with that block, i1."""
    at = _counting(b, block, ticks)
    stopped = (at.start == 0) | at.is_held
    level = b.local(1, (at.start == 0) | (at.elapsed != at.start))
    with b.Switch(b.word(CounterShared._mode, block)) as modes:
        with modes.case(0):
            by_halves = b.word(CounterShared._access, block) == LOW_THEN_HIGH
            half_written = by_halves & b.is_set(CounterShared._expect_high, block)
            level.set((at.start != 0) & at.elapsed.uge(at.start) & ~half_written)
        with modes.case(1):
            level.set(at.elapsed.uge(at.start))
        with modes.case(2):
            level.set(stopped | (at.phase != at.start - 1))
        with modes.case(3):
            level.set(stopped | at.phase.ult(at.high))
    return level.get()


@native_code
def read_count(b: NativeDevice) -> None:
    """`Counter.read`."""
    b.ask_unless_size(1)
    status, latched = b.word(CounterShared._status_latch), b.word(CounterShared._latched)
    with b.If(status.sge(0)):
        b.set_word(CounterShared._status_latch, -1)
        b.answer(status)
    with b.If(latched != 0):
        count = b.word(CounterShared._latched_bytes)
        b.set_word(CounterShared._latched, latched - 1)
        b.set_word(CounterShared._latched_bytes, count >> 8)
        b.answer(count & 0xFF)
    count, high = _current(b, b.block), b.word(CounterShared._read_high)
    with b.If(b.word(CounterShared._access) == LOW_THEN_HIGH):
        b.set_word(CounterShared._read_high, high ^ 1)
    b.answer(b.select(high != 0, count >> 8, count & 0xFF))


@native_code
def latch_count(b: NativeDevice) -> None:
    """The control word, if it is a counter latch command."""
    b.ask_unless_size(1)
    number = b.written >> 6
    b.ask_if((((b.written >> 4) & 3) != COUNTER_LATCH) | (number == 3))
    block = b.load(b.block + (number << 3), "ptr")
    with b.If(b.is_set(CounterShared._latched, block)):
        b.done()
    count, access = _current(b, block), b.word(CounterShared._access, block)
    low, high = access == LOW_BYTE, access == HIGH_BYTE
    b.set_word(CounterShared._latched_bytes, b.select(low, count & 0xFF, b.select(high, count >> 8, count)), block)
    b.set_word(CounterShared._latched, b.select(low | high, b.const(1, 64), 2), block)
    b.done()
