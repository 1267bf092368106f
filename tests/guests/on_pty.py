"""A session's VM that is `bt run` as a person has it: a process on a terminal, by which COM1 speaks."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MOMENT_SECONDS = 0.1
READ_BYTES = 65536


class OnPty:
    """`bt run` with a pseudo-terminal for its own. Whoever looks at the screen or presses keys needs another VM."""

    tsc_mhz = 1000.0

    def __init__(self, arguments: Sequence[str]) -> None:
        self.serial = bytearray()
        self._terminal, theirs = os.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bt.cli.main", "run", *arguments, "-no-reboot"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=lambda: os.login_tty(theirs),
        )
        os.close(theirs)

    def go_on(self) -> None:
        if select.select([self._terminal], [], [], MOMENT_SECONDS)[0]:
            self._receive()

    def send(self, data: bytes) -> None:
        os.write(self._terminal, data)

    def screen(self) -> list[str]:
        return []

    def press(self, key: str) -> None:
        raise NotImplementedError(f"{key}: a terminal has no keyboard but its own")

    def screenshot(self, path: Path) -> None:
        raise NotImplementedError(f"{path}: a terminal has no screen but its own")

    def status(self) -> int | None:
        return self._process.poll()

    def kill(self) -> None:
        """End it as nobody can prepare for."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self.kill()
        os.close(self._terminal)

    def _receive(self) -> None:
        try:
            self.serial += os.read(self._terminal, READ_BYTES)
        except OSError:  # EIO: nobody has it open on the other side any more
            self._process.wait()
