"""What the screen shows: characters and attributes of a text mode, or pixels, made of the VGA's state when asked."""

from functools import cache
from typing import NamedTuple

from bt.devices.display import registers as vga
from bt.devices.display import vga_native
from bt.devices.display.dispi import BITS_STORED
from bt.devices.display.retrace import vertical_display_end
from bt.devices.display.vga import Vga

CURSOR_OFF = 1 << 5  # of the cursor start register
CURSOR_FRAMES, BLINK_FRAMES = 16, 32  # a period, half of it shown
OFFSET, START_HIGH, START_LOW, MAXIMUM_SCAN_LINE, MODE_CONTROL, PRESET_ROW_SCAN = 0x13, 0x0C, 0x0D, 0x09, 0x17, 0x08
LINE_GRAPHICS = frozenset(range(0xC0, 0xE0))  # characters whose ninth dot repeats the eighth
NO_MODE_YET = (640, 480)  # the size of a blank screen before firmware sets a mode, as on QEMU's display
UNDERLINED = (1, 0)  # the attribute's foreground and background, without intensity, in monochrome text


class TextScreen(NamedTuple):
    """`rows` of (characters, attributes), a byte each; `cursor` is (row, column), None if it is off or elsewhere."""

    rows: list[tuple[bytes, bytes]]
    cursor: tuple[int, int] | None


class Image(NamedTuple):
    """`rgb`: three bytes a pixel, lines from the top."""

    width: int
    height: int
    rgb: bytes


def text(device: Vga) -> TextScreen | None:
    """The characters on the screen; None in graphics modes and while the screen is off."""
    registers = device.registers
    if device.dispi.enabled or registers.graphics[vga_native.GRAPHICS_MISC] & vga.MISC_GRAPHICS or _is_off(device):
        return None
    crtc = registers.crtc
    columns, offset = crtc[0x01] + 1, 2 * crtc[OFFSET]
    scan_lines = (crtc[MAXIMUM_SCAN_LINE] & 0x1F) + 1
    lines = vertical_display_end(crtc) + 1
    if crtc[MAXIMUM_SCAN_LINE] & 0x80:
        lines = -(-lines // 2)
    start = _start(crtc)
    cursor_at = crtc[0x0E] << 8 | crtc[0x0F]
    rows: list[tuple[bytes, bytes]] = []
    cursor = None
    for row in range(-(-lines // scan_lines)):
        first = start + row * offset & 0xFFFF
        rows.append((_wrapped(device, 0, first, columns), _wrapped(device, 1, first, columns)))
        if 0 <= cursor_at - first < columns and not crtc[0x0A] & CURSOR_OFF:
            cursor = (row, cursor_at - first)
    return TextScreen(rows, cursor)


def image(device: Vga) -> Image:
    """The pixels on the screen, one for each dot the CRT controller shows; blank while the screen is off."""
    if device.dispi.enabled and device.dispi.bits > 4:
        return _linear_image(device)
    width, height = _dots(device)
    if _is_off(device):
        if not any(device.registers.crtc):
            width, height = NO_MODE_YET
        return Image(width, height, bytes(3 * width * height))
    screen = text(device)
    lines = _graphics_lines(device, height) if screen is None else _text_lines(device, screen, height)
    pixels = b"".join(line[:width].ljust(width, b"\0") for line in lines)
    return Image(width, height, _coloured(pixels, _colours(device)))


def _is_off(device: Vga) -> bool:
    registers = device.registers
    return bool(registers.sequencer[vga.CLOCKING_MODE] & vga.CLOCKING_SCREEN_OFF) or not (
        registers.attribute_index & vga.PALETTE_ADDRESS_SOURCE
    )


def _start(crtc: bytearray) -> int:
    return crtc[START_HIGH] << 8 | crtc[START_LOW]


def _dots(device: Vga) -> tuple[int, int]:
    """Width and height of what is shown, dots of half the clock counted twice."""
    crtc, clocking = device.registers.crtc, device.registers.sequencer[vga.CLOCKING_MODE]
    graphics = device.registers.graphics[vga_native.GRAPHICS_MISC] & vga.MISC_GRAPHICS
    character = 8 if clocking & vga.CLOCKING_8_DOTS or graphics else 9
    twice = 2 if clocking & vga.CLOCKING_HALF and not device.dispi.enabled else 1
    return (crtc[0x01] + 1) * character * twice, vertical_display_end(crtc) + 1


def _wrapped(device: Vga, number: int, first: int, length: int) -> bytes:
    data = device.memory.map_bytes(number, first, length)
    if len(data) < length:
        data += device.memory.map_bytes(number, 0, length - len(data))
    return data


# -- colours --------------------------------------------------------------------------------------------------------


def _colours(device: Vga) -> bytes:
    """256 times red, green, blue: what each pixel value of a VGA mode looks like."""
    registers = device.registers
    attributes, mode = registers.attributes, registers.attributes[vga.ATTRIBUTE_MODE]
    # all planes of text are shown whatever is enabled, as on QEMU's display: firmware made for that enables none
    planes = (
        attributes[vga.COLOUR_PLANES] & 0xF if registers.graphics[vga_native.GRAPHICS_MISC] & vga.MISC_GRAPHICS else 0xF
    )
    direct = registers.graphics[vga_native.GRAPHICS_MODE] & vga.MODE_SHIFT_256
    select = attributes[vga.COLOUR_SELECT]
    colours = bytearray()
    for value in range(256):
        if direct:
            index = value
        else:
            index = attributes[value & planes] | (select & 0b1100) << 4
            if mode & vga.ATTRIBUTE_PALETTE_54:
                index = index & 0xCF | (select & 0b11) << 4
        index &= registers.pel_mask
        colours += registers.palette[3 * index : 3 * index + 3]
    if registers.dac_bits == 8:
        return bytes(colours)
    return bytes(part << 2 | part >> 4 for part in colours)


def _coloured(pixels: bytes, colours: bytes) -> bytes:
    rgb = bytearray(3 * len(pixels))
    for part in range(3):
        rgb[part::3] = pixels.translate(colours[part::3])
    return bytes(rgb)


# -- text -----------------------------------------------------------------------------------------------------------


def _text_lines(device: Vga, screen: TextScreen, height: int) -> list[bytes]:
    registers = device.registers
    crtc, mode = registers.crtc, registers.attributes[vga.ATTRIBUTE_MODE]
    scan_lines = (crtc[MAXIMUM_SCAN_LINE] & 0x1F) + 1
    nine = not registers.sequencer[vga.CLOCKING_MODE] & vga.CLOCKING_8_DOTS
    dots = 9 if nine else 8
    twice = bool(registers.sequencer[vga.CLOCKING_MODE] & vga.CLOCKING_HALF)
    fonts = _fonts(device)
    blinking, hidden = bool(mode & vga.ATTRIBUTE_BLINK), not registers.blinks(BLINK_FRAMES)
    underline = crtc[0x14] & 0x1F if mode & 2 else -1
    runs: dict[tuple[int, int], bytes] = {}  # dots by pattern and attribute: a screen repeats few

    def run(pattern: int, attribute: int, ninth: bool) -> bytes:
        key = pattern << 1 | ninth, attribute
        dots_of = runs.get(key)
        if dots_of is None:
            foreground, background = attribute & 0xF, attribute >> 4
            if blinking:
                background &= 7
                if attribute & 0x80 and hidden:
                    foreground = background
            inks = bytes((background, foreground))
            dots_of = bytes(inks[pattern >> 7 - dot & 1] for dot in range(8))
            if nine:
                dots_of += bytes((inks[pattern & 1 if ninth else 0],))
            runs[key] = dots_of
        return dots_of

    cursor = screen.cursor if registers.blinks(CURSOR_FRAMES) else None
    cursor_lines = range(crtc[0x0A] & 0x1F, (crtc[0x0B] & 0x1F) + 1)
    lines: list[bytes] = []
    for row, (characters, attributes) in enumerate(screen.rows):
        glyphs = [(fonts[attribute >> 3 & 1], 32 * c) for c, attribute in zip(characters, attributes, strict=True)]
        ninths = [bool(mode & vga.ATTRIBUTE_LINE_GRAPHICS) and c in LINE_GRAPHICS for c in characters]
        for scan in range(scan_lines):
            parts = [
                run(0xFF if scan == underline and _is_underlined(attribute) else font[at + scan], attribute, ninth)
                for (font, at), attribute, ninth in zip(glyphs, attributes, ninths, strict=True)
            ]
            if cursor is not None and cursor[0] == row and scan in cursor_lines:
                parts[cursor[1]] = bytes((attributes[cursor[1]] & 0xF,)) * dots
            lines.append(_doubled(b"".join(parts)) if twice else b"".join(parts))
    if crtc[MAXIMUM_SCAN_LINE] & 0x80:
        lines = [line for line in lines for _ in range(2)]
    return lines[:height]


def _is_underlined(attribute: int) -> bool:
    return (attribute & 7, attribute >> 4 & 7) == UNDERLINED


def _fonts(device: Vga) -> tuple[bytes, bytes]:
    """The fonts of attribute bit 3 clear and set, 32 bytes a character."""
    select = device.registers.sequencer[vga.CHARACTER_MAP_SELECT]
    clear, set_ = select & 3 | select >> 2 & 4, select >> 2 & 3 | select >> 3 & 4
    font = device.memory.map_bytes(2, 0, 0x10000)

    def at(number: int) -> bytes:
        start = (number & 3) << 14 | (number & 4) << 11
        return font[start : start + 0x2000]

    return at(clear), at(set_)


def _doubled(line: bytes) -> bytes:
    twice = bytearray(2 * len(line))
    twice[0::2] = twice[1::2] = line
    return bytes(twice)


# -- graphics of the VGA --------------------------------------------------------------------------------------------


@cache
def _spread() -> tuple[int, ...]:
    """A byte's bits as eight bytes of 0 or 1, the highest bit first."""
    return tuple(int.from_bytes(bytes(value >> 7 - n & 1 for n in range(8)), "big") for value in range(256))


@cache
def _spread_pairs() -> tuple[int, ...]:
    """A byte's pairs of bits as four bytes of 0 to 3, the highest first."""
    return tuple(int.from_bytes(bytes(value >> 6 - 2 * n & 3 for n in range(4)), "big") for value in range(256))


def _graphics_lines(device: Vga, height: int) -> list[bytes]:
    registers = device.registers
    crtc, mode = registers.crtc, registers.graphics[vga_native.GRAPHICS_MODE]
    on_dispi = device.dispi.enabled
    memory = bytes(device.buffer) if on_dispi else device.memory.quads()
    addresses = len(memory) // 4
    characters = crtc[0x01] + 1
    scan_lines, doubled = (crtc[MAXIMUM_SCAN_LINE] & 0x1F) + 1, crtc[MAXIMUM_SCAN_LINE] >> 7
    if on_dispi:
        address, offset = device.dispi.start >> 2, device.dispi.line_bytes >> 2
    else:
        address, offset = _start(crtc), 2 * crtc[OFFSET]
    overflow = crtc[0x07]
    line_compare = crtc[0x18] | (overflow & 0x10) << 4 | (crtc[MAXIMUM_SCAN_LINE] & 0x40) << 3
    panning = registers.attributes[vga.PIXEL_PANNING] & 7
    twice = bool(registers.sequencer[vga.CLOCKING_MODE] & vga.CLOCKING_HALF) and not on_dispi
    scan = crtc[PRESET_ROW_SCAN] & 0x1F
    made: dict[tuple[int, int], bytes] = {}
    lines: list[bytes] = []
    repeat = 0
    for number in range(height):
        first = _with_row_scan(crtc, address, scan) % addresses
        line = made.get((first, panning))
        if line is None:
            wanted = 4 * (characters + 1)
            data = memory[4 * first : 4 * first + wanted]
            if len(data) < wanted:
                data += memory[: wanted - len(data)]
            line = _pixels(data, mode)
            if mode & vga.MODE_SHIFT_256:
                line = line[panning & 6 :]
            elif twice:
                line = _doubled(line)[2 * panning :]
            else:
                line = line[panning:]
            made[first, panning] = line
        lines.append(line)
        if number == line_compare:
            address, scan, repeat = 0, 0, 0
            if registers.attributes[vga.ATTRIBUTE_MODE] & vga.ATTRIBUTE_PAN_TOP_ONLY:
                panning = 0
            continue
        repeat += 1
        if repeat > doubled:
            repeat = 0
            scan += 1
            if scan >= scan_lines:
                scan = 0
                address += offset
    return lines


def _with_row_scan(crtc: bytearray, address: int, scan: int) -> int:
    """CGA and Hercules layouts: row scan counter bits 0 and 1 take the place of address bits 13 and 14."""
    control = crtc[MODE_CONTROL]
    if control & 3 == 3:
        return address
    # an address here lacks the bits that word and doubleword addressing put below it
    shift = 0 if control & 0x40 else 1
    if not control & 1:
        bit = 0x2000 >> shift
        address = address & ~bit | (bit if scan & 1 else 0)
    if not control & 2:
        bit = 0x4000 >> shift
        address = address & ~bit | (bit if scan & 2 else 0)
    return address


def _pixels(quads: bytes, mode: int) -> bytes:
    """The dots of a line from the four maps' bytes, as the shift registers put them out."""
    if mode & vga.MODE_SHIFT_256:
        return _doubled(quads)
    if mode & vga.MODE_SHIFT_INTERLEAVED:
        pairs = _spread_pairs()
        return b"".join(
            (pairs[low] | pairs[high] << 2).to_bytes(4, "big")
            for first in range(0, len(quads), 4)
            for low, high in ((quads[first], quads[first + 2]), (quads[first + 1], quads[first + 3]))
        )
    bits = _spread()
    return b"".join(
        (bits[a] | bits[b] << 1 | bits[c] << 2 | bits[d] << 3).to_bytes(8, "big")
        for a, b, c, d in zip(quads[0::4], quads[1::4], quads[2::4], quads[3::4], strict=True)
    )


# -- linear modes ---------------------------------------------------------------------------------------------------

_FIVE = tuple(value << 3 | value >> 2 for value in range(32))
_SIX = tuple(value << 2 | value >> 4 for value in range(64))


def _linear_image(device: Vga) -> Image:
    dispi = device.dispi
    width, height = dispi.size
    bits, line_bytes, start = dispi.bits, dispi.line_bytes, dispi.start
    shown = width * BITS_STORED[bits] // 8
    view = memoryview(device.buffer)
    data = b"".join(view[start + y * line_bytes : start + y * line_bytes + shown] for y in range(height))
    data = data.ljust(shown * height, b"\0")
    if bits == 8:
        return Image(width, height, _coloured(data, _colours(device)))
    rgb = bytearray(3 * width * height)
    if bits in (15, 16):
        low, high = data[0::2], data[1::2]
        red_shift, green_high = (2, 3) if bits == 15 else (3, 7)
        green = _SIX if bits == 16 else _FIVE
        rgb[0::3] = high.translate(bytes(_FIVE[value >> red_shift & 31] for value in range(256)))
        # green is in both bytes; the parts of its value have no bit in common
        above = high.translate(bytes((value & green_high) << 3 for value in range(256)))
        below = low.translate(bytes(value >> 5 for value in range(256)))
        together = int.from_bytes(above, "little") | int.from_bytes(below, "little")
        table = bytes(green[value % len(green)] for value in range(256))
        rgb[1::3] = together.to_bytes(len(low), "little").translate(table)
        rgb[2::3] = low.translate(bytes(_FIVE[value & 31] for value in range(256)))
    else:
        step = bits // 8
        for part in range(3):
            rgb[part::3] = data[2 - part :: step]
    return Image(width, height, bytes(rgb))
