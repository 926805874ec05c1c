"""Holds the masks of rejected parts against the true ones: coarse, of the band, refined."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.bench.frame import Goal, Table
from inspection.bench.refine.choice import MOST_WORSE, WORSE_BY, share_worse
from inspection.bench.refine.parts import Rejected, coarse_mask, refine
from inspection.bundles.bundle import Bundle
from inspection.core.imaging import Map, Mask
from inspection.masks.clicks import Clicks
from inspection.masks.components import heat_of
from inspection.masks.refine import Refiner
from inspection.masks.segmenter import Points, Segmenter
from inspection.metrics.masks import area_error, boundary_f1, dice, iou

LEAST_GAIN = {True: 0.10, False: 0.03}  # of the mean IoU, with a trained segmenter or without
MOST_MS = 150.0
THRESHOLDS = 1_000
SHRUNK = 0.5  # of the true area: an outline below it makes a defect look harmless
KINDS = ("threshold", "band", "refined")
MEASURES: dict[str, Callable[[Mask, Mask], float]] = {
    "IoU": iou,
    "Dice": dice,
    "boundary F1": boundary_f1,
    "area error": area_error,
}


@dataclass(frozen=True)
class Fit:
    """The masks of one part and how they fit the true one."""

    part: Rejected
    masks: dict[str, Mask]
    """By the best single threshold; of the band, which a refused outline leaves; refined."""
    trusted: int
    outlines: int
    took_ms: float

    @cached_property
    def values(self) -> dict[tuple[str, str], float]:
        """Every measure of every kind of mask."""
        return {
            (kind, name): of(mask, self.part.truth)
            for kind, mask in self.masks.items()
            for name, of in MEASURES.items()
        }

    @property
    def gain(self) -> float:
        """IoU of the refined masks over that of the band's."""
        return self.values["refined", "IoU"] - self.values["band", "IoU"]

    @property
    def shrunk(self) -> bool:
        """Whether every outline is trusted and together they are far too small."""
        area = np.count_nonzero(self.masks["refined"]) / np.count_nonzero(self.part.truth)
        return self.trusted == self.outlines and bool(area < SHRUNK)


def measure_fits(bundle: Bundle, parts: Sequence[Rejected], segmenter: Segmenter) -> list[Fit]:
    """Refine rejected parts with the defaults and hold every mask against the true one."""
    refiner = Refiner(segmenter)
    for part in parts[:3]:
        refine(bundle, refiner, part)  # warm
    coarse = best_threshold_masks(bundle, parts)
    return [_fit(bundle, refiner, part, mask) for part, mask in zip(parts, coarse, strict=True)]


def best_threshold_masks(bundle: Bundle, parts: Sequence[Rejected]) -> list[Mask]:
    """Give the masks of the one threshold on the map that has the best mean IoU on these parts."""
    card = bundle.card
    maps = [
        heat_of(part.judgement, card.geometry, card.score, part.truth.shape).enlarged()
        for part in parts
    ]
    low, high = min(float(m.min()) for m in maps), max(float(m.max()) for m in maps)
    thresholds = np.linspace(low, high, THRESHOLDS, dtype=np.float32)
    fits = [_ious(m, part.truth, thresholds) for m, part in zip(maps, parts, strict=True)]
    best = thresholds[np.mean(fits, axis=0).argmax()]
    return [score_map > best for score_map in maps]


def _ious(score_map: Map, truth: Mask, thresholds: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the IoU of a map above each threshold with a true mask that is not empty."""
    everywhere, within = np.sort(score_map, axis=None), np.sort(score_map[truth])
    found = everywhere.size - np.searchsorted(everywhere, thresholds, side="right")
    both = within.size - np.searchsorted(within, thresholds, side="right")
    return np.asarray(both / (within.size + found - both))


def time_clicks(parts: Sequence[Rejected], segmenter: Segmenter) -> tuple[float, float]:
    """Give the median milliseconds of a first and of a further click on a part.

    The first lies in the middle of the defect's largest piece, the further one farthest within what
    the first outline misses of the defect.
    """
    first_ms, further_ms = [], []
    for part in parts:
        clicks = Clicks(segmenter)
        first = _deepest(part.truth)
        started = time.perf_counter()
        found = clicks.outline(part.pixels, positive=first)
        answered = time.perf_counter()
        missed = part.truth & ~found
        both = np.concatenate([first, _deepest(missed if missed.any() else part.truth)])
        again = time.perf_counter()
        clicks.outline(part.pixels, positive=both)
        further_ms.append((time.perf_counter() - again) * 1e3)
        first_ms.append((answered - started) * 1e3)
    return float(np.median(first_ms)), float(np.median(further_ms))


def _deepest(mask: Mask) -> Points:
    """Give the place of a mask that is farthest from its border, (1, 2) x and y."""
    inside_px = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    y, x = divmod(int(inside_px.argmax()), mask.shape[1])
    return np.array([[x + 0.5, y + 0.5]], np.float32)


def judge(fits: Sequence[Fit], *, trained: bool) -> Iterator[Goal]:
    """Hold fit and time against the goals."""
    coarse, band, refined = (_column(fits, kind) for kind in KINDS)
    yield Goal.at_least(
        f"mean IoU over the best single threshold's {coarse.mean():.4f}",
        LEAST_GAIN[trained],
        float((refined - coarse).mean()),
        "",
    )
    yield Goal.at_most(
        f"parts whose refined mask is worse than the coarse by over {WORSE_BY} IoU",
        MOST_WORSE,
        share_worse(band, refined),
        "of the parts",
    )
    took_ms = float(np.median([fit.took_ms for fit in fits]))
    yield Goal.at_most("time per rejected part, median", MOST_MS, took_ms, "ms")


def fit_table(fits: Sequence[Fit]) -> Table:
    """Give every measure of every kind of mask, means over the parts."""
    rows = tuple(
        (name, *(float(_column(fits, kind, name).mean()) for kind in KINDS)) for name in MEASURES
    )
    title = f"{len(fits)} rejected parts, means"
    return Table(title=title, columns=("measure", *KINDS), rows=rows)


def defect_table(fits: Sequence[Fit]) -> Table:
    """Give fit, shares made worse, trust and time by kind of defect."""
    columns = (
        *("defect", "parts", *(f"IoU, {kind}" for kind in KINDS)),
        *("worse than band", "worse than threshold", "outlines trusted", "shrunk", "p50 ms"),
        "p95 ms",
    )
    rows = []
    for defect in (*sorted({fit.part.defect for fit in fits}), "all"):
        some = [fit for fit in fits if defect in {"all", fit.part.defect}]
        coarse, band, refined = (_column(some, kind) for kind in KINDS)
        means = (float(column.mean()) for column in (coarse, band, refined))
        worse = share_worse(band, refined), share_worse(coarse, refined)
        trusted = sum(fit.trusted for fit in some) / sum(fit.outlines for fit in some)
        shrunk = sum(fit.shrunk for fit in some) / len(some)
        took_ms = np.percentile([fit.took_ms for fit in some], (50, 95)).tolist()
        rows.append((defect, len(some), *means, *worse, trusted, shrunk, *took_ms))
    return Table(title="By defect", columns=columns, rows=tuple(rows))


def _fit(bundle: Bundle, refiner: Refiner, part: Rejected, coarse: Mask) -> Fit:
    started = time.perf_counter()
    found = refine(bundle, refiner, part)
    took_ms = (time.perf_counter() - started) * 1e3
    masks = coarse, coarse_mask(bundle, part), found.mask(part.truth.shape)
    trusted = sum(one.trusted for one in found.outlines)
    named = dict(zip(KINDS, masks, strict=True))
    return Fit(part, named, trusted, len(found.outlines), took_ms)


def _column(fits: Sequence[Fit], kind: str, name: str = "IoU") -> NDArray[np.float64]:
    return np.array([fit.values[kind, name] for fit in fits])
