"""The registers of the VGA: miscellaneous output, sequencer, CRT and graphics controllers, attributes, DAC."""

from collections.abc import Callable
from typing import Any, ClassVar

from bt.clock.virtual_clock import VirtualClock
from bt.devices.device import Device
from bt.devices.display.retrace import Raster
from bt.devices.display.vga_native import (
    GRAPHICS_BITS,
    GRAPHICS_MISC,
    GRAPHICS_MODE,
    INDEX_OFFSETS,
    MAP_MASK,
    VgaRegistersShared,
    read_status,
    write_data,
    write_index,
)
from bt.devices.shared import address_of
from bt.memory.native_registers import NativeRegister

FIRST_PORT = 0x3B0  # offset 0
PORTS = ((0x3B4, 2), (0x3BA, 1), (0x3C0, 16), (0x3D4, 2), (0x3DA, 1))  # first and number of those decoded
_MONOCHROME = frozenset({0x04, 0x05, 0x0A})  # offsets that are decoded while IO_ADDRESS_SELECT is clear
_COLOUR = frozenset({0x24, 0x25, 0x2A})  # the same registers, while it is set

MISC_COLOUR = 1 << 0
MISC_WRITABLE = 0xEF

RESET, CLOCKING_MODE, _, CHARACTER_MAP_SELECT, MEMORY_MODE = range(5)  # sequencer, but for MAP_MASK
CLOCKING_8_DOTS, CLOCKING_HALF, CLOCKING_SCREEN_OFF = 1 << 0, 1 << 3, 1 << 5
MEMORY_CHAIN_4 = 1 << 3
MODE_ODD_EVEN, MODE_SHIFT_INTERLEAVED, MODE_SHIFT_256 = 1 << 4, 1 << 5, 1 << 6
MISC_GRAPHICS = 1 << 0  # of GRAPHICS_MISC
ATTRIBUTE_MODE, OVERSCAN, COLOUR_PLANES, PIXEL_PANNING, COLOUR_SELECT = range(0x10, 0x15)
ATTRIBUTE_GRAPHICS, ATTRIBUTE_LINE_GRAPHICS, ATTRIBUTE_BLINK = 1 << 0, 1 << 2, 1 << 3
ATTRIBUTE_PAN_TOP_ONLY, ATTRIBUTE_PALETTE_54 = 1 << 5, 1 << 7
PALETTE_ADDRESS_SOURCE = 1 << 5  # of the attribute index: the palette is the display's

# Which bits of a register exist; those that are not here read 0.
SEQUENCER_BITS = (0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0x00, 0x00, 0xFF)
ATTRIBUTE_BITS = (*(0x3F,) * 16, 0xEF, 0xFF, 0x3F, 0x0F, 0x0F, *(0,) * 11)

CRTC_PROTECTED = 8  # registers 0 to 7, while VERTICAL_RETRACE_END bit 7 is set
CRTC_OVERFLOW, CRTC_VERTICAL_RETRACE_END, CRTC_PROTECT = 0x07, 0x11, 1 << 7
LINE_COMPARE_BIT_8 = 1 << 4  # of the overflow register: never protected

_MAPPING = frozenset({GRAPHICS_MODE, GRAPHICS_MISC})  # graphics registers that say where a byte goes


class VgaRegisters(VgaRegistersShared, Device):
    """IBM PS/2 Hardware Interface Technical Reference (84F9808), "Video Subsystem".

    Offsets count from port 3B0h; the board decodes `PORTS` only. `memory_changed()` is called after each write that may
    change where the processor finds video memory, `drawing_changed()` after those that say what becomes of a byte.
    `changes` counts writes, so that who draws knows when to look again. Left out: the vertical interrupt (input status
    0 reads 0, no PC has it wired), light pen, diagnostic bits. Attribute registers can be written whatever the palette
    address source is. `restore` calls nobody: memory's does.
    """

    fields = ("miscellaneous", "feature", "pel_mask", "dac_bits", "attribute_index",
              "_expects_attribute", "_sequencer_index", "_graphics_index", "_crtc_index",
              "_dac_write", "_dac_read", "_dac_state", "_dac_part", "_dac_latch")  # fmt: skip
    _files = ("sequencer", "graphics", "crtc", "attributes", "palette")

    def __init__(
        self,
        clock: VirtualClock,
        memory_changed: Callable[[], None] = lambda: None,
        drawing_changed: Callable[[], None] = lambda: None,
        name: str = "VGA registers",
    ) -> None:
        super().__init__(name)
        self._clock = clock
        self.memory_changed, self.drawing_changed = memory_changed, drawing_changed
        self.changes = 0
        self._raster: Raster | None = None  # made when asked for
        self.sequencer, self.graphics = bytearray(8), bytearray(16)
        self._sequencer_address, self._graphics_address = address_of(self.sequencer), address_of(self.graphics)
        self._power_on()

    @property
    def raster(self) -> Raster:
        raster = self._raster
        if raster is None:
            raster = self._raster = Raster.of(self.crtc, self.sequencer[CLOCKING_MODE], self.miscellaneous)
            self._dots, self._dots_shown = raster.dots, raster.dots_shown
            self._lines, self._lines_shown = raster.lines, raster.lines_shown
            self._retrace_start, self._retrace_lines = raster.retrace_start % raster.lines, raster.retrace_lines
            self._dot_hz = raster.dot_hz
        return raster

    def blinks(self, frames: int) -> bool:
        """Whether what is shown half of each `frames` frames is shown now."""
        return self.raster.frame(self._clock.now_ns) % frames < frames // 2

    def native_registers(self) -> dict[int, NativeRegister]:
        status = NativeRegister(self.block, read=read_status)
        index, data = NativeRegister(self.block, write=write_index), NativeRegister(self.block, write=write_data)
        drawing = dict.fromkeys(INDEX_OFFSETS, index) | {offset + 1: data for offset in INDEX_OFFSETS}
        return drawing | dict.fromkeys((10, 42), status)

    def read(self, offset: int, size: int) -> int:
        if offset in self._hidden:
            return 0xFF
        register = self._reads.get(offset)
        return 0xFF if register is None else register(self)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset in self._hidden:
            return
        register = self._writes.get(offset)
        if register is not None:
            self.changes += 1
            register(self, value)

    def set_graphics(self, index: int, value: int) -> None:
        """What a write of the graphics controller's register does."""
        self.graphics[index] = value & GRAPHICS_BITS[index]
        if index in _MAPPING:
            self.memory_changed()
        else:
            self.drawing_changed()

    def set_crtc(self, index: int, value: int) -> None:
        """Store in a register of the CRT controller, protected or not."""
        self.crtc[index] = value
        self._forget_raster()

    def reset(self) -> None:
        self._power_on()
        self.memory_changed()

    def state(self) -> dict[str, Any]:
        return super().state() | {name: getattr(self, name).hex() for name in self._files}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        for name in self._files:
            getattr(self, name)[:] = bytes.fromhex(state[name])
        self._decode()
        self._forget_raster()
        self.changes += 1

    def _power_on(self) -> None:
        self.miscellaneous = self.feature = 0
        self._decode()
        self.sequencer[:], self.graphics[:], self.attributes = bytes(8), bytes(16), bytearray(32)
        self.crtc = bytearray(256)
        self.palette = bytearray(3 * 256)  # red, green, blue of `dac_bits` bits each
        self.pel_mask = 0xFF
        self.dac_bits = 6
        self.attribute_index = self._sequencer_index = self._graphics_index = self._crtc_index = 0
        self._expects_attribute = False  # the next write to 3C0h is data
        self._dac_write = self._dac_read = self._dac_state = self._dac_part = 0
        self._dac_latch = [0, 0]  # red and green, until blue comes
        self._forget_raster()
        self.changes += 1

    def _write_miscellaneous(self, value: int) -> None:
        self.miscellaneous = value & MISC_WRITABLE
        self._decode()
        self._forget_raster()
        self.memory_changed()

    def _decode(self) -> None:
        """Monochrome or colour addresses."""
        is_colour = bool(self.miscellaneous & MISC_COLOUR)
        self._hidden = _MONOCHROME if is_colour else _COLOUR
        self._status_offset = 0x2A if is_colour else 0x0A

    def _forget_raster(self) -> None:
        self._raster = None
        self._dot_hz = 0

    def _write_feature(self, value: int) -> None:
        self.feature = value & 0x10

    def _read_status(self) -> int:
        self._expects_attribute = False
        return self.raster.status(self._clock.now_ns)

    # sequencer, graphics controller, CRT controller

    def _index_sequencer(self, value: int) -> None:
        self._sequencer_index = value & 7

    def _write_sequencer(self, value: int) -> None:
        index = self._sequencer_index
        self.sequencer[index] = value & SEQUENCER_BITS[index]
        if index == MAP_MASK:
            self.drawing_changed()
        elif index == MEMORY_MODE:
            self.memory_changed()
        elif index == CLOCKING_MODE:
            self._forget_raster()

    def _index_graphics(self, value: int) -> None:
        self._graphics_index = value & 15

    def _write_graphics(self, value: int) -> None:
        self.set_graphics(self._graphics_index, value)

    def _index_crtc(self, value: int) -> None:
        self._crtc_index = value

    def _write_crtc(self, value: int) -> None:
        index = self._crtc_index
        if index < CRTC_PROTECTED and self.crtc[CRTC_VERTICAL_RETRACE_END] & CRTC_PROTECT:
            if index != CRTC_OVERFLOW:
                return
            value = self.crtc[index] & ~LINE_COMPARE_BIT_8 | value & LINE_COMPARE_BIT_8
        self.set_crtc(index, value)

    # attribute controller: index and data take turns at 3C0h, reading input status 1 makes it index

    def _read_attribute_index(self) -> int:
        return 0 if self._expects_attribute else self.attribute_index

    def _write_attribute(self, value: int) -> None:
        if self._expects_attribute:
            index = self.attribute_index & 0x1F
            self.attributes[index] = value & ATTRIBUTE_BITS[index]
        else:
            self.attribute_index = value & 0x3F
        self._expects_attribute = not self._expects_attribute

    # DAC: 256 colours, read and written in threes

    def _write_pel_mask(self, value: int) -> None:
        self.pel_mask = value

    def _index_dac_read(self, value: int) -> None:
        self._dac_read, self._dac_part, self._dac_state = value, 0, 3

    def _index_dac_write(self, value: int) -> None:
        self._dac_write, self._dac_part, self._dac_state = value, 0, 0

    def _read_dac(self) -> int:
        value = self.palette[3 * self._dac_read + self._dac_part]
        self._dac_part += 1
        if self._dac_part == 3:
            self._dac_part = 0
            self._dac_read = (self._dac_read + 1) & 0xFF
        return value

    def _write_dac(self, value: int) -> None:
        value &= (1 << self.dac_bits) - 1
        if self._dac_part < 2:
            red, green = self._dac_latch
            self._dac_latch = [red, value] if self._dac_part else [value, green]
            self._dac_part += 1
            return
        self.palette[3 * self._dac_write : 3 * self._dac_write + 3] = (*self._dac_latch, value)
        self._dac_part = 0
        self._dac_write = (self._dac_write + 1) & 0xFF

    # One table for all that there are: of their own it would be the dearest part of a machine to make.

    _reads: ClassVar[dict[int, Callable[["VgaRegisters"], int]]] = {
        0x10: _read_attribute_index,
        0x11: lambda vga: vga.attributes[vga.attribute_index & 0x1F],
        0x12: lambda vga: 0,  # input status 0
        0x14: lambda vga: vga._sequencer_index,
        0x15: lambda vga: vga.sequencer[vga._sequencer_index],
        0x16: lambda vga: vga.pel_mask,
        0x17: lambda vga: vga._dac_state,
        0x18: lambda vga: vga._dac_write,
        0x19: _read_dac,
        0x1A: lambda vga: vga.feature,
        0x1C: lambda vga: vga.miscellaneous,
        0x1E: lambda vga: vga._graphics_index,
        0x1F: lambda vga: vga.graphics[vga._graphics_index],
        **dict.fromkeys((0x04, 0x24), lambda vga: vga._crtc_index),
        **dict.fromkeys((0x05, 0x25), lambda vga: vga.crtc[vga._crtc_index]),
        **dict.fromkeys((0x0A, 0x2A), _read_status),
    }
    _writes: ClassVar[dict[int, Callable[["VgaRegisters", int], None]]] = {
        0x10: _write_attribute,
        0x12: _write_miscellaneous,
        0x14: _index_sequencer,
        0x15: _write_sequencer,
        0x16: _write_pel_mask,
        0x17: _index_dac_read,
        0x18: _index_dac_write,
        0x19: _write_dac,
        0x1E: _index_graphics,
        0x1F: _write_graphics,
        **dict.fromkeys((0x04, 0x24), _index_crtc),
        **dict.fromkeys((0x05, 0x25), _write_crtc),
        **dict.fromkeys((0x0A, 0x2A), _write_feature),
    }
