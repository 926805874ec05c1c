"""What every bench shares: timing in turn, goals that judge themselves, one JSON and one table.

Lanes of a race are timed A B C A B C …, so that whatever the machine does meets all of them, and
every ratio is taken within one round.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictBool, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.errors import InspectionError
from inspection.core.origin import describe_origin
from inspection.core.progress import follow
from inspection.core.records import Origin, Record, write_record, write_text

PACKAGES = (
    *("anomalib", "lightning", "nncf", "numpy", "opencv-python-headless", "openvino"),
    *("timm", "torch"),
)
WARM_UP = 10  # rounds before the first that counts
Cell = str | int | float | None


class Lane(Settings):
    """Milliseconds of one competitor."""

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Ratio(Settings):
    """Time of one lane over time of another, round by round: above 1, `fast` is faster."""

    fast: str
    slow: str
    median: float
    p05: float
    p95: float


class Race(Settings):
    """Lanes timed in turn in one run."""

    name: str
    rounds: StrictInt
    lanes: tuple[Lane, ...]
    ratios: tuple[Ratio, ...]


class Goal(Settings):
    """A number that was promised and the one that was found; none when it was not measured."""

    what: str
    relation: Literal["≥", "≤"]
    wanted: float
    found: float | None
    unit: str
    reached: StrictBool = Field(description="computed; a number not measured is never reached")

    @classmethod
    def at_least(cls, what: str, wanted: float, found: float | None, unit: str = "×") -> Self:
        """Judge a number that should be large."""
        reached = found is not None and found >= wanted
        return cls(what=what, relation="≥", wanted=wanted, found=found, unit=unit, reached=reached)

    @classmethod
    def at_most(cls, what: str, wanted: float, found: float | None, unit: str = "×") -> Self:
        """Judge a number that should be small."""
        reached = found is not None and found <= wanted
        return cls(what=what, relation="≤", wanted=wanted, found=found, unit=unit, reached=reached)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        below = self.found is not None and self.found <= self.wanted
        above = self.found is not None and self.found >= self.wanted
        if self.reached != (above if self.relation == "≥" else below):
            raise ValueError(f"{self.what}: 'reached' must follow from found and wanted")
        return self


class Table(Settings):
    """Further numbers, as they stand in the JSON and in the page."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @model_validator(mode="after")
    def _is_rectangular(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.title}: every row needs {len(self.columns)} cells")
        return self


class BenchReport(Record):
    """One run of one bench, with all that is needed to do it again."""

    bench: str
    origin: Origin
    load_before: float = Field(description="load average of the last minute when it began")
    settings: dict[str, str]
    goals: tuple[Goal, ...] = ()
    races: tuple[Race, ...] = ()
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Times:
    """What a race measured: float64 (lanes, rounds), milliseconds."""

    names: tuple[str, ...]
    times_ms: NDArray[np.float64]

    def of(self, name: str) -> NDArray[np.float64]:
        """Give one lane's milliseconds, (rounds,)."""
        return np.asarray(self.times_ms[self.names.index(name)])

    def lane(self, name: str) -> Lane:
        """Sum one lane up."""
        p50, p95, p99 = (float(value) for value in np.percentile(self.of(name), (50, 95, 99)))
        return Lane(name=name, p50_ms=p50, p95_ms=p95, p99_ms=p99)

    def ratio(self, fast: str, slow: str) -> Ratio:
        """Compare two lanes within each round."""
        per_round = self.of(slow) / self.of(fast)
        p05, median, p95 = (float(value) for value in np.percentile(per_round, (5, 50, 95)))
        return Ratio(fast=fast, slow=slow, median=median, p05=p05, p95=p95)

    def race(self, name: str, pairs: Iterable[tuple[str, str]]) -> Race:
        """Sum all lanes up, and the ratio of each (fast, slow) pair."""
        return Race(
            name=name,
            rounds=self.times_ms.shape[1],
            lanes=tuple(self.lane(lane) for lane in self.names),
            ratios=tuple(self.ratio(fast, slow) for fast, slow in pairs),
        )


def time_lanes(
    lanes: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = WARM_UP
) -> Times:
    """Ask every lane for the milliseconds of one call per round, in order.

    Raises:
        InspectionError: no lanes or no rounds.
    """
    if not lanes or rounds < 1:
        raise InspectionError(
            f"race of {len(lanes)} lanes over {rounds} rounds; wanted at least one of each"
        )
    times = np.empty((len(lanes), rounds))
    for turn in follow(range(-warm_up, rounds), "racing"):
        for number, lane in enumerate(lanes.values()):
            spent = lane()
            if turn >= 0:
                times[number, turn] = spent
    return Times(tuple(lanes), times)


@contextmanager
def working_in(kept: Path | None) -> Iterator[Path]:
    """Give the folder of a run: `kept`, made where it is absent, or one that is thrown away."""
    if kept is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept


def begin_report(bench: str, settings: Mapping[str, object]) -> BenchReport:
    """Start a report before the measuring does; results are added by `model_copy`."""
    return BenchReport(
        bench=bench,
        origin=describe_origin(PACKAGES),
        load_before=os.getloadavg()[0],
        settings={name: str(value) for name, value in settings.items()},
    )


def write_report(out: Path, report: BenchReport) -> Path:
    """Write `out/BENCH.json` and beside it the same as a page, `out/BENCH.md`.

    Returns:
        The path of the JSON file.
    """
    path = out / f"{report.bench}.json"
    write_record(path, report)
    write_text(path.with_suffix(".md"), render(report))
    return path


def render(report: BenchReport) -> str:
    """Give a report as Markdown."""
    blocks = [f"# bench {report.bench}", _provenance(report)]
    if report.goals:
        blocks.append("## Goals\n\n" + _table(("what", "goal", "found", "reached"), _goals(report)))
    for race in report.races:
        blocks += [f"## {race.name}", *_race(race)]
    for table in report.tables:
        blocks.append(f"## {table.title}\n\n" + _table(table.columns, table.rows))
    if report.notes:
        blocks.append("## Notes\n\n" + "\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(blocks) + "\n"


def _provenance(report: BenchReport) -> str:
    origin = report.origin
    versions = ", ".join(f"{name} {version}" for name, version in sorted(origin.versions.items()))
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    return "\n".join(
        (
            f"- machine: {origin.machine}; load average before: {report.load_before:.2f}",
            f"- commit: {origin.git_revision}; {origin.created_at:%Y-%m-%d %H:%M} UTC",
            f"- versions: {versions}",
            f"- settings: {settings or 'none'}",
        )
    )


def _goals(report: BenchReport) -> Iterable[tuple[Cell, ...]]:
    for goal in report.goals:
        found = "not measured" if goal.found is None else f"{show(goal.found)} {goal.unit}"
        wanted = f"{goal.relation} {show(goal.wanted)} {goal.unit}"
        yield goal.what, wanted.strip(), found.strip(), "yes" if goal.reached else "**no**"


def _race(race: Race) -> Iterable[str]:
    lanes = [(lane.name, lane.p50_ms, lane.p95_ms, lane.p99_ms) for lane in race.lanes]
    yield f"{race.rounds} rounds, every lane once per round, in turn."
    yield _table(("lane", "p50 ms", "p95 ms", "p99 ms"), lanes)
    if race.ratios:
        ratios = [(r.slow, r.fast, r.median, r.p05, r.p95) for r in race.ratios]
        yield _table(("time of", "over time of", "median", "p05", "p95"), ratios)


def _table(columns: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *(tuple(map(show, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def show(cell: Cell) -> str:
    """Give a cell as text: four digits of a fraction, – for nothing."""
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell.replace("|", "\\|")
