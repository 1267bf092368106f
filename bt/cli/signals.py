"""Signals that end bt: it puts right what it has changed, then ends by the same signal, which a shell wants to see."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# Ctrl-C is no such signal: it ends with a status of its own (bt/end.py). Python has SIGPIPE ignored, which makes it an
# error of the write.
ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


class Signalled(BaseException):
    """One of ENDING has arrived; raised wherever the main thread is, as KeyboardInterrupt is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def raised() -> Iterator[None]:
    """While the block lasts, ENDING raise `Signalled`, but for those that bt was started to ignore (nohup)."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise Signalled(number)

    with _handled(lambda previous: on_signal if previous is signal.SIG_DFL else previous):
        yield


@contextmanager
def put_right_by(action: Callable[[], None]) -> Iterator[None]:
    """While the block lasts, ENDING first do `action`, then what they would do without.

    At once, not on the way out: a signal may come again while bt is on its way out.
    """

    def instead(previous: _Handler) -> _Handler:
        if not callable(previous):
            return previous

        def on_signal(number: int, frame: FrameType | None) -> None:
            action()
            previous(number, frame)

        return on_signal

    with _handled(instead):
        yield


def end_by(number: int) -> NoReturn:
    """End the process by a signal."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    signal.raise_signal(number)
    raise AssertionError(f"{signal.Signals(number).name} does not end the process")


_Handler = Callable[[int, FrameType | None], object] | int | None


@contextmanager
def _handled(instead: Callable[[_Handler], _Handler]) -> Iterator[None]:
    """Replace the handlers of ENDING while the block lasts; only a process's main thread has any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in ENDING}
    try:
        for number, handler in previous.items():
            signal.signal(number, instead(handler))
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
