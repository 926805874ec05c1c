"""Draws the charts of a report as inline SVG: no script, no outside reference, unique ids.

Colours are Okabe and Ito's, told apart by colour-blind readers; lines also differ in dash.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from inspection.core.decision import Band
from inspection.core.gate import GateRow
from inspection.core.records import Interval, Label
from inspection.metrics import image

GOOD, DEFECT, CALIBRATE, BAND, INK, PALE = (
    "#0072b2",
    "#d55e00",
    "#6b7280",
    "#f0b400",
    "#1f2937",
    "#d1d5db",
)
STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, sharp, small
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
LOG_FROM_RATIO = 12  # scores spread wider than this are drawn on a log axis
MANY_POINTS = 1500  # above it scatter points become one picture inside the SVG


@dataclass(frozen=True)
class TestScores:
    """Scores of test parts by class, with the words for what was tested and what judged."""

    good: NDArray[np.float64]  # (n,), shipped graph
    defect: NDArray[np.float64]  # (m,)
    reference_good: NDArray[np.float64]  # (n,), FP32 reference; NaN where it was not asked
    reference_defect: NDArray[np.float64]  # (m,), likewise
    goods: str  # "good parts" or "good parts of calibrate"
    defects: str  # "defects" or "generated defects"
    shipped: str  # precision of the shipped graph: "INT8"


def split_scores(rows: Sequence[GateRow], *, goods: str, defects: str, shipped: str) -> TestScores:
    """Sort the gate's rows into classes."""
    good = [row for row in rows if row.label is Label.GOOD]
    bad = [row for row in rows if row.label is Label.DEFECT]
    return TestScores(
        good=np.array([row.score for row in good]),
        defect=np.array([row.score for row in bad]),
        reference_good=np.array([row.reference_score for row in good], np.float64),
        reference_defect=np.array([row.reference_score for row in bad], np.float64),
        goods=goods,
        defects=defects,
        shipped=shipped,
    )


def draw_histogram(calibrate: Sequence[float], test: TestScores | None, band: Band) -> str:
    """Draw calibrate, good and defect scores above each other on one axis, the band shaded."""
    groups = [("calibrate, good parts", np.asarray(calibrate, np.float64), CALIBRATE)]
    if test is not None:
        groups += [
            (f"judged at the gate, {test.goods}", test.good, GOOD),
            (f"judged at the gate, {test.defects}", test.defect, DEFECT),
        ]
    pooled = np.concatenate([scores for _, scores, _ in groups])
    logarithmic = pooled.min() > 0 and pooled.max() > LOG_FROM_RATIO * pooled.min()
    space = np.geomspace if logarithmic else np.linspace
    low, high = min(pooled.min(), band.review_above), max(pooled.max(), band.reject_above)
    edges = space(low, high if high > low else low + 1, 61)
    with mpl.rc_context(STYLE):
        figure = Figure((11.6, 1.0 + 1.05 * len(groups)), layout="constrained")
        rows = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, scores, colour) in zip(rows, groups, strict=True):
            axes.hist(scores, edges, color=colour)
            _shade_band(axes, band)
            axes.set_ylabel("parts")
            axes.set_title(f"{name}: {len(scores):,}", loc="left", color=colour, fontsize=10)
        if logarithmic:
            rows[-1].set_xscale("log")
        rows[-1].set_xlabel(
            "score (raw distance to normal; larger is worse"
            + ("; log axis)" if logarithmic else ")")
        )
        _name_band(rows[0], band)
        return _svg(figure, "scores")


def draw_roc(test: TestScores, band: Band) -> str:
    """Draw recall over false rejects of both graphs, with the band's two operating points."""
    with mpl.rc_context(STYLE):
        figure = Figure((5.7, 4.1), layout="constrained")
        axes = figure.subplots()
        shipped = image.roc_curve(test.good, test.defect)
        reference = image.roc_curve(*_asked(test))
        axes.plot([0, 100], [0, 100], color=PALE, linewidth=1)
        axes.plot(*_percent(reference.false_reject_rate, reference.recall), "--", color=INK)
        axes.plot(*_percent(shipped.false_reject_rate, shipped.recall), color=GOOD, linewidth=2)
        for threshold, name, marker in _operating_points(band):
            x, y = (test.good > threshold).mean() * 100, (test.defect > threshold).mean() * 100
            axes.plot(x, y, marker, color=DEFECT, markersize=8, clip_on=False, zorder=3, label=name)
        _legend(axes, test, (0.98, 0.05), "lower right")
        axes.set_xlabel("good parts above the threshold, %")
        axes.set_ylabel(f"{test.defects} above the threshold, %")
        axes.set(xlim=(-1, 101), ylim=(0, 102))
        return _svg(figure, "roc")


def draw_precision_recall(test: TestScores, band: Band) -> str:
    """Draw precision over recall of both graphs, with the band's two operating points."""
    with mpl.rc_context(STYLE):
        figure = Figure((5.7, 4.1), layout="constrained")
        axes = figure.subplots()
        shipped = image.precision_recall_curve(test.good, test.defect)
        reference = image.precision_recall_curve(*_asked(test))
        share = 100 * test.defect.size / (test.good.size + test.defect.size)
        axes.axhline(share, color=PALE, linewidth=1)
        axes.text(1, share + 1, f"chance, {share:.0f} % of the test parts", color="#6b7280")
        axes.plot(*_percent(reference.recall, reference.precision), "--", color=INK)
        axes.plot(*_percent(shipped.recall, shipped.precision), color=GOOD, linewidth=2)
        for threshold, name, marker in _operating_points(band):
            hits, extra = (test.defect > threshold).sum(), (test.good > threshold).sum()
            if hits + extra:
                point = 100 * hits / test.defect.size, 100 * hits / (hits + extra)
                axes.plot(*point, marker, color=DEFECT, markersize=8, clip_on=False, label=name)
        _legend(axes, test, (0.02, 0.05), "lower left")
        axes.set_xlabel(f"{test.defects} above the threshold, % (recall)")
        axes.set_ylabel("truly defective among them, % (precision)")
        axes.set(xlim=(0, 101), ylim=(0, 102))
        return _svg(figure, "precision-recall")


def draw_recall(by_defect: Mapping[str, Interval], defects: str) -> str:
    """Draw the share found of each defect type with its 95 % interval, the worst on top."""
    worst_last = sorted(by_defect.items(), key=lambda item: -item[1].value)
    names = [name for name, _ in worst_last]
    values = np.array([[each.value, each.low, each.high] for _, each in worst_last]) * 100
    with mpl.rc_context(STYLE):
        figure = Figure((5.7, 0.9 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        for y, (value, low, high) in enumerate(values):
            axes.plot([low, high], [y, y], color=GOOD, linewidth=5, alpha=0.35)
            axes.plot(value, y, "o", color=GOOD, markersize=7, clip_on=False)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(0, 102), ylim=(-0.6, len(names) - 0.4))
        axes.set_xlabel(f"{defects} above the threshold, % (bar: 95 % interval)")
        axes.grid(axis="x", color=PALE, linewidth=0.6)
        return _svg(figure, "recall")


def draw_scatter(test: TestScores, band: Band, correlation: float) -> str:
    """Draw the shipped graph's score of each part over the reference's, thresholds as lines."""
    with mpl.rc_context(STYLE):
        figure = Figure((5.7, 4.6), layout="constrained")
        axes = figure.subplots()
        groups = (
            (test.reference_good, test.good, GOOD, "o", "good parts"),
            (test.reference_defect, test.defect, DEFECT, "^", test.defects),
        )
        raster = test.good.size + test.defect.size > MANY_POINTS
        for x, y, colour, marker, name in groups:
            axes.scatter(
                x,
                y,
                s=16,
                c=colour,
                marker=marker,
                alpha=0.55,
                linewidths=0,
                label=name,
                rasterized=raster,
            )
        ends = [np.concatenate([each for pair in groups for each in pair[:2]])]
        low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8)
        axes.axhspan(band.review_above, band.reject_above, color=BAND, alpha=0.25, linewidth=0)
        axes.axhline(band.review_above, color=BAND, linewidth=1)
        axes.legend(loc="lower right", frameon=False, title=f"correlation {correlation:.4f}")
        axes.set_xlabel("score of the FP32 reference")
        axes.set_ylabel(f"score of the shipped graph ({test.shipped})")
        return _svg(figure, "scatter")


def _asked(test: TestScores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the reference's scores where it was asked."""
    good, defect = test.reference_good, test.reference_defect
    return good[~np.isnan(good)], defect[~np.isnan(defect)]


def _operating_points(band: Band) -> tuple[tuple[float, str, str], ...]:
    return (
        (band.review_above, "review threshold", "o"),
        (band.reject_above, "reject threshold", "s"),
    )


def _legend(axes: Axes, test: TestScores, anchor: tuple[float, float], corner: str) -> None:
    axes.plot([], [], color=GOOD, linewidth=2, label=f"shipped graph, {test.shipped}")
    axes.plot([], [], "--", color=INK, label="FP32 reference")
    axes.legend(loc=corner, bbox_to_anchor=anchor, frameon=False)


def _percent(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    return 100 * x, 100 * y


def _shade_band(axes: Axes, band: Band) -> None:
    axes.axvspan(band.review_above, band.reject_above, color=BAND, alpha=0.28, linewidth=0)
    axes.axvline(band.review_above, color=INK, linewidth=1, linestyle="--")
    axes.axvline(band.reject_above, color=INK, linewidth=1)


def _name_band(axes: Axes, band: Band) -> None:
    """Write the thresholds above the top row, away from each other."""
    for value, text, side, step in (
        (band.review_above, f"review above {band.review_above:.4g}", "right", -4),
        (band.reject_above, f"reject above {band.reject_above:.4g}", "left", 4),
    ):
        axes.annotate(
            text,
            (value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(step, 17),  # above the row's title
            textcoords="offset points",
            ha=side,
            fontsize=9,
        )


def _svg(figure: Figure, name: str) -> str:
    """Give the figure as an SVG element; ids begin with `name`, nothing points outside."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)  # HTML knows SVG by its element
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'xlink:href="#', f'href="#{name}-', text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'<svg height="[^"]*"', '<svg role="img"', text, count=1)
    return re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)


@dataclass(frozen=True)
class Point:
    """One of several models that were compared."""

    name: str
    p50_ms: float
    auroc: Interval
    best: bool
    """No other is as accurate and faster, or as fast and more accurate."""
    chosen: bool


def draw_pareto(points: Sequence[Point], budget_ms: float) -> str:
    """Draw accuracy over latency of models, those that no other beats joined, as an SVG file."""
    with mpl.rc_context(STYLE):
        figure = Figure((7.6, 4.6), layout="constrained")
        axes = figure.subplots()
        front = sorted((one.p50_ms, one.auroc.value) for one in points if one.best)
        axes.plot(*zip(*front, strict=True), color=GOOD, linewidth=1)
        for one in points:
            axes.plot([one.p50_ms] * 2, [one.auroc.low, one.auroc.high], color=PALE, linewidth=3)
            colour = DEFECT if one.chosen else GOOD if one.best else CALIBRATE
            axes.plot(one.p50_ms, one.auroc.value, "s" if one.chosen else "o", color=colour)
            axes.annotate(
                one.name,
                (one.p50_ms, one.auroc.value),
                xytext=(6, 4),
                textcoords="offset points",
                color=colour,
            )
        axes.axvline(budget_ms, color=BAND, linestyle="--")
        axes.set_xlabel("milliseconds per part on this CPU, median (dashed: the budget)")
        axes.set_ylabel("image AUROC on generated defects (bar: 95 % interval)")
        drawn = _svg(figure, "pareto")
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
