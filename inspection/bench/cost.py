"""What a span of commits costs: the checkout of an earlier one and this one, timed in turn.

Both run the same lines, `cost_lane`, in fresh processes of one environment: A B, B A, A B ….
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspection.bench import cost_lane
from inspection.bench.command import ROOT
from inspection.bench.frame import Cell, Goal, Table, Times, begin_report, working_in, write_report
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.progress import follow

MOST = 1.03  # times what it took before
NOW = "now"
RESAMPLED = 10_000
LANE = Path(cost_lane.__file__)


@dataclass(frozen=True)
class Options:
    """What is compared, and how often."""

    against: str
    """The earlier commit."""
    rounds: int = 12
    """Of each, every checkout once."""
    parts: int = 150
    """Triggers of each round that count."""
    events: int = 100
    """Of each of 20 stations in each round; of 30 what a hub does once is a tenth."""


def run(out: Path, *, options: Options, work: Path | None = None) -> Path:
    """Time both checkouts and write `cost.json` and `cost.md` into `out`.

    Args:
        out: folder of the evidence.
        options: what is compared, and how often.
        work: keeps the earlier checkout and the bundles; none throws them away.

    Raises:
        ConfigError: no such commit, or this is no checkout.
        InspectionError: one of them failed.
    """
    report = begin_report("cost", vars(options))
    with working_in(work) as folder:
        lanes = _lanes(folder, options)
        times = {name: race(name, of, options.rounds) for name, of in lanes.items()}
    rows: list[tuple[Cell, ...]] = []
    goals = []
    for name, found in times.items():
        ratios = found.of(NOW) / found.of(options.against)
        low, high = median_interval(ratios)
        goals.append(
            Goal.at_most(f"{name}, over {options.against}", MOST, float(np.median(ratios)))
        )
        rows.append((name, float(np.median(ratios)), low, high, len(ratios)))
    columns = ("what", "median of ratios", "from", "to", "rounds")
    table = Table(
        title="Times now over times before, 95 % interval", columns=columns, rows=tuple(rows)
    )
    pairs = [(options.against, NOW)]
    races = tuple(found.race(name, pairs) for name, found in times.items())
    changes = {"goals": tuple(goals), "races": races, "tables": (table,), "notes": NOTES}
    return write_report(out, report.model_copy(update=changes))


NOTES = (
    "Trigger → verdict: a camera whose frames lie in memory, 1280×1024, MobileNetV2 INT8; from the "
    "trigger to the durable event that the outputs are told of; the median of each round.",
    "Hub ingest: events with pictures of 100 kB from 20 stations at once into SQLite; clients and "
    "hub share the machine; ms per event of each round.",
    "Each checkout trains its own bundle by the same seed. The interval is that of the median of "
    "the rounds' ratios, from a bootstrap.",
)


def median_interval(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """Give the 95 % interval of the median, by a percentile bootstrap with a fixed seed."""
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLED, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(low), float(high)


def _lanes(folder: Path, options: Options) -> dict[str, dict[str, Callable[[], float]]]:
    """Make both checkouts ready; give what times each of them, by what is timed."""
    checkouts = {options.against: check_out(options.against, folder / "before"), NOW: ROOT}
    line: dict[str, Callable[[], float]] = {}
    hub: dict[str, Callable[[], float]] = {}
    for place, (name, root) in enumerate(checkouts.items()):
        work = folder / f"work-{place}"
        work.mkdir(exist_ok=True)
        bundle = work / "set" / "bundle"
        if not bundle.exists():
            (work / "set").mkdir()
            _ask(root, work, "bundle", work / "set")
        line[name] = partial(time_checkout, root, work, "line", bundle, options.parts)
        hub[name] = partial(time_checkout, root, work, "hub", options.events)
    return {"trigger → verdict, p50": line, "hub ingest, ms per event": hub}


def check_out(revision: str, folder: Path) -> Path:
    """Lay out the files of a commit in a folder, if they are not there.

    Raises:
        ConfigError: no such commit, or this is no checkout.
    """
    if folder.exists():
        return folder
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", f"{revision}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a commit, no shell
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigError(
            f"--against '{revision}': {said}; expected a commit of this checkout; name another"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def race(name: str, lanes: dict[str, Callable[[], float]], rounds: int) -> Times:
    """Time each checkout once per round; who is first changes from round to round."""
    times = np.empty((len(lanes), rounds))
    for turn in follow(range(-1, rounds), name):  # the first warms the disk
        order = list(enumerate(lanes.values()))
        for number, lane in order if turn % 2 else reversed(order):
            spent = lane()
            if turn >= 0:
                times[number, turn] = spent
    return Times(tuple(lanes), times)


def time_checkout(root: Path, work: Path, *words: object) -> float:
    """Give the ms that a checkout takes for what `cost_lane` is told; its log lies in `work`.

    Raises:
        InspectionError: it failed.
    """
    return float(str(_ask(root, work, *words)))


def _ask(root: Path, work: Path, *words: object) -> object:
    """Let a checkout do one thing in a process of its own; give what it prints."""
    command = [sys.executable, "-P", str(LANE), *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(root), "INSPECTION_KEYS": str(work / "keys")}
    with (work / "lane.log").open("ab") as log:
        done = subprocess.run(  # noqa: S603 - our own lines, no shell
            command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=log, check=False
        )
    if done.returncode:
        raise InspectionError(
            f"{root}: {' '.join(map(str, words))}: ended with {done.returncode}; see {log.name}"
        )
    return json.loads(done.stdout.splitlines()[-1])
