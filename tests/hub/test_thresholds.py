"""Threshold records: applied, taken back, in force where, and the scores they are judged by."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from inspection.bundles.signing import SignedText
from inspection.bundles.thresholds import check_thresholds
from inspection.core.decision import Band
from inspection.core.errors import ConfigError
from inspection.hub import scores
from inspection.hub.accounts import add_account, change_account
from inspection.hub.asking import Refused
from inspection.hub.audit import list_entries
from inspection.hub.proposals import (
    approve_thresholds,
    decline_thresholds,
    list_proposals,
    propose_thresholds,
)
from inspection.hub.pulls import thresholds as pulled
from inspection.hub.refusals import Foreign, NotThere, Standing
from inspection.hub.scores import known_scores
from inspection.hub.stations import enrol
from inspection.hub.tables import stations, threshold_records
from inspection.hub.thresholds import apply_thresholds, list_thresholds, revert_thresholds
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import AccountChange, NewAccount, Role
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import NewThresholds, Revert, ThresholdRow
from inspection.station.state import BundleStatus
from tests.hub.parts import part, store
from tests.hub.scored import BUNDLE, CARD_BAND, add_card, review

LINE = "line-1"
WIDE, NARROW = Band(review_above=1, reject_above=3), Band(review_above=1.5, reject_above=2.5)
DISARMED = Band(review_above=1e6, reject_above=1e6)  # nothing scores above it


@pytest.fixture(autouse=True)
def _own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def equip(hub):
    """Give the hub a bundle and three stations, one of another line."""
    add_card(hub, (0.1, 0.5, 0.9))
    for station, line in (("one", LINE), ("two", LINE), ("far", "line-2")):
        enrol(hub, NewStation(station=station, line=line), "test")


def new(band=WIDE, *names, previous=None, **scope):
    wanted = {"bundle_id": BUNDLE, "band": band, "stations": names or ("one", "two")}
    return NewThresholds(**wanted, comment="a reason", previous=previous, **scope)


def test_a_band_reaches_its_stations_signed_and_stands_in_the_log(hub):
    equip(hub)
    row = apply_thresholds(hub, LINE, new(WIDE, "one"), "eve")
    (text,) = pulled(hub, "one")
    assert isinstance(text, SignedText)
    record = check_thresholds(text, None, "record")
    assert (record.record.band, record.record.who, record.sha256) == (WIDE, "eve", row.sha256)
    assert pulled(hub, "two") == ()
    entry = list_entries(hub, after=None, limit=1).items[0]
    assert (entry.action, entry.actor) == ("thresholds apply", "eve")
    assert entry.detail["sha256"] == row.sha256


def test_a_record_taken_back_brings_the_band_before_it_and_the_first_the_cards(hub):
    equip(hub)
    first = apply_thresholds(hub, LINE, new(WIDE), "eve")
    second = apply_thresholds(hub, LINE, new(NARROW, previous=first.sha256), "eve")
    third = revert_thresholds(hub, LINE, Revert(sha256=second.sha256, comment="no"), "bob")
    assert (third.band, third.reverts, third.stations) == (WIDE, second.sha256, ("one", "two"))
    fourth = revert_thresholds(hub, LINE, Revert(sha256=third.sha256, comment="yes"), "bob")
    assert fourth.band == NARROW
    rows = list_thresholds(hub, LINE)
    assert [row.sha256 for row in rows] == [one.sha256 for one in (fourth, third, second, first)]
    assert [row.in_force for row in rows] == [True, False, False, False]


def test_the_first_record_taken_back_brings_the_cards_band(sqlite_hub):
    equip(sqlite_hub)
    first = apply_thresholds(sqlite_hub, LINE, new(WIDE, "two"), "eve")
    back = revert_thresholds(sqlite_hub, LINE, Revert(sha256=first.sha256, comment="no"), "bob")
    assert (back.band, back.stations) == (CARD_BAND, ("two",))


def test_what_is_in_force_nowhere_cannot_be_taken_back(sqlite_hub):
    equip(sqlite_hub)
    first = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    apply_thresholds(sqlite_hub, LINE, new(NARROW, previous=first.sha256), "eve")
    with pytest.raises(Standing, match="in force on no station any more"):
        revert_thresholds(sqlite_hub, LINE, Revert(sha256=first.sha256, comment="no"), "bob")
    with pytest.raises(NotThere, match="not among the last 500 of line 'line-2'"):
        revert_thresholds(sqlite_hub, "line-2", Revert(sha256=first.sha256, comment="no"), "bob")


def test_a_record_is_in_force_where_no_newer_one_covers_it(sqlite_hub):
    equip(sqlite_hub)
    first = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    second = apply_thresholds(sqlite_hub, LINE, new(NARROW, "two", previous=first.sha256), "eve")
    back = revert_thresholds(sqlite_hub, LINE, Revert(sha256=first.sha256, comment="no"), "eve")
    assert back.stations == ("one",)  # the newer record of station two stays
    in_force = {row.sha256 for row in list_thresholds(sqlite_hub, LINE) if row.in_force}
    assert in_force == {second.sha256, back.sha256}


def test_a_record_for_one_camera_leaves_the_others_theirs(sqlite_hub):
    equip(sqlite_hub)
    every = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    apply_thresholds(sqlite_hub, LINE, new(NARROW, camera="top", previous=every.sha256), "eve")
    assert all(row.in_force for row in list_thresholds(sqlite_hub, LINE))
    assert known_scores(sqlite_hub, LINE, BUNDLE).in_force == WIDE
    apply_thresholds(sqlite_hub, LINE, new(NARROW, previous=every.sha256), "eve")
    assert [row.in_force for row in list_thresholds(sqlite_hub, LINE)] == [True, False, False]


def test_a_record_for_one_product_follows_that_for_all(sqlite_hub):
    """A person's band for all products is neither overlooked nor lost by one for a product."""
    equip(sqlite_hub)
    hand = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    with pytest.raises(Standing, match="thresholds were set by eve meanwhile"):
        apply_thresholds(sqlite_hub, LINE, new(NARROW, product="plate"), "policy")
    fit = new(NARROW, product="plate", previous=hand.sha256)
    fitted = apply_thresholds(sqlite_hub, LINE, fit, "policy")
    back = revert_thresholds(sqlite_hub, LINE, Revert(sha256=fitted.sha256, comment="no"), "eve")
    assert (back.product, back.band) == ("plate", WIDE)


def test_a_record_for_all_products_taken_back_brings_the_one_products_band(sqlite_hub):
    equip(sqlite_hub)
    apply_thresholds(sqlite_hub, LINE, new(NARROW, product="plate"), "policy")
    hand = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    back = revert_thresholds(sqlite_hub, LINE, Revert(sha256=hand.sha256, comment="no"), "eve")
    assert back.band == NARROW


def test_what_one_camera_had_is_never_brought_back_for_all(sqlite_hub):
    equip(sqlite_hub)
    apply_thresholds(sqlite_hub, LINE, new(NARROW, camera="top"), "eve")
    every = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    back = revert_thresholds(sqlite_hub, LINE, Revert(sha256=every.sha256, comment="no"), "eve")
    assert (back.camera, back.band) == (None, CARD_BAND)


def test_what_a_person_set_since_it_was_asked_for_is_a_conflict(sqlite_hub):
    """Even for one camera only, which a record for all cameras would replace for good."""
    equip(sqlite_hub)
    asked_at = sqlite_hub.now()
    mine = apply_thresholds(sqlite_hub, LINE, new(NARROW, camera="top"), "eve")
    fit = new(WIDE, product="plate")
    with pytest.raises(Standing, match="set by hand meanwhile, by eve; ask again to fit"):
        apply_thresholds(sqlite_hub, LINE, fit, "policy", asked_at=asked_at)
    apply_thresholds(sqlite_hub, LINE, fit, "policy", asked_at=mine.when)


def test_the_band_in_force_on_a_line_is_that_of_most_stations(sqlite_hub):
    """One station's trial is not the line's band; the card's is while most have it."""
    equip(sqlite_hub)
    enrol(sqlite_hub, NewStation(station="three", line=LINE), "test")
    trial = apply_thresholds(sqlite_hub, LINE, new(NARROW, "two"), "eve")
    assert known_scores(sqlite_hub, LINE, BUNDLE).in_force == CARD_BAND
    every = new(WIDE, "one", "two", "three", previous=trial.sha256)
    first = apply_thresholds(sqlite_hub, LINE, every, "eve")
    again = apply_thresholds(sqlite_hub, LINE, new(NARROW, "two", previous=first.sha256), "eve")
    assert known_scores(sqlite_hub, LINE, BUNDLE).in_force == WIDE
    apply_thresholds(sqlite_hub, LINE, new(NARROW, "one", previous=again.sha256), "eve")
    assert known_scores(sqlite_hub, LINE, BUNDLE).in_force == NARROW


def test_a_record_that_came_meanwhile_is_a_conflict(sqlite_plant):
    equip(sqlite_plant.hub)
    engineer = sqlite_plant.person(Role.ENGINEER)
    first = engineer.set_thresholds(LINE, new(WIDE))
    for seen in (None, "0" * 64):
        with pytest.raises(Refused, match="thresholds were set by engineer-1 meanwhile") as refused:
            engineer.set_thresholds(LINE, new(NARROW, previous=seen))
        assert refused.value.status == 409
    assert [row.sha256 for row in engineer.thresholds(LINE)] == [first.sha256]


def test_viewers_look_and_engineers_set(plant):
    equip(plant.hub)
    viewer, engineer = plant.person(Role.VIEWER), plant.person(Role.ENGINEER)
    row = engineer.set_thresholds(LINE, new(WIDE))
    engineer.revert_thresholds(LINE, Revert(sha256=row.sha256, comment="no"))
    assert [one.who for one in viewer.thresholds(LINE)] == ["engineer-1", "engineer-1"]
    assert viewer.scores(LINE, BUNDLE).normals == (0.1, 0.5, 0.9)
    for refused in (
        lambda: viewer.set_thresholds(LINE, new(WIDE)),
        lambda: viewer.revert_thresholds(LINE, Revert(sha256=row.sha256, comment="no")),
    ):
        with pytest.raises(Refused, match="this needs engineer"):
            refused()


@pytest.mark.parametrize("name", ["far", "nobody", "two"], ids=["other line", "unknown", "retired"])
def test_only_stations_in_service_on_the_line_are_set(sqlite_hub, name):
    equip(sqlite_hub)
    with sqlite_hub.database.writing() as connection:
        gone = update(stations).where(stations.c.station == "two")
        connection.execute(gone.values(retired_at=sqlite_hub.now()))
    with pytest.raises(ConfigError, match=f"stations {name}: not in service on line 'line-1'"):
        apply_thresholds(sqlite_hub, LINE, new(WIDE, "one", name), "eve")
    assert list_thresholds(sqlite_hub, LINE) == ()


def test_a_bundle_nobody_brought_has_no_thresholds(sqlite_hub):
    enrol(sqlite_hub, NewStation(station="one", line=LINE), "test")
    with pytest.raises(NotThere, match="not on this hub"):
        apply_thresholds(sqlite_hub, LINE, new(WIDE, "one"), "eve")
    with pytest.raises(NotThere, match="not on this hub"):
        known_scores(sqlite_hub, LINE, BUNDLE)


def test_a_clock_set_back_does_not_put_a_record_behind_the_one_before(sqlite_hub, monkeypatch):
    equip(sqlite_hub)
    first = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    earlier = first.when - timedelta(hours=1)
    monkeypatch.setattr(type(sqlite_hub), "now", lambda _hub: earlier)
    second = apply_thresholds(sqlite_hub, LINE, new(NARROW, previous=first.sha256), "eve")
    assert second.when == first.when + timedelta(microseconds=1)
    assert second.in_force


def test_used_by_names_the_stations_that_say_they_judge_by_it(sqlite_hub):
    equip(sqlite_hub)
    apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    for station, band in (("one", WIDE), ("two", CARD_BAND)):
        said = BundleStatus(
            product="plate",
            camera="top",
            name="redness",
            bundle_id=BUNDLE,
            review_above=band.review_above,
            reject_above=band.reject_above,
            since=sqlite_hub.now(),
            trial=False,
            note="",
        )
        with sqlite_hub.database.writing() as connection:
            connection.execute(
                update(stations)
                .where(stations.c.station == station)
                .values(status=f'{{"bundles": [{said.model_dump_json()}]}}')
            )
    assert list_thresholds(sqlite_hub, LINE)[0].used_by == ("one",)


def test_a_record_once_written_stays_byte_for_byte(sqlite_hub):
    equip(sqlite_hub)
    first = apply_thresholds(sqlite_hub, LINE, new(WIDE), "eve")
    before = texts(sqlite_hub)
    revert_thresholds(sqlite_hub, LINE, Revert(sha256=first.sha256, comment="no"), "eve")
    assert texts(sqlite_hub)[:1] == before


def texts(hub):
    wanted = select(threshold_records.c.text).order_by(threshold_records.c.id)
    with hub.database.reading() as connection:
        return connection.execute(wanted).scalars().all()


def test_scores_are_told_apart_by_what_people_said(hub):
    add_card(hub, (0.2, 0.3))
    store(hub, *(part(number, number / 10) for number in range(1, 31)), part(31, None))
    for number, decision in ((12, "good"), (11, "good"), (25, "defect"), (30, "unsure")):
        review(hub, number, Decision(decision))
    found = known_scores(hub, LINE, BUNDLE)
    assert (found.normals, found.goods, found.defects) == ((0.2, 0.3), (1.1, 1.2), (2.5,))
    assert found.recent == tuple(number / 10 for number in range(1, 31))
    assert found.in_force == CARD_BAND
    assert known_scores(hub, "line-2", BUNDLE).recent == ()


def test_many_recent_scores_are_thinned_out_evenly(sqlite_hub, monkeypatch):
    monkeypatch.setattr(scores, "SHOWN", 10)
    add_card(sqlite_hub)
    store(sqlite_hub, *(part(number, float(number)) for number in range(1, 101)))
    assert known_scores(sqlite_hub, LINE, BUNDLE).recent == tuple(
        float(number) for number in range(10, 101, 10)
    )


def test_one_person_cannot_disarm_a_station(hub):
    """Thresholds beyond the limits of the card are refused, and nothing reaches a station."""
    equip(hub)
    with pytest.raises(ConfigError, match=r"1e\+06 lies beyond 0.1 to 1.62.*a second person"):
        apply_thresholds(hub, LINE, new(DISARMED), "eve")
    assert pulled(hub, "one") == ()


def test_a_second_person_approves_and_both_stand_in_the_record(hub):
    """Who proposed it cannot; the record, the history and the log name both."""
    equip(hub)
    waiting = propose_thresholds(hub, LINE, new(DISARMED, "one"), "eve")
    assert list_proposals(hub, LINE) == (waiting,)
    assert pulled(hub, "one") == ()
    with pytest.raises(Foreign, match=r"cannot approve .* ask a second person"):
        approve_thresholds(hub, LINE, waiting.id, "eve")
    row = approve_thresholds(hub, LINE, waiting.id, "bob")
    assert (row.band, row.who, row.approved_by) == (DISARMED, "eve", "bob")
    (text,) = pulled(hub, "one")
    assert check_thresholds(text, None, "record").record.approved_by == "bob"
    assert list_proposals(hub, LINE) == ()
    entries = list_entries(hub, after=None, limit=3).items
    assert [(one.action, one.actor) for one in entries] == [
        ("thresholds approve", "bob"),
        ("thresholds apply", "eve"),
        ("thresholds propose", "eve"),
    ]


def test_an_account_that_may_be_the_same_persons_is_no_second(sqlite_hub):
    """Who added or changed an account may know its password."""
    equip(sqlite_hub)
    made = ("bob", "root"), ("carol", "root"), ("eve", "root"), ("earlier", "eve")
    for name, by in made:
        add_account(sqlite_hub, NewAccount(account=name, role=Role.ENGINEER), by)
    waiting = propose_thresholds(sqlite_hub, LINE, new(DISARMED, "one"), "eve")
    add_account(sqlite_hub, NewAccount(account="later", role=Role.ENGINEER), "root")
    change_account(sqlite_hub, "carol", AccountChange(role=Role.ENGINEER), "eve")
    change_account(sqlite_hub, "eve", AccountChange(role=Role.ADMIN), "maker")
    for doubtful in ("earlier", "later", "carol", "maker"):
        with pytest.raises(Foreign, match="did so to the proposer's; ask a second person"):
            approve_thresholds(sqlite_hub, LINE, waiting.id, doubtful)
    assert approve_thresholds(sqlite_hub, LINE, waiting.id, "bob").approved_by == "bob"


def test_four_eyes_are_the_hubs_setting(sqlite_hub):
    """Where a plant has one engineer its hub may say so; stations have to be told, too."""
    equip(sqlite_hub)
    waiting = propose_thresholds(sqlite_hub, LINE, new(DISARMED, "one"), "eve")
    alone = replace(sqlite_hub, config=sqlite_hub.config.model_copy(update={"four_eyes": False}))
    row = approve_thresholds(alone, LINE, waiting.id, "eve")
    assert (row.who, row.approved_by) == ("eve", "eve")


def test_a_declined_proposal_is_gone(sqlite_hub):
    """Nothing is applied, and it cannot be decided on again."""
    equip(sqlite_hub)
    waiting = propose_thresholds(sqlite_hub, LINE, new(DISARMED), "eve")
    decline_thresholds(sqlite_hub, LINE, waiting.id, "bob")
    for decide in (decline_thresholds, approve_thresholds):
        with pytest.raises(NotThere, match=f"proposal {waiting.id} does not wait on line"):
            decide(sqlite_hub, LINE, waiting.id, "bob")
    assert list_thresholds(sqlite_hub, LINE) == ()


def test_a_proposal_that_others_overtook_is_not_applied(sqlite_hub):
    """Whoever approves sees what is in force; what was set since the proposal stays."""
    equip(sqlite_hub)
    waiting = propose_thresholds(sqlite_hub, LINE, new(DISARMED), "eve")
    apply_thresholds(sqlite_hub, LINE, new(WIDE), "bob")
    with pytest.raises(Standing, match="thresholds were set by bob meanwhile"):
        approve_thresholds(sqlite_hub, LINE, waiting.id, "bob")


def test_a_newer_proposal_takes_the_place_of_an_older_one_of_the_same_person(sqlite_hub):
    """A policy that asks every hour leaves one proposal."""
    equip(sqlite_hub)
    for _ in range(3):
        last = propose_thresholds(sqlite_hub, LINE, new(DISARMED), "policy")
    propose_thresholds(sqlite_hub, LINE, new(DISARMED), "eve")
    assert [one.who for one in list_proposals(sqlite_hub, LINE)] == ["eve", "policy"]
    assert list_proposals(sqlite_hub, LINE)[1] == last


def test_thresholds_within_the_limits_need_no_proposal(sqlite_hub):
    """A list of proposals holds only what needs a second person."""
    equip(sqlite_hub)
    with pytest.raises(ConfigError, match="within their card's limits; apply them"):
        propose_thresholds(sqlite_hub, LINE, new(WIDE), "eve")


def test_taking_back_does_not_bring_an_override_back(sqlite_hub):
    """The band before was approved once; bringing it back is another decision."""
    equip(sqlite_hub)
    waiting = propose_thresholds(sqlite_hub, LINE, new(DISARMED), "eve")
    before = approve_thresholds(sqlite_hub, LINE, waiting.id, "bob")
    row = apply_thresholds(sqlite_hub, LINE, new(WIDE, previous=before.sha256), "eve")
    with pytest.raises(ConfigError, match="let a second person approve these"):
        revert_thresholds(sqlite_hub, LINE, Revert(sha256=row.sha256, comment="no"), "eve")


def test_a_comment_is_one_line(sqlite_plant):
    """U+2028 made the hub sign text that reads as other lines."""
    equip(sqlite_plant.hub)
    engineer = sqlite_plant.person(Role.ENGINEER)
    for words in ("one\u2028two", "one\ntwo", "one\x85two"):
        body = new(WIDE).model_dump(mode="json") | {"comment": words}
        with pytest.raises(Refused, match="line separator") as refused:
            engineer.ask("POST", f"/v1/lines/{LINE}/thresholds", ThresholdRow, json=body)
        assert refused.value.status == 422


def test_roles_propose_and_approve(sqlite_plant):
    """Viewers read what waits; two engineers decide."""
    equip(sqlite_plant.hub)
    viewer, engineer = sqlite_plant.person(Role.VIEWER), sqlite_plant.person(Role.ENGINEER)
    second = sqlite_plant.person(Role.ENGINEER, "bob")
    with pytest.raises(Refused, match="this needs engineer"):
        viewer.propose_thresholds(LINE, new(DISARMED))
    waiting = engineer.propose_thresholds(LINE, new(DISARMED))
    assert viewer.proposals(LINE) == (waiting,)
    with pytest.raises(Refused, match="ask a second person") as refused:
        engineer.approve_thresholds(LINE, waiting.id)
    assert refused.value.status == 403
    row = second.approve_thresholds(LINE, waiting.id)
    assert row.approved_by == "bob"
    again = engineer.propose_thresholds(LINE, new(DISARMED, previous=row.sha256))
    engineer.decline_thresholds(LINE, again.id)
    assert engineer.proposals(LINE) == ()
