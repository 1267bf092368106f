"""A text screen of the VGA on a terminal: what has changed, as ANSI sequences (ECMA-48, XTerm Control Sequences)."""

from __future__ import annotations

from typing import NamedTuple

from bt.devices.display import registers as vga
from bt.devices.display.render import TextScreen, text
from bt.devices.display.vga import Vga

# What a PC's character ROM has where cp437 has controls; the codec has the rest.
LOW_GLYPHS = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
GLYPHS = LOW_GLYPHS + bytes(range(0x20, 0x7F)).decode("ascii") + "⌂" + bytes(range(0x80, 0xFF)).decode("cp437") + " "
ANSI = (0, 4, 2, 6, 1, 5, 3, 7)  # blue, green, red are bits 0, 1, 2 there, and 2, 1, 0 here
BRIGHT, BACKGROUND, BLINK = 0x08, 0x70, 0x80  # of an attribute
BLOCK, UNDERLINE = 1, 3  # shapes of DECSCUSR, blinking
HIDE_CURSOR, SHOW_CURSOR, CLEAR, PLAIN = b"\x1b[?25l", b"\x1b[?25h", b"\x1b[0m\x1b[2J", b"\x1b[0m"


class TextPicture(NamedTuple):
    """A text screen and how it looks. `blinks`: bit 7 of attributes is blinking, not a bright background."""

    rows: tuple[tuple[bytes, bytes], ...]
    cursor: tuple[int, int] | None
    blinks: bool
    cursor_shape: int

    @property
    def is_blank(self) -> bool:
        return not any(characters.strip(b"\0 \xff") for characters, _ in self.rows)

    def lines(self) -> list[str]:
        """Its text, without blank lines at its end."""
        shown = "\n".join(decoded(characters).rstrip() for characters, _ in self.rows).rstrip()
        return shown.split("\n") if shown else []


def decoded(characters: bytes) -> str:
    return "".join(GLYPHS[character] for character in characters)


def look(device: Vga) -> TextPicture | None:
    """What a text mode shows; None in other modes, and while the screen is off."""
    screen: TextScreen | None = text(device)
    if screen is None:
        return None
    crtc = device.registers.crtc
    height, first, last = crtc[0x09] & 0x1F, crtc[0x0A] & 0x1F, crtc[0x0B] & 0x1F
    cursor = screen.cursor if first <= last else None
    blinks = bool(device.registers.attributes[vga.ATTRIBUTE_MODE] & vga.ATTRIBUTE_BLINK)
    shape = BLOCK if 2 * (last - first + 1) > height + 1 else UNDERLINE
    return TextPicture(tuple(screen.rows), cursor, blinks, shape)


class TextPainter:
    """Keeps a terminal showing a text screen; it has the terminal to itself."""

    def __init__(self) -> None:
        self._shown: list[tuple[bytes, bytes]] | None = None  # None: anything
        self._size = self._origin = (0, 0)
        self._blinks = False
        self._shape = 0

    def forget(self) -> None:
        """The terminal shows something else now."""
        self._shown = None

    def paint(self, picture: TextPicture, columns: int, rows: int) -> bytes:
        """What makes a terminal of that size show it, or of a larger picture the part with the cursor."""
        self._origin = origin = _origin(picture, columns, rows, self._origin)
        top, left = origin
        wanted = [
            (characters[left : left + columns], attributes[left : left + columns])
            for characters, attributes in picture.rows[top : top + rows]
        ]
        output = bytearray()
        before = self._shown
        if (
            before is None
            or (columns, rows) != self._size
            or picture.blinks != self._blinks
            or ([len(line[0]) for line in before] != [len(line[0]) for line in wanted])
        ):
            output += CLEAR
            before = [(b"", b"")] * len(wanted)
            self._shape = 0
        for row, (old, new) in enumerate(zip(before, wanted, strict=True)):
            if old != new:
                output += _change(row, old, new, picture.blinks)
        self._shown, self._size, self._blinks = wanted, (columns, rows), picture.blinks
        if output:
            output[:0] = HIDE_CURSOR
        return bytes(output + self._cursor(picture, origin))

    def _cursor(self, picture: TextPicture, origin: tuple[int, int]) -> bytes:
        if picture.cursor is None:
            return HIDE_CURSOR
        output = b""
        if picture.cursor_shape != self._shape:
            self._shape = picture.cursor_shape
            output = b"\x1b[%d q" % self._shape
        row, column = (place - first for place, first in zip(picture.cursor, origin, strict=True))
        return output + b"\x1b[%d;%dH" % (row + 1, column + 1) + SHOW_CURSOR


def _origin(picture: TextPicture, columns: int, rows: int, before: tuple[int, int]) -> tuple[int, int]:
    """The first row and column to be shown: as before, if the cursor is then in sight."""
    height, width = len(picture.rows), len(picture.rows[0][0]) if picture.rows else 0
    origin = []
    cursor = picture.cursor or before
    for whole, room, place, first in zip((height, width), (rows, columns), cursor, before, strict=True):
        first = max(place - room + 1, min(first, place))
        origin.append(max(0, min(first, whole - room)))
    return origin[0], origin[1]


def _change(row: int, old: tuple[bytes, bytes], new: tuple[bytes, bytes], blinks: bool) -> bytes:
    """From the first to the last cell that differs."""
    characters, attributes = new
    first, last = 0, len(characters)
    if old[0]:
        differ = [n for n in range(last) if old[0][n] != characters[n] or old[1][n] != attributes[n]]
        first, last = differ[0], differ[-1] + 1
    output = [f"\x1b[{row + 1};{first + 1}H"]
    colours = -1
    for character, attribute in zip(characters[first:last], attributes[first:last], strict=True):
        if attribute != colours:
            colours = attribute
            output.append(_rendition(attribute, blinks))
        output.append(GLYPHS[character])
    return "".join(output).encode() + PLAIN


def _rendition(attribute: int, blinks: bool) -> str:
    """Select Graphic Rendition for an attribute of colour text."""
    foreground = (90 if attribute & BRIGHT else 30) + ANSI[attribute & 7]
    is_bright = attribute & BLINK and not blinks
    background = (100 if is_bright else 40) + ANSI[attribute >> 4 & 7]
    blink = ";5" if attribute & BLINK and blinks else ""
    return f"\x1b[0;{foreground};{background}{blink}m"
