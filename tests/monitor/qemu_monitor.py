"""QEMU's own monitor, asked the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

PROGRAM = "qemu-system-i386"


class QemuMonitor:
    """A running QEMU with its machine protocol on a pair of pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._answers = process.stdin, process.stdout
        self._answers.readline()
        self._command("qmp_capabilities", {})

    def execute(self, line: str) -> str:
        """What QEMU's monitor says to a line, with line feeds alone."""
        return self._command("human-monitor-command", {"command-line": line}).replace("\r\n", "\n")

    def _command(self, name: str, arguments: dict[str, str]) -> str:
        self._to.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self._to.flush()
        while True:
            answer = json.loads(self._answers.readline())
            if "return" in answer:
                return str(answer["return"])
            assert "error" not in answer, answer


@contextmanager
def qemu(arguments: Sequence[str]) -> Iterator[QemuMonitor]:
    """While the block lasts. Skips the test where QEMU is not installed."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    command = [PROGRAM, *arguments, "-display", "none", "-serial", "none", "-net", "none", "-qmp", "stdio"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield QemuMonitor(process)
    finally:
        process.kill()
        process.wait()
