"""What a benchmark run is, in memory and as JSON. Everything measured is kept; what is derived is in figures.py.

How a time is defined: a *run* is a fresh process that runs one guest. Its cost is the CPU time (user and system, all
threads, children included) of that process minus that of an *empty run*, the same process with the guest told to do
nothing (n=0), made just before. So nobody pays here for starting up: Python, loading the library, QEMU's firmware. The
work (n) is the same for all contenders of a comparison.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bt.errors import BadUsage

SCHEMA = "bt.bench/1"


@dataclass(frozen=True)
class Run:
    """One run and the empty run that belongs to it; seconds of the host."""

    cpu_seconds: float
    wall_seconds: float
    empty_cpu_seconds: float
    empty_wall_seconds: float

    @property
    def cost(self) -> float:
        """CPU seconds for the work alone."""
        return self.cpu_seconds - self.empty_cpu_seconds


@dataclass(frozen=True)
class Measurement:
    """All runs of one workload by one contender. Instructions, exits and statistics are known of our engines only.

    `instructions` are those of the work alone, `exits` and `statistics` those of one whole run. `time_account`: what
    took how many seconds of wall time in one run more, that is no measurement.
    """

    runs: tuple[Run, ...]
    instructions: int | None = None
    exits: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, int] = field(default_factory=dict)
    time_account: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkloadResult:
    """A guest with its options, how much it did (`ops`, of `ops_unit`), and what that cost whom."""

    label: str
    guest: str
    kind: str
    append: str
    ops_unit: str
    ops: int
    measurements: dict[str, Measurement]


@dataclass(frozen=True)
class Report:
    """One invocation of the benchmark."""

    version: str
    started: str  # ISO 8601, UTC
    host: dict[str, str]
    contenders: dict[str, str]  # name: version
    rounds: int
    target_seconds: float
    workloads: tuple[WorkloadResult, ...]
    failures: tuple[str, ...] = ()  # workloads that are missing, and why

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self)}


def save(report: Report, path: Path, summary: dict[str, Any]) -> None:
    """Write the report, with the figures derived from it under "summary" for those who read it without bt."""
    try:
        path.write_text(json.dumps({**report.to_json(), "summary": summary}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"{path}: {error.strerror}") from error


def load(path: Path) -> Report:
    """A report saved before. BadUsage if the file is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise BadUsage(f"{path}: schema {record['schema']}, this is bt with {SCHEMA}; measure again")
        return _report(record)
    except OSError as error:
        raise BadUsage(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadUsage(f"{path}: not a report of bt bench ({error!r})") from error


def _report(record: dict[str, Any]) -> Report:
    workloads = tuple(
        WorkloadResult(
            **{
                **workload,
                "measurements": {
                    name: Measurement(**{**each, "runs": tuple(Run(**run) for run in each["runs"])})
                    for name, each in workload["measurements"].items()
                },
            }
        )
        for workload in record["workloads"]
    )
    rest = {key: value for key, value in record.items() if key not in ("schema", "summary", "workloads", "failures")}
    return Report(workloads=workloads, failures=tuple(record["failures"]), **rest)
