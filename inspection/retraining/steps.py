"""Does one step of a job in the job's folder: without the hub, on any machine that sees the folder.

Each step writes one folder, whole or not at all, named by the digest of what it was made from. So a
step that was done is found again, by whoever comes, and one whose input has changed is done anew.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import SUMS
from inspection.core.errors import ConfigError, UpdateImpossible
from inspection.core.folders import link_or_copy, new_folder
from inspection.core.origin import dated
from inspection.core.records import (
    Manifest,
    RunRecord,
    hash_file,
    hash_json,
    read_manifest,
    read_record,
    write_record,
    write_text,
)
from inspection.hub.job_request import JobRequest
from inspection.hub.wire.retraining import STEPS, JobKind, Step
from inspection.retraining.assemble import CHAMPION, MANIFEST, RECENT, golden
from inspection.retraining.bands import BANDS, Bands

REQUEST, COMPARISON = "request.json", "comparison.json"


@dataclass(frozen=True)
class JobFolder:
    """The folder of one job; where each step's output lies, or will."""

    path: Path

    @classmethod
    def make(cls, path: Path, request: JobRequest) -> "JobFolder":
        """Make the folder of a job, or find it."""
        if not (path / REQUEST).exists():
            write_record(path / REQUEST, request)
        return cls(path)

    @cached_property
    def request(self) -> JobRequest:
        """What is asked for.

        Raises:
            ConfigError: the folder is none of a job.
        """
        try:
            return JobRequest.model_validate_json((self.path / REQUEST).read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self.path}: no folder of a job ({error}); name one below work_dir"
            ) from error

    def output(self, step: Step) -> Path:
        """Say where a step's output lies, or will; what it is made from must be there.

        Raises:
            InspectionError: what it is made from is not there, or damaged.
        """
        folder = self.path / f"{step}-{self.digest(step)[:16]}"
        return folder / self.request.name if step in {Step.CALIBRATE, Step.GATE} else folder

    def is_done(self, step: Step) -> bool:
        """Say whether a step's output is there."""
        return self.output(step).is_dir()

    def digest(self, step: Step) -> str:
        """Hash all that decides what comes of a step: its inputs by their content, the program.

        Raises:
            InspectionError: what it is made from is not there, or damaged.
        """
        return hash_json([step, version("inspection"), *_INPUTS[step](self)])

    @property
    def assembled(self) -> Path:
        """The folder of the data set and the champion."""
        return self.output(Step.ASSEMBLE)

    @property
    def manifest(self) -> Manifest:
        """The set the job learns from and is tested on."""
        return read_manifest(self.assembled / MANIFEST)

    @property
    def champion(self) -> Path | None:
        """The bundle that judges now; none on a first training."""
        folder = self.assembled / CHAMPION
        return folder if folder.is_dir() else None

    @property
    def bundle(self) -> Path:
        """The bundle that the job has made, gated."""
        return self.output(Step.GATE)

    @property
    def bands(self) -> Bands:
        """The bands that bundles are compared with."""
        return read_record(self.path / BANDS, Bands)


def perform(step: Step, folder: Path) -> None:
    """Do one step, unless its output is there; `assemble` is done beside the hub, not here.

    Args:
        step: to do; the steps before it are done.
        folder: of the job.

    Raises:
        ConfigError: the job has no such step, or it needs the hub.
        InspectionError: as the step's own code does.
    """
    if step not in _DOERS:
        raise ConfigError(f"{folder}: step '{step}' needs the hub; wanted {', '.join(_DOERS)}")
    job = JobFolder(folder.absolute())
    kind = job.request.kind
    if step not in STEPS[kind]:
        wanted = ", ".join(one for one in STEPS[kind] if one in _DOERS) or "none: the hub does all"
        raise ConfigError(f"{folder}: a job of kind '{kind}' has no step '{step}'; wanted {wanted}")
    out = job.output(step)
    if not out.is_dir():
        with dated(job.request.asked_at):  # else no two tries would make the same bundle
            _DOERS[step](job, out)


def hash_folder(folder: Path) -> str:
    """Hash every file of a folder with its name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hash_json([(path.relative_to(folder).as_posix(), hash_file(path)) for path in files])


def _run_hash(job: JobFolder) -> str:
    return read_record(job.output(Step.TRAIN) / "run.json", RunRecord).sha256


def _made_from(job: JobFolder) -> list[object]:
    """Give what a bundle is calibrated or updated from."""
    request = job.request
    about = [request.export.model_dump(mode="json"), request.name, str(request.asked_at)]
    if Step.TRAIN not in STEPS[request.kind]:
        return [*about, request.champion_id, job.manifest.sha256]
    return [*about, _run_hash(job), hash_folder(job.output(Step.EXPORT))]


_INPUTS: dict[Step, Callable[[JobFolder], list[object]]] = {
    Step.ASSEMBLE: lambda job: [job.request.job_id, str(job.request.asked_at)],
    Step.TRAIN: lambda job: [job.manifest.sha256, job.request.train.model_dump(mode="json")],
    Step.EXPORT: lambda job: [_run_hash(job), job.request.export.model_dump(mode="json")],
    Step.CALIBRATE: _made_from,
    Step.GATE: lambda job: [hash_file(job.output(Step.CALIBRATE) / SUMS)],
    Step.COMPARE: lambda job: [
        hash_file(job.bundle / SUMS),
        job.request.champion_id,
        job.manifest.sha256,
        hash_file(job.assembled / RECENT),
        job.bands.model_dump(mode="json"),
    ],
}


def _train(job: JobFolder, out: Path) -> None:
    # a station's and a hub's machine has no trainer
    from inspection.training.fit import train

    train(job.request.train, job.assembled / MANIFEST, out)


def _export(job: JobFolder, out: Path) -> None:
    from inspection.export.build import export_graphs

    export_graphs(job.output(Step.TRAIN), job.request.export, out)


def _calibrate(job: JobFolder, out: Path) -> None:
    if Step.TRAIN not in STEPS[job.request.kind]:
        _update(job, out)
        return
    from inspection.export.build import calibrate_graphs

    run, graphs = job.output(Step.TRAIN), job.output(Step.EXPORT)
    calibrate_graphs(run, graphs, job.request.export, out, job.request.name)


def _update(job: JobFolder, out: Path) -> None:
    from inspection.export.update import update_bundle

    if job.champion is None:
        raise UpdateImpossible(
            f"{job.path}: an update needs a bundle that judges; ask for a retraining"
        )
    if read_card(job.champion).train != job.request.train:
        raise UpdateImpossible(
            f"bundle {str(job.request.champion_id)[:12]}: was fitted by another configuration than "
            "wanted now, and an update keeps backbone and budget; ask for a retraining"
        )
    light_only = job.request.kind is JobKind.GUARDS
    manifest = job.assembled / MANIFEST
    update_bundle(job.champion, manifest, job.request.export, out, light_only=light_only)


def _gate(job: JobFolder, out: Path) -> None:
    """Put the bundle to its gate under another name, so that no step changes another's output."""
    from inspection.export.gate import gate_bundle

    with new_folder(out) as folder:
        made = job.output(Step.CALIBRATE)
        shutil.copytree(made, folder, copy_function=link_or_copy, dirs_exist_ok=True)
        gate_bundle(folder)


def _compare(job: JobFolder, out: Path) -> None:
    from inspection.retraining.compare import compare

    recent = read_manifest(job.assembled / RECENT)
    is_new = job.request.kind is not JobKind.GUARDS and any(
        one.outdated for one in job.manifest.entries
    )
    pair = job.champion, job.bundle
    comparison = compare(*pair, golden(job.manifest), recent, job.bands, is_new=is_new)
    with new_folder(out) as folder:
        write_text(folder / COMPARISON, comparison.model_dump_json(indent=1) + "\n")


_DOERS: dict[Step, Callable[[JobFolder, Path], None]] = {
    Step.TRAIN: _train,
    Step.EXPORT: _export,
    Step.CALIBRATE: _calibrate,
    Step.GATE: _gate,
    Step.COMPARE: _compare,
}
