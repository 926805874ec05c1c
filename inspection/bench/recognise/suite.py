"""Measures the second stage on magnetic_tile: accuracy, what INT8 costs, speed, and the OR rule.

Each network is trained, exported and judged by the project's own commands' code; their detectors
are raced on the same parts; then each stands beside an anomaly model.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspection.bench.command import timed_command
from inspection.bench.fit import MAGNETIC_TILE_COUNTS, REAL, find_dataset, make_bundle
from inspection.bench.frame import (
    Goal,
    Race,
    Table,
    begin_report,
    time_lanes,
    working_in,
    write_report,
)
from inspection.bench.recognise.parts import label_settings
from inspection.bundles.bundle import open_bundle
from inspection.core.errors import ConfigError
from inspection.core.imaging import Rgb
from inspection.core.known import look_from
from inspection.core.progress import follow
from inspection.detectors.detector import Detector, DetectorCard, open_detector
from inspection.metrics.either import Gain, Parts, recall_gain
from inspection.recognition.checking import gather
from inspection.recognition.exporting import export_recogniser, lost
from inspection.recognition.labels import LabelledPicture
from inspection.recognition.settings import LabelSettings, NetworkSettings, RecogniseConfig
from inspection.recognition.teaching import RecogniserRun, read_recogniser, train_recogniser


class Name(StrEnum):
    """Networks that need no checkpoint."""

    CENTERMASK = "centermask"
    MASKRCNN = "maskrcnn"
    FCOS = "fcos"
    RETINANET = "retinanet"


LEAST_MASK_AP, LEAST_TYPES, MOST_DROP, LEAST_FASTER = 0.60, 0.85, 0.01, 1.3
LEAST_GAIN = 0.001  # of recall; a detector that finds nothing gains none
RATES = (0.01, 0.05)  # of good parts that may be held
ABOVE_NORMALS = (0.0, 0.5, 0.75, 0.9)  # as stations may be told
JUDGED = (0.0, 0.9)  # of these, what has goals
SEED = 0


@dataclass(frozen=True)
class Options:
    """What is measured."""

    networks: tuple[Name, ...] = (Name.CENTERMASK, Name.MASKRCNN)
    """The first is raced against the others."""
    backbone: str = "mobilenetv2_100"
    epochs: int = 40
    input_px: int = 320
    rounds: int = 150
    train_config: Path = Path("configs/train-imagenet.yaml")
    export_config: Path = Path("configs/export.yaml")
    dataset: Path | None = None
    """magnetic_tile's folder; none finds it."""


@dataclass(frozen=True)
class Stage:
    """One trained second stage."""

    name: str
    run: RecogniserRun
    card: DetectorCard
    folder: Path


@dataclass(frozen=True)
class Gained:
    """What a network brings to the anomaly model at one rate."""

    network: str
    above: float
    """Share of normals that frames must be as unusual as, to be looked at."""
    looked: float
    """Share of good parts that are."""
    unlooked: int
    """Parts with a defect that are not."""
    gain: Gain


def run(out: Path, *, options: Options | None = None, work: Path | None = None) -> Path:
    """Train, export, race and judge; write `recognise.json` and `recognise.md` into `out`.

    Args:
        out: folder of the evidence.
        options: what is measured.
        work: folder that keeps labels and runs, and may hold them; none throws them away.

    Raises:
        DatasetError: magnetic_tile is absent.
        ConfigError: `work` holds a run of other options.
        GateRefused: INT8 loses too much, also after training for it.
    """
    with working_in(work) as folder:
        return _run(out, options or Options(), folder)


def _run(out: Path, options: Options, work: Path) -> Path:
    settings = vars(options) | {"dataset": REAL, "networks": ", ".join(options.networks)}
    report = begin_report("recognise", settings)
    root = options.dataset or find_dataset(REAL, work / "images", MAGNETIC_TILE_COUNTS)
    labels = label_settings(root, work)
    stages = [_stage(name, labels, options, work) for name in options.networks]
    judging = gather(labels).of("test")
    race = _race(stages, judging, options.rounds)
    gains = _gains(stages, judging, options, root, work)
    goals = (*_accurate(stages), *_fast(race, stages), *_better(gains))
    changes = {
        "goals": goals,
        "races": (race,),
        "tables": (*map(_types, stages), _summary(stages), _rule(gains)),
        "notes": (
            *(f"{one.name}: began with {', '.join(map(str, one.run.weights))}." for one in stages),
            "Parts that seem to show one tile stand on one side. The race takes a detector's whole "
            "look: preparation, graphs, decoding, masks; a part with a defect each round.",
            "OR rule: thresholds are set on good parts of `test`, which taught neither model, in "
            "each draw anew, of known defects no lower than the detector's least score; "
            "the rule of two thresholds holds one of these parts less, so that both rules are to "
            "hold the same share of further ones. Frames that score below the share of normals are "
            "not looked at, as `recognition.above_normals` has it; which share does best was read "
            "on these parts.",
        ),
    }
    return write_report(out, report.model_copy(update=changes))


def _stage(name: Name, labels: LabelSettings, options: Options, work: Path) -> Stage:
    config = RecogniseConfig(
        labels=labels,
        network=NetworkSettings(name=name.value, backbone=options.backbone),
        input_hw=(options.input_px, options.input_px),
        epochs=options.epochs,
        seed=SEED,
    )
    trained = work / f"run-{name}"
    if not trained.exists():
        train_recogniser(config, trained)
    record = read_recogniser(trained)[0]
    if record.config != config:
        raise ConfigError(f"{trained}: was trained otherwise; wanted {config}; name another folder")
    if (work / name).exists():
        card = open_detector(work / name).card
    else:
        card = export_recogniser(trained, work / name)
    return Stage(name.value, record, card, work / name)


def _race(stages: Sequence[Stage], judging: Sequence[LabelledPicture], rounds: int) -> Race:
    parts = [one.pixels for one in judging if one.defects]
    lanes = {one.name: _lane(open_detector(one.folder), parts) for one in stages}
    times = time_lanes(lanes, rounds)
    return times.race("INT8, one part", [(stages[0].name, one.name) for one in stages[1:]])


def _lane(detector: Detector, parts: Sequence[Rgb]) -> Callable[[], float]:
    turns = cycle(parts)

    def look() -> float:
        part = next(turns)
        begun = time.perf_counter()
        detector.find(part)
        return (time.perf_counter() - begun) * 1000

    return look


def _gains(
    stages: Sequence[Stage],
    judging: Sequence[LabelledPicture],
    options: Options,
    root: Path,
    work: Path,
) -> list[Gained]:
    """Hold the anomaly model alone against it or each network, where frames are unusual."""
    manifest = work / "manifest.json"
    timed_command(["dataset", "check", root, "--out", manifest, "--accept-problems"])
    made = make_bundle(options.train_config, options.export_config, manifest, work / "anomaly")
    bundle = open_bundle(made.bundle, allow_refused=True)
    unknown = [one for one in judging if one.defects or "test/good" in one.name]
    scores = np.array([bundle.judge(one.pixels).score for one in follow(unknown, "scores")])
    defective = np.array([bool(one.defects) for one in unknown])
    gained = []
    for stage in stages:
        detector = open_detector(stage.folder)
        known = [detector.find(one.pixels).scores for one in follow(unknown, "names")]
        surest = np.array([one.max(initial=0.0) for one in known])
        normals, least = bundle.card.calibrate_scores, detector.card.limits.least_score
        seen = Parts(scores, surest)
        gained += gains_of(stage.name, seen, defective, normals, least)
    return gained


def gains_of(
    network: str,
    seen: Parts,
    defective: NDArray[np.bool_],
    normals: Sequence[float],
    least: float,
) -> list[Gained]:
    """Give what a network gains where it looks at frames from each share of the normals on.

    Args:
        network: its name.
        seen: of every part.
        defective: which of them have a defect.
        normals: scores of the bundle's calibrate parts, ascending.
        least: score from which a known defect may count.
    """
    gained = []
    for above in ABOVE_NORMALS:
        looked = seen.scores >= look_from(normals, above)
        parts = Parts(seen.scores, np.where(looked, seen.known, 0.0))
        good, bad = (parts.at(np.flatnonzero(of)) for of in (~defective, defective))
        at = float(looked[~defective].mean()), int((~looked[defective]).sum())
        gained += [
            Gained(network, above, *at, recall_gain(good, bad, rate, least, SEED)) for rate in RATES
        ]
    return gained


def _accurate(stages: Sequence[Stage]) -> list[Goal]:
    first, goals = stages[0], []
    if first.card.scores:
        goals = [
            Goal.at_least(
                f"{first.name}, INT8: mask AP50", LEAST_MASK_AP, first.card.scores.mask_ap50, ""
            ),
            Goal.at_least(
                f"{first.name}, INT8: types of detected defects right",
                LEAST_TYPES,
                first.card.scores.type_accuracy,
                "",
            ),
        ]
    for one in stages:
        if one.card.scores and one.card.fp32:
            what = f"{one.name}: box or mask AP50 lost by INT8, quantised {one.card.quantised}"
            goals.append(Goal.at_most(what, MOST_DROP, lost(one.card.fp32, one.card.scores), ""))
    return goals


def _fast(race: Race, stages: Sequence[Stage]) -> list[Goal]:
    rivals = {one.name for one in stages if one.name == "maskrcnn"}
    return [
        Goal.at_least(f"{ratio.slow} over {ratio.fast}, INT8", LEAST_FASTER, ratio.median)
        for ratio in race.ratios
        if ratio.slow in rivals
    ]


def _better(gained: Sequence[Gained]) -> list[Goal]:
    return [
        Goal.at_least(
            f"OR rule, {one.network}, above {one.above:.0%} of normals: recall gained at "
            f"{one.gain.rate:.0%} of good parts held, 95 % bound",
            LEAST_GAIN,
            one.gain.gain.low,
            "",
        )
        for one in gained
        if one.above in JUDGED
    ]


def _types(stage: Stage) -> Table:
    scores = stage.card.scores
    rows = tuple(
        (name, one.drawn, one.box_ap50, one.mask_ap50, one.found, one.named)
        for name, one in (scores.types.items() if scores else ())
    )
    columns = ("type", "drawn", "box AP50", "mask AP50", "found", "named right")
    return Table(title=f"{stage.name}, INT8, on parts that judge", columns=columns, rows=rows)


def _summary(stages: Sequence[Stage]) -> Table:
    columns = (
        *("network", "precision", "box AP50", "mask AP50", "found", "types right"),
        *("good parts held", "training, s"),
    )
    rows = tuple(
        (
            *(one.name, precision, scores.box_ap50, scores.mask_ap50, scores.recall),
            *(scores.type_accuracy, scores.good_held, round(one.run.duration_s)),
        )
        for one in stages
        for precision, scores in (("FP32", one.card.fp32), ("INT8", one.card.scores))
        if scores
    )
    return Table(title="FP32 and INT8", columns=columns, rows=rows)


def _rule(gained: Sequence[Gained]) -> Table:
    columns = (
        *("network", "above normals", "good parts looked at", "defective ones not"),
        *("good parts held", "known from"),
        *("recall, score alone", "score or known defect", "gain", "95 %"),
    )
    rows = tuple(
        (
            *(one.network, one.above, one.looked, one.unlooked, one.gain.rate, one.gain.level),
            *(one.gain.alone, one.gain.either),
            one.gain.gain.value,
            f"{one.gain.gain.low:.3f} to {one.gain.gain.high:.3f}",
        )
        for one in gained
    )
    return Table(title="OR rule on parts that neither model knew", columns=columns, rows=rows)
