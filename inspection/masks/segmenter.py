"""What finds the outline of a defect when it is shown where to look: the one protocol.

An image is set once, which is slow, and then asked often, which is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import ConfigError
from inspection.core.imaging import Mask, Rgb

Points = NDArray[np.float32]  # (n, 2), x and y in px of the image that was set
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in px, ends excluded
Floats = NDArray[np.float32]

NO_POINTS: Points = np.empty((0, 2), np.float32)


@dataclass(frozen=True)
class Prompt:
    """Where a segmenter is to look; all places in px of the image that was set."""

    box: Box | None = None
    positive: Points = field(default_factory=NO_POINTS.copy)
    """Points on the defect."""
    negative: Points = field(default_factory=NO_POINTS.copy)
    """Points beside it."""
    mask: Floats | None = None
    """H×W like the image: a first guess, above 0 on the defect, the more the surer; or none."""

    def require_fitting(self, height_px: int, width_px: int) -> None:
        """Refuse a prompt that does not fit an image of this size.

        Raises:
            ConfigError: nothing is asked, points are no (n, 2), the box has no area within the
                image, or the mask has another size.
        """
        size = f"{width_px}×{height_px}"
        if self.box is None and not len(self.positive) and self.mask is None:
            raise ConfigError(
                "prompt: neither box nor positive point nor mask; wanted one of them; click on the "
                "defect"
            )
        for name, points in (("positive", self.positive), ("negative", self.negative)):
            _require_points(points, name, (width_px, height_px))
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (max(0, x0) < min(width_px, x1) and max(0, y0) < min(height_px, y1)):
                raise ConfigError(
                    f"prompt: box {self.box} has no area within {size} px; draw it anew"
                )
        if self.mask is not None and self.mask.shape != (height_px, width_px):
            found = "×".join(map(str, self.mask.shape[::-1]))
            raise ConfigError(
                f"prompt: mask is {found} px; wanted {size} like the image; resize it"
            )
        if self.box is None and not len(self.positive) and not self._guesses:
            raise ConfigError(
                "prompt: the mask has nothing above 0, and there is neither box nor positive "
                "point; click on the defect"
            )

    @property
    def _guesses(self) -> bool:
        return self.mask is not None and bool((self.mask > 0).any())


def _require_points(points: Points, name: str, size: tuple[int, int]) -> None:
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ConfigError(f"prompt: {name} points are {points.shape}; wanted (n, 2), x y px")
    if ((points < 0) | (points > size)).any():
        raise ConfigError(
            f"prompt: {name} points {points.tolist()} lie outside {size[0]}×{size[1]} px; click on "
            "the image"
        )


@dataclass(frozen=True)
class Candidates:
    """What a segmenter takes for the defect of one prompt: one mask or several to choose from."""

    masks: NDArray[np.bool_]
    """bool (n, H, W), n at least 1."""
    sure: Floats
    """(n,), the segmenter's own guess of each mask's IoU; 1 where it makes none."""

    @property
    def best(self) -> Mask:
        """The mask the segmenter itself thinks best; for clicks, where no map can choose."""
        return np.asarray(self.masks[int(np.argmax(self.sure))])


class SetImage(Protocol):
    """An image that was set; for several threads at once."""

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Answer all prompts at once, in their order.

        Raises:
            ConfigError: a prompt does not fit the image.
        """
        ...


class Segmenter(Protocol):
    """Finds outlines; for several threads at once."""

    @property
    def name(self) -> str:
        """Which segmenter with which weights, for whoever reads its masks."""
        ...

    @property
    def side_px(self) -> int | None:
        """Longest side it sees without reducing; none takes every size as it is."""
        ...

    def set_image(self, pixels: Rgb) -> SetImage:
        """Look at an image, uint8 H×W×3 RGB, once for all prompts on it.

        Raises:
            ImageError: the pixels are anything else.
        """
        ...


def warm_up(segmenter: Segmenter) -> None:
    """Ask as a refiner does, by few points and by many, about one defect and about two.

    OpenVINO takes the first question of each kind several times as long as the next.
    """
    image = segmenter.set_image(np.zeros((64, 64, 3), np.uint8))
    few = Prompt(box=(16, 16, 48, 48), mask=np.ones((64, 64), np.float32))
    inside, outside = np.full((3, 2), 32, np.float32), np.full((4, 2), 4, np.float32)
    many = replace(few, positive=inside, negative=outside)
    for prompts in ([few], [many], [few, few], [many, many]):
        image.predict(prompts)
