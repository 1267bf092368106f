"""Medians, ratios and means against numbers worked out by hand."""

from __future__ import annotations

import pytest

from bt.bench import figures, report, translation
from bt.bench.schema import Measurement, Report, Run, WorkloadResult


def measurement(
    *costs: float,
    instructions: int | None = None,
    exits: dict[str, int] | None = None,
    statistics: dict[str, int] | None = None,
) -> Measurement:
    """Runs of these costs, behind a start of 0.25 s."""
    runs = tuple(Run(0.25 + cost, 1.0, 0.25, 0.5) for cost in costs)
    return Measurement(runs, instructions, exits or {}, statistics or {})


def workload(label: str, kind: str = "compute", **measurements: Measurement) -> WorkloadResult:
    return WorkloadResult(label, label, kind, "n=1", "ops", 1_000_000, measurements)


SLOW = workload("slow", bt=measurement(1.0, 2.0, 3.0), interp=measurement(4.0, 6.0, 18.0))
FAST = workload("fast", bt=measurement(1.0, 1.0, 1.0), interp=measurement(1.0, 12.0, 6.0), qemu=measurement(2, 2, 2))
NANO = workload("nano-x", "nano", bt=measurement(0.5, 0.5, 0.5), interp=measurement(0.001, 1.0, 1.0))
REPORT = Report(
    "1.0", "2026-01-01T00:00:00+00:00", {"processor": "<x&y>"}, {"bt": "1", "interp": "1", "qemu": "7"}, 3, 1.0,
    (SLOW, FAST, NANO),
)  # fmt: skip


def test_cost_leaves_out_the_start() -> None:
    assert figures.cost(SLOW.measurements["bt"]) == pytest.approx(2.0)
    assert figures.ns_per_op(SLOW, "bt") == pytest.approx(2000)


def test_ratio_is_formed_round_by_round() -> None:
    found = figures.ratio(SLOW, "bt", "interp")  # 4, 3, 6
    assert found is not None
    assert (found.median, found.least, found.most) == pytest.approx((4, 3, 6))


def test_geometric_mean_of_those_that_both_did() -> None:
    found = figures.geometric_mean([SLOW, FAST], "bt", "interp")  # rounds: sqrt(4 * 1), sqrt(3 * 12), sqrt(6 * 6)
    assert found is not None
    assert (found.median, found.least, found.most) == pytest.approx((6, 2, 6))
    alone = figures.geometric_mean([SLOW, FAST], "bt", "qemu")
    assert alone is not None
    assert alone.median == pytest.approx(2)


def test_no_ratio_of_what_is_too_short_to_tell() -> None:
    assert figures.ratio(NANO, "bt", "interp") is None


def test_each_pair_is_compared_once() -> None:
    assert figures.comparisons(REPORT) == [("bt", "interp"), ("bt", "qemu"), ("interp", "qemu")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (0.5, "0.500"),
        (1, "1.00"),
        (9.996, "10.00"),
        (12.34, "12.3"),
        (12345.6, "12,346"),
    ],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figures.figure(value) == text


def test_what_the_counters_do_not_tell_is_left_out() -> None:
    known = measurement(
        1.0, statistics={"translated_insns": 200, "identity": 50, "host_bytes": 9000}, instructions=4_000_000
    )
    values = {column.heading: column.value(known.statistics) for column in translation.COLUMNS}
    assert (values["identity"], values["size"], values["cost"]) == (25.0, 45.0, None)
    assert translation.was_translated(known)
    assert not translation.was_translated(measurement(1.0))
    assert translation.exits_per_million(measurement(1.0, exits={"io": 8}, instructions=4_000_000)) == {"io": 2.0}


def test_page_is_self_contained() -> None:
    pytest.importorskip("matplotlib")
    page = report.page(REPORT)
    assert page.count("<svg") == 3  # one for each pair that computed; of the nano guest nothing can be told
    assert "&lt;x&amp;y&gt;" in page
    assert "<x&y>" not in page
    for outside in ("src=", "<link", "<script", "@import"):
        assert outside not in page
