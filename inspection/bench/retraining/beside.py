"""Trains magnetic_tile on the cores of a station that judges: is each part still in time?

The training is a whole job of the hub's, as the scheduler starts it: a process of lowest priority.
The station is fed at a steady pace, first alone, then until the job has ended.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
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
from inspection.core.imaging import Rgb
from inspection.core.records import write_record
from inspection.data.check import check_dataset
from inspection.hub.hub import open_hub
from inspection.hub.jobs import ask, get_job
from inspection.hub.settings import HubConfig
from inspection.hub.wire.retraining import Job, JobKind, JobState
from inspection.retraining.facts import request_of
from inspection.retraining.local import MB, launch, memory_of
from inspection.retraining.settings import RetrainingConfig
from inspection.station.service import serve
from inspection.station.state import StationStatus
from inspection.synthetic.dataset import Product, make_good

PACE_S, DEADLINE_MS = 0.1, 100  # ten parts a second, each due before the next
ALONE_PARTS, MOST_PARTS = 1_000, 12_000  # the 99th percentile of 1,000 has ten slower ones
WARM_PARTS = 20  # judged before those that count
LOOK_EVERY = 5  # parts between two looks at the job's memory
DISTINCT = 16
MOST_TRAINING_S = 300.0
TRAIN = Path("configs/train-imagenet.yaml")
LINE = "line-1"


def run(out: Path) -> Path:
    """Train beside a station and write `retraining_beside.json` and `.md` into `out`.

    Raises:
        DatasetError: magnetic_tile is not in the folder INSPECTION_DATASETS.
        InspectionError: the job did not end well, or the station ended.
    """
    report = begin_report("retraining_beside", {"pace_s": PACE_S, "deadline_ms": DEADLINE_MS})
    with TemporaryDirectory() as place:
        work = Path(place)
        (work / "line").mkdir()
        frames = [large(make_good(Product.PLATE, f"line/{number}")) for number in range(DISTINCT)]
        images = find_dataset(REAL, work / "images", MAGNETIC_TILE_COUNTS)
        lived = live(work, Scene(make_bundle(work / "line"), frames, images, TRAIN.absolute()))
    seconds, p99 = _seconds(lived.job), float(np.percentile(lived.beside_ms, 99))
    goals = (
        Goal.at_most("a station's p99 beside a training", DEADLINE_MS, p99, "ms"),
        Goal.at_most("retrain of magnetic_tile beside a station", MOST_TRAINING_S, seconds, "s"),
    )
    notes = (
        f"{lived.status.late} parts were late, {lived.status.since_start[Verdict.FAULT]} FAULT; "
        f"alone {lived.alone.late} late.",
        f"The job's processes took {lived.peak_mb:,} MB of memory at most.",
        f"The job: {lived.job.state}. {lived.job.outcome}",
    )
    changes = {"goals": goals, "tables": (_latencies(lived), _steps(lived.job)), "notes": notes}
    return write_report(out, report.model_copy(update=changes))


@dataclass(frozen=True)
class Scene:
    """What a station judges, and what is learnt beside it."""

    bundle: Path
    frames: Sequence[Rgb]
    """uint8 H×W×3 RGB, judged in turn."""
    images: Path
    """Folder of the set."""
    train: Path
    export: Path | None = None
    alone_parts: int = ALONE_PARTS


class Lived(NamedTuple):
    """What was measured."""

    alone_ms: Sequence[float]
    beside_ms: Sequence[float]
    alone: StationStatus
    """The last, of the station alone."""
    status: StationStatus
    """The last, of the station beside the training."""
    job: Job
    peak_mb: int
    """Most resident memory of the job's processes together, as far as it was looked at."""


def live(work: Path, scene: Scene) -> Lived:
    """Run a station alone, then beside a training, in an empty folder; raises as `run`."""
    frames = scene.frames
    alone = MemorySource(["main"], frames, WARM_PARTS + scene.alone_parts, pace_s=PACE_S)
    before = serve(configure(scene.bundle, work / "alone", deadline_ms=DEADLINE_MS), source=alone)
    job = _Job(work, scene)
    beside = MemorySource(["main"], frames, MOST_PARTS, pace_s=PACE_S)

    def between(number: int) -> None:
        if number >= WARM_PARTS and not job.goes_on(look=number % LOOK_EVERY == 0):
            beside.parts = number + 1

    beside.between = between
    try:
        after = serve(
            configure(scene.bundle, work / "beside", deadline_ms=DEADLINE_MS), source=beside
        )
    finally:
        job.end()
    took_ms = alone.took_ms[WARM_PARTS:], beside.took_ms[WARM_PARTS:]
    return Lived(*took_ms, before, after, job.ended(), job.most_bytes // MB)


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
    """The training under way, started with the first question; the source ends with it."""

    def __init__(self, work: Path, scene: Scene) -> None:
        self.most_bytes = 0
        self._hub_file, self._file = work / "hub.yaml", work / "retraining.yaml"
        hub = {
            "database": f"sqlite:///{work}/hub.sqlite",
            "artefacts": str(work / "artefacts"),
            "cache_dir": str(work / "cache"),
        }
        self._hub_file.write_text(yaml.safe_dump(hub), encoding="utf-8")
        manifest = work / "set.json"
        write_record(manifest, check_dataset(scene.images).manifest)
        product = {
            "line": LINE,
            "product": REAL,
            "bundle": REAL,
            "manifest": str(manifest),
            "train": str(scene.train),
            "export": None if scene.export is None else str(scene.export),
        }
        retraining = {"work_dir": str(work / "jobs"), "products": [product]}
        self._file.write_text(yaml.safe_dump(retraining), encoding="utf-8")
        self._hub = open_hub(load_config(self._hub_file, HubConfig))
        config = load_config(self._file, RetrainingConfig)
        request = request_of(self._hub, config.products[0], JobKind.RETRAIN)
        self._job_id = ask(self._hub, request, "bench", "beside a station").job_id
        self._process: subprocess.Popen[bytes] | None = None

    def goes_on(self, *, look: bool) -> bool:
        """Say whether the training goes on; start it at the first question; look at its memory."""
        if self._process is None:
            self._process = launch(self._job_id, hub_file=self._hub_file, file=self._file)
        if look:
            self.most_bytes = max(self.most_bytes, memory_of(self._process.pid))
        return self._process.poll() is None

    def end(self) -> None:
        """Leave nothing running, whatever ended the station."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

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
