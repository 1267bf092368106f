"""`bt bench`: what our engines and their peers take for the same work."""

from __future__ import annotations

import importlib.util
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bt.bench import figures, peers, schema, table, workload
from bt.bench.contender import ENGINES, Contender, OurEngine
from bt.bench.runner import Settings, measure
from bt.cli import library, options
from bt.errors import BadUsage

DEFAULT_ENGINES = "bt,interp"
QUICK = Settings(rounds=3, target_seconds=0.2)
EPILOG = """\
GUEST is a compute or nano guest, with options if wanted: sieve:size=16777216. All of them by default.
A time is the CPU time of a process that runs the guest, less that of the same process with nothing to do; work (n)
is the same for everybody and chosen so that the first contender is busy for a second. Medians of the
rounds, and their least..most."""


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    if given.html and importlib.util.find_spec("matplotlib") is None:
        raise BadUsage("--html: the charts need matplotlib; pip install 'bt[bench]'")
    report = schema.load(Path(given.read)) if given.read else _measure(given)
    if given.json:
        schema.save(report, Path(given.json), figures.summary(report))
    if given.html:
        from bt.bench.report import write  # matplotlib takes a second to import

        write(report, Path(given.html))
    table.show(report, Console())
    for failure in report.failures:
        print(f"bt: {failure}", file=sys.stderr)
    return 1 if report.failures else 0


def _parser() -> options.Parser:
    parser = options.Parser("bt bench", "Measure the engines, against each other and against their peers.", EPILOG)
    add = parser.add_argument
    add("guests", metavar="GUEST", nargs="*", help="what to run")
    add("--engines", default=DEFAULT_ENGINES, help=f"of ours: {', '.join(ENGINES)} (default: {DEFAULT_ENGINES})")
    add("--peers", default="", help=f"others: {', '.join(peers.PEERS)}, separated by commas, or all (default: none)")
    add("--runs", metavar="N", type=options.count, help=f"rounds (default {Settings.rounds})")
    add("--seconds", metavar="S", type=options.seconds, help=f"work for so long (default {Settings.target_seconds:g})")
    add("--quick", action="store_true", help=f"{QUICK.rounds} rounds of {QUICK.target_seconds:g} s")
    add("--json", metavar="FILE", help="write everything measured there")
    add("--html", metavar="FILE", help="write a report with charts there")
    add("--read", metavar="FILE", help="measure nothing, show what --json has written")
    return parser


def _measure(given: Namespace) -> schema.Report:
    base = QUICK if given.quick else Settings()
    settings = Settings(given.runs or base.rounds, given.seconds or base.target_seconds)
    contenders = [*_engines(given.engines), *peers.named(given.peers)]
    workloads = workload.select(given.guests)
    library.load()  # so that no run pays for a first compilation
    console = Console(stderr=True)
    if not console.is_terminal:
        return measure(workloads, contenders, settings, lambda text: print(f"bt: {text}", file=sys.stderr, flush=True))
    with console.status("") as status:
        return measure(workloads, contenders, settings, status.update)


def _engines(names: str) -> list[Contender]:
    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if name not in ENGINES:
            raise BadUsage(f"--engines {name}: there are {' and '.join(ENGINES)}")
    return [OurEngine(name) for name in ENGINES if name in wanted]
