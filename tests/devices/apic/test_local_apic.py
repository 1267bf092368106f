"""The local APIC by the manual: priorities, timer, local inputs, messages, errors."""

import random

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.apic.local_apic import LocalApic
from bt.devices.apic.message import DeliveryMode, Message
from bt.devices.device import Line
from tests.devices.board import pass_time, transplant

TPR, PPR, EOI, LDR, DFR, SVR, ISR, TMR, IRR, ESR = 0x80, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0, 0x100, 0x180, 0x200, 0x280
ICR, ICR_HIGH, TIMER, LINT0, LINT1, ERROR = 0x300, 0x310, 0x320, 0x350, 0x360, 0x370
INITIAL, CURRENT, DIVIDE = 0x380, 0x390, 0x3E0
BY_1, BY_16 = 0b1011, 0b0011
MASKED, PERIODIC, LEVEL = 1 << 16, 1 << 17, 1 << 15
SELF = 1 << 18
PIC_VECTOR = 0x08


class Board:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.intr = Line("INTR")
        self.nmis = 0
        self.ended: list[int] = []
        self.apic = LocalApic(self.clock, self.intr, lambda: PIC_VECTOR, self.nmi, self.ended.append)
        self.put(SVR, 0x1FF)

    def nmi(self) -> None:
        self.nmis += 1

    def get(self, offset: int) -> int:
        return self.apic.read(offset, 4)

    def put(self, offset: int, value: int) -> None:
        self.apic.write(offset, 4, value)

    def interrupt(self, vector: int) -> None:
        self.put(ICR, SELF | vector)

    def taken(self) -> list[int]:
        """What a processor with interrupts on takes, without ending anything."""
        vectors = []
        while self.intr.level:
            vectors.append(self.apic.acknowledge())
            assert len(vectors) < 300
        return vectors

    def bits(self, offset: int) -> list[int]:
        return [32 * n + bit for n in range(8) for bit in range(32) if self.get(offset + 16 * n) >> bit & 1]


@pytest.fixture
def board() -> Board:
    return Board()


def test_higher_classes_come_first_and_nest(board: Board) -> None:
    for vector in (0x31, 0x52, 0x55, 0x33):
        board.interrupt(vector)
    assert board.bits(IRR) == [0x31, 0x33, 0x52, 0x55]
    assert board.taken() == [0x55]
    assert (board.get(PPR), board.bits(ISR)) == (0x50, [0x55])
    board.interrupt(0x61)
    assert board.taken() == [0x61]
    board.put(EOI, 0)
    assert board.taken() == []
    board.put(EOI, 0)
    assert board.taken() == [0x52]
    board.put(EOI, 0)
    assert board.taken() == [0x33]
    board.put(EOI, 0)
    assert board.taken() == [0x31]


def test_only_the_end_of_a_level_is_told(board: Board) -> None:
    for level, ended in ((True, [0x40]), (False, [0x40])):
        board.apic.receive(Message(0x40, DeliveryMode.FIXED, 0, logical=False, level=level))
        assert board.taken() == [0x40]
        assert board.bits(TMR) == ([0x40] if level else [])
        board.put(EOI, 0)
        assert board.ended == ended


def test_task_priority_holds_back_its_class_and_below(board: Board) -> None:
    board.put(TPR, 0x45)
    board.interrupt(0x4F)
    assert (board.taken(), board.get(PPR)) == ([], 0x45)
    board.interrupt(0x50)
    assert (board.taken(), board.get(PPR)) == ([0x50], 0x50)
    board.put(EOI, 0)
    board.put(TPR, 0x3F)
    assert board.taken() == [0x4F]


def test_one_shot_timer(board: Board) -> None:
    board.put(DIVIDE, BY_16)
    board.put(TIMER, 0x40)
    board.put(INITIAL, 1000)
    pass_time(board.clock, 16 * 400)
    assert board.get(CURRENT) == 600
    pass_time(board.clock, 16 * 600 - 1)
    assert (board.get(CURRENT), board.taken()) == (1, [])
    pass_time(board.clock, 1)
    assert (board.get(CURRENT), board.taken()) == (0, [0x40])
    pass_time(board.clock, 100_000)
    assert (board.get(CURRENT), board.taken()) == (0, [])


def test_periodic_timer(board: Board) -> None:
    board.put(DIVIDE, BY_1)
    board.put(TIMER, 0x40 | PERIODIC)
    board.put(INITIAL, 1000)
    count = 0
    for _ in range(100):
        pass_time(board.clock, 100)
        if board.taken():
            count += 1
            board.put(EOI, 0)
    assert count == 10
    board.put(TIMER, 0x40 | PERIODIC | MASKED)
    pass_time(board.clock, 2_350)
    assert (board.taken(), board.get(CURRENT)) == ([], 650)
    board.put(TIMER, 0x41 | PERIODIC)
    pass_time(board.clock, 649)
    assert board.taken() == []
    pass_time(board.clock, 1)
    assert board.taken() == [0x41]
    board.put(INITIAL, 0)
    pass_time(board.clock, 5_000)
    board.put(EOI, 0)
    assert (board.taken(), board.get(CURRENT)) == ([], 0)


@pytest.mark.parametrize("code", [(0b0000, 2), (0b0001, 4), (0b0010, 8), (0b0011, 16), (0b1000, 32), (0b1001, 64),
                                  (0b1010, 128), (0b1011, 1)])  # fmt: skip
def test_divisors(board: Board, code: tuple[int, int]) -> None:
    configuration, divisor = code
    board.put(DIVIDE, configuration)
    board.put(INITIAL, 100)
    pass_time(board.clock, 10 * divisor)
    assert board.get(CURRENT) == 90


def test_the_count_goes_on_when_the_divisor_changes(board: Board) -> None:
    board.put(DIVIDE, BY_1)
    board.put(TIMER, 0x40)
    board.put(INITIAL, 1000)
    pass_time(board.clock, 400)
    board.put(DIVIDE, BY_16)
    assert board.get(CURRENT) == 600
    pass_time(board.clock, 16 * 600 - 1)
    assert board.taken() == []
    pass_time(board.clock, 1)
    assert board.taken() == [0x40]


def test_virtual_wire(board: Board) -> None:
    board.apic.set_lint0(True)
    assert not board.intr.level
    board.apic.set_up_virtual_wire()
    assert (board.get(LINT0), board.get(LINT1), board.get(SVR)) == (0x8700, 0x8400, 0x1FF)
    assert board.intr.level
    assert board.apic.acknowledge() == PIC_VECTOR
    assert board.bits(ISR) == []
    board.put(LINT0, 0x700 | MASKED)
    assert not board.intr.level
    board.put(LINT0, 0x700)
    assert board.intr.level
    board.interrupt(0x20)
    assert board.apic.acknowledge() == 0x20  # the APIC's own first
    board.apic.set_lint0(False)
    assert not board.intr.level


def test_disabled_by_its_base_register_the_8259_has_the_pin(board: Board) -> None:
    board.put(LINT0, 0x700 | MASKED)
    board.interrupt(0x40)
    board.apic.set_lint0(True)
    board.apic.set_base(0xFEE00100)
    assert board.apic.acknowledge() == PIC_VECTOR
    board.apic.set_lint0(False)
    assert not board.intr.level
    board.apic.set_base(0xFEE00900)
    assert board.taken() == [0x40]


def test_software_disable_masks_the_local_vectors(board: Board) -> None:
    board.put(TIMER, 0x40)
    board.put(SVR, 0x0FF)
    assert board.get(TIMER) == 0x40 | MASKED
    board.put(TIMER, 0x41)
    assert board.get(TIMER) == 0x41 | MASKED
    board.interrupt(0x50)
    assert board.taken() == []
    board.put(SVR, 0x1FF)
    assert board.get(TIMER) == 0x41 | MASKED


def test_nmi_by_lint1_and_by_message(board: Board) -> None:
    board.put(LINT1, 0x400)
    board.apic.set_lint1(True)
    board.apic.set_lint1(True)
    assert board.nmis == 1
    board.put(ICR, SELF | 0x400)
    assert board.nmis == 2
    board.put(ICR, SELF | 0x500)  # INIT to itself
    board.put(ICR, SELF | 0x600)
    assert (board.nmis, board.taken()) == (2, [])


def test_level_triggered_local_input(board: Board) -> None:
    board.put(LINT0, 0x61 | LEVEL)
    board.apic.set_lint0(True)
    assert (board.taken(), board.get(LINT0) & 0x4000, board.bits(TMR)) == ([0x61], 0x4000, [0x61])
    board.put(EOI, 0)
    assert board.taken() == [0x61]  # still asserted
    board.apic.set_lint0(False)
    board.put(EOI, 0)
    assert (board.taken(), board.get(LINT0) & 0x4000, board.ended) == ([], 0, [0x61, 0x61])


@pytest.mark.parametrize(
    ("high", "low", "arrives"),
    [
        (0x00, 0x0040, True), (0x01, 0x0040, False), (0xFF, 0x0040, True),  # physical, identifier 0
        (0x02, 0x0840, True), (0x04, 0x0840, False), (0x06, 0x0840, True),  # logical, flat
        (0x04, 0x80040, True), (0x04, 0xC0040, False),  # all, all others
    ],
)  # fmt: skip
def test_destinations(board: Board, high: int, low: int, arrives: bool) -> None:
    board.put(LDR, 0x02 << 24)
    board.put(ICR_HIGH, high << 24)
    board.put(ICR, low)
    assert board.taken() == ([0x40] if arrives else [])


@pytest.mark.parametrize(("destination", "arrives"), [(0x12, True), (0x1D, False), (0x22, False), (0xF2, True)])
def test_logical_clusters(board: Board, destination: int, arrives: bool) -> None:
    board.put(DFR, 0x0FFF_FFFF)
    board.put(LDR, 0x12 << 24)
    message = Message(0x40, DeliveryMode.LOWEST_PRIORITY, destination, logical=True, level=False)
    assert board.apic.receive(message) is arrives
    assert board.taken() == ([0x40] if arrives else [])


def test_errors(board: Board) -> None:
    board.put(ERROR, 0x77)
    board.interrupt(0x05)
    assert board.taken() == [0x77]
    board.apic.receive(Message(0x0F, DeliveryMode.FIXED, 0, logical=False, level=False))
    board.get(0x40)
    board.put(EOI, 0)
    assert board.taken() == [0x77]
    assert board.get(ESR) == 0  # not before it is written
    board.put(ESR, 0)
    assert board.get(ESR) == 0x20 | 0x40 | 0x80
    board.put(ESR, 0)
    assert board.get(ESR) == 0


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [(0, 1, 0xDD), (0, 2, 0xCCDD), (1, 1, 0xCC), (1, 2, 0xBBCC), (3, 1, 0xAA), (3, 4, 0xAA), (4, 4, 0), (12, 4, 0)],
)
def test_pieces_of_a_register_have_their_size(board: Board, offset: int, size: int, value: int) -> None:
    board.put(INITIAL, 0xAABB_CCDD)
    assert board.apic.read(INITIAL + offset, size) == value


def test_spurious_vector(board: Board) -> None:
    board.interrupt(0x40)
    board.put(TPR, 0xFF)  # in the meantime
    assert board.apic.acknowledge() == 0xFF
    assert board.bits(ISR) == []


def test_external_interrupt_by_message(board: Board) -> None:
    board.put(LINT0, MASKED)
    board.apic.receive(Message(0, DeliveryMode.EXTINT, 0, logical=False, level=False))
    assert board.taken() == [PIC_VECTOR]


@pytest.mark.parametrize("seed", range(5))
def test_any_traffic_is_harmless_and_survives_a_snapshot(seed: int) -> None:
    def step(board: Board, rng: random.Random) -> list[int]:
        match rng.randrange(8):
            case 0 | 1:
                board.apic.write(16 * rng.randrange(256), rng.choice([4, 4, 4, 2]), rng.getrandbits(32))
            case 2:
                board.put(rng.choice([TIMER, INITIAL, DIVIDE, TPR, SVR]), rng.choice([0x1FF, 0x20040, 1000, 0]))
            case 3:
                board.apic.set_lint0(bool(rng.randrange(2)))
                board.apic.set_lint1(bool(rng.randrange(2)))
            case 4:
                pass_time(board.clock, rng.randrange(5_000))
            case 5:
                board.apic.receive(
                    Message(rng.randrange(256), rng.randrange(8), rng.randrange(256), bool(rng.randrange(2)), True)
                )
            case 6:
                board.put(EOI, 0)
                return [board.apic.acknowledge()] if board.intr.level else []
        return [board.apic.read(rng.randrange(0x1000), rng.choice([1, 2, 4])), board.nmis, len(board.ended)]

    board = Board()
    rng = random.Random(seed)
    for _ in range(1500):
        step(board, rng)
    copy = Board()
    copy.clock.restore(board.clock.state())
    transplant(board.apic, copy.apic)
    copy.nmis, copy.ended = board.nmis, list(board.ended)
    copy.apic.ended = copy.ended.append
    assert board.intr.level == copy.intr.level
    one, other = random.Random(seed), random.Random(seed)
    assert [step(board, one) for _ in range(1000)] == [step(copy, other) for _ in range(1000)]
