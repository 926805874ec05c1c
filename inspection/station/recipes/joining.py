"""Joins what the map outlines on a frame with what the second stage names there, for accept rules.

An outline is known where named objects cover at least half of it, and unknown otherwise; then no
rule that names types fits it. It has the types of all objects that touch it. An object of which
known outlines cover less than half is a defect of its own. So whatever either stage sees has to be
accepted.
"""

from collections.abc import Sequence

import numpy as np

from inspection.core.decision import Defect, Defects
from inspection.core.heat import Heat, PxBox
from inspection.core.imaging import Mask
from inspection.masks.measure import measure
from inspection.masks.refine import Outline, Refined
from inspection.station.judge import Object

COVERED = 0.5  # of an outline or an object, from which the other stage's word is about it
UNDRAWN = "the detector draws no masks; the size is that of its box"


def join(refined: Refined, objects: Sequence[Object], heat: Heat, most: int) -> Defects:
    """Measure what the map outlines, with the types that are known of it, and what is named beside.

    Args:
        refined: the outlines of a frame.
        objects: that were named on it, surest first.
        heat: the frame's.
        most: objects that are measured; more are counted.

    Returns:
        In px only.
    """
    defects = refined.defects()
    typed = [
        _typed(defect, outline, objects)
        for defect, outline in zip(defects.found, refined.outlines, strict=True)
    ]
    known = [
        outline for defect, outline in zip(typed, refined.outlines, strict=True) if defect.types
    ]
    alone = [one for one in objects if not _is_told_by(known, one)]
    return defects.model_copy(
        update={
            "found": (*typed, *(_measured(one, heat) for one in alone[:most])),
            "uncounted": defects.uncounted + len(alone[most:]),
        }
    )


def _measured(one: Object, heat: Heat) -> Defect:
    return Defect(
        size=measure(one.mask, one.named.box[:2]),
        peak=float(heat.of(one.named.box)[one.mask].max()),
        trusted=one.drawn,
        reason="" if one.drawn else UNDRAWN,
        types=(one.named.type,),
    )


def _typed(defect: Defect, outline: Outline, objects: Sequence[Object]) -> Defect:
    covered, touching = np.zeros_like(outline.mask), []
    for one in objects:
        if not _meet(one.named.box, outline.box):
            continue
        shared = outline.mask & _cut(one.mask, one.named.box, outline.box)
        if shared.any():
            covered |= shared
            touching.append(one.named.type)
    known = np.count_nonzero(covered) >= COVERED * np.count_nonzero(outline.mask)
    types = tuple(sorted(set(touching))) if known else ()
    return defect.model_copy(update={"types": types, "objects": max(1, len(touching))})


def _is_told_by(known: Sequence[Outline], one: Object) -> bool:
    """Say whether known outlines cover an object; where it is only a box, boxes of those in it."""
    covered = np.zeros(one.mask.shape, np.bool_)
    for outline in known:
        if not _meet(outline.box, one.named.box):
            continue
        cut = _cut(outline.mask, outline.box, one.named.box)
        if not one.drawn and cut.any():
            cut = _cut(np.ones_like(outline.mask), outline.box, one.named.box)
        covered |= one.mask & cut
    return bool(np.count_nonzero(covered) >= COVERED * np.count_nonzero(one.mask))


def _cut(mask: Mask, box: PxBox, other: PxBox) -> Mask:
    """Give what of a box's mask lies in another box that it meets, bool as large as that one."""
    cut = np.zeros((other[3] - other[1], other[2] - other[0]), np.bool_)
    x0, y0 = max(box[0], other[0]), max(box[1], other[1])
    x1, y1 = min(box[2], other[2]), min(box[3], other[3])
    cut[y0 - other[1] : y1 - other[1], x0 - other[0] : x1 - other[0]] = mask[
        y0 - box[1] : y1 - box[1], x0 - box[0] : x1 - box[0]
    ]
    return cut


def _meet(box: PxBox, other: PxBox) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
