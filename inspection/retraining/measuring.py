"""Measures a bundle without the test split: held-out normals, and defects generated on them."""

from collections.abc import Iterator

import numpy as np

from inspection.bundles.bundle import GRAPH, Bundle
from inspection.core.decision import smooth
from inspection.core.defects import generate_defect
from inspection.core.geometry import roi_px
from inspection.core.imaging import Mask, Rgb
from inspection.core.parts import load_part
from inspection.core.progress import follow
from inspection.core.records import Manifest, Split
from inspection.metrics.image import auroc_interval, recall_at
from inspection.metrics.pixel import PixelEvidence, score_edges
from inspection.retraining.ranking import Measured

SEED = 0  # of bootstraps
DEFECTS_FROM = 2_000_003  # first seed of generated defects: not those of gates, nor of teaching
MEGABYTE = 1e6


def measure(bundle: Bundle, manifest: Manifest, defects_per_normal: int) -> Measured:
    """Judge calibrate normals and defects generated on them, always the same.

    Args:
        bundle: opened; its gate is not asked.
        manifest: of the product.
        defects_per_normal: on each.

    Raises:
        InspectionError: a score is not finite.
    """
    scores: dict[bool, list[float]] = {False: [], True: []}
    maps, masks = [], []
    for pixels, mask in _parts(manifest, defects_per_normal):
        judged = bundle.judge(pixels)
        scores[bool(mask.any())].append(judged.score)
        maps.append(smooth(judged.score_map, bundle.card.score))
        masks.append(mask)
    good, defect = np.array(scores[False]), np.array(scores[True])
    auroc = auroc_interval(good, defect, SEED)  # refuses scores that are not finite
    pixels_of = PixelEvidence(score_edges(maps))
    for score_map, mask in zip(maps, masks, strict=True):
        top, left, bottom, right = roi_px(bundle.card.geometry.roi, *mask.shape)
        pixels_of.add(score_map, mask[top:bottom, left:right], bundle.card.geometry.map_shift)
    graph = bundle.path / GRAPH
    threshold = bundle.card.band.review_above
    return Measured(
        auroc=auroc,
        recall=recall_at(defect, threshold),
        aupro=pixels_of.aupro(SEED),
        megabytes=sum(one.stat().st_size for one in (graph, graph.with_suffix(".bin"))) / MEGABYTE,
        precision=bundle.card.precision,
        normals=len(good),
        defects=len(defect),
        found="".join("01"[int(score > threshold)] for score in defect),
    )


def _parts(manifest: Manifest, defects_per_normal: int) -> Iterator[tuple[Rgb, Mask]]:
    """Give every calibrate part as it is, then with each of its defects."""
    entries = manifest.of(Split.CALIBRATE)
    for entry in follow(entries, "normals"):
        pixels = load_part(manifest, entry)
        yield pixels, np.zeros(pixels.shape[:2], np.bool_)
    seeds = range(DEFECTS_FROM, DEFECTS_FROM + defects_per_normal)
    for seed in follow(seeds, "generated defects"):
        for number, entry in enumerate(entries):
            part = generate_defect(load_part(manifest, entry), seed, number)
            yield part.pixels, part.mask
