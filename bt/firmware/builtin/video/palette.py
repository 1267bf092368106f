"""INT 10h, AH=0Bh and 10h: colours (IBM PS/2 BIOS Interface Technical Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.builtin.services import Service
from bt.firmware.builtin.video import registers

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

OVERSCAN, MODE_CONTROL, COLOUR_SELECT, PALETTE_REGISTERS = 0x11, 0x10, 0x14, 16
BLINK, TWO_HALVES = 0x08, 0x80  # of MODE_CONTROL
# parts of red, green and blue in a grey, of 256 (0.30, 0.59, 0.11)
WEIGHTS = (77, 151, 28)


def set_cga_colours(bios: Bios, frame: Frame) -> None:
    """AH=0Bh: BH=0 border and background BL; BH=1 one of the two palettes of 320 x 200 in four colours."""
    pc = bios.pc
    if frame.bh == 0:
        value = frame.bl & 0x0F | frame.bl << 1 & 0x10
        registers.set_attribute(pc, OVERSCAN, value)
        registers.set_attribute(pc, 0, value)
        for index in range(1, 4):
            registers.set_attribute(pc, index, registers.attribute(pc, index) & ~0x10 | frame.bl & 0x10)
    elif frame.bh == 1:
        for index in range(1, 4):
            registers.set_attribute(pc, index, registers.attribute(pc, index) & ~1 | frame.bl & 1)


def palette(bios: Bios, frame: Frame) -> None:
    """AH=10h: AL says what of attribute controller and DAC."""
    if (function := FUNCTIONS.get(frame.al)) is None:
        bios.note_missing(frame)
    else:
        function(bios, frame)


def _set_register(bios: Bios, frame: Frame) -> None:
    if frame.bl <= COLOUR_SELECT:
        registers.set_attribute(bios.pc, frame.bl, frame.bh)


def _set_overscan(bios: Bios, frame: Frame) -> None:
    registers.set_attribute(bios.pc, OVERSCAN, frame.bh)


def _set_all(bios: Bios, frame: Frame) -> None:
    for index, value in enumerate(bios.pc.read(linear(frame.es, frame.dx), PALETTE_REGISTERS + 1)):
        registers.set_attribute(bios.pc, index if index < PALETTE_REGISTERS else OVERSCAN, value)


def _blink_or_bright(bios: Bios, frame: Frame) -> None:
    pc = bios.pc
    value = registers.attribute(pc, MODE_CONTROL) & ~BLINK | (frame.bl & 1) * BLINK
    registers.set_attribute(pc, MODE_CONTROL, value)
    pc.set_bits(area.MODE_CONTROL, 0x20, bool(frame.bl & 1))


def _get_register(bios: Bios, frame: Frame) -> None:
    if frame.bl <= COLOUR_SELECT:
        frame.bh = registers.attribute(bios.pc, frame.bl)


def _get_overscan(bios: Bios, frame: Frame) -> None:
    frame.bh = registers.attribute(bios.pc, OVERSCAN)


def _get_all(bios: Bios, frame: Frame) -> None:
    values = [registers.attribute(bios.pc, index) for index in (*range(PALETTE_REGISTERS), OVERSCAN)]
    bios.pc.write(linear(frame.es, frame.dx), bytes(values))


def _set_colour(bios: Bios, frame: Frame) -> None:
    registers.set_colours(bios.pc, frame.bl, bytes((frame.dh, frame.ch, frame.cl)))


def _set_colours(bios: Bios, frame: Frame) -> None:
    count = min(frame.cx, 256)
    registers.set_colours(bios.pc, frame.bl, bios.pc.read(linear(frame.es, frame.dx), 3 * count))


def _select_page(bios: Bios, frame: Frame) -> None:
    """BL=0: BH four pages of 64 or sixteen of 16 colours; BL=1: BH the page."""
    pc = bios.pc
    mode = registers.attribute(pc, MODE_CONTROL)
    if frame.bl & 1:
        page = frame.bh if mode & TWO_HALVES else frame.bh << 2
        registers.set_attribute(pc, COLOUR_SELECT, page & 0x0F)
    else:
        registers.set_attribute(pc, MODE_CONTROL, mode & ~TWO_HALVES | (frame.bh & 1) * TWO_HALVES)


def _get_colour(bios: Bios, frame: Frame) -> None:
    frame.dh, frame.ch, frame.cl = registers.colours(bios.pc, frame.bl, 1)


def _get_colours(bios: Bios, frame: Frame) -> None:
    count = min(frame.cx, 256)
    bios.pc.write(linear(frame.es, frame.dx), registers.colours(bios.pc, frame.bl, count))


def _set_mask(bios: Bios, frame: Frame) -> None:
    bios.pc.output(registers.DAC_MASK, frame.bl)


def _get_mask(bios: Bios, frame: Frame) -> None:
    frame.bl = bios.pc.input(registers.DAC_MASK)


def _get_page(bios: Bios, frame: Frame) -> None:
    pc = bios.pc
    is_sixteen = bool(registers.attribute(pc, MODE_CONTROL) & TWO_HALVES)
    select = registers.attribute(pc, COLOUR_SELECT) & 0x0F
    frame.bl, frame.bh = int(is_sixteen), select if is_sixteen else select >> 2


def _to_grey(bios: Bios, frame: Frame) -> None:
    make_grey(bios.pc, frame.bl, min(frame.cx, 256))


def make_grey(pc: Pc, first: int, count: int) -> None:
    found = registers.colours(pc, first, count)
    levels = [
        min(sum(part * weight for part, weight in zip(found[at : at + 3], WEIGHTS, strict=True)) + 0x80 >> 8, 0x3F)
        for at in range(0, len(found), 3)
    ]
    registers.set_colours(pc, first, bytes(level for level in levels for _ in range(3)))


FUNCTIONS: dict[int, Service] = {
    0x00: _set_register,
    0x01: _set_overscan,
    0x02: _set_all,
    0x03: _blink_or_bright,
    0x07: _get_register,
    0x08: _get_overscan,
    0x09: _get_all,
    0x10: _set_colour,
    0x12: _set_colours,
    0x13: _select_page,
    0x15: _get_colour,
    0x17: _get_colours,
    0x18: _set_mask,
    0x19: _get_mask,
    0x1A: _get_page,
    0x1B: _to_grey,
}
