"""Judges what a detector finds against what people drew, by COCO's own measure."""

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from inspection.core.known import HoldFrom
from inspection.core.records import Interval
from inspection.detectors.detections import Detections
from inspection.detectors.scores import Held, Scores, TypeScore
from inspection.metrics.image import proportion_interval
from inspection.recognition.agreement import box_iou
from inspection.recognition.labels import LabelledPicture, pack

LEAST_IOU = 0.5
MOST = 100  # detections of a picture that count, as COCO's
STEPS = 1000  # of a score, to which those of stations are rounded up
HELD_AT_MOST = (0.05, 0.01, 0.0)  # shares of good parts whose scores are told


def score(
    pictures: Sequence[LabelledPicture],
    found: Sequence[Detections],
    types: Sequence[str],
    least_score: float,
) -> Scores:
    """Score what was found.

    Args:
        pictures: with what was drawn on them.
        found: on each, from a score low enough for the whole curve of precision over recall.
        types: in the detector's order.
        least_score: from which the detector counts a box; of this recall, types and good parts.
    """
    boxes = _precision(pictures, found, types, masks=False)
    drawn_masks = all(one.masks is not None for one in found)
    known_masks = all(d.rle is not None for one in pictures for d in one.defects)
    masked = drawn_masks and known_masks
    masks = _precision(pictures, found, types, masks=True) if masked else {}
    rows = [
        row for one in zip(pictures, found, strict=True) for row in _named(*one, types, least_score)
    ]
    by_type = {}
    for number, name in enumerate(types):
        own = [row for row in rows if row[0] == number]
        by_type[name] = TypeScore(
            drawn=len(own),
            box_ap50=boxes.get(number),
            mask_ap50=masks.get(number),
            found=sum(row[1] is not None for row in own),
            named=sum(row[1] == number for row in own),
        )
    seen = [row for row in rows if row[1] is not None]
    good = [
        bool((one.scores >= least_score).any())
        for picture, one in zip(pictures, found, strict=True)
        if not picture.defects
    ]
    return Scores(
        pictures=len(pictures),
        box_ap50=float(np.mean(list(boxes.values()))),
        mask_ap50=float(np.mean(list(masks.values()))) if masks else None,
        recall=len(seen) / len(rows) if rows else None,
        type_accuracy=sum(a == b for a, b in seen) / len(seen) if seen else None,
        good_held=float(np.mean(good)) if good else None,
        held=_held(pictures, found, least_score) if good else (),
        types=by_type,
    )


def _held(
    pictures: Sequence[LabelledPicture], found: Sequence[Detections], least_score: float
) -> tuple[Held, ...]:
    """Say what is held from the station's own score, and from the least for each share of good."""
    surest = np.array([one.scores.max(initial=0.0) for one in found])
    defective = np.array([bool(one.defects) for one in pictures])
    good = np.sort(surest[~defective])[::-1]
    above = [math.floor(good[int(share * len(good))] * STEPS + 1) / STEPS for share in HELD_AT_MOST]
    levels = {max(least_score, level) for level in (HoldFrom().review_from or 0.0, *above)}
    return tuple(
        Held(
            from_score=level,
            good=_share(surest[~defective] >= level),
            defective=_share(surest[defective] >= level) if defective.any() else None,
        )
        for level in sorted(levels)
        if level <= 1
    )


def _share(held: NDArray[np.bool_]) -> Interval:
    return proportion_interval(int(held.sum()), len(held))


def _named(
    picture: LabelledPicture, found: Detections, types: Sequence[str], least_score: float
) -> list[tuple[int, int | None]]:
    """Give each drawn defect's type and that of the surest box on it, or none."""
    drawn = np.array([defect.box for defect in picture.defects], np.float32).reshape(-1, 4)
    sure = np.flatnonzero(found.scores >= least_score)
    overlap = box_iou(drawn, found.boxes[sure])
    rows: list[tuple[int, int | None]] = []
    for defect, own in zip(picture.defects, overlap, strict=True):
        on_it = sure[own >= LEAST_IOU]
        best = on_it[found.scores[on_it].argmax()] if len(on_it) else None
        rows.append((types.index(defect.type), None if best is None else int(found.types[best])))
    return rows


def _precision(
    pictures: Sequence[LabelledPicture],
    found: Sequence[Detections],
    types: Sequence[str],
    *,
    masks: bool,
) -> dict[int, float]:
    """Give the average precision at IoU 0.5 of every type that was drawn."""
    truth = COCO()
    truth.dataset = _drawn(pictures, types)
    results = [
        result
        for number, (picture, one) in enumerate(zip(pictures, found, strict=True), 1)
        for result in _results(number, picture, one, masks=masks)
    ]
    if not results:
        drawn = {defect.type for one in pictures for defect in one.defects}
        return {i: 0.0 for i, name in enumerate(types) if name in drawn}
    with contextlib.redirect_stdout(io.StringIO()):  # it tells developers what it does
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "segm" if masks else "bbox")
        judge.params.iouThrs, judge.params.maxDets = np.array([LEAST_IOU]), [1, 10, MOST]
        judge.evaluate()
        judge.accumulate()
    curves: NDArray[np.float64] = judge.eval["precision"][0, :, :, 0, -1]  # recall × types
    return {i: float(curve.mean()) for i, curve in enumerate(curves.T) if (curve > -1).all()}


def _drawn(pictures: Sequence[LabelledPicture], types: Sequence[str]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, 1):
        for defect in picture.defects:
            x0, y0, x1, y1 = defect.box
            one: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": types.index(defect.type) + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            if defect.rle is not None:
                one["segmentation"] = defect.rle
            annotations.append(one)
    return {
        "info": {},
        "images": [
            {"id": number, "height": one.size_hw[0], "width": one.size_hw[1]}
            for number, one in enumerate(pictures, 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(types, 1)],
        "annotations": annotations,
    }


def _results(
    number: int, picture: LabelledPicture, found: Detections, *, masks: bool
) -> list[dict[str, Any]]:
    results = []
    for i in range(len(found)):
        x0, y0, x1, y1 = map(float, found.boxes[i])
        one: dict[str, Any] = {
            "image_id": number,
            "category_id": int(found.types[i]) + 1,
            "score": float(found.scores[i]),
        }
        if masks:
            whole = np.zeros(picture.size_hw, np.bool_)
            left, top, right, bottom = found.px_boxes[i]
            whole[top:bottom, left:right] = (found.masks or ())[i]
            one["segmentation"] = pack(whole)
        else:
            one["bbox"] = [x0, y0, x1 - x0, y1 - y0]
        results.append(one)
    return results
