"""Measures workloads under contenders, taking turns, so that a slow minute of the host hits all of them alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bt import __version__
from bt.bench import host
from bt.bench.contender import Contender, OurEngine, Unavailable
from bt.bench.process import MeasurementFailed, Outcome, run
from bt.bench.schema import Measurement, Report, Run, WorkloadResult
from bt.bench.workload import Answer, Workload, answer
from bt.errors import BadUsage

TIMEOUT_SECONDS = 300.0
GROWTH = 8  # of n while looking for one that takes long enough
CERTAIN = 0.25  # of the time wanted: a cost from which n can be extrapolated, well above the noise of starting
MOST_OPS = (1 << 32) - 1  # guests count in 32 bits


@dataclass(frozen=True)
class Settings:
    """`rounds` runs of everything; n is chosen so that the first contender works `target_seconds`."""

    rounds: int = 5
    target_seconds: float = 1.0


Notice = Callable[[str], None]


def measure(
    workloads: Sequence[Workload], contenders: Sequence[Contender], settings: Settings, notice: Notice
) -> Report:
    """Measure everything; `notice` is told what is being done.

    A contender that the host does not have is left out, and `notice` told so. A workload that one of them does not do,
    or with another answer, is among the report's `failures`. BadUsage if nobody is left to measure.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    facts = host.facts()
    with tempfile.TemporaryDirectory(prefix="bt-bench-") as scratch:
        present: dict[str, tuple[Contender, str]] = {}
        for contender in contenders:
            try:
                present[contender.name] = (contender, contender.prepare(Path(scratch)))
            except Unavailable as error:
                notice(f"left out: {error}")
        if not present:
            raise BadUsage("nobody to measure; `bt bench --help` lists engines and peers")
        able = [contender for contender, _ in present.values()]
        results, failures = [], []
        for workload in workloads:
            willing = [each for each in able if each.can_run(workload)]
            try:
                if willing:
                    results.append(_measure_workload(workload, willing, settings, notice))
            except MeasurementFailed as error:  # the other workloads are still worth having
                failures.append(str(error))
                notice(f"failed: {error}")
    return Report(
        __version__,
        started,
        facts,
        {name: version for name, (_, version) in present.items()},
        settings.rounds,
        settings.target_seconds,
        tuple(results),
        tuple(failures),
    )


def _measure_workload(
    workload: Workload, contenders: Sequence[Contender], settings: Settings, notice: Notice
) -> WorkloadResult:
    n = _choose_n(workload, contenders[0], settings.target_seconds, notice)
    runs: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    instructions: dict[str, int | None] = {}
    records: dict[str, dict[str, dict[str, Any]]] = {}
    answers: dict[str, Answer] = {}
    for number in range(settings.rounds):
        for contender in contenders:
            notice(f"{workload.label} n={n}: round {number + 1} of {settings.rounds}, {contender.name}")
            empty, nothing = _run(contender, workload, workload.smallest_n)
            before = contender.record()
            full, answers[contender.name] = _run(contender, workload, n)
            after = contender.record()
            runs[contender.name].append(Run(full.cpu_seconds, full.wall_seconds, empty.cpu_seconds, empty.wall_seconds))
            instructions[contender.name] = after["instructions"] - before["instructions"] if after else None
            records[contender.name] = {kind: after.get(kind, {}) for kind in ("exits", "statistics")}
        _check_same(workload, answers)
    for contender in contenders:
        # the interpreter does not tell its time apart: no run for that
        if isinstance(contender, OurEngine) and "run_cycles" in records[contender.name]["statistics"]:
            run(contender.accounting(workload, n), TIMEOUT_SECONDS)
            records[contender.name]["time_account"] = contender.record()["time_account"]
    measurements = {name: Measurement(tuple(each), instructions[name], **records[name]) for name, each in runs.items()}
    image = workload.image
    ops = answers[contenders[0].name].ops - nothing.ops
    return WorkloadResult(workload.label, image.name, image.kind, workload.append(n), image.ops, ops, measurements)


def _run(contender: Contender, workload: Workload, n: int) -> tuple[Outcome, Answer]:
    outcome = run(contender.command(workload, n), TIMEOUT_SECONDS)
    return outcome, answer(contender.name, workload, outcome)


def _least_seconds(contender: Contender, workload: Workload, n: int) -> tuple[float, Answer]:
    """CPU seconds of the faster of two runs: one disturbed run must not decide how much is measured."""
    (first, done), (second, _) = (_run(contender, workload, n) for _ in range(2))
    return min(first.cpu_seconds, second.cpu_seconds), done


def _choose_n(workload: Workload, contender: Contender, target_seconds: float, notice: Notice) -> int:
    """An n for which `contender` works about `target_seconds`, rounded to two digits."""
    notice(f"{workload.label}: how much work takes {contender.name} {target_seconds:g} s?")
    start, nothing = _least_seconds(contender, workload, workload.smallest_n)
    n = workload.default_n
    while True:
        seconds, done = _least_seconds(contender, workload, n)
        cost = seconds - start
        ops = done.ops - nothing.ops
        if cost >= CERTAIN * target_seconds:
            wanted = n * target_seconds / cost
            break
        if ops * GROWTH > MOST_OPS:
            wanted = float(n)
            break
        n *= GROWTH
    most = n * MOST_OPS / max(ops, 1)
    return max(workload.smallest_n + 1, _two_digits(min(wanted, most)))


def _two_digits(value: float) -> int:
    """Rounded down, so that a bound stays one."""
    whole = int(value)
    unit = int("1".ljust(len(str(whole)) - 1, "0"))
    return whole // unit * unit


def _check_same(workload: Workload, answers: dict[str, Answer]) -> None:
    first, *others = answers.items()
    for name, found in others:
        if found != first[1]:
            raise MeasurementFailed(f"{workload.label}: {first[0]} answers {first[1]}, {name} {found}: one is wrong")
