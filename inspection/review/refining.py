"""Refines the defects of pictures at the desk: masks, polygons and a table of measurements.

What is refined and accepted here changes no verdict; `would_be` only tells what rules would say.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from inspection.bundles.bundle import GOLDEN_TOLERANCE, Bundle
from inspection.bundles.judging import overlay_paths
from inspection.core.config import Settings
from inspection.core.decision import AcceptRule, Defects, Judgement, Verdict, accept, lacking_mm
from inspection.core.errors import ConfigError, DatasetError, InspectionError
from inspection.core.folders import new_folder, write_whole
from inspection.core.geometry import Roi, roi_px
from inspection.core.imaging import Rgb, load_image, require_rgb8
from inspection.core.progress import follow
from inspection.core.tables import csv_lines
from inspection.masks.refine import Outline, Refined, Refiner
from inspection.review.coco import (
    Facts,
    Shape,
    ShapedPicture,
    coco_file,
    encode_mask,
    outline_shape,
)
from inspection.review.reading import Source

logger = logging.getLogger(__name__)

MASKS, ANNOTATIONS, TABLE = "masks", "annotations.json", "defects.csv"
CATEGORY = "defect"  # a map does not tell kinds
COLUMNS = (
    *("image", "event_id", "verdict", "defect", "trusted", "reason", "peak"),
    *("area_px", "length_px", "width_px", "x_px", "y_px"),
    *("area_mm2", "length_mm", "width_mm", "x_mm", "y_mm"),
    "segmenter",
)


class Framing(Settings):
    """How a station's recipe frames a part; its events do not tell."""

    roi: Roi = Field(default_factory=Roi, description="cut out of each picture before it is judged")
    mm_per_px: float | None = Field(None, gt=0, description="none measures in px only")


class Acceptance(Settings):
    """Which defects a product may have; the `accept` of a recipe in a file of its own."""

    accept: tuple[AcceptRule, ...] = ()

    @model_validator(mode="after")
    def _types_are_named_at_stations(self) -> Self:
        named = [f"'{rule.name}'" for rule in self.accept if rule.types]
        if named:
            raise ValueError(
                f"accept rules {', '.join(named)} name types, and no detector is asked here; try "
                "them with inspection station replay"
            )
        return self


@dataclass(frozen=True)
class Desk:
    """What judges and refines pictures."""

    bundle: Bundle
    refiner: Refiner
    framing: Framing = field(default_factory=Framing)
    acceptance: Acceptance = field(default_factory=Acceptance)

    @property
    def name(self) -> str:
        """Say which bundle judges and which segmenter outlines."""
        bundle, segmenter = self.bundle, self.refiner.segmenter
        return f"{bundle.card.name} {bundle.bundle_id[:12]}, outlines by {segmenter.name}"


@dataclass(frozen=True)
class RefinedPicture:
    """What was found on one picture."""

    path: Path
    event_id: str | None
    verdict: Verdict
    """The bundle's, by the band of the event where there is one."""
    score: float
    defects: Defects
    """Places in px of the picture."""
    note: str
    """Why there is no defect."""
    would_be: Verdict
    """The verdict if the accept rules were in force."""
    accepted: str
    """By which rules."""
    mask: str
    """Its file, below the folder of the result."""


@dataclass(frozen=True)
class Refinement:
    """All pictures, and those that could not be refined."""

    pictures: tuple[RefinedPicture, ...]
    problems: tuple[str, ...]
    made_by: str
    """Which bundle judged and which segmenter outlined."""


def refine_pictures(desk: Desk, sources: Sequence[Source], out: Path) -> Refinement:
    """Refine pictures into a new folder, which holds all of them or does not come to be.

    `masks/` lies as the pictures do below their common parent, each mask as large as its picture,
    255 on defects; `annotations.json` is COCO, `defects.csv` has one row per defect.

    Args:
        desk: what judges and refines.
        sources: pictures; those that cannot be refined are told, the others done.
        out: folder to make.

    Raises:
        ConfigError: the folder exists, or accept rules need the scale.
        InspectionError: the folder cannot be written.
    """
    if lacking := lacking_mm(desk.acceptance.accept, desk.framing.mm_per_px):
        raise ConfigError(lacking)
    places = _places(sources, out / MASKS)
    if "map_shift" not in desk.bundle.card.geometry.model_fields_set:
        logger.warning(
            "%s: made before its map's place was measured, so outlines may lie beside defects; "
            "export it again",
            desk.bundle.path,
        )
    done: list[tuple[RefinedPicture, ShapedPicture]] = []
    problems: list[str] = []
    with new_folder(out) as folder:
        for source, place in follow(list(zip(sources, places, strict=True)), "refining"):
            try:
                pixels = load_image(source.path)
                judgement, refined = _refine(desk, source, pixels)
            except InspectionError as error:
                problems.append(_told(error, source.path))
                continue
            size_hw = pixels.shape[0], pixels.shape[1]
            write_whole(folder / MASKS / place, encode_mask(refined.mask(size_hw)))
            picture = _picture(desk, source, judgement, refined, place)
            done.append((picture, _shaped(picture, refined, place, size_hw)))
        found = coco_file([shaped for _, shaped in done], [CATEGORY], desk.name)
        (folder / ANNOTATIONS).write_text(found.text, encoding="utf-8")
        _write_table(folder / TABLE, [picture for picture, _ in done])
    return Refinement(tuple(picture for picture, _ in done), tuple(problems), desk.name)


def _told(error: InspectionError, path: Path) -> str:
    """Say which picture an error is about."""
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _places(sources: Sequence[Source], masks: Path) -> list[Path]:
    """Give each picture the place of its mask below the folder of masks."""
    paths = [source.path for source in sources]
    return [target.relative_to(masks) for target in overlay_paths(paths, masks)] if paths else []


def _refine(desk: Desk, source: Source, pixels: Rgb) -> tuple[Judgement, Refined]:
    """Judge and refine what the ROI cuts out; the outlines are placed on the whole picture.

    Raises:
        DatasetError: it cannot be judged, or the event tells another score.
    """
    top, left, bottom, right = roi_px(desk.framing.roi, pixels.shape[0], pixels.shape[1])
    cut = np.ascontiguousarray(pixels[top:bottom, left:right])
    require_rgb8(cut, str(source.path))
    card, recorded = desk.bundle.card, source.recorded
    judgement = desk.bundle.judge_tiles(
        desk.bundle.prepare(cut), (cut.shape[0], cut.shape[1]), recorded.band if recorded else None
    )
    _require_score(judgement, source)
    refined = desk.refiner.refine(cut, judgement, card.geometry, card.score)
    return judgement, replace(refined, outlines=tuple(_moved(refined.outlines, left, top)))


def _require_score(judgement: Judgement, source: Source) -> None:
    """Refuse a part without score, and one that is not the part its event is about."""
    if not math.isfinite(judgement.score):
        raise DatasetError(
            f"{source.path}: the score is {judgement.score}; look at the light and the part"
        )
    if source.recorded is None:
        return
    allowed = GOLDEN_TOLERANCE * float(np.abs(judgement.score_map).max())
    if abs(judgement.score - source.recorded.score) > allowed:
        raise DatasetError(
            f"{source.path}: the score is {judgement.score:.4g}; its event says "
            f"{source.recorded.score:.4g}; give --roi as the station's recipe has it"
        )


def _moved(outlines: Sequence[Outline], left: int, top: int) -> Iterator[Outline]:
    for one in outlines:
        x0, y0, x1, y1 = one.box
        yield replace(one, box=(x0 + left, y0 + top, x1 + left, y1 + top))


def _picture(
    desk: Desk, source: Source, judgement: Judgement, refined: Refined, place: Path
) -> RefinedPicture:
    defects = refined.defects(desk.framing.mm_per_px)
    would_be, accepted = accept(judgement.verdict, defects, desk.acceptance.accept)
    return RefinedPicture(
        path=source.path,
        event_id=source.recorded.event_id if source.recorded else None,
        verdict=judgement.verdict,
        score=judgement.score,
        defects=defects,
        note=refined.reason,
        would_be=would_be,
        accepted=accepted,
        mask=(MASKS / place).as_posix(),
    )


def _shaped(
    picture: RefinedPicture, refined: Refined, place: Path, size_hw: tuple[int, int]
) -> ShapedPicture:
    facts: Facts = {
        "verdict": str(picture.verdict),
        "score": picture.score,
        "uncounted": refined.uncounted,
        "mask": _text(picture.mask),
        "event_id": picture.event_id or "",
    }
    name = _text(place.with_name(picture.path.name).as_posix())
    return ShapedPicture(name, size_hw, tuple(map(_shape, refined.outlines)), facts)


def _shape(one: Outline) -> Shape:
    facts: Facts = {"trusted": one.trusted, "reason": one.reason}
    return outline_shape(one.mask, one.box[:2], CATEGORY, facts, one.peak)


def _text(name: str) -> str:
    """Give a file's name as text that every encoding of Unicode takes."""
    return name.encode(errors="backslashreplace").decode()


def _write_table(path: Path, pictures: Sequence[RefinedPicture]) -> None:
    """Write one row for each defect; what is not known is empty."""
    rows = (row for picture in pictures for row in _rows(picture))
    path.write_text(csv_lines([COLUMNS, *rows]), encoding="utf-8")


def _rows(picture: RefinedPicture) -> Iterator[tuple[object, ...]]:
    scale = picture.defects.mm_per_px
    head = _text(str(picture.path)), picture.event_id or "", picture.verdict
    for number, one in enumerate(picture.defects.found, 1):
        size = one.size
        in_px = size.area_px, size.length_px, size.width_px, size.x_px, size.y_px
        in_mm = (*size.scaled(scale), size.x_px * scale, size.y_px * scale) if scale else ("",) * 5
        yield (
            *(*head, number, str(one.trusted).lower(), one.reason, f"{one.peak:.6g}", *in_px),
            *(f"{value:.6g}" if isinstance(value, float) else value for value in in_mm),
            picture.defects.segmenter,
        )
