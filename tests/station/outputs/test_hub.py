import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.core.records import Event
from inspection.station.outputs import hub as hub_module
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.hub import HubOutput, Pictures
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import ActionSettings, HubSettings
from tests.station.events import NAMES, event, named
from tests.station.outputs.record import SOON, WAIT_S, Acknowledged, Record
from tests.station.outputs.server import Answer, Request, Server
from tests.station.outputs.status import status


class Plant:
    """A hub as the protocol describes it, in memory."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, object]] = {}
        self.pictures: dict[str, bytes] = {}
        self.statuses: list[tuple[str, dict[str, object]]] = []
        self.posted: list[list[int]] = []
        self.room = 1_000_000

    def __call__(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path.endswith("/status"):
            self.statuses.append((request.path, json.loads(request.body)))
            return Answer(204)
        if request.method == "PUT":
            self.pictures[request.path] = request.body
            return Answer(204)
        events = json.loads(request.body)
        self.posted.append([found["sequence"] for found in events])
        stored = events[: self.room]
        self.events.update((found["event_id"], found) for found in stored)
        return Answer(200, json.dumps({"stored": len(stored), "since": "1.1"}).encode())


@pytest.fixture
def plant() -> Plant:
    """Set up a plant's hub."""
    return Plant()


@pytest.fixture
def server(plant: Plant) -> Iterator[Server]:
    """Run it."""
    with Server(plant) as running:
        yield running


Connect = Callable[..., HubOutput]


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Connect outputs to the hub, and close them after the test."""
    outputs: list[HubOutput] = []

    def begin(pictures: Pictures = lambda _event: [], **changes: object) -> HubOutput:
        values = {"kind": "hub", "url": f"{server.url}/plant/", **changes}
        settings = HubSettings.model_validate(values)
        outputs.append(HubOutput(settings, *NAMES, ActionSettings(), pictures))
        outputs[-1].connect()
        return outputs[-1]

    yield begin
    for output in outputs:
        output.close()


def test_a_batch_is_one_request(connect: Connect, server: Server, plant: Plant):
    """The body is an array of events in order, each with `action`."""
    output = connect()
    assert output.deliver([event(1), event(2), event(3)]) == 3
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/plant/v1/events")
    assert request.headers["content-type"] == "application/json"
    wanted = [{**event(n).model_dump(mode="json"), "action": "release"} for n in (1, 2, 3)]
    assert json.loads(request.body) == wanted


def test_pictures_follow_their_event(connect: Connect, server: Server, tmp_path: Path):
    """Bytes, content type and hash; names are quoted; a picture that is gone is passed over."""
    frame, overlay = tmp_path / "main 1#a.png", tmp_path / "overlay.jpg"
    frame.write_bytes(b"frame")
    overlay.write_bytes(b"overlay")
    output = connect(lambda _event: [frame, tmp_path / "dropped.png", overlay])
    assert output.deliver([event(1)]) == 1
    post, first, second = server.requests
    folder = f"/plant/v1/events/{event(1).event_id}/pictures"
    assert post.method == "POST"
    assert (first.method, first.path) == ("PUT", f"{folder}/main%201%23a.png")
    assert (first.headers["content-type"], first.body) == ("image/png", b"frame")
    assert first.headers["x-content-sha256"] == hashlib.sha256(b"frame").hexdigest()
    assert (second.path, second.body) == (f"{folder}/overlay.jpg", b"overlay")
    assert second.headers["content-type"] == "image/jpeg"


def test_long_events_go_in_several_posts(
    connect: Connect, plant: Plant, monkeypatch: pytest.MonkeyPatch
):
    """None of which is larger than a hub takes; one that is alone goes all the same."""
    parts = [named(number, Verdict.REVIEW, ("pore", 0.9), mask="A" * 900) for number in (1, 2, 3)]
    monkeypatch.setattr(hub_module, "BODY_BYTES", 4_000)
    output = connect()
    assert output.deliver(parts) == 2
    assert output.deliver(parts[2:]) == 1
    monkeypatch.setattr(hub_module, "BODY_BYTES", 100)
    assert output.deliver([named(4, Verdict.REVIEW, ("pore", 0.9), mask="A" * 900)]) == 1
    assert plant.posted == [[1, 2], [3], [4]]


def test_a_picture_that_cannot_be_read_is_logged_and_passed_over(
    connect: Connect, plant: Plant, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A bad sector holds up neither the event nor the other pictures."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "good.png").write_bytes(b"good")
    output = connect(lambda _event: sorted(tmp_path.iterdir()))
    assert output.deliver([event(1)]) == 1
    assert list(plant.pictures.values()) == [b"good"]
    assert caplog.messages == ["picture cannot be read"]


def test_a_picture_the_hub_never_takes_holds_up_no_event(tmp_path: Path, caplog):
    """Too large for the hub's limits, say: it stays on the station, is logged, and events go on."""
    plant, picture = Plant(), tmp_path / "large.png"
    picture.write_bytes(b"much")

    def answer(request: Request) -> Answer:
        return Answer(413) if request.method == "PUT" else plant(request)

    with Server(answer) as server:
        settings = HubSettings(kind="hub", url=server.url)
        output = HubOutput(settings, *NAMES, ActionSettings(), lambda _event: [picture])
        output.connect()
        assert output.deliver([event(1), event(2)]) == 2
        output.close()
    assert "hub never takes this picture" in caplog.text


def test_events_do_not_wait_for_pictures_that_are_not_written_yet(
    connect: Connect, plant: Plant, tmp_path: Path
):
    """All events are posted once; those behind an unsettled one are acknowledged after it."""
    (tmp_path / "2.png").write_bytes(b"two")
    settled = {1}

    def pictures(found: Event) -> list[Path] | None:
        return [tmp_path / f"{found.sequence}.png"] if found.sequence in settled else None

    output = connect(pictures)
    assert output.deliver([event(1), event(2), event(3)]) == 1
    assert output.deliver([event(2), event(3)]) == 0
    assert output.deliver([event(2), event(3), event(4)]) == 0
    assert plant.posted == [[1, 2, 3], [4]]
    settled |= {2, 3, 4}
    assert output.deliver([event(2), event(3), event(4)]) == 3
    assert plant.posted == [[1, 2, 3], [4]]
    assert list(plant.pictures.values()) == [b"two"]


def test_new_events_have_their_turn_between_pictures(
    connect: Connect, plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A backlog of pictures is sent in turns, so that live events are posted in between."""
    monkeypatch.setattr(hub_module, "TURN_S", 0.0)
    output = connect()
    assert output.deliver([event(1), event(2)]) == 1
    assert output.deliver([event(2), event(3)]) == 1
    assert plant.posted == [[1, 2], [3]]


def test_what_the_hub_did_not_store_is_sent_again(connect: Connect, plant: Plant):
    """`stored` counts from the first event; the rest is not acknowledged."""
    plant.room = 2
    output = connect()
    assert output.deliver([event(1), event(2), event(3)]) == 2
    assert output.deliver([event(3)]) == 1
    assert plant.posted == [[1, 2, 3], [3]]


def test_after_a_failure_events_are_posted_again(connect: Connect, plant: Plant):
    """A hub restored from its backup may have lost what it acknowledged for its pictures' sake."""
    output = connect(lambda _event: None)
    assert output.deliver([event(1)]) == 0
    output.connect()
    assert output.deliver([event(1)]) == 0
    assert plant.posted == [[1], [1]]


@pytest.mark.parametrize(
    "body",
    [b"<html>proxy</html>", b"{}", b'{"stored": true}', b'{"stored": 2}', b'{"stored": -1}'],
    ids=["no JSON", "no number", "no integer", "too many", "negative"],
)
def test_an_answer_of_something_else_acknowledges_nothing(
    connect: Connect, server: Server, body: bytes
):
    """A captive portal that says 200 to everything is no hub."""
    server.answer = lambda _request: Answer(200, body)
    with pytest.raises(OutputDown, match=r'wanted {"stored": n} with n from 0 to 1; check that'):
        connect().deliver([event(1)])


def test_a_hub_that_refuses_is_down_with_its_words(connect: Connect, server: Server):
    """As for a webhook: nothing is skipped."""
    server.answer = lambda _request: Answer(403, b"station unknown")
    with pytest.raises(OutputDown, match=r"v1/events: status 403: 'station unknown'; wanted 2xx"):
        connect().deliver([event(1)])


def test_a_hub_that_fails_now_and_then_gets_all_events_and_pictures(
    server: Server, plant: Plant, tmp_path: Path
):
    """Every fifth request fails; in the end the hub has everything once, by event_id."""
    calls = iter(range(1_000_000))
    server.answer = lambda request: plant(request) if next(calls) % 5 else Answer(503)

    def pictures(found: Event) -> list[Path]:
        path = tmp_path / f"{found.sequence}.png"
        path.write_bytes(f"{found.sequence}".encode())
        return [path]

    output = HubOutput(HubSettings(kind="hub", url=server.url), *NAMES, ActionSettings(), pictures)
    record, acknowledged = Record(10), Acknowledged()
    courier = Courier(output, record, 0, acknowledged, SOON)
    courier.start()
    record.commit(courier, 10)
    drained = courier.drain(20, WAIT_S)
    courier.stop()
    assert drained
    assert list(plant.events) == [event(number).event_id for number in range(1, 21)]
    assert sorted(plant.pictures.values(), key=int) == [f"{n}".encode() for n in range(1, 21)]
    assert acknowledged == sorted(set(acknowledged))


def soon(wanted: Callable[[], bool]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + WAIT_S
    while not wanted() and time.monotonic() < until:
        time.sleep(0.005)
    assert wanted()


def test_status_follows_beside_the_events(connect: Connect, plant: Plant):
    """The newest one, every `status_ms`, without the last parts, which the hub has as events."""
    output = connect(status_ms=100)
    began_s = time.monotonic()
    for beat in range(1, 4):
        output.beat(status(beat=beat, station="st 1/a", last=(event(1),)))
        soon(lambda beat=beat: bool(plant.statuses) and plant.statuses[-1][1]["beat"] == beat)
    assert time.monotonic() - began_s >= 0.2
    wanted = status(beat=3, station="st 1/a").model_dump(mode="json")
    assert plant.statuses[-1] == ("/plant/v1/stations/st%201%2Fa/status", wanted)
    assert plant.posted == []


def test_statuses_in_between_are_left_out(connect: Connect, plant: Plant):
    """A hub is told how a station stands, not how it stood; the last one always arrives."""
    output = connect(status_ms=60_000)
    output.beat(status(beat=1))
    soon(lambda: len(plant.statuses) == 1)
    for beat in (2, 3):
        output.beat(status(beat=beat))
    output.close()
    assert [one["beat"] for _, one in plant.statuses] == [1, 3]


def test_hub_that_does_not_answer_a_status_delays_nothing(
    connect: Connect, server: Server, plant: Plant
):
    """Neither a heartbeat nor an event nor the end of the station waits for it."""
    over, waits = threading.Event(), threading.Event()

    def answer(request: Request) -> Answer:
        if request.path.endswith("/status"):
            waits.set()
            over.wait(WAIT_S)
        return plant(request)

    server.answer = answer
    output = connect()
    began_s = time.monotonic()
    output.beat(status())
    assert waits.wait(WAIT_S)
    output.beat(status())
    assert output.deliver([event(1)]) == 1
    output.close()
    assert time.monotonic() - began_s < WAIT_S / 2
    over.set()


def test_status_that_is_refused_is_logged_once_and_sent_again(
    connect: Connect, server: Server, plant: Plant, tmp_path: Path, caplog
):
    """A revoked token is said; a new one is used without a restart. Events have their own say."""
    token = tmp_path / "token"
    token.write_text("revoked")

    def answer(request: Request) -> Answer:
        known = request.headers["authorization"] == "Bearer new"
        return plant(request) if known else Answer(401, b"who?")

    server.answer = answer
    output = connect(status_ms=100, token_file=token)
    for _ in range(3):
        count = len(server.requests)
        output.beat(status())
        soon(lambda count=count: len(server.requests) > count)
    token.write_text("geh\u00f6im")
    output.beat(status())
    soon(lambda: len(caplog.messages) == 2)
    token.write_text("new")
    output.beat(status())
    soon(lambda: len(plant.statuses) == 1)
    assert caplog.messages == ["status not sent"] * 2
    assert "status: status 401: 'who?'; wanted 2xx" in caplog.records[0].reason
    assert "has other letters than ASCII; wanted a token" in caplog.records[1].reason


def test_a_refused_event_is_counted_and_holds_up_no_other(server: Server, caplog):
    """It is acknowledged, its pictures are not sent, and the log says why, once."""
    refused = [{"index": 1, "code": "conflict", "reason": "known with other content"}]

    def answer(request: Request) -> Answer:
        if request.method == "PUT":
            return Answer(204)
        return Answer(200, json.dumps({"stored": 3, "refused": refused}).encode())

    counted: list[str] = []
    server.answer = answer
    settings = HubSettings.model_validate({"kind": "hub", "url": server.url})
    output = HubOutput(settings, *NAMES, ActionSettings(), lambda _event: [], counted.append)
    output.connect()
    assert output.deliver([event(1), event(2), event(3)]) == 3
    output.close()
    assert counted == ["refused by hub"]
    (record,) = [one for one in caplog.records if one.message == "event refused for good"]
    assert (record.sequence, record.code) == (2, "conflict")


def test_events_from_before_a_renaming_hold_up_no_other(server: Server, plant: Plant, caplog):
    """No token the station has is theirs, so that the hub would never take them."""
    counted: list[str] = []
    before = {"line": "line-0"}
    record = [event(1).model_copy(update=before), event(2), event(3).model_copy(update=before)]
    settings = HubSettings.model_validate({"kind": "hub", "url": server.url, "status_ms": 100})
    output = HubOutput(settings, *NAMES, ActionSettings(), lambda _: [], counted.append)
    output.connect()
    output.beat(status(beat=1))
    soon(lambda: len(plant.statuses) == 1)
    delivered: list[int] = []

    def deliver() -> bool:
        if not delivered:
            with suppress(OutputDown):  # until the answer to the status is read
                delivered.append(output.deliver(record))
        return bool(delivered)

    soon(deliver)
    assert delivered == [2]
    assert output.deliver(record[2:]) == 1
    output.close()
    assert plant.posted == [[2]]
    assert counted == ["refused by hub"] * 2
    told = [
        one for one in caplog.records if one.message == "events of another name refused for good"
    ]
    assert [(one.sequence, one.events) for one in told] == [(1, 1), (3, 1)]


def test_events_of_another_name_are_counted_once_however_often_the_rest_fails(
    server: Server, plant: Plant, caplog
):
    """The hub takes statuses but no events: what is passed over is passed over once."""
    counted: list[str] = []
    server.answer = lambda request: Answer(204 if request.method == "PUT" else 503)
    settings = HubSettings.model_validate({"kind": "hub", "url": server.url, "status_ms": 100})
    output = HubOutput(settings, *NAMES, ActionSettings(), lambda _: [], counted.append)
    record = [event(1).model_copy(update={"line": "line-0"}), event(2)]
    output.beat(status(beat=1))

    def refuses() -> bool:
        with pytest.raises(OutputDown) as refused:
            output.deliver(record)
        return "503" in str(refused.value)

    for _ in range(2):
        output.connect()
        soon(refuses)
    assert counted == ["refused by hub"]
    server.answer = plant
    output.connect()
    assert output.deliver(record) == 2
    output.close()
    assert counted == ["refused by hub"]
    assert caplog.messages.count("events of another name refused for good") == 1


def test_a_name_that_is_wrong_in_the_configuration_loses_nothing_from_before(
    server: Server, plant: Plant
):
    """The token is of the other name: the hub takes no status, and what waits goes on waiting."""
    server.answer = lambda _request: Answer(403)
    settings = HubSettings.model_validate({"kind": "hub", "url": server.url, "status_ms": 100})
    mistaken = HubOutput(settings, "line-2", NAMES[1], ActionSettings(), lambda _: [])
    mistaken.connect()
    mistaken.beat(status(beat=1, line="line-2"))
    soon(lambda: len(server.requests) > 0)
    with pytest.raises(OutputDown, match="events of station 'station-1' of line 'line-1' wait"):
        mistaken.deliver([event(1)])
    mistaken.close()
    server.answer = plant
    output = HubOutput(settings, *NAMES, ActionSettings(), lambda _: [])
    output.connect()
    assert output.deliver([event(1)]) == 1
    output.close()


def test_a_batch_larger_than_the_hub_takes_is_halved(server: Server):
    """A proxy with a limit of its own lets fewer events through at once, and none is refused."""
    counted: list[str] = []

    def answer(request: Request) -> Answer:
        count = len(json.loads(request.body))
        return Answer(413) if count > 1 else Answer(200, b'{"stored": 1}')

    server.answer = answer
    settings = HubSettings.model_validate({"kind": "hub", "url": server.url})
    output = HubOutput(settings, *NAMES, ActionSettings(), lambda _event: [], counted.append)
    output.connect()
    assert output.deliver([event(1), event(2), event(3)]) == 1
    output.close()
    assert counted == []


def test_an_event_larger_than_the_hub_takes_is_no_queues_end(server: Server):
    """Alone in its request and refused for its size, it is counted; the next one goes on."""
    counted: list[str] = []

    def answer(request: Request) -> Answer:
        if b'"sequence":1,' in request.body:
            return Answer(413, b"too large")
        return Answer(200, b'{"stored": 1}')

    server.answer = answer
    settings = HubSettings.model_validate({"kind": "hub", "url": server.url})
    output = HubOutput(settings, *NAMES, ActionSettings(), lambda _event: [], counted.append)
    output.connect()
    assert output.deliver([event(1)]) == 1
    assert output.deliver([event(2)]) == 1
    output.close()
    assert counted == ["refused by hub"]
