"""INT 10h: text, modes, palette, fonts (IBM PS/2 BIOS Interface Technical Reference; Ralf Brown's list, INT 10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.builtin.services import Family, Service, nothing
from bt.firmware.builtin.video import fonts, graphics, palette, registers, vbe
from bt.firmware.builtin.video.modes import MODES, Kind, Mode

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

BELL, BACKSPACE, LINE_FEED, RETURN = 0x07, 0x08, 0x0A, 0x0D
BLANK, WHITE_ON_BLACK = 0x20, 0x07
PAGES = 8
MODE_ANSWERS = {
    6: 0x3F
}  # AL after a mode set, as the vector "video mode" tables of clones have it: 30h for text and 200 lines
FUNCTIONALITY_BYTES = 64


def set_mode(bios: Bios, frame: Frame) -> None:
    """AH=00h: AL the mode; bit 7 keeps memory."""
    pc, number = bios.pc, frame.al
    if number & 0x7F not in MODES:
        return
    registers.set_mode(pc, number, keep_palette=bool(pc.byte(area.VIDEO_FLAGS) & 0x08))
    fonts.point_at_usual(pc, MODES[number & 0x7F].height)
    registers.show_cursor(pc)
    frame.al = MODE_ANSWERS.get(number & 0x7F, 0x30 if number & 0x7F <= 7 else 0x20)


def set_cursor_shape(bios: Bios, frame: Frame) -> None:
    """AH=01h: CX."""
    registers.set_cursor_shape(bios.pc, frame.cx)


def set_cursor(bios: Bios, frame: Frame) -> None:
    """AH=02h: BH page, DH row, DL column."""
    _put_cursor(bios.pc, frame.bh, frame.dh, frame.dl)


def get_cursor(bios: Bios, frame: Frame) -> None:
    """AH=03h: BH page; DX position, CX shape."""
    pc = bios.pc
    frame.cx = pc.word(area.CURSOR_SHAPE)
    frame.dx = pc.word(area.CURSORS + 2 * (frame.bh & 7))


def light_pen(bios: Bios, frame: Frame) -> None:
    """AH=04h: there is none."""
    frame.ah = 0


def set_page(bios: Bios, frame: Frame) -> None:
    """AH=05h: AL the page that is shown."""
    pc, page = bios.pc, frame.al
    if page >= PAGES:
        return
    pc.put_byte(area.PAGE, page)
    start = page * pc.word(area.PAGE_BYTES)
    pc.put_word(area.PAGE_START, start)
    mode = registers.mode_of(pc)
    port = registers.crtc(pc)
    address = start // 2 if mode.kind is Kind.TEXT else start
    registers.set_indexed(pc, port, 0x0C, address >> 8 & 0xFF)
    registers.set_indexed(pc, port, 0x0D, address & 0xFF)
    registers.show_cursor(pc)


def scroll_up(bios: Bios, frame: Frame) -> None:
    """AH=06h: AL rows, 0 all; BH attribute of what gets free; CX and DX corners of the window."""
    _scroll_window(bios.pc, frame, 1)


def scroll_down(bios: Bios, frame: Frame) -> None:
    """AH=07h: the same downwards."""
    _scroll_window(bios.pc, frame, -1)


def read_cell(bios: Bios, frame: Frame) -> None:
    """AH=08h: BH page; AL character and AH attribute at the cursor."""
    pc = bios.pc
    mode = registers.mode_of(pc)
    if mode.kind is Kind.TEXT:
        frame.ax = pc.word(_cell(pc, mode, frame.bh, *_cursor(pc, frame.bh)))
    else:
        frame.ax = 0


def write_cells(bios: Bios, frame: Frame) -> None:
    """AH=09h: AL character, BL attribute, BH page, CX times; the cursor stays."""
    _fill(bios.pc, frame, frame.bl)


def write_characters(bios: Bios, frame: Frame) -> None:
    """AH=0Ah: the same without attributes, but in graphics modes."""
    is_text = registers.mode_of(bios.pc).kind is Kind.TEXT
    _fill(bios.pc, frame, None if is_text else frame.bl)


def write_pixel(bios: Bios, frame: Frame) -> None:
    """AH=0Ch: AL colour, CX column, DX row."""
    graphics.put_pixel(bios.pc, registers.mode_of(bios.pc), frame.cx, frame.dx, frame.al)


def read_pixel(bios: Bios, frame: Frame) -> None:
    """AH=0Dh: CX column, DX row; AL colour."""
    frame.al = graphics.pixel(bios.pc, registers.mode_of(bios.pc), frame.cx, frame.dx)


def teletype(bios: Bios, frame: Frame) -> None:
    """AH=0Eh: AL to the active page, BL its colour in graphics modes."""
    write_teletype(bios.pc, frame.al, bios.pc.byte(area.PAGE), frame.bl)


def get_mode(bios: Bios, frame: Frame) -> None:
    """AH=0Fh: AL mode, AH columns, BH page."""
    pc = bios.pc
    frame.al = pc.byte(area.VIDEO_MODE) | pc.byte(area.VIDEO_CONTROL) & 0x80
    frame.ah = pc.byte(area.COLUMNS)
    frame.bh = pc.byte(area.PAGE)


def write_string(bios: Bios, frame: Frame) -> None:
    """AH=13h: ES:BP, CX characters from DX on page BH; AL bit 0 moves the cursor, bit 1: with attributes."""
    pc = bios.pc
    page, count, with_attributes = frame.bh & 7, frame.cx, frame.al & 2
    text = pc.read(linear(frame.es, frame.bp), count * 2 if with_attributes else count)
    before = _cursor(pc, page)
    cells = (
        ((text[at], text[at + 1]) for at in range(0, len(text) - 1, 2))
        if with_attributes
        else ((character, frame.bl) for character in text)
    )
    after = _write_cells_from(pc, page, frame.dh, frame.dl, cells)
    _put_cursor(pc, page, *(after if frame.al & 1 else before))


def _write_cells_from(pc: Pc, page: int, row: int, column: int, cells: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Teletype of characters and attributes; where the cursor is then.

    What is written over, or moves off the screen, is not drawn first: a string may have 64 KiB.
    """
    mode, columns, last_row = registers.mode_of(pc), pc.word(area.COLUMNS), pc.byte(area.LAST_ROW)
    placed: dict[tuple[int, ...], tuple[int, int]] = {}  # by row before all moves, and column
    moves: list[int] = []  # of all rows up by one: with which attribute
    for number, (character, attribute) in enumerate(cells):
        row, column, is_drawn = _after(character, row, column, columns)
        if is_drawn:
            is_xor = mode.kind is not Kind.TEXT and attribute & 0x80
            here = (row + len(moves), column)
            placed[(*here, number) if is_xor else here] = character, attribute
            row, column = (row + 1, 0) if column + 1 >= columns else (row, column + 1)
        if row > last_row:
            row = last_row
            moves.append(attribute)
    if mode.kind is Kind.TEXT:
        for attribute in moves[-last_row - 1 :]:
            _scroll(pc, mode, page, 1, 0, 0, last_row, columns - 1, attribute)
    elif moves:
        _scroll(pc, mode, page, len(moves), 0, 0, last_row, columns - 1, 0)
    for (at, place, *_), (character, attribute) in placed.items():
        if at >= len(moves):
            _put_character(pc, mode, page, at - len(moves), place, character, attribute, attribute)
    return row, column


def _after(character: int, row: int, column: int, columns: int) -> tuple[int, int, bool]:
    """Where a control character leaves the cursor, or another one is to be drawn (True)."""
    match character:
        case 0x07:  # the bell is heard by nobody
            return row, column, False
        case 0x08:
            return row, max(column - 1, 0), False
        case 0x0A:
            return row + 1, column, False
        case 0x0D:
            return row, 0, False
        case _:
            return row, column, True


def display_combination(bios: Bios, frame: Frame) -> None:
    """AH=1Ah: AL=0 asks, 1 sets what displays there are."""
    pc = bios.pc
    if frame.al == 0:
        frame.bx = pc.byte(area.DISPLAY_CODE)
    elif frame.al == 1:
        pc.put_byte(area.DISPLAY_CODE, frame.bl)
    else:
        return
    frame.al = 0x1A


def functionality(bios: Bios, frame: Frame) -> None:
    """AH=1Bh: 64 bytes at ES:DI about what is set, and what there is."""
    pc = bios.pc
    if frame.bx != 0:
        return
    table = bytearray(FUNCTIONALITY_BYTES)
    table[4:0x22] = pc.read(area.VIDEO_MODE, 0x1E)
    table[0x22] = pc.byte(area.LAST_ROW) + 1
    table[0x23:0x25] = pc.read(area.CHARACTER_HEIGHT, 2)
    table[0x25] = pc.byte(area.DISPLAY_CODE)
    table[0x27:0x29] = (16).to_bytes(2, "little")
    table[0x29] = PAGES
    table[0x2A] = 2  # 400 lines
    table[0x31] = 3  # 256 KiB
    pc.write(linear(frame.es, frame.di), bytes(table))
    frame.al = 0x1B


FUNCTIONS: dict[int, Service] = {
    0x00: set_mode,
    0x01: set_cursor_shape,
    0x02: set_cursor,
    0x03: get_cursor,
    0x04: light_pen,
    0x05: set_page,
    0x06: scroll_up,
    0x07: scroll_down,
    0x08: read_cell,
    0x09: write_cells,
    0x0A: write_characters,
    0x0B: palette.set_cga_colours,
    0x0C: write_pixel,
    0x0D: read_pixel,
    0x0E: teletype,
    0x0F: get_mode,
    0x10: palette.palette,
    0x11: fonts.fonts,
    0x12: fonts.alternate_select,
    0x13: write_string,
    0x1A: display_combination,
    0x1B: functionality,
    0x4F: vbe.vbe,
}
FAMILY = Family(FUNCTIONS, nothing)


# -- text -------------------------------------------------------------------------------------------------------------


def _cursor(pc: Pc, page: int) -> tuple[int, int]:
    position = pc.word(area.CURSORS + 2 * (page & 7))
    return position >> 8, position & 0xFF


def _put_cursor(pc: Pc, page: int, row: int, column: int) -> None:
    if page >= PAGES:
        return
    pc.put_word(area.CURSORS + 2 * page, row << 8 | column)
    if page == pc.byte(area.PAGE):
        registers.show_cursor(pc)


def _cell(pc: Pc, mode: Mode, page: int, row: int, column: int) -> int:
    """The address of a character and its attribute."""
    offset = (page & 7) * pc.word(area.PAGE_BYTES) + 2 * (row * pc.word(area.COLUMNS) + column)
    return (mode.segment << 4) + offset % 0x8000


def _fill(pc: Pc, frame: Frame, attribute: int | None) -> None:
    mode = registers.mode_of(pc)
    page = frame.bh
    row, column = _cursor(pc, page)
    if mode.kind is not Kind.TEXT:
        for n in range(min(frame.cx, mode.columns * mode.rows)):
            graphics.draw(pc, mode, frame.al, attribute or 0, row + (column + n) // mode.columns,
                               (column + n) % mode.columns)  # fmt: skip
        return
    start = _cell(pc, mode, page, row, column)
    end = (mode.segment << 4) + 0x8000
    count = min(frame.cx, (end - start) // 2)
    cells = bytearray(pc.read(start, 2 * count))
    cells[::2] = bytes((frame.al,)) * count
    if attribute is not None:
        cells[1::2] = bytes((attribute,)) * count
    pc.write(start, bytes(cells))


def write_teletype(pc: Pc, character: int, page: int, colour: int, attribute: int | None = None) -> None:
    """At the cursor, which goes on, with the rows moving up at the end of the screen."""
    mode = registers.mode_of(pc)
    row, column = _cursor(pc, page)
    columns, last_row = pc.word(area.COLUMNS), pc.byte(area.LAST_ROW)
    row, column, is_drawn = _after(character, row, column, columns)
    if is_drawn:
        _put_character(pc, mode, page, row, column, character, colour, attribute)
        row, column = (row + 1, 0) if column + 1 >= columns else (row, column + 1)
    if row > last_row:
        row = last_row
        fill = WHITE_ON_BLACK
        if mode.kind is Kind.TEXT:
            fill = pc.byte(_cell(pc, mode, page, row, column) + 1) if attribute is None else attribute
        _scroll(pc, mode, page, 1, 0, 0, last_row, columns - 1, fill if mode.kind is Kind.TEXT else 0)
    _put_cursor(pc, page & 7, row, column)


def _put_character(
    pc: Pc, mode: Mode, page: int, row: int, column: int, character: int, colour: int, attribute: int | None
) -> None:
    if mode.kind is not Kind.TEXT:
        graphics.draw(pc, mode, character, colour, row, column)
    elif attribute is None:
        pc.put_byte(_cell(pc, mode, page, row, column), character)
    else:
        pc.put_word(_cell(pc, mode, page, row, column), attribute << 8 | character)


def _scroll_window(pc: Pc, frame: Frame, direction: int) -> None:
    mode = registers.mode_of(pc)
    last_row, last_column = pc.byte(area.LAST_ROW), pc.word(area.COLUMNS) - 1
    bottom, right = min(frame.dh, last_row), min(frame.dl, last_column)
    if frame.ch > bottom or frame.cl > right:
        return
    _scroll(pc, mode, pc.byte(area.PAGE), frame.al * direction, frame.ch, frame.cl, bottom, right, frame.bh)


def _scroll(
    pc: Pc, mode: Mode, page: int, rows: int, top: int, left: int, bottom: int, right: int, attribute: int
) -> None:
    """`rows` up, or down if negative; 0 or too many clear the window."""
    height = bottom - top + 1
    if rows == 0 or abs(rows) > height:
        rows = height
    if mode.kind is not Kind.TEXT:
        graphics.scroll(pc, mode, rows, top, left, bottom, right, attribute)
        return
    width = 2 * (right - left + 1)
    lines = [pc.read(_cell(pc, mode, page, row, left), width) for row in range(top, bottom + 1)]
    blank = bytes((BLANK, attribute)) * (width // 2)
    lines = lines[rows:] + [blank] * rows if rows > 0 else [blank] * -rows + lines[:rows]
    for row, line in enumerate(lines, top):
        pc.write(_cell(pc, mode, page, row, left), line)
