"""Lays labelled pictures into the input and varies them, for networks that learn typed defects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from inspection.core.imaging import Mask, Rgb
from inspection.detectors.detections import px_box
from inspection.detectors.fitting import Fit
from inspection.detectors.layout import Picture
from inspection.recognition.labels import LabelledPicture
from inspection.recognition.pasting import cut_piece, paste, turned
from inspection.recognition.settings import Augmentation

LEAST_PX = 2  # sides of a box, px of the input; a hairline is widened to it
MOST_PASTED = 3
CACHE_BYTES = 2 << 30  # of laid pictures that are read once; others are read anew
LINEAR = v2.InterpolationMode.BILINEAR


class Target(TypedDict):
    """What is to be found on one input, in torchvision's words."""

    boxes: Tensor
    """float32 (n, 4), x0 y0 x1 y1 px of the input."""
    labels: Tensor
    """int64 (n,), places in the list of types."""
    masks: Tensor
    """uint8 (n, H, W) of the input; of a defect without mask its whole box."""


@dataclass(frozen=True)
class Lesson:
    """One input and what is to be found on it."""

    pixels: Rgb
    """uint8 H×W×3 of the input."""
    fit: Fit
    masks: NDArray[np.uint8]
    """uint8 (n, H, W)."""
    types: tuple[int, ...]


def as_target(masks: Tensor, labels: Tensor) -> Target:
    """Give masks and types with their boxes, 2 px at least; what shows nothing is left out."""
    shown = masks.flatten(1).bool().any(1) if len(masks) else torch.zeros(0, dtype=torch.bool)
    masks, labels = masks[shown], labels[shown]
    boxes = masks_to_boxes(masks).float() if len(masks) else torch.zeros(0, 4)
    boxes[:, 2:] += 1  # torchvision's ends are the last px
    lacking = (LEAST_PX - (boxes[:, 2:] - boxes[:, :2])).clamp(min=0) / 2
    boxes = torch.cat([boxes[:, :2] - lacking, boxes[:, 2:] + lacking], 1)
    return Target(boxes=boxes, labels=labels, masks=masks)


def lay_lesson(one: LabelledPicture, fit: Fit, types: Sequence[str]) -> Lesson:
    """Lay a picture and its defects into the input."""
    masks = [_laid_mask(defect.mask, defect.box, fit) for defect in one.defects]
    stacked = np.stack(masks) if masks else np.zeros((0, *fit.input_hw), np.uint8)
    numbers = tuple(types.index(defect.type) for defect in one.defects)
    return Lesson(fit.lay(one.pixels), fit, stacked, numbers)


def _laid_mask(
    mask: Mask | None, box: tuple[float, float, float, float], fit: Fit
) -> NDArray[np.uint8]:
    """Lay a mask, or the area of a box without one, as `Fit.lay` lays its picture."""
    if mask is None:
        x0, y0, x1, y1 = px_box(np.array(box, np.float32))
        mask = np.zeros(fit.image_hw, np.bool_)
        mask[y0:y1, x0:x1] = True
    (rows, columns), (left, top) = fit.seen_hw, fit.corner_xy
    share = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    laid = np.zeros(fit.input_hw, np.uint8)
    within = share >= 0.5
    # a thin defect may fill half of no px of the input: it keeps those it fills most
    laid[top : top + rows, left : left + columns] = (
        within if within.any() else share >= share.max() * 0.99
    )
    return laid


class Lessons(Dataset[tuple[Tensor, Target]]):
    """Pictures that teach, varied anew each time; good parts with defects pasted on, or bare.

    Args:
        defective: pictures with defects.
        good: pictures without.
        types: the types to learn, in their order.
        picture: how a picture is laid into the input.
        input_hw: height and width of the input, px.
        varied: how much.
        seed: of every random choice.
    """

    def __init__(  # noqa: PLR0913
        self,
        defective: Sequence[LabelledPicture],
        good: Sequence[LabelledPicture],
        types: Sequence[str],
        picture: Picture,
        input_hw: tuple[int, int],
        varied: Augmentation,
        seed: int,
    ) -> None:
        self.types, self._picture, self._hw, self._varied = types, picture, input_hw, varied
        self._defective, self._good = defective, good
        self._rng = np.random.default_rng(seed)
        self._change = _transforms(varied, picture.pad)
        self._cache: dict[str, Lesson] = {}
        self._room = CACHE_BYTES

    def __len__(self) -> int:
        return len(self._defective) + self.good_shown

    @property
    def good_shown(self) -> int:
        """How many good parts a pass shows."""
        wanted = round(self._varied.good * len(self._defective))
        return min(len(self._good), wanted)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        if index < len(self._defective):
            lesson = self.lesson(self._defective[index])
        else:
            lesson = self.lesson(self._good[int(self._rng.integers(len(self._good)))])
            if self._rng.random() < self._varied.pasted:
                lesson = self._pasted(lesson)
        return self._changed(lesson)

    def lesson(self, one: LabelledPicture) -> Lesson:
        """Give a picture as it is laid, unchanged; read once while there is room."""
        if one.sha256 in self._cache:
            return self._cache[one.sha256]
        lesson = lay_lesson(one, Fit(self._picture, self._hw, one.size_hw), self.types)
        size = lesson.pixels.nbytes + lesson.masks.nbytes
        if size <= self._room:
            self._cache[one.sha256] = lesson
            self._room -= size
        return lesson

    def _changed(self, lesson: Lesson) -> tuple[Tensor, Target]:
        image = tv_tensors.Image(torch.from_numpy(lesson.pixels).permute(2, 0, 1))
        masks = tv_tensors.Mask(torch.from_numpy(lesson.masks))
        image, masks = self._change(image, masks)
        labels = torch.tensor(lesson.types, dtype=torch.int64)
        return image.as_subclass(Tensor), as_target(masks.as_subclass(Tensor), labels)

    def _pasted(self, lesson: Lesson) -> Lesson:
        """Paste one to three defects of the pictures that teach."""
        pixels, masks, types = lesson.pixels, list(lesson.masks), list(lesson.types)
        part = _content(lesson.fit)
        for _ in range(int(self._rng.integers(1, MOST_PASTED + 1))):
            one = self._defective[int(self._rng.integers(len(self._defective)))]
            shown = self.lesson(one)
            number = int(self._rng.integers(len(shown.types)))
            mask = shown.masks[number].astype(np.bool_)
            if one.defects[number].rle is None or not mask.any():
                continue  # of a mere box nobody knows what of it is the defect
            of_part = _content(shown.fit)  # beside it is no part, whose light would count
            piece = cut_piece(shown.pixels[of_part], mask[of_part], one.defects[number].type)
            made = paste(pixels[part], turned(piece, self._rng), self._rng)
            if made:
                pixels, drawn = pixels.copy(), np.zeros(pixels.shape[:2], np.bool_)
                pixels[part], drawn[part] = made
                masks = [np.where(drawn, 0, mask).astype(np.uint8) for mask in masks]
                masks.append(drawn.astype(np.uint8))
                types.append(shown.types[number])
        stacked = np.stack(masks) if masks else lesson.masks
        return Lesson(pixels, lesson.fit, stacked, tuple(types))


def _content(fit: Fit) -> tuple[slice, slice]:
    """Say where the picture lies in the input."""
    (rows, columns), (left, top) = fit.seen_hw, fit.corner_xy
    return slice(top, top + rows), slice(left, left + columns)


def _transforms(varied: Augmentation, pad: int) -> v2.Transform:
    steps: list[v2.Transform] = []
    if varied.flips:
        steps += [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()]
    if varied.scale:
        fill = {tv_tensors.Image: pad, tv_tensors.Mask: 0}
        scale = (1 - varied.scale, 1 + varied.scale)
        steps.append(
            v2.RandomAffine(
                0,
                (varied.scale / 2,) * 2,
                scale,
                interpolation=LINEAR,
                fill=fill,
            )
        )
    if varied.light:
        steps.append(v2.ColorJitter(brightness=varied.light, contrast=varied.light))
    return v2.Compose(steps or [v2.Identity()])


def collate(lessons: Sequence[tuple[Tensor, Target]]) -> tuple[Tensor, list[Target]]:
    """Stack inputs, uint8 (B, 3, H, W); targets differ in length and stay a list."""
    return torch.stack([one for one, _ in lessons]), [target for _, target in lessons]
