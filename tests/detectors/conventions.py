"""Raw outputs as frameworks' exports give them, made of boxes that are known."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

INPUT_HW = (128, 160)
TYPES = 3


@dataclass(frozen=True)
class Known:
    """What is on the input: boxes x0 y0 x1 y1 in px of it, their types and scores."""

    boxes: np.ndarray
    types: np.ndarray
    scores: np.ndarray


KNOWN = Known(
    boxes=np.float32([[12, 20, 44, 60], [80, 30, 140, 100], [100, 90, 108, 120]]),
    types=np.array([2, 0, 1]),
    scores=np.float32([0.9, 0.8, 0.6]),
)


def logit(share: np.ndarray) -> np.ndarray:
    """What a sigmoid makes a share of."""
    return np.log(share / (1 - share))


def centred(boxes: np.ndarray) -> np.ndarray:
    """Give centre and size."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def spread(known: Known, least: float = 0.01) -> np.ndarray:
    """Give the scores of every type, (n, TYPES)."""
    scores = np.full((len(known.boxes), TYPES), least, np.float32)
    scores[np.arange(len(scores)), known.types] = known.scores
    return scores


def beside(rows: np.ndarray, count: int) -> np.ndarray:
    """Add candidates of the same places that are less sure, as a head without NMS gives them."""
    weaker = rows.copy()
    weaker[:, :4] += 1
    weaker[:, 4:] *= 0.5
    nothing = np.zeros((count, rows.shape[1]), rows.dtype)
    nothing[:, :4] = [20, 20, 30, 30]
    return np.concatenate([nothing, rows, weaker])


def detectron2(known: Known) -> dict[str, np.ndarray]:
    """An Instances' fields, without a batch."""
    return {"boxes": known.boxes, "classes": known.types, "scores": known.scores}


def mmdeploy(known: Known) -> dict[str, np.ndarray]:
    """Boxes with their score, labels beside; filled up with rows of nothing."""
    dets = np.concatenate([known.boxes, known.scores[:, None]], axis=1)
    filled = np.concatenate([dets, np.zeros((4, 5))])[None].astype(np.float32)
    return {"dets": filled, "labels": np.concatenate([known.types, [-1] * 4])[None]}


def yolov5(known: Known) -> dict[str, np.ndarray]:
    """Centre, size, objectness, a score for each type."""
    objectness = np.full((len(known.boxes), 1), 0.95, np.float32)
    rows = np.concatenate([centred(known.boxes), objectness, spread(known) / 0.95], axis=1)
    weaker = beside(rows, 40)
    return {"output0": weaker[None].astype(np.float32)}


def yolov8(known: Known) -> dict[str, np.ndarray]:
    """The same without objectness, a column for each candidate."""
    rows = beside(np.concatenate([centred(known.boxes), spread(known)], axis=1), 40)
    return {"output0": rows.T[None].astype(np.float32)}


def yolo_nas(known: Known) -> dict[str, np.ndarray]:
    """Corners and scores apart."""
    rows = beside(np.concatenate([known.boxes, spread(known)], axis=1), 40)
    return {"boxes": rows[None, :, :4].astype(np.float32), "scores": rows[None, :, 4:]}


def yolo_nas_flat(known: Known) -> dict[str, np.ndarray]:
    """NMS inside: number of the image, corners, score, type."""
    image = np.zeros((len(known.boxes), 1))
    columns = (image, known.boxes, known.scores[:, None], known.types[:, None])
    return {"graph2_flat_predictions": np.concatenate(columns, axis=1).astype(np.float32)}


def yolox(known: Known) -> dict[str, np.ndarray]:
    """Told from the points of a grid, before they are decoded."""
    cells, offset = [], 0
    rows = np.zeros((sum((128 // s) * (160 // s) for s in (8, 16, 32)), 5 + TYPES), np.float32)
    for stride in (8, 16, 32):
        cells.append((stride, offset))
        offset += (128 // stride) * (160 // stride)
    boxes, scores = centred(known.boxes), spread(known)
    for number, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        stride, first = cells[number]
        x, y = int(box[0] // stride), int(box[1] // stride)
        place = first + y * (160 // stride) + x
        told = (*(box[:2] / stride - (x, y)), *np.log(box[2:] / stride))
        rows[place] = (*told, 0.95, *(score / 0.95))
    return {"output": rows[None]}


def detr(known: Known) -> dict[str, np.ndarray]:
    """Shares of the input; a softmax whose last column is nothing."""
    shares = centred(known.boxes) / (160, 128, 160, 128)
    scores = np.concatenate([spread(known, 0.01), np.zeros((len(shares), 1))], axis=1)
    scores[:, -1] = 1 - scores.sum(axis=1)
    nothing = np.full((5, TYPES + 1), 0.001)
    nothing[:, -1] = 0.997
    logits = np.log(np.concatenate([scores, nothing]).clip(1e-6))
    boxes = np.concatenate([shares, np.full((5, 4), 0.5)])
    return {"logits": logits[None].astype(np.float32), "pred_boxes": boxes[None].astype(np.float32)}


def mask2former(known: Known) -> dict[str, np.ndarray]:
    """A mask for each query and no box; a softmax whose last column is nothing."""
    masks = np.full((len(known.boxes) + 5, *INPUT_HW), -9, np.float32)
    for mask, (x0, y0, x1, y1) in zip(masks, np.round(known.boxes).astype(int), strict=False):
        mask[y0:y1, x0:x1] = 9
    return {"class_queries_logits": detr(known)["logits"], "masks_queries_logits": masks[None]}


def rt_detr(known: Known) -> dict[str, np.ndarray]:
    """Shares of the input; a sigmoid for each type."""
    shares = centred(known.boxes) / (160, 128, 160, 128)
    logits = logit(spread(known))
    return {
        "logits": logits[None].astype(np.float32),
        "pred_boxes": shares[None].astype(np.float32),
    }


def yolov8_masks(known: Known) -> dict[str, np.ndarray]:
    """As YOLOv8, with 32 coefficients behind the scores and pictures to mix."""
    rows = beside(np.concatenate([centred(known.boxes), spread(known)], axis=1), 40)
    mixed = np.concatenate([rows, np.full((len(rows), 32), 0.5)], axis=1)
    pictures = np.ones((1, 32, INPUT_HW[0] // 4, INPUT_HW[1] // 4), np.float32)
    return {"output0": mixed.T[None].astype(np.float32), "output1": pictures}


def corners_score_type(known: Known) -> dict[str, np.ndarray]:
    """NMS inside; filled up with rows of nothing."""
    rows = np.concatenate([known.boxes, known.scores[:, None], known.types[:, None]], axis=1)
    return {"output0": np.concatenate([rows, np.zeros((9, 6))])[None].astype(np.float32)}


def yolo_nas_batch(known: Known) -> dict[str, np.ndarray]:
    """Count, corners, scores and types of a batch."""
    return {
        "num_predictions": np.array([[len(known.boxes)]]),
        "pred_boxes": known.boxes[None],
        "pred_scores": known.scores[None],
        "pred_classes": known.types[None],
    }


def torchvision_rcnn(known: Known) -> dict[str, np.ndarray]:
    """Types counted from 1, before the scores."""
    return {"boxes": known.boxes, "labels": known.types + 1, "scores": known.scores}


def torchvision_dense(known: Known) -> dict[str, np.ndarray]:
    """Types counted from 1, behind the scores."""
    return {"boxes": known.boxes, "scores": known.scores, "labels": known.types + 1}


def of_box(known: Known) -> np.ndarray:
    """Full masks of 28 × 28 for each box."""
    return np.ones((len(known.boxes), 1, 28, 28), np.float32)


def of_input(known: Known) -> np.ndarray:
    """Full masks of the whole input for each box."""
    return np.ones((1, len(known.boxes), *INPUT_HW), np.float32)


CONVENTIONS: dict[str, Callable[[Known], dict[str, np.ndarray]]] = {
    "detectron2": detectron2,
    "detectron2-masks": lambda known: {
        "boxes": known.boxes,
        "classes": known.types,
        "masks": of_box(known),
        "scores": known.scores,
    },
    "mmdeploy": mmdeploy,
    "mmdeploy-masks": lambda known: mmdeploy(known) | {"masks": of_box(known)[None, :, 0]},
    "mmdeploy-whole-masks": lambda known: mmdeploy(known) | {"masks": of_input(known)},
    "yolov5": yolov5,
    "yolov8": yolov8,
    "yolov8-masks": yolov8_masks,
    "yolov8-nms": corners_score_type,
    "yolo-nas": yolo_nas,
    "yolo-nas-batch": yolo_nas_batch,
    "yolo-nas-flat": yolo_nas_flat,
    "yolox": yolox,
    "detr": detr,
    "mask2former": mask2former,
    "deformable-detr": rt_detr,
    "rt-detr": rt_detr,
    "torchvision-rcnn": torchvision_rcnn,
    "torchvision-rcnn-masks": lambda known: (
        torchvision_rcnn(known) | {"masks": of_input(known).swapaxes(0, 1)}
    ),
    "torchvision-dense": torchvision_dense,
}
