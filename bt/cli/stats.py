"""What a run cost, as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from bt.machine import Result
from bt.machine.accounts import Served

SHOWN = 12  # of the exits for devices: those that took longest
_DEVICES = ("io", "mmio")


def show(result: Result) -> None:
    """Print the tables on stderr: stdout belongs to the guest."""
    console = Console(stderr=True)
    for lines in (rows(result), where_time_went(result), devices(result.served)):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column()
        for line in lines:
            while len(table.columns) < len(line):
                table.add_column(justify="right")
            table.add_row(*line)
        console.print(table)


def rows(result: Result) -> list[tuple[str, str]]:
    """Name and value of each line."""
    rate = result.instructions / result.seconds / 1e6 if result.seconds else 0.0
    lines = [
        ("ended by", result.reason),
        ("instructions", f"{result.instructions:,}"),
        ("time", f"{result.seconds:.3f} s"),
        ("CPU time", f"{result.cpu_seconds:.3f} s"),
        ("rate", f"{rate:.1f} million instructions/s"),
    ]
    lines += [(f"exits: {kind}", f"{number:,}") for kind, number in sorted(result.exits.items())]
    lines += [(f"callouts: {name}", f"{number:,}") for name, number in result.callouts.items()]
    lines += [(name.replace("_", " "), f"{number:,}") for name, number in result.statistics.items()]
    if result.refused:
        lines.append(("no tier 2", result.refused))
    return lines + shares(result.statistics)


# name, part, whole: what the counters mean to people
_SHARES = (
    ("identity share of translated instructions", ("identity",), ("translated_insns",)),
    ("chain rate of direct exits", ("chains",), ("exits",)),
    ("return prediction rate", ("return_hits",), ("return_hits", "branch_lookups")),
    ("branch cache misses", ("branch_misses",), ("branch_lookups",)),
)


def shares(statistics: dict[str, int]) -> list[tuple[str, str]]:
    """The translator's counters as percentages; none where they do not exist."""
    lines = []
    for name, parts, wholes in _SHARES:
        whole = sum(statistics.get(key, 0) for key in wholes)
        if whole:
            lines.append((name, f"{sum(statistics.get(key, 0) for key in parts) / whole:.1%}"))
    if statistics.get("translated_insns"):
        host = statistics["host_bytes"] + statistics["cold_bytes"]
        lines.append(("host bytes a guest instruction", f"{host / statistics['translated_insns']:.1f}"))
    return lines


def where_time_went(result: Result) -> list[tuple[str, ...]]:
    """The parts of the time, in seconds and of the whole; those of the engine where it tells them apart (bt)."""
    whole = sum(part for _, part in result.time_account)
    lines = [(f"  {name}", f"{part:.3f} s", f"{part / whole:.1%}") for name, part in result.time_account]
    return [("time in", "", ""), *lines] if lines else []


def devices(served: Iterable[Served]) -> list[tuple[str, ...]]:
    """The accesses that left the guest, those that took longest."""
    lines: list[tuple[str, ...]] = [("exits for devices", "", "times", "time", "each")]
    for each in [each for each in served if each.reason in _DEVICES][:SHOWN]:
        where = "" if each.address is None else f" {each.address:x}h"
        lines.append(
            (
                f"  {each.device}{where}",
                each.access,
                f"{each.times:,}",
                f"{each.seconds:.3f} s",
                f"{each.seconds / each.times * 1e6:.1f} us",
            )
        )
    return lines if len(lines) > 1 else []
