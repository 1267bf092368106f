"""A real terminal for tests: tmux, whose screen can be read; `bt` runs on it as a person would start it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TMUX = shutil.which("tmux")
needs_tmux = pytest.mark.skipif(TMUX is None, reason="tmux is not installed: tests/install-debian.sh")
PATIENCE_SECONDS = 60.0


class Tmux:
    """A terminal of a server of its own. `with` ends it."""

    def __init__(self, scratch: Path, columns: int = 80, rows: int = 30) -> None:
        self._socket = scratch / f"tmux-{uuid.uuid4().hex[:8]}"
        self.scratch = scratch
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "exec bash --norc --noprofile")
        self._tmux("set-option", "-g", "status", "off")
        self.resize(columns, rows)
        self.run("PS1='$ '; clear; stty -g > before")

    def __enter__(self) -> Tmux:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(subprocess.CalledProcessError):  # a server whose last terminal has gone has gone, too
            self._tmux("kill-server")

    def hang_up(self) -> None:
        """The terminal goes away."""
        self._tmux("kill-pane")

    def run(self, line: str) -> None:
        """Have the shell execute a line."""
        self.type(f"cd {shlex.quote(str(self.scratch))}; {line}\n")

    def bt(self, *arguments: str) -> None:
        """Start bt; afterwards its status and what it left of the terminal's mode are on the screen and in `after`."""
        self.python("-m", "bt.cli.main", *arguments)

    def python(self, *arguments: str) -> None:
        """The same with a program of one's own."""
        self.run(f"clear; {shlex.join([sys.executable, *arguments])}; status=$?; stty -g > after; echo status=$status")

    def type(self, text: str) -> None:
        """Characters, as they are."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by the names that tmux has for them: Up, F1, C-a, M-x."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> list[str]:
        """Its lines."""
        return self._tmux("capture-pane", "-p").split("\n")

    def coloured(self) -> str:
        """Its text with sequences for colours."""
        return self._tmux("capture-pane", "-p", "-e")

    def has(self, name: str) -> str:
        """What tmux calls #{name}: cursor_x, alternate_on."""
        return self._tmux("display-message", "-p", f"#{{{name}}}").strip()

    def wait(self, pattern: str, seconds: float = PATIENCE_SECONDS) -> re.Match[str]:
        """Until the text on the screen matches."""
        found = self.until(lambda: re.search(pattern, "\n".join(self.screen()), re.MULTILINE), seconds)
        assert found is not None, f"{pattern!r} is not on the screen:\n" + "\n".join(self.screen())
        return found

    def until(self, condition: Callable[[], re.Match[str] | None], seconds: float) -> re.Match[str] | None:
        deadline = time.monotonic() + seconds
        while (found := condition()) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def child(self) -> int:
        """The process id of what the shell has started."""
        shell = self.has("pane_pid")
        children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[-1])

    def is_as_before(self) -> bool:
        """The terminal's mode is what it was before bt ran."""
        return (self.scratch / "before").read_text() == (self.scratch / "after").read_text()

    def _tmux(self, *arguments: str) -> str:
        assert TMUX is not None
        command = [TMUX, "-S", str(self._socket), "-f", "/dev/null", *arguments]
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm-256color", **_passed_on()}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def _passed_on() -> dict[str, str]:
    """Where bt keeps its library, for whoever says so, and where bt itself is."""
    return {name: os.environ[name] for name in ("BT_CACHE_DIR", "HOME") if name in os.environ} | {
        "PYTHONPATH": str(ROOT)
    }
