"""The mouse: its reports in three protocols, its modes, and how often it reports."""

import pytest

from tests.devices.board import pass_time
from tests.devices.input.desk import AUX, OBF, Desk

MS = 1_000_000
WHEEL = (0xF3, 200, 0xF3, 100, 0xF3, 80)
FIVE = (0xF3, 200, 0xF3, 200, 0xF3, 80)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_it_is_found_as_linux_finds_it(desk: Desk) -> None:
    assert desk.ask_mouse(0xFF) == "faaa00"
    assert desk.ask_mouse(0xF2) == "fa00"
    assert desk.ask_mouse(*WHEEL, 0xF2) == "fafafafafafafa03"
    assert desk.ask_mouse(*FIVE, 0xF2) == "fafafafafafafa04"
    assert desk.ask_mouse(0xFF, 0xF2) == "faaa00fa00"


def test_its_bytes_are_marked_and_interrupt_by_irq_12(desk: Desk) -> None:
    desk.command(0xD4, 0xF2)
    assert desk.inb(0x64) & (OBF | AUX) == OBF | AUX
    assert (desk.irq1.level, desk.irq12.level) == (False, True)
    assert desk.receive() == "fa00"
    assert desk.mouse_edges.count == 2


@pytest.mark.parametrize(
    ("knock", "motion", "buttons", "report"),
    [
        ((), (5, 0, 0), 0, "080500"),
        ((), (-5, -1, 0), 1, "39fbff"),
        ((), (0, 0, 3), 0b10110, "0e0000"),
        (WHEEL, (1, 2, 3), 0b11000, "08010203"),
        (WHEEL, (0, 0, -1), 0, "080000ff"),
        (FIVE, (0, 0, -1), 0b11000, "0800003f"),
        (FIVE, (0, 0, 7), 0b01001, "09000017"),
    ],
)
def test_reports(desk: Desk, knock: tuple[int, ...], motion: tuple[int, int, int], buttons: int, report: str) -> None:
    desk.ask_mouse(*knock, 0xF4)
    desk.command(0xA7)  # both at once
    desk.mouse._next_ns = 1 << 62
    desk.mouse.move(*motion)
    desk.mouse.set_buttons(buttons)
    desk.mouse._next_ns = 0
    desk.command(0xA8)
    pass_time(desk.clock, 1)
    desk.mouse.move(0, 0)
    assert desk.receive() == report


def test_long_ways_are_told_piece_by_piece(desk: Desk) -> None:
    desk.ask_mouse(0xF4)
    desk.mouse.move(300, -300)
    reports = ""
    for _ in range(5):
        reports += desk.receive()
        pass_time(desk.clock, 10 * MS)
    assert reports == "287f81" * 2 + "282ed2"


def test_no_more_reports_than_the_rate_allows_and_nothing_is_lost(desk: Desk) -> None:
    desk.ask_mouse(0xF3, 40, 0xF4)
    reports = []
    for _ in range(1000):
        desk.mouse.move(1, 0)
        pass_time(desk.clock, MS)
        reports.append(bytes.fromhex(desk.receive()))
    assert sum(map(bool, reports)) in (40, 41)
    pass_time(desk.clock, 100 * MS)
    reports.append(bytes.fromhex(desk.receive()))
    assert sum(report[1] for report in reports if report) == 1000


def test_a_guest_that_does_not_read_finds_the_sum(desk: Desk) -> None:
    desk.ask_mouse(0xF4)
    for _ in range(100):
        desk.mouse.move(3, 0)
        pass_time(desk.clock, 20 * MS)
    assert len(desk.mouse._events) <= 16
    total = 0
    for _ in range(10):
        report = bytes.fromhex(desk.receive())
        total += sum(report[1::3])
        pass_time(desk.clock, 20 * MS)
    assert total == 300


def test_remote_mode_reports_when_asked(desk: Desk) -> None:
    desk.ask_mouse(0xF0)
    desk.mouse.move(3, 4)
    assert desk.receive() == ""
    assert desk.ask_mouse(0xEB) == "fa080304"
    assert desk.ask_mouse(0xEB) == "fa080000"


def test_wrap_mode_echoes(desk: Desk) -> None:
    assert desk.ask_mouse(0xEE, 0x12, 0xF2, 0xF4, 0xEC) == "fa12f2f4fa"
    assert desk.ask_mouse(0xEE, 0xFF) == "fafaaa00"


def test_scaling_is_for_streamed_reports(desk: Desk) -> None:
    desk.ask_mouse(0xE7, 0xF4)
    seen = []
    for count in (1, 2, 3, 4, 5, 6, -3):
        desk.mouse.move(count, 0)
        seen.append(desk.receive()[2:4])
        pass_time(desk.clock, 10 * MS)
    assert seen == ["01", "01", "03", "06", "09", "0c", "fd"]
    desk.ask_mouse(0xF0)
    desk.mouse.move(3, 0)
    assert desk.ask_mouse(0xEB) == "fa080300"


def test_status(desk: Desk) -> None:
    assert desk.ask_mouse(0xE9) == "fa000264"
    desk.ask_mouse(0xE8, 3, 0xF3, 20, 0xE7, 0xF4)
    desk.mouse.set_buttons(0b001)
    desk.receive()
    assert desk.ask_mouse(0xE9) == "fa340314"
    assert desk.ask_mouse(0xF6, 0xE9) == "fafa040264"


def test_bad_bytes(desk: Desk) -> None:
    assert desk.ask_mouse(0x12) == "fe"
    assert desk.ask_mouse(0x13) == "fc"
    assert desk.ask_mouse(0xE8, 9) == "fafe"
    assert desk.ask_mouse(0xF2, 0xFE) == "fa00fa00"


def test_the_keyboard_goes_first_and_an_answer_pushes_back(desk: Desk) -> None:
    desk.ask_mouse(0xF4)
    desk.mouse.move(1, 1)
    desk.keyboard.press("a")
    assert desk.inb(0x64) & AUX
    desk.command(0x20)
    assert desk.receive() == "03" + "1c" + "080101"


def test_a_mouse_interface_that_is_off_holds_back(desk: Desk) -> None:
    desk.ask_mouse(0xF4)
    desk.command(0xA7)
    desk.mouse.move(1, 1)
    assert desk.receive() == ""
    desk.command(0xA8)
    assert desk.receive() == "080101"
