"""`-d ITEMS -D FILE`: where the log of a guest goes (bt/inspect/log.py says what is in it)."""

from __future__ import annotations

import sys
from pathlib import Path

from bt.errors import BadUsage
from bt.inspect.log import GuestLog
from bt.machine import Machine


def attach(machine: Machine, items: str, path: str | None) -> None:
    """From now on log what a machine does to a file, or stderr. Raises BadUsage."""
    if path is None:
        GuestLog(machine, items.split(","), sys.stderr.write)
        return
    try:
        file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  # closed when bt ends
    except OSError as error:
        raise BadUsage(f"-D {path}: {error.strerror}") from error
    GuestLog(machine, items.split(","), file.write)
