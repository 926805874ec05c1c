"""Reads COCO files of any tool, and says of every annotation that it cannot take why."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_masks
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inspection.core.errors import DatasetError
from inspection.core.limits import MAX_COCO_BYTES, read_file
from inspection.data.findings import Findings, Kind
from inspection.recognition.labels import Box, TypedDefect


class _Lenient(BaseModel):
    """What tools add of their own is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Image(_Lenient):
    id: int | str
    file_name: str
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class _Annotation(_Lenient):
    id: int | str
    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float] | None = None
    segmentation: dict[str, Any] | list[Any] | None = None
    iscrowd: int = 0


class _Category(_Lenient):
    id: int | str
    name: str


class _File(_Lenient):
    images: tuple[_Image, ...]
    annotations: tuple[_Annotation, ...]
    categories: tuple[_Category, ...]


@dataclass(frozen=True)
class CocoPicture:
    """A picture of a COCO file, with the defects that could be read."""

    file_name: str
    size_hw: tuple[int, int]
    defects: tuple[TypedDefect, ...]


def read_coco(path: Path, findings: Findings) -> Iterator[CocoPicture]:
    """Give the pictures of a COCO file, also those without annotations: they are good parts.

    A picture with a crowd is left out.

    Raises:
        DatasetError: it cannot be read, is no COCO file, or numbers something twice.
    """
    read = _read(path)
    by_image: dict[int | str, list[_Annotation]] = defaultdict(list)
    images = {image.id: image for image in read.images}
    names = {category.id: category.name for category in read.categories}
    if len(images) < len(read.images) or len(names) < len(read.categories):
        raise DatasetError(f"{path}: an id of its images or categories stands twice; number anew")
    for annotation in read.annotations:
        if annotation.image_id not in images:
            findings.problem(
                path.name,
                Kind.UNREAD,
                f"{path.name}: annotation {annotation.id} is of image {annotation.image_id}, which "
                "the file does not list; list it, or remove the annotation",
            )
        by_image[annotation.image_id].append(annotation)
    for image in read.images:
        crowds = [one.id for one in by_image[image.id] if one.iscrowd]
        if crowds:
            findings.note(
                image.file_name,
                Kind.UNREAD,
                f"{image.file_name}: annotation {crowds[0]} of {path.name} is a crowd, no single "
                "defect; the picture is left out, because nobody says where each is",
            )
            continue
        defects = (
            _defect(one, image, names, _Place(path.name, image.file_name, findings))
            for one in by_image[image.id]
        )
        yield CocoPicture(
            image.file_name, (image.height, image.width), tuple(d for d in defects if d)
        )


def _read(path: Path) -> _File:
    try:
        return _File.model_validate(json.loads(read_file(path, MAX_COCO_BYTES, follow=True)))
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        why = error
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            why = ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        raise DatasetError(
            f"{path}: no COCO file of objects ({why}); wanted images, annotations and categories"
        ) from error


@dataclass(frozen=True)
class _Place:
    """Which annotation of which file is being read."""

    file: str
    picture: str
    findings: Findings

    def problem(self, annotation: _Annotation, kind: Kind, message: str) -> None:
        self.findings.problem(
            self.picture,
            kind,
            f"{self.picture}: annotation {annotation.id} of {self.file} {message}",
        )


def _defect(
    annotation: _Annotation, image: _Image, names: dict[int | str, str], place: _Place
) -> TypedDefect | None:
    if annotation.category_id not in names:
        place.problem(
            annotation,
            Kind.UNKNOWN_TYPE,
            f"is of category {annotation.category_id}, which the file does not list; list it",
        )
        return None
    rle = _mask(annotation, image, place)
    box = _box(annotation, rle, image, place)
    return box and TypedDefect(names[annotation.category_id], box, rle)


def _mask(annotation: _Annotation, image: _Image, place: _Place) -> dict[str, Any] | None:
    """Give the mask as pycocotools packs it; none where there is none or it marks nothing."""
    if not annotation.segmentation:
        return None
    try:
        rle = _packed(annotation.segmentation, image)
        area, size = int(coco_masks.area(rle)), tuple(rle["size"])
    except (TypeError, ValueError, KeyError) as error:
        place.problem(
            annotation,
            Kind.BAD_MASK,
            f"has a segmentation that cannot be read ({error}); draw it again, or remove it",
        )
        return None
    if size != (image.height, image.width):
        place.problem(
            annotation,
            Kind.BAD_MASK,
            f"has a mask of {size[0]}×{size[1]} px; wanted {image.height}×{image.width}; draw it "
            "again",
        )
        return None
    if not area:
        place.problem(
            annotation, Kind.BAD_MASK, "has a segmentation that fills no px; draw it again"
        )
    return rle if area else None


def _packed(segmentation: dict[str, Any] | list[Any], image: _Image) -> dict[str, Any]:
    """Pack any of COCO's three forms: polygons, counts, or counts as they are packed already."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if isinstance(counts, str):
            return {"size": segmentation["size"], "counts": counts.encode("ascii")}
        if not isinstance(counts, list):
            raise ValueError(f"counts are a {type(counts).__name__}, no list or text")
        packed: dict[str, Any] = coco_masks.frPyObjects(segmentation, image.height, image.width)
        return packed
    # some tools write one polygon without its list
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    for polygon in polygons:
        if len(polygon) < 6 or not all(isinstance(value, int | float) for value in polygon):
            raise ValueError("a polygon is no list of at least three corners")
    whole: dict[str, Any] = coco_masks.merge(
        coco_masks.frPyObjects(polygons, image.height, image.width)
    )
    return whole


def _box(
    annotation: _Annotation, rle: dict[str, Any] | None, image: _Image, place: _Place
) -> Box | None:
    """Give the box of the mask where there is one, which is what it means; else the file's."""
    left, top, width, height = (
        map(float, coco_masks.toBbox(rle)) if rle else annotation.bbox or (0.0,) * 4
    )
    if width <= 0 or height <= 0:
        place.problem(
            annotation,
            Kind.NO_AREA,
            f"has a box without area ({width:g}×{height:g} px); draw it again, or remove it",
        )
        return None
    x0, y0 = max(0.0, left), max(0.0, top)
    x1, y1 = min(float(image.width), left + width), min(float(image.height), top + height)
    if x1 <= x0 or y1 <= y0 or max(x0 - left, left + width - x1, y0 - top, top + height - y1) > 1:
        place.problem(
            annotation,
            Kind.BEYOND,
            f"reaches beyond its picture of {image.height}×{image.width} px; draw it again",
        )
        return None
    return x0, y0, x1, y1
