"""Changes the pixels of a part as a line may do over time: light, focus, noise, coding, position.

Pure functions on uint8 H×W×3 RGB; each gives a new array of the same shape and leaves its input.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from inspection.core.errors import InspectionError
from inspection.core.imaging import Rgb, require_rgb8


@dataclass(frozen=True)
class Perturbation:
    """One disturbance with its strength in words; `apply` takes pixels and the frame's number."""

    name: str
    apply: Callable[[Rgb, int], Rgb]


def expose(pixels: Rgb, gain: float) -> Rgb:
    """Multiply all levels by a gain above 0; levels over 255 saturate as in a camera."""
    require_rgb8(pixels, "part")
    if not gain > 0:
        raise InspectionError(f"exposure gain is {gain}; wanted above 0")
    table = np.clip(np.rint(np.arange(256) * gain), 0, 255).astype(np.uint8)
    return np.asarray(table[pixels], np.uint8)


def blur(pixels: Rgb, sigma_px: float) -> Rgb:
    """Blur by a Gaussian of `sigma_px` above 0, mirrored at the border."""
    require_rgb8(pixels, "part")
    if not sigma_px > 0:
        raise InspectionError(f"blur sigma is {sigma_px} px; wanted above 0")
    blurred = cv2.GaussianBlur(pixels, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.uint8)


def add_noise(pixels: Rgb, sigma_levels: float, seed: int) -> Rgb:
    """Add Gaussian noise of `sigma_levels` of 255, the same on all channels as grey sensors do."""
    require_rgb8(pixels, "part")
    if not sigma_levels > 0:
        raise InspectionError(f"noise sigma is {sigma_levels} levels; wanted above 0")
    height, width, _ = pixels.shape
    noise = np.random.default_rng(seed).standard_normal((height, width, 1), np.float32)
    return np.clip(np.rint(pixels + noise * np.float32(sigma_levels)), 0, 255).astype(np.uint8)


def recompress(pixels: Rgb, quality: int) -> Rgb:
    """Code as JPEG of this quality (1 to 100) and decode again."""
    require_rgb8(pixels, "part")
    if not 1 <= quality <= 100:
        raise InspectionError(f"JPEG quality is {quality}; wanted 1 to 100")
    coded, buffer = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not coded:
        raise InspectionError(f"part {pixels.shape}: cannot be coded as JPEG; check OpenCV")
    decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(decoded, np.uint8)[:, :, ::-1])


def shift(pixels: Rgb, fraction: float) -> Rgb:
    """Move the part right and down by a fraction of its width and height, border mirrored.

    Args:
        pixels: uint8 H×W×3 RGB.
        fraction: of each side, -0.5 to 0.5; negative moves left and up.
    """
    require_rgb8(pixels, "part")
    if not -0.5 <= fraction <= 0.5:
        raise InspectionError(f"shift is {fraction} of the side; wanted -0.5 to 0.5")
    height, width, _ = pixels.shape
    rows, columns = round(fraction * height), round(fraction * width)
    return _warp(pixels, np.array([[1.0, 0.0, columns], [0.0, 1.0, rows]]))


def rotate(pixels: Rgb, degrees: float) -> Rgb:
    """Turn the part counter-clockwise about its centre, border mirrored."""
    require_rgb8(pixels, "part")
    height, width, _ = pixels.shape
    centre = ((width - 1) / 2, (height - 1) / 2)
    return _warp(pixels, np.asarray(cv2.getRotationMatrix2D(centre, degrees, 1.0)))


def _warp(pixels: Rgb, matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Rgb:
    height, width, _ = pixels.shape
    moved = cv2.warpAffine(
        pixels,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, np.uint8)


AS_TAKEN = Perturbation("as taken", lambda pixels, _: pixels)
PERTURBATIONS = (  # two strengths each: what a line drifts by, and what it should never do
    AS_TAKEN,
    Perturbation("exposure −30 %", lambda pixels, _: expose(pixels, 0.7)),
    Perturbation("exposure −10 %", lambda pixels, _: expose(pixels, 0.9)),
    Perturbation("exposure +10 %", lambda pixels, _: expose(pixels, 1.1)),
    Perturbation("exposure +30 %", lambda pixels, _: expose(pixels, 1.3)),
    Perturbation("blur, σ 1 px", lambda pixels, _: blur(pixels, 1)),
    Perturbation("blur, σ 2 px", lambda pixels, _: blur(pixels, 2)),
    Perturbation("noise, σ 4 of 255", lambda pixels, number: add_noise(pixels, 4, number)),
    Perturbation("noise, σ 10 of 255", lambda pixels, number: add_noise(pixels, 10, number)),
    Perturbation("JPEG quality 80", lambda pixels, _: recompress(pixels, 80)),
    Perturbation("JPEG quality 40", lambda pixels, _: recompress(pixels, 40)),
    Perturbation("shift 2 % of each side", lambda pixels, _: shift(pixels, 0.02)),
    Perturbation("shift 5 % of each side", lambda pixels, _: shift(pixels, 0.05)),
    Perturbation("rotation 1°", lambda pixels, _: rotate(pixels, 1)),
    Perturbation("rotation 3°", lambda pixels, _: rotate(pixels, 3)),
)
