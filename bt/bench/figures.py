"""What the numbers say: medians, ratios with their spread, geometric means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import median
from typing import Any

from bt.bench.contender import ENGINES
from bt.bench.schema import Measurement, Report, WorkloadResult

SHORTEST_SECONDS = 0.005  # below, the cost is noise of starting and ending a process
SUBJECTS = tuple(ENGINES)


@dataclass(frozen=True)
class Ratio:
    """How many times faster the subject is: the median over the rounds, and the least and greatest of them."""

    median: float
    least: float
    most: float

    @property
    def spread(self) -> str:
        """From the least to the greatest."""
        return f"{figure(self.least)}..{figure(self.most)}"


def figure(value: float) -> str:
    """A number with three significant digits, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(log(abs(value), 10) // 1))}f}"


def cost(measurement: Measurement) -> float:
    """Median CPU seconds of the work."""
    return median(run.cost for run in measurement.runs)


def ns_per_op(result: WorkloadResult, contender: str) -> float:
    """CPU nanoseconds for one operation."""
    return cost(result.measurements[contender]) * 1e9 / result.ops


def ratio(result: WorkloadResult, subject: str, other: str) -> Ratio | None:
    """How many times faster `subject` did this workload than `other`, round by round; None if it cannot be told."""
    rounds = _round_ratios(result, subject, other)
    return _summary(rounds) if rounds else None


def geometric_mean(results: Sequence[WorkloadResult], subject: str, other: str) -> Ratio | None:
    """Over those workloads that both did, round by round."""
    both = [rounds for result in results if (rounds := _round_ratios(result, subject, other))]
    if not both:
        return None
    return _summary([exp(sum(map(log, each)) / len(each)) for each in zip(*both, strict=True)])


def comparisons(report: Report) -> list[tuple[str, str]]:
    """Which contender is compared with which: our engines with everybody after them."""
    names = list(report.contenders)
    subjects = [name for name in SUBJECTS if name in names]
    return [(s, o) for at, s in enumerate(subjects) for o in names if o != s and o not in subjects[:at]]


def kinds(report: Report) -> dict[str, list[WorkloadResult]]:
    """Workloads by the kind of their guest."""
    found: dict[str, list[WorkloadResult]] = {}
    for result in report.workloads:
        found.setdefault(result.kind, []).append(result)
    return found


def summary(report: Report) -> dict[str, Any]:
    """The derived figures as JSON."""
    return {
        "cpu_seconds": {
            result.label: {name: cost(each) for name, each in result.measurements.items()}
            for result in report.workloads
        },
        "ratios": [
            {"subject": s, "other": o, "workload": result.label, **vars(found)}
            for s, o in comparisons(report)
            for result in report.workloads
            if (found := ratio(result, s, o)) is not None
        ],
        "geometric_means": [
            {"subject": s, "other": o, "kind": kind, **vars(found)}
            for s, o in comparisons(report)
            for kind, results in kinds(report).items()
            if (found := geometric_mean(results, s, o)) is not None
        ],
    }


def _round_ratios(result: WorkloadResult, subject: str, other: str) -> list[float]:
    if subject not in result.measurements or other not in result.measurements:
        return []
    pairs = zip(result.measurements[subject].runs, result.measurements[other].runs, strict=True)
    costs = [(mine.cost, theirs.cost) for mine, theirs in pairs]
    if min(min(pair) for pair in costs) < SHORTEST_SECONDS:
        return []
    return [theirs / mine for mine, theirs in costs]


def _summary(values: Sequence[float]) -> Ratio:
    return Ratio(median(values), min(values), max(values))
