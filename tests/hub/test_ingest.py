"""Events of stations: each stored once, durable before the answer, what does not fit said."""

import json
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select

from inspection.core.errors import ConfigError, HubError
from inspection.hub.audit import list_entries
from inspection.hub.ingest import Sender, keep_status, parse_event, store_events
from inspection.hub.refusals import Foreign
from inspection.hub.standing import station_rows
from inspection.hub.stations import enrol, revoke, rotate
from inspection.hub.tables import events, hours, stations
from inspection.hub.wire.line import NewStation, RefusalCode, Stored
from inspection.station.part import identify
from inspection.station.spool import Intent, Spool
from tests.hub.parts import SENDER, part, store
from tests.hub.stations import status
from tests.station.rig import WALL, Rig, configure


def body(*parts, **changes) -> bytes:
    return json.dumps([one.model_dump(mode="json") | changes for one in parts]).encode()


def frame(**changes) -> bytes:
    """Give the body of an event whose frame is changed."""
    sent = json.loads(body(part(1, 0.5)))
    sent[0]["frames"][0] |= changes
    return json.dumps(sent).encode()


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
    said = {"stored": 3, "refused": []}
    assert [(one.status_code, one.json()) for one in answers] == [(200, said)] * 3
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
    assert store_events(sqlite_hub, SENDER, json.dumps([sent]).encode()) == Stored(stored=1)
    with sqlite_hub.database.reading() as connection:
        record = connection.execute(select(events.c.record)).scalar_one()
    assert json.loads(record) == sent
    assert parse_event(record).part_id == "serial 1"


def test_an_event_known_with_other_content_stays_and_is_said(hub):
    """It alone is refused, for good; the others are stored, and nothing is overwritten."""
    store(hub, part(2, 0.5))
    answer = store_events(hub, SENDER, body(part(1, 0.5), part(2, 9.0), part(3, 0.5)))
    assert answer.stored == 3
    assert [(one.index, one.code) for one in answer.refused] == [(1, RefusalCode.CONFLICT)]
    assert stored_ids(hub) == ["part-2", "part-1", "part-3"]
    with hub.database.reading() as connection:
        row = connection.execute(select(events).where(events.c.event_id == "part-2")).one()
    assert (row.verdict, parse_event(row.record).verdict) == ("PASS", "PASS")


def test_another_action_is_no_other_content(sqlite_hub):
    """A line may change what it does with a verdict; the event is the same."""
    for action in ("none", "lamp"):
        sent = body(part(1, 0.5), action=action)
        assert store_events(sqlite_hub, SENDER, sent) == Stored(stored=1)


def test_one_event_twice_in_a_batch_counts_once(hub):
    assert store_events(hub, SENDER, body(part(1, 0.5), part(1, 0.5))) == Stored(stored=2)
    assert (stored_ids(hub), counted(hub)) == (["part-1"], 1)
    (refused,) = store_events(hub, SENDER, body(part(1, 0.6))).refused
    assert refused.code is RefusalCode.CONFLICT


NO_BATCH = {
    "no JSON": (b"[{", "not JSON"),
    "no array": (b"{}", "found dict"),
    "NaN": (b"[NaN]", "not JSON"),
    "too many": (body(*(part(number, 0.5) for number in range(1, 102))), "found 101 events"),
}
NO_EVENT = {
    "a key missing": (b"[{}]", "event_id: Field required"),
    "NUL": (body(part(1, 0.5), part_id="a\0b"), "part_id"),
    "id with a path": (body(part(1, 0.5, event_id="a/../b")), "event_id"),
    "a number too large": (body(part(1, 0.5), sequence=2**63), "sequence"),
    "before what clocks know": (
        body(part(1, 0.5), captured_at="0001-01-01T00:00:00+14:00"),
        "captured_at",
    ),
    "after what clocks know": (
        body(part(1, 0.5), captured_at="9999-12-31T23:59:59-14:00"),
        "captured_at",
    ),
    "product too long": (body(part(1, 0.5), product="p" * 129), "product"),
    "camera too long": (frame(camera="c" * 129), "camera"),
    "score without end": (frame(score=1e200), "score"),
}


@pytest.mark.parametrize(("sent", "said"), NO_BATCH.values(), ids=NO_BATCH)
def test_what_is_no_batch_is_refused_and_said(sqlite_hub, sent, said):
    with pytest.raises(ConfigError, match=said):
        store_events(sqlite_hub, SENDER, sent)
    assert stored_ids(sqlite_hub) == []


@pytest.mark.parametrize(("sent", "said"), NO_EVENT.values(), ids=NO_EVENT)
def test_what_is_no_event_is_refused_for_good_and_said(sqlite_hub, sent, said):
    (refused,) = store_events(sqlite_hub, SENDER, sent).refused
    assert refused.code is RefusalCode.INVALID
    assert said in refused.reason
    assert stored_ids(sqlite_hub) == []


def test_an_invalid_event_holds_up_no_other(sqlite_hub):
    """It is refused for good, by its place in the batch; those around it are stored."""
    sent = json.loads(body(part(1, 0.5), part(2, 0.5), part(3, 0.5)))
    sent[1]["verdict"] = "MAYBE"
    answer = store_events(sqlite_hub, SENDER, json.dumps(sent).encode())
    assert answer.stored == 3
    assert [(one.index, one.code) for one in answer.refused] == [(1, RefusalCode.INVALID)]
    assert stored_ids(sqlite_hub) == ["part-1", "part-3"]


def recorded(number: int, record_id: str, **changes: object) -> dict[str, object]:
    """Give an event as a station sends it, with an id of its record."""
    event_id = identify(record_id, f"part-{number}")
    sent = part(number, 0.5).model_dump(mode="json")
    return sent | {"event_id": event_id, "record_id": record_id} | changes


def send(hub, *sent: dict[str, object], sender: Sender = SENDER) -> Stored:
    """Store events that came as JSON."""
    return store_events(hub, sender, json.dumps(sent).encode())


def rows_of(hub):
    """Give how the stations stand."""
    with hub.database.reading() as connection:
        return station_rows(connection, hub, {})


def test_two_stations_with_the_same_picture_both_get_through(sqlite_hub):
    """Their records differ, so do their events."""
    for station in ("station-1", "station-2"):
        enrol(sqlite_hub, NewStation(station=station, line="line-1"), "test")
    one, two = recorded(1, "a" * 32), recorded(1, "b" * 32, station="station-2")
    assert send(sqlite_hub, one) == Stored(stored=1)
    assert send(sqlite_hub, two, sender=Sender("station-2", "line-1")) == Stored(stored=1)
    assert len(stored_ids(sqlite_hub)) == 2


def test_a_station_that_lost_its_record_gets_through(sqlite_hub):
    """It begins at sequence 1 again, with the same files; nothing is refused, and it is no copy."""
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    for record_id in ("a" * 32, "b" * 32):
        sent = [recorded(number, record_id) for number in (1, 2)]
        assert send(sqlite_hub, *sent) == Stored(stored=2)
    assert len(stored_ids(sqlite_hub)) == 4
    (row,) = rows_of(sqlite_hub)
    assert row.copied_at is None


@pytest.mark.parametrize(
    "copy",
    [
        lambda: [recorded(2, "a" * 32), recorded(9, "a" * 32, sequence=2)],
        lambda: [recorded(2, "b" * 32), recorded(3, "a" * 32)],
    ],
    ids=["the same place twice", "an older record goes on"],
)
def test_a_copied_token_or_disk_is_noticed(sqlite_hub, copy):
    """The events are stored; the station is marked, in the audit log, too."""
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    send(sqlite_hub, recorded(1, "a" * 32))
    for sent in copy():
        assert send(sqlite_hub, sent).refused == ()
    (row,) = rows_of(sqlite_hub)
    assert row.copied_at is not None
    entry = list_entries(sqlite_hub, after=None, limit=1).items[0]
    assert (entry.action, entry.subject) == ("station copied", "station-1")


def test_a_new_token_ends_the_mark_and_the_next_copy_is_noticed(sqlite_hub):
    """Who rotated the token dealt with it."""
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    send(sqlite_hub, recorded(1, "a" * 32), recorded(9, "a" * 32, sequence=1))
    rotate(sqlite_hub, "station-1", "test")
    assert rows_of(sqlite_hub)[0].copied_at is None
    send(sqlite_hub, recorded(8, "a" * 32, sequence=1))
    assert rows_of(sqlite_hub)[0].copied_at is not None


def test_a_place_taken_twice_in_one_batch_is_noticed(sqlite_hub):
    """Two machines may send through one station's courier."""
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    send(sqlite_hub, recorded(1, "a" * 32), recorded(9, "a" * 32, sequence=1))
    (row,) = rows_of(sqlite_hub)
    assert row.copied_at is not None


def test_a_part_that_was_in_flight_is_an_event_like_others(sqlite_hub, tmp_path):
    """A station that was killed between shutter and verdict tells of a part without a frame."""
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    rig = Rig(configure(tmp_path))
    with Spool(rig.config.data_dir) as spool:
        spool.note(Intent("id-a", "a", "default", WALL))
    rig.run()
    body = f"[{rig.signalled[0].model_dump_json()}]".encode()
    assert store_events(sqlite_hub, Sender("station-1", "line-1"), body) == Stored(stored=1)


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
    assert post(b"{}") == 422
    assert post(body(part(1, 0.5), station="station-2")) == 200
    assert post(body(part(1, 0.6), station="station-2")) == 200  # refused by itself, see above


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
            other = batch[0].model_copy(update={"reason": "other"})
            refused.extend(store_events(hub, sender, body(other)).refused)

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
    assert store_events(hub, SENDER, body(part(7, 0.5), captured_at=future.isoformat())).stored == 1
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
