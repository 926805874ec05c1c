"""Answers a reviewer's clicks on an image; what was looked at is kept, so the next click is fast.

Large images are looked at through a window at full resolution around what was clicked.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from inspection.core.heat import PxBox, tight_box
from inspection.core.imaging import Mask, Rgb, require_rgb8
from inspection.masks.segmenter import NO_POINTS, Box, Points, Prompt, Segmenter, SetImage

MOST_IMAGES = 8  # an embedding of SAM takes 4 MB, of SAM 2 16 MB
SIDE_PX = 1024  # of the window for a segmenter that takes every size
SURE = 10.0  # logits of an earlier mask, as SAM 2 gives them to a mask it is told
MARGIN = 1 / 8  # of a window's side: so much must be seen around what was clicked


class Clicks:
    """Asks a segmenter about clicks, each window of an image embedded once; for several threads."""

    def __init__(self, segmenter: Segmenter, most_images: int = MOST_IMAGES) -> None:
        self.segmenter, self._most = segmenter, most_images
        self._looks: OrderedDict[tuple[tuple[int, ...], bytes], _Look] = OrderedDict()
        self._lock = threading.Lock()

    def outline(
        self,
        pixels: Rgb,
        *,
        box: Box | None = None,
        positive: Points = NO_POINTS,
        negative: Points = NO_POINTS,
        earlier: Mask | None = None,
    ) -> Mask:
        """Outline what was clicked, as the segmenter itself thinks best.

        The window is laid around the box, else the first positive point, else the earlier mask, and
        holds all of them. So it stays, and its embedding with it, while further points fall
        into it. An outline that the window cuts off is asked for again in one twice as wide.

        Args:
            pixels: uint8 H×W×3 RGB, the whole image.
            box: around the defect, px of the image.
            positive: (n, 2), points on the defect, px of the image, in the order they were set.
            negative: (n, 2), points beside it.
            earlier: bool (H, W), the outline that the points correct; an empty one says nothing.

        Returns:
            bool (H, W).

        Raises:
            ImageError: the pixels are anything else.
            ConfigError: the clicks do not fit the image, or there are none.
        """
        require_rgb8(pixels, "image to click on")
        guess = None
        if earlier is not None and earlier.any():
            guess = np.where(earlier, SURE, -SURE).astype(np.float32)
        prompt = Prompt(box, positive, negative, guess)
        frame_hw = pixels.shape[0], pixels.shape[1]
        prompt.require_fitting(*frame_hw)
        outline = np.zeros(frame_hw, np.bool_)
        for window in _windows(prompt, self.segmenter.side_px, frame_hw):
            found = self._ask(pixels, prompt, window)
            if not _cut_off(found, window, frame_hw):
                break
        outline[_part(window)] = found
        return outline

    def _ask(self, pixels: Rgb, prompt: Prompt, window: PxBox) -> Mask:
        image = self._set_image(pixels[_part(window)])
        return image.predict([_moved(prompt, window)])[0].best

    def _set_image(self, pixels: Rgb) -> SetImage:
        """Embed pixels, or wait for the thread that does, or take what is kept of them."""
        pixels = np.array(pixels)  # a segmenter may keep them, and the caller's may change
        key = pixels.shape, hashlib.sha256(pixels.data).digest()
        with self._lock:
            look = self._looks.setdefault(key, _Look())
            self._looks.move_to_end(key)
            if len(self._looks) > self._most:
                self._looks.popitem(last=False)
        with look.lock:
            if look.image is None:
                look.image = self.segmenter.set_image(pixels)
            return look.image


@dataclass
class _Look:
    """One window's embedding, once it is there; after an error the next thread tries again."""

    image: SetImage | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def _windows(prompt: Prompt, side_px: int | None, frame_hw: tuple[int, int]) -> Iterator[PxBox]:
    """Give the windows that hold a prompt, the narrowest first, the whole frame last."""
    height, width = frame_hw
    side = side_px or SIDE_PX
    named = _named(prompt)
    x, y = named[0].reshape(2, 2).mean(axis=0)
    while side < max(frame_hw):
        left, right = _span(x, side, width)
        top, bottom = _span(y, side, height)
        across = _holds(left, right, width, named[:, 0::2])
        if across and _holds(top, bottom, height, named[:, 1::2]):
            yield left, top, right, bottom
        side *= 2
    yield 0, 0, width, height


def _span(anchor: float, side: int, end: int) -> tuple[int, int]:
    """Lay a side around an anchor, in steps, so that anchors near each other share a window."""
    step, length = max(1, int(side * MARGIN)), min(side, end)
    start = round((anchor - length / 2) / step) * step
    start = min(max(0, start), end - length)
    return start, start + length


def _holds(first: int, last: int, end: int, asked: NDArray[np.float64]) -> bool:
    """Say whether a span holds what is asked with its margin, which the frame's edge needs not."""
    margin = (last - first) * MARGIN
    low = first == 0 or first + margin <= asked.min()
    return bool(low and (last == end or asked.max() <= last - margin))


def _named(prompt: Prompt) -> NDArray[np.float64]:
    """Give boxes of all that a prompt names, (n, 4); the first is what windows lie around."""
    points = np.tile(np.concatenate((prompt.positive, prompt.negative)), 2).astype(np.float64)
    boxes = np.insert(points, len(prompt.positive), _mask_boxes(prompt), axis=0)
    return boxes if prompt.box is None else np.insert(boxes, 0, prompt.box, axis=0)


def _mask_boxes(prompt: Prompt) -> NDArray[np.intp]:
    """Give the box around a prompt's mask, (1, 4); none, (0, 4), without a mask."""
    if prompt.mask is None:
        return np.empty((0, 4), np.intp)
    return np.asarray([tight_box(np.asarray(prompt.mask > 0))])


def _moved(prompt: Prompt, window: PxBox) -> Prompt:
    """Say a prompt of the frame in px of a window that holds it."""
    left, top = window[:2]
    offset = np.asarray((left, top), np.float32)
    box = prompt.box
    return replace(
        prompt,
        box=box and (box[0] - left, box[1] - top, box[2] - left, box[3] - top),
        positive=prompt.positive - offset,
        negative=prompt.negative - offset,
        mask=None if prompt.mask is None else prompt.mask[_part(window)],
    )


def _cut_off(found: Mask, window: PxBox, frame_hw: tuple[int, int]) -> bool:
    """Say whether a mask reaches a side of its window that is no edge of the frame."""
    left, top, right, bottom = window
    return bool(
        (top > 0 and found[0].any())
        or (left > 0 and found[:, 0].any())
        or (bottom < frame_hw[0] and found[-1].any())
        or (right < frame_hw[1] and found[:, -1].any())
    )


def _part(window: PxBox) -> tuple[slice, slice]:
    x0, y0, x1, y1 = window
    return slice(y0, y1), slice(x0, x1)
