"""Says masks in the words of other tools: polygons in COCO JSON, and PNG of 0 and 255.

Polygons run along the edges of pixels, so that whoever fills them by pixel centres, as pycocotools
does, gets the mask back to the pixel. Ids count from 1 in the order that pictures are given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StrictInt

from inspection.core.config import Settings
from inspection.core.heat import tight_box
from inspection.core.imaging import Mask

Polygon = tuple[float, ...]  # x0, y0, x1, y1, … px; (0, 0) is the picture's upper left corner
Facts = dict[str, str | bool | int | float]


class CocoImage(Settings):
    """One picture; what COCO has no key for stands in `attributes`."""

    id: StrictInt
    file_name: str = Field(description="POSIX path below the folder of the pictures")
    width: StrictInt
    height: StrictInt
    attributes: Facts


class CocoAnnotation(Settings):
    """One defect."""

    id: StrictInt
    image_id: StrictInt
    category_id: StrictInt
    segmentation: tuple[Polygon, ...] = Field(min_length=1)
    area: StrictInt = Field(description="pixels of the mask")
    bbox: tuple[StrictInt, StrictInt, StrictInt, StrictInt] = Field(
        description="left, top, width, height, px"
    )
    iscrowd: StrictInt = 0
    score: float | None = Field(None, description="peak of the map, raw; none was seen by a person")
    attributes: Facts


class CocoCategory(Settings):
    """One kind of defect."""

    id: StrictInt
    name: str
    supercategory: str = "defect"


class CocoInfo(Settings):
    """Where a file is from."""

    description: str
    version: str = "1.0"


class CocoFile(Settings):
    """A file of object annotations, as cocodataset.org describes the format."""

    info: CocoInfo
    licenses: tuple[()] = ()
    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]

    @property
    def text(self) -> str:
        """Give the file's text; what is not known has no key."""
        return self.model_dump_json(exclude_none=True) + "\n"


@dataclass(frozen=True)
class Shape:
    """One defect's outline on a picture."""

    category: str
    polygons: tuple[Polygon, ...]
    area_px: int
    bbox: tuple[int, int, int, int]
    """Left, top, width, height, px."""
    attributes: Facts
    score: float | None = None


@dataclass(frozen=True)
class ShapedPicture:
    """A picture and the outlines on it; one without any is a good part."""

    file_name: str
    size_hw: tuple[int, int]
    shapes: tuple[Shape, ...]
    attributes: Facts


def outline_shape(
    mask: Mask,
    origin_xy: tuple[int, int],
    category: str,
    attributes: Facts,
    score: float | None = None,
) -> Shape:
    """Outline a mask.

    Args:
        mask: bool (h, w), not empty.
        origin_xy: where its upper left corner lies on the picture, px.
        category: kind of defect.
        attributes: what else is known of it.
        score: peak of the map on it; none where a person drew it.
    """
    left, top, right, bottom = tight_box(mask)
    place = origin_xy[0] + left, origin_xy[1] + top
    tight = mask[top:bottom, left:right]
    return Shape(
        category,
        outline_polygons(tight, place),
        int(np.count_nonzero(mask)),
        (*place, right - left, bottom - top),
        attributes,
        score,
    )


def outline_polygons(mask: Mask, origin_xy: tuple[int, int] = (0, 0)) -> tuple[Polygon, ...]:
    """Outline a mask along the edges of its pixels.

    COCO's polygons know no holes, so a mask with holes is cut through them into upright strips.

    Args:
        mask: bool (h, w).
        origin_xy: where its upper left corner lies, px.

    Returns:
        Polygons of at least four corners that together fill the mask; none for an empty one.
    """
    _, holes = _contours(mask)
    cuts = {0, mask.shape[1], *(int(hole[:, 0].min() + hole[:, 0].max()) // 4 for hole in holes)}
    polygons = []
    for left, right in pairwise(sorted(cuts)):
        outer, _ = _contours(mask[:, left:right])
        corner = origin_xy[0] + left, origin_xy[1]
        polygons += [tuple((points / 2 + corner).ravel().tolist()) for points in outer]
    return tuple(polygons)


def _contours(mask: Mask) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
    """Trace a mask from outside and around its holes, (n, 2) x and y in halves of a px.

    OpenCV traces centres of pixels. On a grid twice as fine, where a pixel of the mask owns its
    centre, its edges and its corners, the centres it traces are edges and corners.
    """
    height, width = mask.shape
    fine = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    fine[1::2, 1::2] = mask
    fine = cv2.dilate(fine, np.ones((3, 3), np.uint8)).astype(np.uint8)
    traced, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not traced:
        return [], []
    points = [np.asarray(one[:, 0], np.int32) for one in traced]
    inside = np.reshape(tree, (-1, 4))[:, 3] >= 0  # has a parent
    outer = [one for one, hole in zip(points, inside, strict=True) if not hole]
    return outer, [one for one, hole in zip(points, inside, strict=True) if hole]


def coco_file(
    pictures: Sequence[ShapedPicture], categories: Sequence[str], description: str
) -> CocoFile:
    """Number pictures, outlines and categories, and give the file that holds them.

    Args:
        pictures: in the order that numbers them.
        categories: every kind of defect, in the order that numbers them.
        description: where the outlines are from.
    """
    numbers = {name: number for number, name in enumerate(categories, 1)}
    annotations: list[CocoAnnotation] = []
    for image_id, picture in enumerate(pictures, 1):
        for shape in picture.shapes:
            category_id = numbers[shape.category]
            annotations.append(_annotation(len(annotations) + 1, image_id, category_id, shape))
    return CocoFile(
        info=CocoInfo(description=description),
        images=tuple(_image(number, picture) for number, picture in enumerate(pictures, 1)),
        annotations=tuple(annotations),
        categories=tuple(CocoCategory(id=number, name=name) for name, number in numbers.items()),
    )


def _annotation(number: int, image_id: int, category_id: int, shape: Shape) -> CocoAnnotation:
    return CocoAnnotation(
        id=number,
        image_id=image_id,
        category_id=category_id,
        segmentation=shape.polygons,
        area=shape.area_px,
        bbox=shape.bbox,
        score=shape.score,
        attributes=shape.attributes,
    )


def _image(number: int, picture: ShapedPicture) -> CocoImage:
    height, width = picture.size_hw
    return CocoImage(
        id=number,
        file_name=picture.file_name,
        width=width,
        height=height,
        attributes=picture.attributes,
    )


def encode_mask(mask: Mask) -> bytes:
    """Encode bool H×W as grey PNG, 255 on the defect and 0 elsewhere."""
    _, encoded = cv2.imencode(".png", mask.astype(np.uint8) * 255)
    return encoded.tobytes()
