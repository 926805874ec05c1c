"""What the tests of the desk share: parts a redness bundle judges, masks, notes and corrections."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from inspection.core.decision import Band, Verdict
from inspection.core.imaging import Mask, Rgb
from inspection.core.records import Event, FrameRecord
from inspection.masks.segmenter import Candidates, Prompt
from inspection.review.corrections import ListedCorrection, Note, add_correction

SIZE_HW = 96, 192  # of which a cell of the redness bundle's map is 24×24 px
NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
Box = tuple[int, int, int, int]  # x0, y0, x1, y1 px


def part(*spots: Box, level: int = 255, size_hw: tuple[int, int] = SIZE_HW) -> Rgb:
    """Draw a grey-blue part with red spots."""
    pixels = np.zeros((*size_hw, 3), np.uint8)
    pixels[:] = (20, 60, 70)
    for x0, y0, x1, y1 in spots:
        pixels[y0:y1, x0:x1] = (level, 30, 30)
    return pixels


def mask(*spots: Box, size_hw: tuple[int, int] = SIZE_HW) -> Mask:
    """Draw the mask of spots."""
    drawn = np.zeros(size_hw, np.bool_)
    for x0, y0, x1, y1 in spots:
        drawn[y0:y1, x0:x1] = True
    return drawn


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels, or a mask as 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint8) * 255).save(
        path
    )
    return path


def note(minute: int = 0, **changes: object) -> Note:
    """Say who drew, so many minutes past noon."""
    values = {"author": "weber", "when": NOON + timedelta(minutes=minute)}
    return Note.model_validate(values | changes)


def correct(
    store: Path, picture: Path, drawn: Mask, minute: int = 0, **changes: object
) -> ListedCorrection:
    """Add a correction."""
    return add_correction(store, picture, drawn, note(minute, **changes))


class RedSegmenter:
    """Knows the truth: what is red is the defect."""

    name = "red"
    side_px = None

    def set_image(self, pixels: Rgb) -> "RedImage":
        """Keep the pixels."""
        return RedImage(pixels[:, :, 0] > 128)


@dataclass(frozen=True)
class RedImage:
    """What is red of an image, bool H×W."""

    red: Mask

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Answer every prompt with all that is red."""
        return [Candidates(self.red[None], np.ones(1, np.float32)) for _ in prompts]


def event(number: int, bundle_id: str, score: float | None = 1.0, **changes: object) -> Event:
    """Make a station's event of one REJECT frame, or of another verdict."""
    verdict = changes.get("verdict", Verdict.REJECT)
    frame = FrameRecord(
        camera="top",
        source=f"{number}.png",
        source_sha256="0" * 64,
        bundle_id=bundle_id,
        band=None if score is None else changes.pop("band", Band(review_above=0.4, reject_above=1)),
        verdict=verdict,
        score=score,
        reason="",
        image=changes.pop("image", f"{number:010d}-top.png"),
    )
    values = {
        "event_id": f"{number:032x}",
        "sequence": number,
        "part_id": f"part-{number}",
        "product": "default",
        "line": "line-1",
        "station": "station-1",
        "verdict": verdict,
        "reason": "",
        "frames": (frame,),
        "captured_at": NOON,
        "judged_at": NOON,
        "latency_ms": 3.5,
    }
    return Event.model_validate(values | changes)
