"""Goes the whole way on generated parts: make, check, train, export, gate, judge, station, plant.

The folder it fills is its own: it replaces what it made itself, and refuses what it did not make.
"""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from inspection import plant
from inspection.bundles.bundle import open_bundle
from inspection.bundles.judging import judge_files
from inspection.core.decision import ScoreRule
from inspection.core.errors import ConfigError, DatasetError
from inspection.core.gate import GateRecord
from inspection.core.geometry import Geometry
from inspection.core.records import Manifest, Split, Weights, write_record, write_text
from inspection.core.settings import ExportConfig, PatchcoreConfig, TrainConfig
from inspection.data.check import check_dataset
from inspection.data.split import SplitRule
from inspection.export.build import export_bundle
from inspection.export.gate import gate_bundle
from inspection.report.writer import write_report
from inspection.station.service import serve
from inspection.station.settings import CameraRecipe, StationConfig
from inspection.station.sources.settings import CAMERA, FolderSettings
from inspection.synthetic.dataset import Counts, Product, make_dataset
from inspection.training.fit import train

logger = logging.getLogger(__name__)

MARKER = ".made-by-inspection-demo"
MADE = (
    "plate",
    "manifest.json",
    "run",
    "bundle",
    "overlays",
    "incoming",
    "station",
    "report.html",
    "hub",
    plant.FOLDER,
)
OVERLAYS = 8  # parts judged one by one, with pictures
COUNTS = Counts(train_good=160, test_good=100, per_defect=20)
RULE = SplitRule(calibrate_share=0.25)  # about 40 normals, so that 0.05 can be promised
TRAIN = TrainConfig(
    geometry=Geometry(height_px=256, width_px=352),
    patchcore=PatchcoreConfig(bank_size=2_048, candidates=50_000),
    score=ScoreRule(smooth_sigma=1.0),
)
EXPORT = ExportConfig(false_reject_rate=0.05, calibration_images=64)


@dataclass(frozen=True)
class Outcome:
    """How the demonstration went and where everything lies."""

    passed: bool
    gate: GateRecord
    weights: tuple[Weights, ...]
    promised: float
    verdicts: dict[str, int]
    report: Path
    overlays: Path | None
    """None when the gate refused: a refused bundle judges nothing."""
    events: Path | None
    plant: plant.Plant | None
    """Hub, station and dashboard, running in the background; none when the gate refused."""
    duration_s: float


def run_demo(out: Path, *, counts: Counts = COUNTS, settings: TrainConfig = TRAIN) -> Outcome:
    """Fill a folder with a generated set and all that the stages make of it.

    Args:
        out: the folder; what an earlier demonstration made in it is replaced.
        counts: how many parts are generated.
        settings: what is fitted on them.

    Raises:
        ConfigError: `out` holds files of these names that no demonstration made.
        InspectionError: a stage cannot go on.
    """
    started = time.perf_counter()
    clear_demo(out)
    logger.info("1 of 7: generating parts")
    make_dataset(out / "plate", Product.PLATE, seed=0, counts=counts)
    manifest = _check(out)
    logger.info("2 of 7: training")
    record = train(settings, out / "manifest.json", out / "run")
    logger.info("3 of 7: exporting to INT8")
    export_bundle(out / "run", EXPORT, out / "bundle")
    logger.info("4 of 7: asking the gate")
    gate = gate_bundle(out / "bundle")
    logger.info("5 of 7: judging, and running the station")
    verdicts = _judge(out, manifest) if gate.passed else {}
    logger.info("6 of 7: writing the report")
    write_report(out / "bundle", out / "report.html", manifest=out / "bundle" / "manifest.json")
    running = _run_plant(out, sum(verdicts.values())) if gate.passed else None
    return Outcome(
        passed=gate.passed,
        gate=gate,
        weights=record.weights,
        promised=EXPORT.false_reject_rate,
        verdicts=verdicts,
        report=out / "report.html",
        overlays=out / "overlays" if gate.passed else None,
        events=out / "station" / "events.sqlite" if gate.passed else None,
        plant=running,
        duration_s=time.perf_counter() - started,
    )


def clear_demo(out: Path) -> None:
    """Remove what an earlier demonstration made in `out`, and mark the folder as its own.

    Raises:
        ConfigError: `out` is no folder, or holds files of these names without the mark.
    """
    found = [name for name in MADE if (out / name).exists()]
    if (out.exists() and not out.is_dir()) or (found and not (out / MARKER).is_file()):
        raise ConfigError(
            f"{out}: holds {', '.join(found) or 'no folder'} that no demonstration made; "
            "name another folder with --out, or move it away"
        )
    plant.stop(out)
    write_text(out / MARKER, "inspection demo replaces what it made here\n")
    for name in found:
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check(out: Path) -> Manifest:
    report = check_dataset(out / "plate", rule=RULE, false_reject_rate=EXPORT.false_reject_rate)
    if not report.sound:
        raise DatasetError("\n".join(problem.message for problem in report.problems))
    write_record(out / "manifest.json", report.manifest)
    return report.manifest


def _judge(out: Path, manifest: Manifest) -> dict[str, int]:
    """Judge a few parts with pictures, then all test parts as a station does."""
    paths = [Path(manifest.root, entry.path) for entry in manifest.of(Split.TEST)]
    few = paths[:: max(1, len(paths) // OVERLAYS)]
    list(judge_files(open_bundle(out / "bundle"), few, out / "overlays"))
    for path in paths:
        target = out / "incoming" / path.relative_to(out.resolve() / "plate" / "test")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    config = StationConfig(
        recipes={"default": {CAMERA: CameraRecipe(bundle=out / "bundle")}},
        source=FolderSettings(path=out / "incoming", settle_ms=0, once=True),
        data_dir=out / "station",
        outputs=(),
    )
    status = serve(config)
    return {verdict.value: count for verdict, count in status.since_start.items()}


def _run_plant(out: Path, parts: int) -> plant.Plant:
    """Start hub, station and dashboard, and see the station's parts arrive."""
    logger.info("7 of 7: starting hub, station and dashboard")
    plant.set_up(out)
    running = plant.start(out)
    plant.wait_for_parts(running, parts)
    return running
