"""What a detector finds on a picture: boxes with types, and masks where it draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import InspectionError
from inspection.core.heat import PxBox
from inspection.core.imaging import Mask

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Candidates:
    """What stands in the outputs, before anything is dropped."""

    boxes: Floats
    """float32 (n, 4), x0 y0 x1 y1; in px of the input as they are read."""
    scores: Floats
    """float32 (n,); -inf where a row names no type, as rows do that only fill up."""
    types: Numbers
    rows: Places
    """Which candidate of the outputs each was."""

    def at(self, places: Places) -> "Candidates":
        """Give those at these places, in this order."""
        return Candidates(
            self.boxes[places], self.scores[places], self.types[places], self.rows[places]
        )


@dataclass(frozen=True)
class Detections:
    """Objects on one picture, surest first.

    Raises:
        InspectionError: lengths differ, a box has no area, a number is none, or a mask has not the
            size of its box.
    """

    boxes: Floats
    """float32 (n, 4), x0 y0 x1 y1 in px of the picture."""
    scores: Floats
    """float32 (n,), 0 to 1."""
    types: Numbers
    """int64 (n,), places in the detector's list of types."""
    masks: tuple[Mask, ...] | None = None
    """bool, each of its `px_boxes`; none of a detector that draws none."""
    more: bool = False
    """Whether there were others, beyond what the detector's limits let it tell of."""

    def __post_init__(self) -> None:
        count = len(self.boxes)
        others = {len(self.scores), len(self.types)} | ({len(self.masks)} if self.masks else set())
        if self.boxes.shape != (count, 4) or others - {count}:
            raise InspectionError(
                f"detections: boxes {self.boxes.shape}, {len(self.scores)} scores, "
                f"{len(self.types)} types, {len(self.masks or ())} masks; wanted (n, 4), n of each"
            )
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise InspectionError("detections: a box or a score is no number; look at the graph")
        if (self.boxes[:, 2:] <= self.boxes[:, :2]).any():
            raise InspectionError("detections: a box has no area; drop it before")
        sizes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in self.px_boxes]
        if self.masks is not None and sizes != [mask.shape for mask in self.masks]:
            raise InspectionError("detections: a mask has not the size of its box; cut it before")

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def px_boxes(self) -> list[PxBox]:
        """The px that the boxes touch, ends excluded."""
        return [px_box(box) for box in self.boxes]


def px_box(box: Floats) -> PxBox:
    """Give the px that a box (4,), x0 y0 x1 y1, touches, ends excluded."""
    x0, y0 = np.floor(box[:2]).astype(int).tolist()
    x1, y1 = np.ceil(box[2:]).astype(int).tolist()
    return x0, y0, x1, y1


def suppress(boxes: Floats, scores: Floats, types: Numbers, most_overlap: float) -> Places:
    """Choose of overlapping boxes of one type the surest (greedy non-maximum suppression).

    Args:
        boxes: (n, 4), x0 y0 x1 y1.
        scores: (n,).
        types: (n,); boxes of two types never suppress each other.
        most_overlap: intersection over union above which one goes, 0 to 1.

    Returns:
        Places of those that stay, surest first.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    corners_and_sizes = np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    kept = cv2.dnn.NMSBoxesBatched(
        _floats(corners_and_sizes), _floats(scores), types.tolist(), -1.0, most_overlap
    )
    places = np.asarray(kept, np.intp).reshape(-1)
    return places[np.argsort(-scores[places], kind="stable")]


def _floats(values: Floats) -> Sequence[float]:
    listed: list[float] = values.astype(np.float64).tolist()
    return listed
