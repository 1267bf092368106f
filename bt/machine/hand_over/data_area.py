"""The BIOS data area and its extension, as SeaBIOS leaves them to what it boots."""

from __future__ import annotations

from collections.abc import Iterator

from bt.firmware.builtin import data_area as area
from bt.firmware.e820 import EBDA, lower_kib
from bt.machine.board import Board
from bt.machine.hand_over.text_mode import COLUMNS, HEIGHT, ROWS

TEXT_MODE, PAGE_BYTES = 3, 0x1000
COM_PORTS = (0x3F8, 0x2F8)
COM_TIMEOUT = 10  # seconds
FIRST_KEY, KEYS_END = 0x1E, 0x3E  # of the keyboard's buffer, from 400h on
TICKS_A_SECOND = (0x1234DD, 0x10000)  # a fraction
ENHANCED_KEYBOARD = 1 << 4
HAS_CONTROLLER, CAN_CHANGE, HAS_SENT_RATE = 1 << 0, 1 << 1, 1 << 2
DRIVES_AT_MOST = 2  # diskettes that the area has room for
SECOND_FLOPPY, FLOPPY = 1 << 6, 1 << 0
COM_PORTS_SHIFT = 9
# INT 10h: memory was cleared, 256 KiB; all switches of a colour VGA; 400 lines, VGA active; VGA with colour monitor
VIDEO_CONTROL, VIDEO_SWITCHES, VIDEO_FLAGS, COLOUR_VGA = 0x60, 0xF9, 0x51, 0x08
DISK_CONTROL = 0xC0


def data_area(board: Board) -> Iterator[tuple[int, bytes]]:
    """Address and contents of each part that is not zero; what SeaBIOS keeps there for itself is."""
    contents = bytearray(0x100)
    for address, size, value in _values(board):
        at = address - area.BDA
        contents[at : at + size] = value.to_bytes(size, "little")
    yield area.BDA, bytes(contents)
    yield EBDA, bytes((area.EBDA_KIB,))


def _values(board: Board) -> Iterator[tuple[int, int, int]]:
    """Address, size and value."""
    floppies = min(len(board.media.of("floppy")), DRIVES_AT_MOST)
    disks = sum(drive.media == "disk" and drive.interface != "floppy" for drive in board.media.drives)
    for number, port in enumerate(COM_PORTS):
        yield area.COM_PORTS + 2 * number, 2, port
        yield area.COM_TIMEOUTS + number, 1, COM_TIMEOUT
    yield area.EBDA_AT, 2, EBDA >> 4
    yield (
        area.EQUIPMENT,
        2,
        (
            area.EQUIPMENT_FPU
            | area.EQUIPMENT_MOUSE
            | area.EQUIPMENT_COLOUR_80
            | len(COM_PORTS) << COM_PORTS_SHIFT
            | (0, FLOPPY, FLOPPY | SECOND_FLOPPY)[floppies]
        ),
    )
    yield area.MEMORY_KIB, 2, lower_kib(board.config.memory)
    yield area.KEYS_HEAD, 2, FIRST_KEY
    yield area.KEYS_TAIL, 2, FIRST_KEY
    yield area.KEYS_START_AT, 2, FIRST_KEY
    yield area.KEYS_END_AT, 2, KEYS_END
    yield area.KEYBOARD_FLAGS, 1, ENHANCED_KEYBOARD
    yield area.VIDEO_MODE, 1, TEXT_MODE
    yield area.COLUMNS, 2, COLUMNS
    yield area.PAGE_BYTES, 2, PAGE_BYTES
    yield area.CURSOR_SHAPE, 2, 0x0607
    yield area.CRTC_PORT, 2, 0x3D4
    yield area.LAST_ROW, 1, ROWS - 1
    yield area.CHARACTER_HEIGHT, 2, HEIGHT
    yield area.VIDEO_CONTROL, 1, VIDEO_CONTROL
    yield area.VIDEO_SWITCHES, 1, VIDEO_SWITCHES
    yield area.VIDEO_FLAGS, 1, VIDEO_FLAGS
    yield area.DISPLAY_CODE, 1, COLOUR_VGA
    yield area.TICKS, 4, _ticks(board)
    if disks:
        yield area.DISK_COUNT, 2, disks | DISK_CONTROL << 8
    each = HAS_CONTROLLER | CAN_CHANGE | HAS_SENT_RATE
    yield area.FLOPPY_CONTROLLER, 1, sum(each << 4 * number for number in range(floppies))


def _ticks(board: Board) -> int:
    """Of the timer since midnight, from the real-time clock."""

    def two_digits(register: int) -> int:
        board.ports.write(0x70, 1, register)
        value = board.ports.read(0x71, 1)
        return (value >> 4) * 10 + (value & 0xF)

    seconds = (two_digits(4) * 60 + two_digits(2)) * 60 + two_digits(0)
    hertz, divisor = TICKS_A_SECOND
    return seconds * hertz // divisor
