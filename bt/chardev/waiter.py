"""One thread that waits for what the outside sends to a machine, and for moments of the host's time."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

Action = Callable[[], None]
CLOSE_SECONDS = 1.0  # that `close` waits for an action that sits in the host


class _Repeated(NamedTuple):
    seconds: float
    action: Action


class Waiter:
    """Actions run in its thread, one after the other; what one raises is handed to `failed`, and it goes on.

    Idle, it costs nothing: it sleeps in poll(2) until a descriptor has something, or an action is due.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._readers: dict[int, Action] = {}
        self._writers: dict[int, Action] = {}
        self._repeated: list[_Repeated] = []
        self._due: list[float] = []  # monotonic seconds, of each of `_repeated`
        self._asked: list[Action] = []
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake_read, select.POLLIN)
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def watch(self, fd: int, readable: Action) -> None:
        """Call `readable` whenever `fd` has something, its end included, until `forget`. From any thread."""
        with self._lock:
            self._readers[fd] = readable
            self._register(fd)

    def when_writable(self, fd: int, action: Action) -> None:
        """Call `action` once, when `fd` takes something again. From any thread."""
        with self._lock:
            self._writers[fd] = action
            self._register(fd)

    def forget(self, fd: int) -> None:
        """Watch it no more. From any thread; a descriptor must be forgotten before it is closed."""
        with self._lock:
            self._readers.pop(fd, None)
            self._writers.pop(fd, None)
            self._register(fd)

    def _register(self, fd: int) -> None:
        events = (select.POLLIN if fd in self._readers else 0) | (select.POLLOUT if fd in self._writers else 0)
        if events:
            self._poll.register(fd, events)
        else:
            with suppress(KeyError):
                self._poll.unregister(fd)
        self._wake()

    def every(self, seconds: float, action: Action) -> None:
        """Call `action` every so often; before `start`."""
        self._repeated.append(_Repeated(seconds, action))
        self._due.append(time.monotonic() + seconds)

    def ask(self, action: Action) -> None:
        """Have the thread do `action` once, soon. From any thread."""
        self._asked.append(action)
        self._wake()

    def start(self) -> None:
        """Begin to wait."""
        self._thread = threading.Thread(target=self._run, name="bt-waiter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, unless it is stuck in the host, which a daemon may be."""
        self._is_closing = True
        os.write(self._wake_write, b"\0")
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)
            if self._thread.is_alive():
                return
        for fd in (self._wake_read, self._wake_write):
            os.close(fd)

    def _wake(self) -> None:
        if self._is_closing:
            return
        with suppress(BlockingIOError):  # full: it is awake
            os.write(self._wake_write, b"\0")

    def _run(self) -> None:
        while not self._is_closing:
            for fd, events in self._poll.poll(self._milliseconds()):
                if fd == self._wake_read:
                    with suppress(BlockingIOError):
                        os.read(self._wake_read, 4096)
                else:
                    self._serve(fd, events)
            while self._asked and not self._is_closing:
                self._do(self._asked.pop(0))
            now = time.monotonic()
            for number, (seconds, action) in enumerate(self._repeated):
                if now >= self._due[number] and not self._is_closing:
                    self._due[number] = now + seconds
                    self._do(action)

    def _serve(self, fd: int, events: int) -> None:
        with self._lock:
            readable = self._readers.get(fd) if events & ~select.POLLOUT else None
            writable = self._writers.pop(fd, None) if events & ~select.POLLIN else None
            if writable is not None:
                self._register(fd)
        for action in (readable, writable):
            if action is not None and not self._is_closing:
                self._do(action)

    def _milliseconds(self) -> float | None:
        """Until something is due, rounded up."""
        return None if not self._due else max(0.0, min(self._due) - time.monotonic()) * 1000 + 1

    def _do(self, action: Action) -> None:
        try:
            action()
        except BaseException as error:
            self._failed(error)
