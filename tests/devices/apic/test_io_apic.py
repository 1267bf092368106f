"""The I/O APIC: edges and levels, masks, end of interrupt, registers; and with a local APIC behind it."""

import random

import pytest

from bt.clock.virtual_clock import VirtualClock
from bt.devices.apic.io_apic import IoApic
from bt.devices.apic.local_apic import LocalApic
from bt.devices.apic.message import Message
from bt.devices.device import Line
from tests.devices.board import transplant
from tests.devices.qtest import Qemu, needs_qemu

LEVEL, MASKED, REMOTE_IRR, LOGICAL = 1 << 15, 1 << 16, 1 << 14, 1 << 11
BASE = 0xFEC00000
ALL, LOW, HIGH = 0xFFFF_FFFF, 0x0001_FFFF, 0xFF00_0000  # QEMU stores reserved bits of the entries too


class Board:
    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.accepts = True
        self.chip = IoApic(self.send)

    def send(self, message: Message) -> bool:
        self.sent.append(message)
        return self.accepts

    def put(self, index: int, value: int) -> None:
        self.chip.write(0x00, 4, index)
        self.chip.write(0x10, 4, value)

    def get(self, index: int) -> int:
        self.chip.write(0x00, 4, index)
        return self.chip.read(0x10, 4)

    def entry(self, number: int, low: int, destination: int = 0) -> None:
        self.put(0x11 + 2 * number, destination << 24)
        self.put(0x10 + 2 * number, low)


@pytest.fixture
def board() -> Board:
    return Board()


def test_an_edge_is_sent_once(board: Board) -> None:
    board.entry(4, 0x34 | LOGICAL | 0x100, destination=0x0F)
    board.chip.set_input(4, True)
    board.chip.set_input(4, True)
    assert board.sent == [Message(0x34, 1, 0x0F, True, False)]
    board.chip.set_input(4, False)
    board.chip.set_input(4, True)
    assert len(board.sent) == 2


def test_an_edge_at_a_masked_input_is_lost(board: Board) -> None:
    board.entry(4, 0x34 | MASKED)
    board.chip.set_input(4, True)
    board.entry(4, 0x34)
    assert board.sent == []


def test_a_level_is_sent_again_after_its_end(board: Board) -> None:
    board.entry(9, 0x39 | LEVEL)
    board.chip.set_input(9, True)
    assert board.sent == [Message(0x39, 0, 0, False, True)]
    assert board.get(0x22) == 0x39 | LEVEL | REMOTE_IRR
    board.chip.end_of_interrupt(0x38)
    board.chip.set_input(9, True)
    board.put(0x22, 0x39 | LEVEL)
    assert len(board.sent) == 1
    board.chip.end_of_interrupt(0x39)
    assert len(board.sent) == 2
    board.chip.set_input(9, False)
    board.chip.write(0x40, 4, 0x39)
    assert (len(board.sent), board.get(0x22)) == (2, 0x39 | LEVEL)


def test_a_masked_level_is_sent_when_the_mask_goes(board: Board) -> None:
    board.entry(9, 0x39 | LEVEL | MASKED)
    board.chip.set_input(9, True)
    assert board.sent == []
    board.entry(9, 0x39 | LEVEL)
    assert len(board.sent) == 1


def test_a_level_nobody_takes_waits(board: Board) -> None:
    board.accepts = False
    board.entry(9, 0x39 | LEVEL, destination=7)
    board.chip.set_input(9, True)
    assert board.get(0x22) == 0x39 | LEVEL
    board.accepts = True
    board.put(0x22, 0x39 | LEVEL)
    assert board.get(0x22) == 0x39 | LEVEL | REMOTE_IRR


def test_with_a_local_apic() -> None:
    intr = Line("INTR")
    local = LocalApic(VirtualClock(), intr, lambda: 0, lambda: None)
    chip = IoApic(local.receive)
    local.ended = chip.end_of_interrupt
    local.write(0xF0, 4, 0x1FF)
    chip.write(0, 4, 0x10 + 2 * 11)
    chip.write(0x10, 4, 0x5B | LEVEL)
    chip.set_input(11, True)
    assert local.acknowledge() == 0x5B
    assert not intr.level
    local.write(0xB0, 4, 0)
    assert intr.level
    chip.set_input(11, False)
    assert local.acknowledge() == 0x5B
    local.write(0xB0, 4, 0)
    assert not intr.level


@pytest.mark.parametrize("seed", range(3))
def test_any_traffic_is_harmless_and_survives_a_snapshot(seed: int) -> None:
    def step(board: Board, rng: random.Random) -> int:
        match rng.randrange(5):
            case 0 | 1:
                board.chip.write(rng.choice([0, 0x10, 0x10, 0x40, rng.randrange(0x1000)]), rng.choice([4, 4, 1]),
                                 rng.choice([rng.getrandbits(32), rng.randrange(0x40)]))  # fmt: skip
            case 2 | 3:
                board.chip.set_input(rng.randrange(24), bool(rng.randrange(2)))
        return board.chip.read(rng.choice([0, 0x10, rng.randrange(0x1000)]), rng.choice([1, 2, 4]))

    board, copy = Board(), Board()
    rng = random.Random(seed)
    for _ in range(1500):
        step(board, rng)
    transplant(board.chip, copy.chip)
    board.sent.clear()
    one, other = random.Random(seed), random.Random(seed)
    assert [step(board, one) for _ in range(1000)] == [step(copy, other) for _ in range(1000)]
    assert board.sent == copy.sent


@needs_qemu
@pytest.mark.parametrize("seed", range(3))
def test_same_registers_as_qemu(board: Board, seed: int) -> None:
    rng = random.Random(seed)
    with Qemu("-machine", "pc", "-nodefaults", "-m", "2") as qemu:
        for index in range(0x48):
            qemu.write(BASE, 4, index)
            assert board.get(index) == qemu.read(BASE + 0x10, 4), hex(index)
        for _ in range(300):
            index = rng.choice([0, 1, 2, rng.randrange(0x10, 0x40)])
            value = rng.getrandbits(32)
            if index >= 0x10 and not index & 1:
                value |= MASKED  # nobody is there to take it
            qemu.write(BASE, 4, index)
            qemu.write(BASE + 0x10, 4, value)
            board.put(index, value)
            index = rng.randrange(0x48)
            qemu.write(BASE, 4, index)
            stored = ALL if index < 0x10 else HIGH if index & 1 else LOW
            assert board.get(index) == qemu.read(BASE + 0x10, 4) & stored, hex(index)
            assert board.chip.read(0, 4) == qemu.read(BASE, 4)
