"""The report as tables for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bt.bench import figures
from bt.bench.schema import Report, WorkloadResult


def show(report: Report, console: Console) -> None:
    """Costs, then for each of our engines how many times faster it is than the others."""
    for each in (costs(report), *comparison_tables(report)):
        console.print(each)
        console.print()


def costs(report: Report) -> Table:
    """CPU time of the work, and of one operation."""
    title = f"CPU seconds for the same work, below ns an operation; median of {report.rounds} rounds"
    table = _table(title, ["guest", *report.contenders])
    for result in report.workloads:
        table.add_row(result.label, *(_cost(result, name) for name in report.contenders))
    return table


def comparison_tables(report: Report) -> list[Table]:
    """One table for each of our engines that can be compared with somebody."""
    tables = []
    for subject in figures.SUBJECTS:
        others = [other for s, other in figures.comparisons(report) if s == subject]
        if not others:
            continue
        table = _table(f"{subject} is so many times as fast as, below least..most", ["guest", *others])
        for results in figures.kinds(report).values():
            for result in results:
                table.add_row(result.label, *(_ratio(figures.ratio(result, subject, other)) for other in others))
            means = (_ratio(figures.geometric_mean(results, subject, other)) for other in others)
            table.add_row("geometric mean", *means, style="bold", end_section=True)
        tables.append(table)
    return tables


def _cost(result: WorkloadResult, contender: str) -> str:
    if contender not in result.measurements:
        return "-"
    seconds = figures.cost(result.measurements[contender])
    return f"{figures.figure(seconds)}\n{figures.figure(figures.ns_per_op(result, contender))}"


def _ratio(ratio: figures.Ratio | None) -> str:
    return "-" if ratio is None else f"{figures.figure(ratio.median)}\n{ratio.spread}"


def _table(title: str, headings: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "guest" else "right", overflow="fold")
    return table
