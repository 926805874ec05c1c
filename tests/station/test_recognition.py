"""The second stage at a station: names, the OR rule, its time, and accept rules with types."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inspection.bench.cells import make_detector
from inspection.bundles.bundle import open_bundle
from inspection.bundles.overlay import NAMED, encode_picture
from inspection.core.config import parse_config
from inspection.core.decision import Band, Verdict
from inspection.core.errors import BundleError, ConfigError, OutOfTime
from inspection.core.geometry import Roi
from inspection.core.heat import Heat
from inspection.core.imaging import Rgb, decode_image
from inspection.core.known import Holds, Named
from inspection.core.records import Event, FrameRecord
from inspection.detectors.detector import Detector, open_detector
from inspection.masks.refine import Outline, Refined
from inspection.station.frames.settings import FramesSettings
from inspection.station.judge import Object
from inspection.station.look import look_at, overlay_of
from inspection.station.recipes.joining import join
from inspection.station.recipes.opening import open_recipes
from inspection.station.recipes.recognising import MOST_LISTED, MOST_MASKS, Recognition
from inspection.station.recognition import RecognitionSettings
from inspection.station.replay import replay
from inspection.station.service import serve
from inspection.station.settings import GuardSettings, StationConfig
from tests.station.bundles import make_bundle
from tests.station.rig import configure, recorded
from tests.station.sources.files import put

PASS, REVIEW, REJECT = Verdict.PASS, Verdict.REVIEW, Verdict.REJECT
TRUSTING = {
    "segmenter": "grabcut",
    **{"growth": 100.0, "agreement": 0.0, "cover": 0.0, "contrast": 0.0},
}
DARK = (20, 20, 20)
RED = (255, 60, 40)  # the map sees it, no type has it
RED_PORE, RED_CRACK = (255, 200, 40), (255, 60, 200)  # both see it
PORE, CRACK = (20, 200, 20), (20, 20, 230)  # the detector alone does
ONE, OTHER, THIRD = (32, 16, 48, 32), (96, 32, 112, 48), (64, 48, 80, 64)  # cells of both
PORES = {"name": "pores", "types": ["pore"], "area_below": 1.0, "then": "PASS"}


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def frame(*spots: tuple[tuple[int, int, int], tuple[int, int, int, int]]) -> Rgb:
    """Draw spots of a colour on a dark 64×128 frame."""
    drawn = np.full((64, 128, 3), DARK, np.uint8)
    for colour, (x0, y0, x1, y1) in spots:
        drawn[y0:y1, x0:x1] = colour
    return drawn


def station(folder: Path, *rules: dict, masks: bool = True, recipe: object = None, **recognition):
    """Configure a station with a second stage, at 0.05 mm per px."""
    if not (folder / "bundle").exists():
        make_bundle(folder / "bundle")
        make_detector(folder / "detector", masks=masks)
    (folder / "in").mkdir(exist_ok=True)
    camera = {
        "bundle": folder / "bundle",
        "mm_per_px": 0.05,
        "accept": rules,
        "refine": TRUSTING,
        **(recipe or {}),
    }
    # slow machines are no matter here
    wanted = {"detector": folder / "detector", "budget_ms": 20_000, **recognition}
    return configure(folder, recipes={"default": {"main": camera}}, recognition=wanted)


def judged(config: StationConfig, **parts: Rgb) -> dict[str, Event]:
    """Run a station over these frames and give the event of each."""
    for name, shown in parts.items():
        put(config.source.path, f"{name}.png", encode_picture(shown))
    serve(config)
    return {one.part_id: one for one in recorded(config)}


def look(config: StationConfig, shown: Rgb):
    """Look at one frame as the station does, without a deadline."""
    return look_at(shown, open_recipes(config).of("default")["main"], GuardSettings(frozen="off"))


class Failing(Detector):
    """Finds nothing, because it fails."""

    def __init__(self, error: Exception, card) -> None:
        self.error, self.card, self.bundle_id = error, card, "failing"

    def find(self, _pixels, _within_s=None):
        """Fail."""
        raise self.error


def test_what_is_held_gets_names(tmp_path: Path):
    """Type, score, box and mask of each object; a PASS is not looked at, and no verdict changes."""
    config = station(tmp_path)
    events = judged(
        config, good=frame((PORE, ONE)), bad=frame((RED_PORE, ONE), (PORE, OTHER), (CRACK, THIRD))
    )
    assert events["good"].verdict is PASS
    assert events["good"].deciding.recognised is None
    assert (events["bad"].verdict, events["bad"].reason) == (REJECT, "")
    said = events["bad"].deciding.recognised
    assert (said.detector, said.status, said.held) == ("cells", "done", False)
    assert said.detector_id == open_detector(tmp_path / "detector").bundle_id
    assert said.counts == {"pore": 2, "crack": 1}
    crack, first, second = said.found
    assert (crack.type, crack.score, crack.box) == (
        "crack",
        pytest.approx(230 / 255, abs=1e-4),
        THIRD,
    )
    assert {first.box, second.box} == {ONE, OTHER}
    mask = decode_image(base64.b64decode(first.mask), "mask")[:, :, 0]
    assert (mask.shape, set(np.unique(mask)), first.area_px) == ((16, 16), {255}, 256)


def test_known_defects_hold_what_scores_low(tmp_path: Path):
    """By default REVIEW; by a type's own scores REJECT; the reason names them."""
    config = station(tmp_path, on="all", holds={"types": {"crack": {"reject_from": 0.8}}})
    events = judged(config, good=frame(), pore=frame((PORE, ONE)), crack=frame((CRACK, ONE)))
    assert [events[name].verdict for name in ("good", "pore", "crack")] == [PASS, REVIEW, REJECT]
    assert events["pore"].reason == "known defects: pore 0.78"
    assert events["crack"].deciding.recognised.held
    good = events["good"].deciding.recognised
    assert (good.status, good.found, good.held) == ("done", (), False)
    assert events["crack"].deciding.score < events["crack"].deciding.band.review_above


@pytest.mark.parametrize(("share", "status"), [(0.0, "done"), (0.75, "done"), (0.76, "skipped")])
def test_only_frames_as_unusual_as_most_normals_are_looked_at(share, status, tmp_path: Path):
    """A defect on a frame that scores like a usual normal is not named; one that is held is."""
    judge = open_recipes(station(tmp_path, on="all", above_normals=share)).of("default")["main"]
    shown, guards = frame((PORE, ONE)), GuardSettings(frozen="off")
    score = look_at(shown, judge, guards).judgement.score
    # three of four normals score no higher
    judge = with_normals(judge, score - 2, score - 1, score, score + 1)
    seen = look_at(shown, judge, guards)
    assert seen.recognised.status == status
    assert seen.verdict is (REVIEW if status == "done" else PASS)
    held = judge.recognition.see(shown, REVIEW, None, usual=True)
    assert held.recognised.counts == {"pore": 1}, "what guards hold is named however usual"


@pytest.mark.parametrize("case", ["no normals", "thresholds", "exclude", "roi"])
def test_where_usual_says_nothing_every_frame_is_looked_at(case, tmp_path: Path, caplog):
    """The score knows nothing of areas left out; below the thresholds there may be no normal."""
    judge = open_recipes(station(tmp_path, on="all", above_normals=0.5)).of("default")["main"]
    shown, guards = frame((PORE, ONE)), GuardSettings(frozen="off")
    score = look_at(shown, judge, guards).judgement.score
    judge = with_normals(judge, *([score + 1] * 9 if case != "no normals" else ()))
    areas = {"exclude": (((0, 0), (1, 0), (1, 0.1)),), "roi": Roi(bottom=0.9)}
    if case == "thresholds":
        judge = replace(judge, band=Band(review_above=score + 1, reject_above=score + 5))
    elif case in areas:
        geometry = judge.geometry.model_copy(update={case: areas[case]})
        judge.bundle.card = judge.bundle.card.model_copy(update={"geometry": geometry})
    assert look_at(shown, judge, guards).verdict is REVIEW
    assert "every frame is looked at for known defects" in caplog.text


def with_normals(judge, *scores: float):
    """Give the same judge whose bundle has seen these normals, its thresholds far above."""
    judge.bundle.card = judge.bundle.card.model_copy(update={"calibrate_scores": scores})
    top = max(scores, default=0) + 100
    return replace(judge, band=Band(review_above=top, reject_above=top))


def test_what_is_looked_at_anyway_needs_no_share():
    """On: held looks at no frame that passes."""
    with pytest.raises(ValueError, match="above_normals says which frames that pass"):
        RecognitionSettings(detector="d", on="held", above_normals=0.5)


@pytest.mark.parametrize(
    ("error", "status"),
    [(OutOfTime("no answer within 1 ms"), "late"), (RuntimeError("graph broke"), "failed")],
)
@pytest.mark.parametrize("on", ["held", "all"])
def test_without_an_answer_nothing_gets_better(on, error, status, tmp_path: Path):
    """A PASS that was to be looked at is REVIEW; a REJECT stays one, whatever its rules say."""
    rules = ({"name": "all small", "area_below": 100.0, "then": "PASS"},)
    judge = open_recipes(station(tmp_path, *rules, on=on)).of("default")["main"]
    card = judge.recognition.detector.card
    failing = Recognition(Failing(error, card), 1.0, 0.1, Holds() if on == "all" else None)
    blind = type(judge)(judge.bundle, judge.roi, judge.band, judge.acceptance, failing)
    guards = GuardSettings(frozen="off")
    passed, rejected = (look_at(one, blind, guards) for one in (frame(), frame((RED, ONE))))
    assert passed.verdict is (REVIEW if on == "all" else PASS)
    if on == "all":
        assert "nobody looked for known defects: the second stage" in passed.reason
        assert str(error) in passed.reason
        assert passed.recognised.held
    else:
        assert passed.recognised is None
    assert (rejected.verdict, rejected.recognised.status) == (REJECT, status)
    assert str(error) in rejected.recognised.reason
    assert look_at(frame((RED, ONE)), judge, guards).verdict is PASS  # with an answer


def test_masks_take_no_more_time_than_there_is(tmp_path: Path, monkeypatch):
    """Drawing many on a large frame takes longer than the graph; a part would be FAULT for it."""
    detector = open_detector(make_detector(tmp_path / "detector"))

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 0.1
            return self.now

    shown = frame((PORE, ONE), (PORE, OTHER), (PORE, THIRD))
    monkeypatch.setattr("inspection.detectors.detector.time", Clock())
    assert len(detector.find(shown, 10.0)) == 3
    with pytest.raises(OutOfTime, match="before all masks were drawn"):
        detector.find(shown, 0.35)


def test_more_objects_than_a_detector_tells_of_pass_nothing(tmp_path: Path):
    """One that it left out may be a crack: no PASS, and no accept rule relieves the frame."""
    rules = ({"name": "all small", "area_below": 100.0, "then": "PASS"},)
    judge = open_recipes(station(tmp_path, *rules, on="all")).of("default")["main"]
    detector, limits = judge.recognition.detector, judge.recognition.detector.card.limits
    guards = GuardSettings(frozen="off")
    shown = frame((RED_PORE, ONE), (PORE, OTHER))
    for most, verdict, status in ((2, PASS, "done"), (1, REJECT, "failed")):
        few = detector.with_limits(limits.model_copy(update={"most": most}))
        stage = replace(judge.recognition, detector=few)
        told = type(judge)(judge.bundle, judge.roi, judge.band, judge.acceptance, stage)
        looked = look_at(shown, told, guards)
        assert (looked.verdict, looked.recognised.status) == (verdict, status)
    assert looked.recognised.reason == "there are more objects than the detector tells of, 1"
    assert looked.recognised.counts == {"pore": 1}
    unsure = replace(stage, holds=Holds(review_from=None))
    seen = unsure.see(frame((PORE, ONE), (PORE, OTHER)), PASS, None)
    assert (seen.verdict, seen.recognised.alone, seen.is_blind) == (REVIEW, REVIEW, True)
    crack = replace(stage, holds=Holds(reject_from=0.5))
    assert crack.see(frame((PORE, ONE), (CRACK, OTHER)), PASS, None).verdict is REJECT


def test_what_is_left_of_the_deadline_is_its_time(tmp_path: Path):
    """With a tenth of the deadline kept for what follows; where nothing is left nobody is asked."""
    asked = []

    class Timed(Failing):
        def find(self, pixels, within_s=None):
            asked.append(within_s)
            return detector.find(pixels)

    detector = open_detector(make_detector(tmp_path / "detector"))
    stage = Recognition(Timed(ValueError(), detector.card), 0.5, 0.1, Holds())
    for left_s in (9.0, 0.4):
        assert stage.see(frame(), PASS, lambda left_s=left_s: left_s).verdict is PASS
    assert asked == [0.5, pytest.approx(0.3)]
    assert stage.see(frame(), PASS, None).verdict is PASS  # no line waits
    assert asked.pop() is None
    seen = stage.see(frame(), PASS, lambda: 0.05)
    assert (len(asked), seen.verdict, seen.recognised.status) == (2, REVIEW, "late")
    assert "nothing was left of the deadline" in seen.reason


RULED = {  # spots, rules, and what becomes of the frame
    "a pore within bounds": ([(RED_PORE, ONE)], [PORES], PASS),
    "no type known of it": ([(RED, ONE)], [PORES], REJECT),
    "another type": ([(RED_CRACK, ONE)], [PORES], REJECT),
    "one known, one unknown": ([(RED_PORE, ONE), (RED, OTHER)], [PORES], REJECT),
    "a pore, and a crack only the detector sees": (
        [(RED_PORE, ONE), (CRACK, OTHER)],
        [PORES],
        REJECT,
    ),
    "the same, both accepted": (
        [(RED_PORE, ONE), (CRACK, OTHER)],
        [PORES, {"name": "cracks", "types": ["crack"], "then": "REVIEW"}],
        REVIEW,
    ),
    "cracks never, any speck": (
        [(RED_CRACK, ONE)],
        [
            {"name": "no cracks", "types": ["crack"], "then": "REJECT"},
            {"name": "specks", "area_below": 1.0, "then": "PASS"},
        ],
        REJECT,
    ),
    "any speck, of no type": (
        [(RED, ONE)],
        [
            {"name": "no cracks", "types": ["crack"], "then": "REJECT"},
            {"name": "specks", "area_below": 1.0, "then": "PASS"},
        ],
        PASS,
    ),
    "too large": ([(RED_PORE, ONE)], [PORES | {"area_below": 0.1}], REJECT),
    "as many as may be": (
        [(RED_PORE, ONE), (PORE, OTHER)],
        [PORES | {"most": 2}],
        PASS,
    ),
    "one too many": ([(RED_PORE, ONE), (PORE, OTHER)], [PORES | {"most": 1}], REJECT),
    "two in one outline": (
        [(RED_PORE, (32, 16, 64, 32))],
        [PORES | {"most": 1}],
        REJECT,
    ),
}


@pytest.mark.parametrize("name", RULED)
@pytest.mark.parametrize("on", ["held", "all"])
def test_rules_with_types_accept_what_is_known_of_these(name: str, on: str, tmp_path: Path):
    """All that either stage sees has to be accepted; what nobody can name is by no type's rule."""
    spots, rules, verdict = RULED[name]
    found = look(station(tmp_path, *rules, on=on), frame(*spots))
    assert (found.verdict, found.judgement.verdict) == (verdict, REJECT), found.reason


def test_defects_say_what_is_known_of_them(tmp_path: Path):
    """An outline its types; what the detector alone sees is a defect of its own; the rest none."""
    found = look(
        station(tmp_path, PORES), frame((RED_PORE, ONE), (RED, OTHER), (CRACK, THIRD))
    ).defects.found
    assert sorted(one.types for one in found) == [(), ("crack",), ("pore",)]
    (crack,) = (one for one in found if one.types == ("crack",))
    assert (crack.size.area_px, crack.size.x_px, crack.trusted) == (256, 72.0, True)


def test_rules_relieve_what_known_defects_hold(tmp_path: Path):
    """A pore that the product may have is none to hold a part for; a crack beside it is."""
    config = station(tmp_path, PORES, on="all")
    relieved, held = (look(config, frame(*one)) for one in ([(PORE, ONE)], [(CRACK, ONE)]))
    assert relieved.verdict is PASS
    assert relieved.reason == "known defects: pore 0.78; accepted by 'pores'"
    assert not relieved.recognised.held
    assert (relieved.relieved, relieved.alone) == (PASS, PASS)
    assert (held.verdict, held.recognised.held) == (REVIEW, True)
    assert (held.relieved, held.alone) == (None, REVIEW)
    both = look(config, frame((PORE, ONE), (CRACK, OTHER)))
    assert (both.verdict, len(both.defects.found)) == (REVIEW, 2)


def test_boxes_alone_are_no_sizes_to_pass_by(tmp_path: Path):
    """Without masks a defect only the detector sees becomes REVIEW at best, as a coarse outline."""
    config = station(tmp_path, PORES, masks=False, on="all")
    found = look(config, frame((PORE, ONE)))
    assert found.verdict is REVIEW
    assert "'pores' would accept it, but 1 of 1 outlines are coarse" in found.reason
    assert found.recognised.found[0].mask is None


def test_a_box_beside_what_the_map_outlines_is_not_told_by_it():
    """It lies in the outline's box, not on the outline: else the crack would vanish."""
    diagonal = np.eye(32, dtype=np.bool_)
    outline = Outline((0, 0, 32, 32), diagonal, peak=1.0, trusted=True)
    heat = Heat(np.zeros((4, 4), np.float32), (0, 0, 64, 64), (0.0, 0.0))

    def boxed(kind: str, box: tuple[int, int, int, int]) -> Object:
        every = np.ones((box[3] - box[1], box[2] - box[0]), np.bool_)
        return Object(Named(type=kind, score=0.9, box=box, area_px=1), every, drawn=False)

    scratch, crack = boxed("scratch", (0, 0, 32, 32)), boxed("crack", (22, 2, 30, 10))
    found = join(Refined((outline,), 0), (scratch, crack), heat, 10).found
    assert [(one.types, one.trusted) for one in found] == [
        (("scratch",), True),
        (("crack",), False),
    ]
    on_it = boxed("crack", (8, 8, 16, 16))
    assert join(Refined((outline,), 0), (scratch, on_it), heat, 10).found[0].types == (
        "crack",
        "scratch",
    )


def test_the_overlay_shows_the_verdict_and_the_names(tmp_path: Path):
    """Not the PASS of its score; each object is framed in the colour of names."""
    found = look(station(tmp_path, on="all"), frame((CRACK, ONE)))
    drawn = decode_image(overlay_of(found), "overlay")
    plain = decode_image(overlay_of(replace(found, recognised=None)), "overlay")
    passed = decode_image(overlay_of(replace(found, verdict=PASS)), "overlay")
    marked = (drawn == np.array(NAMED)).all(axis=2)
    assert marked.sum() > 100
    assert not (plain == np.array(NAMED)).all(axis=2).any()
    assert found.verdict is REVIEW
    assert (drawn != passed).any()


def test_the_snapshot_says_who_names_defects(tmp_path: Path):
    """With the id of its seal; empty where nobody does."""
    config = station(tmp_path)
    (status,) = open_recipes(config).statuses()
    detector_id = open_detector(tmp_path / "detector").bundle_id
    assert status.detector == f"cells {detector_id[:12]}"
    without = config.model_copy(update={"recognition": None})
    (status,) = open_recipes(without).statuses()
    assert status.detector == ""


def test_an_event_stays_small(tmp_path: Path):
    """All are counted, the surest are listed, and masks take no more than their room."""
    detector = open_detector(make_detector(tmp_path / "detector"))
    cells = [(x, y, x + 16, y + 16) for x in range(0, 128, 16) for y in range(0, 64, 16)]
    shown = frame(*((PORE, cell) for cell in cells))
    stage = Recognition(detector, 10.0, 0.0, Holds())
    said = stage.see(shown, PASS, None).recognised
    assert said.counts == {"pore": 32}
    assert len(said.found) == 32
    each = len(said.found[0].mask)
    few = replace(stage, listed=5, room=2 * each).see(shown, PASS, None).recognised
    assert few.counts == {"pore": 32}
    assert [one.mask is None for one in few.found] == [False, False, True, True, True]
    assert (stage.listed, stage.room) == (MOST_LISTED, MOST_MASKS)


WRONG = {
    "unknown in holds": (
        {"on": "all", "holds": {"types": {"dent": {}}}},
        (),
        "recognition.holds.types: names 'dent', which detector 'cells' does not know; wanted "
        "some of pore, crack",
    ),
    "a score it never tells of": (
        {"on": "all", "holds": {"types": {"crack": {"review_from": 0.15}}}},
        (),
        "recognition.holds.types.crack.review_from: 0.15, but detector 'cells' tells of objects "
        "from a score of 0.25",
    ),
    "unknown in a rule": (
        {},
        ({"name": "dents", "types": ["dent"]},),
        "accept rule 'dents': names 'dent'",
    ),
    "another signer": ({}, (), "trusted"),
    "no detector": ({"detector": Path("nowhere")}, (), "no detector.json here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_second_stage_that_cannot_be_is_refused_at_the_start(name: str, tmp_path: Path):
    """With what it is, what was found and what is known."""
    changes, rules, said = WRONG[name]
    config = station(tmp_path, *rules, **changes)
    if name == "another signer":
        config = config.model_copy(update={"trusted_keys": ("0" * 64,)})
    with pytest.raises(BundleError, match=re.escape(said)):
        open_recipes(config)


def test_a_detector_too_slow_for_its_budget_is_refused(tmp_path: Path, monkeypatch):
    """For every part would come late, and be held."""

    class Clock:
        now = 0.0

        def monotonic(self) -> float:
            self.now += 0.6
            return self.now

    config = station(tmp_path, budget_ms=500)
    monkeypatch.setattr("inspection.station.recipes.recognising.time", Clock())
    with pytest.raises(BundleError, match="takes 600 ms on this machine at its fastest"):
        open_recipes(config)
    open_recipes(config, at_desk=True)  # where no line waits


SETTINGS = {
    "types without a detector": (
        "recipes: {default: {main: {accept: [{name: x, types: [crack]}]}}}",
        "name types, but nothing names defects",
    ),
    "holds of what is held": (
        "recognition: {detector: d, holds: {review_from: 0.3}}",
        "set on: all, or leave holds out",
    ),
    "no time for the score": (
        "recognition: {detector: d, budget_ms: 1000}",
        "budget_ms 1000 for each of 1 × 1 frames on 1 at once is no less than the 900 ms",
    ),
    "no time for the scores of all frames": (
        "recognition: {detector: d, budget_ms: 120}\nframes: {count: 8}\n"
        "source: {kind: push, token_file: push.token}\nweb: {port: 8090}",
        "budget_ms 120 for each of 1 × 8 frames on 1 at once is no less than the 900 ms",
    ),
    "released unseen": (
        "recognition: {detector: d, on: all}\nactions: {review: release}\n"
        "guards: {exposure: off, focus: off}",
        "actions.review is release and recognition looks at all frames",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_contradict_each_other_are_refused(name: str):
    """Before anything is opened."""
    text, said = SETTINGS[name]
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_config(text, StationConfig, "station.yaml")


def test_frames_of_a_part_share_the_room_of_its_event(tmp_path: Path):
    """However many they are, an event does not become too long for its outputs."""
    config = station(tmp_path, on="all")
    for count in (2, 256):
        several = config.model_copy(update={"frames": FramesSettings(count=count)})
        stage = open_recipes(several).of("default")["main"].recognition
        assert stage.room == MOST_MASKS // count
        assert count * stage.listed <= 400
    assert open_recipes(config).of("default")["main"].recognition.room == MOST_MASKS


def test_each_recipe_may_have_its_own(tmp_path: Path):
    """Its block in place of the station's; one detector is opened once for all."""
    config = station(tmp_path, on="all")
    own = config.recognition.model_copy(update={"on": "held"})
    main = config.recipes["default"]["main"]
    recipes = {
        "default": {"main": main},
        "bolt": {"main": main.model_copy(update={"recognition": own})},
    }
    opened = open_recipes(config.model_copy(update={"recipes": recipes}))
    judges = [opened.of(name)["main"] for name in ("default", "bolt")]
    assert [one.recognition.holds is None for one in judges] == [False, True]
    assert judges[0].recognition.detector is judges[1].recognition.detector


def test_a_newer_bundle_keeps_the_second_stage(tmp_path: Path):
    """It belongs to the recipe, as its accept rules do."""
    recipes = open_recipes(station(tmp_path))
    before = recipes.of("default")["main"]
    newer = make_bundle(tmp_path / "newer", day=1)
    recipes.swap("redness", open_bundle(newer))
    after = recipes.of("default")["main"]
    assert after.bundle_id != before.bundle_id
    assert after.recognition is before.recognition


def test_several_frames_at_once_have_a_copy_each(tmp_path: Path):
    """In throughput mode as many as there are threads."""
    config = station(tmp_path)
    several = config.model_copy(
        update={"inference": config.inference.model_copy(update={"mode": "throughput"})}
    )
    copies = [
        open_recipes(one).of("default")["main"].recognition.detector.copies
        for one in (config, several)
    ]
    assert copies == [1, config.inference.threads]


def test_replay_looks_again(tmp_path: Path):
    """A detector that is added later says what it would have held."""
    plain = station(tmp_path).model_copy(update={"recognition": None})
    keeping = plain.model_copy(
        update={"spool": plain.spool.model_copy(update={"keep_images": tuple(Verdict)})}
    )
    assert judged(keeping, pore=frame((PORE, ONE)))["pore"].verdict is PASS
    (changed,) = replay(station(tmp_path, on="all"), bundle=None, band=None).changed
    assert (changed.then, changed.now) == (PASS, REVIEW)
    assert changed.reason == "known defects: pore 0.78"


def test_events_without_a_second_stage_are_read():
    """As they were written before there was one."""
    text = FrameRecord(
        camera="main",
        source="a.png",
        source_sha256="",
        bundle_id="b",
        band=None,
        verdict=PASS,
        score=0.1,
        reason="",
    ).model_dump_json(exclude={"recognised"})
    assert FrameRecord.model_validate_json(text).recognised is None


def test_examples_of_the_documentation_load():
    """The second stage and the rules with types of docs/station.md, as they stand."""
    page = (Path(__file__).parents[2] / "docs/station.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (stage,) = (block for block in blocks if block.startswith("recognition:"))
    holds = parse_config(stage, StationConfig, "station.md").recognition.holding
    assert (holds.of("crack").reject_from, holds.of("stain").review_from) == (0.8, None)
    assert (holds.of("pore").review_from, holds.of("pore").reject_from) == (0.5, None)
    (rules,) = (block for block in blocks if "types: [crack]" in block)
    recipe = parse_config(rules, StationConfig, "station.md").recipes["default"]["main"]
    assert [(one.types, one.then) for one in recipe.accept] == [
        (("crack",), REJECT),
        (("blowhole",), PASS),
    ]
