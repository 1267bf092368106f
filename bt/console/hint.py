"""A word to people who do not see what the guest shows: it draws on its screen, and its serial port is silent."""

from __future__ import annotations

from collections.abc import Callable

from bt.console.text_screen import look
from bt.machine import Machine

CHECK_SECONDS = 1.0
HINT = "the guest draws on its screen and says nothing on its serial port: --display terminal shows the screen"


class Hint:
    """Says so once, unless a serial port has been heard."""

    def __init__(self, machine: Machine, is_silent: Callable[[], bool], say: Callable[[str], None]) -> None:
        self._machine, self._is_silent, self._say = machine, is_silent, say
        self._is_done = False
        self._is_asked = False

    def tick(self) -> None:
        """Now and then, in any thread."""
        if not (self._is_done or self._is_asked) and self._is_silent():
            self._is_asked = True
            self._machine.post(self.check)

    def check(self) -> None:
        """In the guest's thread, or after the run."""
        self._is_asked = False
        if not self._is_done and self._is_silent() and self._is_drawn_on():
            self._is_done = True
            self._say(HINT)

    def _is_drawn_on(self) -> bool:
        vga = self._machine.board.vga
        text = look(vga)
        if text is not None:
            return not text.is_blank
        return vga.dispi.enabled
