"""Scenes that a segmenter learns from: marked pictures, turned, and how it is asked about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.heat import PxBox
from inspection.core.imaging import Mask, Rgb
from inspection.masks.segmenter import Prompt
from inspection.pretraining.maps import Asked, ask_by_map
from inspection.pretraining.marks import draw_marked
from inspection.review.lessons import Lesson

MARKS = 6  # on a picture, at most
TURNS = 8  # quarter turns, mirrored or not
BOX_ONLY, BY_MAP = 0.25, 0.45  # shares of the prompts; the others are clicks and blurred guesses
EXACT = 0.5  # share of those whose boxes touch the mask on all sides


@dataclass(frozen=True)
class Scene:
    """A marked picture as it waits for its turn."""

    pixels: Rgb
    packed: NDArray[np.uint8]
    """k×side×side/8: its masks, eight pixels a byte."""

    def look(self, turn: int) -> tuple[Rgb, list[Lesson]]:
        """Turn the picture, 0 to 7, and give it with its marks."""
        masks = np.unpackbits(self.packed, axis=-1).astype(np.bool_)
        turned = [np.ascontiguousarray(_turned(mask, turn)) for mask in masks]
        everything = np.any(turned, axis=0)
        lessons = [Lesson(mask, everything & ~mask, box_of(mask)) for mask in turned]
        return np.ascontiguousarray(_turned(self.pixels, turn)), lessons


def draw_scenes(side_px: int, rngs: Sequence[np.random.Generator]) -> list[Scene]:
    """Draw a scene of each generator."""
    drawn = (draw_marked(side_px, rng, MARKS) for rng in rngs)
    return [Scene(one.pixels, np.packbits(one.masks, axis=-1)) for one in drawn]


def draw_prompt(lesson: Lesson, rng: np.random.Generator) -> Asked:
    """Ask by a box alone, exact or grown by 0 to 20 %, or as the map and reviewers would."""
    kind = rng.random()
    if kind < BOX_ONLY:
        box = lesson.box if rng.random() < EXACT else lesson.draw_box(rng)
        return Asked(Prompt(box), lesson.mask)
    if kind < BOX_ONLY + BY_MAP and (asked := ask_by_map(lesson.mask, lesson.others, rng)):
        return asked
    return Asked(lesson.draw_prompt(rng), lesson.mask)


def box_of(mask: Mask) -> PxBox:
    """Give the box around a mask that is not empty, px, ends excluded."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def _turned(array: NDArray[Any], turn: int) -> NDArray[Any]:
    mirrored = array[:, ::-1] if turn >= TURNS // 2 else array
    return np.rot90(mirrored, turn % 4)
