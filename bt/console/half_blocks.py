"""A graphics mode on a terminal: two pixels a character, the upper half block in one colour on another."""

from __future__ import annotations

from functools import partial

from bt.console.text_screen import CLEAR, HIDE_CURSOR, PLAIN
from bt.devices.display.render import Image

UPPER_HALF = "▀"
LEVELS = (0, 95, 135, 175, 215, 255)  # of each colour in the 6 x 6 x 6 cube of terminals with 256 colours
Line = list[bytes]
"""Of a row of characters: the colours of each, red, green and blue of the upper pixel and then of the lower."""


class BlockPainter:
    """Keeps a terminal showing an image, as large as fits; it has the terminal to itself."""

    def __init__(self, true_colour: bool) -> None:
        """`true_colour`: the terminal has 24 bits a colour, not 256 colours."""
        self._colour = _true_colour if true_colour else _of_256
        self._shown: list[Line] | None = None

    def forget(self) -> None:
        """The terminal shows something else now."""
        self._shown = None

    def paint(self, image: Image, columns: int, rows: int) -> bytes:
        """What makes a terminal of that size show it."""
        wanted = scaled(image, columns, rows)
        before, output = self._shown, bytearray()
        if before is None or [len(line) for line in before] != [len(line) for line in wanted]:
            output += CLEAR
            before = [[b""] * len(line) for line in wanted]
        for row, (old, new) in enumerate(zip(before, wanted, strict=True)):
            if old != new:
                differ = [n for n in range(len(new)) if old[n] != new[n]]
                first, last = differ[0], differ[-1] + 1
                output += b"\x1b[%d;%dH" % (row + 1, first + 1) + self.line(new[first:last])
        self._shown = wanted
        return HIDE_CURSOR + bytes(output)

    def text(self, image: Image, columns: int, rows: int) -> bytes:
        """The same as lines of text."""
        return b"".join(self.line(cells) + b"\r\n" for cells in scaled(image, columns, rows))

    def line(self, cells: Line) -> bytes:
        """Characters with these colours."""
        output, colours = [], b""
        for cell in cells:
            if cell != colours:
                colours = cell
                output.append(f"\x1b[38;{self._colour(cell[:3])};48;{self._colour(cell[3:])}m")
            output.append(UPPER_HALF)
        return "".join(output).encode() + PLAIN


def scaled(image: Image, columns: int, rows: int) -> list[Line]:
    """As rows of characters: as large as fits, pixels about square, each the mean of four places in what it covers."""
    scale = min(columns / image.width, 2 * rows / image.height)
    width, height = max(1, int(image.width * scale)), max(2, int(image.height * scale) & ~1)
    lefts, rights = _places(image.width, width)
    uppers, lowers = _places(image.height, height)
    pixels = [_pixels(image, upper, lower, lefts, rights) for upper, lower in zip(uppers, lowers, strict=True)]
    return [
        [top + bottom for top, bottom in zip(above, below, strict=True)]
        for above, below in zip(pixels[::2], pixels[1::2], strict=True)
    ]


def _places(length: int, parts: int) -> tuple[list[int], list[int]]:
    """A quarter and three quarters into each of equal parts."""
    return [(4 * n + 1) * length // (4 * parts) for n in range(parts)], [
        (4 * n + 3) * length // (4 * parts) for n in range(parts)
    ]


def _pixels(image: Image, upper: int, lower: int, lefts: list[int], rights: list[int]) -> list[bytes]:
    line = 3 * image.width
    above, below = (image.rgb[y * line : (y + 1) * line] for y in (upper, lower))
    if above == below and above == above[:3] * image.width:
        return [above[:3]] * len(lefts)
    found = []
    for left, right in zip(lefts, rights, strict=True):
        a, b = 3 * left, 3 * right
        found.append(bytes(above[a + n] + above[b + n] + below[a + n] + below[b + n] >> 2 for n in range(3)))
    return found


def _true_colour(rgb: bytes) -> str:
    return f"2;{rgb[0]};{rgb[1]};{rgb[2]}"


def _of_256(rgb: bytes) -> str:
    """The nearest of the cube."""
    red, green, blue = (LEVELS.index(min(LEVELS, key=partial(_distance, part))) for part in rgb)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def _distance(a: int, b: int) -> int:
    return abs(a - b)
