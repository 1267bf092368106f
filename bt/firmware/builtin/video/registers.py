"""What the video services do to the VGA's registers: modes, palette, fonts, cursor."""

from __future__ import annotations

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin.pc import Pc
from bt.firmware.builtin.video.glyphs import CHARACTERS, font
from bt.firmware.builtin.video.modes import MODES, Kind, Mode, palette

SEQUENCER, GRAPHICS, CRTC, ATTRIBUTES, MISCELLANEOUS, DAC_MASK, DAC_READ, DAC_WRITE, DAC_DATA = (
    0x3C4, 0x3CE, 0x3D4, 0x3C0, 0x3C2, 0x3C6, 0x3C7, 0x3C8, 0x3C9,
)  # fmt: skip
MISCELLANEOUS_READ, MONO_CRTC, STATUS_FROM_CRTC = 0x3CC, 0x3B4, 6
SHOW = 0x20  # of the attribute index
UNPROTECTED = 0x7F  # of CRTC register 11h
GLYPH_ROOM, FONT_BLOCK_BYTES, FONT_MAP = 32, 0x2000, 2
# where font block n begins in map 2
BLOCKS = (0x0000, 0x4000, 0x8000, 0xC000, 0x2000, 0x6000, 0xA000, 0xE000)
DISPI_INDEX, DISPI_DATA, DISPI_ENABLE = 0x1CE, 0x1D0, 4
TEXT_CURSOR = 0x0607
# bit 0: all VGA; 7: 400 lines. Colour display of a VGA in the table of display combinations
VIDEO_CONTROL, VIDEO_SWITCHES, VIDEO_FLAGS, DISPLAY_CODE = 0x60, 0xF9, 0x51, 0x08
KEEP_MEMORY = 0x80  # of a mode's number
NO_EMULATION = 0x01  # of VIDEO_CONTROL: the cursor's shape is taken as it is given
# what the CGA's registers would have: 3D8h by mode, 3D9h
MODE_CONTROLS = {0: 0x2C, 1: 0x28, 2: 0x2D, 3: 0x29, 4: 0x2A, 5: 0x2E, 6: 0x1E, 7: 0x29}
_BLANK_TEXT = b"\x20\x07" * 0x4000


def dispi(pc: Pc, index: int, value: int) -> None:
    pc.ports.write(DISPI_INDEX, 2, index)
    pc.ports.write(DISPI_DATA, 2, value)


def dispi_value(pc: Pc, index: int) -> int:
    pc.ports.write(DISPI_INDEX, 2, index)
    return pc.ports.read(DISPI_DATA, 2)


def crtc(pc: Pc) -> int:
    """The CRT controller's index port, by the colour bit."""
    return CRTC if pc.input(MISCELLANEOUS_READ) & 1 else MONO_CRTC


def set_indexed(pc: Pc, port: int, index: int, value: int) -> None:
    pc.ports.write(port, 1, index)
    pc.ports.write(port + 1, 1, value)


def indexed(pc: Pc, port: int, index: int) -> int:
    pc.ports.write(port, 1, index)
    return pc.ports.read(port + 1, 1)


def set_attribute(pc: Pc, index: int, value: int) -> None:
    pc.input(crtc(pc) + STATUS_FROM_CRTC)  # an index is the next that 3C0h gets
    pc.output(ATTRIBUTES, index)
    pc.output(ATTRIBUTES, value)
    pc.output(ATTRIBUTES, SHOW)


def attribute(pc: Pc, index: int) -> int:
    status = crtc(pc) + STATUS_FROM_CRTC
    pc.input(status)
    pc.output(ATTRIBUTES, index)
    value = pc.input(ATTRIBUTES + 1)
    pc.input(status)
    pc.output(ATTRIBUTES, SHOW)
    return value


def set_colours(pc: Pc, first: int, colours: bytes) -> None:
    """Three bytes each."""
    pc.output(DAC_WRITE, first)
    for part in colours:
        pc.ports.write(DAC_DATA, 1, part)


def colours(pc: Pc, first: int, count: int) -> bytes:
    pc.output(DAC_READ, first)
    return bytes(pc.ports.read(DAC_DATA, 1) for _ in range(3 * count))


def mode_of(pc: Pc) -> Mode:
    """The present one, or text where something else has been set, or nothing we know."""
    return MODES.get(pc.byte(area.VIDEO_MODE) & 0x7F, MODES[3])


def set_mode(pc: Pc, number: int, keep_palette: bool = False) -> None:
    """`number` with bit 7 leaves what is on the screen. One that there is not is none of the caller's business."""
    wanted = number & 0x7F
    mode = MODES.get(wanted)
    if mode is None:
        return
    dispi(pc, DISPI_ENABLE, 0)
    _set_registers(pc, mode)
    if not keep_palette:
        set_colours(pc, 0, palette(mode.colours))
    if mode.kind is Kind.TEXT:
        load_font(pc, font(mode.height), mode.height)
    if not number & KEEP_MEMORY:
        clear(pc, mode)
    _describe(pc, wanted, number & KEEP_MEMORY, mode)


def _set_registers(pc: Pc, mode: Mode) -> None:
    write = pc.ports.write
    pc.output(MISCELLANEOUS, mode.miscellaneous)
    pc.output(DAC_MASK, 0xFF)
    for index, value in enumerate(mode.sequencer):
        write(SEQUENCER, 2, value << 8 | index)
    for index, value in enumerate(mode.graphics):
        write(GRAPHICS, 2, value << 8 | index)
    port = CRTC if mode.miscellaneous & 1 else MONO_CRTC
    set_indexed(pc, port, 0x11, mode.crtc[0x11] & UNPROTECTED)
    for index, value in enumerate(mode.crtc):
        write(port, 2, value << 8 | index)
    pc.input(port + STATUS_FROM_CRTC)
    for index, value in enumerate(mode.attributes):
        write(ATTRIBUTES, 1, index)
        write(ATTRIBUTES, 1, value)
    write(ATTRIBUTES, 1, SHOW)


def clear(pc: Pc, mode: Mode) -> None:
    if mode.kind is Kind.TEXT:
        pc.write(mode.segment << 4, _BLANK_TEXT)
    elif mode.kind is Kind.CGA:
        pc.write(mode.segment << 4, bytes(0x8000))
    else:
        for number in range(4):
            pc.put_video_map(number, 0, bytes(0x10000))


def _describe(pc: Pc, number: int, keeps: int, mode: Mode) -> None:
    """In the BIOS data area."""
    pc.put_byte(area.VIDEO_MODE, number)
    pc.put_word(area.VBE_MODE, number)
    pc.put_word(area.COLUMNS, mode.columns)
    pc.put_word(area.PAGE_BYTES, mode.page_bytes)
    pc.put_word(area.PAGE_START, 0)
    pc.write(area.CURSORS, bytes(16))
    pc.put_byte(area.PAGE, 0)
    pc.put_word(area.CRTC_PORT, CRTC if mode.miscellaneous & 1 else MONO_CRTC)
    pc.put_byte(area.MODE_CONTROL, MODE_CONTROLS.get(number, 0x29))
    pc.put_byte(area.PALETTE_CONTROL, 0x3F if number == 6 else 0x30)
    pc.put_byte(area.LAST_ROW, mode.rows - 1)
    pc.put_word(area.CHARACTER_HEIGHT, mode.height)
    pc.put_byte(area.VIDEO_CONTROL, VIDEO_CONTROL | keeps)
    pc.put_byte(area.VIDEO_SWITCHES, VIDEO_SWITCHES)
    pc.put_byte(area.VIDEO_FLAGS, pc.byte(area.VIDEO_FLAGS) & 0x7F)
    pc.put_byte(area.DISPLAY_CODE, DISPLAY_CODE)
    if mode.kind is Kind.TEXT:
        pc.put_word(area.CURSOR_SHAPE, TEXT_CURSOR)  # which the mode's registers say already
    else:
        pc.put_word(area.CURSOR_SHAPE, 0)


def load_font(pc: Pc, glyphs: bytes, height: int, block: int = 0, first: int = 0) -> None:
    """Characters from `first` on into a font block of map 2."""
    if not 0 < height <= GLYPH_ROOM:
        return
    count = min(len(glyphs) // height, CHARACTERS - first)
    data = b"".join(glyphs[at : at + height].ljust(GLYPH_ROOM, b"\0") for at in range(0, count * height, height))
    pc.put_video_map(FONT_MAP, BLOCKS[block & 7] + first * GLYPH_ROOM, data)


def set_text_height(pc: Pc, height: int) -> None:
    """Characters of that many lines: as many rows as the screen has room for."""
    port = crtc(pc)
    set_indexed(pc, port, 9, indexed(pc, port, 9) & 0xE0 | height - 1)
    lines = 350 if mode_of(pc).height == 14 else 400
    rows = lines // height
    pc.put_word(area.CHARACTER_HEIGHT, height)
    pc.put_byte(area.LAST_ROW, rows - 1)
    pc.put_word(area.PAGE_BYTES, -(-rows * pc.word(area.COLUMNS) * 2 // 0x100) * 0x100)
    last = rows * height - 1
    overflow = indexed(pc, port, 7) & ~0x42 | last >> 7 & 0x02 | last >> 3 & 0x40
    set_indexed(pc, port, 7, overflow)
    set_indexed(pc, port, 0x12, last & 0xFF)
    set_cursor_shape(pc, (height - 2) << 8 | height - 1 if height < 14 else (height - 3) << 8 | height - 2)


def set_cursor_shape(pc: Pc, shape: int) -> None:
    """First and last line of a cell of eight, first one in the high byte: stretched to the cell's height."""
    pc.put_word(area.CURSOR_SHAPE, shape)
    start, end = shape >> 8 & 0x3F, shape & 0x1F
    height = pc.word(area.CHARACTER_HEIGHT)
    if not pc.byte(area.VIDEO_CONTROL) & NO_EMULATION and height > 8 and end < 8 and start < 0x20:
        start, end = _stretched(start, end, height)
    port = crtc(pc)
    set_indexed(pc, port, 0x0A, start)
    set_indexed(pc, port, 0x0B, end)


def _stretched(start: int, end: int, height: int) -> tuple[int, int]:
    """VGA BIOS, cursor emulation: a line at the bottom stays two from the end of the cell."""
    last = (end + 1) * height // 8 - 1
    first = last - 1 if end == start + 1 else (start + 1) * height // 8 - 1
    return first, last


def show_cursor(pc: Pc) -> None:
    """Where the active page has it."""
    page, columns = pc.byte(area.PAGE), pc.word(area.COLUMNS)
    position = pc.word(area.CURSORS + 2 * (page & 7))
    address = pc.word(area.PAGE_START) // 2 + (position >> 8) * columns + (position & 0xFF)
    port = crtc(pc)
    set_indexed(pc, port, 0x0E, address >> 8 & 0xFF)
    set_indexed(pc, port, 0x0F, address & 0xFF)
