"""A character device that is a file."""

from __future__ import annotations

import os

from bt.chardev.chardev import Chardev


class File(Chardev):
    """What is written goes there; the file is emptied first, unless it is appended to."""

    takes = frozenset({"path", "appends"})

    def open(self) -> None:
        how = os.O_APPEND if self.choices.get("appends") else os.O_TRUNC
        try:
            self._fd = os.open(self.choices["path"], os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o666)
        except OSError as error:
            raise self.refuse(error.strerror) from error
        self._held.callback(os.close, self._fd)

    def write(self, data: bytes) -> None:
        """A full disk is an OSError that ends the run."""
        while data:
            data = data[os.write(self._fd, data) :]
