"""What a run cost, as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bt.machine import Result


def show(result: Result) -> None:
    """Print the table on stderr: stdout belongs to the guest."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows(result):
        table.add_row(name, value)
    Console(stderr=True).print(table)


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
    return lines + shares(result.statistics)


# name, part, whole: what the counters mean to people
_SHARES = (
    ("identity share of translated instructions", ("identity",), ("translated_insns",)),
    ("chain rate of direct exits", ("chains",), ("exits",)),
    ("return prediction rate", ("return_hits",), ("return_hits", "branch_lookups")),
    ("branch cache misses", ("branch_misses",), ("branch_lookups",)),
    ("time in the translator", ("translate_cycles",), ("run_cycles",)),
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
