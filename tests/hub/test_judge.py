"""Judging on the hub for thin clients: the station's verdict, one durable event per picture."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from inspection.bench.redness import make_bundle
from inspection.core.decision import Band, Verdict
from inspection.hub.artefacts import picture_name
from inspection.hub.asking import Refused
from inspection.hub.models import add_bundle, choose
from inspection.hub.tables import events, hours
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from tests.hub.bundles import red_part
from tests.hub.test_pulls import set_band


def choose_new(hub, folder, **made) -> str:
    """Make a bundle, choose it for line-1 and give its id."""
    bundle_id = add_bundle(hub, make_bundle(folder, **made), "ann").bundle_id
    choose(hub, "line-1", NewChoice(bundle_id=bundle_id, comment="why"), "ann")
    return bundle_id


def count(hub) -> tuple[int, int]:
    """Count the events, and the parts of the hours."""
    with hub.database.reading() as connection:
        stored = connection.execute(select(func.count()).select_from(events)).scalar_one()
        parts = connection.execute(select(func.coalesce(func.sum(hours.c.parts), 0))).scalar_one()
    return stored, int(parts)


@pytest.fixture
def thin(sqlite_plant, tmp_path):
    """A thin client of line-1, on which a bundle was chosen."""
    choose_new(sqlite_plant.hub, tmp_path / "bundle")
    return sqlite_plant.client(sqlite_plant.station_token("thin", "line-1"))


def test_a_picture_becomes_one_durable_event_of_its_station(plant, tmp_path):
    bundle_id = choose_new(plant.hub, tmp_path / "bundle")
    thin = plant.client(plant.station_token("thin", "line-1"))
    pictures = [red_part(red) for red in (20, 160, 240)]
    answers = [thin.judge("line-1", "lid", "p1", picture) for picture in pictures]
    found = [(one.event.sequence, one.event.verdict) for one in answers]
    assert found == [(1, Verdict.PASS), (2, Verdict.REVIEW), (3, Verdict.REJECT)]
    last = answers[2]
    assert last.event.frames[0].score == pytest.approx(240 / 255, abs=1e-4)
    row = last.row
    assert (row.station, row.line, row.product, row.part_id) == ("thin", "line-1", "lid", "p1")
    assert (row.bundle_id, row.picture, row.camera) == (bundle_id, "0000000003-main.png", "main")
    kept = picture_name(hashlib.sha256(pictures[2]).hexdigest())
    assert plant.hub.artefacts.get(kept) == pictures[2]


def test_the_same_picture_of_the_same_part_gets_the_first_answer(plant, tmp_path):
    choose_new(plant.hub, tmp_path / "bundle")
    thin = plant.client(plant.station_token("thin", "line-1"))
    picture = red_part(240)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: thin.judge("line-1", "lid", "p1", picture), range(8)))
    assert len({one.model_dump_json() for one in answers}) == 1
    assert thin.judge("line-1", "lid", "p2", picture).event.sequence == 2
    assert count(plant.hub) == (2, 2)


def test_a_picture_that_cannot_be_judged_is_a_fault(thin):
    answer = thin.judge("line-1", "lid", "p1", red_part(20)[:-60])
    assert answer.event.verdict is Verdict.FAULT
    assert "cannot be decoded" in answer.event.reason
    assert [one.name for one in answer.pictures] == [answer.event.frames[0].image]


def test_what_is_no_picture_is_refused_and_no_event(thin, sqlite_plant):
    with pytest.raises(Refused, match="not an image file") as refused:
        thin.judge("line-1", "lid", "p1", b"<html><script>alert(1)</script></html>")
    assert refused.value.status == 415
    assert count(sqlite_plant.hub) == (0, 0)


def test_the_newest_record_of_the_station_is_in_force(thin, sqlite_plant):
    hub = sqlite_plant.hub
    (bundle,) = sqlite_plant.person(Role.VIEWER).bundles()
    sqlite_plant.station_token("other", "line-1")
    set_band(hub, "thin", bundle.bundle_id, band=Band(review_above=0.01, reject_above=0.02))
    set_band(hub, "thin", bundle.bundle_id, band=Band(review_above=0.9, reject_above=0.95))
    set_band(hub, "thin", bundle.bundle_id, product="box")
    set_band(hub, "other", bundle.bundle_id)
    assert thin.judge("line-1", "lid", "p1", red_part(160)).event.verdict is Verdict.PASS
    assert thin.judge("line-1", "box", "p2", red_part(160)).event.verdict is Verdict.REJECT


def test_of_several_bundles_the_one_named_as_the_product_judges(sqlite_plant, tmp_path):
    lid = choose_new(sqlite_plant.hub, tmp_path / "lid", name="lid")
    choose_new(sqlite_plant.hub, tmp_path / "box", name="box")
    thin = sqlite_plant.client(sqlite_plant.station_token("thin", "line-1"))
    assert thin.judge("line-1", "lid", "p1", red_part(20)).row.bundle_id == lid
    with pytest.raises(Refused, match="bundles box, lid are chosen, none for product 'can'") as no:
        thin.judge("line-1", "can", "p1", red_part(20))
    assert no.value.status == 422


def test_a_line_without_choice_judges_nothing(sqlite_plant):
    thin = sqlite_plant.client(sqlite_plant.station_token("thin", "line-1"))
    with pytest.raises(Refused, match="no bundle is chosen"):
        thin.judge("line-1", "lid", "p1", red_part(20))
    assert count(sqlite_plant.hub) == (0, 0)


def test_only_stations_have_pictures_judged_and_only_on_their_line(thin, sqlite_plant):
    for client, line, status in (
        (thin, "line-2", 403),
        (sqlite_plant.person(Role.ADMIN), "line-1", 401),
        (sqlite_plant.client(), "line-1", 401),
    ):
        with pytest.raises(Refused) as refused:
            client.judge(line, "lid", "p1", red_part(20))
        assert refused.value.status == status
