"""A generated part before the camera: colour, height and gloss, and how light makes them pixels.

Owns drawing, pose, light and sensor; knows no product. All arithmetic is float64, so that the last
bit, which differs between processors, never reaches a grey level.
"""

import hashlib
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspection.core.imaging import Rgb

Plane = NDArray[np.float64]  # H×W
Colour = tuple[float, float, float]  # RGB reflectance, [0, 1]
Point = tuple[float, float]  # (x, y) px

SIZE_HW = (320, 448)  # of every generated image, px
SHIFT = 4  # bits of sub-pixel in OpenCV's drawing
MARGIN_PX = 12  # around each shape, room for its blur
LETTER_MARGIN_PX = 32  # letters are also shifted and smeared


@dataclass(frozen=True)
class Seeds:
    """Independent random streams by name: what one feature draws never moves another."""

    key: str

    def of(self, name: str) -> np.random.Generator:
        """Give a fresh generator for this name; the same name gives the same numbers again."""
        digest = hashlib.sha256(f"{self.key}/{name}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


@dataclass(frozen=True)
class Shape:
    """The alpha of something drawn, held only where it lies.

    Attributes:
        top: first row on the canvas.
        left: first column on the canvas.
        alpha: float64 h×w, [0, 1].
    """

    top: int
    left: int
    alpha: Plane

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the alpha covers."""
        height, width = self.alpha.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def soft(self, sigma_x: float, sigma_y: float | None = None) -> "Shape":
        """Blur by a Gaussian, px; up to a third of the margin it was drawn with."""
        return self.of(blurred(self.alpha, sigma_x, sigma_x if sigma_y is None else sigma_y))

    def of(self, alpha: Plane) -> "Shape":
        """Give the same place another alpha."""
        return Shape(self.top, self.left, alpha)

    def away(self, centre: Point) -> tuple[Plane, Plane]:
        """Give each pixel's x and y from a point, px."""
        x, y = np.meshgrid(
            np.arange(self.alpha.shape[1], dtype=np.float64),
            np.arange(self.alpha.shape[0], dtype=np.float64),
        )
        return np.asarray(x + (self.left - centre[0])), np.asarray(y + (self.top - centre[1]))

    def moved(self, shift_xy: Point, turn_deg: float = 0.0, about: Point = (0, 0)) -> "Shape":
        """Turn about a point of the canvas and shift, px, within the margin; zeros enter."""
        centre = (about[0] - self.left, about[1] - self.top)
        matrix = cv2.getRotationMatrix2D(centre, turn_deg, 1.0)
        matrix[:, 2] += shift_xy
        shifted = cv2.warpAffine(self.alpha, matrix, self.alpha.shape[::-1])
        return self.of(np.asarray(shifted, np.float64))


@dataclass(frozen=True)
class Scene:
    """A part in its own frame; the planes are painted in place.

    Attributes:
        albedo: float64 H×W×3 RGB reflectance, [0, 1].
        height: float64 H×W, px; light from the upper left makes slopes visible.
        gloss: float64 H×W, share of mirror-like reflection, [0, 1].
        cover: float64 H×W, 1 where the part hides the background.
    """

    albedo: NDArray[np.float64]
    height: Plane
    gloss: Plane
    cover: Plane

    def paint(
        self, shape: Shape, colour: Colour, *, opacity: float = 1.0, gloss: float | None = None
    ) -> None:
        """Lay a colour, and a gloss, over the part."""
        alpha = opacity * shape.alpha * self.cover[shape.window]
        under = self.albedo[shape.window]
        under += alpha[:, :, None] * (np.asarray(colour) - under)
        if gloss is not None:
            self.gloss[shape.window] += alpha * (gloss - self.gloss[shape.window])

    def lift(self, shape: Shape, height_px: float) -> None:
        """Raise the part, or sink it when negative."""
        self.height[shape.window] += height_px * shape.alpha

    def shade(self, shape: Shape, change: float) -> None:
        """Make the part's colour brighter by this share, darker when negative."""
        self.albedo[shape.window] *= 1 + change * shape.alpha[:, :, None]


@dataclass(frozen=True)
class Station:
    """How a product is presented: its background and how much its pose and light vary."""

    background: Colour
    shift_px: float
    turn_deg: float
    relief: float  # brightness per unit of slope


def empty_scene(colour: Colour, gloss: float) -> Scene:
    """Give a flat scene of one colour that covers everything."""
    flat = np.zeros(SIZE_HW)
    return Scene(np.full((*SIZE_HW, 3), colour), flat, flat + gloss, flat + 1.0)


def smooth_noise(rng: np.random.Generator, cells_hw: tuple[int, int]) -> Plane:
    """Draw noise that varies over so many cells; float64 H×W, mean about 0, deviation about 0.7."""
    wide = cv2.resize(rng.standard_normal(cells_hw), SIZE_HW[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(wide, np.float64)


def blurred(plane: Plane, sigma_x: float, sigma_y: float) -> Plane:
    """Blur a plane by a Gaussian of these deviations, px."""
    soft = cv2.GaussianBlur(plane, (0, 0), sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT)
    return np.asarray(soft, np.float64)


def everywhere(plane: Plane) -> Shape:
    """Make a shape of a whole H×W plane."""
    return Shape(0, 0, plane)


class _Canvas:
    """A part of the picture to draw on, large enough for some points and a margin."""

    def __init__(self, points: ArrayLike, margin_px: float) -> None:
        corners = np.asarray(points, np.float64).reshape(-1, 2)
        x, y = corners[:, 0], corners[:, 1]
        self.left = _within(float(x.min()) - margin_px, SIZE_HW[1] - 1)
        self.top = _within(float(y.min()) - margin_px, SIZE_HW[0] - 1)
        right = _within(float(x.max()) + margin_px + 2, SIZE_HW[1])
        bottom = _within(float(y.max()) + margin_px + 2, SIZE_HW[0])
        size_hw = max(1, bottom - self.top), max(1, right - self.left)
        self.pixels = np.zeros(size_hw, np.uint8)

    def fixed(self, points: ArrayLike) -> NDArray[np.int32]:
        """Give canvas points in OpenCV's fixed-point form, relative to this part."""
        relative = np.asarray(points, np.float64) - (self.left, self.top)
        return np.asarray(np.rint(relative * (1 << SHIFT)), np.int32)

    def shape(self) -> Shape:
        """Give what was drawn."""
        return Shape(self.top, self.left, self.pixels.astype(np.float64) / 255)


def _within(place_px: float, last: int) -> int:
    return min(max(0, math.floor(place_px)), last)


def disc(centre: Point, radius_px: float, thickness_px: int = -1) -> Shape:
    """Draw a disc, or a ring of this thickness."""
    canvas = _Canvas([centre], radius_px + MARGIN_PX)
    x, y = (int(value) for value in canvas.fixed(centre))
    radius = round(radius_px * (1 << SHIFT))
    cv2.circle(canvas.pixels, (x, y), radius, 255, thickness_px, cv2.LINE_AA, SHIFT)
    return canvas.shape()


def polygon(points: ArrayLike) -> Shape:
    """Draw a filled polygon; points (n, 2) as (x, y) px."""
    canvas = _Canvas(points, MARGIN_PX)
    cv2.fillPoly(canvas.pixels, [canvas.fixed(points)], 255, cv2.LINE_AA, SHIFT)
    return canvas.shape()


def box(centre: Point, size_wh: tuple[float, float], turn_deg: float = 0.0) -> Shape:
    """Draw a turned rectangle."""
    return polygon(cv2.boxPoints((centre, size_wh, turn_deg)))


def stroke(points: ArrayLike, thickness_px: int) -> Shape:
    """Draw an open line; points (n, 2) as (x, y) px."""
    canvas = _Canvas(points, MARGIN_PX + thickness_px)
    line = canvas.fixed(points)
    cv2.polylines(
        canvas.pixels,
        [line],
        isClosed=False,
        color=255,
        thickness=thickness_px,
        lineType=cv2.LINE_AA,
        shift=SHIFT,
    )
    return canvas.shape()


def rounded_box(centre: Point, size_wh: tuple[float, float], radius_px: float) -> Shape:
    """Draw an upright rectangle with round corners."""
    (x, y), (width, height) = centre, (size_wh[0] / 2 - radius_px, size_wh[1] / 2 - radius_px)
    arc = np.radians(np.arange(0, 360, 6) + 3.0)
    across = x + np.sign(np.cos(arc)) * width + radius_px * np.cos(arc)
    down = y + np.sign(np.sin(arc)) * height + radius_px * np.sin(arc)
    return polygon(np.column_stack([across, down]))


def lettering(text: str, origin: Point, scale: float, thickness_px: int = 1) -> Shape:
    """Draw text whose lower left corner is at `origin`."""
    reach = (origin[0] + 22 * scale * len(text), origin[1] - 30 * scale)
    canvas = _Canvas([origin, reach], LETTER_MARGIN_PX)
    at = (round(origin[0]) - canvas.left, round(origin[1]) - canvas.top)
    cv2.putText(
        canvas.pixels, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, 255, thickness_px, cv2.LINE_AA
    )
    return canvas.shape()


def photograph(scene: Scene, station: Station, seeds: Seeds) -> Rgb:
    """Take the picture: pose, background, light, lens and sensor noise of this part.

    Returns:
        uint8 320×448×3 RGB. The same seeds give the same pose, light and noise, so two scenes that
        differ in a defect only give pictures that differ there only.
    """
    posed = _posed(scene, station, seeds.of("pose"))
    placed = _on_background(posed, station, seeds.of("background"))
    light = _lit(placed, station, seeds.of("light"))
    lens = cv2.GaussianBlur(light, (0, 0), 0.6, borderType=cv2.BORDER_REFLECT)
    noise = seeds.of("sensor").standard_normal((*SIZE_HW, 3))
    levels = 255 * lens + noise * np.sqrt(1.0 + 6.0 * np.clip(lens, 0, 1))  # read and shot noise
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


def _posed(scene: Scene, station: Station, rng: np.random.Generator) -> Scene:
    centre = (SIZE_HW[1] / 2, SIZE_HW[0] / 2)
    turn = cv2.getRotationMatrix2D(
        centre, rng.uniform(-station.turn_deg, station.turn_deg), rng.uniform(0.99, 1.01)
    )
    turn[:, 2] += rng.uniform(-station.shift_px, station.shift_px, 2)
    layers = np.dstack([scene.albedo, scene.cover])  # H×W×4
    relief = np.dstack([scene.height, scene.gloss])
    layers, relief = (
        cv2.warpAffine(
            plane, turn, SIZE_HW[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        for plane in (layers, relief)
    )
    return Scene(layers[:, :, :3], relief[:, :, 0], relief[:, :, 1], layers[:, :, 3])


def _on_background(scene: Scene, station: Station, rng: np.random.Generator) -> Scene:
    ground = 1 + 0.04 * smooth_noise(rng, (6, 8)) + 0.05 * smooth_noise(rng, (150, 210))
    shadow = 1 - 0.55 * everywhere(scene.cover).moved((5, 6)).soft(4).alpha
    colour = (ground * shadow)[:, :, None] * np.asarray(station.background)
    cover = scene.cover
    return Scene(
        colour + cover[:, :, None] * (scene.albedo - colour),
        scene.height * cover,
        scene.gloss * cover,
        cover,
    )


def _lit(scene: Scene, station: Station, rng: np.random.Generator) -> NDArray[np.float64]:
    """Light the scene from the upper left; float64 H×W×3, about [0, 1]."""
    slope_y, slope_x = np.gradient(scene.height)
    angle = math.radians(225 + rng.uniform(-6, 6))
    facing = slope_x * math.cos(angle) + slope_y * math.sin(angle)
    y, x = (np.linspace(-1, 1, length) for length in SIZE_HW)
    fall = 1 + rng.uniform(-0.05, 0.05) * y[:, None] + (0.05 + rng.uniform(-0.04, 0.04)) * x
    vignette = 1 - 0.07 * (x[None, :] ** 2 + y[:, None] ** 2)
    exposure = rng.uniform(0.93, 1.07)
    diffuse = np.clip(1 - station.relief * facing, 0.15, 2.2)
    sheen = scene.gloss * np.exp(-((x[None, :] + 0.35 * y[:, None] - rng.uniform(-0.3, 0.1)) ** 2))
    mirror = scene.gloss * np.clip(-facing * 1.6, 0, 1) ** 2
    lit = scene.albedo * diffuse[:, :, None] + (0.16 * sheen + 0.5 * mirror)[:, :, None]
    return np.asarray(lit * (fall * vignette * exposure)[:, :, None])
