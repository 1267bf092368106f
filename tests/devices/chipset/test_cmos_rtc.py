"""MC146818A data sheet: calendar, formats, updates, three interrupts; and the AT's RAM bytes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt.clock.virtual_clock import (
    NS_PER_SECOND,
    VirtualClock,
)
from bt.devices.chipset.cmos_rtc import CmosRtc
from bt.devices.chipset.cmos_rtc_native import (
    CENTURY,
    DAY,
    HOURS,
    HOURS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    MONTH,
    REGISTER_A,
    REGISTER_B,
    REGISTER_C,
    REGISTER_D,
    SECONDS,
    SECONDS_ALARM,
    UPDATE_WARNING_NS,
    WEEKDAY,
    YEAR,
)
from bt.devices.device import Line
from tests.devices.board import Edges, pass_time, transplant

SET, PIE, AIE, UIE, BINARY, H24 = 0x80, 0x40, 0x20, 0x10, 0x04, 0x02
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
UIP = 0x80
MIB = 1 << 20


class Board:
    def __init__(self, base: datetime = datetime(2000, 1, 1, tzinfo=UTC), ram_bytes: int = 64 * MIB) -> None:
        self.clock = VirtualClock()
        self.irq8 = Line("IRQ8")
        self.edges = Edges(self.irq8)
        self.rtc = CmosRtc(self.clock, self.irq8, ram_bytes, base)

    def get(self, index: int) -> int:
        self.rtc.write(0, 1, index)
        return self.rtc.read(1, 1)

    def put(self, index: int, value: int) -> None:
        self.rtc.write(0, 1, index)
        self.rtc.write(1, 1, value)

    def calendar(self) -> tuple[int, ...]:
        return tuple(self.get(index) for index in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, WEEKDAY))

    def set_time(self, hour: int, minute: int, second: int) -> None:
        b = self.get(REGISTER_B)
        self.put(REGISTER_B, b | SET)
        for index, value in ((HOURS, hour), (MINUTES, minute), (SECONDS, second)):
            self.put(index, value)
        self.put(REGISTER_B, b)

    def seconds(self, seconds: float) -> None:
        pass_time(self.clock, round(seconds * NS_PER_SECOND))


@pytest.fixture
def board() -> Board:
    return Board()


def test_starts_on_a_fixed_saturday(board: Board) -> None:
    assert board.calendar() == (0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 7)
    assert (board.get(REGISTER_A), board.get(REGISTER_B), board.get(REGISTER_D)) == (0x26, 0x02, 0x80)
    assert board.rtc.read(0, 1) == 0xFF  # the index cannot be read


def test_base_is_given_in_any_time_zone_and_shown_in_utc() -> None:
    board = Board(datetime(2024, 2, 29, 1, 30, 15, tzinfo=timezone(timedelta(hours=2))))
    assert board.calendar() == (0x20, 0x24, 0x02, 0x28, 0x23, 0x30, 0x15, 4)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (datetime(1999, 12, 31, 23, 59, 59), (0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 7)),
        (datetime(2000, 2, 28, 23, 59, 59), (0x20, 0x00, 0x02, 0x29, 0x00, 0x00, 0x00, 3)),
        (datetime(2001, 2, 28, 23, 59, 59), (0x20, 0x01, 0x03, 0x01, 0x00, 0x00, 0x00, 5)),
        (datetime(2024, 6, 8, 9, 59, 59), (0x20, 0x24, 0x06, 0x08, 0x10, 0x00, 0x00, 7)),
    ],
)
def test_rolls_over(before: datetime, after: tuple[int, ...]) -> None:
    board = Board(before.replace(tzinfo=UTC))
    board.seconds(1)
    assert board.calendar() == after


@pytest.mark.parametrize(
    ("hour", "mode", "shown"),
    [
        (0, 0, 0x12),
        (1, 0, 0x01),
        (11, 0, 0x11),
        (12, 0, 0x92),
        (13, 0, 0x81),
        (23, 0, 0x91),
        (0, BINARY, 12),
        (23, BINARY, 0x8B),
        (23, BINARY | H24, 23),
        (23, H24, 0x23),
        (0, H24, 0x00),
    ],
)
def test_hour_formats(hour: int, mode: int, shown: int) -> None:
    board = Board(datetime(2000, 1, 1, hour, tzinfo=UTC))
    board.put(REGISTER_B, mode)
    assert board.get(HOURS) == shown
    board.set_time(shown, board.get(MINUTES), board.get(SECONDS))
    board.put(REGISTER_B, H24)
    assert board.get(HOURS) == int(str(hour), 16)


def test_set_stops_the_clock_for_writing(board: Board) -> None:
    board.put(REGISTER_B, H24 | SET)
    board.seconds(3)
    assert board.get(SECONDS) == 0
    assert not board.get(REGISTER_A) & UIP
    for index, value in ((CENTURY, 0x19), (YEAR, 0x87), (MONTH, 0x06), (DAY, 0x05), (WEEKDAY, 6)):
        board.put(index, value)
    for index, value in ((HOURS, 0x23), (MINUTES, 0x59), (SECONDS, 0x58)):
        board.put(index, value)
    board.put(REGISTER_B, H24)
    assert board.calendar() == (0x19, 0x87, 0x06, 0x05, 0x23, 0x59, 0x58, 6)
    board.seconds(2)
    assert board.calendar() == (0x19, 0x87, 0x06, 0x06, 0x00, 0x00, 0x00, 7)


def test_divider_reset_makes_the_first_update_come_after_half_a_second(board: Board) -> None:
    board.seconds(0.9)
    board.put(REGISTER_A, 0x70)
    board.seconds(5)
    board.put(REGISTER_A, 0x26)
    assert board.get(SECONDS) == 0
    board.seconds(0.499)
    assert board.get(SECONDS) == 0
    board.seconds(0.002)
    assert board.get(SECONDS) == 1


def test_update_in_progress_warns_before_the_second_changes(board: Board) -> None:
    pass_time(board.clock, NS_PER_SECOND - UPDATE_WARNING_NS - 1)
    assert not board.get(REGISTER_A) & UIP
    pass_time(board.clock, 1)
    assert board.get(REGISTER_A) & UIP
    pass_time(board.clock, UPDATE_WARNING_NS - 1)
    assert board.get(REGISTER_A) & UIP
    assert board.get(SECONDS) == 0
    pass_time(board.clock, 1)
    assert not board.get(REGISTER_A) & UIP
    assert board.get(SECONDS) == 1


def test_uip_and_the_read_only_registers_cannot_be_written(board: Board) -> None:
    board.put(REGISTER_A, 0xA6)
    board.put(REGISTER_C, 0xFF)
    board.put(REGISTER_D, 0x00)
    assert [board.get(index) for index in (REGISTER_A, REGISTER_C, REGISTER_D)] == [0x26, 0x00, 0x80]


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (9, 128), (15, 2)])
def test_periodic_interrupt_rates(board: Board, rate: int, hertz: int) -> None:
    board.put(REGISTER_A, 0x20 | rate)
    board.put(REGISTER_B, H24 | PIE)
    interrupts = 0

    def acknowledge() -> None:
        nonlocal interrupts
        interrupts += 1
        assert board.get(REGISTER_C) == IRQF | PF | (UF if board.clock.now_ns == NS_PER_SECOND else 0)

    board.irq8.on_rise(acknowledge)
    board.seconds(1)
    assert interrupts == hertz


def test_interrupt_line_stays_up_until_register_c_is_read(board: Board) -> None:
    board.put(REGISTER_B, H24 | PIE)
    board.seconds(0.5)
    assert board.irq8.level
    assert board.edges.count == 1
    assert board.clock.budget(NS_PER_SECOND) == NS_PER_SECOND  # nothing to wait for meanwhile
    assert board.get(REGISTER_C) == IRQF | PF
    assert not board.irq8.level
    assert board.get(REGISTER_C) == 0


def test_flags_come_without_interrupts_enabled(board: Board) -> None:
    board.put(REGISTER_A, 0x20)  # no periodic rate
    assert board.get(REGISTER_C) == 0
    board.seconds(1)
    assert board.get(REGISTER_C) == UF
    board.put(REGISTER_A, 0x26)
    board.seconds(0.01)
    assert board.get(REGISTER_C) == PF
    assert board.edges.count == 0


def test_update_ended_interrupt(board: Board) -> None:
    board.put(REGISTER_A, 0x20)
    board.put(REGISTER_B, H24 | UIE)
    board.seconds(0.999)
    assert not board.irq8.level
    board.seconds(0.001)
    assert board.irq8.level
    assert board.get(REGISTER_C) & (IRQF | UF) == IRQF | UF
    board.put(REGISTER_B, H24 | UIE | SET)
    assert board.get(REGISTER_B) == H24 | SET  # SET clears UIE


@pytest.mark.parametrize(
    ("alarm", "start", "wait"),
    [
        ((0x07, 0x30, 0x00), (0x07, 0x29, 0x58), 2),
        ((0x07, 0x30, 0x00), (0x07, 0x30, 0x00), 86_400),
        ((0x06, 0x00, 0x00), (0x07, 0x00, 0x00), 23 * 3600),
        ((0xFF, 0xFF, 0xFF), (0x07, 0x29, 0x58), 1),
        ((0xFF, 0xFF, 0x30), (0x07, 0x29, 0x31), 59),
        ((0xC0, 0x15, 0x00), (0x23, 0x15, 0x01), 3599),
        ((0xFF, 0xFF, 0xFF), (0x23, 0x59, 0x59), 1),
        ((0x77, 0x00, 0x00), (0x00, 0x00, 0x00), None),
    ],
)
def test_alarm(board: Board, alarm: tuple[int, int, int], start: tuple[int, int, int], wait: int | None) -> None:
    board.put(REGISTER_A, 0x20)
    for index, value in zip((HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM), alarm, strict=True):
        board.put(index, value)
    board.set_time(*start)
    board.put(REGISTER_B, H24 | AIE)
    if wait is None:
        board.seconds(2 * 86_400)
        assert not board.irq8.level
    else:
        board.seconds(wait - 0.5)
        assert not board.irq8.level
        board.seconds(0.5)
        assert board.irq8.level
        assert board.get(REGISTER_C) == IRQF | AF | UF


def test_ram_bytes_are_plain_storage(board: Board) -> None:
    for index in range(0x40, 0x80):
        board.put(index, index ^ 0xFF)
    assert [board.get(index | 0x80) for index in range(0x40, 0x80)] == [i ^ 0xFF for i in range(0x40, 0x80)]


@pytest.mark.parametrize(
    ("ram_bytes", "base_kib", "extended_kib", "blocks", "high_blocks"),
    [
        (512 << 10, 512, 0, 0, 0),
        (16 * MIB, 640, 15 * 1024, 0, 0),
        (64 * MIB, 640, 63 * 1024, 48 * 16, 0),
        (2048 * MIB, 640, 0xFFFF, 2032 * 16, 0),
        (8192 * MIB, 640, 0xFFFF, (3584 - 16) * 16, (8192 - 3584) * 16),
    ],
)
def test_memory_size(ram_bytes: int, base_kib: int, extended_kib: int, blocks: int, high_blocks: int) -> None:
    board = Board(ram_bytes=ram_bytes)

    def word(low: int) -> int:
        return board.get(low) | board.get(low + 1) << 8

    assert (word(0x15), word(0x17), word(0x30), word(0x34)) == (base_kib, extended_kib, extended_kib, blocks)
    assert word(0x5B) | board.get(0x5D) << 16 == high_blocks  # above 4 GiB
    assert board.get(0x2E) << 8 | board.get(0x2F) == sum(board.get(index) for index in range(0x10, 0x2E))


def test_reset_keeps_time_and_ram(board: Board) -> None:
    board.put(0x50, 0x99)
    board.put(REGISTER_B, H24 | PIE | UIE)
    board.seconds(61)
    board.rtc.reset()
    assert not board.irq8.level
    assert (board.get(REGISTER_B), board.get(REGISTER_C), board.get(0x50)) == (H24, 0, 0x99)
    assert (board.get(MINUTES), board.get(SECONDS)) == (0x01, 0x01)


def test_linux_reads_and_sets_the_time(board: Board) -> None:
    """mc146818_get_time() waits for UIP to clear; mc146818_set_time() uses SET and the divider reset."""
    board.seconds(0.9999)
    polls = 0
    while board.get(REGISTER_A) & UIP:
        pass_time(board.clock, 1000)
        polls += 1
    assert board.get(SECONDS) == 1
    assert 95 <= polls <= 105
    control, frequency = board.get(REGISTER_B), board.get(REGISTER_A)
    board.put(REGISTER_B, control | SET)
    board.put(REGISTER_A, frequency | 0x70)
    for index, value in ((YEAR, 0x23), (MONTH, 0x07), (DAY, 0x31), (HOURS, 0x08), (MINUTES, 0x15), (SECONDS, 0x30)):
        board.put(index, value)
    board.put(REGISTER_B, control)
    board.put(REGISTER_A, frequency)
    board.seconds(1)
    assert board.calendar()[:7] == (0x20, 0x23, 0x07, 0x31, 0x08, 0x15, 0x31)


@pytest.mark.parametrize("writes", [{MONTH: 0x13, DAY: 0x45}, {MONTH: 0, DAY: 0}, {CENTURY: 0, YEAR: 0}, {HOURS: 0xFF}])
def test_nonsense_becomes_a_valid_date(board: Board, writes: dict[int, int]) -> None:
    for index, value in writes.items():
        board.put(index, value)
    shown = [int(hex(value)[2:]) for value in board.calendar()]
    century, year, month, day, hour, minute, second, _ = shown
    datetime(century * 100 + year, month, day, hour, minute, second)  # raises if there is no such moment


def test_the_calendar_ends_without_a_crash() -> None:
    board = Board(datetime(9999, 12, 31, 23, 59, 58, tzinfo=UTC))
    board.put(REGISTER_B, H24 | UIE | AIE)
    board.seconds(5)
    assert board.calendar()[:7] == (0x99, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59)


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(range(14)), st.integers(0, 255)),
        st.tuples(st.just(REGISTER_A), st.sampled_from([0x20, 0x26, 0x2F, 0x70])),
        st.tuples(st.just(REGISTER_B), st.sampled_from([0x02, 0x72, 0x06, 0x82, 0x32, 0x10])),
        st.tuples(st.just(-1), st.integers(1, 2000)),  # milliseconds
    ),
    max_size=20,
)


def run(board: Board, operations: list[tuple[int, int]], wait: Callable[[Board, int], None]) -> list[int]:
    seen: list[int] = []
    for index, value in operations:
        if index < 0:
            wait(board, value)
        else:
            board.put(index, value)
        seen += [*board.calendar(), board.irq8.level, board.edges.count]
    return [*seen, board.get(REGISTER_C)]


@given(operations=OPERATIONS)
def test_looking_at_the_clock_changes_nothing(operations: list[tuple[int, int]]) -> None:
    def in_steps(board: Board, ms: int) -> None:
        for _ in range(10):
            pass_time(board.clock, ms * 100_000)
            board.calendar()
            board.get(REGISTER_A)

    def at_once(board: Board, ms: int) -> None:
        pass_time(board.clock, ms * 1_000_000)

    assert run(Board(), operations, in_steps) == run(Board(), operations, at_once)


@given(operations=OPERATIONS, more=OPERATIONS)
def test_a_restored_clock_goes_on_as_the_old_one(
    operations: list[tuple[int, int]], more: list[tuple[int, int]]
) -> None:
    def wait(board: Board, ms: int) -> None:
        pass_time(board.clock, ms * 1_000_000)

    old, new = Board(), Board(datetime(1980, 1, 1, tzinfo=UTC), 4 * MIB)
    run(old, operations, wait)
    new.clock.restore(old.clock.state())
    transplant(old.rtc, new.rtc)
    old.edges.count = new.edges.count = 0
    assert run(new, more, wait) == run(old, more, wait)
