"""Standard input and output as a character device."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from bt.chardev.chardev import READ_BYTES, Chardev, Ended, Opened, Received
from bt.chardev.waiter import Waiter


class Stdio(Chardev):
    """There is one in a process. The end of standard input ends what comes, and nothing else.

    How a terminal there behaves is the business of who owns it (bt/console/terminal.py).
    """

    sends = True

    def open(self) -> None:
        if sys.stdout is None:  # bt was started so
            flag = self.option.partition(" ")[0]
            raise self.refuse(f"standard output is closed; give {flag} null or file:PATH")
        fd = sys.stdout.fileno()
        self.write_to(lambda data: write_all(fd, data))

    def write_to(self, put: Callable[[bytes], None]) -> None:
        """From now on `put` gets what is written."""
        self._put = put

    def write(self, data: bytes) -> None:
        """Waits for who reads it, as any program does."""
        self._put(data)

    def listen(self, waiter: Waiter, received: Received, ended: Ended, opened: Opened) -> None:
        opened()
        fd = standard_input()
        if fd is None:
            ended()
            return

        def read() -> None:
            try:
                data = os.read(fd, READ_BYTES)
            except OSError:  # a terminal that has gone away: the same as the end
                data = b""
            if data:
                received(data)
            else:
                waiter.forget(fd)
                ended()

        waiter.watch(fd, read)
        self._held.callback(waiter.forget, fd)


def standard_input() -> int | None:
    """Its descriptor, if there is one that we may read."""
    try:
        fd = sys.stdin.fileno() if sys.stdin is not None else -1
        # a job in the background that touches its terminal is stopped by the kernel
        is_ours = fd >= 0 and not (os.isatty(fd) and os.tcgetpgrp(fd) != os.getpgrp())
    except (OSError, ValueError):  # closed
        return None
    return fd if is_ours else None


def write_all(fd: int, data: bytes) -> None:
    """As often as it takes."""
    while data:
        data = data[os.write(fd, data) :]
