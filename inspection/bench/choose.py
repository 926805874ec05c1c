"""Chooses PatchCore's settings without the test split: fit, then generated defects on calibrate.

The proxy is the image AUROC of held-out normals against the same normals with generated defects,
scored by the FP32 graph. What it cannot know is what real defects look like.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
import yaml

from inspection.bench.frame import BenchReport, Table, begin_report, write_report
from inspection.bench.ours import FloatGraphs, without_test
from inspection.bundles.bundle import map_tiles
from inspection.bundles.graph import Graph
from inspection.core.decision import ScoreRule, part_score
from inspection.core.defects import generate_defects
from inspection.core.errors import ConfigError
from inspection.core.geometry import Geometry, prepare
from inspection.core.imaging import Map, Rgb
from inspection.core.parts import FitTiles, load_part
from inspection.core.progress import follow
from inspection.core.records import Interval, Manifest, Split, read_manifest
from inspection.core.settings import TrainConfig
from inspection.metrics.image import auroc_interval

SEED = 0  # of the bootstrap
FIRST_WEIGHTS = (1.0, 0.5, 0.7)  # factor on the finest layer; the others keep 1


@dataclass(frozen=True)
class Options:
    """Which candidates, and how much each may cost."""

    normalise: tuple[str, ...] = ("fixed", "per_image")
    first_weights: tuple[float, ...] = FIRST_WEIGHTS
    pools: tuple[int, ...] = (3, 5)
    sigmas: tuple[float, ...] = (0.0, 0.8, 1.0, 1.5)
    defects_per_normal: int = 4
    bank_size: int = 2_048
    """Smaller than what ships, so that a candidate costs seconds; the same for all."""
    candidates: int = 50_000


@dataclass(frozen=True)
class Prepared:
    """One part ready for the graph: uint8 (tiles, H, W, 3) and the part's size, px."""

    tiles: Rgb
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class Scored:
    """One candidate under one smoothing, with its proxy."""

    config: TrainConfig
    proxy: Interval
    seconds: float

    @property
    def row(self) -> tuple[str | int | float, ...]:
        """What the table shows."""
        return (
            self.config.backbone.normalise,
            str(self.config.patchcore.layer_weights),
            self.config.patchcore.pool,
            self.config.score.smooth_sigma,
            self.proxy.value,
            self.proxy.low,
            self.proxy.high,
            round(self.seconds, 1),
        )


COLUMNS = (
    *("normalise", "layer weights", "pool", "sigma"),
    *("proxy AUROC", "low", "high", "fit and score, s"),
)


def run(
    out: Path,
    *,
    manifest: Path,
    config: TrainConfig | None = None,
    options: Options | None = None,
) -> Path:
    """Score every candidate and write `choose.json` and `choose.md`; the test split is not read.

    Args:
        out: folder of the evidence.
        manifest: of the data set.
        config: what the candidates vary; backbone, geometry and seed stay.
        options: the candidates.

    Raises:
        ConfigError: the configuration is not PatchCore's.
        DatasetError: fit or calibrate is empty or its images are gone.
    """
    options = options or Options()
    base = config or TrainConfig()
    if base.model.lower() != "patchcore":
        raise ConfigError(f"model: found {base.model}; wanted Patchcore; only it has these choices")
    allowed = without_test(read_manifest(manifest))
    allowed.of(Split.CALIBRATE)
    report = begin_report("choose", {"manifest": allowed.sha256, **vars(options)})
    graphs = FloatGraphs(FitTiles(allowed, base.geometry))
    normals = list(_normals(allowed, base.geometry))
    defects = list(_defects(allowed, base.geometry, options.defects_per_normal))
    scored: list[Scored] = []
    for candidate in follow(list_candidates(base, options), "candidates"):
        scored += score_candidate(candidate, graphs, (normals, defects), options.sigmas)
    return write_report(out, _filled(report, scored, len(normals), len(defects)))


def list_candidates(base: TrainConfig, options: Options) -> list[TrainConfig]:
    """List every combination of the options on top of a configuration."""
    others = (1.0,) * (len(base.backbone.layers) - 1)
    return [
        _changed(
            base,
            {"normalise": normalise},
            {
                "pool": pool,
                "layer_weights": (first, *others),
                "bank_size": options.bank_size,
                "candidates": options.candidates,
            },
        )
        for normalise, first, pool in itertools.product(
            options.normalise, options.first_weights, options.pools
        )
    ]


def score_candidate(
    config: TrainConfig,
    graphs: FloatGraphs,
    parts: tuple[Sequence[Prepared], Sequence[Prepared]],
    sigmas: Sequence[float],
) -> list[Scored]:
    """Fit one candidate and give its proxy under each smoothing."""
    started = time.perf_counter()
    normals, defects = (list(maps) for maps in _maps(graphs.fit(config), config.geometry, parts))
    seconds = time.perf_counter() - started
    scored = []
    for sigma in sigmas:
        rule = ScoreRule(smooth_sigma=sigma)
        good, defect = (
            np.array([part_score(score_map, rule, config.geometry) for score_map in maps])
            for maps in (normals, defects)
        )
        under = config.model_copy(update={"score": rule})
        scored.append(Scored(under, auroc_interval(good, defect, SEED), seconds))
    return scored


def choose(scored: Sequence[Scored]) -> Scored:
    """Give the candidate with the largest proxy; of equals the first."""
    return max(scored, key=lambda one: one.proxy.value)


def _changed(base: TrainConfig, backbone: dict[str, object], own: dict[str, object]) -> TrainConfig:
    """Change keys of a configuration, checked as if they stood in its file."""
    values = base.model_dump()
    values["backbone"] |= backbone
    values["patchcore"] |= own
    return TrainConfig.model_validate(values)


def _normals(manifest: Manifest, geometry: Geometry) -> Iterator[Prepared]:
    for entry in follow(manifest.of(Split.CALIBRATE), "reading calibrate"):
        yield _prepared(load_part(manifest, entry), geometry)


def _defects(manifest: Manifest, geometry: Geometry, per_normal: int) -> Iterator[Prepared]:
    entries = manifest.of(Split.CALIBRATE)
    for seed in follow(range(per_normal), "generating defects"):
        parts = (load_part(manifest, entry) for entry in entries)
        for part in generate_defects(parts, seed):
            yield _prepared(part.pixels, geometry)


def _prepared(pixels: Rgb, geometry: Geometry) -> Prepared:
    return Prepared(prepare(pixels, geometry), (pixels.shape[0], pixels.shape[1]))


def _maps(
    model: openvino.Model,
    geometry: Geometry,
    groups: Sequence[Sequence[Prepared]],
) -> Iterator[list[Map]]:
    graph = Graph(model)
    for parts in groups:
        yield [map_tiles(graph, part.tiles, geometry, part.size_hw) for part in parts]


def _filled(
    report: BenchReport, scored: Sequence[Scored], normals: int, defects: int
) -> BenchReport:
    chosen = choose(scored)
    equal = sum(one.proxy.value == chosen.proxy.value for one in scored)
    level = sum(one.proxy.high >= chosen.proxy.value for one in scored)
    rows = tuple(one.row for one in sorted(scored, key=lambda one: -one.proxy.value))
    keys = {
        "backbone": {"normalise": chosen.config.backbone.normalise},
        "patchcore": {
            "pool": chosen.config.patchcore.pool,
            "layer_weights": list(chosen.config.patchcore.layer_weights or ()),
        },
        "score": {"smooth_sigma": chosen.config.score.smooth_sigma},
    }
    notes = (
        f"{normals} calibrate normals against {defects} generated defects on them; the test split "
        "was not read.",
        f"Of {len(scored)} settings {equal} share the best value and the first of them is taken; "
        f"{level} have an interval that reaches it.",
    )
    tables = (
        Table(title="Choice", columns=COLUMNS, rows=(chosen.row,)),
        Table(
            title="Choice as configuration",
            columns=("key", "value"),
            rows=tuple(
                (key, yaml.safe_dump(value, default_flow_style=True).strip())
                for key, value in keys.items()
            ),
        ),
        Table(title="All, best first", columns=COLUMNS, rows=rows),
    )
    return report.model_copy(update={"tables": tables, "notes": notes})
