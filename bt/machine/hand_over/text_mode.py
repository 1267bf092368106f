"""The screen as a VGA BIOS leaves it: mode 3, 25 lines of 80 characters of 9 by 16 dots, and nothing there."""

from __future__ import annotations

from bt.devices.display.registers import FIRST_PORT, VgaRegisters
from bt.devices.display.vga import Vga
from bt.firmware.builtin.video.glyphs import CHARACTERS, font

# Mode 3, 80 columns and 25 lines of 9 by 16: IBM PS/2 Hardware Interface Technical Reference (84F9808), "Video".
SEQUENCER = bytes.fromhex("0300030002")
CRTC = bytes.fromhex("5f4f50825581bf1f004f0d0e000000a09c8e8f281f96b9a3ff")
GRAPHICS = bytes.fromhex("0000000000100e0fff")
ATTRIBUTES = bytes.fromhex("000102030405140738393a3b3c3d3e3f0c000f0800")
MISCELLANEOUS = 0x67
SHOW = 0x20  # of the attribute index
COLOURS = 64

COLUMNS, ROWS, HEIGHT = 80, 25, 16  # characters, and dots of one
GLYPH_ROOM = 32  # bytes that each has in the map of fonts
PLAIN_CELLS = 0x4000  # that a mode set fills: all that odd/even addressing reaches
BLANK, GREY_ON_BLACK = b" ", b"\x07"
TEXT_MAP, ATTRIBUTE_MAP, FONT_MAP = 0, 1, 2


def set_text_mode(vga: Vga) -> None:
    _set_registers(vga.registers)
    memory = vga.memory
    memory.put_map(TEXT_MAP, 0, BLANK * PLAIN_CELLS)
    memory.put_map(ATTRIBUTE_MAP, 0, GREY_ON_BLACK * PLAIN_CELLS)
    glyphs = font(HEIGHT)
    padding = bytes(GLYPH_ROOM - HEIGHT)
    rows = (glyphs[HEIGHT * c : HEIGHT * (c + 1)] for c in range(CHARACTERS))
    memory.put_map(FONT_MAP, 0, padding.join(rows) + padding)


def _set_registers(registers: VgaRegisters) -> None:
    """Past the bus, which would take as long again."""

    def write(port: int, value: int) -> None:
        registers.write(port - FIRST_PORT, 1, value)

    def write_all(port: int, values: bytes) -> None:
        for index, value in enumerate(values):
            write(port, index)
            write(port + 1, value)

    write(0x3C2, MISCELLANEOUS)
    write_all(0x3C4, SEQUENCER)
    write_all(0x3CE, GRAPHICS)
    write(0x3D4, 0x11)
    write(0x3D5, 0)  # unlocks the first eight registers
    write_all(0x3D4, CRTC)
    registers.read(0x3DA - FIRST_PORT, 1)  # an index is the next that 3C0h gets
    for index, value in enumerate(ATTRIBUTES):
        write(0x3C0, index)
        write(0x3C0, value)
    write(0x3C0, SHOW)
    write(0x3C8, 0)
    for colour in range(COLOURS):  # two bits each of red, green, blue: the lower one in bits 5:3
        for bit in (2, 1, 0):
            write(0x3C9, 0x2A * (colour >> bit & 1) + 0x15 * (colour >> bit + 3 & 1))
