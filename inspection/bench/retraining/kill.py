"""Kill -9 of a retraining: at every boundary of its steps, and at random moments.

The job is a real one, on a small product with random weights, so that a life takes seconds: it
learns a set and reviews, and its bundle goes to a hub. Whoever is killed is followed by another
that takes the lease over. What is to be seen is looked at after every kill. The lease of a killed
process is set back by hand, instead of waiting for its end.
"""

import hashlib
import logging
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from itertools import product
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import nncf.torch
from nncf.openvino.quantization import quantize_model
from openvino.frontend.pytorch import fx_decoder
from openvino.tools.ovc.moc_frontend import offline_transformations
from sqlalchemy import update

from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.retraining.product import Plant, make_plant
from inspection.bundles.seal import SUMS, parse_sums, read_gate, verify_bundle
from inspection.core.errors import BundleCorrupt, InspectionError
from inspection.core.parts import load_part
from inspection.core.progress import follow
from inspection.core.records import read_manifest
from inspection.export import evidence
from inspection.export import gate as _gate
from inspection.export.build import GRAPHS, read_run
from inspection.hub import jobs
from inspection.hub.artefacts import bundle_file_name
from inspection.hub.hub import Hub, open_hub
from inspection.hub.loop_tables import jobs as job_rows
from inspection.hub.models import list_bundles
from inspection.hub.wire.retraining import Job, JobState, Step
from inspection.retraining import compare as _compare
from inspection.retraining import job
from inspection.retraining.assemble import MANIFEST
from inspection.retraining.steps import COMPARISON, perform
from inspection.training import fit as _fit

# by the server that forks: no life spends its time on imports, not on those of libraries either
LOADED = (
    *(_compare, _fit, _gate, fx_decoder, offline_transformations, quantize_model),
    nncf.torch,
)
TIMED_RUNS, WARM_RUNS = 20, 2  # of the gate's latency, a third of a life else; in no hash
LIVES = 8  # of one job at most; then it goes on undisturbed
WAIT_S = 300.0
KILLED = -signal.SIGKILL
Arm = Callable[[], None]


@dataclass
class Tally:
    """What came of some jobs."""

    kills: int = 0
    jobs: int = 0
    alike: int = 0
    """Jobs whose bundle is that of the undisturbed one."""
    half: int = 0
    """Things to be seen that were not whole."""
    again: int = 0
    """Steps that were begun once more."""

    def row(self, name: str) -> tuple[str, int, int, int, int, int]:
        """Give it as a row of a table."""
        return name, self.kills, self.jobs, self.alike, self.half, self.again


def run(out: Path, *, kills: int) -> Path:
    """Kill jobs at every boundary and at random, and write the report.

    Args:
        out: folder of the report.
        kills: at random moments.
    """
    report = begin_report("retraining_kill", {"kills": kills, "lives of a job": LIVES})
    with TemporaryDirectory() as work:
        trial = Trial(Path(work))
        tallies = {name: Tally() for name in BOUNDARIES}
        for name in follow(tuple(BOUNDARIES), "boundaries"):
            trial.kill_at(BOUNDARIES[name], tallies[name])
        rng, at_random = random.Random(0), Tally()
        while at_random.kills < kills:
            trial.kill_at_random(kills - at_random.kills, at_random, rng)
    tallies["at random moments"] = at_random
    columns = "killed", "kills", "jobs", "same bundle", "not whole", "steps begun again"
    rows = tuple(tally.row(name) for name, tally in tallies.items())
    every = list(tallies.values())
    goals = (
        Goal.at_least("boundaries of steps", len(BOUNDARIES), len(BOUNDARIES), "kills"),
        Goal.at_least("kills at random moments", kills, at_random.kills, "kills"),
        Goal.at_most("jobs that did not go on", 0, sum(not one.jobs for one in every), "jobs"),
        Goal.at_most(
            "bundles other than undisturbed", 0, sum(one.jobs - one.alike for one in every), ""
        ),
        Goal.at_most("half-made things to be seen", 0, sum(one.half for one in every), ""),
    )
    notes = (
        f"An undisturbed job takes {trial.life_s:.1f} s; imports are done before.",
        f"Bundle {str(trial.bundle_id)[:12]}, random weights: that it comes out matters.",
    )
    table = Table(title="Kills", columns=columns, rows=rows)
    return write_report(
        out, report.model_copy(update={"goals": goals, "tables": (table,), "notes": notes})
    )


class Trial:
    """One product and its hub, set back to the beginning for every job.

    Args:
        folder: for all of it. Paths stand in bundles, so every job runs in the same folder.
    """

    def __init__(self, folder: Path) -> None:
        self._fresh, self._log = folder / "fresh", folder / "log"
        self._plant = make_plant(folder / "live")
        shutil.copytree(self._plant.folder, self._fresh)
        self._finish()  # this first life waits for imports, too
        self.bundle_id = self._outcome().bundle_id

    @cached_property
    def life_s(self) -> float:
        """So long a job takes undisturbed, seconds."""
        self._reset()
        began_s = time.monotonic()
        self._finish()
        return time.monotonic() - began_s

    def kill_at(self, arm: Arm, tally: Tally) -> None:
        """Let a job die at one place, then see it to its end."""
        self._reset()
        process = self._start(arm)
        process.join(WAIT_S)
        if process.exitcode != KILLED:
            raise InspectionError(
                f"a life ended with {process.exitcode}; wanted {KILLED}; see {self._log}"
            )
        tally.kills += 1
        tally.half += self._half()
        self._end(tally)

    def kill_at_random(self, most: int, tally: Tally, rng: random.Random) -> None:
        """Kill a job at random moments, at most so often, then see it to its end."""
        life_s = self.life_s
        self._reset()
        for _ in range(min(most, LIVES)):
            process = self._start()
            process.join(rng.uniform(0, life_s))
            process.kill()
            process.join()
            if process.exitcode != KILLED:
                break
            tally.kills += 1
            tally.half += self._half()
        self._end(tally)

    def _end(self, tally: Tally) -> None:
        self._finish()
        found = self._outcome()
        tally.jobs += 1
        tally.alike += found.bundle_id == self.bundle_id
        tally.half += self._half()
        tally.again += sum(one.tries - 1 for one in found.steps)

    def _reset(self) -> None:
        shutil.rmtree(self._plant.folder)
        shutil.copytree(self._fresh, self._plant.folder)

    def _start(self, arm: Arm | None = None) -> BaseProcess:
        """Start a process that takes the job, whose last worker is known to be dead."""
        with self._hub() as hub, hub.database.writing() as connection:
            over = {"leased_until": hub.now() - timedelta(seconds=1)}
            running = job_rows.c.state == JobState.RUNNING
            connection.execute(update(job_rows).where(running).values(over))
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        process = context.Process(target=live, args=(self._plant, self._log, arm), daemon=True)
        process.start()
        return process

    def _finish(self) -> None:
        process = self._start()
        process.join(WAIT_S)
        if process.exitcode != 0:
            raise InspectionError(
                f"the last life ended with {process.exitcode}; wanted 0; see {self._log}"
            )

    def _outcome(self) -> Job:
        with self._hub() as hub:
            found = jobs.get_job(hub, jobs.list_jobs(hub)[0].job_id)
        if found.state is not JobState.DONE or found.bundle_id is None:
            raise InspectionError(f"the job is {found.state}: {found.outcome}; see {self._log}")
        return found

    def _half(self) -> int:
        """Count what is to be seen and not whole: outputs of steps, bundles on the hub."""
        outputs = sorted(self._plant.retraining.work_dir.glob("*/[!.]*-*/"))
        checks: list[Callable[[], object]] = [
            partial(CHECKS[Step(path.name.partition("-")[0])], path) for path in outputs
        ]
        with self._hub() as hub:
            checks += [partial(check_kept, hub, one.bundle_id) for one in list_bundles(hub)]
            return sum(map(_is_broken, checks))

    @contextmanager
    def _hub(self) -> Iterator[Hub]:
        hub = open_hub(self._plant.hub)
        try:
            yield hub
        finally:
            hub.close()


def live(plant: Plant, log: Path, arm: Arm | None) -> None:
    """Be the process that does the job."""
    logging.basicConfig(filename=log, level=logging.INFO, force=True)
    evidence.TIMED_RUNS, evidence.WARM_RUNS = TIMED_RUNS, WARM_RUNS
    if arm is not None:
        arm()
    hub = open_hub(plant.hub)
    leased = jobs.lease(hub, f"life {os.getpid()}", plant.retraining.lease_s)
    if leased is not None:
        job.run_job(hub, plant.retraining, leased, perform)


def _check_set(folder: Path) -> None:
    manifest = read_manifest(folder / MANIFEST)
    for entry in manifest.entries:
        load_part(manifest, entry)


def _check_bundles(folder: Path) -> None:
    for bundle in folder.glob("[!.]*"):
        verify_bundle(bundle)


def _check_gated(folder: Path) -> None:
    for bundle in folder.glob("[!.]*"):
        if read_gate(bundle, verify_bundle(bundle)) is None:
            raise BundleCorrupt(f"{bundle}: has no record of its gate")


def _check_file(name: str, folder: Path) -> None:
    if not (folder / name).is_file():
        raise InspectionError(f"{folder}: '{name}' is missing")


CHECKS: dict[Step, Callable[[Path], object]] = {
    Step.ASSEMBLE: _check_set,
    Step.TRAIN: read_run,
    Step.EXPORT: partial(_check_file, GRAPHS),
    Step.CALIBRATE: _check_bundles,
    Step.GATE: _check_gated,
    Step.COMPARE: partial(_check_file, COMPARISON),
}
"""Refuses an output of a step that is not whole."""


def check_kept(hub: Hub, bundle_id: str) -> None:
    """Refuse a bundle of the hub of which a file is missing or another.

    Raises:
        BundleCorrupt: naming the file.
    """
    try:
        sums = parse_sums(hub.artefacts.get(bundle_file_name(bundle_id, SUMS)))
        files = {path: hub.artefacts.get(bundle_file_name(bundle_id, path)) for path in sums}
    except KeyError as error:
        raise BundleCorrupt(f"bundle {bundle_id}: {error} is missing") from error
    wrong = [
        path for path, sha256 in sums.items() if hashlib.sha256(files[path]).hexdigest() != sha256
    ]
    if wrong:
        raise BundleCorrupt(f"bundle {bundle_id}: {', '.join(wrong)} differ")


def _is_broken(check: Callable[[], object]) -> bool:
    try:
        check()
    except InspectionError:
        logging.getLogger(__name__).exception("not whole")
        return True
    return False


def die_at(owner: object, name: str, fits: Callable[..., bool], *, after: bool = False) -> None:
    """Let this process kill itself before, or after, a call whose arguments fit."""
    real: Callable[..., object] = getattr(owner, name)

    def mortal(*args: object, **kwargs: object) -> object:
        doomed = fits(*args)
        if doomed and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, mortal)


def _begins(step: Step) -> None:
    die_at(jobs, "begin_step", lambda *args: args[2] is step)


def _is_renamed(step: Step) -> None:
    def fits(_source: Path, target: Path) -> bool:
        return any(part.startswith(f"{step}-") for part in target.parts[-2:])

    die_at(Path, "rename", fits)


def _ends(step: Step) -> None:
    die_at(jobs, "end_step", lambda *args: args[2] is step)


def _is_added(*, after: bool) -> None:
    die_at(job, "add_bundle", lambda *_: True, after=after)


def _finishes(*, after: bool) -> None:
    die_at(jobs, "finish", lambda *_: True, after=after)


PLACES: tuple[tuple[str, Callable[[Step], None]], ...] = (
    ("before {}", _begins),
    ("{} is written, not yet to be seen", _is_renamed),
    ("{} is to be seen, the hub not told", _ends),
)
BOUNDARIES: dict[str, Arm] = {
    **{words.format(step): partial(arm, step) for step, (words, arm) in product(Step, PLACES)},
    "before the bundle is added": partial(_is_added, after=False),
    "the bundle is added, the job not ended": partial(_is_added, after=True),
    "before the job is ended": partial(_finishes, after=False),
    "the job is ended, its process not": partial(_finishes, after=True),
}
