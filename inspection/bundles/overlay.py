"""Draws what a person looks at: the part, its heat above the band, boxes and the verdict in words.

Nothing here decides; the score, the verdict and the regions come from `core.decision`.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from inspection.core.decision import Judgement, Region, ScoreRule, Verdict, smooth
from inspection.core.folders import write_whole
from inspection.core.geometry import Geometry, judged_area, roi_px
from inspection.core.heat import Heat, PxBox
from inspection.core.imaging import Map, Mask, Rgb, require_rgb8, resize

Shown = NDArray[np.float32]  # h×w, NaN where nothing is to be shown

LONG_SIDE_PX = (480, 1280)  # smaller parts are enlarged, larger ones reduced to this
CAPTION_WIDTH_PX = 420  # the least width on which the caption can be read
BACKGROUND = (24, 24, 28)
GREY = (190, 190, 196)
COLOURS = {  # chip of each verdict; the word stands in it, for those who see no colours
    Verdict.PASS: (34, 139, 84),
    Verdict.REVIEW: (214, 137, 16),
    Verdict.REJECT: (200, 40, 40),
    Verdict.FAULT: (110, 60, 150),
}
NAMED = (204, 121, 167)  # of what has a name; told apart by colour-blind people
COLOUR_RANGE = (90, 250)  # of inferno: purple, red, orange, yellow; its black hides on dark parts
OPACITY = (0.5, 0.75)  # of the heat, at the band and at its peak
DIMMED = 0.45  # brightness of what was not judged
DEFAULT_RULE = ScoreRule()
PNG = (  # half the time of compression 1 at the same size: a station waits for it
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
)


def draw_overlay(
    pixels: Rgb,
    judgement: Judgement,
    geometry: Geometry,
    rule: ScoreRule = DEFAULT_RULE,
    named: Sequence[tuple[PxBox, str]] = (),
) -> Rgb:
    """Draw one judged part for a person.

    Args:
        pixels: uint8 H×W×3 RGB, the whole part.
        judgement: verdict, score, regions in px of the whole part, raw map of its ROI.
        geometry: the geometry that made the map.
        rule: the rule that made the score, so that heat and boxes show the same smoothed map.
        named: box of each known defect, px of the whole part, and what it is called.

    Returns:
        uint8 RGB of another size: longer side of the part 480 to 1280 px, a caption above it.

    Raises:
        ImageError: pixels are not uint8 H×W×3 RGB.
    """
    require_rgb8(pixels, "part")
    height, width = pixels.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, LONG_SIDE_PX[0]), LONG_SIDE_PX[1]) / longer
    picture = resize(pixels, max(1, round(height * scale)), max(1, round(width * scale))).copy()
    top, left, bottom, right = roi_px(geometry.roi, *picture.shape[:2])
    judged = judged_area((bottom - top, right - left), geometry)
    if not judged.all() or judged.shape != picture.shape[:2]:
        picture = _dim_unjudged(picture, judged, top, left)
    heat = _heat(judgement, judged, geometry, rule)
    peaks = [float(np.nanmax(heat))] if np.isfinite(heat).any() else []
    peaks += [region.peak for region in judgement.regions]
    colours = (judgement.band.review_above, max([judgement.band.reject_above, *peaks]))
    _blend(picture[top:bottom, left:right], heat, colours)
    for region in reversed(judgement.regions):
        _box(picture, region, scale)
    return _captioned(_labelled(picture, named, scale), judgement, colours)


def encode_picture(picture: Rgb) -> bytes:
    """Encode uint8 H×W×3 RGB as PNG, lossless."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), PNG)
    return encoded.tobytes()


def write_picture(path: Path, picture: Rgb) -> None:
    """Write uint8 H×W×3 RGB as PNG, whole or not at all; not flushed to the disk.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(path, encode_picture(picture))


def _dim_unjudged(picture: Rgb, judged: Mask, top: int, left: int) -> Rgb:
    shown = np.zeros(picture.shape[:2], np.bool_)
    shown[top : top + judged.shape[0], left : left + judged.shape[1]] = judged
    return np.where(shown[:, :, None], picture, (picture * DIMMED).astype(np.uint8))


def _heat(judgement: Judgement, judged: Mask, geometry: Geometry, rule: ScoreRule) -> Shown:
    """Smooth and enlarge the map to the ROI's px; NaN up to review_above and where not judged."""
    score_map: Map = np.ascontiguousarray(judgement.score_map, np.float32)
    if not np.isfinite(score_map).all():
        return np.full(judged.shape, np.nan, np.float32)
    smoothed = smooth(score_map, rule)
    area = (0, 0, judged.shape[1], judged.shape[0])
    enlarged = Heat(smoothed, area, geometry.map_shift).enlarged()
    return np.where(judged & (enlarged > judgement.band.review_above), enlarged, np.nan)


def _blend(roi: Rgb, heat: Shown, colours: tuple[float, float]) -> None:
    """Lay the heat over the ROI, in place; `colours` are the values of the first and the last."""
    hot = np.isfinite(heat)
    low, high = colours
    level = (heat[hot] - low) / max(high - low, float(np.finfo(np.float32).tiny))
    opacity = (OPACITY[0] + level * (OPACITY[1] - OPACITY[0]))[:, None]
    roi[hot] = np.round(roi[hot] * (1 - opacity) + _colour(level) * opacity).astype(np.uint8)


def _colour(level: Shown) -> NDArray[np.uint8]:
    """Give RGB colours (n, 3) of levels in [0, 1], purple to yellow in order of brightness."""
    first, last = COLOUR_RANGE
    return _palette()[np.round(first + level * (last - first)).astype(np.intp)]


@lru_cache(maxsize=1)
def _palette() -> NDArray[np.uint8]:
    """Give the 256 RGB colours of inferno, in order of brightness."""
    steps = np.arange(256, dtype=np.uint8)[:, None]
    bgr = cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)
    return np.asarray(bgr[:, 0, ::-1], np.uint8)


def _box(picture: Rgb, region: Region, scale: float) -> None:
    """Outline a region in white on black, a little outside of it, in place."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (round(value * scale) for value in region.xyxy_px)
    line = 2 + max(height, width) // 1000
    first = (max(x0 - line - 1, 1), max(y0 - line - 1, 1))
    last = (min(x1 + line, width - 2), min(y1 + line, height - 2))
    cv2.rectangle(picture, first, last, (0, 0, 0), line + 4)
    cv2.rectangle(picture, first, last, (255, 255, 255), line)


def _labelled(picture: Rgb, named: Sequence[tuple[PxBox, str]], scale: float) -> Rgb:
    """Frame what has a name, the name above it, or below where there is no room."""
    if not named:
        return picture
    canvas = Image.fromarray(picture)
    draw, line = ImageDraw.Draw(canvas), 2 + max(picture.shape[:2]) // 1000
    font = _font(max(13, max(picture.shape[:2]) // 60))
    for box, name in reversed(named):
        x0, y0, x1, y1 = (round(value * scale) for value in box)
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=NAMED, width=line)
        above = y0 - font.size >= 0
        place, anchor = ((x0, y0), "ls") if above else ((x0, y1), "lt")
        draw.rectangle(draw.textbbox(place, name, font, anchor=anchor), fill=NAMED)
        draw.text(place, name, "black", font, anchor=anchor)
    return np.asarray(canvas)


def _captioned(picture: Rgb, judgement: Judgement, colours: tuple[float, float]) -> Rgb:
    """Set the picture under a bar: verdict, score and regions; below them the band and colours."""
    height, width = picture.shape[:2]
    full_width = max(width, CAPTION_WIDTH_PX)
    size = min(28, max(17, full_width // 36))
    bar = round(size * 3.4)
    canvas = Image.new("RGB", (full_width, height + bar), BACKGROUND)
    canvas.paste(Image.fromarray(picture), ((full_width - width) // 2, bar))
    draw = ImageDraw.Draw(canvas)
    margin, first_y, second_y = size // 2, size * 1.25, bar - size * 0.8
    word = str(judgement.verdict)
    right = margin * 3 + _font(size).getlength(word)
    chip = (margin, first_y - size * 0.75, right, first_y + size * 0.75)
    draw.rounded_rectangle(chip, radius=size // 4, fill=COLOURS[judgement.verdict])
    draw.text((margin * 2, first_y), word, "white", _font(size), anchor="lm")
    first, second = _words(judgement)
    draw.text((right + margin, first_y), first, "white", _font(size), anchor="lm")
    small = _font(round(size * 0.78))
    draw.text((margin, second_y), second, GREY, small, anchor="lm")
    if judgement.regions:
        _legend(canvas, (full_width - margin, round(second_y)), colours, small)
    return np.asarray(canvas)


def _legend(
    canvas: Image.Image,
    end: tuple[int, int],
    colours: tuple[float, float],
    font: ImageFont.FreeTypeFont,
) -> None:
    """Draw the range of colours between its two values, ending at x and centred on y, in place."""
    draw, (x, y) = ImageDraw.Draw(canvas), end
    low, high = (f"{value:.4g}" for value in colours)
    draw.text(end, high, GREY, font, anchor="rm")
    wide, tall = round(font.size * 5), round(font.size * 0.8)
    left = round(x - font.getlength(high) - font.size // 2) - wide
    levels = np.linspace(0, 1, wide, dtype=np.float32)
    canvas.paste(Image.fromarray(np.repeat(_colour(levels)[None], tall, 0)), (left, y - tall // 2))
    draw.text((left - font.size // 2, y), low, GREY, font, anchor="rm")


def _words(judgement: Judgement) -> tuple[str, str]:
    count = len(judgement.regions)
    regions = f" · {count} region{'s' * (count != 1)}" * (count > 0)
    score = f"score {judgement.score:.4g}" if np.isfinite(judgement.score) else "no score"
    band = judgement.band
    second = f"review above {band.review_above:.4g} · reject above {band.reject_above:.4g}"
    return score + regions, second


@lru_cache(maxsize=8)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OSError("Pillow was built without FreeType; install Pillow from its wheel")
    return font
