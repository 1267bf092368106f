"""8254 data sheet: every mode tick by tick, reading and latching, gates, and counter 0's interrupt."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt.clock.virtual_clock import (
    NS_PER_SECOND,
    Oscillator,
    VirtualClock,
)
from bt.devices.chipset.pit8254 import CONTROL, Pit8254
from bt.devices.chipset.pit8254_native import PIT_HZ
from bt.devices.device import Line
from tests.devices.board import Edges, pass_time, transplant

LOW_HIGH = 0x30


class Board:
    """A PIT on a clock that can be moved by whole ticks."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.irq0 = Line("IRQ0")
        self.edges = Edges(self.irq0)
        self.pit = Pit8254(self.clock, self.irq0)
        self.crystal = Oscillator(self.clock, PIT_HZ)

    def tick(self, ticks: int = 1) -> None:
        pass_time(self.clock, self.crystal.ns_at(self.crystal.ticks + ticks) - self.clock.now_ns)

    def control(self, value: int) -> None:
        self.pit.write(CONTROL, 1, value)

    def count(self, counter: int, value: int) -> None:
        self.pit.write(counter, 1, value & 0xFF)
        self.pit.write(counter, 1, value >> 8)

    def read16(self, counter: int) -> int:
        return self.pit.read(counter, 1) | self.pit.read(counter, 1) << 8

    def start(self, counter: int, mode: int, value: int, bcd: int = 0) -> None:
        self.control(counter << 6 | LOW_HIGH | mode << 1 | bcd)
        self.count(counter, value)

    def status(self, counter: int) -> int:
        self.control(0xE0 | 2 << counter)
        return self.pit.read(counter, 1)

    def wave(self, counter: int, ticks: int) -> str:
        """OUT over the next `ticks` ticks, starting with the one that loads the count."""
        levels = ""
        for _ in range(ticks):
            self.tick()
            levels += "-" if self.pit.out(counter) else "_"
        return levels

    def counts(self, counter: int, ticks: int) -> list[int]:
        values = []
        for _ in range(ticks):
            self.tick()
            self.control(counter << 6)
            values.append(self.read16(counter))
        return values


@pytest.fixture
def board() -> Board:
    board = Board()
    board.pit.gate2.raise_()
    return board


@pytest.mark.parametrize(
    ("mode", "count", "wave"),
    [
        (0, 4, "____-------"),
        (0, 1, "_----"),
        (2, 3, "--_--_--_--"),
        (2, 4, "---_---_---"),
        (3, 4, "--__--__--_"),
        (3, 5, "---__---__-"),
        (6, 3, "--_--_--_--"),  # the don't-care bit of modes 2 and 3
        (7, 4, "--__--__--_"),
        (4, 3, "---_-------"),
        (4, 1, "-_---------"),
        (1, 3, "-----------"),  # wait for a trigger
        (5, 3, "-----------"),
    ],
)
def test_output_by_mode(board: Board, mode: int, count: int, wave: str) -> None:
    board.start(2, mode, count)
    assert board.wave(2, len(wave)) == wave


@pytest.mark.parametrize(("mode", "wave"), [(1, "___------"), (5, "---_-----")])
def test_triggered_modes(board: Board, mode: int, wave: str) -> None:
    board.start(2, mode, 3)
    board.tick(5)
    board.pit.gate2.lower()
    assert board.wave(2, 3) == "---"
    for _ in range(2):  # and may be triggered again
        board.pit.gate2.raise_()
        assert board.wave(2, len(wave)) == wave
        board.pit.gate2.lower()


def test_one_shot_is_extended_by_a_new_trigger(board: Board) -> None:
    board.start(2, 1, 4)
    board.pit.gate2.lower()
    board.pit.gate2.raise_()
    assert board.wave(2, 3) == "___"
    board.pit.gate2.lower()
    board.pit.gate2.raise_()
    assert board.wave(2, 6) == "____--"


def test_one_shot_takes_a_new_count_at_the_next_trigger(board: Board) -> None:
    board.start(2, 1, 2)
    board.pit.gate2.lower()
    board.pit.gate2.raise_()
    board.count(2, 4)
    assert board.wave(2, 4) == "__--"
    board.pit.gate2.lower()
    board.pit.gate2.raise_()
    assert board.wave(2, 6) == "____--"


@pytest.mark.parametrize(
    ("mode", "count", "values"),
    [
        (0, 3, [3, 2, 1, 0, 0xFFFF, 0xFFFE]),
        (2, 3, [3, 2, 1, 3, 2, 1, 3]),
        (3, 4, [4, 2, 4, 2, 4]),
        (3, 5, [4, 2, 0, 4, 2, 4, 2, 0]),
        (4, 2, [2, 1, 0, 0xFFFF]),
        (0, 0, [0, 0xFFFF, 0xFFFE]),
        (2, 0, [0, 0xFFFF, 0xFFFE]),
    ],
)
def test_count_by_mode(board: Board, mode: int, count: int, values: list[int]) -> None:
    board.start(2, mode, count)
    assert board.counts(2, len(values)) == values


def test_bcd_counts_in_decimal(board: Board) -> None:
    board.start(2, 0, 0x1001, bcd=1)
    assert board.counts(2, 4) == [0x1001, 0x1000, 0x0999, 0x0998]
    board.start(2, 0, 0x0001, bcd=1)
    assert board.counts(2, 3) == [0x0001, 0x0000, 0x9999]
    board.start(2, 2, 0, bcd=1)
    assert board.counts(2, 2) == [0x0000, 0x9999]
    board.tick(10_000)
    assert board.counts(2, 1) == [0x9998]


@pytest.mark.parametrize("mode", [0, 4])
def test_gate_suspends_counting(board: Board, mode: int) -> None:
    board.start(2, mode, 10)
    board.tick(4)
    board.pit.gate2.lower()
    assert board.counts(2, 3) == [7, 7, 7]
    board.pit.gate2.raise_()
    assert board.counts(2, 3) == [6, 5, 4]


def test_count_written_with_the_gate_low_waits_for_it(board: Board) -> None:
    board.pit.gate2.lower()
    board.start(2, 0, 3)
    assert board.counts(2, 3) == [3, 3, 3]
    board.pit.gate2.raise_()
    assert board.wave(2, 5) == "__---"


@pytest.mark.parametrize(("mode", "wave"), [(2, "---_---_"), (3, "--__--__")])
def test_gate_restarts_periodic_modes(board: Board, mode: int, wave: str) -> None:
    board.start(2, mode, 4)
    board.tick(4)
    assert not board.pit.out(2)
    board.pit.gate2.lower()
    assert board.pit.out(2)  # at once
    assert board.wave(2, 3) == "---"
    board.pit.gate2.raise_()
    assert board.wave(2, 8) == wave


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        (2, "--", "---_--_--_"),
        (3, "-", "--__--__"),  # taken up at the end of the high half
        (3, "---_", "__--__--"),  # or of the low half
    ],
)
def test_new_count_waits_for_the_end_of_the_cycle(board: Board, mode: int, before: str, after: str) -> None:
    board.start(2, mode, 6)
    assert board.wave(2, len(before)) == before
    board.count(2, 3 if mode == 2 else 4)
    assert board.wave(2, len(after)) == after


def test_first_byte_of_a_new_count_stops_mode_0(board: Board) -> None:
    board.start(2, 0, 3)
    assert board.wave(2, 5) == "___--"
    board.pit.write(2, 1, 5)
    assert not board.pit.out(2)
    assert board.wave(2, 3) == "___"
    board.pit.write(2, 1, 0)
    assert board.wave(2, 7) == "_____--"


@pytest.mark.parametrize(
    ("access", "write", "read"),
    [(1, [0x34], [0x34, 0x34]), (2, [0x12], [0x12, 0x12]), (3, [0x34, 0x12], [0x34, 0x12, 0x34, 0x12])],
)
def test_byte_access_modes(board: Board, access: int, write: list[int], read: list[int]) -> None:
    board.pit.gate2.lower()
    board.control(0x80 | access << 4)
    for value in write:
        board.pit.write(2, 1, value)
    board.tick(2)
    assert [board.pit.read(2, 1) for _ in read] == read
    board.control(0x80)
    assert [board.pit.read(2, 1) for _ in read] == read


def test_latched_count_stands_still_until_read(board: Board) -> None:
    board.start(2, 2, 1000)
    board.tick(101)
    board.control(0x80)
    board.tick(50)
    board.control(0x80)  # ignored
    assert board.read16(2) == 900
    assert board.read16(2) == 850


def test_read_back_latches_several_counters_and_status_comes_first(board: Board) -> None:
    board.start(0, 2, 500)
    board.start(2, 3, 400)
    board.tick(11)
    board.control(0xC0 | 0b1010)  # counters 0 and 2, count and status
    board.tick(100)
    assert board.pit.read(0, 1) == 0x80 | 0x30 | 2 << 1
    assert board.read16(0) == 490
    assert board.pit.read(2, 1) == 0x80 | 0x30 | 3 << 1
    assert board.read16(2) == 380
    assert board.read16(0) == 390


def test_status_byte(board: Board) -> None:
    board.control(0x80 | 0x10 | 7 << 1 | 1)
    assert board.status(2) == 0x80 | 0x40 | 0x10 | 7 << 1 | 1  # no count yet; the mode exactly as written
    board.pit.write(2, 1, 0x10)
    assert board.status(2) & 0x40  # written, but not loaded
    board.tick()
    assert not board.status(2) & 0x40
    board.pit.write(2, 1, 0x20)
    board.tick()
    assert board.status(2) & 0x40  # waits for the end of the half-period
    board.tick(10)
    assert not board.status(2) & 0x40


def test_control_word_register_cannot_be_read(board: Board) -> None:
    assert board.pit.read(CONTROL, 1) == 0xFF


@pytest.mark.parametrize("divisor", [1193, 4773, 11932, 65536])
@pytest.mark.parametrize("mode", [2, 3])
def test_periodic_interrupts_come_on_the_exact_tick(board: Board, mode: int, divisor: int) -> None:
    """Linux's 250 Hz (4773), DOS's 18.2 Hz (65536): no drift over a second."""
    rises: list[int] = []
    board.start(0, mode, divisor & 0xFFFF)
    loaded = board.crystal.ticks + 1
    board.irq0.on_rise(lambda: rises.append(board.clock.now_ns))
    pass_time(board.clock, NS_PER_SECOND)
    assert rises == [board.crystal.ns_at(loaded + divisor * n) for n in range(1, len(rises) + 1)]
    assert len(rises) == PIT_HZ // divisor


@pytest.mark.parametrize(("mode", "extra"), [(0, 0), (4, 1)])
def test_single_interrupt(board: Board, mode: int, extra: int) -> None:
    """Linux's one-shot clock event uses mode 4; mode 0 is the classic."""
    board.start(0, mode, 100)
    before = board.edges.count
    board.tick(100 + extra)
    assert board.edges.count == before
    board.tick(1)
    assert board.edges.count == before + 1
    board.tick(200_000)
    assert board.edges.count == before + 1
    board.count(0, 50)
    board.tick(52)
    assert board.edges.count == before + 2


def test_reprogramming_forgets_the_old_interrupt(board: Board) -> None:
    board.start(0, 2, 100)
    board.tick(50)
    board.control(LOW_HIGH)
    assert not board.irq0.level
    before = board.edges.count
    board.tick(1000)
    assert board.edges.count == before


def test_mode_0_interrupt_needs_the_whole_count(board: Board) -> None:
    board.start(0, 0, 10)
    board.tick(5)
    board.pit.write(0, 1, 20)
    board.tick(100)
    assert not board.irq0.level
    board.pit.write(0, 1, 0)
    board.tick(21)
    assert board.irq0.level


GUEST_OPERATIONS = st.one_of(
    st.tuples(st.just("control"), st.integers(0, 255)),
    st.tuples(st.sampled_from(["write 0", "write 2"]), st.integers(0, 255)),
    st.tuples(st.sampled_from(["read 0", "read 1", "read 2", "gate"]), st.integers(0, 1)),
    st.tuples(st.just("ticks"), st.integers(1, 700)),
)


def run(board: Board, operations: list[tuple[str, int]], tick: Callable[[Board, int], None]) -> list[int]:
    seen = []
    for kind, value in operations:
        match kind.split():
            case ["control"]:
                board.control(value)
            case ["write", counter]:
                board.pit.write(int(counter), 1, value)
            case ["read", counter]:
                seen.append(board.pit.read(int(counter), 1))
            case ["gate"]:
                board.pit.gate2.set(bool(value))
            case _:
                tick(board, value)
        seen += [board.pit.out(0), board.pit.out(2)]
    return [*seen, board.edges.count]


def one_by_one(board: Board, ticks: int) -> None:
    for _ in range(ticks):
        board.tick()
        board.pit.out(0), board.pit.out(2)


@given(operations=st.lists(GUEST_OPERATIONS, max_size=25))
def test_looking_at_a_counter_changes_nothing(operations: list[tuple[str, int]]) -> None:
    assert run(Board(), operations, one_by_one) == run(Board(), operations, Board.tick)


@given(operations=st.lists(GUEST_OPERATIONS, max_size=25), more=st.lists(GUEST_OPERATIONS, min_size=1, max_size=15))
def test_a_restored_pit_goes_on_as_the_old_one(operations: list[tuple[str, int]], more: list[tuple[str, int]]) -> None:
    old, new = Board(), Board()
    run(old, operations, Board.tick)
    new.clock.restore(old.clock.state())
    transplant(old.pit, new.pit)
    new.pit.gate2.set(old.pit.gate2.level)
    old.edges.count = new.edges.count = 0
    assert new.irq0.level == old.irq0.level
    assert run(new, more, Board.tick) == run(old, more, Board.tick)


@given(operations=st.lists(GUEST_OPERATIONS, max_size=20))
def test_interrupt_edges_are_the_rising_edges_of_out(operations: list[tuple[str, int]]) -> None:
    """The line skips low parts of OUT, but has an edge at each of its rises while time passes."""
    board = Board()

    def watch(board: Board, ticks: int) -> None:
        for _ in range(ticks):
            was_out, edges = board.pit.out(0), board.edges.count
            board.tick()
            if board.edges.count > edges:
                assert board.pit.out(0)
            if board.pit.out(0) and not was_out:
                assert board.edges.count == edges + 1

    run(board, operations, watch)
