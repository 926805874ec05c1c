"""A bundle with the scores of another is held against its bands, and knows who set them."""

import pytest

from inspection.core.decision import Band
from inspection.hub.audit import list_entries
from inspection.hub.refits import fitted_in_force
from inspection.hub.stations import enrol, retire
from inspection.hub.threshold_rows import read_kept
from inspection.hub.thresholds import (
    apply_thresholds,
    band_in_force,
    carry_thresholds,
    list_thresholds,
    read_by_hand,
    record_in_force,
    revert_thresholds,
)
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.thresholds import NewThresholds, Revert
from tests.hub.scored import BUNDLE, CARD_BAND, add_card

LINE, NEW, NEWER = "line-1", "c" * 64, "d" * 64
WIDE, NARROW = Band(review_above=1, reject_above=3), Band(review_above=1.5, reject_above=2.5)


@pytest.fixture(autouse=True)
def _own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


@pytest.fixture
def line(make_hub, sqlite_url):
    """A hub with a line of two stations, and three bundles of the same scores."""
    return equip(make_hub(sqlite_url))


def equip(hub):
    for bundle_id in (BUNDLE, NEW, NEWER):
        add_card(hub, (0.1, 0.5, 0.9), bundle_id)
    for station in ("one", "two"):
        enrol(hub, NewStation(station=station, line=LINE), "test")
    return hub


def put(hub, band, who, *, bundle_id=BUNDLE, stations=("one", "two"), **scope):
    """Set a band, whatever was in force."""
    wanted = bundle_id, scope.get("product", "plate"), scope.get("camera")
    with hub.database.reading() as connection:
        kept = read_kept(connection, LINE)
    previous = next((one.sha256 for one in kept if one.record.covers(*wanted)), None)
    new = NewThresholds(
        bundle_id=bundle_id,
        band=band,
        stations=stations,
        comment="a reason",
        previous=previous,
        **{"product": "plate"} | scope,
    )
    return apply_thresholds(hub, LINE, new, who)


def carry(hub, bundle_id=NEW, champion_id=BUNDLE):
    return carry_thresholds(hub, LINE, champion_id, bundle_id)


def in_force(hub, bundle_id=NEW):
    with hub.database.reading() as connection:
        return band_in_force(connection, LINE, bundle_id, "plate")


def test_every_band_comes_along_once(hub):
    equip(hub)
    put(hub, WIDE, "eve")
    put(hub, NARROW, "policy", stations=("two",), camera="top")
    assert carry(hub) == 2
    assert carry(hub) == 0
    rows = [one for one in list_thresholds(hub, LINE) if one.bundle_id == NEW]
    assert [(one.band, one.camera, one.stations) for one in rows] == [
        (NARROW, "top", ("two",)),
        (WIDE, None, ("one", "two")),
    ]
    assert rows[1].why == f"as of bundle {BUNDLE[:12]}, whose scores it has, by eve: a reason"
    entry = list_entries(hub, after=None, limit=1).items[0]
    assert (entry.action, entry.actor) == ("thresholds carry", "policy"), "eve did not do it"


def test_a_band_that_comes_later_comes_along_too(line):
    put(line, WIDE, "policy")
    carry(line)
    newer = put(line, NARROW, "eve")
    assert (carry(line), in_force(line)) == (1, NARROW)
    revert_thresholds(line, LINE, Revert(sha256=newer.sha256, comment="no"), "eve")
    assert (carry(line), in_force(line)) == (1, WIDE)


def test_what_was_set_for_the_bundle_itself_since_stays(line):
    put(line, WIDE, "policy")
    put(line, NARROW, "eve", bundle_id=NEW)
    assert (carry(line), in_force(line)) == (0, NARROW)


def test_what_was_set_for_one_camera_at_one_station_stays_there_alone(line):
    put(line, WIDE, "policy")
    put(line, NARROW, "eve", bundle_id=NEW, stations=("one",), camera="top")
    assert carry(line) == 1
    carried = next(one for one in list_thresholds(line, LINE) if one.bundle_id == NEW)
    assert (carried.band, carried.camera, carried.stations) == (WIDE, None, ("two",))


def test_a_carried_band_that_somebody_took_back_does_not_come_again(line):
    put(line, WIDE, "policy")
    carry(line)
    (carried,) = (one for one in list_thresholds(line, LINE) if one.bundle_id == NEW)
    taken = revert_thresholds(line, LINE, Revert(sha256=carried.sha256, comment="no"), "eve")
    assert (carry(line), taken.band) == (0, CARD_BAND)


def test_taken_back_it_brings_the_band_that_its_origin_replaced(line):
    put(line, NARROW, "eve")
    put(line, WIDE, "policy")
    carry(line)
    carried = next(one for one in list_thresholds(line, LINE) if one.bundle_id == NEW)
    taken = revert_thresholds(line, LINE, Revert(sha256=carried.sha256, comment="no"), "eve")
    assert (carried.band, taken.band) == (WIDE, NARROW)


def test_taken_back_to_a_refit_of_before_it_is_still_known_as_one(line):
    """A picture that was forgotten finds it."""
    first = put(line, NARROW, "policy")
    put(line, WIDE, "policy")
    carry(line)
    carried = next(one for one in list_thresholds(line, LINE) if one.bundle_id == NEW)
    revert_thresholds(line, LINE, Revert(sha256=carried.sha256, comment="no"), "policy")
    with line.database.reading() as connection:
        found = {one.bundle_id: one for one in fitted_in_force(read_kept(connection, LINE))}
    assert (found[NEW].judged_by, found[NEW].fitted_at) == (BUNDLE, first.when)


def test_only_stations_in_service_get_it(line):
    put(line, WIDE, "policy")
    retire(line, "two", "test")
    carry(line)
    (carried,) = (one for one in list_thresholds(line, LINE) if one.bundle_id == NEW)
    assert carried.stations == ("one",)


@pytest.mark.parametrize(("who", "by_hand"), [("eve", True), ("policy", False)])
def test_a_persons_band_stays_a_persons_by_way_of_two_bundles(line, who, by_hand):
    put(line, WIDE, who)
    carry(line)
    carry(line, NEWER, NEW)
    with line.database.reading() as connection:
        assert read_by_hand(connection, LINE, NEWER, "plate").mostly is by_hand
        origin = record_in_force(connection, LINE, NEWER, "plate")
    assert (origin.who, origin.bundle_id) == (who, BUNDLE)


def test_a_carried_refit_was_fitted_when_and_on_what_its_origin_was(line):
    """So a lamp mended since, or a picture forgotten, finds the ones it found before."""
    first = put(line, WIDE, "policy")
    carry(line)
    carry(line, NEWER, NEW)
    with line.database.reading() as connection:
        found = {one.bundle_id: one for one in fitted_in_force(read_kept(connection, LINE))}
    assert found.keys() == {BUNDLE, NEW, NEWER}
    for one in found.values():
        assert (one.judged_by, one.fitted_at) == (BUNDLE, first.when)
        assert (one.set_at == first.when) is (one.bundle_id == BUNDLE)
