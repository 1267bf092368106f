"""Writing to an end that may be slow or away: the machine does not wait for it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from bt.chardev.waiter import Waiter

MOST_WAITING = 64 << 10  # bytes; of more the oldest are lost


class Outlet:
    """Writes to a descriptor that does not block, and keeps what it does not take until it does."""

    def __init__(self, fd: int, waiter: Waiter) -> None:
        self._fd, self._waiter = fd, waiter
        self._lock = threading.Lock()
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """From any thread. An end that has gone takes everything."""
        with self._lock:
            is_waiting = bool(self._waiting)
            self._waiting += data
            if is_waiting:
                del self._waiting[:-MOST_WAITING]
            else:
                self._flush()

    def flush(self) -> None:
        """Once more."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except BlockingIOError:
            self._waiter.when_writable(self._fd, self.flush)
        except OSError:
            self._waiting.clear()

    def finish(self) -> None:
        """It is about to be closed: what can still be written at once is."""
        with self._lock, suppress(OSError):
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
