"""The VGA in native code: retrace status, planar memory, and the registers that say what becomes of a byte there.

Native code reads the registers themselves; what Python derives from them it derives anew when it is asked next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bt.devices.debug.output_native import SenderShared, send
from bt.devices.native import native_code
from bt.devices.shared import Flag, Shared, Word

if TYPE_CHECKING:
    from bt.codegen.value import Value
    from bt.devices.native_device import NativeDevice

DISPLAY_DISABLED, VERTICAL_RETRACE = 1 << 0, 1 << 3  # input status register 1
MAP_MASK, MAP_MASK_BITS = 2, 0x0F  # sequencer
SET_RESET, ENABLE_SET_RESET, COLOUR_COMPARE, DATA_ROTATE, READ_MAP, GRAPHICS_MODE, GRAPHICS_MISC = range(7)
COLOUR_DONT_CARE, BIT_MASK = 7, 8
MODE_READ_COMPARE = 1 << 3
# Which bits of a register exist; those that are not here read 0.
GRAPHICS_BITS = (0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF, 0, 0, 0, 0, 0, 0, 0)
INDEX_OFFSETS = SEQUENCER_INDEX, GRAPHICS_INDEX = 0x14, 0x1E  # from port 3B0h; data are at the next

PAGE_BITS = 12  # of the log of what was stored: 64 pages
MAP_BYTES = 1 << 16
EVERYWHERE, ALL_MAPS = 0x01010101, 0xF


class VgaRegistersShared(Shared):
    """See `VgaRegisters`. Dots and lines are those of its raster; no rate: they have to be worked out."""

    _dot_hz, _dots, _dots_shown, _lines, _lines_shown, _retrace_start, _retrace_lines = (Word() for _ in range(7))
    _status_offset, _expects_attribute = Word(), Flag()
    _sequencer_index, _graphics_index = Word(), Word()
    _sequencer_address, _graphics_address = Word(), Word()
    is_planar = Flag()  # memory is, so that none of it is plain whatever is drawn with
    drawing_changed_natively = Flag()


class VgaMemoryShared(SenderShared):
    """See `VgaMemory`. `_stored_pages` has a bit for each page that was written and not told of."""

    _registers_block, _buffer_address, _stored_pages = Word(), Word(), Word()
    _start, _end, _latch = Word(), Word(), Word()


R, M = VgaRegistersShared, VgaMemoryShared


@native_code
def read_status(b: NativeDevice) -> None:
    """`VgaRegisters._read_status`, `Raster.status`."""
    hz = b.word(R._dot_hz)
    b.ask_if((b.size != 1) | (hz == 0) | (b.offset.zext(64) != b.word(R._status_offset)))
    dots, lines = b.word(R._dots), b.word(R._lines)
    at = b.periods(b.now_ns(), hz).urem(dots * lines)
    line, dot = at.udiv(dots), at.urem(dots)
    disabled = line.uge(b.word(R._lines_shown)) | dot.uge(b.word(R._dots_shown))
    retrace = (line + lines - b.word(R._retrace_start)).urem(lines).ult(b.word(R._retrace_lines))
    b.set_word(R._expects_attribute, 0)
    off = b.const(0, 64)
    b.answer(b.select(disabled, off + DISPLAY_DISABLED, 0) | b.select(retrace, off + VERTICAL_RETRACE, 0))


# -- registers that say what becomes of a byte ------------------------------------------------------------------------


def _write_data(b: NativeDevice, index: Value, value: Value, offset: Value) -> None:
    """A data register at `offset` (i32) while memory is planar, unless it says more than what drawing does."""
    b.ask_if(~b.is_set(R.is_planar))
    with b.IfElse(offset == GRAPHICS_INDEX + 1) as arm:
        with arm.then():
            mask = b.local(64, 0)
            with b.Switch(index) as registers:
                for register, bits in enumerate(GRAPHICS_BITS[: BIT_MASK + 1]):
                    if register not in (GRAPHICS_MODE, GRAPHICS_MISC):
                        with registers.case(register):
                            mask.set(bits)
            b.ask_if(mask.get() == 0)
            b.store(b.other_block(R._graphics_address) + index, (value & mask.get()).trunc(8))
        with arm.otherwise():
            b.ask_if(index != MAP_MASK)
            b.store(b.other_block(R._sequencer_address) + index, (value & MAP_MASK_BITS).trunc(8))
    b.set_word(R.drawing_changed_natively, 1)


@native_code
def write_index(b: NativeDevice) -> None:
    """Index of sequencer or graphics controller, and with a word the data too."""
    b.ask_if(b.size.ugt(2))
    is_graphics = b.offset == GRAPHICS_INDEX
    index = b.written & b.select(is_graphics, b.const(15, 64), 7)
    with b.If(b.size == 2):
        _write_data(b, index, (b.written >> 8) & 0xFF, b.offset + 1)
    field = b.select(is_graphics, b.const(R._graphics_index.offset, 64), R._sequencer_index.offset)
    b.store(b.block + field, index)
    b.done()


@native_code
def write_data(b: NativeDevice) -> None:
    """Data of sequencer or graphics controller."""
    b.ask_unless_size(1)
    is_graphics = b.offset == GRAPHICS_INDEX + 1
    index = b.select(is_graphics, b.word(R._graphics_index), b.word(R._sequencer_index))
    _write_data(b, index, b.written & 0xFF, b.offset)
    b.done()


# -- planar memory ----------------------------------------------------------------------------------------------------


def _expanded(bits: Value) -> Value:
    """Four bits (i32) to four bytes of 00 or FF, one bit a map."""
    return ((bits * 0x0020_4081) & EVERYWHERE) * 0xFF


class _Drawing:
    """The graphics controller at one access."""

    def __init__(self, b: NativeDevice) -> None:
        """Asks Python unless memory is planar and the access is where it is."""
        self.b = b
        self.registers = b.other_block(M._registers_block)
        first, start = b.offset.zext(64), b.word(M._start)
        inside = first.uge(start) & (first + b.size.zext(64)).ule(b.word(M._end))
        b.ask_if(~b.is_set(R.is_planar, self.registers) | ~inside)
        self._graphics = b.load(self.registers + R._graphics_address.offset, "ptr")
        self.address = (first - start).trunc(32)

    def graphics(self, index: int) -> Value:
        """A register of the graphics controller, i32."""
        return self.b.load(self._graphics + index, 8).zext(32)

    def quad(self, n: Value) -> Value:
        """Pointer to the bytes of all maps, `n` (i32) behind the access's first."""
        b = self.b
        place = ((self.address + n) & (MAP_BYTES - 1)).zext(64) << 2
        return b.other_block(M._buffer_address) + place

    def page(self, n: Value) -> Value:
        """The bit of the page that has them (i64)."""
        page = ((self.address + n) & (MAP_BYTES - 1)).zext(64) >> (PAGE_BITS - 2)
        return self.b.const(1, 64) << page


@native_code
def read_memory(b: NativeDevice) -> None:
    """`VgaMemory._read`: both read modes."""
    drawing = _Drawing(b)
    compares = (drawing.graphics(GRAPHICS_MODE) & MODE_READ_COMPARE) != 0
    colour, care = _expanded(drawing.graphics(COLOUR_COMPARE)), _expanded(drawing.graphics(COLOUR_DONT_CARE))
    shift = drawing.graphics(READ_MAP) << 3
    value = b.local(64, 0)
    with b.Range(b.size) as n:
        latch = b.load(drawing.quad(n), 32)
        b.set_word(M._latch, latch)
        different = (latch ^ colour) & care
        different = different | (different >> 16)
        byte = b.select(compares, ~(different | (different >> 8)), latch >> shift) & 0xFF
        value.set(value.get() | (byte.zext(64) << (n << 3).zext(64)))
    b.answer(value.get())


@native_code
def write_memory(b: NativeDevice) -> None:
    """`VgaMemory._write`, `VgaMemory._combine`: all write modes."""
    drawing = _Drawing(b)
    sequencer = b.load(drawing.registers + R._sequencer_address.offset, "ptr")
    maps = _expanded(b.load(sequencer + MAP_MASK, 8).zext(32))
    mode, rotate = drawing.graphics(GRAPHICS_MODE) & 3, drawing.graphics(DATA_ROTATE)
    enabled, set_reset = _expanded(drawing.graphics(ENABLE_SET_RESET)), _expanded(drawing.graphics(SET_RESET))
    bit_mask, latch = drawing.graphics(BIT_MASK) * EVERYWHERE, b.word(M._latch).trunc(32)
    pages = b.local(64, b.word(M._stored_pages))
    with b.If((pages.get() == 0) & (maps != 0)):
        send(b, b.const(0, 64))  # Python is to look
    with b.Range(b.size) as n:
        byte = (b.written >> (n << 3).zext(64)).trunc(32) & 0xFF
        rotated = (((byte | (byte << 8)) >> (rotate & 7)) & 0xFF) * EVERYWHERE
        source, mask = b.local(32, (rotated & ~enabled) | (set_reset & enabled)), b.local(32, bit_mask)
        with b.Switch(mode) as modes:
            with modes.case(1):
                source.set(latch)
                mask.set(0)
            with modes.case(2):
                source.set(_expanded(byte & 0xF))
            with modes.case(3):
                source.set(set_reset)
                mask.set(bit_mask & rotated)
        with b.Switch(rotate >> 3) as functions:
            with functions.case(1):
                source.set(source.get() & latch)
            with functions.case(2):
                source.set(source.get() | latch)
            with functions.case(3):
                source.set(source.get() ^ latch)
        written = (source.get() & mask.get()) | (latch & ~mask.get())
        quad = drawing.quad(n)
        with b.If(maps != 0):
            b.store(quad, (written & maps) | (b.load(quad, 32) & ~maps))
            pages.set(pages.get() | drawing.page(n))
    b.set_word(M._stored_pages, pages.get())
    b.done()
