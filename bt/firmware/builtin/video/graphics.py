"""Characters and single pixels in graphics modes, drawn as a VGA's BIOS does."""

from __future__ import annotations

from bt.firmware.builtin import data_area as area
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.builtin.video.modes import Kind, Mode
from bt.firmware.builtin.video.registers import GRAPHICS

CGA_BANK, CGA_LINE = 0x2000, 80
XOR = 0x80  # of a colour
SET_RESET, ENABLE_SET_RESET, FUNCTION, READ_MAP, WRITE_MODE, BIT_MASK = 0, 1, 3, 4, 5, 8
FUNCTION_XOR = 0x18
UPPER_HALF = 0x80


def glyph(pc: Pc, character: int, height: int) -> bytes:
    """Rows of the character, of the font that vector 43h leads to; 1Fh for the upper half of 8 x 8 ones."""
    vector = area.FONT_VECTOR
    if character >= UPPER_HALF and height == 8:
        vector, character = area.UPPER_FONT_VECTOR, character - UPPER_HALF
    segment, offset = pc.word(4 * vector + 2), pc.word(4 * vector)
    return pc.read(linear(segment, offset) + character * height, height)


def draw(pc: Pc, mode: Mode, character: int, colour: int, row: int, column: int) -> None:
    """A character in a cell of 8 dots a line; XORed if bit 7 of `colour` is set."""
    height = pc.word(area.CHARACTER_HEIGHT) & 0x1F or mode.height
    rows = glyph(pc, character, height)
    if column >= mode.columns or row * height >= 1 << 10:
        return
    match mode.kind:
        case Kind.PLANAR:
            _draw_planar(pc, mode, rows, colour, row * height, column)
        case Kind.LINEAR:
            for y, bits in enumerate(rows):
                line = bytes(colour if bits >> 7 - x & 1 else 0 for x in range(8))
                pc.write((mode.segment << 4) + (row * height + y) * 320 + 8 * column, line)
        case Kind.CGA:
            for y, bits in enumerate(rows):
                _draw_cga(pc, mode, bits, colour, row * height + y, column)


def _draw_planar(pc: Pc, mode: Mode, rows: bytes, colour: int, top: int, column: int) -> None:
    is_xor = bool(colour & XOR)
    write = pc.ports.write
    base = (mode.segment << 4) + top * mode.columns + column
    write(GRAPHICS, 2, (FUNCTION_XOR if is_xor else 0) << 8 | FUNCTION)
    write(GRAPHICS, 2, 0x02 << 8 | WRITE_MODE)
    for y, bits in enumerate(rows):
        address = base + y * mode.columns
        for mask, value in ((bits, colour & 0x0F), (0 if is_xor else bits ^ 0xFF, 0)):
            if mask:
                write(GRAPHICS, 2, mask << 8 | BIT_MASK)
                pc.byte(address)  # into the latches
                pc.put_byte(address, value)
    _reset_graphics(pc)


def _draw_cga(pc: Pc, mode: Mode, bits: int, colour: int, y: int, column: int) -> None:
    dots = mode.bits
    value = 0
    for x in range(8):
        value = value << dots | (colour & (1 << dots) - 1 if bits >> 7 - x & 1 else 0)
    address = (mode.segment << 4) + (y & 1) * CGA_BANK + (y >> 1) * CGA_LINE + column * dots
    data = value.to_bytes(dots, "big")
    if colour & XOR:
        data = bytes(a ^ b for a, b in zip(data, pc.read(address, dots), strict=True))
    pc.write(address, data)


def _reset_graphics(pc: Pc) -> None:
    for index, value in ((FUNCTION, 0), (WRITE_MODE, 0), (BIT_MASK, 0xFF), (ENABLE_SET_RESET, 0), (SET_RESET, 0)):
        pc.ports.write(GRAPHICS, 2, value << 8 | index)


def put_pixel(pc: Pc, mode: Mode, x: int, y: int, colour: int) -> None:
    if x >= 8 * mode.columns or y >= mode.rows * mode.height:
        return
    base = mode.segment << 4
    match mode.kind:
        case Kind.LINEAR:
            pc.put_byte(base + y * 320 + x, colour)
        case Kind.PLANAR:
            address = base + y * mode.columns + (x >> 3)
            pc.ports.write(GRAPHICS, 2, (0x80 >> (x & 7)) << 8 | BIT_MASK)
            pc.ports.write(GRAPHICS, 2, 0x02 << 8 | WRITE_MODE)
            pc.ports.write(GRAPHICS, 2, (FUNCTION_XOR if colour & XOR else 0) << 8 | FUNCTION)
            pc.byte(address)
            pc.put_byte(address, colour & 0x0F)
            _reset_graphics(pc)
        case Kind.CGA:
            address, shift, mask = _cga_place(mode, x, y)
            old = pc.byte(address)
            new = (colour & mask) << shift
            pc.put_byte(address, old ^ new if colour & XOR else old & ~(mask << shift) | new)


def pixel(pc: Pc, mode: Mode, x: int, y: int) -> int:
    if x >= 8 * mode.columns or y >= mode.rows * mode.height:
        return 0
    base = mode.segment << 4
    match mode.kind:
        case Kind.LINEAR:
            return pc.byte(base + y * 320 + x)
        case Kind.PLANAR:
            value = 0
            for number in range(4):
                pc.ports.write(GRAPHICS, 2, number << 8 | READ_MAP)
                value |= (pc.byte(base + y * mode.columns + (x >> 3)) >> 7 - (x & 7) & 1) << number
            pc.ports.write(GRAPHICS, 2, READ_MAP)
            return value
        case Kind.CGA:
            address, shift, mask = _cga_place(mode, x, y)
            return pc.byte(address) >> shift & mask
        case Kind.TEXT:
            return 0


def _cga_place(mode: Mode, x: int, y: int) -> tuple[int, int, int]:
    """Address, bits to shift by, mask."""
    each = 8 // mode.bits
    address = (mode.segment << 4) + (y & 1) * CGA_BANK + (y >> 1) * CGA_LINE + x // each
    return address, (each - 1 - x % each) * mode.bits, (1 << mode.bits) - 1


def scroll(pc: Pc, mode: Mode, rows: int, top: int, left: int, bottom: int, right: int, colour: int) -> None:
    """Cells of the window move up by `rows`, down if negative; what gets free is filled."""
    height = pc.word(area.CHARACTER_HEIGHT) & 0x1F or mode.height
    # the data area may say anything, memory has what the mode has
    bottom, right = min(bottom, mode.rows * mode.height // height - 1), min(right, mode.columns - 1)
    if top > bottom or left > right:
        return
    if abs(rows) > bottom - top + 1:
        rows = bottom - top + 1
    moved = bottom - top + 1 - abs(rows)
    order = range(top, top + moved) if rows > 0 else range(bottom, bottom - moved, -1)
    for row in order:
        for y in range(height):
            _move_line(pc, mode, (row + rows) * height + y, row * height + y, left, right)
    free = range(bottom - rows + 1, bottom + 1) if rows > 0 else range(top, top - rows)
    for row in free:
        for y in range(height):
            _fill_line(pc, mode, row * height + y, left, right, colour)


def _line(mode: Mode, y: int, left: int) -> int:
    base = mode.segment << 4
    if mode.kind is Kind.CGA:
        return base + (y & 1) * CGA_BANK + (y >> 1) * CGA_LINE + left * mode.bits
    return base + y * (320 if mode.kind is Kind.LINEAR else mode.columns) + left * _cell_bytes(mode)


def _cell_bytes(mode: Mode) -> int:
    return {Kind.LINEAR: 8, Kind.PLANAR: 1}.get(mode.kind, mode.bits)


def _move_line(pc: Pc, mode: Mode, source: int, target: int, left: int, right: int) -> None:
    n = (right - left + 1) * _cell_bytes(mode)
    start, to = _line(mode, source, left), _line(mode, target, left)
    if mode.kind is not Kind.PLANAR:
        pc.write(to, pc.read(start, n))
        return
    base = mode.segment << 4
    for number in range(4):
        pc.put_video_map(number, to - base, pc.video_map(number, start - base, n))


def _fill_line(pc: Pc, mode: Mode, y: int, left: int, right: int, colour: int) -> None:
    n = (right - left + 1) * _cell_bytes(mode)
    address = _line(mode, y, left)
    if mode.kind is not Kind.PLANAR:
        pc.write(address, bytes((colour if mode.kind is Kind.LINEAR else 0,)) * n)
        return
    for number in range(4):
        pc.put_video_map(number, address - (mode.segment << 4), bytes((0xFF * (colour >> number & 1),)) * n)
