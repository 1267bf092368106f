"""Video memory: what of it is plain, how maps lie in the buffer, and what is logged."""

import random

import pytest

from bt.devices.display.memory import VGA_BYTES, Window
from tests.devices.display.modes import MODES, Ours, font_access, indexed, mode_set


@pytest.fixture
def ours() -> Ours:
    return Ours()


@pytest.mark.parametrize(
    ("number", "window"),
    [
        (0x03, Window(0x18000, 0x8000, 0)),
        (0x04, Window(0x18000, 0x8000, 0)),
        (0x13, Window(0, 0x10000, 0)),
        (0x12, None),
        (0x06, None),
    ],
)
def test_windows(ours: Ours, number: int, window: Window | None) -> None:
    ours.out(mode_set(MODES[number]))
    assert ours.vga.memory.window == window


@pytest.mark.parametrize(
    ("port", "index", "value"),
    [
        (0x3C4, 2, 1), (0x3CE, 1, 1), (0x3CE, 3, 1), (0x3CE, 5, 0x11), (0x3CE, 5, 0x18),
        (0x3CE, 8, 0xFE), (0x3CE, 4, 2), (0x3CE, 5, 0x00),
    ],
)  # fmt: skip
def test_text_is_no_window_while_a_store_is_more_than_a_store(ours: Ours, port: int, index: int, value: int) -> None:
    heard: list[Window | None] = []
    ours.vga.memory._window_changed = heard.append
    ours.out(mode_set(MODES[0x03]))
    ours.out(indexed(port, index, value))
    assert ours.vga.memory.window is None
    assert heard[-1] is None


@pytest.mark.parametrize("number", [0x03, 0x13])
def test_what_is_stored_in_a_window_is_what_the_device_reads(ours: Ours, number: int) -> None:
    ours.out(mode_set(MODES[number]))
    memory = ours.vga.memory
    window = memory.window
    assert window
    data = random.Random(1).randbytes(window.length)
    ours.vga.buffer[window.buffer_offset : window.buffer_offset + window.length] = data
    assert bytes(memory.read(window.start + n, 1) for n in range(window.length)) == data
    memory.write(window.start + 3, 2, 0xBEEF)
    assert bytes(ours.vga.buffer[window.buffer_offset + 3 : window.buffer_offset + 5]) == b"\xef\xbe"


def test_maps_keep_what_they_hold_when_the_addressing_changes(ours: Ours) -> None:
    rng = random.Random(2)
    ours.out(mode_set(MODES[0x12]))
    ours.vga.buffer[:VGA_BYTES] = rng.randbytes(VGA_BYTES)
    maps = [ours.vga.memory.map_bytes(number, 0, 0x10000) for number in range(4)]
    quads = ours.vga.memory.quads()
    ours.out(mode_set(MODES[0x03]))
    assert bytes(ours.vga.buffer[:VGA_BYTES]) != quads
    assert [ours.vga.memory.map_bytes(number, 0, 0x10000) for number in range(4)] == maps
    assert ours.vga.memory.quads() == quads
    assert ours.vga.memory.quad(0x1234) == bytes(part[0x1234] for part in maps)
    ours.out(mode_set(MODES[0x12]))
    assert bytes(ours.vga.buffer[:VGA_BYTES]) == quads


def test_a_font_is_loaded_beside_the_text(ours: Ours) -> None:
    ours.out(mode_set(MODES[0x03]))
    ours.store(0xB8000, b"H\x07i\x17")
    ours.out(font_access(True))
    ours.store(0xA0000 + 32 * ord("H"), b"\xaa\x55")
    ours.out(font_access(False))
    assert ours.load(0xB8000, 4) == b"H\x07i\x17"
    assert ours.vga.memory.map_bytes(2, 32 * ord("H"), 3) == b"\xaa\x55\x00"


def test_memory_answers_only_where_it_is_mapped(ours: Ours) -> None:
    ours.out(mode_set(MODES[0x03]))
    ours.store(0xB8000, b"x")
    ours.store(0xA0000, b"y")
    assert ours.load(0xA0000, 1) == b"\xff"
    ours.out(iter([(0x3C2, 0x65)]))  # says that the processor has no access
    assert ours.load(0xB8000, 1) == b"x"
    assert ours.vga.memory.window is not None


def test_it_tells_which_pages_it_has_stored_to(ours: Ours) -> None:
    ours.out(mode_set(MODES[0x13]))
    ours.take_stored()
    ours.store(0xA0000 + 0x1FFF, b"ab")
    assert ours.take_stored() == [1, 2]
    assert ours.take_stored() == []
    for index, value in ((1, 64), (2, 64), (3, 8), (4, 1)):
        ours.dispi(index, value)
    assert len(ours.take_stored()) == 4096  # a mode set cleared it
    ours.dispi(5, 3)
    ours.store(0xA0000, b"z")
    assert ours.take_stored() == [3 << 16 >> 12]
    assert ours.vga.memory.window == Window(0, 0x10000, 3 << 16)


@pytest.mark.parametrize("bits", [4, 8, 32])
def test_banks_stay_within_memory(ours: Ours, bits: int) -> None:
    for index, value in ((1, 640), (2, 480), (3, bits), (4, 1), (5, 0xFFFF)):
        ours.dispi(index, value)
    ours.store(0xA0000, bytes(range(64)))
    ours.store(0xAFFF8, bytes(8))
    assert len(ours.load(0xA0000, 16)) == 16
