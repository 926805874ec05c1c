"""What a camera's driver must do, and the one conversion of its frames to pixels."""

import re
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import Rgb, require_rgb8

GREY_LEVELS = 4  # Motion JPEG and H.264 give grey back with channels 2 levels apart


class CameraDown(StationError):
    """A camera cannot be reached or broke off; it is opened anew."""


class Camera(Protocol):
    """One camera; everything is called in one thread, which may wait in it."""

    rest_s: float
    """How long it may be left alone; 0 for one whose unwanted frames must be thrown away."""

    def open(self) -> None:
        """Connect and let it run.

        Raises:
            CameraDown: not now.
        """
        ...

    def grab(self) -> Rgb | None:
        """Give the next frame, uint8 H×W×3 RGB; none when none came within its stall_ms.

        Where a part is waited for it is exposed after this call began, as far as the camera
        allows; `rest` keeps it so.

        Raises:
            CameraDown: it broke off; it must be closed.
            ImageError: a frame came and cannot be used; the next one may.
        """
        ...

    def rest(self) -> None:
        """Throw an unwanted frame away, or see that the camera is there; at most stall_ms.

        Raises:
            CameraDown: it broke off; it must be closed.
        """
        ...

    def close(self) -> None:
        """Let it go, also when it was not opened or broke off."""
        ...


def rgb_of(frame: NDArray[np.generic], name: str, *, grey: bool) -> Rgb:
    """Check a driver's frame and give it as uint8 H×W×3 RGB.

    Args:
        frame: uint8 H×W×3 RGB; with `grey` H×W, H×W×1 or three channels of about one value.
        name: stands in the error.
        grey: what the configuration says of the camera; never guessed.

    Raises:
        ImageError: another dtype or shape, grey and colour mixed up, or a size no part has.
    """
    channels = 1 if frame.ndim == 2 else frame.shape[-1]
    single = frame.dtype == np.uint8 and channels == 1
    if single and not grey:
        raise ImageError(
            f"{name}: frame has one grey channel; wanted colour; set grey: true for the camera"
        )
    pixels = _repeated(frame) if single else frame
    require_rgb8(pixels, name)
    colour = pixels.astype(np.uint8, copy=False)
    return colour if single or not grey else _one_grey(colour, name)


def public_address(address: str) -> str:
    """Give a camera's address without the user and password that may stand in it."""
    return re.sub(r"://[^/]*@", "://", address)


def _one_grey(pixels: Rgb, name: str) -> Rgb:
    """Repeat the green channel of a grey picture: the one that is least rounded by codecs."""
    red, green, blue = cv2.split(pixels)
    apart = max(int(cv2.absdiff(green, other).max()) for other in (red, blue))
    if apart > GREY_LEVELS:
        raise ImageError(
            f"{name}: the frame's channels are up to {apart} levels apart; wanted grey; set "
            "grey: false for the camera or let it send grey"
        )
    return _repeated(green)


def _repeated(grey: NDArray[np.generic]) -> Rgb:
    return np.asarray(cv2.cvtColor(np.asarray(grey, np.uint8), cv2.COLOR_GRAY2RGB), np.uint8)
