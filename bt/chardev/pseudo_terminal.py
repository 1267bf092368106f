"""A pseudo-terminal as a character device: `screen /dev/pts/7` is at its other end."""

from __future__ import annotations

import os
import sys
import tty

from bt.chardev.chardev import READ_BYTES, Chardev, Ended, Opened, Received
from bt.chardev.outlet import Outlet
from bt.chardev.waiter import Waiter


class PseudoTerminal(Chardev):
    """Its name is said on stderr, in QEMU's words, which tools look for. Programs may come and go at its other end."""

    sends = True

    def open(self) -> None:
        try:
            self._fd, theirs = os.openpty()
        except OSError as error:
            raise self.refuse(error.strerror) from error
        self._held.callback(os.close, self._fd)
        self._held.callback(os.close, theirs)  # open at our end, so that nobody being there is not its end
        tty.setraw(theirs)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(theirs)
        print(f"char device redirected to {self.path} (label {self.name})", file=sys.stderr, flush=True)
        self._outlet: Outlet | None = None

    def listen(self, waiter: Waiter, received: Received, ended: Ended, opened: Opened) -> None:
        self._outlet = Outlet(self._fd, waiter)
        opened()

        def read() -> None:
            data = os.read(self._fd, READ_BYTES)
            if data:
                received(data)

        waiter.watch(self._fd, read)
        self._held.callback(waiter.forget, self._fd)

    def write(self, data: bytes) -> None:
        if self._outlet is not None:
            self._outlet.write(data)
