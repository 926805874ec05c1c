"""What a band would lead to: each frame decided again, the last parts, the shift foretold."""

import pytest

from inspection.core.decision import Band, Verdict
from inspection.hub import preview
from inspection.hub.asking import Refused
from inspection.hub.deciding import JudgedFrame, JudgedPart, SecondStage, decide_again
from inspection.hub.preview import foresee_consequences
from inspection.hub.wire.people import Role
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import Asked, Costs
from tests.hub.parts import part, store
from tests.hub.scored import BUNDLE, add_card, review

LINE = "line-1"
OLD = Band(review_above=1.0, reject_above=2.0)
LOW, HIGH = Band(review_above=0.5, reject_above=0.8), Band(review_above=3.0, reject_above=4.0)
PASS, REVIEW, REJECT, FAULT = Verdict


def frame(camera, score, verdict, bundle_id=BUNDLE):
    return JudgedFrame(
        camera=camera, bundle_id=bundle_id, band=OLD, verdict=verdict, score=score, image=None
    )


def again(band, *frames, verdict=None):
    worst = max((one.verdict for one in frames), key=(PASS, REVIEW, FAULT, REJECT).index)
    scores = {one.camera: one.score for one in frames if one.bundle_id == BUNDLE}
    return decide_again(JudgedPart(verdict=verdict or worst, frames=frames), band, scores, BUNDLE)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("band", "frames", "would_be"),
    [
        (LOW, [frame("a", 0.7, PASS)], REVIEW),
        (HIGH, [frame("a", 2.5, REJECT)], PASS),
        (HIGH, [frame("a", 1.5, REVIEW), frame("b", 5.0, REJECT)], REJECT),
        (LOW, [frame("a", 0.1, PASS), frame("b", 0.9, PASS)], REJECT),
        (LOW, [frame("a", 0.1, PASS), frame("b", 0.9, PASS, "c" * 64)], PASS),
        (LOW, [frame("a", None, FAULT)], FAULT),
        (HIGH, [frame("a", None, FAULT), frame("b", 1.5, REVIEW)], FAULT),
        (LOW, [frame("a", 2.5, PASS)], PASS),
        (HIGH, [frame("a", 2.5, PASS)], PASS),
        (LOW, [frame("a", 1.5, PASS)], REJECT),
        (HIGH, [frame("a", 0.1, REVIEW)], REVIEW),
        (LOW, [frame("a", 0.7, REVIEW)], REVIEW),
        (HIGH, [frame("a", 1.5, REJECT)], REJECT),
        (LOW, [frame("a", 0.1, REVIEW), frame("b", 0.9, PASS)], REJECT),
    ],
    ids=[
        *("stricter", "milder", "the worst frame decides", "another camera decides now"),
        *("frames of another bundle stay", "FAULT stays", "FAULT beside a part that would pass"),
        *("accepted REJECT stays PASS", "accepted, and would pass anyhow"),
        *("odd PASS is held to the band", "what a guard raised stays raised", "raised, and alike"),
        *("raised above its score", "raised beside a worse frame"),
    ],
)
def test_a_part_is_decided_again_by_its_frames(band, frames, would_be):
    assert again(band, *frames).verdict is would_be


@pytest.mark.fast
@pytest.mark.parametrize(
    ("said", "verdict", "would_be"),
    [
        (SecondStage(status="done", held=False), REJECT, PASS),
        (SecondStage(status="done", held=True, alone=REVIEW), REVIEW, REVIEW),
        (SecondStage(status="done", held=False, alone=REVIEW), REJECT, REVIEW),
        (SecondStage(status="done", held=False, alone=REJECT), REJECT, REJECT),
        (SecondStage(status="late", held=False), REJECT, REVIEW),
        (SecondStage(status="failed", held=False), REJECT, REVIEW),
        (SecondStage(status="skipped", held=False), REVIEW, PASS),
    ],
)
def test_what_known_defects_hold_passes_under_no_band(said, verdict, would_be):
    """Its names are the same whatever the thresholds; nobody knows those of one not looked at."""
    one = frame("a", 2.5, verdict).model_copy(update={"recognised": said})
    assert again(HIGH, one).verdict is would_be


@pytest.mark.fast
def test_a_part_that_came_too_late_stays_a_fault():
    assert again(LOW, frame("a", 0.1, PASS), verdict=FAULT).verdict is FAULT


@pytest.mark.fast
def test_a_change_is_as_clear_as_its_score_is_far_from_both_bands():
    assert again(HIGH, frame("a", 2.4, REJECT)).distance == pytest.approx(0.4)
    assert again(LOW, frame("a", 0.1, PASS), frame("b", 0.9, PASS)).distance == pytest.approx(0.1)
    assert again(HIGH, frame("a", 0.1, PASS)).distance == 0


def asked(band, **changes):
    return Asked(bundle_id=BUNDLE, band=band, **changes)


def test_the_last_parts_are_counted_now_and_then(plant):
    add_card(plant.hub, tuple(number / 100 for number in range(100)))
    store(plant.hub, *(part(number, number / 10) for number in range(1, 31)), part(31, None))
    store(plant.hub, part(32, 9.0, bundle_id="c" * 64))
    review(plant.hub, 25, Decision.DEFECT)
    review(plant.hub, 5, Decision.DEFECT)
    viewer = plant.person(Role.VIEWER)
    found = viewer.consequences(LINE, asked(LOW, last=20))
    assert found.previewed == 20  # 12 to 30, and the FAULT
    assert found.now == {PASS: 0, REVIEW: 9, REJECT: 10, FAULT: 1}
    assert found.then == {PASS: 0, REVIEW: 0, REJECT: 19, FAULT: 1}
    clearest = found.changes[0]  # 0.5 from 1.0 and from 2.0, farther from the others
    assert (clearest.row.event_id, clearest.would_be) == ("part-15", REJECT)
    assert (found.escapes.count, found.escapes.of) == (1, 2)
    assert found.capacity == 200
    assert viewer.consequences(LINE, asked(OLD)).changes == ()


def test_a_row_of_a_change_shows_its_decision(sqlite_hub):
    add_card(sqlite_hub)
    store(sqlite_hub, part(1, 1.5))
    review(sqlite_hub, 1, Decision.GOOD)
    (change,) = foresee_consequences(sqlite_hub, LINE, asked(HIGH)).changes
    assert (change.row.decision, change.row.verdict, change.would_be) == ("good", REVIEW, PASS)


def test_only_the_clearest_changes_are_shown(sqlite_hub):
    add_card(sqlite_hub)
    store(sqlite_hub, *(part(number, 2 + number / 200) for number in range(1, 101)))
    found = foresee_consequences(sqlite_hub, LINE, asked(HIGH))
    assert found.then[PASS] == 100
    assert [one.row.event_id for one in found.changes] == [f"part-{n}" for n in range(100, 40, -1)]


def test_a_bundle_replaced_long_ago_is_previewed_on_its_own_last_parts(sqlite_hub, monkeypatch):
    monkeypatch.setattr(preview, "SCANNED", 5)
    add_card(sqlite_hub)
    store(sqlite_hub, *(part(number, 0.9) for number in range(1, 4)))
    store(sqlite_hub, *(part(number, 0.9, bundle_id="c" * 64) for number in range(4, 20)))
    assert foresee_consequences(sqlite_hub, LINE, asked(LOW)).then[REJECT] == 3


def test_a_bundle_that_never_decided_on_a_part_is_previewed_by_its_camera(sqlite_hub):
    add_card(sqlite_hub)
    event = part(1, 0.9, "top", "side", bundle_id="c" * 64)
    side = event.frames[1].model_copy(update={"bundle_id": BUNDLE, "score": 0.7})
    store(sqlite_hub, event.model_copy(update={"frames": (event.frames[0], side)}))
    found = foresee_consequences(sqlite_hub, LINE, asked(LOW))
    assert (found.previewed, found.then[REVIEW]) == (1, 1)


def test_an_empty_line_says_what_is_not_known(hub):
    add_card(hub, tuple(number / 100 for number in range(50)))
    found = foresee_consequences(hub, LINE, asked(OLD))
    said = " ".join(found.notes)
    assert "judged no part of the line yet" in said
    assert "No reviewed defect yet" in said
    assert "Only 50 calibrate parts: even a band above all of them may reject up to" in said
    assert (found.previewed, found.escapes.value, found.changes) == (0, None, ())


def test_more_rejects_than_the_calibrate_parts_explain_are_said(sqlite_hub):
    add_card(sqlite_hub, tuple(number / 1000 for number in range(500)))
    store(sqlite_hub, *(part(number, 2.5 if number % 4 else 0.1) for number in range(1, 101)))
    drifted = foresee_consequences(sqlite_hub, LINE, asked(OLD))
    assert any("scores have drifted" in note for note in drifted.notes)
    known = asked(OLD, costs=Costs(prevalence=0.8))
    assert not any(
        "drifted" in note for note in foresee_consequences(sqlite_hub, LINE, known).notes
    )


def test_the_promise_is_said_in_words(sqlite_hub):
    add_card(sqlite_hub, tuple(float(number) for number in range(1, 100)))
    found = foresee_consequences(sqlite_hub, LINE, asked(Band(review_above=90, reject_above=99)))
    assert found.certificate.startswith(
        "99 of 99 calibrate parts lie at or below reject_above: of future good parts 1.00% or less "
        "are expected above it, with 95 % confidence no more than 2.98%."
    )
    add_card(sqlite_hub, (), "d" * 64)
    nothing = asked(OLD).model_copy(update={"bundle_id": "d" * 64})
    assert "nothing is promised" in foresee_consequences(sqlite_hub, LINE, nothing).certificate


def test_an_unknown_bundle_is_not_there(sqlite_plant):
    with pytest.raises(Refused, match="not on this hub") as refused:
        sqlite_plant.person(Role.VIEWER).consequences(LINE, asked(OLD))
    assert refused.value.status == 404
