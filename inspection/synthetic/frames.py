"""Generated parts of several frames: on a turntable, on a conveyor, or tile by tile.

A turntable shows another surface each time. On a conveyor the same surface passes the camera, and
tiles are pieces of one large picture that overlap: both are cut from one photograph of a generated
part. Each frame has the noise of its own exposure.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from inspection.core.errors import DatasetError
from inspection.core.imaging import Mask, Rgb
from inspection.synthetic.dataset import LEAST_PX, Product, make_defective, make_good
from inspection.synthetic.flaws import Flaw
from inspection.synthetic.scene import SIZE_HW, Seeds

WINDOW_PX = 256  # width of a conveyor's frame; its height is the part's
TILE_SHARE = 0.6  # of the part's width and height, so that tiles overlap


class Motion(StrEnum):
    """How a part comes before its camera several times."""

    TURNTABLE = "turntable"
    CONVEYOR = "conveyor"
    TILES = "tiles"


@dataclass(frozen=True)
class FramedPart:
    """The frames of one part in order, all of one size."""

    frames: tuple[Rgb, ...]
    """uint8 H×W×3 RGB each."""
    masks: tuple[Mask, ...]
    """bool H×W each: the defect as far as it lies in the frame."""
    offsets_px: tuple[tuple[int, int], ...]
    """Right and down of the first frame, on the part; zeros on a turntable."""

    @property
    def shown(self) -> tuple[bool, ...]:
        """Which frames show the defect."""
        return tuple(bool(np.count_nonzero(mask) >= LEAST_PX) for mask in self.masks)


@dataclass(frozen=True)
class Motions:
    """How parts are shown."""

    motion: Motion
    count: int
    """Frames of a part, from 2; tiles are 4, two by two."""
    noise: float = 4.0
    """Deviation of the noise of an exposure, levels of 255."""

    def __post_init__(self) -> None:
        """Refuse what cannot be shown.

        Raises:
            DatasetError: too few frames, or tiles that are not 4.
        """
        if self.count < 2 or (self.motion is Motion.TILES and self.count != 4):
            raise DatasetError(
                f"{self.motion} of {self.count} frames; wanted 2 or more, and 4 tiles; say another "
                "number of frames"
            )

    @property
    def offsets_px(self) -> tuple[tuple[int, int], ...]:
        """Where frames lie on the part, right and down."""
        height, width = SIZE_HW
        if self.motion is Motion.TURNTABLE:
            return ((0, 0),) * self.count
        if self.motion is Motion.CONVEYOR:
            ends = np.linspace(0, width - WINDOW_PX, self.count)
            return tuple((round(float(right)), 0) for right in ends)
        down, right = (round(side * (1 - TILE_SHARE)) for side in (height, width))
        return (0, 0), (right, 0), (0, down), (right, down)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of a frame."""
        height, width = SIZE_HW
        if self.motion is Motion.TURNTABLE:
            return height, width
        if self.motion is Motion.CONVEYOR:
            return height, WINDOW_PX
        return height - self.offsets_px[3][1], width - self.offsets_px[3][0]


def make_framed(motions: Motions, product: Product, key: str, flaw: Flaw | None) -> FramedPart:
    """Make one part as its camera sees it several times.

    Args:
        motions: how it is shown.
        product: what it is.
        key: decides everything but the flaw.
        flaw: its defect, on one surface of a turntable; none makes a good part.

    Raises:
        DatasetError: no draw of this flaw shows on the part.
    """
    noise = Seeds(key).of("exposures")
    if motions.motion is Motion.TURNTABLE:
        at = int(Seeds(key).of("side").integers(motions.count))
        sides = [
            _photograph(product, f"{key}/side {number}", flaw if number == at else None)
            for number in range(motions.count)
        ]
    else:
        sides = [_photograph(product, key, flaw)] * motions.count
    height, width = motions.size_hw
    cut = [
        (pixels[y : y + height, x : x + width], mask[y : y + height, x : x + width])
        for (pixels, mask), (x, y) in zip(sides, motions.offsets_px, strict=True)
    ]
    return FramedPart(
        frames=tuple(_exposed(pixels, motions.noise, noise) for pixels, _ in cut),
        masks=tuple(mask for _, mask in cut),
        offsets_px=motions.offsets_px,
    )


def _photograph(product: Product, key: str, flaw: Flaw | None) -> tuple[Rgb, Mask]:
    if flaw is None:
        pixels = make_good(product, key)
        return pixels, np.zeros(pixels.shape[:2], np.bool_)
    return make_defective(product, key, flaw)


def _exposed(pixels: Rgb, noise: float, rng: np.random.Generator) -> Rgb:
    """Add the noise of one exposure."""
    levels = pixels + rng.normal(0, noise, pixels.shape)
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)
