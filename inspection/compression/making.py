"""Makes one rung of the ladder: its weights, its run, its bundle, and what that shows."""

from pathlib import Path

from inspection.bundles.bundle import open_bundle
from inspection.bundles.saving import load_arrays, save_arrays
from inspection.compression.distil import make_student
from inspection.compression.ladder import Rung
from inspection.core.folders import link_or_copy, new_folder
from inspection.core.origin import describe_origin
from inspection.core.records import hash_file, read_manifest, write_record
from inspection.core.settings import TrainConfig
from inspection.export.bank import BANK
from inspection.export.build import export_bundle, read_run
from inspection.retraining.measuring import measure
from inspection.training.fit import PACKAGES, train

RUN, BUNDLE, STUDENT, MEASURED = "run", "bundle", "student", "measured.json"


def make(rung: Rung, run: Path, defects_per_normal: int, folder: Path) -> None:
    """Make and measure a rung in its folder, as far as that is not done.

    Every step is written whole or not at all.

    Args:
        rung: of the ladder.
        run: the champion's.
        defects_per_normal: generated on each calibrate part, to measure it by.
        folder: takes run, bundle, weights and `measured.json`.

    Raises:
        InspectionError: as the steps do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / BUNDLE).exists():
        export_bundle(_run_of(rung, run, folder), rung.export, folder / BUNDLE)
    bundle = open_bundle(folder / BUNDLE, allow_refused=True)
    found = measure(bundle, read_manifest(run / "manifest.json"), defects_per_normal)
    write_record(folder / MEASURED, found)


def _run_of(rung: Rung, champion: Path, folder: Path) -> Path:
    """Give the run a rung is exported from, made where it is not the champion's own."""
    if rung.bank is None and rung.train is None:
        return champion
    run = folder / RUN
    if run.exists():
        return run
    if rung.train is None:
        keep_bank(champion, rung.bank or 0, run)
        return run
    config = rung.train
    if rung.student:
        config = _with_student(rung, config, champion, folder / STUDENT)
    train(config, champion / "manifest.json", run)
    return run


def _with_student(rung: Rung, config: TrainConfig, champion: Path, folder: Path) -> TrainConfig:
    """Give a configuration that names the weights made for it."""
    if not folder.exists():
        make_student(champion, config, folder, taught=rung.taught)
    (weights,) = folder.glob("*.safetensors")
    backbone = config.backbone.model_copy(update={"weights": str(weights.absolute())})
    return config.model_copy(update={"backbone": backbone})


def keep_bank(champion: Path, count: int, out: Path) -> None:
    """Write a run with the first vectors of another's bank, whole or not at all.

    Raises:
        TrainingError: the run is damaged.
    """
    record = read_run(champion)
    with new_folder(out) as folder:
        for name in record.files:
            if name != BANK:
                link_or_copy(champion / name, folder / name)
        first = {name: one[:count] for name, one in load_arrays(champion / BANK).items()}
        save_arrays(first, folder / BANK)
        patchcore = record.config.patchcore.model_copy(update={"bank_size": count})
        kept = record.model_copy(
            update={
                "config": record.config.model_copy(update={"patchcore": patchcore}),
                "origin": describe_origin(PACKAGES),
                "files": {name: hash_file(folder / name) for name in sorted(record.files)},
            }
        )
        write_record(folder / "run.json", kept)
