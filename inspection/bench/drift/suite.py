"""Measures the drift monitors: false alarms per month without drift, and what they find of drift.

Lines are simulated by the hour from generated parts that a real bundle judged and measured. The
monitors' code is the hub's; river's detectors see the same parts for comparison.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from river.drift import ADWIN, PageHinkley
from scipy import stats

from inspection.bench.drift.line import (
    DAY_H,
    Alarm,
    Run,
    Wobble,
    run_line,
    standardise,
    watch,
)
from inspection.bench.drift.parts import DRIFTS, PRODUCT, Drift, Pools, measure_pools
from inspection.bench.frame import Cell, Goal, Table, begin_report, write_report
from inspection.core.progress import follow
from inspection.metrics.blocks import Floats
from inspection.metrics.drift import BUDGET, EMBEDDING
from inspection.report.charts import DEFECT, GOOD, STYLE

SEED = 20_261_122
PER_DAY = 200
MONTH_H = 30 * DAY_H
GATHERING_H = 4 * DAY_H  # before a month begins: 500 parts at 200 a day, and some
FASTER = 2_400  # parts a day of which 25 an hour are read
FACTORS = (0.0, 1.0, 1.5, 2.0, 3.0)
GOODS, DRIFTED = 600, 200
LOOKED_H = 7 * DAY_H  # for a drift to be found
UNITS = ("parts", "blocks")
RIVER: dict[str, tuple[Callable[[], Any], float]] = {  # and the deviations that are 1 to it
    "river ADWIN": (ADWIN, 10.0),  # takes values of 0 to 1
    "river PageHinkley": (PageHinkley, 1.0),
}


@dataclass(frozen=True)
class Found:
    """What became of one drift on several lines."""

    drift: Drift
    days: tuple[float, ...]
    """Until the first alarm, of the lines on which one was raised."""
    named: int
    """Lines whose first alarm names the cause."""
    others: int
    """Further alarms that name another cause."""
    off_h: tuple[int, ...]
    """Hours between the beginning and what the first alarm says of it."""
    runs: int


def run(out: Path, *, months: int = 50, runs: int = 20) -> Path:
    """Simulate lines and write `drift.json`, `drift.md` and `drift.svg` into `out`.

    Args:
        out: folder of the evidence.
        months: without drift.
        runs: lines for each kind and strength of drift.
    """
    settings = {
        **{"months": months, "runs": runs, "product": PRODUCT, "parts per day": PER_DAY},
        **{"wobble in deviations": Wobble(), "budget per month": BUDGET, "seed": SEED},
    }
    report = begin_report("drift", settings)
    with tempfile.TemporaryDirectory() as work:
        pools = measure_pools(Path(work), GOODS, DRIFTED)
    usual = [_month(pools.usual, number, Wobble()) for number in range(months)]
    alarms = [_false(one) for one in follow(usual, "months")]
    found = [_find(pools, drift, runs) for drift in follow(DRIFTS, "drifts")]
    count = sum(map(len, alarms))
    low, high = poisson_interval(count)
    goals = (
        Goal.at_most("false alarms per month and line", 1.0, count / months, ""),
        Goal.at_most("its upper 95 % limit (Poisson)", 1.0, high / months, ""),
    )
    wobbles = list(_by_wobble(pools.usual, months, alarms))
    changes = {
        "goals": goals,
        "tables": (
            _false_table(wobbles, months),
            _river_table(usual, pools, count, found),
            _found_table(found),
        ),
        "notes": (
            f"Found {count} false alarms in {months} months; 95 % interval of the rate "
            f"{low / months:.3f} to {high / months:.3f} per month.",
            "Every line varies by the hour (correlation 0.7 with the next), by the day and by the "
            "shift, each column on its own, by the deviations given; parts are drawn anew from "
            f"{len(pools.usual)} measured ones.",
            "A drift begins at once, one to three days after the reference is complete; days are "
            "until the first alarm, looked for seven days.",
            "river's detectors have no names of causes; fed with parts, which are alike within an "
            "hour, they find every drift because they always find something.",
        ),
    }
    (out / "drift.svg").parent.mkdir(parents=True, exist_ok=True)
    _draw(out / "drift.svg", wobbles, found, months)
    return write_report(out, report.model_copy(update=changes))


def poisson_interval(count: int) -> tuple[float, float]:
    """Give the exact 95 % interval of what was expected where so many came (Garwood 1936)."""
    low = stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return float(low), float(stats.chi2.ppf(0.975, 2 * count + 2) / 2)


def _month(pool: Floats, number: int, wobble: Wobble, per_day: int = PER_DAY) -> Run:
    rng = np.random.default_rng((SEED, number))
    return run_line(rng, pool, GATHERING_H + MONTH_H, per_day / DAY_H, wobble=wobble)


def _false(month: Run) -> list[Alarm]:
    return list(watch(month))


def _by_wobble(
    pool: Floats, months: int, usual: Sequence[list[Alarm]]
) -> Iterator[tuple[str, int]]:
    """Count false alarms of lines that vary less and more, and of a faster one."""
    for factor in follow(FACTORS, "wobbles"):
        if factor == 1:
            yield "as stated", sum(map(len, usual))
            continue
        varied = (_month(pool, number, Wobble().times(factor)) for number in range(months))
        yield f"{factor:g} × as much", sum(len(_false(one)) for one in varied)
    faster = (_month(pool, number, Wobble(), FASTER) for number in range(months))
    yield f"as stated, {FASTER:,} parts a day", sum(len(_false(one)) for one in faster)


def _drifted(pools: Pools, drift: Drift, number: int) -> tuple[int, Run]:
    """Give a line that drifts, and the hour in which it begins to."""
    rng = np.random.default_rng((SEED, DRIFTS.index(drift), number))
    begin = GATHERING_H + int(rng.integers(DAY_H, 3 * DAY_H))
    drifted = begin, pools.drifted[drift.name]
    hours, per_hour = begin + LOOKED_H, PER_DAY / DAY_H
    return begin, run_line(rng, pools.usual, hours, per_hour, wobble=Wobble(), drifted=drifted)


def _find(pools: Pools, drift: Drift, runs: int) -> Found:
    days, off, named, others = [], [], 0, 0
    for number in range(runs):
        begin, line = _drifted(pools, drift, number)
        alarms = [one for one in watch(line) if one.at_h > begin]
        if alarms:
            days.append((alarms[0].at_h - begin) / DAY_H)
            off.append(alarms[0].since_h - begin)
            named += alarms[0].cause is drift.cause
            others += sum(one.cause is not drift.cause for one in alarms[1:])
    return Found(drift, tuple(days), named, others, tuple(off), runs)


def _false_table(wobbles: Sequence[tuple[str, int]], months: int) -> Table:
    rows = []
    for name, count in wobbles:
        low, high = poisson_interval(count)
        rows.append((name, count, count / months, low / months, high / months))
    return Table(
        title=f"False alarms, {months} months each",
        columns=("line varies", "alarms", "per month", "95 % from", "to"),
        rows=tuple(rows),
    )


def _river_table(months: Sequence[Run], pools: Pools, ours: int, found: Sequence[Found]) -> Table:
    """Let river's detectors, with their defaults, watch light to score of the same lines."""
    lines = sum(one.runs for one in found)
    days = [day for one in found for day in one.days]
    rows: list[tuple[Cell, ...]] = [
        ("these monitors", "blocks", ours / len(months), len(days) / lines, _median(days))
    ]
    drifted = [_drifted(pools, one.drift, run) for one in found for run in range(one.runs)]
    for name, unit in follow([(name, unit) for name in RIVER for unit in UNITS], "river"):
        count = sum(len(_river_hours(name, month, unit)) for month in months)
        first = [
            next((hour - begin for hour in _river_hours(name, line, unit) if hour > begin), None)
            for begin, line in drifted
        ]
        late = [hour / DAY_H for hour in first if hour is not None]
        rows.append((name, unit, count / len(months), len(late) / lines, _median(late)))
    columns = (
        *("detector", "fed with", "false alarms per month and line"),
        *("drifting lines found", "days, median"),
    )
    return Table(title="Beside river's detectors", columns=columns, rows=tuple(rows))


def _river_hours(name: str, run: Run, unit: str) -> list[int]:
    """Give the hour of each detection, ascending."""
    (make, scale), (parts, blocks) = RIVER[name], standardise(run)
    fed = parts if unit == "parts" else blocks.means
    ends = run.ends_h[run.numbers] if unit == "parts" else run.ends_h
    found: list[int] = []
    for column in range(EMBEDDING):
        detector = make()
        for value, hour in zip(fed[:, column], ends, strict=True):
            detector.update(value / scale)
            if detector.drift_detected:
                found.append(int(hour))
    return sorted(found)


def _median(days: Sequence[float]) -> float | None:
    return float(np.median(days)) if days else None


def _found_table(found: Sequence[Found]) -> Table:
    rows = []
    for one in found:
        raised = len(one.days)
        rows.append(
            (
                *(one.drift.name, str(one.drift.cause), raised / one.runs),
                *(_median(one.days), max(one.days, default=None)),
                one.named / raised if raised else None,
                one.others,
                _median([abs(hours) for hours in one.off_h]),
            )
        )
    columns = (
        *("drift", "cause", "found", "days, median", "days, most", "named so at once"),
        *("others named later", "hours its beginning is off, median"),
    )
    return Table(title=f"Drift on {found[0].runs} lines each", columns=columns, rows=tuple(rows))


def _draw(
    path: Path, wobbles: Sequence[tuple[str, int]], found: Sequence[Found], months: int
) -> None:
    with mpl.rc_context({**STYLE, "svg.hashsalt": "drift"}):
        figure = Figure((11.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
        for height, (_, count) in enumerate(wobbles):
            low, high = poisson_interval(count)
            left.plot([low / months, high / months], [height] * 2, color=GOOD, linewidth=2)
            left.plot(count / months, height, "o", color=GOOD)
        left.axvline(1, color=DEFECT, linestyle="--")
        left.set_yticks(range(len(wobbles)), [name for name, _ in wobbles])
        left.set_xlabel("false alarms per month and line, 95 %; dashed: goal")
        for height, one in enumerate(found):
            right.plot(one.days, [height] * len(one.days), "|", color=GOOD, markersize=9)
            share = f"{len(one.days)} of {one.runs}, {one.named} named so"
            right.annotate(
                share, (1.01, height), xycoords=("axes fraction", "data"), va="center", fontsize=8
            )
        right.set_yticks(range(len(found)), [one.drift.name for one in found])
        right.set_xlabel("days until the first alarm")
        right.set_xlim(0, LOOKED_H / DAY_H)
        figure.savefig(path, format="svg", metadata={"Date": None})
