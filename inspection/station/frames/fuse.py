"""Makes one verdict of what the frames of a part were found to be.

Frames that are FAULT have no map and no say in it, and make their part FAULT as ever. What a guard
raised or an accept rule let pass stays so. A frame that cannot be laid among the others keeps its
own score, which is never lower, and its part is REVIEW at best.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from inspection.core.decision import Judgement, Verdict, decide, severity, smooth
from inspection.core.fusion import (
    MOST_DEFECTS,
    FusedDefect,
    Joined,
    Laid,
    Offset,
    Overlap,
    PartFusion,
    find_defects,
    lay,
)
from inspection.core.geometry import judged_area, roi_px
from inspection.core.imaging import Rgb
from inspection.core.registration import register
from inspection.station.frames.settings import ConveyorSettings, FramesSettings, TilesSettings
from inspection.station.judge import Judge
from inspection.station.look import Look, words_of
from inspection.station.part import Part


@dataclass(frozen=True)
class _Shown:
    """A frame with a map: its place among the part's looks, its number, and what was found."""

    index: int
    number: int
    look: Look
    judge: Judge
    judgement: Judgement
    pixels: Rgb

    @property
    def pitch_px(self) -> tuple[float, float]:
        """Height and width of a cell of its map, px of the frame as judged."""
        top, left, bottom, right = roi_px(self.judge.geometry.roi, *self.pixels.shape[:2])
        rows, columns = self.judgement.score_map.shape
        return (bottom - top) / rows, (right - left) / columns

    @property
    def like(self) -> tuple[object, ...]:
        """What frames must have in common to be laid into one map."""
        return self.judge.bundle_id, self.pixels.shape, self.judgement.score_map.shape

    def laid(self, offset: Offset = (0.0, 0.0)) -> Laid:
        """Smooth its map as its score was, and lay it where it belongs."""
        cells = smooth(self.judgement.score_map, self.judge.rule)
        return Laid(cells, judged_area(cells.shape, self.judge.geometry), offset)


Offsets = dict[str, tuple[tuple[int, float, float], ...]]
Places = dict[int, Offset]  # number → px right and down of the frame of the lowest number


def fuse(
    settings: FramesSettings, part: Part, looks: tuple[Look, ...]
) -> tuple[tuple[Look, ...], PartFusion]:
    """Fuse the frames of one part; whatever goes wrong with that is its FAULT.

    Args:
        settings: which kind, and where frames lie.
        part: its frames carry their numbers.
        looks: what each of them was found to be, in their order; their maps are of one band each
            camera, made for parts of so many frames.

    Returns:
        The looks with the scores and verdicts that hold now, and how they were fused.
    """
    try:
        return _fuse(settings, part, looks)
    except Exception as error:  # noqa: BLE001 - one part's FAULT, recorded
        words = f"frames not fused: {words_of(error)}"
        failed = tuple(replace(look, verdict=Verdict.FAULT, reason=words) for look in looks)
        return failed, _described(settings, part, [words], [], {})


def _fuse(
    settings: FramesSettings, part: Part, looks: tuple[Look, ...]
) -> tuple[tuple[Look, ...], PartFusion]:
    found = list(looks)
    defects: list[FusedDefect] = []
    offsets: Offsets = {}
    doubts = [part.lacking] if part.lacking else []
    for camera in dict.fromkeys(frame.camera for frame in part.frames):
        shown = [one for one in _shown(part, looks) if part.frames[one.index].camera == camera]
        places, doubt = _places(settings, shown)
        if doubt:
            doubts.append(f"{camera}: {doubt}" if camera != part.frames[0].camera else doubt)
        together = [one for one in shown if one.number in places]
        alone = [[one] for one in shown if one.number not in places]
        overlap: Overlap = "mean" if settings.averages else "max"
        for ones in [together] * bool(together) + alone:
            joined = _join(ones, places, overlap)
            seen = _defects(ones, joined, camera)
            defects += seen
            for one, score in zip(ones, joined.scores, strict=True):
                look = _scored(one.look, score) if settings.averages else one.look
                found[one.index] = _held(look, one.number, seen)
        offsets |= {camera: tuple((n, *places[n]) for n in sorted(places))} if places else {}
    return tuple(found), _described(settings, part, doubts, defects, offsets)


def _described(
    settings: FramesSettings,
    part: Part,
    doubts: list[str],
    defects: list[FusedDefect],
    offsets: Offsets,
) -> PartFusion:
    strongest = sorted(defects, key=lambda one: -one.peak)
    return PartFusion(
        kind=settings.fusion.kind,
        frames=len({frame.number for frame in part.frames}),
        wanted=part.wanted,
        lacking="; ".join(doubts),
        offsets_px=offsets,
        defects=tuple(strongest[:MOST_DEFECTS]),
        uncounted=max(0, len(strongest) - MOST_DEFECTS),
    )


def _shown(part: Part, looks: Sequence[Look]) -> list[_Shown]:
    """Give the frames that have a map, by number."""
    shown = [
        _Shown(index, frame.number or 0, look, look.judge, look.judgement, look.cut)
        for index, (frame, look) in enumerate(zip(part.frames, looks, strict=True))
        if look.score is not None and look.judge and look.judgement and look.cut is not None
    ]
    return sorted(shown, key=lambda one: one.number)


def _places(settings: FramesSettings, shown: Sequence[_Shown]) -> tuple[Places, str]:
    """Say where the frames of one camera lie; none for views and what cannot be placed, and why."""
    fusion = settings.fusion
    if not shown or not isinstance(fusion, TilesSettings | ConveyorSettings):
        return {}, ""
    if len({one.like for one in shown}) > 1:
        return {}, "frames of several sizes or bundles, which cannot be laid into one map"
    if isinstance(fusion, ConveyorSettings) and fusion.step_px is None:
        return _registered(shown)
    step = fusion.step_px or (0, 0)
    known = fusion.offsets_px if isinstance(fusion, TilesSettings) else ()
    at = {one.number: one.number - settings.first for one in shown}
    places = {
        number: known[place] if known else (place * step[0], place * step[1])
        for number, place in at.items()
    }
    right, down = places[shown[0].number]
    return {n: (float(x - right), float(y - down)) for n, (x, y) in places.items()}, ""


def _registered(shown: Sequence[_Shown]) -> tuple[Places, str]:
    """Follow the surface from frame to frame; those behind a break begin nothing anew."""
    places: Places = {shown[0].number: (0.0, 0.0)}
    for before, now in pairwise(shown):
        moved = register(before.pixels, now.pixels)
        if moved is None:
            lost = ", ".join(str(one.number) for one in shown if one.number not in places)
            return places, (
                f"frames {lost} were judged alone: frame {now.number} does not show the surface of "
                f"frame {before.number}; check the conveyor, or declare frames.fusion.step_px"
            )
        right, down = places[before.number]
        places[now.number] = (right + moved[0], down + moved[1])
    return places, ""


def _join(ones: Sequence[_Shown], places: Places, overlap: Overlap) -> Joined:
    down_px, right_px = ones[0].pitch_px
    laid = [
        one.laid((right / right_px, down / down_px))
        for one in ones
        for right, down in [places.get(one.number, (0.0, 0.0))]
    ]
    return lay(laid, overlap)


def _defects(ones: Sequence[_Shown], joined: Joined, camera: str) -> list[FusedDefect]:
    above = ones[0].judgement.band.review_above
    if joined.score <= above:
        return []
    return find_defects(
        joined,
        above,
        numbers=[one.number for one in ones],
        pitch_px=ones[0].pitch_px,
        shift=ones[0].judge.geometry.map_shift,
        camera=camera,
    )


def _scored(look: Look, score: float) -> Look:
    """Give a look its fused score, and what follows from it."""
    judgement = look.judgement
    if judgement is None or score == judgement.score:
        return look
    before, after = decide(judgement.score, judgement.band), decide(score, judgement.band)
    verdict = after
    if after is before or severity(look.verdict) < severity(before):  # an accept rule's
        verdict = look.verdict
    elif severity(look.verdict) > severity(before):  # a guard's
        verdict = max(look.verdict, after, key=severity)
    return replace(look, verdict=verdict, judgement=replace(judgement, score=score, verdict=after))


def _held(look: Look, number: int, defects: Sequence[FusedDefect]) -> Look:
    """Take back what accept rules let pass of a defect that reaches beyond its frame.

    They measured a piece of it, which may be small where the whole is not.
    """
    judgement = look.judgement
    if judgement is None or severity(look.verdict) >= severity(judgement.verdict):
        return look
    if not any(number in one.frames and len(one.frames) > 1 for one in defects):
        return look
    words = f"{look.reason}; not accepted: the defect lies on several frames, measured on one"
    return replace(look, verdict=max(look.verdict, Verdict.REVIEW, key=severity), reason=words)


def with_doubt(verdict: Verdict, reason: str, fusion: PartFusion | None) -> tuple[Verdict, str]:
    """Let a part that is not whole be REVIEW at best, and say so."""
    if fusion is None or not fusion.lacking:
        return verdict, reason
    words = f"{fusion.lacking}; {reason}" if reason else fusion.lacking
    return max(verdict, Verdict.REVIEW, key=severity), words
