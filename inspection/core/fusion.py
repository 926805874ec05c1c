"""Lays the score maps of several frames of one part into one map, and finds its defects there.

What is laid are maps that were smoothed frame by frame, and overlaps take their largest or mean
value. Both never exceed the largest of the frames' own values, so a part never scores above its
worst frame: a threshold that good frames rarely pass N at a time holds for every kind of fusion
(see `promise`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inspection.core.config import Settings
from inspection.core.errors import ConfigError
from inspection.core.imaging import Map, Mask
from inspection.core.limits import MAX_FRAMES, Count, FinePx, Finite, Px, Reason, Short, Some

T = TypeVar("T", bound=np.generic)
Overlap = Literal["max", "mean"]
Offset = tuple[float, float]  # cells right and down of the first frame's upper left corner

MOST_CELLS = 16_000_000  # of a map that frames are laid into: up to 0.4 GB while it is made
MOST_DEFECTS = 20  # a person looks at no more; the strongest come first
TOUCHES = 1e-3  # of a cell that a frame must cover to have a say in it


def view_of(camera: str, number: int | None) -> str:
    """Name one frame within its part: `main`, or `main-f3` where a camera has several."""
    return camera if number is None else f"{camera}-f{number}"


class FusedDefect(Settings):
    """One defect of a part: connected cells above the band."""

    frames: tuple[Count, ...] = Field(
        max_length=MAX_FRAMES, description="numbers of the frames that see it"
    )
    box_px: tuple[Px, Px, Px, Px] = Field(
        description="x0, y0, x1, y1, ends excluded; of the large picture, whose origin is the "
        "upper left corner of the frame of the lowest number, or for `views` of the frame"
    )
    area_px: Some = Field(description="of its cells, px of the same picture")
    peak: Finite = Field(description="strongest value on it, raw score units")
    camera: Short


class PartFusion(Settings):
    """How the frames of one part became one verdict."""

    kind: Literal["views", "tiles", "conveyor"]
    frames: Some = Field(description="frames that came")
    wanted: Count | None = Field(description="frames the part has; none: nobody can say")
    lacking: Reason = Field("", description="why it is REVIEW at best; empty for a whole part")
    offsets_px: dict[
        Short, Annotated[tuple[tuple[Count, FinePx, FinePx], ...], Field(max_length=MAX_FRAMES)]
    ] = Field(
        default_factory=dict,
        max_length=1_000,
        description="by camera, (frame, right, down) of the frame of the lowest number; none for "
        "`views` and for frames that could not be registered",
    )
    defects: tuple[FusedDefect, ...] = Field((), max_length=10_000, description="strongest first")
    uncounted: Count = Field(0, description="weaker ones beyond the budget")


@dataclass(frozen=True)
class Laid:
    """One frame's map and where it lies."""

    cells: Map
    """float32 (h, w), smoothed, raw score units, finite."""
    judged: Mask
    """bool (h, w): which cells count."""
    offset: Offset = (0.0, 0.0)


@dataclass(frozen=True)
class Window:
    """The cells of a large map that one frame has a say in."""

    left: int
    top: int
    mask: Mask
    """bool (h, w)."""

    def of(self, cells: NDArray[T]) -> NDArray[T]:
        """Give its piece of a large map, a view."""
        height, width = self.mask.shape
        return cells[self.top : self.top + height, self.left : self.left + width]


@dataclass(frozen=True)
class Joined:
    """The map of a part."""

    cells: Map
    """float32 (H, W), raw score units; -inf where no frame counts."""
    origin: tuple[int, int]
    """Cells right and down of offset (0, 0) at which it begins."""
    seen: tuple[Window, ...]
    """Of each frame, the cells it has a say in."""
    scores: tuple[float, ...]
    """Of each frame the largest value where it has a say; -inf of one without judged cells. With
    overlap `max` these are the frames' own."""

    @property
    def score(self) -> float:
        """The part's: the largest value; -inf when nothing is judged."""
        return max(self.scores, default=-np.inf)


def lay(frames: Sequence[Laid], overlap: Overlap) -> Joined:
    """Lay the maps of frames of one size into one map.

    Args:
        frames: at least one; all maps of one shape. With `max` offsets are taken to whole cells, so
            that no value changes; with `mean` each map is read between its cells, bilinearly.
        overlap: what cells take that several frames see.

    Raises:
        ConfigError: no frame, maps of several shapes, or offsets too far apart to be meant.
    """
    shapes = {one.cells.shape for one in frames} | {one.judged.shape for one in frames}
    if len(shapes) != 1:
        raise ConfigError(
            f"found maps of shapes {sorted(shapes)}; wanted one or more of the same; let all "
            "frames of a camera have one size"
        )
    (height, width) = next(iter(shapes))
    offsets = np.asarray([one.offset for one in frames], np.float64)
    if overlap == "max":
        offsets = np.round(offsets)
    left, top = np.floor(offsets.min(axis=0)).astype(int)
    right, bottom = np.ceil(offsets.max(axis=0)).astype(int)
    across, down = right + width - left, bottom + height - top
    if not np.isfinite(offsets).all() or across * down > MOST_CELLS:
        raise ConfigError(
            f"the frames lie over {across}×{down} cells; wanted at most {MOST_CELLS:,}; mend the "
            "offsets or the step of frames.fusion"
        )
    cells = np.full((int(down), int(across)), -np.inf, np.float64)
    placed = [_place(one, (x - left, y - top)) for one, (x, y) in zip(frames, offsets, strict=True)]
    if overlap == "max":
        for one in placed:
            there = one.window.of(cells)
            np.maximum(there, one.values, out=there, where=one.window.mask)
        scores = tuple(float(one.cells.max(where=one.judged, initial=-np.inf)) for one in frames)
    else:
        _lay_means(placed, cells)
        scores = tuple(
            float(one.window.of(cells).max(where=one.window.mask, initial=-np.inf))
            for one in placed
        )
    seen = tuple(one.window for one in placed)
    return Joined(cells.astype(np.float32), (int(left), int(top)), seen, scores)


@dataclass(frozen=True)
class _Placed:
    """One frame at the cells of the large map."""

    window: Window
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    """How far each cell is covered, 0 to 1."""


def _place(one: Laid, offset: Offset) -> _Placed:
    """Read a map at the cells of the large one; weights say how far a cell is covered."""
    x, y = int(np.floor(offset[0])), int(np.floor(offset[1]))
    into = offset[0] - x, offset[1] - y
    weight = _shift(one.judged.astype(np.float64), into)
    value = _shift(np.where(one.judged, one.cells, 0).astype(np.float64), into)
    mask = weight > TOUCHES
    value = np.divide(value, weight, out=np.zeros_like(value), where=mask)
    return _Placed(Window(x, y, mask), value, weight)


def _shift(values: NDArray[np.float64], into: Offset) -> NDArray[np.float64]:
    """Read values between their cells, bilinearly; by hand, for OpenCV's weights are coarse.

    Returns:
        As large as the values, and a row and a column more where they reach into these.
    """
    height, width = values.shape
    found = np.zeros((height + 1, width + 1), np.float64)
    for step_y, share_y in ((0, 1 - into[1]), (1, into[1])):
        for step_x, share_x in ((0, 1 - into[0]), (1, into[0])):
            found[step_y : step_y + height, step_x : step_x + width] += share_y * share_x * values
    return found[: height + bool(into[1]), : width + bool(into[0])]


def _lay_means(placed: Sequence[_Placed], cells: NDArray[np.float64]) -> None:
    """Fill the large map with means, each frame by how far it covers a cell."""
    total, summed = np.zeros_like(cells), np.zeros_like(cells)
    for one in placed:
        weights = one.weights * one.window.mask
        one.window.of(total)[:] += weights
        one.window.of(summed)[:] += one.values * weights
    np.divide(summed, total, out=cells, where=total > TOUCHES)


def find_defects(
    joined: Joined,
    above: float,
    *,
    numbers: Sequence[int],
    pitch_px: tuple[float, float],
    shift: tuple[float, float],
    camera: str,
) -> list[FusedDefect]:
    """Find the connected cells of a part's map above a value, across every seam, strongest first.

    Args:
        joined: the map.
        above: raw score units; the band's `review_above`.
        numbers: of the frames, in the order in which they were laid.
        pitch_px: height and width of a cell, px.
        shift: how far down and right of what they show maps lie, cells; see `Geometry.map_shift`.
        camera: stands in each defect.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (joined.cells > above).astype(np.uint8)
    )
    corner = np.asarray(joined.origin) - (shift[1], shift[0])  # cells right, down
    pitch = np.asarray((pitch_px[1], pitch_px[0]))
    listed = _lists(joined.seen, labels, numbers, count)
    found = []
    for index in range(1, count):
        x, y, width, height, cells = (int(value) for value in stats[index])
        box = slice(y, y + height), slice(x, x + width)
        mask = labels[box] == index
        first = np.floor((corner + np.array([x, y])) * pitch).astype(int)
        last = np.ceil((corner + np.array([x + width, y + height])) * pitch).astype(int)
        found.append(
            FusedDefect(
                frames=tuple(listed[index]),
                box_px=(int(first[0]), int(first[1]), int(last[0]), int(last[1])),
                area_px=max(1, round(cells * pitch_px[0] * pitch_px[1])),
                peak=float(joined.cells[box].max(where=mask, initial=-np.inf)),
                camera=camera,
            )
        )
    return sorted(found, key=lambda one: -one.peak)


def _lists(
    seen: Sequence[Window], labels: NDArray[np.int32], numbers: Sequence[int], count: int
) -> list[list[int]]:
    """Give of each label the frames that see any of its cells."""
    listed: list[list[int]] = [[] for _ in range(count)]
    for number, window in zip(numbers, seen, strict=True):
        for index in np.unique(window.of(labels)[window.mask]):
            listed[index].append(number)
    return listed
