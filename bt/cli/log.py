"""`-d ITEMS -D FILE`: where the log of a guest goes (bt/inspect/log.py says what is in it)."""

from __future__ import annotations

import sys
from pathlib import Path

from bt.cli.qemu.without_effect import LOG_ITEMS
from bt.errors import BadUsage
from bt.inspect.log import ITEMS, GuestLog
from bt.machine import Machine


def attach(machine: Machine, items: str, path: str | None) -> None:
    """From now on log what a machine does to a file, or stderr; QEMU's items that bt has not are noted. BadUsage."""
    wanted = [item for item in items.split(",") if item.partition(":")[0] not in LOG_ITEMS]
    if left_out := [item for item in items.split(",") if item not in wanted]:
        print(f"bt: -d {','.join(left_out)}: bt logs {', '.join(ITEMS)}", file=sys.stderr)
    if path is None:
        GuestLog(machine, wanted, sys.stderr.write)
        return
    try:
        file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  # closed when bt ends
    except OSError as error:
        raise BadUsage(f"-D {path}: {error.strerror}") from error
    GuestLog(machine, wanted, file.write)
