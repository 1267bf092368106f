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
    lines += [(name.replace("_", " "), f"{number:,}") for name, number in result.statistics.items()]
    return lines
