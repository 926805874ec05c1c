"""Measures what several frames of a part are worth, and what becomes of its false-reject rate.

Generated parts on a turntable, on a conveyor and in tiles are judged and fused by the station's own
code. Every way of judging is held to the same promised rate per part; thresholds come from good
parts that are neither trained on nor tested.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspection.bench.command import timed_command
from inspection.bench.frame import Cell, Goal, Table, begin_report, write_report
from inspection.bundles.bundle import open_bundle
from inspection.core.config import load_config
from inspection.core.geometry import Roi
from inspection.core.progress import follow
from inspection.core.records import Interval, write_text
from inspection.core.settings import ExportConfig
from inspection.metrics.calibration import conformal_threshold
from inspection.metrics.image import proportion_interval
from inspection.station.frames.fuse import fuse
from inspection.station.frames.settings import FramesSettings
from inspection.station.look import Look, look_at
from inspection.station.part import Frame, Part
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings
from inspection.synthetic.dataset import Counts, Product, make_dataset
from inspection.synthetic.flaws import Flaw
from inspection.synthetic.frames import FramedPart, Motion, Motions, make_framed

RATE = 0.05  # promised false rejects, per part
NOISE = 8.0  # deviation of an exposure's noise, levels of 255
DRAWS = 1_000
COUNTS = {Motion.TURNTABLE: 3, Motion.CONVEYOR: 6, Motion.TILES: 4}
NO_GUARDS = GuardSettings(size="off", exposure="off", focus="off", missing="off", frozen="off")
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class FramesOptions:
    """How many parts of each motion."""

    train: int = 40
    calibrate: int = 100
    good: int = 100
    per_defect: int = 10
    product: Product = Product.PLATE
    train_config: Path = Path("configs/train.yaml")
    export_config: Path = Path("configs/export.yaml")


@dataclass(frozen=True)
class _Scored:
    """The scores of some parts: (parts, frames) alone, and (parts,) of each fusion."""

    alone: Scores
    fused: dict[str, Scores]


@dataclass(frozen=True)
class _Way:
    """One way of judging parts: scores of good and defective ones, its threshold on calibrate."""

    name: str
    threshold: float
    good: Scores
    defects: Scores

    @property
    def false_rejects(self) -> Interval:
        """Share of good parts above the threshold."""
        return proportion_interval(int((self.good > self.threshold).sum()), len(self.good))

    @property
    def recall(self) -> Interval:
        """Share of defective parts above it."""
        return proportion_interval(int((self.defects > self.threshold).sum()), len(self.defects))


def run(out: Path, options: FramesOptions | None = None) -> Path:
    """Measure every motion; write `frames.json` and `frames.md` into `out`.

    Args:
        out: folder of the evidence.
        options: how many parts; the defaults take about four minutes on two cores.
    """
    wanted = options or FramesOptions()
    settings = {"promised per part": RATE, "noise": NOISE, "product": wanted.product}
    sizes = {name: getattr(wanted, name) for name in ("train", "calibrate", "good", "per_defect")}
    report = begin_report("frames", settings | sizes)
    goals: list[Goal] = []
    tables: list[Table] = []
    for motion, count in COUNTS.items():
        with tempfile.TemporaryDirectory() as folder:
            ways = _measure(Motions(motion, count, NOISE), wanted, Path(folder))
        tables.append(_table(motion, count, ways))
        goals += _goals(motion, ways)
    notes = (
        "Generated parts, the backbone of train_config; one INT8 bundle for each motion, trained "
        "on the frames of its own parts.",
        "Single frame: the middle frame decides alone, with a threshold for single frames. Worst "
        "frame: the largest score decides; uncorrected: with the threshold of single frames; for N "
        "frames: at the promised rate over N, as a station takes it from the bundle; whole parts: "
        "on the scores of whole calibrate parts, as inspection thresholds parts sets it.",
        "Averaged: maps laid where frames lie and averaged where they overlap, as `conveyor` does "
        "(tiles: with overlap mean). Step estimated: by phase correlation.",
        "Gain: recall less that of the single frame at the same promised rate, paired bootstrap "
        "over defective parts.",
    )
    changes = {"goals": tuple(goals), "tables": tuple(tables), "notes": notes}
    return write_report(out, report.model_copy(update=changes))


def _measure(motions: Motions, options: FramesOptions, work: Path) -> list[_Way]:
    """Train a bundle on frames, then judge parts by it in every way."""
    judge = _train(motions, options, work)
    keys = {"calibrate": options.calibrate, "good": options.good}
    flaws = [flaw for flaw in Flaw for _ in range(options.per_defect)]
    wanted: list[tuple[str, Flaw | None]]
    wanted = [(f"{name}/{n}", None) for name, count in keys.items() for n in range(count)]
    wanted += [(f"defect/{n}", flaw) for n, flaw in enumerate(flaws)]
    kinds = _kinds(motions)

    def judged(one: tuple[str, Flaw | None]) -> tuple[list[float], dict[str, float]]:
        key, flaw = one
        part = make_framed(motions, options.product, f"bench/{motions.motion}/{key}", flaw)
        return _judge(part, judge, kinds)

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(judged, one) for one in wanted]
        found = [one.result() for one in follow(asked, f"{motions.motion}")]
    alone = np.asarray([frames for frames, _ in found])
    fused = {name: np.asarray([by_kind[name] for _, by_kind in found]) for name in kinds}
    first, second = options.calibrate, options.calibrate + options.good
    parts = [
        _Scored(alone[where], {name: scores[where] for name, scores in fused.items()})
        for where in (slice(0, first), slice(first, second), slice(second, None))
    ]
    return list(_ways(*parts))


def _train(motions: Motions, options: FramesOptions, work: Path) -> BundleJudge:
    counts = Counts(train_good=options.train, test_good=0, per_defect=0)
    images = make_dataset(work / "images", options.product, 0, counts, motions)
    manifest, export = work / "manifest.json", work / "export.yaml"
    config = load_config(options.export_config, ExportConfig)
    promised = config.model_copy(update={"false_reject_rate": RATE})
    write_text(export, promised.model_dump_json())  # JSON is YAML
    split = ["--group", "(.*)_", "--false-reject-rate", str(RATE), "--calibrate-share", "0.3"]
    timed_command(["dataset", "check", images, "--out", manifest, "--accept-problems", *split])
    timed_command(["train", options.train_config, "--data", manifest, "--out", work / "run"])
    timed_command(["export", work / "run", "--out", work / "bundle", "--config", export])
    bundle = open_bundle(work / "bundle", allow_refused=True)
    return BundleJudge(bundle, roi=Roi(), band=bundle.card.band)


def _kinds(motions: Motions) -> dict[str, FramesSettings]:
    """Give the ways to fuse frames of a motion."""
    fusions: dict[str, dict[str, object]] = {"worst frame": {"kind": "views"}}
    offsets = motions.offsets_px
    if motions.motion is Motion.CONVEYOR:
        step = (offsets[-1][0] / (motions.count - 1), 0.0)
        fusions["averaged"] = {"kind": "conveyor", "step_px": step}
        fusions["averaged, step estimated"] = {"kind": "conveyor"}
    elif motions.motion is Motion.TILES:
        fusions["averaged"] = {"kind": "tiles", "offsets_px": offsets, "overlap": "mean"}
    return {
        name: FramesSettings.model_validate({"count": motions.count, "fusion": fusion})
        for name, fusion in fusions.items()
    }


def _judge(
    shown: FramedPart, judge: BundleJudge, kinds: dict[str, FramesSettings]
) -> tuple[list[float], dict[str, float]]:
    """Give the score of each frame alone, and of the part by each fusion."""
    looks = tuple(look_at(one, judge, NO_GUARDS, measured=False) for one in shown.frames)
    part = Part(
        event_id="",
        part_id="",
        product="default",
        frames=tuple(Frame("main", "", one, number=n) for n, one in enumerate(shown.frames, 1)),
        captured_at=datetime.now(UTC),
        arrived_s=None,
    )
    fused = {name: max(_scores(fuse(kind, part, looks)[0])) for name, kind in kinds.items()}
    return _scores(looks), fused


def _scores(looks: Sequence[Look]) -> list[float]:
    return [float("nan") if look.score is None else look.score for look in looks]


def _ways(calibrate: _Scored, good: _Scored, defects: _Scored) -> Iterator[_Way]:
    frames = calibrate.alone.shape[1]
    middle = frames // 2

    def fitted(scores: Scores, rate: float) -> float:
        return conformal_threshold(scores, rate)[0]

    single = fitted(calibrate.alone[:, middle], RATE)
    yield _Way("single frame", single, good.alone[:, middle], defects.alone[:, middle])
    each = calibrate.alone.ravel()
    worst = good.fused["worst frame"], defects.fused["worst frame"]
    yield _Way("worst frame, uncorrected", fitted(each, RATE), *worst)
    for name in calibrate.fused:
        scores = good.fused[name], defects.fused[name]
        yield _Way(f"{name}, for {frames} frames", fitted(each, RATE / frames), *scores)
        yield _Way(f"{name}, whole parts", fitted(calibrate.fused[name], RATE), *scores)


def _gain(way: _Way, single: _Way) -> Interval:
    """Give the recall gained over the single frame, with a paired bootstrap interval."""
    found = (way.defects > way.threshold).astype(np.float64)
    steps = found - (single.defects > single.threshold)
    draws = np.random.default_rng(0).integers(len(steps), size=(DRAWS, len(steps)))
    low, high = np.percentile(steps[draws].mean(axis=1), (2.5, 97.5))
    return Interval(value=float(steps.mean()), low=float(low), high=float(high))


def _table(motion: Motion, count: int, ways: Sequence[_Way]) -> Table:
    single = ways[0]
    rows: list[tuple[Cell, ...]] = [
        (way.name, str(way.false_rejects), str(way.recall), str(_gain(way, single))) for way in ways
    ]
    columns = ("judged by", "false rejects per part", "recall", "gain over the single frame")
    return Table(
        title=f"{motion}, {count} frames: {len(single.good)} good, {len(single.defects)} defective "
        f"parts, {RATE:g} promised",
        columns=columns,
        rows=tuple(rows),
    )


def _goals(motion: Motion, ways: Sequence[_Way]) -> Iterator[Goal]:
    """Hold what the station does by itself to its promise, and the best way to a gain."""
    single, corrected = ways[0], ways[2]
    best = next((way for way in ways if way.name == "averaged, whole parts"), corrected)
    best = best if motion is Motion.CONVEYOR else corrected  # what such a line is advised to take
    yield Goal.at_most(
        f"{motion}: false rejects per part, worst frame for N frames, lower end of the interval",
        RATE,
        corrected.false_rejects.low,
        "",
    )
    yield Goal.at_least(
        f"{motion}: recall gained over a single frame, {best.name}, lower end",
        0.0,
        _gain(best, single).low,
        "",
    )
