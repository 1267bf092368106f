"""A word to people who do not see what the guest shows, for guests whose serial port is silent."""

from __future__ import annotations

from bt.console.text_screen import look
from bt.devices.display.vga import Vga

HINT = "the guest draws on its screen and says nothing on its serial port: --display terminal shows the screen"


def hint(vga: Vga) -> str:
    """The line, if something is on the screen; else nothing."""
    text = look(vga)
    is_drawn_on = vga.dispi.enabled if text is None else not text.is_blank
    return HINT if is_drawn_on else ""
