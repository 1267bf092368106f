"""The HPET by its specification, and its registers against QEMU's."""

import random

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.chipset.hpet import Hpet
from bt.devices.device import Line
from tests.devices.board import Edges, pass_time, transplant
from tests.devices.qtest import Qemu, needs_qemu

BASE = 0xFED00000
CONFIGURATION, STATUS, COUNTER = 0x10, 0x20, 0xF0
LEVEL, INTERRUPT, PERIODIC, SET_ACCUMULATOR, NARROW = 2, 4, 8, 0x40, 0x100
TO_INPUT_2, FSB = 2 << 9, 1 << 14


class Board:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.inputs = [Line(f"input {number}") for number in range(24)]
        self.legacy = Line("IRQ0"), Line("IRQ8")
        self.edges = Edges(self.inputs[2])
        self.replaced: list[bool] = []
        self.hpet = Hpet(self.clock, self.inputs, self.legacy, self.replaced.append)

    def get(self, offset: int, size: int = 8) -> int:
        return self.hpet.read(offset, size)

    def put(self, offset: int, value: int, size: int = 8) -> None:
        self.hpet.write(offset, size, value)


@pytest.fixture
def board() -> Board:
    return Board()


def test_the_counter_runs_while_enabled(board: Board) -> None:
    board.put(COUNTER, 0xFFFF_FFF0)
    pass_time(board.clock, 1000)
    assert board.get(COUNTER) == 0xFFFF_FFF0
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 250)
    assert board.get(COUNTER) == 0x1_0000_0009
    assert (board.get(COUNTER, 4), board.get(COUNTER + 4, 4)) == (9, 1)
    board.put(COUNTER, 0)  # not while it runs
    assert board.get(COUNTER) == 0x1_0000_0009
    board.put(CONFIGURATION, 0)
    pass_time(board.clock, 1000)
    assert board.get(COUNTER) == 0x1_0000_0009


def test_one_shot(board: Board) -> None:
    board.put(0x100, INTERRUPT | TO_INPUT_2)
    board.put(0x108, 100)
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 999)
    assert board.edges.count == 0
    pass_time(board.clock, 1)
    assert board.edges.count == 1
    pass_time(board.clock, 10_000)
    assert board.edges.count == 1
    board.put(0x108, board.get(COUNTER) + 5)
    pass_time(board.clock, 50)
    assert board.edges.count == 2


def test_periodic_as_linux_sets_it(board: Board) -> None:
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 12_345)
    board.put(0x100, INTERRUPT | TO_INPUT_2 | PERIODIC | SET_ACCUMULATOR | NARROW, 4)
    board.put(0x108, board.get(COUNTER, 4) + 1000, 4)
    board.put(0x108, 1000, 4)
    assert board.get(0x100, 4) & SET_ACCUMULATOR == 0
    pass_time(board.clock, 10_000)
    assert board.edges.count == 1
    pass_time(board.clock, 90_000)
    assert board.edges.count == 10
    assert board.get(0x108, 4) == 1234 + 11_000


def test_level_interrupts_wait_for_their_status_to_be_cleared(board: Board) -> None:
    board.put(0x120, INTERRUPT | TO_INPUT_2 | LEVEL)
    board.put(0x128, 10)
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 500)
    assert (board.inputs[2].level, board.get(STATUS)) == (True, 0b010)
    board.put(STATUS, 0b101)
    assert board.inputs[2].level
    board.put(STATUS, 0b010)
    assert (board.inputs[2].level, board.get(STATUS)) == (False, 0)


def test_legacy_replacement(board: Board) -> None:
    board.put(0x100, INTERRUPT | PERIODIC | SET_ACCUMULATOR)
    board.put(0x108, 100)
    board.put(0x120, INTERRUPT)
    board.put(0x128, 50)
    board.put(CONFIGURATION, 3)
    edges = [Edges(line) for line in board.legacy]
    pass_time(board.clock, 10_000)
    assert ([each.count for each in edges], board.replaced) == ([10, 1], [True])
    assert board.legacy[0].level  # an 8259 still finds it
    board.put(CONFIGURATION, 1)
    assert (board.replaced, board.legacy[0].level) == ([True, False], False)


def test_a_narrow_timer_comes_round(board: Board) -> None:
    board.put(0x100, INTERRUPT | TO_INPUT_2 | NARROW)
    board.put(0x108, 100)
    board.put(COUNTER, 0xFFFF_FFF0)
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 1160)
    assert board.edges.count == 1


def test_the_counter_comes_round(board: Board) -> None:
    """Past all ones a match is as far away as ever: it used to be due at once, again and again."""
    board.put(0x100, INTERRUPT | NARROW | TO_INPUT_2)
    board.put(0x108, 100)
    board.put(COUNTER, (1 << 64) - 1)
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 2000)
    assert (board.get(COUNTER), board.edges.count) == (199, 1)
    board.put(0x108, 200)
    pass_time(board.clock, 9)
    assert board.edges.count == 1
    pass_time(board.clock, 1)
    assert board.edges.count == 2


def test_a_periodic_comparator_goes_on_without_interrupts(board: Board) -> None:
    board.put(0x100, PERIODIC | SET_ACCUMULATOR)
    board.put(0x108, 100)
    board.put(CONFIGURATION, 1)
    pass_time(board.clock, 10 * 250)
    assert board.get(0x108) == 300


@pytest.mark.parametrize("seed", range(5))
def test_any_traffic_is_harmless_and_survives_a_snapshot(seed: int) -> None:
    def step(board: Board, rng: random.Random) -> list[object]:
        offset = rng.choice([0x10, 0x20, 0xF0, 0x100, 0x108, 0x120, 0x128, 0x140, rng.randrange(0x3F8)])
        match rng.randrange(4):
            case 0 | 1:
                size = rng.choice([1, 2, 4, 8])
                board.put(
                    offset & -size, rng.choice([1, 3, 0x44C, 0x40C, rng.getrandbits(64), rng.randrange(500)]), size
                )
            case 2:
                pass_time(board.clock, rng.randrange(3000))
        return [board.get(offset & ~7), board.edges.count, board.replaced[-1:], *(line.level for line in board.legacy)]

    board, copy = Board(), Board()
    rng = random.Random(seed)
    for _ in range(800):
        step(board, rng)
    copy.clock.restore(board.clock.state())
    transplant(board.hpet, copy.hpet)
    board.edges.count = copy.edges.count = 0
    board.replaced.clear()
    copy.replaced.clear()
    one, other = random.Random(seed), random.Random(seed)
    assert [step(board, one) for _ in range(800)] == [step(copy, other) for _ in range(800)]


@needs_qemu
@pytest.mark.parametrize("seed", range(3))
def test_same_registers_as_qemu(board: Board, seed: int) -> None:
    """While the counter stands. QEMU stores the enable bit of FSB interrupts, which it has not either."""
    rng = random.Random(seed)
    with Qemu("-machine", "pc", "-nodefaults", "-m", "2") as qemu:
        for offset in range(0, 0x180, 4):
            assert board.get(offset, 4) == qemu.read(BASE + offset, 4), hex(offset)
        for _ in range(200):
            offset, size = rng.choice([(0x10, 8), (0xF0, 8), (0x100, 8), (0x108, 8), (0x128, 8), (0x140, 8), (0x20, 8)])
            value = rng.getrandbits(64)
            if offset == 0x10:
                value &= ~3
            elif offset & 0x1F == 0 and offset >= 0x100:
                value &= ~(NARROW | PERIODIC | INTERRUPT | FSB)
            board.put(offset, value, size)
            qemu.write(BASE + offset, size, value)
            offset = rng.randrange(0, 0x180, 4)
            assert board.get(offset, 4) == qemu.read(BASE + offset, 4), hex(offset)
