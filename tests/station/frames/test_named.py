"""Known defects, guards and accept rules on parts of several frames: what fusion may not forget."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspection.core.decision import (
    Defect,
    Defects,
    DefectSize,
    Judgement,
    Verdict,
    decide,
    severity,
)
from inspection.core.errors import OutOfTime
from inspection.core.imaging import Rgb
from inspection.core.known import HoldFrom, Holds
from inspection.core.records import FrameRecord
from inspection.detectors.detections import Detections
from inspection.station.frames.fuse import fuse
from inspection.station.frames.settings import FramesSettings
from inspection.station.judge import Accepted, Seen
from inspection.station.look import Look, look_at
from inspection.station.part import Fault, Frame, Part
from inspection.station.recipes.recognising import MOST_MASKS, Recognition
from inspection.station.settings import GuardSettings
from inspection.station.shadow import _by_score
from tests.station.frames.test_fuse import CELL, CellJudge, run, settings, shot, spotted
from tests.station.rig import part, pixels

pytestmark = pytest.mark.fast
PASS, REVIEW, FAULT, REJECT = Verdict.PASS, Verdict.REVIEW, Verdict.FAULT, Verdict.REJECT
HOLDS = Holds(types={"crack": HoldFrom(review_from=0.3, reject_from=0.8)})
MIDDLE = (24, 24, 40, 40)  # of a frame of 64 px
GUARDS = GuardSettings(frozen="REVIEW")
OVER = FramesSettings.model_validate(
    {"count": 3, "fusion": {"kind": "conveyor", "step_px": [0, 0]}}
)
CARD = SimpleNamespace(name="cells", types=("crack",))


class Naming(CellJudge):
    """Names a crack of some score, or fails; its rules say something of it, or nothing."""

    def __init__(
        self,
        score: float = 0.0,
        *,
        relieved: Verdict | None = None,
        box: tuple[int, int, int, int] = MIDDLE,
        error: Exception | None = None,
        holds: Holds | None = HOLDS,
    ) -> None:
        super().__init__()
        self.relieved = relieved

        def find(_cut: Rgb, _within_s: float | None = None) -> Detections:
            if error is not None:
                raise error
            return Detections(
                np.array([box] if score else [], np.float32).reshape(-1, 4),
                np.array([score] if score else [], np.float32),
                np.zeros(1 if score else 0, np.int64),
            )

        detector = SimpleNamespace(card=CARD, bundle_id="d", find=find)
        self.stage = Recognition(detector, 60.0, 0.0, holds)

    def recognise(
        self,
        cut: Rgb,
        _judgement: Judgement,
        verdict: Verdict,
        left_s: Callable[[], float] | None,
    ) -> Seen | None:
        """Ask the real second stage."""
        return self.stage.see(cut, verdict, left_s)

    def accept(self, cut: np.ndarray, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Accept all, or nothing."""
        before = judgement.verdict
        held = seen.verdict if seen else before
        if self.relieved is None:
            return Accepted(held)
        verdict = self.relieved
        if before is not REJECT:
            verdict = max(before, min(held, verdict, key=severity), key=severity)
        return Accepted(verdict, "accepted by 'small'", relieved=self.relieved)


def fused(*looks: Look, frames: FramesSettings = OVER) -> tuple[Look, ...]:
    """Fuse what frames were found to be."""
    whole = part("a", 0)
    shown = tuple(
        Frame("main", "x", Fault("looked at already"), number=number + 1)
        for number in range(len(looks))
    )
    return fuse(frames, Part(**(vars(whole) | {"frames": shown, "wanted": len(looks)})), looks)[0]


def seen_by(judge: CellJudge, level: int, *, frozen: bool = False) -> Look:
    """Look at a frame of one level."""
    return look_at(pixels(level, (64, 64)), judge, GUARDS, lambda: frozen, measured=False)


KNOWN = {
    "nothing named": ({}, PASS),
    "a faint crack": ({"score": 0.5}, REVIEW),
    "a crack": ({"score": 0.9}, REJECT),
    "late": ({"error": OutOfTime("1 ms")}, REVIEW),
    "failed": ({"error": RuntimeError("graph broke")}, REVIEW),
}


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_said_apart_from_the_score_holds_whatever_the_fused_one_is(known, frozen):
    """Over all own and fused scores: the worst of fused score, guards and second stage."""
    stage, alone = KNOWN[known]
    guarded = REVIEW if frozen else PASS
    reached = set()
    for own, other in product((120, 150, 255), (0, 150, 255)):
        look = seen_by(Naming(**stage), own, frozen=frozen)
        beside = seen_by(CellJudge(), other)
        found, *_ = fused(look, beside, beside)
        mean = (own + 2 * other) / 3 / 255
        score = decide(mean, CellJudge.band)
        reached.add((look.judgement.verdict, score))
        assert found.score == pytest.approx(mean, abs=1e-4)
        assert found.judgement.verdict is score
        assert found.verdict is max(score, guarded, alone, key=severity), (own, other)
        worse = severity(alone) > severity(max(score, guarded, key=severity))
        assert found.recognised.held is worse
        if worse:
            assert any(word in found.reason for word in ("crack 0.", "second stage")), found.reason
        if frozen:
            assert "the same bytes" in found.reason
    assert len(reached) == 9


def test_what_rules_let_pass_stays_so_and_relieves_names_only_of_names():
    """A REJECT they accepted stays accepted; a fused REJECT is not excused by accepted names."""
    for own, other, relieved, wanted in (
        (255, 255, PASS, PASS),
        (255, 0, REVIEW, REVIEW),
        (0, 0, PASS, PASS),
        (0, 0, REVIEW, REVIEW),
        (60, 255, PASS, REVIEW),
    ):
        views = FramesSettings(count=2)
        mean = views.model_copy(update={"fusion": OVER.fusion})
        look = seen_by(Naming(0.9, relieved=relieved), own)
        assert look.relieved is relieved
        [alone] = fused(look, frames=views)
        assert alone.verdict is look.verdict
        # on one place with another frame it may be a piece: REVIEW at best
        found, _ = fused(look, seen_by(CellJudge(), other), frames=mean)
        assert found.verdict is max(wanted, REVIEW, key=severity)


TILES = {"kind": "tiles", "step_px": [0, 4 * CELL]}
BOXES = {
    "within": ((24, 10, 32, 20), PASS),
    "at the edge": ((0, 10, 8, 20), REVIEW),
    "just off it": ((56, 10, 64, 20), REVIEW),
    "where the next tile sees": ((24, 34, 32, 40), REVIEW),
    "into where it sees": ((24, 20, 32, 36), REVIEW),
}


@pytest.mark.parametrize("place", BOXES)
def test_accepted_piece_of_a_known_defect_is_not_accepted(place: str, tmp_path: Path):
    """The score says PASS; what holds the part are names, whose pieces on each tile are small."""
    box, wanted = BOXES[place]
    config = settings(tmp_path, TILES, count=2)
    shots = [shot("a", n, spotted(6, [(0, 0, 40 + n)])) for n in (1, 2)]

    class First(Naming):
        def recognise(self, cut, judgement, verdict, left_s):
            asked = super().recognise(cut, judgement, verdict, left_s)
            return asked if cut[0, 0, 0] == 41 else None

    [event] = run(config, *shots, judge=First(0.9, relieved=PASS, box=box))
    assert event.verdict is wanted, event.reason
    assert ("measured on one" in event.reason) is (wanted is REVIEW)
    assert event.frames[0].recognised.held is (wanted is REVIEW)
    views = settings(tmp_path / "v", count=2)
    [event] = run(views, *shots, judge=First(0.9, relieved=PASS, box=box))
    assert event.verdict is PASS  # other surfaces: nothing goes on beyond


@pytest.mark.parametrize(("x_px", "wanted"), [(30.0, PASS), (3.0, REVIEW)])
def test_accepted_piece_of_a_defect_the_map_outlines_is_not_accepted(x_px, wanted):
    """It reaches the edge of its tile, where the next one may not see it by its score."""
    size = DefectSize(area_px=40, length_px=8.0, width_px=5.0, x_px=x_px, y_px=30.0)
    tiles = FramesSettings.model_validate(
        {"count": 2, "fusion": {"kind": "tiles", "step_px": [64, 0]}}
    )
    look = replace(
        seen_by(Naming(relieved=PASS), 255),
        defects=Defects(found=(Defect(size=size, peak=1.0, trusted=True),)),
    )
    [found] = fused(look, frames=tiles)
    assert (look.verdict, found.verdict) == (PASS, wanted)


@pytest.mark.parametrize("score", [0.0, 0.5, 0.9])
def test_champion_of_the_shadow_keeps_its_guards(score: float):
    """A challenger is held against score and guards, whatever known defects held."""
    look = seen_by(Naming(score), 40, frozen=True)
    decided = FrameRecord.model_construct(recognised=look.recognised, verdict=look.verdict)
    assert _by_score(decided, look) is REVIEW
    plain = seen_by(Naming(score), 40)
    decided = FrameRecord.model_construct(recognised=plain.recognised, verdict=plain.verdict)
    assert _by_score(decided, plain) is PASS


def test_second_stage_that_fails_behind_its_graph_is_failed_and_the_station_goes_on(tmp_path: Path):
    """A type beyond its list, an object that cannot be drawn: recorded, never the loop's end."""
    judge = Naming(0.9)
    judge.stage.detector.find = lambda *_: Detections(
        np.array([MIDDLE], np.float32), np.ones(1, np.float32), np.array([7])
    )
    look = seen_by(judge, 40)
    assert (look.verdict, look.recognised.status) == (REVIEW, "failed")
    assert "IndexError" in look.reason


def test_whatever_a_look_raises_is_its_fault(tmp_path: Path):
    """Also behind the score; the part has its event and the next one is judged."""

    class Broken(CellJudge):
        def recognise(self, cut, judgement, verdict, left_s):
            raise MemoryError("no room")

    config = settings(tmp_path, count=2)
    shots = [shot("a", n, spotted(6, [(0, 0, 40 + n)])) for n in (1, 2)]
    [event] = run(config, *shots, judge=Broken())
    assert event.verdict is FAULT
    assert "no room" in event.reason


def test_masks_of_a_part_have_room_together():
    """An event of many frames is not longer than outputs take."""
    shown = np.random.default_rng(0).random((64, 64)) > 0.5
    judge = Naming(0.9)
    found = Detections(
        np.array([(0, 0, 64, 64)], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        (shown,),
    )
    judge.stage.detector.find = lambda *_: found
    roomy, narrow = judge.stage, replace(judge.stage, room=MOST_MASKS // 256)
    masks = [one.see(shown, PASS, None).recognised.found[0].mask for one in (roomy, narrow)]
    assert masks[0]
    assert masks[1] is None
