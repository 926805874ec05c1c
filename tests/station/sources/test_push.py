import hashlib
import io
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread

import httpx
import numpy as np
import pytest
from PIL import Image

from inspection.core.decision import Band, Verdict
from inspection.core.errors import SpoolFull, StationError
from inspection.core.records import Event, FrameRecord
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.intake import make_intake
from inspection.station.frames.settings import FramesSettings
from inspection.station.outputs.settings import ActionSettings
from inspection.station.part import Fault, Frame, Intake, Part
from inspection.station.sources import push as push_module
from inspection.station.sources.push import PushSource
from inspection.station.sources.settings import PushSettings
from inspection.station.state import StationState
from tests.station.events import event
from tests.station.web.serving import Station, served

TOKEN = "0123456789abcdef"


def encoded(grey: int, kind: str = "PNG") -> bytes:
    """Encode a uniform non-square picture."""
    stream = io.BytesIO()
    Image.fromarray(np.full((12, 20, 3), grey, np.uint8)).save(stream, kind)
    return stream.getvalue()


def judge(part: Part, sequence: int) -> Event:
    """Judge as a station would that calls every frame with pixels PASS."""
    return event(
        sequence,
        event_id=part.event_id,
        part_id=part.part_id,
        product=part.product,
        captured_at=part.captured_at,
        frames=tuple(_record(frame) for frame in part.frames),
        verdict=max((_record(frame).verdict for frame in part.frames), key="FAULT".__eq__),
        reason="; ".join(f.pixels.reason for f in part.frames if isinstance(f.pixels, Fault)),
    )


def _record(frame: Frame) -> FrameRecord:
    faulty = isinstance(frame.pixels, Fault)
    return FrameRecord(
        camera=frame.camera,
        frame=frame.number,
        source=frame.source,
        source_sha256=frame.sha256,
        bundle_id="" if faulty else "bundle",
        band=None if faulty else Band(review_above=0.5, reject_above=0.8),
        verdict=Verdict.FAULT if faulty else Verdict.PASS,
        score=None if faulty else 0.25,
        reason=frame.pixels.reason if isinstance(frame.pixels, Fault) else "",
    )


@dataclass
class Line:
    """A push source, and a thread that judges what it hands in, one event per event_id."""

    source: PushSource
    intake: Intake
    station: Station
    events: dict[str, Event]
    client: httpx.Client = field(default_factory=httpx.Client)
    stop: Flag = field(default_factory=Flag)
    paused: Lock = field(default_factory=Lock)
    """Whoever holds it keeps the line from judging."""
    parts: list[Part] = field(default_factory=list)

    def judge_all(self) -> None:
        """Judge until stopped."""
        while not self.stop.wait(0.001):
            with self.paused:
                part = self.intake.take(0)
                if part is not None:
                    self.parts.append(part)
                    known = self.events.get(part.event_id)
                    self.events[part.event_id] = known or judge(part, len(self.events) + 1)
                    part.answer(self.events[part.event_id])

    def post(self, picture: bytes = b"", part_id: str = "0173", **changes) -> httpx.Response:
        """Push one PNG unless told otherwise."""
        values = {
            "params": {"part_id": part_id},
            "headers": {"Content-Type": "image/png"},
            "content": picture or encoded(40),
        }
        return self.client.post("/frames", **{**values, **changes})


def find_none(event_id: str) -> Event | None:
    """Know no event."""
    return None


@contextmanager
def line(
    folder: Path,
    *,
    queue: int = 16,
    find: Callable[[str], Event | None] | None = None,
    frames: FramesSettings | None = None,
    **settings,
) -> Iterator[Line]:
    """Run a line whose source is pushed to."""
    events: dict[str, Event] = {}
    source = PushSource(
        PushSettings(kind="push", **settings),
        ActionSettings(),
        find or events.get,
        framed=frames is not None,
    )
    running = Line(source, make_intake(queue, frames, SYSTEM_CLOCK), Station(), events)
    threads = [
        Thread(target=source.run, args=(running.intake, running.stop)),
        Thread(target=running.judge_all),
    ]
    with served(running.station, folder, source) as (_, client):
        running.client = client
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: running.client.post("/frames").status_code != 503)
            yield running
        finally:
            running.stop.set()
            for thread in threads:
                thread.join(20)


def wait_for(true: Callable[[], bool]) -> None:
    """Wait until something is so, for at most twenty seconds."""
    until = time.monotonic() + 20
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    assert true()


def test_request_gets_its_event_and_action(tmp_path: Path):
    """The reply is the durable event, with what the line does with the part."""
    with line(tmp_path) as running:
        reply = running.post(params={"part_id": "tag 7/ä", "product": "plate"})
    found = reply.json()
    action = found.pop("action")
    assert (reply.status_code, action) == (200, "release")
    (part,) = running.parts
    assert Event.model_validate(found) == running.events[part.event_id]
    assert (part.part_id, part.product) == ("tag 7/ä", "plate")


def test_picture_arrives_as_captured(tmp_path: Path):
    """The frame holds pixels, bytes and hash of the body; its camera is `main`."""
    picture = encoded(40)
    before_s = time.monotonic()
    with line(tmp_path) as running:
        running.post(picture)
    (part,) = running.parts
    (frame,) = part.frames
    assert not isinstance(frame.pixels, Fault)
    assert (frame.pixels.shape, frame.pixels.max(), frame.pixels.min()) == ((12, 20, 3), 40, 40)
    assert (frame.camera, frame.source, frame.encoded) == ("main", "POST /frames", picture)
    assert frame.sha256 == hashlib.sha256(picture).hexdigest()
    assert part.arrived_s is not None
    assert before_s < part.arrived_s < time.monotonic()


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("JPEG", "image/jpeg"),
        ("BMP", "image/bmp; charset=binary"),
        ("TIFF", "IMAGE/TIFF"),
        ("PNG", "application/octet-stream"),
    ],
)
def test_usual_pictures_are_taken(tmp_path: Path, kind: str, content_type: str):
    """Any of the formats of a watched folder comes by push, too."""
    with line(tmp_path) as running:
        reply = running.post(encoded(40, kind), headers={"Content-Type": content_type})
    assert (reply.status_code, reply.json()["verdict"]) == (200, "PASS")


def test_form_brings_one_picture_per_camera(tmp_path: Path):
    """Bytes that look like line ends or boundaries come through; names of files do not matter."""
    tricky = encoded(1) + b"\r\n--not-the-boundary\r\n\r\n\r\n"
    with line(tmp_path) as running:
        form = {"top": ("a; name=x.png", tricky), "left.2": encoded(2)}
        reply = running.post(files=form, content=None, headers={})
    assert reply.status_code == 200
    (part,) = running.parts
    assert {frame.camera: frame.encoded for frame in part.frames} == {
        "top": tricky,
        "left.2": encoded(2),
    }


def test_what_cannot_be_decoded_is_a_part_all_the_same(tmp_path: Path):
    """The part came, so it gets its event: FAULT, and the safe action."""
    with line(tmp_path) as running:
        reply = running.post(b"no picture at all")
    assert (reply.status_code, reply.json()["verdict"], reply.json()["action"]) == (
        200,
        "FAULT",
        "reject",
    )
    assert "camera main: not an image file" in reply.json()["reason"]


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"params": {}}, 400, "part_id is ''; wanted 1 to 128 printable characters"),
        ({"params": {"part_id": " "}}, 400, "part_id is ' '"),
        ({"params": {"part_id": "x" * 129}}, 400, "wanted 1 to 128"),
        ({"params": {"part_id": "a\nb"}}, 400, r"part_id is 'a\nb'"),
        ({"params": b"part_id=%ff"}, 400, "in UTF-8"),
        ({"params": {"part_id": ["1", "2"]}}, 400, "wanted part_id once"),
        ({"params": {"part_id": "1", "artikel": "p"}}, 400, "and nothing else"),
        ({"params": {"part_id": "1", "product": ""}}, 400, "product is ''"),
        ({"content": b""}, 400, "there is no picture"),
        ({"headers": {"Content-Type": "text/html"}}, 415, "'text/html'; wanted a picture"),
        ({"headers": {}}, 415, "the content type is ''"),
        ({"headers": {"Content-Type": "multipart/form-data"}}, 400, "form cannot be read"),
        ({"headers": FORM, "content": b"--b\r\n\r\ncut"}, 400, "form cannot be read"),
        ({"headers": FORM, "content": b"--b--\r\n"}, 400, "there is no picture"),
        ({"headers": FORM, "content": b"--b\r\n\r\n\r\n" * 70}, 400, "1 to 64 fields"),
        (
            {"headers": FORM, "content": b"--b\r\nX: y\r\n\r\nz\r\n--b--"},
            400,
            "named ''; wanted the name of a camera",
        ),
        ({"headers": {}, "content": None, "files": {"../up": b"x"}}, 400, "named '../up'"),
        (
            {"headers": {}, "content": None, "files": [("top", b"x"), ("top", b"y")]},
            400,
            "camera 'top' has two pictures",
        ),
    ],
)
def test_wrong_requests_are_told_so(tmp_path: Path, changes: dict, code: int, words: str):
    """What is wrong with the request itself is no part; the answer says what was wanted."""
    with line(tmp_path) as running:
        reply = running.post(**changes)
        assert (reply.status_code, running.parts) == (code, [])
        assert words in reply.json()["error"]


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_too_large_request_is_refused(tmp_path: Path, chunked: bool):
    """Whether it says its size or not, it is read to its end and answered, and not kept."""
    large = b"x" * 1_000_001
    with line(tmp_path, max_mb=1) as running:
        reply = running.post(content=iter([large]) if chunked else large)
        assert reply.status_code == 413
        assert "has 1,000,001 bytes; wanted at most 1,000,000" in reply.json()["error"]
        assert running.post().status_code == 200


def test_slow_request_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A body that does not come is no reason to wait for ever, nor to let others wait."""
    monkeypatch.setattr(push_module, "BODY_S", 0.3)
    with line(tmp_path) as running:
        where = running.client.base_url.host, running.client.base_url.port
        with socket.create_connection(where, timeout=20) as slow:
            slow.sendall(
                b"POST /frames?part_id=1 HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\nx"
            )
            assert running.post().status_code == 200
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_client_that_leaves_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A request cut off in its middle is no part and no error of the station."""
    with line(tmp_path) as running:
        where = running.client.base_url.host, running.client.base_url.port
        with socket.create_connection(where, timeout=20) as cut:
            cut.sendall(b"POST /frames?part_id=1 HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\nx")
        assert running.post().status_code == 200
        assert len(running.parts) == 1
    assert caplog.records == []


def test_too_many_pictures_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded: what does not fit is told to come again, and it may once there is room."""
    monkeypatch.setattr(push_module, "HELD", 0)
    with line(tmp_path) as running:
        reply = running.post()
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        monkeypatch.setattr(push_module, "HELD", 1)
        assert running.post().status_code == 200


@pytest.mark.parametrize("brought", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "ä"}])
def test_token_is_asked_for(tmp_path: Path, brought: dict):
    """Without the token nothing is taken and nothing told; with it everything is as before."""
    brought = {key: value.encode() for key, value in brought.items()}
    right = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"}
    with line(tmp_path, token=TOKEN) as running:
        reply = running.post(headers=brought)
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert running.client.get("/events/x", headers=brought).status_code == 401
        assert running.parts == []
        event_id = running.post(headers=right).json()["event_id"]
        assert running.client.get(f"/events/{event_id}", headers=right).status_code == 200


def test_repeated_request_gets_the_same_event(tmp_path: Path):
    """A client that lost a reply asks again; other bytes, id or product are another part."""
    with line(tmp_path) as running:
        first, again = running.post(), running.post()
        others = [
            running.post(encoded(41)),
            running.post(part_id="0174"),
            running.post(params={"part_id": "0173", "product": "other"}),
        ]
    assert again.json() == first.json()
    assert len({reply.json()["event_id"] for reply in (first, *others)}) == 4
    assert len(running.events) == 4


def test_repeated_request_of_a_waiting_part_waits_with_it(tmp_path: Path):
    """A client that asks again before the verdict does not fill the queue."""
    with line(tmp_path, wait_ms=20) as running:
        with running.paused:
            assert [running.post().status_code for _ in range(3)] == [202, 202, 202]
            assert len(running.intake) == 1
        wait_for(lambda: running.post().status_code == 200)
    assert len(running.events) == 1


def test_late_verdict_is_fetched(tmp_path: Path):
    """A request that waited long enough is told where its event will be."""
    with line(tmp_path, wait_ms=50) as running:
        with running.paused:
            reply = running.post()
            assert (reply.status_code, reply.headers["retry-after"]) == (202, "1")
            where = reply.headers["location"]
            assert reply.json() == {"event_id": where.removeprefix("/events/"), "ask": where}
            assert running.client.get(where).status_code == 202
        wait_for(lambda: running.client.get(where).status_code == 200)
        found = running.client.get(where).json()
        assert (found["part_id"], found["action"]) == ("0173", "release")


def test_unknown_event_is_told_apart_from_a_waiting_one(tmp_path: Path):
    """After a crash the client must hand the part in again, so 404 says so."""
    with line(tmp_path) as running:
        reply = running.client.get("/events/unknown")
    assert reply.status_code == 404
    assert "hand the part in again" in reply.json()["error"]


def test_record_that_cannot_be_read_is_told(tmp_path: Path):
    """A damaged database is no 404: the part may well be there."""

    def broken(event_id: str) -> Event | None:
        raise SpoolFull("events.sqlite: disk I/O error")

    with line(tmp_path, find=broken) as running:
        reply = running.client.get("/events/x")
    assert (reply.status_code, reply.json()["error"]) == (503, "events.sqlite: disk I/O error")


def test_many_at_once_all_get_their_own_event(tmp_path: Path):
    """50 clients at a time: each gets the event of its own part."""
    with line(tmp_path, queue=64) as running, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda n: running.post(encoded(n), part_id=f"part-{n}"), range(50)))
    assert [reply.json()["part_id"] for reply in replies] == [f"part-{n}" for n in range(50)]
    assert {reply.json()["verdict"] for reply in replies} == {"PASS"}
    assert len(running.events) == 50


def test_full_station_faults_what_it_cannot_queue(tmp_path: Path):
    """A part beyond the queue is not dropped: its event is FAULT and says why."""
    with line(tmp_path, queue=1) as running, ThreadPoolExecutor(2) as pool:
        with running.paused:
            first = pool.submit(running.post, encoded(1))
            wait_for(lambda: len(running.intake) == 1)
            second = pool.submit(running.post, encoded(2))
            wait_for(lambda: len(running.intake) == 2)
        assert first.result().json()["verdict"] == "PASS"
        assert second.result().json()["verdict"] == "FAULT"
        assert "1 parts are waiting already" in second.result().json()["reason"]


@pytest.mark.parametrize("state", [StationState.BLOCKED, StationState.STOPPED])
def test_station_that_cannot_record_takes_no_part(tmp_path: Path, state: StationState):
    """A part that could get no event is not taken; its client is told to come again."""
    with line(tmp_path) as running:
        running.station.state = state
        wait_for(lambda: running.client.get("/healthz").json()["state"] == state)
        reply = running.post()
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert (
            reply.json()["error"] == f"the station takes no part: it is {state}: camera unplugged"
        )
        assert running.parts == []


def test_source_that_does_not_run_takes_no_part(tmp_path: Path):
    """Before the source runs and after it ends, nothing would judge the part."""
    source = PushSource(PushSettings(kind="push"), ActionSettings(), find_none)
    intake, stop = Intake(1), Flag()
    with served(Station(), tmp_path, source) as (_, client):
        ask = lambda: client.post("/frames?part_id=1", content=b"x").status_code  # noqa: E731 - asked thrice
        assert ask() == 503
        running = Thread(target=source.run, args=(intake, stop))
        running.start()
        wait_for(lambda: ask() == 415)
        stop.set()
        running.join(20)
        assert ask() == 503
    assert len(intake) == 0


def test_stopping_server_answers_who_waits(tmp_path: Path):
    """A request without a verdict is not left hanging when the station ends."""
    source = PushSource(PushSettings(kind="push"), ActionSettings(), find_none)
    intake, stop = Intake(4), Flag()
    running = Thread(target=source.run, args=(intake, stop))
    running.start()
    with ThreadPoolExecutor(1) as pool, served(Station(), tmp_path, source) as (server, client):
        wait_for(lambda: client.post("/frames?part_id=1").status_code == 415)
        headers = {"Content-Type": "image/png"}
        waiting = pool.submit(client.post, "/frames?part_id=1", content=encoded(1), headers=headers)
        wait_for(lambda: len(intake) == 1)
        stop.set()
        running.join(20)
        server.stop()
        assert waiting.result().status_code == 503
    part = intake.take(0)
    assert part is not None
    part.answer(judge(part, 1))  # nobody waits any more, and that is no error


def test_source_ends_with_its_server(tmp_path: Path):
    """A push source without its web server is an error of the station, not an idle line."""
    source = PushSource(PushSettings(kind="push"), ActionSettings(), find_none)
    with served(Station(), tmp_path, source):
        pass
    with pytest.raises(StationError, match="the web server has ended, so no part can come"):
        source.run(Intake(1), Flag())
