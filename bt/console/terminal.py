"""The terminal that bt was started on: taken, and given back as it was however bt ends."""

from __future__ import annotations

import os
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from bt.chardev.stdio import standard_input, write_all

ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"  # the alternate screen: the normal one stays as it is
ORDINARY = b"\x1b[0m\x1b[0 q\x1b[?25h"  # colours, shape of the cursor, cursor shown
MOST_HELD = 64 << 10  # bytes for the normal screen that are kept while the other one is shown
PATIENCE_SECONDS = 0.2  # with a terminal that takes nothing, on the way out
DEFAULT_SIZE = (80, 25)

_Mode = list[Any]  # as termios has it


class Terminal:
    """Input and output of one terminal, in raw mode while it is `taken`: each key is the guest's, Ctrl-C included.

    It shows two things in turn: text on the normal screen (`write`: serial port, monitor) and, on the alternate screen,
    what a display draws (`draw`). Text that comes while the display is shown is kept for later. Any thread may call any
    method; what is called from signal handlers waits for nobody.
    """

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self._input, self._output = input_fd, output_fd
        self._before: _Mode = termios.tcgetattr(input_fd)
        self._lock = threading.RLock()
        self._is_taken = self._is_drawing = False
        self._wants_drawing = False
        self._held = bytearray()
        self.redraw: Callable[[], None] = _nothing  # what was drawn has gone, or there is another size
        self.last_words: Callable[[], bytes] = _no_words  # left on the normal screen after the display

    @classmethod
    def ours(cls, output_fd: int) -> Terminal | None:
        """The one on standard input, if there is one and it is ours to read."""
        fd = standard_input()
        return cls(fd, output_fd) if fd is not None and os.isatty(fd) else None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            size = os.get_terminal_size(self._output)
        except OSError:
            return DEFAULT_SIZE
        return (size.columns, size.lines) if size.columns and size.lines else DEFAULT_SIZE

    @property
    def has_true_colour(self) -> bool:
        """Whether it says that it has 24 bits a colour."""
        return os.environ.get("COLORTERM", "") in ("truecolor", "24bit")

    @property
    def is_drawing(self) -> bool:
        """Whether the display is shown."""
        return self._is_drawing

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While the block lasts it is ours, but for while the process is stopped (SIGTSTP)."""
        with self._job_control():
            self._take()
            try:
                yield
            finally:
                self.give_back()

    def give_back(self) -> None:
        """Put it right, for good. From signal handlers, too, even with another thread stuck in a write."""
        self._let_go(with_last_words=True)
        self._wants_drawing = False

    def _let_go(self, *, with_last_words: bool) -> None:
        has_lock = self._lock.acquire(timeout=PATIENCE_SECONDS)
        try:
            self._show_normal(self.last_words() if with_last_words and self._is_drawing else b"")
            if self._is_taken:
                self._is_taken = False
                _set_mode(self._input, termios.TCSANOW, self._before)
        finally:
            if has_lock:
                self._lock.release()

    # -- what it shows ------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Text on the normal screen, at once or when it is shown again; of much text the last."""
        with self._lock:
            if not self._is_drawing:
                write_all(self._output, data)
                return
            self._held += data
            del self._held[:-MOST_HELD]

    def draw(self, data: bytes) -> None:
        """On the alternate screen; nothing while that is not shown."""
        with self._lock:
            if self._is_drawing:
                write_all(self._output, data)

    def show_display(self) -> None:
        """Turn to the alternate screen."""
        with self._lock:
            self._wants_drawing = True
            if self._is_taken and not self._is_drawing:
                write_all(self._output, ENTER_SCREEN)
                self._is_drawing = True
                self.redraw()

    def show_text(self) -> None:
        """Turn to the normal screen, and write what has come for it."""
        with self._lock:
            self._wants_drawing = False
            self._show_normal(b"")

    def _show_normal(self, last_words: bytes) -> None:
        if not self._is_drawing:
            return
        self._is_drawing = False
        if select.select([], [self._output], [], PATIENCE_SECONDS)[1]:
            with suppress(OSError):  # a terminal that has gone away
                write_all(self._output, ORDINARY + LEAVE_SCREEN + bytes(self._held) + last_words)
            self._held.clear()

    # -- stopping and going on ----------------------------------------------------------------------------------------

    def _take(self) -> None:
        with self._lock:
            if not _is_foreground(self._input):
                return  # SIGCONT comes once more when it is
            self._is_taken = True
            _set_mode(self._input, termios.TCSADRAIN, _raw(self._before))
            if self._wants_drawing:
                self.show_display()

    @contextmanager
    def _job_control(self) -> Iterator[None]:
        """SIGTSTP finds the terminal as it was; only a process's main thread hears of it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signal.SIGTSTP: self._stop, signal.SIGCONT: self._go_on}
        previous = {number: signal.getsignal(number) for number in handlers}
        try:
            for number, handler in handlers.items():
                if previous[number] is signal.SIG_DFL:
                    signal.signal(number, handler)
            yield
        finally:
            for number, before in previous.items():
                signal.signal(number, before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._let_go(with_last_words=False)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # the process stops here
        signal.signal(number, self._stop)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        with self._lock:
            self._is_drawing = False  # after SIGSTOP nobody had put it right
            self._take()


def _is_foreground(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


def _set_mode(fd: int, when: int, mode: _Mode) -> None:
    """tcsetattr, but for a terminal that has gone away, or is another job's: that would stop us."""
    with suppress(OSError, termios.error):
        if _is_foreground(fd):
            termios.tcsetattr(fd, when, mode)


def _raw(before: _Mode) -> _Mode:
    """No echo, no line editing, no signals by keys; Enter is CR as on a terminal's wire. Output is left alone."""
    mode = [*before[:6], [*before[6]]]
    mode[0] &= ~(termios.ISTRIP | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    return mode


def _nothing() -> None:
    pass


def _no_words() -> bytes:
    return b""
