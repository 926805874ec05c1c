"""Gathers the parts that refinement is measured on: rejected ones, with their true masks."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from inspection.bundles.bundle import Bundle
from inspection.core.decision import Judgement, Verdict
from inspection.core.defects import generate_defect
from inspection.core.errors import DatasetError
from inspection.core.imaging import Mask, Rgb
from inspection.core.parts import load_part, load_part_mask
from inspection.core.progress import follow
from inspection.core.records import Label, Manifest, Split
from inspection.masks.components import heat_of
from inspection.masks.refine import Refined, Refiner

SEEDS = (0, 1, 2)  # of generated defects, one per normal each


@dataclass(frozen=True)
class Rejected:
    """A defective part that its bundle rejected."""

    name: str
    defect: str
    pixels: Rgb
    truth: Mask
    judgement: Judgement


def tested(bundle: Bundle, manifest: Manifest) -> list[Rejected]:
    """Give the defective parts of the test split that the bundle rejects.

    Raises:
        DatasetError: there is none with a mask.
    """
    entries = [e for e in manifest.of(Split.TEST) if e.label is Label.DEFECT and e.mask]
    found = [
        rejected
        for entry in follow(entries, "judging the test split")
        for rejected in _if_rejected(
            bundle,
            entry.path,
            entry.defect or "defect",
            load_part(manifest, entry),
            load_part_mask(manifest, entry),
        )
    ]
    return _require_some(found, "defect of the test split")


def generated(bundle: Bundle, manifest: Manifest) -> list[Rejected]:
    """Give calibrate normals with generated defects that the bundle rejects.

    Raises:
        DatasetError: it rejects none.
    """
    entries = list(itertools.product(SEEDS, enumerate(manifest.of(Split.CALIBRATE))))
    found: list[Rejected] = []
    for seed, (number, entry) in follow(entries, "judging generated defects"):
        part = generate_defect(load_part(manifest, entry), seed, number)
        found += _if_rejected(bundle, entry.path, str(part.kind), part.pixels, part.mask)
    return _require_some(found, "generated defect")


def refine(bundle: Bundle, refiner: Refiner, part: Rejected) -> Refined:
    """Refine one part as its bundle judged it."""
    return refiner.refine(part.pixels, part.judgement, bundle.card.geometry, bundle.card.score)


def coarse_mask(bundle: Bundle, part: Rejected) -> Mask:
    """Give the map above the band, bool H×W: what a refused outline leaves."""
    heat = heat_of(part.judgement, bundle.card.geometry, bundle.card.score, part.truth.shape)
    return heat.enlarged() > part.judgement.band.review_above


def _if_rejected(
    bundle: Bundle, name: str, defect: str, pixels: Rgb, truth: Mask | None
) -> Iterator[Rejected]:
    judgement = bundle.judge(pixels)
    if judgement.verdict is Verdict.REJECT and truth is not None and truth.any():
        yield Rejected(name, defect, pixels, truth, judgement)


def _require_some(parts: list[Rejected], what: str) -> list[Rejected]:
    if not parts:
        raise DatasetError(f"no {what} with a mask is rejected; wanted some; train again")
    return parts
