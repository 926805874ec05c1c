"""Lays the windows of a frame that a segmenter looks at; small defects stay large in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from inspection.core.heat import PxBox
from inspection.masks.components import Component

CONTEXT = 1.0  # of a defect's box, on each side of it: what is sound must be seen, too
CONTEXT_PX = (32, 256)  # at least and at most
MOST_PX = 16_000_000  # of a window: more would not fit beside other work in 2 GB


@dataclass
class View:
    """One window of a frame and the defects that are asked about in it, by their place."""

    window: PxBox
    components: dict[int, Component] = field(default_factory=dict)


def lay_views(
    components: Mapping[int, Component], side_px: int | None, frame_hw: tuple[int, int], most: int
) -> list[View]:
    """Lay windows around components, strongest first.

    Args:
        components: of the frame, by their place.
        side_px: longest side the segmenter sees without reducing; a window is as large, or larger
            for a defect that is, and the whole frame where that fits. None, for a segmenter that
            looks at an image for nothing, gives each component its own.
        frame_hw: height and width of the frame, px.
        most: windows; what lies in none of them is left out, as is what needs over 16 Mpx.
    """
    views: list[View] = []
    for place, component in components.items():
        needed = _with_context(component.box, frame_hw)
        if (needed[2] - needed[0]) * (needed[3] - needed[1]) > MOST_PX:
            continue
        holding = None if side_px is None else next(_holding(views, needed, side_px), None)
        if holding is None and (side_px is None or len(views) < most):
            holding = View(_widened(needed, side_px or 0, frame_hw))
            views.append(holding)
        if holding:
            holding.components[place] = component
    return views


def grown(box: PxBox, share: float, least_px: int, frame_hw: tuple[int, int]) -> PxBox:
    """Grow a box by a share of each side, or by some px, on each side of it, within the frame."""
    x0, y0, x1, y1 = box
    across = max(least_px, round((x1 - x0) * share))
    down = max(least_px, round((y1 - y0) * share))
    height, width = frame_hw
    return max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)


def _with_context(box: PxBox, frame_hw: tuple[int, int]) -> PxBox:
    x0, y0, x1, y1 = box
    least, most = CONTEXT_PX
    across, down = (min(most, max(least, round(side * CONTEXT))) for side in (x1 - x0, y1 - y0))
    height, width = frame_hw
    return max(0, x0 - across), max(0, y0 - down), min(width, x1 + across), min(height, y1 + down)


def _holding(views: Sequence[View], box: PxBox, side_px: int) -> Iterator[View]:
    for view in views:
        x0, y0, x1, y1 = view.window
        is_seen_well = max(x1 - x0, y1 - y0) <= side_px
        if is_seen_well and x0 <= box[0] and y0 <= box[1] and box[2] <= x1 and box[3] <= y1:
            yield view


def _widened(box: PxBox, side_px: int, frame_hw: tuple[int, int]) -> PxBox:
    """Widen a box to a side, shifted where the frame ends."""
    height, width = frame_hw
    left, right = _span(box[0], box[2], side_px, width)
    top, bottom = _span(box[1], box[3], side_px, height)
    return left, top, right, bottom


def _span(first: int, last: int, side: int, end: int) -> tuple[int, int]:
    length = min(end, max(side, last - first))
    start = min(max(0, (first + last - length) // 2), end - length)
    return start, start + length
