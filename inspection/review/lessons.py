"""Makes lessons of corrected masks: who is for what, windows, defects, and their prompts.

Prompts are drawn from the masks the way the map gives them and reviewers click.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import DatasetError
from inspection.core.heat import PxBox
from inspection.core.imaging import Mask, Rgb, require_rgb8
from inspection.masks.components import Component, drawn_components
from inspection.masks.refine import BOX_LEAST_PX, RING, RING_LEAST_PX, SURE
from inspection.masks.segmenter import NO_POINTS, Box, Floats, Points, Prompt
from inspection.masks.views import grown, lay_views

logger = logging.getLogger(__name__)

MOST_DEFECTS = 32  # of a picture; one with specks must not outweigh the others, nor fill the memory
SOUND_PX = 2  # so near to an outline a pixel may belong to either side
GROWTH = (0.0, 0.2)  # of the box's sides, on each side by itself
COARSE_PX = (4.0, 12.0)  # sigma that makes a map's guess of a mask; its cells are 8 to 16 px
CLICKS_ONLY = 0.3  # share of the prompts without box and guess
GUESSED = 0.5  # share of the others with a guess
MOST_POSITIVE, MOST_NEGATIVE = 3, 4
FIXED_GROWTH, FIXED_COARSE_PX = 0.15, 8.0


class Part(StrEnum):
    """What a picture is for."""

    TRAIN = "train"
    STOP = "stop"
    HELD_OUT = "held out"


# Of 6 pictures all are better by chance once in 2^6 = 64 times, less than the 2.5 % of the bound.
LEAST = {Part.TRAIN: 6, Part.STOP: 3, Part.HELD_OUT: 6}


class CorrectedMask(Protocol):
    """What a reviewer drew."""

    @property
    def pixels(self) -> Rgb:
        """The picture, uint8 H×W×3 RGB."""
        ...

    @property
    def mask(self) -> Mask:
        """Its defects, bool H×W; empty says that there is none."""
        ...

    @property
    def image_sha256(self) -> str:
        """Which picture it is."""
        ...

    @property
    def author(self) -> str:
        """Who drew it."""
        ...


@dataclass(frozen=True)
class Lesson:
    """One defect within a window, px of the window; points are centres of pixels."""

    mask: Mask
    """bool (h, w) of the window: this defect."""
    others: Mask
    """bool (h, w): the other defects."""
    box: PxBox

    @cached_property
    def inside(self) -> Points:
        """Every place on it, the innermost first."""
        padded = np.pad(self.mask, 1).astype(np.uint8)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        return _places(self.mask)[np.argsort(-depth[self.mask], kind="stable")]

    @cached_property
    def ring(self) -> Points:
        """The sound places around it, row by row; none where it fills its window."""
        x0, y0, x1, y1 = self.box
        width = max(RING_LEAST_PX, round(max(x1 - x0, y1 - y0) * RING))
        sound = (~self.mask).astype(np.uint8)
        away = cv2.distanceTransform(sound, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return _places((away > SOUND_PX) & (away <= width) & ~self.others)

    def draw_prompt(self, rng: np.random.Generator) -> Prompt:
        """Draw a prompt: box grown by 0 to 20 %, points, a blurred guess; or points only."""
        positive = rng.choice(self.inside, rng.integers(1, MOST_POSITIVE + 1))
        places = rng.integers(0, max(1, len(self.ring)), rng.integers(0, MOST_NEGATIVE + 1))
        negative = self._on_ring(places)
        if rng.random() < CLICKS_ONLY:
            return Prompt(positive=positive, negative=negative)
        guess = self._guess(rng.uniform(*COARSE_PX)) if rng.random() < GUESSED else None
        return Prompt(self.draw_box(rng), positive, negative, guess)

    def draw_box(self, rng: np.random.Generator) -> Box:
        """Draw a box, each side of it up to 20 % of its length too far out."""
        x0, y0, x1, y1 = self.box
        sides = np.asarray((x0 - x1, y0 - y1, x1 - x0, y1 - y0))
        left, top, right, bottom = (self.box + sides * rng.uniform(*GROWTH, 4)).tolist()
        return left, top, right, bottom

    @property
    def fixed_prompts(self) -> tuple[Prompt, Prompt]:
        """The two prompts that judge: all that the map gives, and one click in the middle."""
        height, width = self.mask.shape
        box = grown(self.box, FIXED_GROWTH, BOX_LEAST_PX, (height, width))
        spread = np.linspace(0, max(0, len(self.ring) - 1), MOST_NEGATIVE).astype(np.int64)
        middle = self.inside[:1]
        guess = self._guess(FIXED_COARSE_PX)
        return Prompt(box, middle, self._on_ring(spread), guess), Prompt(positive=middle)

    def _on_ring(self, places: NDArray[np.int64]) -> Points:
        return self.ring[places] if len(self.ring) else NO_POINTS

    def _guess(self, sigma_px: float) -> Floats:
        """Blur the mask to the guess that a coarse map gives of it, in logits."""
        heat = cv2.GaussianBlur(self.mask.astype(np.float32), (0, 0), sigma_px)
        guess = SURE * (2 * heat / heat.max() - 1)
        return np.where(self.others, -SURE, guess).astype(np.float32)


@dataclass(frozen=True)
class Window:
    """A part of a picture that a segmenter looks at once, and the defects in it."""

    picture: str
    """Its sha256."""
    pixels: Rgb
    """uint8 h×w×3 RGB."""
    lessons: tuple[Lesson, ...]


def cut_windows(label: CorrectedMask, side_px: int) -> list[Window]:
    """Cut the windows of a corrected picture as the refiner does; none of an empty mask.

    Of more than 32 defects the largest are taken, and the log counts the others.

    Args:
        label: what a reviewer drew.
        side_px: longest side the segmenter sees without reducing.

    Raises:
        ImageError: the picture is no uint8 H×W×3 RGB.
        DatasetError: the mask is not bool or not as large as its picture.
    """
    name = f"corrected picture {label.image_sha256[:12]}"
    pixels, mask = label.pixels, label.mask
    require_rgb8(pixels, name)
    if mask.dtype != np.bool_ or mask.shape != pixels.shape[:2]:
        raise DatasetError(
            f"{name}: mask is {mask.dtype} {mask.shape}; wanted bool {pixels.shape[:2]} like the "
            "picture; draw it on the picture itself"
        )
    found, left_out = drawn_components(mask, MOST_DEFECTS)
    if left_out:
        logger.warning(
            "%s: %d defects drawn; the %d largest teach, %d are left out",
            *(name, len(found) + left_out, len(found), left_out),
        )
    components = dict(enumerate(found))
    frame_hw = mask.shape[0], mask.shape[1]
    windows = []
    for view in lay_views(components, side_px, frame_hw, len(components)):
        x0, y0, x1, y1 = view.window
        drawn = mask[y0:y1, x0:x1]
        lessons = tuple(_lesson(one, (x0, y0), drawn) for one in view.components.values())
        seen = np.array(pixels[y0:y1, x0:x1])  # a copy: the whole picture need not stay
        windows.append(Window(label.image_sha256, seen, lessons))
    return windows


def split_pictures(
    pictures: Iterable[str], *, held_out_share: float, stop_share: float, least: int
) -> dict[Part, tuple[str, ...]]:
    """Divide pictures by a hash of each, so that a new one never moves another.

    Args:
        pictures: sha256 of each.
        held_out_share: share that judges.
        stop_share: share that says when to stop.
        least: so many in all.

    Raises:
        DatasetError: there are too few, in all or in a part.
    """
    parts: dict[Part, list[str]] = {part: [] for part in Part}
    for picture in sorted(pictures):
        digest = hashlib.sha256(picture.encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        held_out = place < held_out_share
        stop = place < held_out_share + stop_share
        parts[Part.HELD_OUT if held_out else Part.STOP if stop else Part.TRAIN].append(picture)
    total = sum(len(images) for images in parts.values())
    if total < least or any(len(parts[part]) < LEAST[part] for part in Part):
        found, wanted = (
            ", ".join(f"{count} {part}" for part, count in counts.items())
            for counts in ({part: len(images) for part, images in parts.items()}, LEAST)
        )
        raise DatasetError(
            f"corrections: {total} pictures with a defect drawn, by their hash {found}; wanted at "
            f"least {least}, {wanted}; correct more masks"
        )
    return {part: tuple(images) for part, images in parts.items()}


def _lesson(component: Component, origin_xy: tuple[int, int], drawn: Mask) -> Lesson:
    left, top = origin_xy
    x0, y0, x1, y1 = component.box
    box = x0 - left, y0 - top, x1 - left, y1 - top
    mask = np.zeros(drawn.shape, np.bool_)
    mask[box[1] : box[3], box[0] : box[2]] = component.mask
    return Lesson(mask, drawn & ~mask, box)


def _places(mask: Mask) -> Points:
    """Give the centres of a mask's pixels, row by row."""
    y, x = np.nonzero(mask)
    return np.stack((x, y), axis=1).astype(np.float32) + np.float32(0.5)
