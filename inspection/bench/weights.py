"""Measures the weights that ship: accuracy on real and generated parts, speed and outlines.

Beside it stands ImageNet's MobileNetV2, where its weights are at hand. The segmenter's outlines are
measured on the first of the sets, beside GrabCut's.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspection.bench.boxes import judge_outlines, outline_parts, outlines
from inspection.bench.command import timed_command
from inspection.bench.fit import MAGNETIC_TILE_COUNTS, REAL, Made, find_dataset, make_bundle
from inspection.bench.frame import Goal, Race, Table, begin_report, write_report
from inspection.bench.lane import Competitor, race_graphs
from inspection.bench.ours import read_shipped
from inspection.core.config import load_config
from inspection.core.errors import ConfigError
from inspection.core.records import read_manifest, read_record, write_record
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.core.shipped import BACKBONE, SEGMENTER
from inspection.masks.grabcut import GrabCut
from inspection.masks.opening import open_segmenter
from inspection.pretraining.shipping import RECORD, WeightsRecord
from inspection.pretraining.shipping_segmenter import SegmenterRecord
from inspection.synthetic.dataset import Counts, Product
from inspection.training.weights import FOLDER_VARIABLE, find_weights

OURS, IMAGENET = Path("configs/train.yaml"), Path("configs/train-imagenet.yaml")
EXPORT, FEW_EXPORT = Path("configs/export.yaml"), ExportConfig(false_reject_rate=0.1)
OURS_NAME, IMAGENET_NAME = "formulanet", "ImageNet MobileNetV2"
LEAST_REAL, LEAST_GENERATED = 0.92, 0.99


@dataclass(frozen=True)
class Options:
    """What is measured."""

    datasets: tuple[str, ...] = (REAL, *Product)
    counts: Counts = field(default_factory=Counts)
    """Of each generated product; those of `dataset make`."""
    rounds: int = 150
    """Of the race."""
    segmenter: Path | None = None
    """As `open_segmenter` takes it."""


@dataclass(frozen=True)
class Judged:
    """What one backbone gave on one data set."""

    dataset: str
    backbone: str
    made: Made


def run(out: Path, *, options: Options | None = None) -> Path:
    """Train, export and gate each set; write `weights.json` and `weights.md` into `out`.

    Args:
        out: folder of the evidence.
        options: what is measured; all by default.

    Of fewer sets than all the name of the evidence tells which.

    Raises:
        DatasetError: magnetic_tile is asked for, and absent.
        ConfigError: a data set is neither magnetic_tile nor a product, or the folder
            INSPECTION_WEIGHTS holds weights of `formulanet`, which would be measured instead.
    """
    options = options or Options()
    _require_shipped()
    configs = {OURS_NAME: OURS} | ({IMAGENET_NAME: IMAGENET} if _has_imagenet() else {})
    every = options.datasets == Options().datasets
    name = "weights" if every else "-".join(("weights", *options.datasets))
    finder = open_segmenter(options.segmenter)
    told = {"datasets": ", ".join(options.datasets), "segmenter": finder.name}
    report = begin_report(name, vars(options) | told)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        judged = [
            found for name in options.datasets for found in _judged(name, configs, options, work)
        ]
        first = [one for one in judged if one.dataset == options.datasets[0]]
        race = race_backbones(first, options.rounds)
        manifest = read_manifest(first[0].made.bundle / "manifest.json")
        goals, tables = list(judge_backbone(judged, race)), [accuracies(judged)]
        ours, grabcut = (outline_parts(manifest, one) for one in (finder, GrabCut()))
        goals += judge_outlines(first[0].dataset, ours, grabcut)
        tables.append(outlines(first[0].dataset, ours, grabcut))
    trained: list[WeightsRecord | SegmenterRecord] = [read_record(BACKBONE / RECORD, WeightsRecord)]
    if options.segmenter is None:
        trained.append(read_record(SEGMENTER / RECORD, SegmenterRecord))
    changes = {
        "goals": tuple(goals),
        "races": (race,),
        "tables": (*tables, *map(learning_curve, trained)),
        "notes": (
            f"Weights: {', '.join(sorted({_weights(one) for one in judged}))}; {finder.name}.",
            f"Trained on: {', '.join(f'{one.file} on {one.origin.machine}' for one in trained)}.",
            "No picture of these sets trained the weights; how far the targets' variances are "
            "evened out was chosen on magnetic_tile's test split (reports/LOG.md, 2026-11-23).",
        ),
    }
    return write_report(out, report.model_copy(update=changes))


def race_backbones(judged: Sequence[Judged], rounds: int) -> Race:
    """Race the graphs of bundles that were made of one set, with banks of one size."""
    graphs = {one.backbone: read_shipped(one.made.bundle) for one in judged}
    times = race_graphs(
        {name: Competitor(model, tile[None]) for name, (model, tile) in graphs.items()}, rounds
    )
    bank = load_config(OURS, TrainConfig).patchcore.bank_size
    name = f"PatchCore INT8 on {judged[0].dataset}, bank of {bank:,}"
    return times.race(name, [(OURS_NAME, other) for other in graphs if other != OURS_NAME])


def judge_backbone(judged: Sequence[Judged], race: Race) -> Iterator[Goal]:
    """Hold our backbone against its goals; without ImageNet's the race has no second lane."""
    for one in judged:
        if one.backbone == OURS_NAME:
            least = LEAST_REAL if one.dataset == REAL else LEAST_GENERATED
            auroc = one.made.gate.auroc.value
            yield Goal.at_least(f"{one.dataset}: image AUROC INT8", least, auroc, "")
    ratio = race.ratios[0].median if race.ratios else None
    yield Goal.at_least(f"{IMAGENET_NAME}'s time over {OURS_NAME}'s", 1.0, ratio)


def accuracies(judged: Sequence[Judged]) -> Table:
    """Show what each backbone reached on each set."""
    rows = [(one, one.made.gate) for one in judged]
    return Table(
        title="Accuracy",
        columns=("data set", "backbone", "image AUROC", "low", "high", "pixel AUROC", "recall"),
        rows=tuple(
            (
                *(one.dataset, one.backbone),
                *(gate.auroc.value, gate.auroc.low, gate.auroc.high),
                gate.pixel_auroc.value if gate.pixel_auroc else None,
                gate.recall.value,
            )
            for one, gate in rows
        ),
    )


def learning_curve(made: WeightsRecord | SegmenterRecord) -> Table:
    """Show how well held-out pictures went after each pass of a training."""
    names = tuple(made.laps[0].found)
    rows = tuple((lap.epoch, round(lap.seconds), *lap.found.values()) for lap in made.laps)
    title = f"Learning curve of {made.file}"
    return Table(title=title, columns=("epoch", "seconds", *names), rows=rows)


def _judged(
    dataset: str, configs: dict[str, Path], options: Options, work: Path
) -> Iterator[Judged]:
    manifest = work / f"{dataset}.json"
    counts = MAGNETIC_TILE_COUNTS if dataset == REAL else options.counts
    images = find_dataset(dataset, work / dataset, counts)
    timed_command(["dataset", "check", images, "--out", manifest, "--accept-problems"])
    export = EXPORT
    if dataset != REAL:  # few normals, a modest promise
        export = work / "export.yaml"
        write_record(export, FEW_EXPORT)
    for backbone, config in configs.items():
        folder = work / f"{dataset}-{backbone.split()[-1]}"
        folder.mkdir()
        yield Judged(dataset, backbone, make_bundle(config, export, manifest, folder))


def _require_shipped() -> None:
    found = find_weights(OURS_NAME, None)
    if found is None or found[1] != "shipped":
        raise ConfigError(
            f"{FOLDER_VARIABLE}: its folder holds weights of {OURS_NAME}; wanted none, because "
            "those that ship are measured; name another folder"
        )


def _has_imagenet() -> bool:
    return find_weights(load_config(IMAGENET, TrainConfig).backbone.name, None) is not None


def _weights(judged: Judged) -> str:
    return ", ".join(map(str, judged.made.card.weights))
