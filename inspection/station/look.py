"""Looks at one frame of a part: guard → score → decide → accept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import numpy as np

from inspection.bundles.overlay import draw_overlay, encode_picture
from inspection.core.decision import MAX_REGIONS, Defects, Judgement, Verdict, severity
from inspection.core.errors import InspectionError
from inspection.core.geometry import Roi
from inspection.core.guards import complaints
from inspection.core.image_statistics import ImageStatistics, measure_image
from inspection.core.imaging import Rgb
from inspection.core.known import Recognised
from inspection.core.records import Event
from inspection.station.judge import Accepted, Challenger, Judge, Seen
from inspection.station.part import Fault, Frame, Part
from inspection.station.pictures import Picture
from inspection.station.settings import GuardSettings

FROZEN = (
    "the same bytes as the camera's last frame; wanted a new one; check the camera and its "
    "transfer, or set guards.frozen"
)
NEW_LIMITS = "the bundle before this one had let it through"
SIGNATURES = {  # how a file of each kind begins
    b"\x89PNG\r\n\x1a\n": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}


Complaints = Sequence[tuple[Verdict, str]]
"""What guards complain of, each with the verdict it leads to."""


Left = Callable[[float], float]  # seconds a frame needs up to its second stage → seconds left


@dataclass(frozen=True)
class Look:
    """What one frame was found to be."""

    verdict: Verdict
    reason: str = ""
    judge: Judge | None = None
    """Which judge was asked; none for a frame that never got to one."""
    judgement: Judgement | None = None
    cut: Rgb | None = None
    """What was judged of the frame."""
    defects: Defects | None = None
    """What was measured of a REJECT; none where nothing was."""
    statistics: ImageStatistics | None = None
    """Of what was judged; none for FAULT, nor of a frame that is not measured."""
    recognised: Recognised | None = None
    """What the second stage said; none where it was not asked."""
    doubted: Verdict = Verdict.PASS
    """What guards make of it, whatever its score."""
    relieved: Verdict | None = None
    """What accept rules make of it, all of whose defects they accept; none where they do not."""
    held_by: str = ""
    """Why the second stage would hold it, whatever its score and rules; empty for nothing."""

    @property
    def alone(self) -> Verdict:
        """What the second stage makes of it, whatever its score, after accept rules."""
        return self.recognised.alone if self.recognised else Verdict.PASS

    @property
    def score(self) -> float | None:
        """The raw score; none for FAULT."""
        if self.judgement is None or self.verdict is Verdict.FAULT:
            return None
        return self.judgement.score

    @property
    def roi(self) -> Roi | None:
        """What was cut out of the frame and judged; none is all of it."""
        return None if self.judge is None or self.judge.roi == Roi() else self.judge.roi

    @property
    def challenger(self) -> Challenger | None:
        """What scores the frame, too, once the verdict has left; none for FAULT."""
        return None if self.judge is None or self.score is None else self.judge.challenger


class Seconds:
    """Knows in which second a camera captured each product last: drift needs one frame of each."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], datetime] = {}

    def first(self, product: str, camera: str, captured_at: datetime) -> bool:
        """Say whether it is the camera's first frame of a product in its second; remember it."""
        second = captured_at.replace(microsecond=0)
        first = self._last.get((product, camera)) != second
        self._last[product, camera] = second
        return first


def fault(reason: str) -> Look:
    """Say why a frame never got to a judge."""
    return Look(Verdict.FAULT, reason)


def _never() -> bool:
    return False


def look_at(
    pixels: Rgb,
    judge: Judge,
    guards: GuardSettings,
    frozen: Callable[[], bool] = _never,
    *,
    measured: bool = True,
    left_s: Left | None = None,
) -> Look:
    """Look at one frame; whatever goes wrong is its FAULT. What guards make FAULT is not scored.

    Args:
        pixels: uint8 H×W×3 RGB, as the camera gave them.
        judge: what judges them.
        guards: what becomes of a frame a guard complains of.
        frozen: says whether the camera sent the same bytes as before.
        measured: whether its statistics are wanted, which cost a tenth of the look.
        left_s: gives the seconds until the part's deadline, less what the looks at its other frames
            will take if each takes so long up to its second stage, s; none has no deadline.
    """
    try:
        return _look_at(pixels, judge, guards, frozen, measured=measured, left_s=left_s)
    except Exception as error:  # noqa: BLE001 - one part's FAULT, recorded
        return Look(Verdict.FAULT, words_of(error), judge)


def _look_at(
    pixels: Rgb,
    judge: Judge,
    guards: GuardSettings,
    frozen: Callable[[], bool],
    *,
    measured: bool,
    left_s: Left | None,
) -> Look:
    begun_s = time.monotonic()
    repeated = [(guards.frozen, FROZEN)] if guards.frozen != "off" and frozen() else []
    cut = judge.cut(pixels)
    tiles, part_hw = judge.prepare(cut), (cut.shape[0], cut.shape[1])
    found = [*repeated, *_complaints(judge, guards, tiles, part_hw)]
    if _faulty(found):
        own = not _faulty(repeated) and _is_its_own(judge, guards, tiles, part_hw)
        reason = "; ".join(words for _, words in found) + (f"; {NEW_LIMITS}" if own else "")
        return Look(Verdict.FAULT, reason, judge if own else None)
    judgement = judge.judge(tiles, part_hw)
    statistics = _statistics(judge, tiles, judgement) if measured else None
    if judgement.fault:
        return Look(Verdict.FAULT, judgement.fault, judge, judgement)
    doubted = max((verdict for verdict, _ in found), key=severity, default=Verdict.PASS)
    left = left_s and partial(left_s, time.monotonic() - begun_s)
    accepted = hold_to_rules(judge, cut, judgement, doubted, left)
    found.append((accepted.verdict, accepted.reason))
    verdict = max((verdict for verdict, _ in found), key=severity)
    reason = "; ".join(words for _, words in found if words)
    measures = accepted.defects, statistics, accepted.recognised
    apart = doubted, accepted.relieved, accepted.held_by
    return Look(verdict, reason, judge, judgement, cut, *measures, *apart)


def _statistics(judge: Judge, tiles: Rgb, judgement: Judgement) -> ImageStatistics:
    measured = measure_image(tiles, judge.geometry.tile_columns)
    return measured.model_copy(update={"embedding": judgement.embedding})


def hold_to_rules(
    judge: Judge,
    cut: Rgb,
    judgement: Judgement,
    doubted: Verdict = Verdict.PASS,
    left_s: Callable[[], float] | None = None,
) -> Accepted:
    """Let known defects be named, and hold what is held against its product's accept rules.

    Whatever goes wrong, no verdict becomes better. Where the second stage came late or failed, no
    rule is asked: nobody knows what it would have to accept.

    Args:
        judge: what judges the frame.
        cut: uint8 H×W×3 RGB, what was judged of it.
        judgement: of it.
        doubted: what guards make of it.
        left_s: gives the seconds until the part's deadline; none has none.
    """
    before = max(judgement.verdict, doubted, key=severity)
    seen = judge.recognise(cut, judgement, before, left_s)
    if seen is None:
        return _accept(judge, cut, judgement, None)
    blind = Accepted(seen.verdict) if seen.is_blind else None
    accepted = blind or _accept(judge, cut, judgement, seen)
    held = severity(accepted.verdict) > severity(before)
    alone = min(seen.recognised.alone, accepted.relieved or Verdict.REJECT, key=severity)
    return replace(
        accepted,
        reason="; ".join(filter(None, (seen.reason, accepted.reason))),
        recognised=seen.recognised.model_copy(update={"held": held, "alone": alone}),
        held_by=seen.held_by,
    )


def _accept(judge: Judge, cut: Rgb, judgement: Judgement, seen: Seen | None) -> Accepted:
    """Ask the accept rules of a frame that its score or known defects hold."""
    held = judgement.verdict if seen is None else seen.verdict
    if judgement.verdict is not Verdict.REJECT and not (seen and seen.reason):
        return Accepted(held)
    try:
        return judge.accept(cut, judgement, seen)
    except Exception as error:  # noqa: BLE001 - one part stays held, the reason recorded
        return Accepted(held, f"accept rules not applied: {words_of(error)}")


def _complaints(
    judge: Judge, guards: GuardSettings, tiles: Rgb, part_hw: tuple[int, int]
) -> Complaints:
    """Ask the guards; what each complaint leads to is configured."""
    if judge.guards is None:
        return []
    wanted = guards.model_dump()
    found = complaints(tiles, part_hw, judge.guards)
    return [(wanted[guard], words) for guard, words in found.items() if wanted[guard] != "off"]


def _faulty(found: Complaints) -> bool:
    return any(verdict is Verdict.FAULT for verdict, _ in found)


def _is_its_own(judge: Judge, guards: GuardSettings, tiles: Rgb, part_hw: tuple[int, int]) -> bool:
    """Say whether a bundle on trial makes FAULT what the one before it would have judged."""
    before = judge.predecessor
    return before is not None and not _faulty(_complaints(before, guards, tiles, part_hw))


def join_reasons(part: Part, looks: tuple[Look, ...]) -> str:
    """Join the frames' reasons; the camera's name stands before each where there are several."""
    named = len(looks) > 1
    return "; ".join(
        f"{frame.view}: {look.reason}" if named else look.reason
        for frame, look in zip(part.frames, looks, strict=True)
        if look.reason
    )


def same_bytes(before: Frame | None, now: Frame) -> bool:
    """Say whether two frames of a camera have the same bytes; a live one never has, for noise."""
    if before is None:
        return False
    if before.sha256 or now.sha256:
        return before.sha256 == now.sha256
    if isinstance(before.pixels, Fault) or isinstance(now.pixels, Fault):
        return False
    return before.pixels.shape == now.pixels.shape and bool(
        np.array_equal(before.pixels[0], now.pixels[0])  # nearly all end here
        and np.array_equal(before.pixels, now.pixels)
    )


def words_of(error: Exception) -> str:
    """Say an error as a FAULT's reason, in text any destination takes."""
    words = str(error) if isinstance(error, InspectionError) else f"{type(error).__name__}: {error}"
    return words.encode("utf-8", "backslashreplace").decode()


def suffix_of(frame: Frame) -> str | None:
    """Give how the name of the kept frame ends; none when there is nothing to keep."""
    if frame.encoded:
        known = (end for head, end in SIGNATURES.items() if frame.encoded.startswith(head))
        return next(known, ".bin")
    return None if isinstance(frame.pixels, Fault) else ".png"


def kept_pictures(
    event: Event, part: Part, looks: tuple[Look, ...], *, frames: bool
) -> tuple[Picture, ...]:
    """Give the pictures an event names; those of its frames only where they are kept."""
    pictures = []
    for record, frame, look in zip(event.frames, part.frames, looks, strict=True):
        if record.image and frames:
            pictures.append(Picture(record.image, partial(as_captured, frame)))
        if record.overlay:
            pictures.append(Picture(record.overlay, partial(overlay_of, look)))
    return tuple(pictures)


def late_pictures(event: Event, part: Part) -> tuple[Picture, ...]:
    """Give the frames that came after their part's event, which does not name them, by names."""
    return tuple(
        Picture(f"{event.sequence:010d}-{frame.view}-late{suffix}", partial(as_captured, frame))
        for frame in part.frames
        if (suffix := suffix_of(frame)) is not None
    )


def as_captured(frame: Frame) -> bytes:
    """Give the bytes of the kept frame: the file as captured, or the pixels as PNG."""
    if frame.encoded or isinstance(frame.pixels, Fault):
        return frame.encoded or b""
    return encode_picture(frame.pixels)


def overlay_of(look: Look) -> bytes:
    """Draw the overlay of a judged frame, under the verdict it got in the end, as PNG."""
    if look.judge is None or look.judgement is None or look.cut is None:
        raise ValueError("a frame without judgement has no overlay")
    geometry, rule = look.judge.geometry, look.judge.rule
    found = look.recognised.found[:MAX_REGIONS] if look.recognised else ()
    named = [(one.box, f"{one.type} {one.score:.2f}") for one in found]
    judgement = replace(look.judgement, verdict=look.verdict)
    return encode_picture(draw_overlay(look.cut, judgement, geometry, rule, named))
