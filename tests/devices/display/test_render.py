"""What the screen shows, where QEMU is no judge: text as text, cursor, blinking, panning, a screen that is off."""

import random

import pytest

from bt.devices.display.memory import VGA_BYTES
from bt.devices.display.render import image, text
from tests.devices.display.modes import MODES, Ours, font_access, indexed, mode_set

SOLID = bytes((0xFF,)) * 16
FRAME_NS = 14_300_000


@pytest.fixture
def ours() -> Ours:
    """Mode 3 with a solid block as character 1, grey on black, white DAC."""
    ours = Ours()
    ours.out(mode_set(MODES[0x03]))
    ours.out(iter([(0x3C6, 0xFF), (0x3C8, 0)]))
    for index in range(256):
        ours.out(iter([(0x3C9, index & 0x3F)] * 3))
    ours.out(font_access(True))
    ours.store(0xA0000 + 32, SOLID)
    ours.out(font_access(False))
    return ours


def pixel(ours: Ours, x: int, y: int) -> int:
    shown = image(ours.vga)
    return shown.rgb[3 * (y * shown.width + x)]


def test_rows_of_text(ours: Ours) -> None:
    ours.store(0xB8000 + 160, b"h\x07i\x1e")
    screen = text(ours.vga)
    assert screen
    assert len(screen.rows) == 25
    characters, attributes = screen.rows[1]
    assert (len(characters), characters[:3], attributes[:3]) == (80, b"hi\0", b"\x07\x1e\0")
    assert screen.cursor is None


def test_cursor_is_where_its_registers_say_and_blinks(ours: Ours) -> None:
    ours.store(0xB8000, b"\x00\x07" * 100)
    ours.out(indexed(0x3D4, 0x0A, 0x0D))
    ours.out(indexed(0x3D4, 0x0F, 83))
    screen = text(ours.vga)
    assert screen
    assert screen.cursor == (1, 3)
    assert [pixel(ours, 3 * 9, 16 + scan) != 0 for scan in (12, 13, 14, 15)] == [False, True, True, False]
    ours.clock.advance(8 * FRAME_NS)
    assert pixel(ours, 3 * 9, 16 + 13) == 0


def test_blinking_text(ours: Ours) -> None:
    ours.store(0xB8000, b"\x01\x87")
    assert pixel(ours, 0, 0) != 0
    ours.clock.advance(17 * FRAME_NS)
    assert pixel(ours, 0, 0) == 0
    ours.out(iter([(0x3DA, None), (0x3C0, 0x10), (0x3C0, 0x04), (0x3C0, 0x20)]))
    assert pixel(ours, 0, 0) != 0  # bit 7 is a bright background now


def test_text_wraps_at_the_end_of_memory(ours: Ours) -> None:
    ours.out(indexed(0x3D4, 0x0C, 0xFF))
    ours.out(indexed(0x3D4, 0x0D, 0xFF))
    ours.store(0xB8000, b"a\x07b\x07")
    screen = text(ours.vga)
    assert screen
    assert screen.rows[0][0][:3] == b"\0ab"


def test_underlined_monochrome_text(ours: Ours) -> None:
    ours.out(iter([(0x3DA, None), (0x3C0, 0x10), (0x3C0, 0x0E), (0x3C0, 0x20)]))
    ours.out(indexed(0x3D4, 0x14, 0x0D))
    ours.store(0xB8000, b"\x00\x01\x00\x07")
    assert [pixel(ours, x, 13) != 0 for x in (0, 8, 9)] == [True, False, False]


@pytest.mark.parametrize("off", [[(0x3C4, 1), (0x3C5, 0x20)], [(0x3DA, None), (0x3C0, 0x00)]])
def test_a_screen_that_is_off_is_black_and_has_no_text(ours: Ours, off: list[tuple[int, int | None]]) -> None:
    ours.store(0xB8000, b"\x01\x07" * 2000)
    assert any(image(ours.vga).rgb)
    ours.out(iter(off))
    assert not any(image(ours.vga).rgb)
    assert text(ours.vga) is None


def test_before_a_mode_is_set_the_screen_is_as_large_as_qemus() -> None:
    shown = image(Ours().vga)
    assert (shown.width, shown.height) == (640, 480)
    assert not any(shown.rgb)


def test_panning_moves_the_line_to_the_left(ours: Ours) -> None:
    ours.out(mode_set(MODES[0x12]))
    ours.store(0xA0000, b"\x01")
    assert [x for x in range(16) if pixel(ours, x, 0)] == [7]
    ours.out(iter([(0x3DA, None), (0x3C0, 0x13), (0x3C0, 3), (0x3C0, 0x20)]))
    assert [x for x in range(16) if pixel(ours, x, 0)] == [4]


def test_the_pel_mask_chooses_among_colours(ours: Ours) -> None:
    ours.out(mode_set(MODES[0x13]))
    ours.store(0xA0000, b"\x3f")
    assert pixel(ours, 0, 0) == 255
    ours.out(iter([(0x3C6, 0x01)]))
    assert pixel(ours, 0, 0) == 4


def test_a_planar_dispi_mode_shows_what_mode_12h_does(ours: Ours) -> None:
    def draw() -> bytes:
        rng = random.Random(3)
        for color in range(16):
            ours.out(indexed(0x3CE, 0, color))
            ours.out(indexed(0x3CE, 1, 0x0F))
            ours.store(0xA0000 + 80 * color + rng.randrange(70), b"\xff\xff")
        return image(ours.vga).rgb

    ours.out(mode_set(MODES[0x12]))
    ours.vga.buffer[:VGA_BYTES] = bytes(VGA_BYTES)
    by_vga = draw()
    for index, value in ((1, 640), (2, 480), (3, 4), (4, 1)):
        ours.dispi(index, value)
    assert not any(image(ours.vga).rgb[3:])
    assert draw() == by_vga


@pytest.mark.parametrize("fill", [0xFF, 0x55, 0x00])
def test_all_bits_in_each_register_can_be_drawn(ours: Ours, fill: int) -> None:
    """The largest picture the CRT controller can ask for, and the smallest."""
    ours.out(indexed(0x3D4, 0x11, 0))
    for port, count in ((0x3CE, 9), (0x3D4, 0x19), (0x3C4, 5)):
        for index in range(count):
            ours.out(indexed(port, index, fill & 0xDF if (port, index) == (0x3C4, 1) else fill))
    shown = image(ours.vga)
    assert len(shown.rgb) == 3 * shown.width * shown.height


@pytest.mark.parametrize("seed", [1234, *range(30)])
def test_any_registers_can_be_drawn(seed: int) -> None:
    """1234: one line of text, shown twice."""
    rng = random.Random(seed)
    ours = Ours()
    for _ in range(300):
        ours.vga.registers.write(rng.randrange(0x30), 1, rng.randrange(256))
    ours.vga.registers.sequencer[1] &= ~0x20
    ours.vga.registers.attribute_index |= 0x20
    if seed % 2:
        for index in (1, 2, 3, 6, 8, 9):
            ours.dispi(index, rng.choice([rng.randrange(1000), 8, 16, 24, 32]))
        ours.dispi(4, 1)
    shown = image(ours.vga)
    assert len(shown.rgb) == 3 * shown.width * shown.height
    text(ours.vga)
