"""What the display shows, as text and as a picture; nothing is drawn unless somebody asks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bt.devices.display import render
from bt.devices.display.vga import Vga
from bt.errors import BadUsage

if TYPE_CHECKING:
    from PIL import Image

# what code page 437 shows for codes that are control characters elsewhere
_SYMBOLS = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_GLYPHS = dict(enumerate(_SYMBOLS)) | {0x7F: "⌂"}


class Screen:
    """The VGA's picture between two instructions."""

    def __init__(self, vga: Vga) -> None:
        self._vga = vga

    def text(self) -> list[str]:
        """The lines of a text mode from the top, without blanks at their ends; none in other modes."""
        screen = render.text(self._vga)
        if screen is None:
            return []
        return [characters.decode("cp437").translate(_GLYPHS).rstrip() for characters, _ in screen.rows]

    @property
    def is_text(self) -> bool:
        """Whether a text mode is on, and the screen."""
        return render.text(self._vga) is not None

    @property
    def cursor(self) -> tuple[int, int] | None:
        """Row and column of the cursor, from 0; None if it is off or there is none."""
        screen = render.text(self._vga)
        return None if screen is None else screen.cursor

    def pixels(self) -> render.Image:
        """Width, height and three bytes a pixel: red, green, blue, lines from the top."""
        return render.image(self._vga)

    def image(self) -> Image.Image:
        """The picture for Pillow. BadUsage where Pillow is not installed."""
        try:
            from PIL import Image  # 36 ms
        except ImportError:
            raise BadUsage("pictures need Pillow: pip install pillow; or save it as .ppm") from None
        width, height, rgb = self.pixels()
        return Image.frombytes("RGB", (width, height), rgb)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file: PPM by its suffix .ppm or without one, else what Pillow makes of the suffix.

        BadUsage where it cannot be written, and for suffixes that there are not.
        """
        target = Path(path)
        try:
            if target.suffix in ("", ".ppm"):
                width, height, rgb = self.pixels()
                target.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + rgb)
            else:
                self.image().save(target)
        except OSError as error:
            raise BadUsage(f"{target}: {error.strerror or error}") from error
        except ValueError as error:
            raise BadUsage(f"{target}: {error}") from error
