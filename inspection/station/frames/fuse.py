"""Makes one verdict of what the frames of a part were found to be.

Frames that are FAULT have no map and no say in it, and make their part FAULT as ever. What guards
and known defects hold, and what an accept rule let pass, stays so whatever the fused score is. A
frame that cannot be laid among the others keeps its own score, which is never lower, and its part
is REVIEW at best.
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

EDGE = 0.01  # of a frame's side: what lies so near to it may go on beyond
PIECE = "not accepted: the defect may lie on several frames, measured on one"


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


Box = tuple[float, float, float, float]  # x0, y0, x1, y1, px of what was judged
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
                fused = score if settings.averages else one.judgement.score
                whole = not settings.in_pieces or _is_whole(one, ones, places, seen)
                found[one.index] = _judged(one.look, one.judgement, fused, whole=whole)
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


def _judged(look: Look, judgement: Judgement, score: float, *, whole: bool) -> Look:
    """Give a look its fused score and what follows from it: the worst of all that was said of it.

    Guards and known defects hold whatever the score is. What accept rules let pass stays so, but
    is REVIEW at best where they may have measured a piece.
    """
    after = judgement.verdict
    if score != judgement.score:
        after = decide(score, judgement.band)
    by_score, alone, reason = after, look.alone, look.reason
    if look.relieved is not None:
        excused = judgement.verdict is Verdict.REJECT  # else rules measured known defects only
        by_score = look.relieved if excused else after
        if not whole:
            reason = f"{reason}; {PIECE}"
            if excused:
                by_score = _worst(by_score, Verdict.REVIEW)
            if look.held_by:
                alone = _worst(alone, Verdict.REVIEW)
    others = _worst(by_score, look.doubted)
    verdict = _worst(others, alone)
    held = verdict is not others
    if held and look.held_by and look.held_by not in reason:
        reason = "; ".join(filter(None, (reason, look.held_by)))
    recognised = look.recognised and look.recognised.model_copy(
        update={"held": held, "alone": alone}
    )
    judgement = replace(judgement, score=score, verdict=after)
    return replace(look, verdict=verdict, reason=reason, recognised=recognised, judgement=judgement)


def _worst(*verdicts: Verdict) -> Verdict:
    return max(verdicts, key=severity)


def _is_whole(
    one: _Shown, others: Sequence[_Shown], places: Places, defects: Sequence[FusedDefect]
) -> bool:
    """Say whether all that accept rules measured on a frame lies within it, and nowhere else.

    What touches an edge, or lies where another frame sees, may be a piece, small where the whole is
    not, or counted twice.
    """
    if any(one.number in defect.frames and len(defect.frames) > 1 for defect in defects):
        return False
    height, width = one.pixels.shape[:2]
    right, down = places.get(one.number, (0.0, 0.0))
    seen = [
        (x - right, y - down, x - right + width, y - down + height)
        for other in others
        if other.number in places and other.number != one.number
        for x, y in [places[other.number]]
    ]
    edge_x, edge_y = EDGE * width, EDGE * height
    return all(
        edge_x < box[0]
        and edge_y < box[1]
        and box[2] < width - edge_x
        and box[3] < height - edge_y
        and not any(_meet(box, other) for other in seen)
        for box in _measured(one.look)
    )


def _measured(look: Look) -> list[Box]:
    """Give where the rules measured: boxes of named objects, and those around measured defects."""
    named = [one.box for one in look.recognised.found] if look.recognised else []
    sizes = [one.size for one in look.defects.found] if look.defects else []
    around = [
        (size.x_px - reach, size.y_px - reach, size.x_px + reach, size.y_px + reach)
        for size in sizes
        for reach in [size.length_px / 2]  # whichever way it lies
    ]
    return [*named, *around]


def _meet(box: Box, other: Box) -> bool:
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def with_doubt(verdict: Verdict, reason: str, fusion: PartFusion | None) -> tuple[Verdict, str]:
    """Let a part that is not whole be REVIEW at best, and say so."""
    if fusion is None or not fusion.lacking:
        return verdict, reason
    words = f"{fusion.lacking}; {reason}" if reason else fusion.lacking
    return max(verdict, Verdict.REVIEW, key=severity), words
