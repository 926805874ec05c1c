"""Draws a simulated month: false rejects, escapes, alarms, jobs and promotions over the days."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inspection.bench.retraining.calendar import BATCH_ON, BEGIN, DAYS, DIMS_ON, HOUR, SMEAR_ON
from inspection.bench.retraining.month import Month
from inspection.core.decision import Verdict
from inspection.hub.wire.retraining import JobKind, JobState
from inspection.report.charts import DEFECT, GOOD, STYLE

WINDOW_D = 1.0
DAY = 24 * HOUR
BEGINS = (("light", DIMS_ON), ("new material", BATCH_ON), ("smear", SMEAR_ON))


def draw_month(month: Month, path: Path, target: float) -> None:
    """Draw one month as SVG; the target is that of its false-reject rate."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "month"}):
        figure = Figure((11.6, 5.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1.2))
        _rates(above, month, target)
        _happenings(below, month)
        below.set_xlabel(f"day of the month, seed {month.seed}")
        below.set_xlim(0, DAYS)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _rates(axes: Axes, month: Month, target: float) -> None:
    times = np.array([(one.at - BEGIN) / DAY for one in month.judged])
    passed = np.array([one.verdict is Verdict.PASS for one in month.judged])
    good = np.array([one.defect is None for one in month.judged])
    ends = np.arange(WINDOW_D, DAYS + WINDOW_D, WINDOW_D)
    rejected, escaped = [], []
    for end in ends:
        here = (times >= end - WINDOW_D) & (times < end)
        rejected.append(float(np.mean(~passed[here & good])) if (here & good).any() else np.nan)
        escaped.append(int(np.sum(passed[here & ~good])))
    axes.plot(ends, rejected, color=GOOD, label="false rejects, share of good parts per day")
    axes.axhline(target, color=GOOD, linestyle="--", label="target")
    axes.plot(
        ends,
        np.array(escaped) / 10,
        ".",
        color=DEFECT,
        label="escapes, tens per day",
    )
    for name, day in BEGINS:
        axes.axvline(day, color="0.5", linewidth=1)
        axes.annotate(name, (day, 1.0), xycoords=("data", "axes fraction"), va="bottom")
    axes.set_ylim(0, 1)
    axes.legend(loc="upper left")


def _happenings(axes: Axes, month: Month) -> None:
    rows = ["bundles", *(str(kind) for kind in reversed(JobKind)), "alarms"]
    for alarm in month.alarms:
        begin = (alarm.raised_at - BEGIN) / DAY
        end = DAYS if alarm.cleared_at is None else (alarm.cleared_at - BEGIN) / DAY
        row = rows.index("alarms")
        axes.plot([begin, end], [row] * 2, color=DEFECT, linewidth=3, alpha=0.6)
        axes.annotate(alarm.cause.value, (begin, row), fontsize=7, va="bottom")
    for marker, wanted in (("|", True), ("x", False)):
        jobs = [one for one in month.jobs if (one.state is JobState.DONE) is wanted]
        times = [(one.created_at - BEGIN) / DAY for one in jobs]
        kinds = [rows.index(one.kind) for one in jobs]
        label = "job, done" if wanted else "job, not done"
        axes.plot(times, kinds, marker, color=GOOD, markersize=9, label=label)
    for choice in month.choices:
        at = max(0.0, (choice.chosen_at - BEGIN) / DAY)
        axes.plot(at, rows.index("bundles"), "o", color=GOOD)
        name = (at, rows.index("bundles"))
        axes.annotate(choice.bundle_id[:6], name, fontsize=7, va="bottom")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(-0.5, len(rows) - 0.2)
    axes.legend(loc="upper right", fontsize=7)
