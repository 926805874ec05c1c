"""Thresholds fitted again on what people decided: where they land, signed, taken back, refused."""

import hashlib
import re
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sqlalchemy import insert, select, update

from inspection.core import records
from inspection.core.decision import Band, ThresholdLimits
from inspection.core.errors import CalibrationMissing, ConfigError
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub import jobs
from inspection.hub.audit import list_entries
from inspection.hub.database import insert_new
from inspection.hub.forgetting import forget
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.loop_tables import alarms
from inspection.hub.loop_tables import jobs as job_rows
from inspection.hub.monitors import list_alarms
from inspection.hub.proposals import list_proposals
from inspection.hub.refusals import Standing
from inspection.hub.reviews import decide
from inspection.hub.stations import enrol
from inspection.hub.tables import draws, events, reviews
from inspection.hub.thresholds import apply_thresholds, list_thresholds, revert_thresholds
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.retraining import JobKind, JobState, NewForgotten, Step
from inspection.hub.wire.review import Decision, NewReview
from inspection.hub.wire.thresholds import NewThresholds, Revert
from inspection.metrics.calibration import conformal_threshold
from inspection.metrics.causes import STAYS, Cause
from inspection.retraining.escapes import count_escapes
from inspection.retraining.fitting import fit, is_kept, move, quartiles
from inspection.retraining.job import run_job
from inspection.retraining.known import (
    EFFECTIVE_LEAST,
    EPOCH,
    Known,
    Scope,
    changed_at,
    even,
    read_known,
    tells,
    what_is_missing,
)
from inspection.retraining.refit import refit
from inspection.retraining.settings import RetrainingConfig
from tests.hub.parts import BEGIN, add_picture, part, store
from tests.hub.scored import BUNDLE, CARD_BAND, add_card
from tests.retraining.loop import ANN, raise_alarm

SCORES = tuple(number / 100 for number in range(120))  # of calibrate: quartiles 0.3, 0.6, 0.9
MOVED = [score + 0.5 for score in SCORES]
SCOPE = Scope("line-1", "plate", BUNDLE, EPOCH)


@pytest.fixture(autouse=True)
def _own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def request(hub: Hub, until: int = 10_000, champion: str | None = BUNDLE) -> JobRequest:
    """What the policy would ask for."""
    return JobRequest(
        line="line-1",
        product="plate",
        name="plate",
        kind=JobKind.REFIT,
        champion_id=champion,
        manifest="set.json",
        manifest_sha256="0" * 64,
        reviews_until=until,
        forgotten=(),
        train=TrainConfig(),
        export=ExportConfig(),
        asked_at=hub.now(),
    )


def equip(hub: Hub, scores=MOVED, reviewed=lambda number, score: score > 1 or number % 3 == 0):
    """A line on which parts with these scores were judged, those above 1 held for review."""
    add_card(hub, SCORES)
    enrol(hub, NewStation(station="station-1", line="line-1"), "test")
    store(hub, *(part(number, score) for number, score in enumerate(scores, 1)))
    for number, score in enumerate(scores, 1):
        if reviewed(number, score):
            say(hub, number, Decision.GOOD)


def say(hub: Hub, number: int, decision: Decision):
    """Decide on a part that was drawn for it, if it passed."""
    with hub.database.writing() as connection:
        insert_new(
            connection, draws, [{"event_id": f"part-{number}", "line": "line-1"}], "event_id"
        )
    decide(hub, f"part-{number}", NewReview(decision=decision, revision=0), ANN)


def test_the_band_follows_the_good_parts_signed_and_reversible(hub):
    """Scores moved by 0.5: so does the threshold, though the low ones are reviewed by draw only."""
    equip(hub)
    asked = request(hub)
    words = refit(hub, asked)
    (row,) = list_thresholds(hub, "line-1")
    # 99 of 100 good parts: the 120th of 120 calibrate scores, 1.19, moved
    assert row.band.review_above == pytest.approx(1.69, abs=0.02)
    assert row.band.reject_above > row.band.review_above
    assert (row.product, row.camera, row.who, row.in_force) == ("plate", None, "policy", True)
    assert row.stations == ("station-1",)
    assert (
        "fitted on 86 good and 0 defective reviewed parts, on the shape of 120 calibrate" in words
    )
    assert "stands: fitted on 86 good" in refit(hub, asked), "done again, after a crash"
    assert len(list_thresholds(hub, "line-1")) == 1
    revert_thresholds(hub, "line-1", Revert(sha256=row.sha256, comment="no"), "eve")
    assert list_thresholds(hub, "line-1")[0].band == CARD_BAND


def test_parts_that_nobody_reviewed_have_no_score_in_it(sqlite_hub):
    """Unreviewed scores may be anything: the band is the same."""
    wild = [score if score > 1 or number % 3 == 0 else 0.0 for number, score in enumerate(MOVED, 1)]
    equip(sqlite_hub, wild)
    refit(sqlite_hub, request(sqlite_hub))
    assert list_thresholds(sqlite_hub, "line-1")[0].band.review_above == pytest.approx(
        1.69, abs=0.02
    )


def test_only_reviews_that_the_request_counts_have_a_say(sqlite_hub):
    """A job done again comes to the same."""
    equip(sqlite_hub)
    with pytest.raises(CalibrationMissing, match=r"^5 reviewed good parts .* need 60; review more"):
        refit(sqlite_hub, request(sqlite_hub, until=5))


def test_what_enough_reviewed_parts_say_needs_no_calibrate_parts(sqlite_hub):
    """With the second highest of 400 a hundredth is kept in four of five draws."""
    scores = np.linspace(0.5, 1.7, 400).tolist()
    equip(sqlite_hub, scores, reviewed=lambda number, score: True)
    words = refit(sqlite_hub, request(sqlite_hub))
    assert "fitted on 400 good and 0 defective reviewed parts; of the known" in words
    [row] = list_thresholds(sqlite_hub, "line-1")
    assert row.band.review_above == pytest.approx(scores[-2], rel=1e-3)


def test_what_is_judged_after_it_was_asked_for_has_no_say(make_hub, sqlite_url, tmp_path):
    """Held and not yet reviewed, it would change what the others stand for."""
    records = []
    for late in (0, 40):
        hub = make_hub(f"{sqlite_url}-{late}")
        equip(hub)
        asked = request(hub)
        store(hub, *(part(500 + number, 1.2) for number in range(late)))
        refit(hub, asked)
        records.append(list_thresholds(hub, "line-1")[0].band)
    assert records[0] == records[1]


def test_parts_from_before_the_change_have_no_say(sqlite_hub):
    """With an alarm that stands, only what was captured since it began counts."""
    equip(sqlite_hub, [*SCORES[:60], *MOVED], lambda number, score: True)
    raise_alarm(sqlite_hub, Cause.LIGHT, since=BEGIN + timedelta(seconds=61))
    words = refit(sqlite_hub, request(sqlite_hub))
    assert (
        "fitted on 120 good and 0 defective reviewed parts of since 2026-03-02 06:01 UTC" in words
    )
    assert list_thresholds(sqlite_hub, "line-1")[0].band.review_above == pytest.approx(1.69)


def test_parts_held_against_other_thresholds_have_no_say(sqlite_hub):
    """After thresholds were set, what a reviewed part stands for is counted anew."""
    equip(sqlite_hub)
    refit(sqlite_hub, request(sqlite_hub))
    with pytest.raises(CalibrationMissing, match=r"^0 reviewed good parts since the change"):
        refit(sqlite_hub, request(sqlite_hub))


def test_thresholds_that_a_person_sets_meanwhile_are_not_overwritten(sqlite_hub):
    """A re-fit may wait for hours behind a training of its product."""
    equip(sqlite_hub)
    asked = request(sqlite_hub)
    band = Band(review_above=1.2, reject_above=2.0)
    new = NewThresholds(
        bundle_id=BUNDLE, band=band, stations=("station-1",), product="plate", comment="mine"
    )
    apply_thresholds(sqlite_hub, "line-1", new, "bob")
    with pytest.raises(Standing, match="set by hand meanwhile"):
        refit(sqlite_hub, asked)
    assert list_thresholds(sqlite_hub, "line-1")[0].band == band


@pytest.mark.parametrize("camera", [None, "top"], ids=["every camera", "one camera"])
def test_thresholds_for_all_products_that_a_person_sets_meanwhile_are_not_overwritten(
    sqlite_hub, camera
):
    """So the dashboard writes them."""
    equip(sqlite_hub)
    asked = request(sqlite_hub)
    set_by_hand(sqlite_hub, camera=camera)
    with pytest.raises(Standing, match="set by hand meanwhile"):
        refit(sqlite_hub, asked)
    assert [row.who for row in list_thresholds(sqlite_hub, "line-1")] == ["bob"]


def test_a_refit_taken_back_brings_the_band_that_a_person_had_set_for_all_products(sqlite_hub):
    equip_after_hand(sqlite_hub)
    refit(sqlite_hub, request(sqlite_hub))
    fitted = list_thresholds(sqlite_hub, "line-1")[0]
    assert (fitted.who, fitted.product) == ("policy", "plate")
    revert_thresholds(sqlite_hub, "line-1", Revert(sha256=fitted.sha256, comment="no"), "eve")
    assert list_thresholds(sqlite_hub, "line-1")[0].band == HAND


def test_a_policy_leaves_out_the_station_on_which_a_person_tries_a_band(sqlite_hub):
    for name in ("station-2", "station-3"):
        enrol(sqlite_hub, NewStation(station=name, line="line-1"), "test")
    equip_after_hand(sqlite_hub)
    refit(sqlite_hub, request(sqlite_hub))
    assert list_thresholds(sqlite_hub, "line-1")[0].stations == ("station-2", "station-3")


def test_the_band_that_a_person_tries_on_one_station_is_not_the_lines(sqlite_hub):
    """Scores have fallen to a half: it may stay, but above the line's no part lies any more."""
    for name in ("station-2", "station-3"):
        enrol(sqlite_hub, NewStation(station=name, line="line-1"), "test")
    fallen = [score / 2 for score in SCORES]
    tried = Band(review_above=fallen[-4], reject_above=2.5)
    equip(sqlite_hub, fallen, lambda number, score: True)
    set_by_hand(sqlite_hub, band=tried)
    make_later(sqlite_hub)
    assert is_kept(known(sqlite_hub), tried.review_above, 0.01)
    assert not is_kept(known(sqlite_hub), CARD_BAND.review_above, 0.01)
    refit(sqlite_hub, request(sqlite_hub))
    [fitted, hand] = list_thresholds(sqlite_hub, "line-1")
    assert (fitted.stations, hand.stations) == (("station-2", "station-3"), ("station-1",))
    assert fitted.band.review_above == pytest.approx(fallen[-1])


@pytest.mark.parametrize("lost", ["cancelled", "taken over"])
def test_a_refit_that_is_not_wanted_any_more_changes_nothing(
    sqlite_hub, tmp_path, monkeypatch, lost
):
    hub = sqlite_hub
    equip(hub)
    job_id = jobs.ask(hub, request(hub), "ann", "glare").job_id
    leased = jobs.lease(hub, "test", 60, job_id)

    def fit_late(*given) -> Band:
        if lost == "cancelled":
            jobs.cancel(hub, job_id, "ann")
        else:
            over = update(job_rows).values(leased_until=hub.now() - timedelta(seconds=1))
            with hub.database.writing() as connection:
                connection.execute(over)
            assert jobs.lease(hub, "another", 60, job_id)
        return fit(*given)

    monkeypatch.setattr("inspection.retraining.refit.fit", fit_late)
    state = run_job(hub, RetrainingConfig(work_dir=tmp_path, lease_s=5), leased, no_step)
    assert state is (JobState.CANCELLED if lost == "cancelled" else JobState.RUNNING)
    assert list_thresholds(hub, "line-1") == ()


def no_step(_step: Step, _folder: Path) -> None:
    pytest.fail("a re-fit has no step")


def test_a_policy_replaces_no_cameras_band_but_a_person_may(sqlite_hub):
    """A record for all cameras would wipe it, and taking that back would not bring it again."""
    equip_after_hand(sqlite_hub, camera="top")
    with pytest.raises(Standing, match="a camera of each station has thresholds set by hand"):
        refit(sqlite_hub, request(sqlite_hub))
    refit(sqlite_hub, request(sqlite_hub), "ann")
    assert list_thresholds(sqlite_hub, "line-1")[0].stations == ("station-1",)


HAND = Band(review_above=1.0, reject_above=2.5)


def set_by_hand(hub: Hub, camera: str | None = None, band: Band = HAND):
    new = NewThresholds(
        bundle_id=BUNDLE, band=band, stations=("station-1",), camera=camera, comment="mine"
    )
    apply_thresholds(hub, "line-1", new, "bob")


def equip_after_hand(hub: Hub, camera: str | None = None):
    """The line of `equip`, whose parts came after a person had set a band."""
    equip(hub)
    set_by_hand(hub, camera)
    make_later(hub)


def make_later(hub: Hub):
    """Let all parts have come after what happened until now."""
    later = {"captured_at": hub.now() + timedelta(seconds=1)}
    with hub.database.writing() as connection:
        connection.execute(update(events).values(later))


def test_of_several_alarms_the_last_change_counts_and_cleared_ones_do_not(sqlite_hub):
    """The line is as it is since the last change that stands."""
    add_card(sqlite_hub)
    for number, cause in enumerate((Cause.LIGHT, Cause.TEXTURE, Cause.FOCUS)):
        raise_alarm(sqlite_hub, cause, since=BEGIN + timedelta(hours=number))
    with sqlite_hub.database.writing() as connection:
        cleared = {"cleared_at": BEGIN, "why_cleared": "settled"}
        connection.execute(update(alarms).where(alarms.c.cause == Cause.FOCUS).values(cleared))
    with sqlite_hub.database.reading() as connection:
        found = changed_at(connection, "line-1", "plate", BUNDLE)
    assert found == BEGIN + timedelta(hours=1)


def test_a_refit_accepts_the_changes_it_was_made_for_and_no_others(sqlite_hub):
    """The light stood for a shift, so thresholds were fitted for it; the lens is still dirty."""
    equip(sqlite_hub)
    long_ago = BEGIN + timedelta(seconds=1)
    for cause in (Cause.LIGHT, Cause.SCORE, Cause.FOCUS, Cause.POSITION):
        raise_alarm(sqlite_hub, cause, bundle_id=BUNDLE, raised_at=long_ago, since=long_ago)
    raise_alarm(sqlite_hub, Cause.LIGHT, station="station-2", bundle_id=BUNDLE, since=long_ago)
    guarded = {"raised_at": long_ago, "since": long_ago, "guarded": True, "bundle_id": BUNDLE}
    raise_alarm(sqlite_hub, Cause.LIGHT, station="station-3", **guarded)
    refit(sqlite_hub, request(sqlite_hub))
    known = list_alarms(sqlite_hub, "line-1", standing=False)
    assert {(one.cause, one.station): one.why_cleared for one in known} == {
        (Cause.LIGHT, ""): "refitted",
        (Cause.LIGHT, "station-2"): "",  # of less than a shift: look at the lamp first
        (Cause.LIGHT, "station-3"): "",  # its guards hold the frames, whatever the thresholds
        (Cause.SCORE, ""): "refitted",
        (Cause.FOCUS, ""): "",
        (Cause.POSITION, ""): "",
    }
    assert [entry.action for entry in list_entries(sqlite_hub, None, 9).items].count(
        "alarm refitted"
    ) == 2


def test_after_a_refit_parts_from_before_the_change_still_have_no_say(sqlite_hub):
    """Else the next one would mix both times again, as nothing stands any more."""
    equip(sqlite_hub)
    since = BEGIN + timedelta(seconds=1)
    raise_alarm(sqlite_hub, Cause.SCORE, bundle_id=BUNDLE, since=since)
    asked = request(sqlite_hub)
    refit(sqlite_hub, asked)
    with sqlite_hub.database.reading() as connection:
        assert changed_at(connection, "line-1", "plate", BUNDLE, asked.asked_at) == since
        assert changed_at(connection, "line-1", "plate", BUNDLE) > since
    assert " stands: fitted on" in refit(sqlite_hub, asked)


def test_few_that_stand_for_many_are_few(sqlite_hub):
    """Of 550 that passed 10 were reviewed: so many more as it says are enough, and one less not.

    Ten of those held wait for their review, so the threshold cannot be read off the others.
    """
    scores = [*np.linspace(0.3, 1, 550), *np.linspace(1.01, 1.7, 90)]
    equip(sqlite_hub, scores, lambda number, score: number > 560 or number % 55 == 0)
    with pytest.raises(CalibrationMissing, match="say no more than 13 drawn evenly") as refused:
        refit(sqlite_hub, request(sqlite_hub))
    assert "for 10 stand for the 550 that passed; thresholds need 60; review" in str(refused.value)
    more = int(re.search(r"review (\d+) more of those", str(refused.value))[1])
    others = [number for number in range(1, 551) if number % 55]
    for number in others[: more - 1]:
        say(sqlite_hub, number, Decision.GOOD)
    assert "review 1 more of those" in missing(sqlite_hub)
    say(sqlite_hub, others[more], Decision.GOOD)
    assert missing(sqlite_hub) == ""
    with sqlite_hub.database.reading() as connection:
        weights = read_known(connection, SCOPE, 0.01).weights
    assert weights.sum() ** 2 / (weights**2).sum() >= EFFECTIVE_LEAST


def missing(hub: Hub) -> str:
    with hub.database.reading() as connection:
        return what_is_missing(connection, SCOPE, 0.01)


def known(hub: Hub) -> Known:
    with hub.database.reading() as connection:
        return read_known(connection, SCOPE, 0.01)


def test_what_was_forgotten_has_no_say(sqlite_hub):
    """Its part counts among those that passed, for which the others stand."""
    equip(sqlite_hub, reviewed=lambda number, score: True)
    sha256 = hashlib.sha256(add_picture(sqlite_hub, 7)).hexdigest()
    forget(sqlite_hub, NewForgotten(sha256=sha256, comment="a hand in the picture"), "eve")
    found = known(sqlite_hub)
    assert MOVED[6] not in found.goods
    assert (found.goods.size, found.weights.sum()) == (119, pytest.approx(120))


def test_a_good_part_that_a_second_reviewer_contradicts_has_no_say(sqlite_hub):
    equip(sqlite_hub, reviewed=lambda number, score: True)
    with sqlite_hub.database.writing() as connection:
        first = connection.execute(select(reviews).where(reviews.c.event_id == "part-7")).one()
        second = {"second": True, "decision": Decision.DEFECT, "reviewer": "bob"}
        row = {name: value for name, value in first._mapping.items() if name != "id"}
        connection.execute(insert(reviews).values(row | second))
    found = known(sqlite_hub)
    assert (MOVED[6] in found.goods, found.goods.size, found.defects.size) == (False, 119, 0)


def test_what_passed_and_was_not_drawn_has_no_say(sqlite_hub):
    """A challenger would have held it: such parts lie high, and would pull the threshold up."""
    equip(sqlite_hub)
    before = known(sqlite_hub)
    assert MOVED[48] not in before.goods
    good = NewReview(decision=Decision.GOOD, revision=0)
    decide(sqlite_hub, "part-49", good, ANN)
    after = known(sqlite_hub)
    assert after.goods.tolist() == before.goods.tolist()
    assert after.weights.tolist() == before.weights.tolist()


def with_defects(hub: Hub, count: int, score: float):
    """The line of `equip`, and so many defects that were held."""
    equip(hub)
    store(hub, *(part(number, score) for number in range(501, 501 + count)))
    for number in range(501, 501 + count):
        say(hub, number, Decision.DEFECT)


def test_a_band_that_lets_known_defects_pass_is_not_applied(sqlite_hub):
    """Nothing tells goods and defects apart: a training has to, and no station lets more pass."""
    with_defects(sqlite_hub, 30, 1.4)
    found = "30 of 30 known defects that were held would pass below 1.6.*; train, or set thresholds"
    with pytest.raises(CalibrationMissing, match=found):
        refit(sqlite_hub, request(sqlite_hub))
    assert list_thresholds(sqlite_hub, "line-1") == ()


def test_a_policy_never_leaves_the_cards_limits_and_a_person_needs_a_second(
    sqlite_hub, monkeypatch
):
    """Nobody asked for it who could be told apart from whoever approves."""
    equip(sqlite_hub)
    narrow = ThresholdLimits(low=0.1, high=1.3, high_reject=2.6)
    monkeypatch.setattr(records, "threshold_limits", lambda *_: narrow)
    with pytest.raises(CalibrationMissing, match="another person approves it"):
        refit(sqlite_hub, request(sqlite_hub))
    assert list_proposals(sqlite_hub, "line-1") == ()
    assert "waits for a person to approve it" in refit(sqlite_hub, request(sqlite_hub), "eve")
    assert [one.who for one in list_proposals(sqlite_hub, "line-1")] == ["eve"]
    assert list_thresholds(sqlite_hub, "line-1") == ()


def test_a_band_says_how_many_known_defects_pass(sqlite_hub):
    """One of thirty may be chance."""
    with_defects(sqlite_hub, 29, 3.0)
    store(sqlite_hub, part(600, 1.4))
    say(sqlite_hub, 600, Decision.DEFECT)
    words = refit(sqlite_hub, request(sqlite_hub))
    assert "; of the known defects 1 pass, 1 of which were held" in words
    assert list_thresholds(sqlite_hub, "line-1")[0].why in words


@pytest.mark.fast
@pytest.mark.parametrize(
    ("lost", "gained", "surely"),
    [(0, 0, False), (1, 0, False), (4, 0, False), (5, 0, True), (5, 2, False), (30, 0, True)],
)
def test_surely_more_escapes_are_five_at_least(lost, gained, surely):
    """An exact sign test of the defects that one of two thresholds lets pass."""
    scores = np.array([2.0] * lost + [4.0] * gained + [9.0] * 20)
    held_above = np.array([1.0] * lost + [5.0] * gained + [1.0] * 20)
    found = count_escapes(scores, held_above, 3.0)
    assert (found.lost, found.gained, found.passing) == (lost, gained, lost)
    assert found.surely_more is surely


def test_without_a_review_of_what_passed_it_is_refused(sqlite_hub):
    """Held parts alone would put the threshold far too high."""
    equip(sqlite_hub, reviewed=lambda number, score: score > 1)
    with pytest.raises(CalibrationMissing, match="none of the 51 parts that passed since"):
        refit(sqlite_hub, request(sqlite_hub))
    assert list_thresholds(sqlite_hub, "line-1") == ()


def test_without_a_champion_there_is_nothing_to_fit(sqlite_hub):
    with pytest.raises(ConfigError, match="line-1, plate: no bundle judges; wanted one; train"):
        refit(sqlite_hub, request(sqlite_hub, champion=None))


def test_a_line_without_a_station_is_refused(sqlite_hub):
    add_card(sqlite_hub, SCORES)
    store(sqlite_hub, *(part(number, 0.5) for number in range(1, 61)))
    for number in range(1, 61):
        say(sqlite_hub, number, Decision.GOOD)
    with pytest.raises(ConfigError, match="line 'line-1': no station is in service; enrol one"):
        refit(sqlite_hub, request(sqlite_hub))


def test_known_defects_decide_where_reject_begins(sqlite_hub):
    """Ten defects far above: REJECT begins in the gap before them, not at the margin."""
    card = add_card(sqlite_hub, SCORES)
    goods = np.array(MOVED)
    few, many = (
        fit(
            Known(goods, np.ones(120), np.linspace(5, 6, count), np.ones(count), all_held=True),
            card,
        )
        for count in (9, 10)
    )
    assert few.review_above == many.review_above == pytest.approx(1.69)
    assert few.reject_above == pytest.approx(1.69 + 0.5 * (1.69 - 1.095))
    assert many.reject_above == pytest.approx((1.69 + 5) / 2)


@pytest.mark.fast
def test_scores_are_moved_and_stretched_to_the_quartiles_of_the_known():
    """Twice as wide and 3 further: so is the calibrate part's every score."""
    scores = np.array(SCORES)
    known = Known(scores * 2 + 3, np.ones(120), np.empty(0), np.empty(0), all_held=True)
    assert move(scores, known) == pytest.approx(scores * 2 + 3)


@pytest.mark.fast
def test_scores_that_are_all_alike_are_moved_only():
    """Nothing can be said of a spread that was none."""
    known = Known(np.array([4.0, 5.0, 6.0]), np.ones(3), np.empty(0), np.empty(0), all_held=True)
    assert move(np.full(5, 1.0), known).tolist() == [5.0] * 5


@pytest.mark.fast
def test_a_weight_counts_like_as_many_parts():
    """A part that stands for three moves quartiles as three of it would."""
    weighted = quartiles(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 4.0]))
    assert weighted[2] == 9.0
    assert weighted[1] == pytest.approx(2.0 + 7.0 * 1.5 / 2.5)


def alike(goods, weights=None, *, all_held: bool = True) -> Known:
    weights = np.ones(len(goods)) if weights is None else weights
    return Known(np.asarray(goods, np.float64), weights, np.empty(0), np.empty(0), all_held)


def test_four_of_five_refits_keep_their_promise(sqlite_hub):
    """By the mean alone, every second would hold more than it promises."""
    card = add_card(sqlite_hub, SCORES)
    promised, rng = card.export.false_reject_rate, np.random.default_rng(0)
    bands = [fit(alike(rng.normal(size=700)), card).review_above for _ in range(400)]
    kept = stats.norm.sf(bands) <= promised
    assert 0.75 < kept.mean() < 0.95


def test_four_of_five_keep_it_too_where_drawn_parts_stand_for_others(sqlite_hub):
    """Nothing was held, and one of twenty was drawn: 600 say no more than 600."""
    card = add_card(sqlite_hub, SCORES)
    promised, rng, weights = (
        card.export.false_reject_rate,
        np.random.default_rng(0),
        np.full(600, 20.0),
    )
    bands = [fit(alike(rng.normal(size=600), weights), card).review_above for _ in range(400)]
    assert 0.75 < (stats.norm.sf(bands) <= promised).mean() < 0.97


def test_a_band_that_a_person_set_and_that_stays_stays_the_persons(sqlite_hub):
    scores = [*np.linspace(0.0, 0.99, 396), 1.1, 1.2, 1.3, 1.4]
    equip(sqlite_hub, scores, reviewed=lambda number, score: True)
    set_by_hand(sqlite_hub, band=CARD_BAND)
    make_later(sqlite_hub)
    words = refit(sqlite_hub, request(sqlite_hub))
    assert "stays" in words
    assert [row.who for row in list_thresholds(sqlite_hub, "line-1")] == ["bob"]


def test_reviewed_parts_set_the_threshold_where_a_few_lie_above_it(sqlite_hub):
    """Kept in four of five draws: the second highest of 400, whatever the card looked like."""
    card = add_card(sqlite_hub, SCORES)
    wild = card.model_copy(update={"calibrate_scores": tuple(score**9 for score in SCORES)})
    scores = np.linspace(3, 4, 400)
    bands = [fit(alike(scores), one).review_above for one in (card, wild)]
    assert bands == pytest.approx([scores[-2]] * 2, rel=1e-3)
    for other in (alike(scores[:300]), alike(scores, all_held=False)):
        bands = [fit(other, one).review_above for one in (card, wild)]
        assert bands[0] == pytest.approx(scores[other.goods.size - 1], abs=0.03)
        assert bands[1] > 7, "the card's shape says where so small a share lies"


def test_one_part_that_stands_for_many_does_not_set_the_threshold():
    """Twelve held of 12,000, and 60 drawn, one of which lies next below: a hundredth is unknown."""
    held, drawn = np.linspace(2, 3, 12), np.linspace(0, 1, 60)
    known = alike(np.append(drawn, held), np.repeat([200.0, 1.0], [60, 12]))
    assert not tells(known, 0.01)
    more = np.append(drawn, np.linspace(2, 3, 200))
    assert tells(alike(more, np.repeat([200.0, 1.0], [60, 200])), 0.01)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("above", "kept"), [(0, False), (4, False), (5, True), (10, True), (15, True), (16, False)]
)
def test_a_threshold_stays_that_the_reviewed_parts_do_not_contradict(above, kept):
    """Of 200 parts 5 % may lie above it: by chance 5 to 15, nine times in ten."""
    goods = np.repeat([0.0, 2.0], [200 - above, above])
    assert is_kept(alike(goods), 1.0, 0.05) is kept
    assert not is_kept(alike(goods, all_held=False), 1.0, 0.05)


@pytest.mark.fast
@pytest.mark.parametrize(("parts", "above"), [(60, 0), (200, 2)])
def test_a_threshold_above_which_hardly_any_part_lies_does_not_stay(parts, above):
    """Scores may have fallen far below it; of so few parts a hundredth would not show that."""
    goods = np.repeat([0.0, 2.0], [parts - above, above])
    assert not is_kept(alike(goods), 1.0, 0.01)


def test_a_re_fit_lets_a_band_be_that_keeps_its_promise(sqlite_hub):
    """The alarm it was made for is answered, and a record says that the band was looked at."""
    scores = [*np.linspace(0.0, 0.99, 396), 1.1, 1.2, 1.3, 1.4]  # a hundredth lies above the card's
    equip(sqlite_hub, scores, reviewed=lambda number, score: True)
    raise_alarm(sqlite_hub, Cause.LIGHT, raised_at=sqlite_hub.now() - STAYS, since=BEGIN)
    words = refit(sqlite_hub, request(sqlite_hub))
    [row] = list_thresholds(sqlite_hub, "line-1")
    assert (row.band, row.who) == (CARD_BAND, "policy")
    assert row.why == "stays: 1.00% may lie above it, as far as parts are known"
    assert words.endswith(row.why)
    [alarm] = list_alarms(sqlite_hub, "line-1", standing=False)
    assert alarm.why_cleared == "refitted"


def test_one_defect_taken_for_good_does_not_set_the_threshold(sqlite_hub):
    card = add_card(sqlite_hub, SCORES)
    scores = np.linspace(3, 4, 500)
    wrong = np.append(scores, 99.0)
    assert fit(alike(wrong), card).review_above == pytest.approx(4.0, abs=0.01)


@pytest.mark.fast
def test_an_even_spread_keeps_what_the_weights_say():
    """Ten that stand for nine each, and ten for themselves: a tenth of the hundred lies high."""
    known = alike(np.arange(20.0), np.repeat([9.0, 1.0], 10))
    spread = even(known)
    assert spread.size == 100
    assert spread[-10:] == pytest.approx(np.arange(10, 20))
    assert even(alike([3.0, 1.0, 2.0])) == pytest.approx([1.0, 2.0, 3.0])


@pytest.mark.fast
@pytest.mark.parametrize("change", ["place", "shape"])
def test_thresholds_of_enough_reviewed_parts_hold_where_the_shape_is_another(change):
    """With 26 calibrate parts, a tenth held and 3 of 10 others reviewed; 5 % are promised."""
    rng, rates = np.random.default_rng(0), {"even": [], "shape": []}
    draw = {"place": lambda n: rng.normal(1, 1, n), "shape": lambda n: rng.lognormal(0, 0.5, n)}
    now = draw[change](200_000)
    for _ in range(200):
        judged = rng.choice(now, 300)
        held = judged > np.quantile(now, 0.9)
        seen = held | (rng.random(300) < 0.3)
        weights = np.where(held, 1.0, (~held).sum() / (~held & seen).sum())[seen]
        known = alike(judged[seen], weights)
        for name, scores in (("even", even(known)), ("shape", move(rng.normal(size=26), known))):
            threshold, _ = conformal_threshold(scores, 0.05)
            rates[name].append((now > threshold).mean())
    high = {name: sum(rate > 0.1 for rate in found) for name, found in rates.items()}
    assert high["even"] <= 4
    assert high["shape"] >= 10
    assert np.median(rates["even"]) == pytest.approx(0.05, abs=0.005)


@pytest.mark.fast
def test_of_the_least_number_of_parts_thresholds_mostly_hold():
    """No more than 15 of 100 re-fits reject over three times the promised 1 %, no drift at all."""
    rng = np.random.default_rng(0)
    high = {3: 0, EFFECTIVE_LEAST: 0}
    for parts in high:
        for _ in range(300):
            goods = alike(rng.normal(size=parts))
            moved = move(rng.normal(size=400), goods)
            threshold, _ = conformal_threshold(moved, 0.01)
            high[parts] += stats.norm.sf(threshold) > 0.03
    assert high[EFFECTIVE_LEAST] <= 45
    assert high[3] > 90
