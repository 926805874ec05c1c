"""Asks a segmenter for every true defect by its box, and holds the outlines against the masks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from inspection.bench.frame import Goal, Table
from inspection.core.errors import DatasetError
from inspection.core.imaging import Mask
from inspection.core.parts import load_part, load_part_mask
from inspection.core.progress import follow
from inspection.core.records import Label, Manifest, Split
from inspection.masks.segmenter import Box, Prompt, Segmenter
from inspection.metrics.masks import iou

LEAST_IOU, LEAST_OVER_GRABCUT = 0.60, 0.10


@dataclass(frozen=True)
class Fits:
    """IoU of every part, with the kind of its defect."""

    kinds: tuple[str, ...]
    ious: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over all parts."""
        return float(np.mean(self.ious))

    @property
    def by_kind(self) -> dict[str, float]:
        """Mean over the parts of each kind, in alphabetical order."""
        pairs = list(zip(self.kinds, self.ious, strict=True))
        return {
            kind: float(np.mean([value for one, value in pairs if one == kind]))
            for kind in sorted(set(self.kinds))
        }


@dataclass(frozen=True)
class Outlined(Fits):
    """How well a segmenter's outlines fit."""

    segmenter: str
    filled: Fits
    """Of the boxes themselves, all of them defect."""
    without_mask: int
    """Defects that cannot be asked about."""


def outline_parts(manifest: Manifest, finder: Segmenter) -> Outlined:
    """Ask for each defect of the test split that has a mask.

    Args:
        manifest: of a set whose masks are exact.
        finder: is told one box for each connected piece of a mask.

    Raises:
        DatasetError: no defect of the test split has a mask.
    """
    entries = [e for e in manifest.of(Split.TEST) if e.label is Label.DEFECT]
    kinds: list[str] = []
    ious: list[float] = []
    filled: list[float] = []
    for entry in follow(entries, f"outlining by {finder.name}"):
        truth = load_part_mask(manifest, entry)
        if truth is None or not truth.any():
            continue
        boxes = boxes_of(truth)
        image = finder.set_image(load_part(manifest, entry))
        found = [one.best for one in image.predict([Prompt(box) for box in boxes])]
        kinds.append(entry.defect or "defect")
        ious.append(iou(union(found, truth), truth))
        filled.append(iou(union((fill(box, truth) for box in boxes), truth), truth))
    if not ious:
        raise DatasetError(f"{manifest.root}: no defect of its test split has a mask")
    shapes = tuple(kinds)
    return Outlined(
        shapes, tuple(ious), finder.name, Fits(shapes, tuple(filled)), len(entries) - len(ious)
    )


def judge_outlines(dataset: str, ours: Outlined, grabcut: Outlined) -> Iterator[Goal]:
    """Hold a segmenter against its goals."""
    what = f"{dataset}: mean IoU with true boxes"
    yield Goal.at_least(what, LEAST_IOU, ours.mean, "")
    yield Goal.at_least(f"{what} over GrabCut's", LEAST_OVER_GRABCUT, ours.mean - grabcut.mean, "")


def outlines(dataset: str, *outlined: Outlined) -> Table:
    """Show the mean IoU of each segmenter by kind of defect, and what the prompts alone know."""
    first = outlined[0]
    kinds = list(first.by_kind)
    rows = [(one.segmenter, one.mean, *(one.by_kind[kind] for kind in kinds)) for one in outlined]
    rows.append(
        ("the filled boxes", first.filled.mean, *(first.filled.by_kind[kind] for kind in kinds))
    )
    title = (
        f"Mean IoU with true boxes, {len(first.ious)} defects of {dataset}; "
        f"{first.without_mask} without a mask"
    )
    return Table(title=title, columns=("outlines", "all", *kinds), rows=tuple(rows))


def boxes_of(mask: Mask) -> list[Box]:
    """Give the box around each piece of a mask, px, ends excluded; corners connect."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in stats[1:]]


def fill(box: Box, like: Mask) -> Mask:
    """Give a mask of a shape that is a box."""
    filled = np.zeros_like(like)
    x0, y0, x1, y1 = map(int, box)
    filled[y0:y1, x0:x1] = True
    return filled


def union(masks: Iterable[Mask], like: Mask) -> Mask:
    """Unite masks of one shape; none is empty."""
    whole = np.zeros_like(like)
    for mask in masks:
        whole |= mask
    return whole
