"""Trains 24 lines on a Dask cluster of two workers and one after another; then kills a worker.

Every line is assembled, trained, exported, calibrated and gated as a job is. Both sides are warm:
the trainer's libraries are loaded and one line is trained before a clock starts. Every process that
trains has one thread on a processor of its own. Bundles are dated alike, so their hashes can be
held against each other. What two processes reach without Dask stands beside: no cluster on this
machine can do better, as its processors share their memory.
"""

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.retraining.dask_processes import DaskProcesses
from inspection.bundles.seal import SUMS
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.geometry import Geometry
from inspection.core.records import hash_file, write_record
from inspection.core.settings import BackboneConfig, ExportConfig, PatchcoreConfig, TrainConfig
from inspection.data.check import check_dataset
from inspection.data.split import SplitRule
from inspection.hub.hub import open_hub
from inspection.hub.job_request import JobRequest
from inspection.hub.settings import HubConfig
from inspection.hub.wire.retraining import JobKind, Step
from inspection.retraining.assemble import assemble
from inspection.retraining.cluster import cluster_perform
from inspection.retraining.rejudge import Where, rejudge
from inspection.retraining.remote import ASKED, GIVEN_UP, LOG, Perform
from inspection.retraining.steps import JobFolder, perform
from inspection.retraining.threads import limit_threads
from inspection.synthetic.dataset import Counts, Product, make_dataset

LEAST_RATIO, MOST_AGAIN = 1.7, 1
ROUNDS = 3  # each a share of the lines on either side, so that both meet what the machine does
STEPS = (Step.TRAIN, Step.EXPORT, Step.CALIBRATE, Step.GATE)
COUNTS = Counts(train_good=40, test_good=6, per_defect=1)
RULE = SplitRule(calibrate_share=0.4)
BACKBONE = BackboneConfig(
    name="test_resnet", layers=("layer1", "layer2"), allow_random_weights=True
)
TRAIN = TrainConfig(
    backbone=BACKBONE,
    geometry=Geometry(height_px=96, width_px=128),
    patchcore=PatchcoreConfig(bank_size=512, candidates=4_000),
    accelerator="cpu",
)
EXPORT = ExportConfig(
    calibration_images=16, search_dimensions=0, false_reject_rate=0.2, golden_frames=1
)
ASKED_AT = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_S = 0.02

Bundles = dict[str, str]  # hash of each line's


def run(out: Path, *, lines: int = 24, pictures: int = 4_000) -> Path:
    """Measure a fleet and write `retraining_fleet.json` and `.md` into `out`.

    Args:
        out: folder of the evidence.
        lines: how many are trained.
        pictures: of the archive that one worker and two judge again.

    Raises:
        InspectionError: a step failed, or Dask does not start.
    """
    settings = {"lines": lines, "pictures": pictures, "rounds": ROUNDS, "weights": "random"}
    report = begin_report("retraining_fleet", settings)
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        own = {KEYS_VARIABLE: str(folder / "keys"), "HF_HUB_OFFLINE": "1"}
        os.environ.update(own)
        requests = make_requests(folder, lines)
        with _process(0) as first, _process(1) as second, DaskProcesses(folder) as dask:
            bundles = [_warm_up(one, folder, requests[0]) for one in (first, second)]
            replayed = _replay(dask, folder, pictures, bundles[0])
            raced, serial, cluster = _race((first, second), dask, folder / "jobs", requests)
            again, killed = _kill(dask, folder / "jobs", requests)
    differing = sum(
        len({side.get(one) for side in (serial, cluster, killed)}) > 1 for one in serial
    )
    serial_s, cluster_s, _ = (sum(seconds) for seconds in zip(*raced, strict=True))
    goals = (
        Goal.at_least("one after another over two workers", LEAST_RATIO, serial_s / cluster_s),
        Goal.at_most("steps begun again after a worker's kill -9", MOST_AGAIN, again, "steps"),
        Goal.at_most("lines without a bundle after it", 0, lines - len(killed), "lines"),
        Goal.at_most("lines whose three bundles are not the same", 0, differing, "lines"),
    )
    tables = (_seconds(raced), _rates(replayed, pictures))
    return write_report(out, report.model_copy(update={"goals": goals, "tables": tables}))


def make_requests(folder: Path, lines: int) -> list[JobRequest]:
    """Make three generated sets, and ask for as many lines on them, each with a seed of its own."""
    manifests = {}
    for product in Product:
        root = make_dataset(folder / product, product, 0, COUNTS)
        found = check_dataset(root, rule=RULE, false_reject_rate=EXPORT.false_reject_rate)
        write_record(folder / f"{product}.json", found.manifest)
        manifests[product] = found.manifest.sha256
    products = [list(Product)[number % len(Product)] for number in range(lines)]
    return [
        JobRequest(
            line=f"line-{number}",
            product=product,
            name=product,
            kind=JobKind.RETRAIN,
            champion_id=None,
            manifest=folder / f"{product}.json",
            manifest_sha256=manifests[product],
            reviews_until=0,
            forgotten=(),
            train=TRAIN.model_copy(update={"seed": number}),
            export=EXPORT,
            asked_at=ASKED_AT,
        )
        for number, product in enumerate(products)
    ]


def train_all(requests: Sequence[JobRequest], jobs: Path, step: Perform, at_once: int) -> float:
    """Train lines, so many at once, in folders below `jobs`; give the seconds it took."""
    jobs.mkdir(parents=True, exist_ok=True)
    database = f"sqlite:///{jobs.parent / 'hub.sqlite'}"
    config = HubConfig(database=database, artefacts=str(jobs.parent / "artefacts"))
    hub = open_hub(config)

    def train(request: JobRequest) -> None:
        job = JobFolder.make(jobs / request.line, request)
        assemble(hub, request, job.assembled)
        for one in STEPS:
            step(one, job.path)

    began_s = time.perf_counter()
    with ThreadPoolExecutor(at_once) as chains:
        list(chains.map(train, requests))
    return time.perf_counter() - began_s


def _process(processor: int) -> ProcessPoolExecutor:
    """Give one process with one thread on a processor of its own, as each worker has."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, _settle, (processor,))


def _settle(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    limit_threads(1)


def _warm_up(process: ProcessPoolExecutor, folder: Path, request: JobRequest) -> Path:
    """Train one line in a process, and give its bundle."""
    work = Path(tempfile.mkdtemp(dir=folder))
    process.submit(train_all, [request], work / "warm", perform, 1).result()
    return JobFolder(work / "warm" / request.line).bundle


def _replay(dask: DaskProcesses, folder: Path, pictures: int, bundle: Path) -> list[float]:
    """Judge one archive again with one worker, then with two, both warm; give the seconds."""
    encoded = [
        path.read_bytes() for path in sorted((folder / Product.PLATE).rglob("train/**/*.png"))
    ]
    archive = folder / "archive"
    archive.mkdir()
    for number in range(pictures):
        (archive / f"{number:07d}.png").write_bytes(encoded[number % len(encoded)])
    few = folder / "few"
    few.mkdir()
    for number in range(1_024):
        os.link(archive / f"{number:07d}.png", few / f"{number:07d}.png")
    took_s = []
    for workers in (1, 2):
        dask.add_worker(workers - 1)
        dask.wait_for(workers)
        where = Where(executor=dask.address)
        rejudge(bundle, few, folder / f"few-{workers}", where=where, allow_refused=True)
        began_s = time.perf_counter()
        rejudge(bundle, archive, folder / f"again-{workers}", where=where, allow_refused=True)
        took_s.append(time.perf_counter() - began_s)
    return took_s


def _race(
    bare: tuple[ProcessPoolExecutor, ProcessPoolExecutor],
    dask: DaskProcesses,
    jobs: Path,
    requests: list[JobRequest],
) -> tuple[list[tuple[float, float, float]], Bundles, Bundles]:
    """Train all lines on each side, a share of them at a time; give seconds and bundles.

    The seconds are those of the first bare process alone, of the cluster, of both bare processes.
    """
    step = cluster_perform(dask.address)
    train_all(requests[:4], jobs, step, 4)
    _take(jobs)
    raced, serial, cluster = [], Bundles(), Bundles()
    for number in range(ROUNDS):
        share = requests[number::ROUNDS]
        serial_s = bare[0].submit(train_all, share, jobs, perform, 1).result()
        serial |= _take(jobs)
        cluster_s = train_all(share, jobs, step, len(share))
        cluster |= _take(jobs)
        raced.append((serial_s, cluster_s, _halves(bare, jobs, share)))
    return raced, serial, cluster


def _halves(
    bare: tuple[ProcessPoolExecutor, ProcessPoolExecutor], jobs: Path, share: list[JobRequest]
) -> float:
    """Train every other line in one process and the rest in the other; give the seconds."""
    began_s = time.perf_counter()
    work = [
        process.submit(train_all, share[number::2], jobs / f"{number}" / "jobs", perform, 1)
        for number, process in enumerate(bare)
    ]
    for one in work:
        one.result()
    took_s = time.perf_counter() - began_s
    shutil.rmtree(jobs)
    return took_s


def _kill(dask: DaskProcesses, jobs: Path, requests: list[JobRequest]) -> tuple[int, Bundles]:
    """Kill a worker when half of all steps have begun; count steps begun again."""
    steps = len(requests) * len(STEPS)
    victim = min(dask.wait_for(2).values())
    with ThreadPoolExecutor(1) as coordinator:
        step = cluster_perform(dask.address)
        work: Future[float] = coordinator.submit(train_all, requests, jobs, step, len(requests))
        while count_begun(jobs) < steps // 2 and not work.done():
            time.sleep(LOOK_S)
        os.kill(victim, signal.SIGKILL)
        work.result()
    return count_begun(jobs) - steps, _take(jobs)


def _take(jobs: Path) -> Bundles:
    """Give the hash of each line's bundle, and make room: a bundle names the folder it is from."""
    bundles = {folder.name: JobFolder(folder).bundle / SUMS for folder in jobs.iterdir()}
    hashes = {line: hash_file(sums) for line, sums in bundles.items() if sums.is_file()}
    shutil.rmtree(jobs)
    return hashes


def count_begun(jobs: Path) -> int:
    """Count the steps that workers began."""
    logs = (log.read_text(encoding="utf-8") for log in jobs.glob(f"*/{LOG}"))
    said = (line.split(" ", 3)[3] for log in logs for line in log.splitlines())
    return sum(one not in {ASKED, GIVEN_UP} for one in said)


def _seconds(raced: list[tuple[float, float, float]]) -> Table:
    rows = [
        (number, serial, cluster, serial / cluster, halves, serial / halves)
        for number, (serial, cluster, halves) in enumerate(raced, 1)
    ]
    columns = (
        "round",
        "one after another, s",
        "two workers, s",
        "ratio",
        "two processes without Dask, s",
        "ratio of these",
    )
    return Table(title="Shares of the lines", columns=columns, rows=tuple(rows))


def _rates(replayed: list[float], pictures: int) -> Table:
    alone_s, both_s = replayed
    rows = (
        (1, alone_s, pictures / alone_s, 1.0),
        (2, both_s, pictures / both_s, alone_s / both_s),
    )
    columns = ("workers", "s", "pictures per s", "ratio")
    return Table(title="An archive judged again", columns=columns, rows=rows)
