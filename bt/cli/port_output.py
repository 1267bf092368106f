"""What ports of the machine send, on its way to character devices."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LINE_FEED = 0x0A
Post = Callable[[Callable[[], None]], None]  # Machine.post


class Writer:
    """Writes to one character device.

    While the machine runs, what it hands over at a time is written at once before the guest goes on: a write of its own
    for each byte took a hundredth of a Linux boot, and whoever reads was woken for each.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._waiting = bytearray()
        self._post: Post | None = None

    def put(self, data: bytes) -> None:
        if self._post is None:
            self._write(data)
            return
        if not self._waiting:
            self._post(self._flush)
        self._waiting += data

    @contextmanager
    def in_pieces(self, post: Post) -> Iterator[None]:
        """Meanwhile `post` has what is waiting written."""
        self._post = post
        try:
            yield
        finally:
            self._post = None
            self._flush()

    def _flush(self) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        if data:
            self._write(data)


class PortSink:
    """What one port of the machine sends."""

    _BYTES = tuple(bytes((n,)) for n in range(256))

    def __init__(self, writer: Writer) -> None:
        self._put = writer.put
        self.is_silent = True
        self._began: float | None = None  # lines begin with the time since then
        self._is_at_start = True  # of a line

    def send(self, byte: int) -> None:
        """A character from the guest, shown before it goes on: a prompt has no newline at its end."""
        self.is_silent = False
        if self._began is not None and self._is_at_start:
            self._put(_stamp(time.monotonic() - self._began))
        self._is_at_start = byte == _LINE_FEED
        self._put(self._BYTES[byte])

    def toggle_stamps(self) -> None:
        """Have lines begin with a time, or no longer."""
        self._began = time.monotonic() if self._began is None else None


def _stamp(seconds: float) -> bytes:
    """As QEMU shows it: hours, minutes, seconds, thousandths."""
    minutes, rest = divmod(seconds, 60)
    return b"[%02d:%02d:%02d.%03d] " % (minutes // 60, minutes % 60, rest, rest * 1000 % 1000)
