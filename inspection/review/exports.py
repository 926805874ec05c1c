"""Hands reviewed masks on: as COCO JSON to other tools, as a data set to the next training."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from pydantic import ValidationError

from inspection.bundles.overlay import write_picture
from inspection.core.errors import ConfigError
from inspection.core.folders import new_folder, write_whole
from inspection.core.imaging import Mask
from inspection.core.records import write_text
from inspection.review.coco import (
    CocoFile,
    Facts,
    Shape,
    ShapedPicture,
    coco_file,
    encode_mask,
    outline_shape,
)
from inspection.review.corrections import (
    Correction,
    ReviewedPicture,
    read_corrections,
    read_labels,
)

UNNAMED = "defect"  # kind of a defect that nobody named
SEVERAL = "combined"  # MVTec AD's folder for parts with defects of several kinds
GOOD = "good"
REVIEWED = "defects as reviewed"  # by this description an earlier export is known


@dataclass(frozen=True)
class ExportedDataset:
    """What became of the reviewed pictures."""

    good: int
    defects: dict[str, int]
    """Pictures by kind of defect."""
    undecided: int
    """Pictures of which it was only said that they lack some kind of defect."""


def export_corrections(
    folder: Path, coco: Path | None, dataset: Path | None
) -> ExportedDataset | None:
    """Write the COCO JSON file, the data set, or both; nothing when either is refused.

    Args:
        folder: of the corrections.
        coco: file to write, or to write anew.
        dataset: folder to make.

    Returns:
        What the data set holds.

    Raises:
        ConfigError: neither is named; one lies in `folder`; `coco` is there and no earlier export;
            or `dataset` exists.
        DatasetError: as for `read_labels`.
        InspectionError: one cannot be written.
    """
    if coco is None and dataset is None:
        raise ConfigError("review export: nothing to write; name --coco, --dataset or both")
    for path in filter(None, (coco, dataset)):
        _require_outside(path, folder)
    if coco:
        _require_earlier_export(coco)
    text = export_coco(folder).text if coco else ""
    made = export_dataset(folder, dataset) if dataset else None
    if coco:
        write_text(coco, text)
    return made


def _require_outside(path: Path, folder: Path) -> None:
    if path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(
            f"{path}: lies in {folder}, which holds corrections only; name a place outside it"
        )


def _require_earlier_export(coco: Path) -> None:
    """Refuse to write over a file that is no export of corrections."""
    if not coco.exists():
        return
    try:
        found = CocoFile.model_validate_json(coco.read_bytes()).info.description
    except (OSError, ValidationError):
        found = "no COCO JSON of ours"
    if found != REVIEWED:
        raise ConfigError(
            f"{coco}: is there and holds {found}; wanted an earlier review export; name a new file"
        )


def export_coco(folder: Path) -> CocoFile:
    """Give all reviewed defects of a folder of corrections; its `pictures` holds the images.

    A picture's and a category's id stay as long as the folder only grows; annotations are numbered
    anew.

    Raises:
        DatasetError: as for `read_labels`.
    """
    labels = read_labels(folder)
    kinds = dict.fromkeys(kind_of(one.record) for one in read_corrections(folder) if one.record)
    return reviewed_coco(labels, list(kinds))


def reviewed_coco(labels: Iterable[ReviewedPicture], kinds: Sequence[str]) -> CocoFile:
    """Give the defects of reviewed pictures; each connected part of a mask is one annotation.

    Args:
        labels: read once, one in memory at a time.
        kinds: every kind of defect, in the order that numbers them.
    """
    pictures = [
        ShapedPicture(
            one.corrections[0].picture_file,
            (one.mask.shape[0], one.mask.shape[1]),
            tuple(_shapes(one)),
            {"image": one.image},
        )
        for one in labels
    ]
    return coco_file(pictures, kinds, REVIEWED)


def export_dataset(folder: Path, out: Path) -> ExportedDataset:
    """Write the reviewed pictures of a folder of corrections as a data set, see `write_dataset`.

    Raises:
        ConfigError: `out` exists.
        DatasetError: as for `read_labels`.
        InspectionError: `out` cannot be written.
    """
    return write_dataset(read_labels(folder), out)


def write_dataset(labels: Iterable[ReviewedPicture], out: Path) -> ExportedDataset:
    """Write reviewed pictures as a data set of MVTec AD's layout, whole or not at all.

    Defective parts go to `test`, their masks to `ground_truth`, good ones to `train/good`. Pictures
    become PNG, whose pixels are those of the picture reviewed.

    Args:
        labels: read once, one in memory at a time.
        out: folder to make.

    Raises:
        ConfigError: `out` exists.
        InspectionError: `out` cannot be written.
    """
    counts: Counter[str] = Counter()
    undecided = 0
    with new_folder(out) as partial:
        (partial / "train" / GOOD).mkdir(parents=True)  # by this folder a data set is known
        for one in labels:
            name = f"{PurePosixPath(one.image).stem}-{one.image_sha256[:12]}"
            if one.is_good:
                write_picture(partial / "train" / GOOD / f"{name}.png", one.pixels)
                counts[GOOD] += 1
            elif one.defects:
                kinds = {kind_of(correction) for correction, _ in one.defects}
                kind = kinds.pop() if len(kinds) == 1 else SEVERAL
                write_picture(partial / "test" / kind / f"{name}.png", one.pixels)
                truth = partial / "ground_truth" / kind / f"{name}_mask.png"
                write_whole(truth, encode_mask(one.mask))
                counts[kind] += 1
            else:
                undecided += 1
    return ExportedDataset(counts.pop(GOOD, 0), dict(sorted(counts.items())), undecided)


def kind_of(correction: Correction) -> str:
    """Give the kind of a defect, also of one that nobody named."""
    return correction.defect or UNNAMED


def _shapes(one: ReviewedPicture) -> Iterator[Shape]:
    """Outline each connected part of each mask."""
    for correction, mask in one.defects:
        facts: Facts = {
            "author": correction.author,
            "when": correction.when.isoformat(),
            "why": correction.why,
            "event_id": correction.event_id or "",
        }
        for part, place in _parts(mask):
            yield outline_shape(part, place, kind_of(correction), facts)


def _parts(mask: Mask) -> Iterator[tuple[Mask, tuple[int, int]]]:
    """Give each connected part, as large as its box, and where the box lies."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    for number in range(1, count):
        x, y, width, height = (int(value) for value in stats[number, :4])
        yield labels[y : y + height, x : x + width] == number, (x, y)
