"""Draws a simulated month: false rejects, escapes, alarms, jobs and promotions over the days."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inspection.bench.retraining.calendar import BATCH_ON, BEGIN, DAYS, DIMS_ON, HOUR, SMEAR_ON
from inspection.bench.retraining.month import Month
from inspection.core.decision import Verdict
from inspection.report.charts import DEFECT, GOOD, STYLE

WINDOW_D = 1.0
DAY = 24 * HOUR
BEGINS = (("light", DIMS_ON), ("new material", BATCH_ON), ("smear", SMEAR_ON))


def draw_month(month: Month, path: Path, target: float) -> None:
    """Draw one month as SVG; the target is that of its false-reject rate."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "month"}):
        figure = Figure((11.6, 5.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
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
    rows = {"alarms": 2, "jobs": 1, "bundles": 0}
    for alarm in month.alarms:
        begin = (alarm.raised_at - BEGIN) / DAY
        end = DAYS if alarm.cleared_at is None else (alarm.cleared_at - BEGIN) / DAY
        axes.plot([begin, end], [rows["alarms"]] * 2, color=DEFECT, linewidth=3, alpha=0.6)
        axes.annotate(alarm.cause.value, (begin, rows["alarms"]), fontsize=7, va="bottom")
    for job in month.jobs:
        at = (job.created_at - BEGIN) / DAY
        axes.plot(at, rows["jobs"], "|", color=GOOD, markersize=10)
        axes.annotate(f"{job.kind} {job.state}", (at, rows["jobs"]), fontsize=6, rotation=30)
    for choice in month.choices:
        at = max(0.0, (choice.chosen_at - BEGIN) / DAY)
        axes.plot(at, rows["bundles"], "o", color=GOOD)
        axes.annotate(choice.bundle_id[:6], (at, rows["bundles"]), fontsize=7, va="bottom")
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(-0.5, 2.8)
