"""COCO JSON says the mask to the pixel, and holds every field its readers ask for."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from inspection.core.imaging import Mask, load_mask
from inspection.review.coco import (
    Polygon,
    ShapedPicture,
    coco_file,
    encode_mask,
    outline_polygons,
    outline_shape,
)

pytestmark = pytest.mark.fast


def fill(polygons: tuple[Polygon, ...], size_hw: tuple[int, int]) -> Mask:
    """Fill polygons together, each by the even-odd rule at the centres of pixels."""
    filled = np.zeros(size_hw, np.bool_)
    y, x = np.arange(size_hw[0])[:, None] + 0.5, np.arange(size_hw[1])[None, :] + 0.5
    for polygon in polygons:
        points = np.reshape(polygon, (-1, 2))
        inside = np.zeros(size_hw, np.bool_)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if y0 != y1:
                crossing = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                inside ^= ((y0 <= y) != (y1 <= y)) & (x < crossing)
        filled |= inside
    return filled


DRAWINGS: dict[str, Callable[[np.ndarray], object]] = {
    "scratch of 1 px, flat": lambda on: on[7, 3:55].fill(1),
    "scratch of 1 px, upright": lambda on: on[2:39, 59].fill(1),
    "scratch of 1 px, aslant": lambda on: cv2.line(on, (2, 3), (50, 36), 1, 1, cv2.LINE_4),
    "scratch of 1 px, by corners only": lambda on: np.fill_diagonal(on, 1),
    "stain": lambda on: cv2.ellipse(on, (30, 20), (17, 9), 30, 0, 360, 1, cv2.FILLED),
    "ring": lambda on: cv2.circle(on, (30, 20), 15, 1, 3),
    "rings within a ring": lambda on: [cv2.circle(on, (30, 20), r, 1, 2) for r in (3, 8, 14, 19)],
    "hole of one px": lambda on: (on[5:12, 5:12].fill(1), on[8, 8:9].fill(0)),
    "two stains": lambda on: (on[3:9, 4:12].fill(1), on[20:33, 30:41].fill(1)),
    "stains that meet at a corner": lambda on: (on[3:9, 4:12].fill(1), on[9:15, 12:20].fill(1)),
    "one px": lambda on: on[39, 0:1].fill(1),
    "all": lambda on: on.fill(1),
}


def drawn(kind: str) -> Mask:
    """Draw a mask on 40×60 px."""
    canvas = np.zeros((40, 60), np.uint8)
    DRAWINGS[kind](canvas)
    return canvas > 0


@pytest.mark.parametrize("kind", DRAWINGS)
def test_polygons_give_the_mask_back_to_the_pixel(kind: str):
    """Whoever fills the polygons has the mask again, thin scratches and holes too."""
    mask = drawn(kind)
    polygons = outline_polygons(mask)
    assert all(len(polygon) >= 8 for polygon in polygons)
    np.testing.assert_array_equal(fill(polygons, mask.shape), mask)


@pytest.mark.parametrize("sigma", [0.3, 0.8, 2.5])
def test_ragged_masks_come_back_too(sigma: float):
    """Clouds with many islands, holes and corners that touch, some cut off by the border."""
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=(33, 47))
        mask = cv2.GaussianBlur(noise, (0, 0), sigma) > 0
        np.testing.assert_array_equal(fill(outline_polygons(mask), mask.shape), mask)


def test_polygons_lie_where_the_mask_lies():
    """The outline of a mask that was cut out is in px of the picture."""
    (polygon,) = outline_polygons(np.ones((2, 3), np.bool_), (10, 20))
    assert set(zip(polygon[::2], polygon[1::2], strict=True)) == {
        (10, 20),
        (13, 20),
        (13, 22),
        (10, 22),
    }


def test_an_empty_mask_has_no_outline():
    """Nothing drawn is no polygon."""
    assert outline_polygons(np.zeros((5, 9), np.bool_)) == ()


def test_a_shape_tells_area_and_tight_box():
    """The area counts pixels of the mask, the box leaves out empty rows and columns."""
    mask = np.zeros((6, 9), np.bool_)
    mask[2:4, 3:8] = True
    mask[2, 3] = False
    shape = outline_shape(mask, (100, 50), "scratch", {"author": "weber"})
    assert (shape.area_px, shape.bbox) == (9, (103, 52, 5, 2))
    np.testing.assert_array_equal(fill(shape.polygons, (60, 120))[50:56, 100:109], mask)


def pictures() -> list[ShapedPicture]:
    """Give a part with two defects and a good one."""
    ring = outline_shape(drawn("ring"), (0, 0), "stain", {"trusted": True, "reason": ""}, 3.5)
    line = outline_shape(drawn("scratch of 1 px, flat"), (0, 0), "scratch", {"trusted": False})
    return [
        ShapedPicture("a/bad.png", (40, 60), (ring, line), {"verdict": "REJECT"}),
        ShapedPicture("good.png", (30, 50), (), {}),
    ]


def test_the_file_has_every_field_of_the_format():
    """As cocodataset.org asks: ids that are unique, numbers that are numbers, names that are."""
    file = json.loads(coco_file(pictures(), ["scratch", "stain"], "for a test").text)
    assert set(file) == {"info", "licenses", "images", "annotations", "categories"}
    assert file["info"]["description"] == "for a test"
    assert file["licenses"] == []
    for image in file["images"]:
        kinds = {name: type(image[name]) for name in ("id", "width", "height", "file_name")}
        assert kinds == {"id": int, "width": int, "height": int, "file_name": str}
    for one in file["annotations"]:
        assert {"id", "image_id", "category_id", "segmentation", "area", "bbox"} < set(one)
        assert one["iscrowd"] == 0
        for polygon in one["segmentation"]:
            assert len(polygon) % 2 == 0
            assert len(polygon) >= 6
            assert all(isinstance(value, int | float) for value in polygon)
        x, y, width, height = one["bbox"]
        image = next(image for image in file["images"] if image["id"] == one["image_id"])
        assert 0 <= x < x + width <= image["width"]
        assert 0 <= y < y + height <= image["height"]
        assert 0 < one["area"] <= width * height
    assert [(one["id"], one["name"]) for one in file["categories"]] == [
        (1, "scratch"),
        (2, "stain"),
    ]
    assert [(one["id"], one["image_id"], one["category_id"]) for one in file["annotations"]] == [
        (1, 1, 2),
        (2, 1, 1),
    ]
    assert [(one["id"], one["height"], one["width"]) for one in file["images"]] == [
        (1, 40, 60),
        (2, 30, 50),
    ]


def test_what_is_not_known_has_no_key():
    """A defect a person drew has no score; readers would stumble over null."""
    file = json.loads(coco_file(pictures(), ["scratch", "stain"], "").text)
    assert file["annotations"][0]["score"] == 3.5
    assert "score" not in file["annotations"][1]


def test_the_same_pictures_give_the_same_file():
    """No clock and no set's order stands in the file."""
    first, second = (coco_file(pictures(), ["scratch", "stain"], "").text for _ in range(2))
    assert first == second


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_pycocotools_reads_the_same_masks(tmp_path: Path):
    """The reference reader opens the file and fills every outline to the same pixels."""
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    shapes = [outline_shape(drawn(kind), (0, 0), kind, {}) for kind in DRAWINGS]
    file = coco_file([ShapedPicture("a.png", (40, 60), tuple(shapes), {})], list(DRAWINGS), "")
    path = tmp_path / "annotations.json"
    path.write_text(file.text)
    read = coco.COCO(str(path))
    for kind in DRAWINGS:
        (one,) = read.loadAnns(read.getAnnIds(imgIds=[1], catIds=read.getCatIds([kind])))
        np.testing.assert_array_equal(read.annToMask(one) > 0, drawn(kind))


def test_a_mask_is_a_grey_png_of_0_and_255(tmp_path: Path):
    """Any viewer shows it, and it reads back as it was."""
    mask = drawn("ring")
    path = tmp_path / "mask.png"
    path.write_bytes(encode_mask(mask))
    with Image.open(path) as image:
        assert (image.mode, set(np.unique(np.asarray(image)))) == ("L", {0, 255})
    np.testing.assert_array_equal(load_mask(path), mask)
