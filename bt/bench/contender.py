"""Those who run the guests: our engines here, others in peers.py. Each run is a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Protocol

from bt import __version__
from bt.bench.workload import Workload
from bt.errors import BtError

MEMORY = "128"  # MiB, for everybody


class Unavailable(BtError):
    """A contender that this host does not have."""


class Contender(Protocol):
    """Somebody who runs workloads."""

    name: str

    def prepare(self, scratch: Path) -> str:
        """Make ready what the runs need, in the directory `scratch`; answers the version. Raises Unavailable."""
        ...

    def can_run(self, workload: Workload) -> bool: ...

    def command(self, workload: Workload, n: int) -> list[str]:
        """The process that does `n` of the workload, prints what the guest prints and exits with its status."""
        ...

    def record(self) -> dict[str, Any]:
        """What the last run says about itself, as `bt run --json` writes it; empty for others."""
        ...


# options of `bt run`, by what the engine is called in reports
ENGINES = {
    "bt": ("--engine", "bt"),
    "tier-1": ("--engine", "bt", "--tier", "1"),
    "interp": ("--engine", "interp"),
}


class OurEngine:
    """One of bt's engines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._record = Path()

    def prepare(self, scratch: Path) -> str:
        self._record = scratch / f"{self.name}.json"
        return f"bt {__version__}"

    def can_run(self, workload: Workload) -> bool:
        return True

    def command(self, workload: Workload, n: int) -> list[str]:
        run = [sys.executable, "-m", "bt.cli.main", "run", workload.image.name, *ENGINES[self.name], "-m", MEMORY]
        return [*run, "-append", workload.append(n), "--json", str(self._record)]

    def accounting(self, workload: Workload, n: int) -> list[str]:
        """The same process, that keeps accounts of its time."""
        return [*self.command(workload, n), "--stats"]

    def record(self) -> dict[str, Any]:
        return dict(json.loads(self._record.read_text(encoding="utf-8")))
