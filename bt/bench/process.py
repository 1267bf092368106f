"""Runs one process and says what it cost."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from bt.errors import BtError


class MeasurementFailed(BtError):
    """A contender did not do the work, or not the same work as the others."""

    exit_code = 1


@dataclass(frozen=True)
class Outcome:
    """`status` is negative where a signal ended the process; CPU time is user plus system, children included."""

    output: str
    errors: str
    status: int
    cpu_seconds: float
    wall_seconds: float


def run(command: Sequence[str], timeout_seconds: float) -> Outcome:
    """Run a command without input. MeasurementFailed if it does not end in time or cannot be started."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        except OSError as error:
            raise MeasurementFailed(f"{command[0]}: {error.strerror}") from error
        late = threading.Timer(timeout_seconds, process.kill)
        late.start()
        try:
            # not Popen.wait: only wait4 tells what this one child has used
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            late.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        if process.returncode == -signal.SIGKILL and seconds >= timeout_seconds:
            raise MeasurementFailed(f"{' '.join(command)}: not done after {timeout_seconds:.0f} s")
        return Outcome(_text(output), _text(errors), process.returncode, usage.ru_utime + usage.ru_stime, seconds)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
