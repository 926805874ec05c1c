"""Measures how well score maps show where a defect is: pixel AUROC, AUPRO, IoU, Dice.

Maps stream through fixed bins of score, so memory does not grow with pixels; each image keeps its
own small histograms, so that a bootstrap over images is one matrix product.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import InspectionError
from inspection.core.heat import Heat
from inspection.core.imaging import Map, Mask
from inspection.core.records import Interval
from inspection.metrics.image import PERCENTILES_95

Counts = NDArray[np.float64]  # (..., bins), bins ascending in score
FPR_LIMIT = 0.3  # of AUPRO, as Bergmann et al. define it
BINS = 2048
TAIL_SHARE = 1e-6  # the finest quantile of the highest scores, where small regions are decided
BLOCK = 256  # images per matrix product, bounds its float64 copy to 4 MB


@dataclass(frozen=True)
class ImageCounts:
    """One image in bins of score: its normal pixels, its defect pixels, its regions."""

    normal: NDArray[np.uint32]  # (bins,), pixels outside the mask
    defect: NDArray[np.uint32] | None  # (bins,), pixels inside; none for a good part
    regions: NDArray[np.float32] | None  # (bins,), sum over regions of pixels / region's area
    region_count: int


def score_edges(
    maps: Iterable[Map], marks: Sequence[float] = (), bins: int = BINS
) -> NDArray[np.float32]:
    """Choose bin edges from a first pass over the maps, before they are upsampled.

    A third lie at equal steps of score, a third at equal shares of cells and a third at shares
    that shrink geometrically towards the highest score. Bilinear upsampling never leaves the range
    of a map, so no pixel falls outside.

    Args:
        maps: float32 (h, w) raw or smoothed maps, all that will be added.
        marks: thresholds at which `PixelEvidence.iou` and `.dice` will be asked; become edges.
        bins: number of bins wanted, at least 16.

    Returns:
        float32 ascending inner edges, at most bins + len(marks); fewer when scores repeat.
    """
    cells = [_require_map(score_map).ravel() for score_map in maps]
    if not cells or bins < 16:
        raise InspectionError(f"{len(cells)} maps, {bins} bins; wanted at least 1 map, 16 bins")
    values = np.concatenate(cells)
    third = bins // 3
    shares = np.concatenate(
        [np.linspace(0, 1, third), 1 - np.geomspace(TAIL_SHARE, 1, third), [1.0]]
    )
    levels = np.linspace(values.min(), values.max(), third)
    edges = np.concatenate([np.quantile(values, shares), levels, np.asarray(marks, np.float64)])
    return np.unique(edges.astype(np.float32))


@dataclass
class PixelEvidence:
    """Gathers score maps beside their true masks; bin i holds (edges[i-1], edges[i]].

    Costs 8 kB per good image and 24 kB per defective one, whatever their size. Leave out defects
    without a mask: a mask all false says that every pixel is normal.
    """

    edges: NDArray[np.float32]  # (bins - 1,), ascending, see `score_edges`
    images: list[ImageCounts] = field(default_factory=list)

    def add(self, score_map: Map, mask: Mask, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        """Take one image; see `count`."""
        self.images.append(self.count(score_map, mask, shift))

    def count(
        self, score_map: Map, mask: Mask, shift: tuple[float, float] = (0.0, 0.0)
    ) -> ImageCounts:
        """Count the pixels of one image, which `images` may take; several threads may at once.

        Its map is upsampled bilinearly to the mask's size.

        Args:
            score_map: float32 (h, w) of the same area of the part that the mask shows.
            mask: bool H×W, true on the defect; all false for a good part.
            shift: how far down and right of what it shows the map lies, cells.

        Raises:
            InspectionError: the map is not finite float32 (h, w) or the mask not bool H×W.
        """
        _require_map(score_map)
        if mask.dtype != np.bool_ or mask.ndim != 2 or not mask.size:
            raise InspectionError(f"mask is {mask.dtype} {mask.shape}; wanted bool H×W")
        height, width = mask.shape
        upsampled = Heat(score_map, (0, 0, width, height), shift).enlarged()
        bins = self.edges.searchsorted(upsampled.ravel(), side="left")
        return _count(bins, mask, len(self.edges) + 1)

    def auroc(self, seed: int = 0, draws: int = 500) -> Interval:
        """Give the pixel AUROC over all images with its interval by a bootstrap over images.

        The bins move the value by at most `auroc_error`.
        """
        return self._measure(_auroc, seed, draws)

    def auroc_error(self) -> float:
        """Bound the binning error of `auroc`: half the share of pixel pairs within one bin."""
        normal, defect, _ = self._sums(np.ones((1, len(self.images))))
        return float(0.5 * (_share(normal) * _share(defect)).sum())

    def aupro(self, seed: int = 0, draws: int = 500) -> Interval:
        """Give the area under the per-region overlap up to a false-positive rate of 0.3, over 0.3.

        Regions are 8-connected; each weighs the same, whatever its area. The interval is by a
        bootstrap over images. The bins move the value by at most `aupro_error`.
        """
        return self._measure(_aupro, seed, draws)

    def aupro_error(self) -> float:
        """Bound the binning error of `aupro`: half the rectangle of each step of its curve."""
        normal, _, regions = self._sums(np.ones((1, len(self.images))))
        rates, overlaps = _from_above(normal)[0], _from_above(regions)[0]
        steps = np.where(rates[:-1] < FPR_LIMIT, np.diff(rates), 0)
        return float(0.5 * (steps * np.diff(overlaps)).sum() / FPR_LIMIT)

    def iou(self, threshold: float, seed: int = 0, draws: int = 500) -> Interval:
        """Give intersection over union of pixels above the threshold with the masks, all images.

        Raises:
            InspectionError: the threshold was not among the marks of `score_edges`.
        """
        return self._measure(self._overlap(threshold, dice=False), seed, draws)

    def dice(self, threshold: float, seed: int = 0, draws: int = 500) -> Interval:
        """Give the Dice coefficient of pixels above the threshold with the masks, all images."""
        return self._measure(self._overlap(threshold, dice=True), seed, draws)

    def _overlap(
        self, threshold: float, *, dice: bool
    ) -> Callable[[Counts, Counts, Counts], Counts]:
        first = int(self.edges.searchsorted(np.float32(threshold)))
        if first == len(self.edges) or self.edges[first] != np.float32(threshold):
            raise InspectionError(
                f"threshold {threshold} is no edge of the bins; name it in score_edges' marks"
            )

        def measure(normal: Counts, defect: Counts, _: Counts) -> Counts:
            hits = defect[:, first + 1 :].sum(axis=1)
            extra = normal[:, first + 1 :].sum(axis=1)
            true = defect.sum(axis=1)
            ratio = 2 * hits / (hits + extra + true) if dice else hits / (extra + true)
            return np.asarray(ratio)

        return measure

    def _measure(
        self, measure: Callable[[Counts, Counts, Counts], Counts], seed: int, draws: int
    ) -> Interval:
        if draws < 1:
            raise InspectionError(f"draws is {draws}; wanted at least 1")
        value = measure(*self._sums(np.ones((1, len(self.images)))))[0]
        drawn = measure(*self._sums(self._resampled(seed, draws)))
        low, high = np.percentile(drawn, PERCENTILES_95)
        return Interval(value=float(value), low=float(low), high=float(high))

    def _resampled(self, seed: int, draws: int) -> Counts:
        """Draw (draws, images) multiplicities; good and defective images each by themselves."""
        rng = np.random.default_rng(seed)
        defective = np.array([image.region_count > 0 for image in self.images])
        weights = np.zeros((draws, len(self.images)))
        for members in (np.flatnonzero(defective), np.flatnonzero(~defective)):
            if members.size:
                share = np.full(members.size, 1 / members.size)
                weights[:, members] = rng.multinomial(members.size, share, draws)
        return weights

    def _sums(self, weights: Counts) -> tuple[Counts, Counts, Counts]:
        """Sum the histograms of all images: (n, images) weights to three (n, bins)."""
        self._require_both_classes()
        bins = len(self.edges) + 1
        totals = [np.zeros((len(weights), bins)) for _ in range(3)]
        for start in range(0, len(self.images), BLOCK):
            block = self.images[start : start + BLOCK]
            part = weights[:, start : start + BLOCK]
            totals[0] += part @ np.stack([image.normal for image in block]).astype(np.float64)
            found = [i for i, image in enumerate(block) if image.region_count]
            if found:
                defect = np.stack([block[i].defect for i in found])  # type: ignore[misc]
                regions = np.stack([block[i].regions for i in found])  # type: ignore[misc]
                totals[1] += part[:, found] @ defect.astype(np.float64)
                totals[2] += part[:, found] @ regions.astype(np.float64)
        return totals[0], totals[1], totals[2]

    def _require_both_classes(self) -> None:
        defective = sum(image.region_count > 0 for image in self.images)
        normal = sum(bool(image.normal.any()) for image in self.images)
        if not defective or not normal:
            raise InspectionError(
                f"pixels: {len(self.images)} images, {defective} with a defect and {normal} with "
                "normal pixels; wanted at least one of each; add masks of defects"
            )


def _require_map(score_map: Map) -> Map:
    if score_map.dtype != np.float32 or score_map.ndim != 2 or not score_map.size:
        raise InspectionError(
            f"score map is {score_map.dtype} {score_map.shape}; wanted float32 (h, w)"
        )
    if not np.isfinite(score_map).all():
        raise InspectionError("score map holds a value that is not finite; judge the part again")
    return score_map


def _count(bins: NDArray[np.intp], mask: Mask, total: int) -> ImageCounts:
    """Histogram one image; bins (H·W,) of each pixel, `total` bins."""
    if not mask.any():
        normal = np.bincount(bins, minlength=total).astype(np.uint32)
        return ImageCounts(normal, None, None, 0)
    inside = mask.ravel()
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    region = labels.ravel()[inside]
    weights = 1 / np.bincount(region, minlength=count).clip(1)[region]
    return ImageCounts(
        normal=np.bincount(bins[~inside], minlength=total).astype(np.uint32),
        defect=np.bincount(bins[inside], minlength=total).astype(np.uint32),
        regions=np.bincount(bins[inside], weights, minlength=total).astype(np.float32),
        region_count=count - 1,
    )


def _share(counts: Counts) -> Counts:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))


def _from_above(counts: Counts) -> Counts:
    """Give the share of (n, bins) counts above each edge, from the highest: (n, bins + 1)."""
    falling = np.cumsum(_share(counts)[:, ::-1], axis=1)
    return np.concatenate([np.zeros((len(counts), 1)), falling], axis=1)


def _auroc(normal: Counts, defect: Counts, _: Counts) -> Counts:
    negative, positive = _share(normal), _share(defect)
    below = np.cumsum(negative, axis=1) - negative / 2
    return np.asarray((positive * below).sum(axis=1))


def _aupro(normal: Counts, _: Counts, regions: Counts) -> Counts:
    """Integrate overlap over the false-positive rate by trapezoids, cut at the limit."""
    rates, overlaps = _from_above(normal), _from_above(regions)
    start, end = rates[:, :-1], rates[:, 1:]
    step = np.minimum(end, FPR_LIMIT) - np.minimum(start, FPR_LIMIT)
    slope = np.divide(np.diff(overlaps), end - start, out=np.zeros_like(end), where=end > start)
    area = step * (overlaps[:, :-1] + slope * step / 2)
    return np.asarray(area.sum(axis=1) / FPR_LIMIT)
