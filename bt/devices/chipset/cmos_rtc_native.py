"""The RTC in native code: the index, and reading what neither has an effect nor has to be worked out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.clock.virtual_clock import NS_PER_SECOND
from bt.devices.native import native_code
from bt.devices.shared import Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR = range(10)
REGISTER_A, REGISTER_B, REGISTER_C, REGISTER_D = range(10, 14)
CENTURY = 0x32  # a RAM byte by the data sheet, kept with the date by every PC
CALENDAR = (SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY)
A_UPDATE_IN_PROGRESS, A_DIVIDER, A_RATE = 1 << 7, 0b111 << 4, 0b1111
DIVIDER_RUNS = 0b010 << 4
B_SET = 1 << 7
D_VALID_RAM_AND_TIME = 1 << 7
WRITE_ONLY = 0xFF  # what reading the index returns
INDEX_BITS = 0x7F

UPDATE_WARNING_NS = 244_000 + 1_984_000  # UIP rises 244 us before an update of 1984 us, which ends on the second


class RtcShared(Shared):
    """See `CmosRtc`. `_true_until_ns`: up to then the calendar's bytes in RAM are what the running clock shows."""

    _index, _ram_address, _phase_ns, _true_until_ns = (Word() for _ in range(4))


R = RtcShared


def _byte(b: NativeDevice, index: Value | int) -> Value:
    """Of RAM, i64."""
    return b.load(b.other_block(R._ram_address) + index, 8).zext(64)


def _is_running(b: NativeDevice) -> Value:
    return ((_byte(b, REGISTER_A) & A_DIVIDER) == DIVIDER_RUNS) & ((_byte(b, REGISTER_B) & B_SET) == 0)


@native_code
def read_index(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    b.answer(WRITE_ONLY)


@native_code
def write_index(b: NativeDevice) -> None:
    b.ask_unless_size(1)
    b.set_word(R._index, b.written & INDEX_BITS)
    b.done()


@native_code
def read_data(b: NativeDevice) -> None:
    """`CmosRtc.read`. Asks Python for register C, and for the time once a second."""
    b.ask_unless_size(1)
    index = b.word(R._index)
    b.ask_if(index == REGISTER_C)
    with b.If(index == REGISTER_D):
        b.answer(D_VALID_RAM_AND_TIME)
    value, now = _byte(b, index), b.now_ns()
    with b.If(index == REGISTER_A):
        until_update = NS_PER_SECOND - (now - b.word(R._phase_ns)).urem(NS_PER_SECOND)
        is_updating = _is_running(b) & until_update.ule(UPDATE_WARNING_NS)
        b.answer(value | b.select(is_updating, b.const(A_UPDATE_IN_PROGRESS, 64), b.const(0, 64)))
    is_calendar = index == CALENDAR[0]
    for register in CALENDAR[1:]:
        is_calendar = is_calendar | (index == register)
    b.ask_if(is_calendar & _is_running(b) & now.sge(b.word(R._true_until_ns)))
    b.answer(value)
