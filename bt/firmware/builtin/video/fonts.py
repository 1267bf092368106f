"""INT 10h, AH=11h and 12h: fonts, and what else a VGA can do (IBM PS/2 BIOS Interface Technical Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.builtin.services import Service
from bt.firmware.builtin.video import registers
from bt.firmware.builtin.video.glyphs import font
from bt.firmware.builtin.video.modes import Kind
from bt.firmware.builtin.video.palette import make_grey

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

RESIZES = 0x10  # of AL: the text mode has as many rows as there is room for
ROM_HEIGHTS = {0x01: 14, 0x02: 8, 0x04: 16}
GRAPHICS_FONTS = {0x22: 14, 0x23: 8, 0x24: 16}
ROWS = {1: 14, 2: 25, 3: 43}  # BL of the graphics fonts; with 0 it is in DL
# BH of AL=30h: where the fonts are in ROM, and the vectors
FONTS_IN_ROM = {
    2: rom.FONT_14, 3: rom.FONT_8, 4: rom.FONT_8_UPPER, 5: rom.FONT_14, 6: rom.FONT_16, 7: rom.FONT_16,
}  # fmt: skip
UPPER_FONT, GRAPHICS_FONT = 0, 1


def point_at_usual(pc: Pc, height: int) -> None:
    """The vectors of the fonts lead into ROM."""
    usual = {8: rom.FONT_8, 14: rom.FONT_14}.get(height, rom.FONT_16)
    _set_vector(pc, area.FONT_VECTOR, rom.SEGMENT, usual)
    _set_vector(pc, area.UPPER_FONT_VECTOR, rom.SEGMENT, rom.FONT_8_UPPER)


def _set_vector(pc: Pc, vector: int, segment: int, offset: int) -> None:
    pc.put_long(4 * vector, segment << 16 | offset)


def fonts(bios: Bios, frame: Frame) -> None:
    """AH=11h: AL=0xh and 1xh fill a font block, 03h chooses blocks, 2xh are graphics modes' fonts, 30h tells."""
    pc, function = bios.pc, frame.al
    kind = function & ~RESIZES
    if kind == 0x00 and function < 0x20:
        height = frame.bh
        if not 0 < height <= registers.GLYPH_ROOM:
            return
        count = min(frame.cx, 256 - min(frame.dx, 256))
        registers.load_font(pc, pc.read(linear(frame.es, frame.bp), count * height), height, frame.bl, frame.dx)
        _resize(pc, function, height)
    elif kind in ROM_HEIGHTS and function < 0x20:
        registers.load_font(pc, font(ROM_HEIGHTS[kind]), ROM_HEIGHTS[kind], frame.bl)
        _resize(pc, function, ROM_HEIGHTS[kind])
    elif function == 0x03:
        registers.set_indexed(pc, registers.SEQUENCER, 3, frame.bl & 0x3F)
    elif function == 0x20:
        _set_vector(pc, area.UPPER_FONT_VECTOR, frame.es, frame.bp)
    elif function == 0x21:
        _set_vector(pc, area.FONT_VECTOR, frame.es, frame.bp)
        _describe_graphics(pc, frame, frame.cx)
    elif function in GRAPHICS_FONTS:
        height = GRAPHICS_FONTS[function]
        _set_vector(pc, area.FONT_VECTOR, rom.SEGMENT, {8: rom.FONT_8, 14: rom.FONT_14, 16: rom.FONT_16}[height])
        _describe_graphics(pc, frame, height)
    elif function == 0x30:
        _tell_fonts(pc, frame)
    else:
        bios.note_missing(frame)


def _resize(pc: Pc, function: int, height: int) -> None:
    if function & RESIZES and registers.mode_of(pc).kind is Kind.TEXT and height >= 2:
        registers.set_text_height(pc, height)


def _describe_graphics(pc: Pc, frame: Frame, height: int) -> None:
    rows = ROWS.get(frame.bl, frame.dl)
    pc.put_byte(area.LAST_ROW, rows - 1)
    pc.put_word(area.CHARACTER_HEIGHT, height)


def _tell_fonts(pc: Pc, frame: Frame) -> None:
    """BH: which; ES:BP where it is, CX the present character's height, DL the last row."""
    if frame.bh in (UPPER_FONT, GRAPHICS_FONT):
        vector = area.UPPER_FONT_VECTOR if frame.bh == UPPER_FONT else area.FONT_VECTOR
        frame.bp, frame.es = pc.word(4 * vector), pc.word(4 * vector + 2)
    elif frame.bh in FONTS_IN_ROM:
        frame.es, frame.bp = rom.SEGMENT, FONTS_IN_ROM[frame.bh]
    else:
        return
    frame.cx = pc.byte(area.CHARACTER_HEIGHT)
    frame.dl = pc.byte(area.LAST_ROW)


def alternate_select(bios: Bios, frame: Frame) -> None:
    """AH=12h: BL says what; AL=12h means done."""
    if (function := FUNCTIONS.get(frame.bl)) is None:
        bios.note_missing(frame)
    else:
        function(bios, frame)


def _information(bios: Bios, frame: Frame) -> None:
    """BL=10h: BH colour, BL 256 KiB, CX feature bits and switches."""
    pc = bios.pc
    frame.bh = int(pc.word(area.CRTC_PORT) == registers.MONO_CRTC)
    frame.bl = 3
    frame.cx = pc.byte(area.VIDEO_SWITCHES) & 0x0F


def _scan_lines(bios: Bios, frame: Frame) -> None:
    """BL=30h: AL=0 200, 1 350, 2 400 lines of text from the next mode set on."""
    pc = bios.pc
    if frame.al > 2:
        return
    flags = pc.byte(area.VIDEO_FLAGS) & ~0x90
    pc.put_byte(area.VIDEO_FLAGS, flags | (0x80, 0x00, 0x10)[frame.al])
    frame.al = 0x12


def _flag(address: int, bit: int) -> Service:
    def put(bios: Bios, frame: Frame) -> None:
        """AL=0 enables, 1 disables."""
        bios.pc.set_bits(address, bit, bool(frame.al & 1))
        frame.al = 0x12

    return put


def _video_enable(bios: Bios, frame: Frame) -> None:
    """BL=32h: AL=0: the processor reaches video memory."""
    pc = bios.pc
    value = pc.input(registers.MISCELLANEOUS_READ)
    pc.output(registers.MISCELLANEOUS, value & ~2 | (0 if frame.al & 1 else 2))
    frame.al = 0x12


def _display_switch(bios: Bios, frame: Frame) -> None:
    """BL=35h: there is one display."""
    frame.al = 0x12


def _refresh(bios: Bios, frame: Frame) -> None:
    """BL=36h: AL=1 switches the picture off."""
    pc = bios.pc
    clocking = registers.indexed(pc, registers.SEQUENCER, 1)
    registers.set_indexed(pc, registers.SEQUENCER, 1, clocking & ~0x20 | (frame.al & 1) * 0x20)
    frame.al = 0x12


def _grey_summing(bios: Bios, frame: Frame) -> None:
    """BL=33h: AL=0: colours are made grey; the present ones are at once."""
    bios.pc.set_bits(area.VIDEO_FLAGS, 0x02, not frame.al & 1)
    if not frame.al & 1:
        make_grey(bios.pc, 0, 256)
    frame.al = 0x12


FUNCTIONS: dict[int, Service] = {
    0x10: _information,
    0x30: _scan_lines,
    0x31: _flag(area.VIDEO_FLAGS, 0x08),  # the default palette at a mode set
    0x32: _video_enable,
    0x33: _grey_summing,
    0x34: _flag(area.VIDEO_CONTROL, registers.NO_EMULATION),  # cursor emulation
    0x35: _display_switch,
    0x36: _refresh,
}
