"""The VGA's modes as numbers for its registers (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem")."""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import NamedTuple


class Kind(Enum):
    """How a character gets into memory."""

    TEXT = "text"
    CGA = "two banks"  # 1 or 2 bits a pixel, odd lines 8 KiB behind even ones
    PLANAR = "planar"
    LINEAR = "a byte a pixel"


class Colours(Enum):
    """What the DAC is filled with."""

    MONOCHROME = "monochrome"
    CGA = "sixteen"
    EGA = "sixty-four"
    VGA = "all"


class Mode(NamedTuple):
    """`columns` and `rows` of characters of `height` lines; `bits` a pixel; memory at `segment`, `page_bytes` a page.

    The registers: miscellaneous output, sequencer 0 to 4, CRT controller, attributes (palette, then 10h to 14h),
    graphics.
    """

    kind: Kind
    columns: int
    rows: int
    height: int
    bits: int
    segment: int
    page_bytes: int
    pages: int
    colours: Colours
    miscellaneous: int
    sequencer: bytes
    crtc: bytes
    attributes: bytes
    graphics: bytes


_hex = bytes.fromhex
TEXT_COLOURS = _hex("000102030405140738393a3b3c3d3e3f")
_LOW_COLOURS = _hex("00010203040506071011121314151617")
_CGA_COLOURS = _hex("00131517020406071011121314151617")
_MONO_TEXT = _hex("00080808080808081018181818181818")
_MONO_GRAPHICS = _hex("00080000181800000008000000180000")

_COLOUR_TEXT = TEXT_COLOURS + _hex("0c000f0800")
_TEXT_GRAPHICS = _hex("0000000000100e0fff")
_PLANAR_GRAPHICS = _hex("000000000000050fff")
_CRTC_200 = "2d2728902b80bf1f00{}0000000000009c8e8f14{}96b9{}ff"
_CRTC_200_WIDE = "5f4f50825480bf1f00{}0000000000009c8e8f28{}96b9{}ff"
_CRTC_350 = _hex("5f4f50825480bf1f004000000000000083855d280f63bae3ff")
_CRTC_480 = _hex("5f4f508254800b3e0040000000000000ea8cdf2800e704e3ff")
# fmt: off
MODES: dict[int, Mode] = {
    0x01: Mode(Kind.TEXT, 40, 25, 16, 4, 0xB800, 0x0800, 8, Colours.EGA, 0x67, _hex("0308030002"),
               _hex("2d2728902ba0bf1f004f0d0e000000009c8e8f141f96b9a3ff"), _COLOUR_TEXT, _TEXT_GRAPHICS),
    0x03: Mode(Kind.TEXT, 80, 25, 16, 4, 0xB800, 0x1000, 8, Colours.EGA, 0x67, _hex("0300030002"),
               _hex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff"), _COLOUR_TEXT, _TEXT_GRAPHICS),
    0x04: Mode(Kind.CGA, 40, 25, 8, 2, 0xB800, 0x4000, 1, Colours.CGA, 0x63, _hex("0309030002"),
               _hex(_CRTC_200.format("c1", "00", "a2")), _CGA_COLOURS + _hex("0100030000"), _hex("0000000000300f0fff")),
    0x06: Mode(Kind.CGA, 80, 25, 8, 1, 0xB800, 0x4000, 1, Colours.CGA, 0x63, _hex("0301010006"),
               _hex(_CRTC_200_WIDE.format("c1", "00", "c2")), b"\0" + b"\x17" * 15 + _hex("0100010000"),
               _hex("0000000000000d0fff")),
    0x07: Mode(Kind.TEXT, 80, 25, 16, 1, 0xB000, 0x1000, 8, Colours.MONOCHROME, 0x66, _hex("0300030002"),
               _hex("5f4f50825581bf1f004f0d0e000000009c8e8f280f96b9a3ff"), _MONO_TEXT + _hex("0e000f0800"),
               _hex("0000000000100a0fff")),
    0x0D: Mode(Kind.PLANAR, 40, 25, 8, 4, 0xA000, 0x2000, 8, Colours.CGA, 0x63, _hex("03090f0006"),
               _hex(_CRTC_200.format("c0", "00", "e3")), _LOW_COLOURS + _hex("01000f0000"), _PLANAR_GRAPHICS),
    0x0E: Mode(Kind.PLANAR, 80, 25, 8, 4, 0xA000, 0x4000, 4, Colours.CGA, 0x63, _hex("03010f0006"),
               _hex(_CRTC_200_WIDE.format("c0", "00", "e3")), _LOW_COLOURS + _hex("01000f0000"), _PLANAR_GRAPHICS),
    0x0F: Mode(Kind.PLANAR, 80, 25, 14, 1, 0xA000, 0x8000, 2, Colours.MONOCHROME, 0xA3, _hex("03010f0006"),
               _CRTC_350, _MONO_GRAPHICS + _hex("0b00050000"), _PLANAR_GRAPHICS),
    0x10: Mode(Kind.PLANAR, 80, 25, 14, 4, 0xA000, 0x8000, 2, Colours.EGA, 0xA3, _hex("03010f0006"),
               _CRTC_350, TEXT_COLOURS + _hex("01000f0000"), _PLANAR_GRAPHICS),
    0x11: Mode(Kind.PLANAR, 80, 30, 16, 1, 0xA000, 0xA000, 1, Colours.EGA, 0xE3, _hex("03010f0006"),
               _CRTC_480, b"\0\x3f" * 8 + _hex("01000f0000"), _PLANAR_GRAPHICS),
    0x12: Mode(Kind.PLANAR, 80, 30, 16, 4, 0xA000, 0xA000, 1, Colours.EGA, 0xE3, _hex("03010f0006"),
               _CRTC_480, TEXT_COLOURS + _hex("01000f0000"), _PLANAR_GRAPHICS),
    0x13: Mode(Kind.LINEAR, 40, 25, 8, 8, 0xA000, 0x2000, 1, Colours.VGA, 0x63, _hex("03010f000e"),
               _hex(_CRTC_200_WIDE.format("41", "40", "a3")), bytes(range(16)) + _hex("41000f0000"),
               _hex("000000000040050fff")),
}
# fmt: on
MODES |= {0x00: MODES[0x01], 0x02: MODES[0x03], 0x05: MODES[0x04]}


@cache
def palette(colours: Colours) -> bytes:
    """Red, green and blue of the 256 colours, six bits each."""
    match colours:
        case Colours.MONOCHROME:
            values = [(level,) * 3 for level in (0x00, 0x2A, 0x2A, 0x3F) * 2 for _ in range(8)]
        case Colours.CGA:
            values = [_sixteen(number & 7 | number >> 1 & 8) for number in range(64)]
        case Colours.EGA:  # two bits each of red, green, blue: the lower one in bits 5:3
            values = [_ega(number) for number in range(64)]
        case Colours.VGA:
            values = [_sixteen(number) for number in range(16)]
            values += [(grey,) * 3 for grey in _hex("0005080b0e1114181c2024282d32383f")]
            values += _hues()
    table = bytes(part for colour in values for part in colour)
    return table.ljust(768, b"\0")


def _ega(number: int) -> tuple[int, int, int]:
    red, green, blue = (0x2A * (number >> bit & 1) + 0x15 * (number >> bit + 3 & 1) for bit in (2, 1, 0))
    return red, green, blue


def _sixteen(number: int) -> tuple[int, int, int]:
    """Of four bits: intensity, red, green, blue; dark yellow is brown."""
    if number == 6:
        return 0x2A, 0x15, 0x00
    light = 0x15 * (number >> 3)
    red, green, blue = (0x2A * (number >> bit & 1) + light for bit in (2, 1, 0))
    return red, green, blue


# five steps from none to all, for three intensities of three saturations each
_LEVELS = (
    "00101f2f3f", "1f272f373f", "2d31363a3f",
    "00070e151c", "0e1115181c", "1416181a1c",
    "0004080c10", "080a0c0e10", "0b0c0d0f10",
)  # fmt: skip


def _hues() -> list[tuple[int, int, int]]:
    """Blue over magenta, red, yellow, green and cyan back to blue, in 24 steps; then nothing."""
    found = []
    for levels in (_hex(each) for each in _LEVELS):
        rise, fall = [levels[n] for n in range(4)], [levels[4 - n] for n in range(4)]
        low, high = [levels[0]] * 4, [levels[4]] * 4
        red = rise + high + high + fall + low + low
        green = low + low + rise + high + high + fall
        blue = high + fall + low + low + rise + high
        found += list(zip(red, green, blue, strict=True))
    return found
