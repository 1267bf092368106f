"""The report's charts, as SVG text that goes into the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bt.bench.figures import Ratio, figure

WIDTH_INCHES = 4.6  # readable on a phone without zooming
BAR_INCHES = 0.26
LOG_FROM = 12  # a greater span between bars gets a logarithmic axis
PAGE = "#fafaf8"
FASTER, SLOWER, MEAN = "#2f7f79", "#b5533c", "#333333"


@dataclass(frozen=True)
class Bars:
    """Ratios by label, and their geometric mean."""

    ratios: Sequence[tuple[str, Ratio]]
    mean: Ratio


def speed_chart(bars: Bars) -> str:
    """Horizontal bars with their spread, a line at 1 and a dashed one at the geometric mean."""
    # text stays text: it can be searched and takes the page's font
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "bt", "font.family": "sans-serif", "font.size": 9}):
        drawing = Figure(figsize=(WIDTH_INCHES, 0.75 + BAR_INCHES * len(bars.ratios)))
        axes = drawing.add_subplot()
        values = [ratio.median for _, ratio in bars.ratios]
        least, most = min([1.0, *(r.least for _, r in bars.ratios)]), max([1.0, *(r.most for _, r in bars.ratios)])
        logarithmic = most / least > LOG_FROM
        if logarithmic:
            axes.set_xscale("log")
            axes.set_xlim(least / 2, most * 2.6)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_xlim(0, most * 1.22)
        places = range(len(values))
        spread = [
            [ratio.median - ratio.least for _, ratio in bars.ratios],
            [ratio.most - ratio.median for _, ratio in bars.ratios],
        ]
        axes.barh(
            places,
            [value - 1 for value in values] if logarithmic else values,
            left=1 if logarithmic else 0,
            height=0.66,
            color=[FASTER if value >= 1 else SLOWER for value in values],
        )
        axes.errorbar(values, places, xerr=spread, fmt="none", ecolor="#777777", elinewidth=1, capsize=2)
        for place, (_, ratio) in zip(places, bars.ratios, strict=True):
            at = max(ratio.most, 1) if logarithmic else ratio.most
            behind = {"facecolor": PAGE, "edgecolor": "none", "pad": 0.8}  # else the dashed line strikes it out
            label = figure(ratio.median)
            axes.annotate(label, (at, place), (4, 0), textcoords="offset points", va="center", bbox=behind, zorder=5)
        axes.axvline(1, color=MEAN, linewidth=0.8)
        axes.axvline(bars.mean.median, color=MEAN, linewidth=1, linestyle="--")
        axes.annotate(
            f"geometric mean {figure(bars.mean.median)}",
            (bars.mean.median, 1),
            (0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            annotation_clip=False,
        )
        axes.set_yticks(list(places), [label for label, _ in bars.ratios])
        axes.invert_yaxis()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        drawing.tight_layout(pad=0.6)
        return _svg(drawing)


def _svg(drawing: Figure) -> str:
    """The <svg> element alone, without the XML head, scaling with the page."""
    file = io.StringIO()
    drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
