"""Events of stations: each stored once, durable before the answer, what does not fit said."""

import json
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select

from inspection.core.errors import ConfigError, HubError
from inspection.hub.ingest import Sender, keep_status, parse_event, store_events
from inspection.hub.refusals import Foreign, Standing
from inspection.hub.standing import station_rows
from inspection.hub.stations import enrol, revoke
from inspection.hub.tables import events, hours, stations
from inspection.hub.wire.line import NewStation
from tests.hub.parts import SENDER, part, store
from tests.hub.stations import status


def body(*parts, **changes) -> bytes:
    return json.dumps([one.model_dump(mode="json") | changes for one in parts]).encode()


def stored_ids(hub) -> list[str]:
    with hub.database.reading() as connection:
        return list(connection.execute(select(events.c.event_id).order_by(events.c.id)).scalars())


def counted(hub) -> int:
    with hub.database.reading() as connection:
        return connection.execute(select(func.sum(hours.c.parts))).scalar() or 0


def test_a_batch_is_stored_once_however_often_it_comes(plant):
    """The answer to a repeated batch is that of the first; neither rows nor counts change."""
    headers = {"Authorization": f"Bearer {plant.station_token()}"}
    batch = body(part(1, 0.5), part(2, 1.5), part(3, 9.0), action="none")
    answers = [
        httpx.post(f"{plant.url}/v1/events", content=batch, headers=headers) for _ in range(3)
    ]
    assert [(one.status_code, one.json()) for one in answers] == [(200, {"stored": 3})] * 3
    assert stored_ids(plant.hub) == ["part-1", "part-2", "part-3"]
    assert counted(plant.hub) == 3


def test_hours_hold_what_pages_need(hub):
    store(hub, part(1, 0.5), part(2, 0.75), part(3600 + 1, 9.0))
    with hub.database.reading() as connection:
        rows = connection.execute(select(hours).order_by(hours.c.hour, hours.c.verdict)).all()
    assert [(row.verdict, row.parts, row.scores) for row in rows] == [
        ("PASS", 2, 2),
        ("REJECT", 1, 1),
    ]
    assert (rows[0].score_sum, rows[0].score_squares) == (1.25, 0.8125)
    assert (rows[0].latency_sum_ms, rows[0].latency_most_ms) == (10.0, 5.0)
    assert rows[1].hour - rows[0].hour == timedelta(hours=1)
    store(hub, part(4, 1.0))
    with hub.database.reading() as connection:
        assert connection.execute(select(func.max(hours.c.parts))).scalar() == 3


def test_the_record_is_kept_as_sent_with_what_a_newer_station_adds(sqlite_hub):
    sent = part(1, 0.5).model_dump(mode="json") | {"action": "eject", "schema_version": 9}
    sent["weather"] = "fair"
    sent["frames"][0]["lens"] = {"f": 8}
    assert store_events(sqlite_hub, SENDER, json.dumps([sent]).encode()) == 1
    with sqlite_hub.database.reading() as connection:
        record = connection.execute(select(events.c.record)).scalar_one()
    assert json.loads(record) == sent
    assert parse_event(record).part_id == "serial 1"


def test_an_event_known_with_other_content_stays_and_is_said(hub):
    """Those before it are stored, then the station is told; nothing is overwritten."""
    store(hub, part(2, 0.5))
    other = part(2, 9.0)
    assert store_events(hub, SENDER, body(part(1, 0.5), other, part(3, 0.5))) == 1
    with pytest.raises(Standing, match="event 'part-2': is known with other content"):
        store_events(hub, SENDER, body(other, part(3, 0.5)))
    with hub.database.reading() as connection:
        row = connection.execute(select(events).where(events.c.event_id == "part-2")).one()
    assert (row.verdict, parse_event(row.record).verdict) == ("PASS", "PASS")


def test_another_action_is_no_other_content(sqlite_hub):
    """A line may change what it does with a verdict; the event is the same."""
    assert store_events(sqlite_hub, SENDER, body(part(1, 0.5), action="none")) == 1
    assert store_events(sqlite_hub, SENDER, body(part(1, 0.5), action="lamp")) == 1


def test_one_event_twice_in_a_batch_counts_once(hub):
    assert store_events(hub, SENDER, body(part(1, 0.5), part(1, 0.5))) == 2
    assert (stored_ids(hub), counted(hub)) == (["part-1"], 1)
    with pytest.raises(Standing):
        store_events(hub, SENDER, body(part(1, 0.6)))


NO_EVENT = {
    "no JSON": (b"[{", "not JSON"),
    "no array": (b"{}", "found dict"),
    "NaN": (b"[NaN]", "not JSON"),
    "too many": (body(*(part(number, 0.5) for number in range(1, 102))), "found 101 events"),
    "a key missing": (b"[{}]", "event 0: event_id: Field required"),
    "NUL": (body(part(1, 0.5), part_id="a\0b"), "event 0: part_id"),
    "id with a path": (body(part(1, 0.5, event_id="a/../b")), "event 0: event_id"),
    "a number too large": (body(part(1, 0.5), sequence=2**63), "event 0: sequence"),
    "before what clocks know": (
        body(part(1, 0.5), captured_at="0001-01-01T00:00:00+14:00"),
        "event 0: captured_at",
    ),
    "after what clocks know": (
        body(part(1, 0.5), captured_at="9999-12-31T23:59:59-14:00"),
        "event 0: captured_at",
    ),
    "product too long": (body(part(1, 0.5), product="p" * 129), "event 0: product"),
    "camera too long": (body(part(1, 0.5, "c" * 129)), "too long"),
    "score without end": (body(part(1, 1e200)), "lies beyond"),
}


@pytest.mark.parametrize(("sent", "said"), NO_EVENT.values(), ids=NO_EVENT)
def test_what_is_no_event_is_refused_and_said(sqlite_hub, sent, said):
    with pytest.raises(ConfigError, match=said):
        store_events(sqlite_hub, SENDER, sent)
    assert stored_ids(sqlite_hub) == []


def test_events_before_an_invalid_one_are_stored(sqlite_hub):
    sent = json.loads(body(part(1, 0.5), part(2, 0.5)))
    sent[1]["verdict"] = "MAYBE"
    assert store_events(sqlite_hub, SENDER, json.dumps(sent).encode()) == 1
    assert stored_ids(sqlite_hub) == ["part-1"]


@pytest.mark.parametrize("sender", [Sender("station-2", "line-1"), Sender("station-1", "line-2")])
def test_events_of_another_station_or_line_are_refused(sqlite_hub, sender):
    with pytest.raises(Foreign, match="the token is of"):
        store_events(sqlite_hub, sender, body(part(1, 0.5)))


def test_refusals_have_their_own_http_status(sqlite_plant):
    headers = {"Authorization": f"Bearer {sqlite_plant.station_token('station-2')}"}

    def post(content: bytes) -> int:
        url = f"{sqlite_plant.url}/v1/events"
        return httpx.post(url, content=content, headers=headers).status_code

    assert post(body(part(1, 0.5))) == 403
    assert post(b"[{}]") == 422
    assert post(body(part(1, 0.5), station="station-2")) == 200
    assert post(body(part(1, 0.6), station="station-2")) == 409


def test_a_revoked_token_is_refused_from_the_next_request_on(sqlite_plant):
    new = enrol(sqlite_plant.hub, NewStation(station="station-1", line="line-1"), "test")
    url, headers = f"{sqlite_plant.url}/v1/events", {"Authorization": f"Bearer {new.token}"}
    assert httpx.post(url, content=body(part(1, 0.5)), headers=headers).status_code == 200
    revoke(sqlite_plant.hub, "station-1", new.id, "test")
    assert httpx.post(url, content=body(part(2, 0.5)), headers=headers).status_code == 401
    assert stored_ids(sqlite_plant.hub) == ["part-1"]


def test_many_stations_at_once_lose_and_double_nothing(hub):
    """Batches are committed together; one that is refused beside others takes none with it."""
    refused = []

    def send(station: int) -> None:
        sender = Sender(f"station-{station}", "line-1")
        for first in range(1, 41, 10):
            batch = [
                part(number, 0.5, event_id=f"{station}-{number}").model_copy(
                    update={"station": sender.station}
                )
                for number in range(first, first + 10)
            ]
            store_events(hub, sender, body(*batch))
            try:
                store_events(hub, sender, body(batch[0].model_copy(update={"reason": "other"})))
            except Standing:
                refused.append(station)

    threads = [threading.Thread(target=send, args=(station,)) for station in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(stored_ids(hub))) == len(stored_ids(hub)) == counted(hub) == 240
    assert len(refused) == 24


def test_work_that_is_refused_takes_none_of_its_neighbours_with_it(hub):
    """Group commit: when one piece of work fails, each of the others is done all the same."""
    gate, results = threading.Event(), {}

    def hold(_connection) -> str:
        gate.wait(10)
        return "held"

    def refuse(_connection) -> str:
        raise HubError("no")

    def run(name, work) -> None:
        try:
            results[name] = hub.database.writing_with_others(work)
        except HubError as error:
            results[name] = str(error)

    works = {"first": hold, "bad": refuse, "good": lambda _connection: "done"}
    threads = [threading.Thread(target=run, args=pair) for pair in works.items()]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert results == {"first": "held", "bad": "no", "good": "done"}


def test_a_clock_that_is_off_is_kept_and_shown_and_refuses_nothing(hub):
    enrol(hub, NewStation(station="station-1", line="line-1"), "test")
    future = datetime.now(UTC) + timedelta(days=400)
    assert store_events(hub, SENDER, body(part(7, 0.5), captured_at=future.isoformat())) == 1
    said = status(at=datetime.now(UTC) + timedelta(hours=2), sequence=9)
    keep_status(hub, SENDER, said.model_dump_json().encode())
    with hub.database.reading() as connection:
        row = station_rows(connection, hub, {})[0]
        captured_at = connection.execute(select(events.c.captured_at)).scalar_one()
    assert captured_at == future
    assert row.skewed
    assert row.skew_s == pytest.approx(7200, abs=30)
    assert (row.silent, row.behind) == (False, 2)


def test_a_status_is_taken_from_its_own_station_only(sqlite_plant):
    headers = {"Authorization": f"Bearer {sqlite_plant.station_token()}"}

    def put(station: str, content: str) -> int:
        url = f"{sqlite_plant.url}/v1/stations/{station}/status"
        return httpx.put(url, content=content, headers=headers).status_code

    assert put("station-1", status().model_dump_json()) == 204
    assert put("station-2", status().model_dump_json()) == 403
    assert put("station-1", status(station="station-2").model_dump_json()) == 403
    assert put("station-1", "{}") == 422
    newer = json.loads(status().model_dump_json()) | {"weather": "fair", "schema_version": 9}
    assert put("station-1", json.dumps(newer)) == 204
    with sqlite_plant.hub.database.reading() as connection:
        assert connection.execute(select(stations.c.seen_at)).scalar_one() is not None
