"""Looks at pictures with an open detector, and draws what it finds."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from inspection.bundles.judging import overlay_paths
from inspection.bundles.overlay import write_picture
from inspection.core.errors import InspectionError
from inspection.core.folders import new_folder
from inspection.core.imaging import load_image
from inspection.core.progress import follow
from inspection.detectors.detector import Detector
from inspection.recognition.picture import draw_detections


@dataclass(frozen=True)
class Found:
    """One typed defect."""

    type: str
    score: float
    xyxy_px: tuple[float, float, float, float]
    mask_px: int | None
    """Pixels of its mask; none of a detector that draws none."""


@dataclass(frozen=True)
class LookedAt:
    """One picture: what was found on it, or why it could not be looked at."""

    path: Path
    found: tuple[Found, ...]
    problem: str = ""


def find_all(detector: Detector, pictures: Sequence[Path], out: Path | None) -> list[LookedAt]:
    """Find typed defects on every picture; draw them into a new folder, if one is named.

    Raises:
        ConfigError: the folder is there.
    """
    with new_folder(out) if out else nullcontext() as folder:
        places = overlay_paths(pictures, folder) if folder else [None] * len(pictures)
        pairs = follow(list(zip(pictures, places, strict=True)), "finding")
        return [_look(detector, path, place) for path, place in pairs]


def _look(detector: Detector, path: Path, place: Path | None) -> LookedAt:
    try:
        pixels = load_image(path)
        found = detector.find(pixels)
    except InspectionError as error:
        return LookedAt(path, (), str(error))
    types = detector.card.types
    if place:
        write_picture(place, draw_detections(pixels, found, types))
    sizes: Iterator[int | None] = (
        None if found.masks is None else int(found.masks[i].sum()) for i in range(len(found))
    )
    rows = zip(found.types, found.scores, found.boxes, sizes, strict=True)
    return LookedAt(
        path,
        tuple(
            Found(types[kind], float(score), (float(x0), float(y0), float(x1), float(y1)), size)
            for kind, score, (x0, y0, x1, y1), size in rows
        ),
    )
