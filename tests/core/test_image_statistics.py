"""Image statistics: each number answers to one cause, on generated parts of every product."""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest

from inspection.core.errors import ImageError
from inspection.core.geometry import Geometry, prepare
from inspection.core.image_statistics import STATISTICS, ImageStatistics, measure_image, refer
from inspection.core.imaging import Rgb
from inspection.synthetic.dataset import Product, make_good

pytestmark = pytest.mark.fast

GEOMETRY = Geometry(height_px=192, width_px=256)
NORMALS = 10
HARDLY = 0.25  # of the shift of the number that answers
Change = Callable[[Rgb, int], Rgb]


@cache
def part(product: Product, number: int, grain: float = 0.0) -> Rgb:
    """Give the model input of one generated part, (192, 256, 3)."""
    return np.asarray(prepare(make_good(product, f"{product}/{number}", grain), GEOMETRY)[0])


def values(measured: ImageStatistics) -> list[float]:
    """Give the numbers in the order of their names."""
    return [getattr(measured, name) for name in STATISTICS]


def shifts(product: Product, disturbed: Change) -> dict[str, float]:
    """Say how far a disturbance moves each number, in standard deviations of the undisturbed."""
    before = np.array([values(measure_image(part(product, i)[None])) for i in range(NORMALS)])
    after = [values(measure_image(disturbed(part(product, i), i)[None])) for i in range(NORMALS)]
    moved = (np.mean(after, axis=0) - before.mean(axis=0)) / before.std(axis=0)
    return dict(zip(STATISTICS, moved, strict=True))


def gain(factor: float) -> Change:
    """Let the lamp age."""
    return lambda pixels, _: np.clip(np.rint(pixels * factor), 0, 255).astype(np.uint8)


def blur(sigma_px: float) -> Change:
    """Lose the focus."""
    return lambda pixels, _: cv2.GaussianBlur(pixels, (0, 0), sigma_px)


def smear(rows: slice, columns: slice) -> Change:
    """Smear the lens over a part of the frame."""

    def smeared(pixels: Rgb, _: int) -> Rgb:
        shown = pixels.copy()
        shown[rows, columns] = cv2.GaussianBlur(pixels, (0, 0), 2)[rows, columns]
        return shown

    return smeared


def shift(down_px: int, across_px: int) -> Change:
    """Let the part lie elsewhere, its border mirrored."""
    matrix = np.array([[1.0, 0, across_px], [0, 1, down_px]])
    return lambda pixels, _: cv2.warpAffine(
        pixels, matrix, pixels.shape[1::-1], borderMode=cv2.BORDER_REFLECT_101
    )


def contrast(factor: float) -> Change:
    """Change how much the material varies around its local mean."""

    def changed(pixels: Rgb, _: int) -> Rgb:
        local = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 8)
        return np.clip(np.rint(local + factor * (pixels - local)), 0, 255).astype(np.uint8)

    return changed


HALVES = slice(0, 96), slice(96, None), slice(0, 128), slice(128, None)
TOP, BOTTOM, LEFT, RIGHT = HALVES
CAUSES = {
    "a darker lamp": (gain(0.85), "light"),
    "a brighter lamp": (gain(1.15), "light"),
    "a blur of 1 px": (blur(1), "focus"),
    "a blur of 1.5 px": (blur(1.5), "focus"),
    "a smear in the upper left quarter": (smear(TOP, LEFT), "focus"),
    "a smear in the upper right quarter": (smear(TOP, RIGHT), "focus"),
    "a smear in the lower left quarter": (smear(BOTTOM, LEFT), "focus"),
    "a smear in the lower right quarter": (smear(BOTTOM, RIGHT), "focus"),
    "a smoother material": (contrast(0.7), "texture"),
}


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize(("disturbed", "answers"), CAUSES.values(), ids=CAUSES)
def test_the_right_number_moves_most(disturbed: Change, answers: str, product: Product):
    """In standard deviations of the undisturbed parts, and far enough to be seen."""
    moved = shifts(product, disturbed)
    assert max(moved, key=lambda name: abs(moved[name])) == answers
    assert abs(moved[answers]) > 2.5


@pytest.mark.parametrize("product", [Product.PLATE, Product.BOARD])  # a fabric has no place
@pytest.mark.parametrize(("place", "answers"), [((4, 0), "down"), ((0, 5), "across")])
def test_a_part_that_lies_elsewhere_moves_its_centre(place, answers: str, product: Product):
    """By as much as it was shifted, a fiftieth of the frame, and nothing else by as much."""
    moved = shifts(product, shift(*place))
    assert max(moved, key=lambda name: abs(moved[name])) == answers
    centres = [
        np.mean([getattr(measure_image(p[None]), answers) for p in pixels])
        for pixels in (
            [part(product, i) for i in range(NORMALS)],
            [shift(*place)(part(product, i), i) for i in range(NORMALS)],
        )
    ]
    assert centres[1] - centres[0] == pytest.approx(0.02, abs=0.012)


@pytest.mark.parametrize("product", Product)
def test_a_batch_of_coarser_grain_moves_the_texture(product: Product):
    """A batch as the generator makes it, not a filter over pictures."""
    moved = shifts(product, lambda _, number: part(product, number, 0.25))
    assert max(moved, key=lambda name: abs(moved[name])) == "texture"
    assert moved["texture"] > 2.5


@pytest.mark.parametrize("product", Product)
@pytest.mark.parametrize("factor", [0.8, 0.9])
def test_the_lamp_moves_nothing_but_the_light(factor: float, product: Product):
    """Gain cancels out of every other number, as long as nothing clips."""
    moved = shifts(product, gain(factor))
    others = [abs(value) for name, value in moved.items() if name != "light"]
    assert max(others) < HARDLY * abs(moved["light"])


@pytest.mark.parametrize("product", Product)
def test_stray_light_moves_neither_focus_nor_place(product: Product):
    """What adds to all levels raises the light; that it takes contrast is no lack of focus."""
    moved = shifts(product, lambda pixels, _: np.clip(pixels + 12.0, 0, 255).astype(np.uint8))
    assert moved["light"] > 2
    assert all(abs(moved[name]) < HARDLY * moved["light"] for name in ("focus", "across", "down"))


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("size_hw", [(192, 256), (32, 40), (12, 20), (8, 8)])
def test_a_flat_frame_has_finite_numbers(level: int, size_hw: tuple[int, int]):
    """A black, grey or white frame of any size has its centre in the middle."""
    found = measure_image(np.full((1, *size_hw, 3), level, np.uint8))
    assert (found.light, found.across, found.down) == (level, 0.5, 0.5)
    assert np.isfinite([found.focus, found.texture]).all()
    assert found.embedding is None


@pytest.mark.parametrize(
    ("columns", "place", "wanted"),
    [(1, 2, (0.5, 2.5 / 3)), (3, 2, (2.5 / 3, 0.5)), (3, 0, (0.5 / 3, 0.5))],
    ids=["one below the other", "side by side", "the first of three"],
)
def test_the_centre_is_that_of_the_whole_part(columns: int, place: int, wanted):
    """Tiles lie row by row; a square in the middle of one is where that tile is."""
    tiles = np.full((3, 64, 96, 3), 60, np.uint8)
    tiles[place, 24:40, 40:56] = 200
    found = measure_image(tiles, columns)
    assert (found.across, found.down) == pytest.approx(wanted, abs=0.01)


def test_measuring_leaves_the_tiles_alone():
    """The same tiles give the same numbers, and are what they were."""
    tiles = part(Product.BOARD, 0)[None].copy()
    before = tiles.copy()
    assert measure_image(tiles) == measure_image(tiles)
    assert np.array_equal(tiles, before)


def test_what_is_no_tiles_is_refused():
    """Floats are never guessed to be grey levels."""
    with pytest.raises(
        ImageError, match=r"model inputs are float32 \(1, 32, 32, 3\); wanted uint8"
    ):
        measure_image(np.zeros((1, 32, 32, 3), np.float32))  # type: ignore[arg-type]


def test_normals_are_described_by_mean_and_deviation():
    """The reference is of all normals it is given."""
    one = ImageStatistics(light=100, focus=-2, across=0.5, down=0.5, texture=-1)
    found = refer([one, one.model_copy(update={"light": 110.0})])
    assert (found.normals, found.light.mean, found.light.deviation) == (2, 105, 5)
    assert (found.focus.mean, found.focus.deviation) == (-2, 0)
