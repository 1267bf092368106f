"""Character devices in QEMU's sense: where the bytes of a serial port or a monitor come from and go to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypedDict, Unpack

from bt.chardev.waiter import Waiter
from bt.errors import BadUsage

READ_BYTES = 4096
Received = Callable[[bytes], None]
Ended = Callable[[], None]
Opened = Callable[[], None]


class Choices(TypedDict, total=False):
    """What can be said of a character device: the union of what its kinds take."""

    path: str
    host: str
    port: int
    is_server: bool
    waits: bool
    is_telnet: bool
    appends: bool


class Chardev:
    """Bytes between a machine and its host. A kind is a file here and a row of the table (bt/chardev/kinds.py).

    `open` may raise BadUsage, with nothing left open. `write` may be called from any thread, and does not wait for the
    other end any longer than it says.
    """

    sends = False  # something may come from outside
    takes: frozenset[str] = frozenset()  # which of `Choices` it has

    def __init__(self, option: str, name: str, **choices: Unpack[Choices]) -> None:
        """`option` is what its user has written, "-serial tcp::4444", `name` what QEMU calls it: "serial0"."""
        self.option, self.name = option, name
        self.choices = choices
        self._held = ExitStack()  # what `close` gives back

    def open(self) -> None:
        """Have it ready for `write`."""

    def listen(self, waiter: Waiter, received: Received, ended: Ended, opened: Opened) -> None:
        """Have `waiter` call `received` with what comes; `ended` once nothing will come any more.

        `opened` is called each time that there is somebody who may read and write, from the beginning on.

        Those that send nothing are at their end from the beginning.
        """
        ended()

    def write(self, data: bytes) -> None:
        """Bytes for the outside."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it has open; twice is fine."""
        self._held.close()

    def refuse(self, why: object) -> BadUsage:
        """The error for what cannot be had."""
        return BadUsage(f"{self.option}: {why}")
