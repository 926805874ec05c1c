"""Typed defects on pictures, as people drew them: what a second stage learns and is judged by."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_masks

from inspection.core.errors import ImageError
from inspection.core.imaging import Mask, Rgb, decode_image, read_bytes
from inspection.data.findings import Finding

Side = Literal["train", "test"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class TypedDefect:
    """One defect with its type."""

    type: str
    box: Box
    """x0 y0 x1 y1, px of the picture, ends excluded."""
    rle: dict[str, Any] | None
    """The mask over the whole picture, as pycocotools packs it; none where only a box is known."""

    @property
    def mask(self) -> Mask | None:
        """Bool H×W of the picture; none where only a box is known."""
        return None if self.rle is None else coco_masks.decode(self.rle).astype(np.bool_)


def pack(mask: Mask) -> dict[str, Any]:
    """Pack a mask, bool H×W, as pycocotools does."""
    packed: dict[str, Any] = coco_masks.encode(np.asfortranarray(mask, np.uint8))
    return packed


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and all defects on it; without any it is a good part."""

    path: Path
    name: str
    """Its path as its source names it."""
    size_hw: tuple[int, int]
    sha256: str
    group: str
    """Pictures of one part have one."""
    side: Side
    defects: tuple[TypedDefect, ...]

    @property
    def pixels(self) -> Rgb:
        """The picture, uint8 H×W×3 RGB.

        Raises:
            ImageError: it cannot be read, or has changed since it was labelled.
        """
        encoded = read_bytes(self.path)
        if hashlib.sha256(encoded).hexdigest() != self.sha256:
            raise ImageError(f"{self.path}: has changed since it was read; read the labels again")
        return decode_image(encoded, str(self.path))


@dataclass(frozen=True)
class Labels:
    """All pictures of some sources, and what stands against them."""

    types: tuple[str, ...]
    """Those that the pictures' defects have, or were declared; their order numbers them."""
    pictures: tuple[LabelledPicture, ...]
    problems: tuple[Finding, ...]
    """Each makes the labels unsound; sorted."""
    notes: tuple[Finding, ...]
    """What a person should know; sorted."""

    def of(self, side: Side) -> tuple[LabelledPicture, ...]:
        """Give the pictures of one side."""
        return tuple(one for one in self.pictures if one.side == side)

    @cached_property
    def bare(self) -> tuple[str, ...]:
        """Names of the pictures on which a defect has a box only."""
        return tuple(
            one.name for one in self.pictures if any(defect.rle is None for defect in one.defects)
        )


def count_types(pictures: Iterable[LabelledPicture]) -> Counter[str]:
    """Count the defects of each type."""
    return Counter(defect.type for one in pictures for defect in one.defects)
