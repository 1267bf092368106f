"""Where the beam is: what a CRT controller's registers make of the time."""

from typing import NamedTuple

from bt.clock.virtual_clock import NS_PER_SECOND
from bt.devices.display.vga_native import DISPLAY_DISABLED, VERTICAL_RETRACE

DOT_CLOCKS_HZ = (25_175_000, 28_322_000, 25_175_000, 25_175_000)  # miscellaneous output bits 3:2; no feature connector


class Raster(NamedTuple):
    """A frame in dots and lines (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem", CRTC)."""

    dot_hz: int
    dots: int  # of a line, retrace included
    dots_shown: int
    lines: int
    lines_shown: int
    retrace_start: int  # line
    retrace_lines: int

    @classmethod
    def of(cls, crtc: bytes | bytearray, clocking_mode: int, miscellaneous: int) -> "Raster":
        character = 8 if clocking_mode & 1 else 9  # dots
        overflow = crtc[0x07]
        total = crtc[0x06] | (overflow & 1) << 8 | (overflow & 0x20) << 4
        start = crtc[0x10] | (overflow & 4) << 6 | (overflow & 0x80) << 2
        return cls(
            DOT_CLOCKS_HZ[miscellaneous >> 2 & 3] >> (clocking_mode >> 3 & 1),
            (crtc[0x00] + 5) * character,
            (crtc[0x01] + 1) * character,
            total + 2,
            vertical_display_end(crtc) + 1,
            start,
            (crtc[0x11] - start) & 0x0F or 16,
        )

    def status(self, now_ns: int) -> int:
        """DISPLAY_DISABLED and VERTICAL_RETRACE as they are at `now_ns`."""
        line, dot = divmod(now_ns * self.dot_hz // NS_PER_SECOND % (self.dots * self.lines), self.dots)
        status = DISPLAY_DISABLED if line >= self.lines_shown or dot >= self.dots_shown else 0
        if (line - self.retrace_start) % self.lines < self.retrace_lines:
            status |= VERTICAL_RETRACE
        return status

    def frame(self, now_ns: int) -> int:
        """Whole frames so far: what blinks counts them."""
        return now_ns * self.dot_hz // NS_PER_SECOND // (self.dots * self.lines)


def vertical_display_end(crtc: bytes | bytearray) -> int:
    """The last line shown."""
    overflow = crtc[0x07]
    return crtc[0x12] | (overflow & 2) << 7 | (overflow & 0x40) << 3
