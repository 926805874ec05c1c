"""Replay: a past time decided again by stored scores, or by another bundle on stored pictures."""

from datetime import timedelta
from hashlib import sha256

import pytest

from inspection.bench.redness import make_bundle
from inspection.core.decision import Band, Verdict
from inspection.hub import replay as module
from inspection.hub.asking import Refused
from inspection.hub.audit import list_entries
from inspection.hub.models import add_bundle
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.replay import replay
from inspection.hub.wire.people import Role
from inspection.hub.wire.review import Decision
from inspection.hub.wire.thresholds import Replay
from tests.hub.bundles import red_part
from tests.hub.parts import BEGIN, SENDER, part, store
from tests.hub.scored import BUNDLE, CARD_BAND, add_card, review

PASS, REVIEW, REJECT, FAULT = Verdict
LOW = Band(review_above=0.5, reject_above=0.8)


def past(begin_s=0.0, end_s=3600.0, **changes):
    begin, end = (BEGIN + timedelta(seconds=seconds) for seconds in (begin_s, end_s))
    return Replay(line="line-1", begin=begin, end=end, bundle_id=BUNDLE, **changes)


def test_a_time_is_decided_again_and_held_against_what_people_said(plant):
    add_card(plant.hub)
    store(plant.hub, *(part(number, number / 10) for number in range(1, 31)), part(31, None))
    store(plant.hub, part(32, 9.0, bundle_id="c" * 64))
    for number, decision in ((6, Decision.GOOD), (9, Decision.DEFECT), (2, Decision.UNSURE)):
        review(plant.hub, number, decision)
    viewer = plant.person(Role.VIEWER)
    before = list_entries(plant.hub, after=None, limit=1).items[0].id
    found = viewer.replay(past(1, 11, band=LOW))
    assert (found.parts, found.without, found.band) == (10, 0, LOW)
    assert found.now == {PASS: 10, REVIEW: 0, REJECT: 0, FAULT: 0}
    assert found.then == {PASS: 5, REVIEW: 3, REJECT: 2, FAULT: 0}
    assert {
        said: {v: n for v, n in then.items() if n} for said, then in found.reviewed_then.items()
    } == {"good": {REVIEW: 1}, "defect": {REJECT: 1}}
    assert {one.row.event_id for one in found.changes} == {f"part-{n}" for n in range(6, 11)}
    assert list_entries(plant.hub, after=None, limit=1).items[0].id == before


def test_without_a_band_the_one_in_force_decides(sqlite_hub):
    add_card(sqlite_hub)
    store(sqlite_hub, part(1, 1.5), part(2, None))
    found = replay(sqlite_hub, past())
    assert (found.band, found.parts, found.without, found.changes) == (CARD_BAND, 1, 1, ())


def test_another_bundle_judges_the_stored_pictures(plant, tmp_path):
    hub = plant.hub
    add_card(hub)
    other = add_bundle(hub, make_bundle(tmp_path / "other"), "test").bundle_id
    store(hub, *(part(number, 0.1) for number in range(1, 6)))
    for number, red in ((1, 20), (2, 150), (3, 250)):
        keep(hub, number, red_part(red))
    keep(hub, 4, red_part(20)[:-20] + bytes(20))
    found = plant.person(Role.VIEWER).replay(past(other_bundle_id=other))
    assert (found.parts, found.without) == (3, 2)  # one damaged, of one no picture came
    assert found.band == LOW  # of the other bundle's card
    assert found.then == {PASS: 1, REVIEW: 1, REJECT: 1, FAULT: 0}
    assert [one.row.event_id for one in found.changes] == ["part-3", "part-2"]
    assert "pictures were judged whole" in found.notes[0]


def keep(hub, number, encoded):
    name, digest = f"{number}-top.png", sha256(encoded).hexdigest()
    keep_picture(hub, SENDER, SentPicture(f"part-{number}", name, encoded, digest))


def test_a_replay_ends_where_it_would_take_too_long(sqlite_hub, monkeypatch):
    monkeypatch.setattr(module, "MOST_PARTS", 3)
    add_card(sqlite_hub)
    store(sqlite_hub, *(part(number, 0.1) for number in range(1, 4)))
    assert len(replay(sqlite_hub, past()).notes) == 1
    store(sqlite_hub, part(4, 0.1))
    found = replay(sqlite_hub, past())
    assert found.parts == 3
    assert found.notes[1] == "Ended after 3 parts of the line; take a shorter time"


def test_pictures_end_at_their_number(sqlite_hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_PICTURES", 2)
    add_card(sqlite_hub)
    other = add_bundle(sqlite_hub, make_bundle(tmp_path / "other"), "test").bundle_id
    store(sqlite_hub, *(part(number, 0.1) for number in range(1, 5)))
    for number in range(1, 5):
        keep(sqlite_hub, number, red_part(20))
    found = replay(sqlite_hub, past(other_bundle_id=other))
    assert found.parts == 2
    assert found.notes[1].startswith("Ended after 2 pictures")


@pytest.mark.parametrize(
    ("wanted", "status", "message"),
    [
        (past(10, 10), 422, "wanted a beginning before the end"),
        (past(), 404, "not on this hub"),
        (past(other_bundle_id="e" * 64), 404, "not on this hub"),
    ],
    ids=["no time", "no such bundle", "no such other bundle"],
)
def test_what_cannot_be_replayed_is_refused(sqlite_plant, wanted, status, message):
    with pytest.raises(Refused, match=message) as refused:
        sqlite_plant.person(Role.VIEWER).replay(wanted)
    assert refused.value.status == status
