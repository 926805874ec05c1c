"""What stations pull: offers and threshold records as soon as they change, files of bundles."""

import asyncio
import threading
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import insert

from inspection.bench.redness import make_bundle
from inspection.bundles.seal import SUMS
from inspection.bundles.signing import (
    Deployment,
    Purpose,
    SignedText,
    check_signature,
    own_keys,
)
from inspection.bundles.thresholds import ThresholdRecord, sign_thresholds
from inspection.core.decision import Band
from inspection.hub import news
from inspection.hub.artefacts import bundle_file_name
from inspection.hub.models import add_bundle, choose
from inspection.hub.stations import revoke
from inspection.hub.tables import threshold_records, threshold_stations
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Login, Role
from tests.hub.conftest import PASSWORD

CHANGED = "0" * 64


def ask(plant, path: str, token: str | None, known: str = "", wait_s: float = 0) -> httpx.Response:
    """Ask as a station does."""
    headers = {"If-None-Match": known}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    address = f"{plant.url}/v1{path}"
    return httpx.get(address, params={"wait_s": wait_s}, headers=headers, timeout=60)


def set_band(hub, station: str, bundle_id: str = CHANGED, **changes) -> SignedText:
    """Write a threshold record for a station, as the thresholds page does."""
    values = {
        "bundle_id": bundle_id,
        "band": Band(review_above=0.1, reject_above=0.2),
        "who": "eve",
        "when": hub.now(),
        "why": "why",
    }
    signed = sign_thresholds(ThresholdRecord.model_validate(values | changes))
    row = {
        "sha256": signed.sha256,
        "line": "line-1",
        "bundle_id": bundle_id,
        "text": signed.signed.text,
        "signature": signed.signed.signature.model_dump_json(),
        "when": signed.record.when,
    }
    with hub.database.writing() as connection:
        connection.execute(insert(threshold_records).values(row))
        connection.execute(insert(threshold_stations).values(sha256=signed.sha256, station=station))
    hub.news.ring()
    return signed.signed


def while_waiting(hub, change: Callable[[], object]) -> threading.Timer:
    """Change something a moment from now."""
    timer = threading.Timer(0.3, change)
    timer.start()
    return timer


def deployments(answer: httpx.Response) -> list[Deployment]:
    """Read what a hub lets a station run, signed for that station."""
    texts = [SignedText.model_validate(one) for one in answer.json()]
    for one in texts:
        check_signature(Purpose.DEPLOYMENT, one.text, one.signature, own_keys(), "deployment")
    return [Deployment.model_validate_json(one.text) for one in texts]


@pytest.fixture
def deaf(monkeypatch):
    """Nobody looks again by himself: who waits hears the bell or nothing."""
    monkeypatch.setattr(news, "LOOK_S", 60.0)


def test_a_waiting_station_hears_of_a_choice_at_once(plant, deaf, tmp_path):
    token = plant.station_token("s1", "line-1")
    bundle_id = add_bundle(plant.hub, make_bundle(tmp_path / "bundle"), "ann").bundle_id
    nothing = ask(plant, "/stations/s1/bundles", token)
    assert (nothing.status_code, nothing.json()) == (200, [])
    new = NewChoice(bundle_id=bundle_id, comment="why")
    timer = while_waiting(plant.hub, lambda: choose(plant.hub, "line-1", new, "ann"))
    answer = ask(plant, "/stations/s1/bundles", token, nothing.headers["ETag"], 30)
    timer.join()
    (offered,) = deployments(answer)
    assert (offered.bundle_id, offered.name) == (bundle_id, "redness")
    assert ask(plant, "/stations/s1/bundles", token, answer.headers["ETag"]).status_code == 304


def test_only_the_newest_choice_of_each_name_is_offered(sqlite_plant, tmp_path):
    hub, token = sqlite_plant.hub, sqlite_plant.station_token("s1", "line-1")
    made = [("redness", 0), ("redness", 1), ("lid", 0)]
    ids = [
        add_bundle(hub, make_bundle(tmp_path / f"{name}{day}", name=name, day=day), "a").bundle_id
        for name, day in made
    ]
    for bundle_id in (ids[1], ids[0], ids[2]):
        choose(hub, "line-1", NewChoice(bundle_id=bundle_id, comment="why"), "ann")
    choose(hub, "line-2", NewChoice(bundle_id=ids[1], comment="why"), "ann")
    offered = deployments(ask(sqlite_plant, "/stations/s1/bundles", token))
    assert [one.bundle_id for one in offered] == [ids[2], ids[0]]


def test_a_waiting_station_gets_its_own_records_as_they_were_signed(plant, deaf):
    token = plant.station_token("s1", "line-1")
    plant.station_token("s2", "line-1")
    first = set_band(plant.hub, "s1")
    set_band(plant.hub, "s2", why="not for s1")
    before = ask(plant, "/stations/s1/thresholds", token)
    assert [SignedText.model_validate(one) for one in before.json()] == [first]
    timer = while_waiting(plant.hub, lambda: set_band(plant.hub, "s1", why="another"))
    answer = ask(plant, "/stations/s1/thresholds", token, before.headers["ETag"], 30)
    timer.join()
    assert answer.json()[0] == before.json()[0]
    assert '"another"' in answer.json()[1]["text"]


def test_what_is_for_another_station_wakes_but_does_not_answer(sqlite_plant):
    token = sqlite_plant.station_token("s1")
    sqlite_plant.station_token("s2")
    known = ask(sqlite_plant, "/stations/s1/thresholds", token).headers["ETag"]
    timer = while_waiting(sqlite_plant.hub, lambda: set_band(sqlite_plant.hub, "s2"))
    answer = ask(sqlite_plant, "/stations/s1/thresholds", token, known, 0.6)
    timer.join()
    assert (answer.status_code, answer.headers["ETag"]) == (304, known)


def test_nothing_is_missed_between_looking_and_waiting(deaf):
    async def look_then_wait() -> None:
        bells = news.News()
        with bells.listening() as bell:
            bells.ring()
            await asyncio.wait_for(bell.wait(60), 10)

    asyncio.run(look_then_wait())


def test_a_token_revoked_while_its_station_waits_gets_nothing_any_more(sqlite_plant, deaf):
    hub, token = sqlite_plant.hub, sqlite_plant.station_token("s1")
    known = ask(sqlite_plant, "/stations/s1/thresholds", token).headers["ETag"]

    def revoke_then_set() -> None:
        revoke(hub, "s1", 1, "ann")
        set_band(hub, "s1")

    timer = while_waiting(hub, revoke_then_set)
    assert ask(sqlite_plant, "/stations/s1/thresholds", token, known, 30).status_code == 401
    timer.join()


def test_who_waits_is_answered_when_the_hub_ends(sqlite_plant, deaf):
    token = sqlite_plant.station_token("s1")
    known = ask(sqlite_plant, "/stations/s1/bundles", token).headers["ETag"]
    timer = while_waiting(sqlite_plant.hub, sqlite_plant.hub.news.end)
    assert ask(sqlite_plant, "/stations/s1/bundles", token, f"W/{known}", 30).status_code == 304
    timer.join()


@pytest.mark.parametrize("what", ["bundles", "thresholds"])
def test_a_station_asks_for_its_own_only(sqlite_plant, what):
    token = sqlite_plant.station_token("s1")
    assert ask(sqlite_plant, f"/stations/s2/{what}", token).status_code == 403
    assert ask(sqlite_plant, f"/stations/s1/{what}", None).status_code == 401
    assert ask(sqlite_plant, f"/stations/s1/{what}", token, wait_s=31).status_code == 422


def offered(plant, folder) -> str:
    """Add a bundle and offer it on line-1; only the stations there may read it."""
    bundle_id = add_bundle(plant.hub, folder, "ann").bundle_id
    choose(plant.hub, "line-1", NewChoice(bundle_id=bundle_id, comment="why"), "ann")
    return bundle_id


def test_every_file_of_a_bundle_is_given_as_it_is(sqlite_plant, tmp_path):
    folder, token = make_bundle(tmp_path / "bundle"), sqlite_plant.station_token("s1")
    bundle_id = offered(sqlite_plant, folder)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    assert len(paths) == 8
    for path in paths:
        name = path.relative_to(folder).as_posix()
        assert ask(sqlite_plant, f"/bundles/{bundle_id}/{name}", token).content == path.read_bytes()


def test_no_other_path_leads_to_a_file(sqlite_plant, tmp_path):
    token = sqlite_plant.station_token("s1")
    folder = make_bundle(tmp_path / "bundle")
    bundle_id = add_bundle(sqlite_plant.hub, folder, "ann").bundle_id
    for path in (
        "other.json",
        "golden",
        "",
        "../../../hub.sqlite",
        "%2e%2e/%2e%2e/%2e%2e/hub.sqlite",
        "golden/..%2fcard.json",
        "/card.json",
        "card.json%5c",
    ):
        answer = ask(sqlite_plant, f"/bundles/{bundle_id}/{path}", token)
        assert (path, answer.status_code) == (path, 404)


def test_a_bundle_is_for_stations_and_people_of_the_plant_only(sqlite_plant, tmp_path):
    bundle_id = add_bundle(sqlite_plant.hub, make_bundle(tmp_path / "b"), "ann").bundle_id
    sqlite_plant.person(Role.VIEWER, "vic")
    session = sqlite_plant.client().login(Login(account="vic", password=PASSWORD))
    assert ask(sqlite_plant, f"/bundles/{bundle_id}/{SUMS}", session.token).status_code == 200
    assert ask(sqlite_plant, f"/bundles/{bundle_id}/{SUMS}", None).status_code == 401
    token = sqlite_plant.station_token("s1")
    assert ask(sqlite_plant, f"/bundles/{'0' * 64}/{SUMS}", token).status_code == 404
    assert ask(sqlite_plant, f"/bundles/..%2f..%2fx/{SUMS}", token).status_code == 404


def test_a_file_the_store_has_lost_is_the_hubs_fault(sqlite_plant, tmp_path):
    token = sqlite_plant.station_token("s1")
    bundle_id = offered(sqlite_plant, make_bundle(tmp_path / "b"))
    sqlite_plant.hub.artefacts.delete(bundle_file_name(bundle_id, "card.json"))
    assert ask(sqlite_plant, f"/bundles/{bundle_id}/card.json", token).status_code == 503
