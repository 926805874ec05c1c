"""Reads typed defects from where people keep them: data sets, corrections and COCO files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inspection.core.errors import DatasetError, ImageError
from inspection.core.imaging import load_mask
from inspection.core.records import Label
from inspection.data.findings import Findings, Kind
from inspection.data.folder import find_layout, list_folder
from inspection.masks.components import Component, drawn_components
from inspection.recognition.cocofiles import read_coco
from inspection.recognition.labels import TypedDefect, pack
from inspection.recognition.settings import LabelSource
from inspection.review.corrections import PICTURES, RECORDS, read_labels
from inspection.review.exports import SEVERAL, kind_of

MOST_DEFECTS = 200  # of a picture; a mask in more pieces is noise


@dataclass(frozen=True)
class Drawn:
    """A picture as a source names it, with its defects; nothing of it is checked yet."""

    path: Path
    name: str
    size_hw: tuple[int, int] | None
    """Height and width as the source says; none where it says nothing."""
    defects: tuple[TypedDefect, ...]


def read_source(source: LabelSource, findings: Findings) -> Iterator[Drawn]:
    """Give the pictures of a source; what of it cannot be used goes to the findings.

    Raises:
        DatasetError: it is none of the three kinds, or a file of it is damaged.
    """
    path = Path(source.path)
    if path.suffix.lower() == ".json":
        folder = Path(source.pictures) if source.pictures else path.parent
        for picture in read_coco(path, findings):
            file = folder / picture.file_name
            if not file.resolve().is_relative_to(folder.resolve()):
                findings.problem(
                    picture.file_name,
                    Kind.OUTSIDE,
                    f"{picture.file_name}: lies outside of {folder}; wanted a file in it; copy it",
                )
                continue
            yield Drawn(file, picture.file_name, picture.size_hw, picture.defects)
    elif find_layout(path):
        yield from _of_dataset(path, findings)
    elif (path / RECORDS).is_dir():
        yield from _of_corrections(path, findings)
    else:
        raise DatasetError(
            f"{path}: no labels here; wanted a COCO file (.json), a folder of corrections as "
            "inspection review makes it, or a data set with masks"
        )


def _of_dataset(root: Path, findings: Findings) -> Iterator[Drawn]:
    for image in list_folder(root).images:
        if image.label is Label.GOOD:
            yield Drawn(root / image.path, image.path, None, ())
            continue
        if image.defect == SEVERAL:
            findings.problem(
                image.path,
                Kind.UNKNOWN_TYPE,
                f"{image.path}: shows defects of several types in one mask; wanted one type each; "
                "label it in a COCO file, or take it out",
            )
            continue
        if image.mask is None:
            findings.note(
                image.path,
                Kind.IMAGE_WITHOUT_MASK,
                f"{image.path}: has no mask, so that nobody knows where its {image.defect} is; it "
                "is left out; draw it",
            )
            continue
        try:
            mask = load_mask(root / image.mask)
        except ImageError as error:
            findings.problem(image.mask, Kind.UNREADABLE_MASK, str(error))
            continue
        if not mask.any():
            findings.note(
                image.mask,
                Kind.EMPTY_MASK,
                f"{image.mask}: marks nothing on {image.path}, which is left out; draw it again",
            )
            continue
        found, left = drawn_components(mask, MOST_DEFECTS)
        if left:
            findings.problem(image.mask, Kind.BAD_MASK, _too_many(image.mask))
            continue
        size = mask.shape[0], mask.shape[1]
        kind = image.defect or ""
        yield Drawn(root / image.path, image.path, size, _typed(kind, found, size))


def _of_corrections(folder: Path, findings: Findings) -> Iterator[Drawn]:
    for one in read_labels(folder):
        if not (one.defects or one.is_good):
            continue  # it was only said that some kind of defect is not there
        size = one.pixels.shape[0], one.pixels.shape[1]
        pieces = [(kind_of(by), drawn_components(mask, MOST_DEFECTS)) for by, mask in one.defects]
        if any(left for _, (_, left) in pieces):
            findings.problem(one.image, Kind.BAD_MASK, _too_many(one.image))
            continue
        defects = [defect for kind, (found, _) in pieces for defect in _typed(kind, found, size)]
        name = one.corrections[0].picture_file
        yield Drawn(folder / PICTURES / name, one.image, size, tuple(defects))


def _too_many(name: str) -> str:
    return f"{name}: a mask has more than {MOST_DEFECTS} pieces; that is noise; draw it again"


def _typed(
    kind: str, components: list[Component], size_hw: tuple[int, int]
) -> tuple[TypedDefect, ...]:
    return tuple(_defect(kind, component, size_hw) for component in components)


def _defect(kind: str, component: Component, size_hw: tuple[int, int]) -> TypedDefect:
    x0, y0, x1, y1 = component.box
    whole = np.zeros(size_hw, np.bool_)
    whole[y0:y1, x0:x1] = component.mask
    return TypedDefect(kind, (float(x0), float(y0), float(x1), float(y1)), pack(whole))
