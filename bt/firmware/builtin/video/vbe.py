"""INT 10h, AH=4Fh: VESA BIOS Extensions 3.0, core functions, on the display interface (bt/devices/display/dispi.py)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bt.devices.display import dispi as interface
from bt.devices.display.edid import edid
from bt.firmware.builtin import data_area as area
from bt.firmware.builtin import rom
from bt.firmware.builtin.frame import Frame
from bt.firmware.builtin.pc import Pc, linear
from bt.firmware.builtin.pci import config_value
from bt.firmware.builtin.video import fonts, registers
from bt.firmware.builtin.video.modes import MODES

if TYPE_CHECKING:
    from bt.firmware.builtin.bios import Bios

SUPPORTED, FAILED = 0x004F, 0x014F
VGA_SLOT, FRAMEBUFFER_BAR = 2, 0x10
MEMORY_64K = 16 * 1024 // 64
WIDE = b"VBE2"  # who asks for what VBE 2.0 has beyond 256 bytes
LINEAR, KEEP = 1 << 14, 1 << 15
MODE_NUMBER = 0x01FF
DAC_SWITCHES = 1  # capabilities: 8 bits a colour
# attributes: supported, information, colour, graphics; linear framebuffer
GRAPHICS_MODE, HAS_LINEAR = 0x1B, 0x80
PACKED, DIRECT = 4, 6  # memory models
BANK_KIB, BANK_SEGMENT, READ_WRITE_MOVABLE = 64, 0xA000, 7
INFORMATION_BYTES, MODE_BYTES = 512, 256


class Linear(NamedTuple):
    width: int
    height: int
    bits: int


_SIZES = ((640, 480), (800, 600), (1024, 768), (1280, 1024))
_DEPTHS = (15, 16, 24)
VBE_MODES: dict[int, Linear] = {
    0x100: Linear(640, 400, 8),
    **{0x101 + 2 * n: Linear(*size, 8) for n, size in enumerate(_SIZES)},
    **{0x10D + n: Linear(320, 200, bits) for n, bits in enumerate(_DEPTHS)},
    **{0x110 + 3 * at + n: Linear(*size, bits) for at, size in enumerate(_SIZES) for n, bits in enumerate(_DEPTHS)},
    0x140: Linear(320, 200, 32),
    0x141: Linear(640, 400, 32),
    **{0x142 + n: Linear(*size, 32) for n, size in enumerate(_SIZES)},
    0x146: Linear(320, 200, 8),
    0x18C: Linear(1920, 1080, 32),
}
# size and place of red, green, blue and what is left
FIELDS = {
    8: (0, 0, 0, 0, 0, 0, 0, 0),
    15: (5, 10, 5, 5, 5, 0, 1, 15),
    16: (5, 11, 6, 5, 5, 0, 0, 0),
    24: (8, 16, 8, 8, 8, 0, 0, 0),
    32: (8, 16, 8, 8, 8, 0, 8, 24),
}


def framebuffer(pc: Pc) -> int:
    """The address of linear memory; 0 where there is none."""
    return config_value(pc, VGA_SLOT << 3, FRAMEBUFFER_BAR, 4) & ~0xF if pc.facts.has_pci else 0


def vbe(bios: Bios, frame: Frame) -> None:
    """AL the function; AX=004Fh: done, 014Fh: not."""
    if (function := FUNCTIONS.get(frame.al)) is None:
        frame.ax = 0x0100 | 0x4F if frame.al < 0x10 else frame.ax
    else:
        frame.ax = function(bios, frame)


def _information(bios: Bios, frame: Frame) -> int:
    """4F00h: what there is, to ES:DI."""
    pc, at = bios.pc, linear(frame.es, frame.di)
    is_wide = pc.read(at, 4) == WIDE
    numbers = [*VBE_MODES, 0xFFFF]
    list_at = 0x22
    block = bytearray(INFORMATION_BYTES if is_wide else INFORMATION_BYTES // 2)
    struct.pack_into("<4sHHHIHHH", block, 0, b"VESA", 0x0300, rom.OEM_NAME, rom.SEGMENT, DAC_SWITCHES,
                     (frame.di + list_at) & 0xFFFF, frame.es, MEMORY_64K)  # fmt: skip
    if is_wide:
        struct.pack_into("<HHHHHHH", block, 0x14, 0x0001, *(rom.OEM_NAME, rom.SEGMENT) * 3)
    struct.pack_into(f"<{len(numbers)}H", block, list_at, *numbers)
    pc.write(at, bytes(block))
    return SUPPORTED


def _mode_information(bios: Bios, frame: Frame) -> int:
    """4F01h: CX the mode, 256 bytes to ES:DI."""
    mode = VBE_MODES.get(frame.cx & MODE_NUMBER)
    if mode is None:
        return FAILED
    pc = bios.pc
    address = framebuffer(pc)
    line = _line_bytes(mode)
    pages = min(max(registers_memory(pc) // (line * mode.height), 1), 256) - 1
    block = bytearray(MODE_BYTES)
    attributes = GRAPHICS_MODE | (HAS_LINEAR if address else 0)
    struct.pack_into(
        "<HBBHHHHIH", block, 0, attributes, READ_WRITE_MOVABLE, 0, BANK_KIB, BANK_KIB, BANK_SEGMENT, 0, 0, line
    )
    model = PACKED if mode.bits == 8 else DIRECT
    stored = interface.BITS_STORED[mode.bits]
    size = (mode.width, mode.height, 8, 16)
    struct.pack_into("<HHBBBBBBBBB", block, 0x12, *size, 1, mode.bits, 1, model, 0, pages, 1)
    struct.pack_into("<8B", block, 0x1F, *FIELDS[mode.bits])
    block[0x27] = 0x02 if stored == 32 else 0
    struct.pack_into("<I", block, 0x28, address)
    struct.pack_into("<HBB8BI", block, 0x32, line, pages, pages, *FIELDS[mode.bits], 0)
    pc.write(linear(frame.es, frame.di), bytes(block))
    return SUPPORTED


def registers_memory(pc: Pc) -> int:
    """Bytes of video memory."""
    return registers.dispi_value(pc, interface.MEMORY_64K) << 16


def _line_bytes(mode: Linear) -> int:
    return mode.width * interface.BITS_STORED[mode.bits] >> 3


def _set_mode(bios: Bios, frame: Frame) -> int:
    """4F02h: BX the mode; bit 14 linear memory, bit 15 keeps what is there."""
    pc, number = bios.pc, frame.bx & MODE_NUMBER
    if number < 0x100:
        if number not in MODES:
            return FAILED
        registers.set_mode(pc, number | (0x80 if frame.bx & KEEP else 0))
        fonts.point_at_usual(pc, MODES[number].height)
        registers.show_cursor(pc)
        return SUPPORTED
    mode = VBE_MODES.get(number)
    if mode is None or (frame.bx & LINEAR and not framebuffer(pc)):
        return FAILED
    registers.set_mode(pc, 0x13 | 0x80)  # the palette, and registers that a linear mode leaves as they are
    for index, value in ((interface.BITS, mode.bits), (interface.WIDTH, mode.width), (interface.HEIGHT, mode.height)):
        registers.dispi(pc, index, value)
    keep = interface.KEEP_MEMORY if frame.bx & KEEP else 0
    registers.dispi(pc, interface.ENABLE, interface.ENABLED | interface.ENABLED << 6 | keep)
    pc.put_byte(area.VIDEO_MODE, number & 0x7F)
    pc.put_word(area.COLUMNS, mode.width // 8)
    pc.put_byte(area.LAST_ROW, mode.height // 16 - 1)
    pc.put_word(area.CHARACTER_HEIGHT, 16)
    pc.put_word(area.VBE_MODE, number | frame.bx & (LINEAR | KEEP))
    return SUPPORTED


def _current(pc: Pc) -> Linear | None:
    if not registers.dispi_value(pc, interface.ENABLE) & interface.ENABLED:
        return None
    width, height, bits = (
        registers.dispi_value(pc, index) for index in (interface.WIDTH, interface.HEIGHT, interface.BITS)
    )
    return Linear(width, height, bits) if bits in interface.BITS_STORED else None


def _get_mode(bios: Bios, frame: Frame) -> int:
    """4F03h: BX."""
    pc = bios.pc
    frame.bx = pc.word(area.VBE_MODE) if _current(pc) is not None else pc.byte(area.VIDEO_MODE)
    return SUPPORTED


def _bank(bios: Bios, frame: Frame) -> int:
    """4F05h: BL=0 window A; BH=0 sets DX, 1 gets it: banks of 64 KiB."""
    pc = bios.pc
    if frame.bl or _current(pc) is None or frame.bh > 1:
        return FAILED
    if frame.bh == 0:
        registers.dispi(pc, interface.BANK, frame.dx)
        return SUPPORTED if registers.dispi_value(pc, interface.BANK) == frame.dx else FAILED
    frame.dx = registers.dispi_value(pc, interface.BANK)
    return SUPPORTED


def _line_length(bios: Bios, frame: Frame) -> int:
    """4F06h: BL=0 sets CX pixels, 2 bytes a line, 1 gets, 3 the most; BX bytes, CX pixels, DX lines."""
    pc = bios.pc
    mode = _current(pc)
    if mode is None or frame.bl > 3:
        return FAILED
    stored = interface.BITS_STORED[mode.bits]
    if frame.bl == 0:
        registers.dispi(pc, interface.VIRTUAL_WIDTH, frame.cx)
    elif frame.bl == 2:
        registers.dispi(pc, interface.VIRTUAL_WIDTH, frame.cx * 8 // stored)
    pixels = registers.dispi_value(pc, interface.VIRTUAL_WIDTH)
    line = pixels * stored // 8
    frame.bx, frame.cx = line, pixels
    frame.dx = min(registers_memory(pc) // line, 0xFFFF) if line else 0
    return SUPPORTED


def _start(bios: Bios, frame: Frame) -> int:
    """4F07h: BL=0 or 80h shows from pixel CX of line DX on, 1 gets that."""
    pc = bios.pc
    if _current(pc) is None:
        return FAILED
    if frame.bl & 0x7F == 0:
        registers.dispi(pc, interface.X_OFFSET, frame.cx)
        registers.dispi(pc, interface.Y_OFFSET, frame.dx)
        return SUPPORTED
    if frame.bl != 1:
        return FAILED
    frame.bh = 0
    frame.cx = registers.dispi_value(pc, interface.X_OFFSET)
    frame.dx = registers.dispi_value(pc, interface.Y_OFFSET)
    return SUPPORTED


def _dac_width(bios: Bios, frame: Frame) -> int:
    """4F08h: BL=0 sets BH bits a colour, 1 gets them."""
    pc = bios.pc
    enable = registers.dispi_value(pc, interface.ENABLE)
    if frame.bl == 0:
        wanted = interface.DAC_8_BITS if frame.bh >= 8 else 0
        registers.dispi(pc, interface.ENABLE, enable & ~interface.DAC_8_BITS | wanted | interface.KEEP_MEMORY)
        enable = registers.dispi_value(pc, interface.ENABLE)
    elif frame.bl != 1:
        return FAILED
    frame.bh = 8 if enable & interface.DAC_8_BITS else 6
    return SUPPORTED


def _colours(bios: Bios, frame: Frame) -> int:
    """4F09h: BL=0 or 80h sets, 1 gets CX colours from DX on, at ES:DI: blue, green, red, nothing."""
    pc, at = bios.pc, linear(frame.es, frame.di)
    first, count = frame.dx & 0xFF, min(frame.cx, 256 - (frame.dx & 0xFF))
    if frame.bl & 0x7F == 0:
        data = pc.read(at, 4 * count)
        registers.set_colours(pc, first, b"".join(data[n : n + 3][::-1] for n in range(0, len(data), 4)))
    elif frame.bl == 1:
        data = registers.colours(pc, first, count)
        pc.write(at, b"".join(data[n : n + 3][::-1] + b"\0" for n in range(0, len(data), 3)))
    else:
        return FAILED
    return SUPPORTED


def _monitor(bios: Bios, frame: Frame) -> int:
    """4F15h (VBE/DDC): BL=0 what is there, 1 the block of 128 bytes to ES:DI."""
    if frame.bl == 0:
        frame.bx = 0x0103
        return SUPPORTED
    if frame.bl == 1 and frame.dx == 0:
        bios.pc.write(linear(frame.es, frame.di), edid())
        return SUPPORTED
    return FAILED


FUNCTIONS = {
    0x00: _information,
    0x01: _mode_information,
    0x02: _set_mode,
    0x03: _get_mode,
    0x05: _bank,
    0x06: _line_length,
    0x07: _start,
    0x08: _dac_width,
    0x09: _colours,
    0x15: _monitor,
}
