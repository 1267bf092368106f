"""The report as one HTML file that needs nothing else and reads well on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from bt.bench import figures, translation
from bt.bench.charts import Bars, speed_chart
from bt.bench.schema import Measurement, Report, WorkloadResult
from bt.errors import BadUsage

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fafaf8; margin: 0 auto; max-width: 46rem;
       padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem .25rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid #e4e4de; }
th { font-weight: 600; white-space: normal; max-width: 6rem; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; max-width: 34rem; height: auto; display: block; }
.note { color: #666; font-size: .85rem; } small { color: #777; }
td b { font-size: 1.15rem; } td small { line-height: 1.1; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .85rem; }
dt { color: #666; } dd { margin: 0; }
"""
METHOD = """Each run is a fresh process. Its cost is the CPU time of the process, all threads, less that of the same
process with nothing to do (n=0), so that starting up costs nobody anything here. The contenders take turns, all with
the same amount of work, and must give the same answers. Times are medians; ratios are formed round by round and given
as median and (least..most)."""
_PER_MILLION = "In a million guest instructions, by kind."
KIND_TITLES = {
    "compute": "Computing",
    "fp": "Floating point and SIMD",
    "compute64": "64-bit code",
    "nano": "One hard thing at a time",
}


def write(report: Report, path: Path) -> None:
    """Write the page. BadUsage if the file cannot be written."""
    try:
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise BadUsage(f"--html {path}: {error.strerror}") from error


def page(report: Report) -> str:
    """The whole page."""
    body = "\n".join(_body(report))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>bt {escape(report.version)}: benchmark</title><style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def _body(report: Report) -> Iterator[str]:
    yield f"<h1>bt {escape(report.version)} against its peers</h1>"
    yield f'<p class="note">{escape(report.started)} · {escape(report.host.get("processor", ""))}</p>'
    yield from _headlines(report)
    for kind, results in figures.kinds(report).items():
        yield f"<h2>{escape(KIND_TITLES.get(kind, kind))}</h2>"
        yield from _charts(report, results)
    yield "<h2>Cost of the same work</h2>"
    yield '<p class="note">Median CPU seconds; below, nanoseconds an operation.</p>'
    yield _table(["guest", *report.contenders], (_cost_row(report, result) for result in report.workloads))
    yield from _instruction_rates(report)
    yield from _translation(report)
    yield from _exits(report)
    if report.failures:
        yield "<h2>What failed</h2>"
        yield "<ul>" + "".join(f"<li>{escape(failure)}</li>" for failure in report.failures) + "</ul>"
    yield "<h2>How this was measured</h2>"
    yield f"<p>{METHOD}</p>"
    facts = {**report.contenders, **report.host, "rounds": str(report.rounds)}
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    yield f"<dl>{items}</dl>"


def _headlines(report: Report) -> Iterator[str]:
    """The geometric means."""
    kinds = figures.kinds(report)
    rows = []
    for subject, other in figures.comparisons(report):
        means = [figures.geometric_mean(results, subject, other) for results in kinds.values()]
        if any(means):
            rows.append([f"{escape(subject)} / {escape(other)}", *(_headline(mean) for mean in means)])
    if rows:
        yield '<p class="note">So many times as fast, geometric means.</p>'
        yield _table(["", *(f"{escape(kind)} guests" for kind in kinds)], rows)


def _headline(mean: figures.Ratio | None) -> str:
    if mean is None:
        return ""
    return f"<b>{figures.figure(mean.median)}</b><br><small>{mean.spread}</small>"


def _charts(report: Report, results: list[WorkloadResult]) -> Iterator[str]:
    for subject, other in figures.comparisons(report):
        ratios = [(r.label, found) for r in results if (found := figures.ratio(r, subject, other)) is not None]
        mean = figures.geometric_mean(results, subject, other)
        if mean is not None:
            yield f"<h3>{escape(subject)}: times as fast as {escape(other)}</h3>"
            yield speed_chart(Bars(ratios, mean))


def _cost_row(report: Report, result: WorkloadResult) -> list[str]:
    cells = []
    for name in report.contenders:
        if name in result.measurements:
            seconds = figures.figure(figures.cost(result.measurements[name]))
            cells.append(f"{seconds}<br><small>{figures.figure(figures.ns_per_op(result, name))}</small>")
        else:
            cells.append("")
    return [f"{escape(result.label)}<br><small>{escape(result.ops_unit)}</small>", *cells]


def _instruction_rates(report: Report) -> Iterator[str]:
    engines = [name for name in figures.SUBJECTS if name in report.contenders]
    if not engines:
        return
    yield "<h2>Guest instructions a second</h2>"
    rows = []
    for result in report.workloads:
        rates = []
        for name in engines:
            measured = result.measurements[name]
            cost = figures.cost(measured)
            known = measured.instructions is not None and cost > figures.SHORTEST_SECONDS
            rates.append(figures.figure((measured.instructions or 0) / cost / 1e6) if known else "")
        rows.append([escape(result.label), *rates])
    yield _table(["guest", *(f"{name}, million" for name in engines)], rows)


def _translation(report: Report) -> Iterator[str]:
    measured = [
        (result.label, result.measurements["bt"].statistics)
        for result in report.workloads
        if "bt" in result.measurements and translation.was_translated(result.measurements["bt"])
    ]
    if not measured:
        return
    columns = [c for c in translation.COLUMNS if any(c.value(counters) is not None for _, counters in measured)]
    yield "<h2>What translation costs</h2>"
    explained = "; ".join(f"{column.heading}: {column.explanation}" for column in columns)
    yield f'<p class="note">{escape(explained[0].upper() + explained[1:])}.</p>'
    headings = [f"{escape(column.heading)}<br><small>{escape(column.unit)}</small>" for column in columns]
    rows = []
    for label, counters in measured:
        values = (column.value(counters) for column in columns)
        rows.append([escape(label), *("" if value is None else figures.figure(value) for value in values)])
    yield _table(["guest", *headings], rows)


def _exits(report: Report) -> Iterator[str]:
    """Where the time went, what the tiers did, and how often each engine left generated code for Python."""
    for title, note, name, rates in (
        (
            "Where the time goes",
            "Percent of the wall time of one run that keeps accounts.",
            "bt",
            translation.time_shares,
        ),
        ("Tier 2", "", "bt", _tier_2),
        ("Ways out of units", _PER_MILLION, "bt", translation.ways_out_per_million),
        ("Callouts of translated code", _PER_MILLION, "bt", translation.callouts_per_million),
        *((f"Exits to Python, {name}", _PER_MILLION, name, translation.exits_per_million) for name in figures.SUBJECTS),
    ):
        found = {r.label: rates(r.measurements[name]) for r in report.workloads if name in r.measurements}
        kinds = list(dict.fromkeys(kind for row in found.values() for kind in row))
        if kinds:
            yield f"<h2>{title}</h2>"
            yield f'<p class="note">{note}</p>' if note else ""
            rows = (
                [escape(label), *(figures.figure(row[kind]) if kind in row else "" for kind in kinds)]
                for label, row in found.items()
            )
            yield _table(["guest", *map(escape, kinds)], rows)


def _tier_2(measurement: Measurement) -> dict[str, float]:
    share = translation.in_tier_2(measurement)
    return {} if share is None else {"% of instructions": share, **translation.promotions(measurement)}


def _table(headings: list[str], rows: Iterable[list[str]]) -> str:
    """An HTML table of cells that are HTML already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
