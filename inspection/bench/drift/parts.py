"""Generated parts as a station measures them, as they are and as each kind of drift shows them."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inspection.bench.ours import export_and_gate, make_manifest
from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.image_statistics import measure_image
from inspection.core.imaging import Rgb
from inspection.core.progress import follow
from inspection.metrics.blocks import Floats
from inspection.metrics.causes import Cause
from inspection.metrics.drift import SCORE
from inspection.report.perturb import blur, shift
from inspection.synthetic.conditions import dimmed, smeared
from inspection.synthetic.dataset import Counts, Product, make_good

PRODUCT = Product.PLATE
TAUGHT = Counts(train_good=120, test_good=20, per_defect=4)
PASSED = 0.99  # of good parts as they are, by which the threshold is set
FEW_PASS = 0.5  # as hub.blocks


class Drift(NamedTuple):
    """One kind of drift at one strength."""

    name: str
    cause: Cause
    change: Callable[[Rgb], Rgb] | None
    """Of the pixels; none where the material is another."""
    grain: float = 0.0


DRIFTS = (
    *(
        Drift(f"light −{share:.0%}", Cause.LIGHT, partial(dimmed, share=share))
        for share in (0.05, 0.1, 0.2)
    ),
    *(
        Drift(f"blur, σ {sigma} px", Cause.FOCUS, partial(blur, sigma_px=sigma))
        for sigma in (0.4, 0.7, 1.0)
    ),
    *(
        Drift(f"smear {share:.0%}", Cause.FOCUS, partial(smeared, strength=share))
        for share in (0.1, 0.3, 0.6)
    ),
    *(
        Drift(f"shift {share:.1%}", Cause.POSITION, partial(shift, fraction=share))
        for share in (0.01, 0.015, 0.03)
    ),
    *(Drift(f"grain {share:.0%}", Cause.TEXTURE, None, share) for share in (0.03, 0.08, 0.15)),
)


@dataclass(frozen=True)
class Pools:
    """Measured parts to draw from; float64 (parts, columns) as `metrics.drift.Blocks.means`."""

    usual: Floats
    drifted: dict[str, Floats]
    """Those that pass, by the name of the drift; all, where hardly any passes."""


def measure_pools(folder: Path, goods: int, drifted: int) -> Pools:
    """Train a bundle below a folder and measure good parts that it has not seen.

    Args:
        folder: to work in.
        goods: parts as they are.
        drifted: parts of each drift.
    """
    bundle = open_bundle(export_and_gate(folder, make_manifest(folder, PRODUCT, TAUGHT)))
    with ThreadPoolExecutor() as pool:
        usual = list(pool.map(_part, range(goods)))
        measured = _measure(bundle, follow(usual, "parts as they are"))
        limit = float(np.quantile(measured[:, SCORE], PASSED))
        found: dict[str, Floats] = {}
        for drift in follow(DRIFTS, "parts that drift"):
            if drift.change is None:
                parts = list(pool.map(partial(_part, grain=drift.grain), range(drifted)))
            else:
                parts = list(map(drift.change, usual[:drifted]))
            found[drift.name] = _passed(_measure(bundle, parts), limit)
    return Pools(_passed(measured, limit), found)


def _part(number: int, grain: float = 0.0) -> Rgb:
    return make_good(PRODUCT, f"drift/{grain}/{number}", grain)


def _measure(bundle: Bundle, parts: Iterable[Rgb]) -> Floats:
    return np.array([_values(bundle, one) for one in parts], np.float64)


def _values(bundle: Bundle, pixels: Rgb) -> list[float]:
    tiles = bundle.prepare(pixels)
    seen = measure_image(tiles, bundle.card.geometry.tile_columns)
    judged = bundle.judge_tiles(tiles, (pixels.shape[0], pixels.shape[1]))
    return [
        *(seen.light, seen.focus, seen.across, seen.down, seen.texture, judged.score),
        *(judged.embedding or ()),
    ]


def _passed(measured: Floats, limit: float) -> Floats:
    passing = measured[:, SCORE] <= limit
    return measured[passing] if passing.mean() >= FEW_PASS else measured
