"""The AT's keyboard controller, and how kernels find it, gate A20 and reset with it."""

import pytest

from bt.devices.device import Line
from bt.devices.input.i8042 import (
    COMMAND,
    DATA,
    I8042,
)
from tests.devices.board import Edges, transplant

OBF, SYSTEM, LAST_WAS_COMMAND, UNLOCKED, AUX, TIMEOUT = 0x01, 0x04, 0x08, 0x10, 0x20, 0x40


class Board:
    def __init__(self) -> None:
        self.irq1, self.irq12 = Line("IRQ1"), Line("IRQ12")
        self.keyboard_edges = Edges(self.irq1)
        self.a20: list[bool] = []
        self.resets = 0
        self.controller = I8042(self.irq1, self.irq12, self.a20.append, self.reset_cpu)

    def reset_cpu(self) -> None:
        self.resets += 1

    @property
    def status(self) -> int:
        return self.controller.read(COMMAND, 1)

    def command(self, value: int, *data: int) -> None:
        self.controller.write(COMMAND, 1, value)
        for byte in data:
            self.send(byte)

    def send(self, value: int) -> None:
        self.controller.write(DATA, 1, value)

    def receive(self) -> bytes:
        """Everything there is to read, as a polling driver does it."""
        received = bytearray()
        while self.status & OBF:
            received.append(self.controller.read(DATA, 1))
        return bytes(received)


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ((0xAA,), b"\x55"),
        ((0xAB,), b"\x00"),
        ((0xA9,), b"\x00"),
        ((0x20,), b"\x30"),
        ((0xC0,), b"\x80"),
        ((0xD0,), b"\xcf"),
        ((0xE0,), b"\x00"),
        ((0xD2, 0x1E), b"\x1e"),
        ((0xD3, 0x5A), b"\x5a"),
        ((0xFF,), b""),
        ((0x77,), b""),
    ],
)
def test_controller_commands(board: Board, command: tuple[int, ...], answer: bytes) -> None:
    board.command(*command)
    assert board.receive() == answer
    assert board.resets == 0


def test_command_byte_and_the_commands_that_change_it(board: Board) -> None:
    board.command(0x60, 0x45)
    for command, value in ((0x20, 0x45), (0xAD, 0x55), (0xA7, 0x75), (0xAE, 0x65), (0xA8, 0x45)):
        board.command(command)
        board.command(0x20)
        assert board.receive()[-1] == value


def test_status_bits(board: Board) -> None:
    assert board.status == UNLOCKED
    board.command(0xAA)
    assert board.status == UNLOCKED | OBF | SYSTEM | LAST_WAS_COMMAND
    board.receive()
    board.command(0x60, 0x00)
    assert board.status == UNLOCKED  # data came last, and the command byte cleared the system flag
    board.command(0xD3, 0x11)
    assert board.status == UNLOCKED | OBF | AUX
    assert board.receive() == b"\x11"
    assert board.controller.read(DATA, 1) == 0x11  # an empty buffer shows its last byte


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ([0xFF], "faaa"),
        ([0xF2], "faab83"),
        ([0xEE], "ee"),
        ([0xED, 0x07], "fafa"),
        ([0xF3, 0x20], "fafa"),
        ([0xF0, 0x00], "fafa02"),
        ([0xF0, 0x01, 0xF0, 0x00], "fafafafa01"),
        ([0xF0, 0x01, 0xFF, 0xF0, 0x00], "fafafaaafafa02"),
        ([0xF4], "fa"),
        ([0xF5], "fa"),
        ([0xF6], "fa"),
        ([0xED, 0xF4], "fafa"),  # a command in place of the argument
        ([0x12], "fe"),
        ([0xEE, 0xFE], "eeee"),
        ([0xF2, 0xFE], "faab83faab83"),
    ],
)
def test_keyboard_commands(board: Board, sent: list[int], answer: str) -> None:
    for value in sent:
        board.send(value)
    assert board.receive().hex() == answer


def test_translation_shows_in_the_identification(board: Board) -> None:
    board.command(0x60, 0x40)
    board.send(0xF2)
    assert board.receive().hex() == "faab41"


def test_disabled_keyboard_interface_holds_bytes_back(board: Board) -> None:
    board.send(0xF2)
    assert board.controller.read(DATA, 1) == 0xFA
    board.command(0xAD)
    assert board.receive() == b"\xab"  # it was in the buffer already
    assert not board.status & OBF
    board.command(0xAE)
    assert board.receive() == b"\x83"


def test_controller_answers_go_before_the_keyboard_and_replace_each_other(board: Board) -> None:
    board.send(0xF2)
    board.command(0xAA)
    board.command(0xD0)
    assert board.receive().hex() == "cf" + "faab83"


def test_keyboard_buffer_holds_sixteen_bytes(board: Board) -> None:
    for _ in range(100):
        board.send(0xEE)
    assert board.receive() == b"\xee" * 17  # one is in the controller


def test_keyboard_interrupts_once_a_byte(board: Board) -> None:
    board.command(0x60, 0x01)
    board.send(0xF2)
    assert board.irq1.level
    assert board.receive().hex() == "faab83"
    assert board.keyboard_edges.count == 3
    assert not board.irq1.level
    assert not board.irq12.level


def test_interrupts_follow_the_command_byte(board: Board) -> None:
    board.command(0xD3, 0x5A)
    assert not board.irq12.level
    board.command(0x60, 0x03)
    assert (board.irq1.level, board.irq12.level) == (False, True)
    board.command(0x60, 0x01)
    assert not board.irq12.level


def test_commands_to_the_absent_mouse_time_out(board: Board) -> None:
    board.command(0xD4, 0xF2)
    assert board.status & (OBF | AUX | TIMEOUT) == OBF | AUX | TIMEOUT
    assert board.receive() == b"\xfe"
    assert not board.status & (AUX | TIMEOUT)


def test_a20_by_the_output_port(board: Board) -> None:
    board.command(0xD1, 0xDD)
    board.command(0xD0)
    assert board.receive() == b"\xdd"
    board.command(0xD1, 0xDF)
    board.command(0xDD)
    board.command(0xDF)
    assert board.a20 == [False, True, False, True]
    assert board.resets == 0


def test_reset_by_pulse_and_by_output_port(board: Board) -> None:
    board.command(0xFE)
    assert board.resets == 1
    board.command(0xD1, 0xDE)
    assert board.resets == 2
    board.controller.reset()
    assert board.a20[-1]
    board.command(0xD0)
    assert board.receive() == b"\xcf"


def test_linux_controller_check_finds_keyboard_and_auxiliary_port(board: Board) -> None:
    """i8042_controller_selftest(), i8042_controller_init() and i8042_check_aux() of drivers/input/serio/i8042.c."""
    assert board.receive() == b""
    board.command(0xAA)
    assert board.receive() == b"\x55"
    board.command(0x20)
    (ctr,) = board.receive()
    board.command(0x20)
    assert board.receive() == bytes([ctr])
    ctr = (ctr | 0x10) & ~0x01
    board.command(0x60, ctr)
    board.command(0xD3, 0x5A)
    assert board.status & AUX
    assert board.receive() == b"\x5a"
    board.command(0xA9)
    assert board.receive() == b"\x00"
    board.command(0xA7)
    board.command(0x20)
    assert board.receive()[0] & 0x20
    board.command(0xA8)
    board.command(0x20)
    assert not board.receive()[0] & 0x20


def test_real_mode_a20_sequence_always_finds_the_input_buffer_free(board: Board) -> None:
    """enable_a20_kbc() of arch/x86/boot/a20.c: the input buffer must be empty before each write."""
    for offset, value in ((COMMAND, 0xD1), (DATA, 0xDF), (COMMAND, 0xFF)):
        assert not board.status & 0x02
        board.controller.write(offset, 1, value)
    assert (board.a20, board.resets) == ([True], 0)


def test_state_carries_everything(board: Board) -> None:
    board.command(0x60, 0x45)
    board.send(0xED)
    board.send(0x02)
    board.send(0xF2)
    board.send(0xF3)
    board.command(0xD1)  # its data is still to come
    other = Board()
    transplant(board.controller, other.controller)
    assert other.irq1.level
    for each in (board, other):
        each.send(0xDD)
        each.send(0x20)
    assert board.a20 == other.a20 == [False]
    assert other.status == board.status
    assert other.receive() == board.receive()
