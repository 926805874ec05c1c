"""Chooses the parts a person should look at and draws them with heatmap and true outline.

The station's overlay shows heat above the band only; here the whole map is drawn, because in a
defect that passed the heat below the band is what one must see.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from inspection.core.gate import GateRow
from inspection.core.geometry import Geometry, content_size
from inspection.core.heat import heat_of_frame
from inspection.core.imaging import Map, Mask, Rgb, resize
from inspection.core.records import Label

HARDEST, WORST_GOODS, CLEAREST = 6, 6, 3
PICTURE_HEIGHT_PX, PICTURE_WIDTH_PX = 220, 280
OUTLINE = (0, 255, 255)  # RGB cyan, far from every colour of the heatmap
EDGE = (0, 0, 0)
LIMIT = (255, 255, 255)
HEAT_SHARE = 0.6


def choose_cases(rows: Sequence[GateRow]) -> tuple[tuple[GateRow, ...], ...]:
    """Choose the hardest defects, the worst good parts and the clearest defects, in this order.

    No defect is both hard and clear: with few of them the hardest come first.
    """
    good = sorted((r for r in rows if r.label is Label.GOOD), key=lambda r: (-r.score, r.path))
    defect = sorted((r for r in rows if r.label is Label.DEFECT), key=lambda r: (r.score, r.path))
    clearest = defect[HARDEST:][-CLEAREST:][::-1]
    return tuple(defect[:HARDEST]), tuple(good[:WORST_GOODS]), tuple(clearest)


def shrink(pixels: Rgb, mask: Mask | None) -> tuple[Rgb, Mask | None]:
    """Reduce a part and its mask to at most 220×280 px, so that many fit in memory and page.

    A small pixel belongs to the mask when any pixel under it does: thin scratches stay.
    """
    height, width = content_size(
        pixels.shape[0], pixels.shape[1], PICTURE_HEIGHT_PX, PICTURE_WIDTH_PX
    )
    picture = resize(pixels, height, width)
    if mask is None:
        return picture, None
    covered = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return picture, np.asarray(covered > 0)


def draw_case(
    picture: Rgb,
    score_map: Map,
    mask: Mask | None,
    *,
    geometry: Geometry,
    scale: tuple[float, float],
) -> tuple[Rgb, Rgb]:
    """Draw a part and its heatmap, both with the true outline in cyan.

    The white line surrounds what lies above `review_above`.

    Args:
        picture: uint8 h×w×3 RGB, the whole part; unchanged.
        score_map: float32, any size, smoothed, of the part's ROI.
        mask: bool h×w, true on the defect, or none.
        geometry: that made the map.
        scale: score drawn black, and `review_above`, drawn in the middle of the colours; the
            same distance above it they saturate.

    Returns:
        picture and heatmap, uint8 h×w×3.
    """
    drawn, heat = picture.copy(), picture.copy()
    shown = heat_of_frame(score_map, geometry, (picture.shape[0], picture.shape[1]))
    stretched, (left, top, right, bottom) = shown.enlarged(), shown.rectangle
    window = heat[top:bottom, left:right]
    black, middle = scale
    levels = 127.5 * (stretched - black) / max(middle - black, 1e-9)
    colours = cv2.applyColorMap(np.clip(levels, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[
        :, :, ::-1
    ]
    window[:] = (HEAT_SHARE * colours + (1 - HEAT_SHARE) * window).astype(np.uint8)
    above = stretched > middle
    window[_grown(above, 1) & ~above] = LIMIT
    if mask is not None:
        for target in (drawn, heat):
            target[_grown(mask, 4) & ~mask] = EDGE
            target[_grown(mask, 3) & ~_grown(mask, 1)] = OUTLINE
    return drawn, heat


def _grown(area: Mask, by_px: int) -> Mask:
    """Grow an area; outlines lie around it, so that a small defect is not painted over."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(area.astype(np.uint8), disc) > 0)
