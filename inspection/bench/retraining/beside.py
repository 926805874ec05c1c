"""Trains magnetic_tile on the cores of a station that judges: is each part still in time?

The training is a whole job of the hub's, as the scheduler starts it: a process of lowest priority.
The station is fed at a steady pace, first alone, then until the job has ended.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import yaml

from inspection.bench.fit import MAGNETIC_TILE_COUNTS, REAL, find_dataset
from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.line import configure, large, make_bundle
from inspection.bench.memory import MemorySource
from inspection.core.config import load_config
from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.records import write_record
from inspection.data.check import check_dataset
from inspection.hub.hub import open_hub
from inspection.hub.jobs import ask, get_job
from inspection.hub.settings import HubConfig
from inspection.hub.wire.retraining import Job, JobKind, JobState
from inspection.retraining.facts import request_of
from inspection.retraining.local import launch
from inspection.retraining.settings import RetrainingConfig
from inspection.station.service import serve
from inspection.station.state import StationStatus
from inspection.synthetic.dataset import Product, make_good

PACE_S, DEADLINE_MS = 0.1, 100  # ten parts a second, each due before the next
ALONE_PARTS, MOST_PARTS = 300, 12_000
DISTINCT = 16
MOST_TRAINING_S = 300.0
TRAIN = Path("configs/train.yaml")
LINE = "line-1"


def run(out: Path) -> Path:
    """Train beside a station and write `retraining_beside.json` and `.md` into `out`.

    Raises:
        DatasetError: magnetic_tile is not in the folder INSPECTION_DATASETS.
        InspectionError: the job did not end well, or the station ended.
    """
    report = begin_report("retraining_beside", {"pace_s": PACE_S, "deadline_ms": DEADLINE_MS})
    with TemporaryDirectory() as place:
        lived = live(Path(place))
    seconds, p99 = _seconds(lived.job), float(np.percentile(lived.beside_ms, 99))
    goals = (
        Goal.at_most("a station's p99 beside a training", DEADLINE_MS, p99, "ms"),
        Goal.at_most("retrain of magnetic_tile beside a station", MOST_TRAINING_S, seconds, "s"),
    )
    notes = (
        f"{lived.status.late} of {len(lived.beside_ms)} parts were late, "
        f"{lived.status.since_start[Verdict.FAULT]} FAULT.",
        f"The job: {lived.job.state}. {lived.job.outcome}",
    )
    changes = {"goals": goals, "tables": (_latencies(lived), _steps(lived.job)), "notes": notes}
    return write_report(out, report.model_copy(update=changes))


class Lived(NamedTuple):
    """What was measured."""

    alone_ms: Sequence[float]
    beside_ms: Sequence[float]
    status: StationStatus
    """The last, of the station beside the training."""
    job: Job


def live(work: Path) -> Lived:
    """Run a station alone, then beside a training, in an empty folder; raises as `run`."""
    (work / "line").mkdir()
    bundle = make_bundle(work / "line")
    frames = [large(make_good(Product.PLATE, f"line/{number}")) for number in range(DISTINCT)]
    alone = MemorySource(["main"], frames, ALONE_PARTS, pace_s=PACE_S)
    serve(configure(bundle, work / "alone", deadline_ms=DEADLINE_MS), source=alone)
    job = _Job(work)
    beside = MemorySource(["main"], frames, MOST_PARTS, pace_s=PACE_S)

    def between(number: int) -> None:
        if not job.goes_on():
            beside.parts = number + 1

    beside.between = between
    status = serve(configure(bundle, work / "beside", deadline_ms=DEADLINE_MS), source=beside)
    return Lived(alone.took_ms, beside.took_ms, status, job.ended())


def _latencies(lived: Lived) -> Table:
    rows = tuple(
        (name, len(times), *map(float, np.percentile(times, (50, 95, 99, 100))))
        for name, times in (("alone", lived.alone_ms), ("beside a training", lived.beside_ms))
    )
    return Table(
        title="Trigger to durable verdict, 1280×1024 frames in memory",
        columns=("station", "parts", "p50 ms", "p95 ms", "p99 ms", "longest ms"),
        rows=rows,
    )


def _steps(job: Job) -> Table:
    rows = tuple(
        (one.step.value, (one.ended_at - one.started_at).total_seconds())
        for one in job.steps
        if one.ended_at is not None
    )
    return Table(title="The job", columns=("step", "s"), rows=rows)


def _seconds(job: Job) -> float:
    """Give how long a job that has ended took."""
    if job.ended_at is None or job.started_at is None:
        return float("inf")
    return (job.ended_at - job.started_at).total_seconds()


class _Job:
    """The training under way, started with the first part; the source ends with it."""

    def __init__(self, work: Path) -> None:
        self._hub_file, self._file = work / "hub.yaml", work / "retraining.yaml"
        hub = {
            "database": f"sqlite:///{work}/hub.sqlite",
            "artefacts": str(work / "artefacts"),
            "cache_dir": str(work / "cache"),
        }
        self._hub_file.write_text(yaml.safe_dump(hub), encoding="utf-8")
        manifest = work / "set.json"
        images = find_dataset(REAL, work / "images", MAGNETIC_TILE_COUNTS)
        write_record(manifest, check_dataset(images).manifest)
        product = {
            "line": LINE,
            "product": REAL,
            "bundle": REAL,
            "manifest": str(manifest),
            "train": str(TRAIN.absolute()),
        }
        retraining = {"work_dir": str(work / "jobs"), "products": [product]}
        self._file.write_text(yaml.safe_dump(retraining), encoding="utf-8")
        self._hub = open_hub(load_config(self._hub_file, HubConfig))
        config = load_config(self._file, RetrainingConfig)
        request = request_of(self._hub, config.products[0], JobKind.RETRAIN)
        self._job_id = ask(self._hub, request, "bench", "beside a station").job_id
        self._process: subprocess.Popen[bytes] | None = None

    def goes_on(self) -> bool:
        """Say whether the training goes on; start it at the first question."""
        if self._process is None:
            self._process = launch(self._job_id, hub_file=self._hub_file, file=self._file)
        return self._process.poll() is None

    def ended(self) -> Job:
        """Give the job as it ended.

        Raises:
            InspectionError: not well.
        """
        job = get_job(self._hub, self._job_id)
        self._hub.close()
        if job.state is not JobState.DONE:
            raise InspectionError(f"job ended as {job.state}: {job.outcome}; look at its log")
        return job
