import hashlib
import io
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread

import httpx
import numpy as np
import pytest
from PIL import Image

from inspection.core import connections
from inspection.core.decision import Band, Verdict
from inspection.core.errors import ConfigError, SpoolFull, StationError
from inspection.core.imaging import Rgb, decode_image
from inspection.core.limits import MAX_CONNECTIONS
from inspection.core.records import Event, FrameRecord
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.intake import make_intake
from inspection.station.frames.settings import FramesSettings
from inspection.station.outputs.settings import ActionSettings
from inspection.station.part import Fault, Frame, Intake, Part
from inspection.station.sources import decoding
from inspection.station.sources import push as push_module
from inspection.station.sources.push import PushSource
from inspection.station.sources.settings import PushSettings
from inspection.station.state import StationState
from tests.station.events import event
from tests.station.web.serving import Station, served

TOKEN = "0123456789abcdef"
RIGHT = {"Authorization": f"Bearer {TOKEN}"}
CAMERAS = ("main", "top", "left.2")


def settings_of(folder: Path, **values) -> PushSettings:
    """Configure a source that is pushed to with TOKEN."""
    (folder / "push.token").write_text(TOKEN)
    return PushSettings(kind="push", token_file=folder / "push.token", **values)


def source_of(folder: Path) -> PushSource:
    """Make a source that knows no event."""
    return PushSource(settings_of(folder), ActionSettings(), find_none, lambda _: CAMERAS)


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


def head(length: int, part_id: str = "1", token: str = TOKEN) -> bytes:
    """Write the head of a request that brings one PNG."""
    return (
        f"POST /frames?part_id={part_id} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: image/png\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


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
    cameras: tuple[str, ...] = CAMERAS,
    deadline_s: float | None = None,
    **settings,
) -> Iterator[Line]:
    """Run a line whose source is pushed to."""
    events: dict[str, Event] = {}
    source = PushSource(
        settings_of(folder, **settings),
        ActionSettings(),
        find or events.get,
        lambda product: cameras if product != "unknown" else (),
        frames=frames,
        deadline_s=deadline_s,
    )
    running = Line(source, make_intake(queue, frames, SYSTEM_CLOCK), Station(), events)
    threads = [
        Thread(target=source.run, args=(running.intake, running.stop)),
        Thread(target=running.judge_all),
    ]
    with served(running.station, folder, source) as (_, client):
        client.headers.update(RIGHT)
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
        ({"params": {}}, 400, "part_id is ''; expected 1 to 128 printable characters"),
        ({"params": {"part_id": " "}}, 400, "part_id is ' '"),
        ({"params": {"part_id": "x" * 129}}, 400, "expected 1 to 128"),
        ({"params": {"part_id": "a\nb"}}, 400, r"part_id is 'a\nb'"),
        ({"params": b"part_id=%ff"}, 400, "in UTF-8"),
        ({"params": {"part_id": ["1", "2"]}}, 400, "expected part_id once"),
        ({"params": {"part_id": "1", "artikel": "p"}}, 400, "and nothing else"),
        ({"params": {"part_id": "1", "product": ""}}, 400, "product is ''"),
        ({"content": b""}, 400, "there is no picture"),
        ({"headers": {"Content-Type": "text/html"}}, 415, "'text/html'; expected a picture"),
        ({"headers": {}}, 415, "the content type is ''"),
        ({"headers": {"Content-Type": "multipart/form-data"}}, 400, "form cannot be read"),
        ({"headers": FORM, "content": b"--b\r\n\r\ncut"}, 400, "form cannot be read"),
        ({"headers": FORM, "content": b"--b--\r\n"}, 400, "there is no picture"),
        ({"headers": FORM, "content": b"--b\r\n\r\n\r\n" * 70}, 400, "1 to 64 fields"),
        (
            {"headers": FORM, "content": b"--b\r\nX: y\r\n\r\nz\r\n--b--"},
            400,
            "named ''; expected the name of a camera",
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
    """Whether it says its size or not, it is answered, and not kept."""
    large = b"x" * 1_000_001
    with line(tmp_path, max_mb=1) as running:
        reply = running.post(content=iter([large]) if chunked else large)
        assert reply.status_code == 413
        assert "has more than 1,000,000 bytes; expected at most that" in reply.json()["error"]
        assert running.post().status_code == 200


def test_slow_request_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A body that does not come is no reason to wait for ever, nor to let others wait."""
    monkeypatch.setattr(push_module, "BODY_S", 0.3)
    with line(tmp_path) as running:
        where = running.client.base_url.host, running.client.base_url.port
        with socket.create_connection(where, timeout=20) as slow:
            slow.sendall(head(9) + b"x")
            assert running.post().status_code == 200
            assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def test_client_that_leaves_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A request cut off in its middle is no part and no error of the station."""
    with line(tmp_path) as running:
        where = running.client.base_url.host, running.client.base_url.port
        with socket.create_connection(where, timeout=20) as cut:
            cut.sendall(head(9) + b"x")
        assert running.post().status_code == 200
        assert len(running.parts) == 1
    assert caplog.records == []


def test_too_many_pictures_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Memory is bounded: what does not fit is told to come again, and it may once there is room."""
    monkeypatch.setattr(push_module, "HELD", 1)
    with line(tmp_path, max_mb=1) as running:
        with running.paused, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(running.post, b"x" * 990_000)
            wait_for(lambda: len(running.intake) == 1)
            reply = running.post(b"y" * 20_000)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            running.paused.release()
            assert waiting.result().status_code == 200
            running.paused.acquire()
        assert running.post(b"y" * 20_000).status_code == 200


@pytest.mark.parametrize(
    "brought", [{"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "ä"}]
)
def test_token_is_asked_for(tmp_path: Path, brought: dict):
    """Without the token nothing is taken and nothing told; with it everything is as before."""
    brought = {key: value.encode() for key, value in brought.items()}
    with line(tmp_path) as running:
        reply = running.post(headers=brought)
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert running.client.get("/events/x", headers=brought).status_code == 401
        assert running.parts == []
        event_id = running.post().json()["event_id"]
        assert running.client.get(f"/events/{event_id}").status_code == 200


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
    source = source_of(tmp_path)
    intake, stop = Intake(1), Flag()
    with served(Station(), tmp_path, source) as (_, client):
        client.headers.update(RIGHT)
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
    source = source_of(tmp_path)
    intake, stop = Intake(4), Flag()
    running = Thread(target=source.run, args=(intake, stop))
    running.start()
    with ThreadPoolExecutor(1) as pool, served(Station(), tmp_path, source) as (server, client):
        client.headers.update(RIGHT)
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
    source = source_of(tmp_path)
    with served(Station(), tmp_path, source):
        pass
    with pytest.raises(StationError, match="the web server has ended, so no part can come"):
        source.run(Intake(1), Flag())


def png(height_px: int, width_px: int) -> bytes:
    """Encode a black picture of one bit per pixel: 80 million pixels in 1.3 kB."""
    stream = io.BytesIO()
    Image.new("1", (width_px, height_px)).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


@contextmanager
def connected(running: Line) -> Iterator[socket.socket]:
    """Give a socket to the station."""
    where = running.client.base_url.host, running.client.base_url.port
    with socket.create_connection(where, timeout=20) as connection:
        yield connection


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        (head(10**12, token="wrong"), 401),
        (
            head(10**6, token="wrong").replace(
                b"Content-Length", b"Expect: 100-continue\r\nContent-Length"
            ),
            401,
        ),
        (head(10**12), 413),
        (head(10**6, part_id=""), 400),
        (head(10**6).replace(b"image/png", b"text/html"), 415),
    ],
    ids=["stranger", "stranger who asks first", "too large", "no part id", "no picture"],
)
def test_what_the_head_tells_is_refused_before_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bytes, status: int
):
    """Nobody waits for bytes that are not wanted, nor reads them."""
    monkeypatch.setattr(push_module, "BODY_S", 600)
    with line(tmp_path) as running, connected(running) as client:
        client.sendall(asked)
        assert client.recv(4096).startswith(f"HTTP/1.1 {status}".encode())


def test_stranger_who_sends_on_reads_why(tmp_path: Path):
    """A client that sends its whole body before it listens finds its 401, and may try again."""
    with line(tmp_path) as running:
        reply = running.post(b"x" * 20_000_000, headers={"Authorization": "Bearer wrong"})
        assert reply.status_code == 401
        assert running.post().status_code == 200


SLOW = {
    "bodies": head(10**6, token="wrong") + b"x",
    "heads": b"GET /status.json HTTP/1.1\r\nX-Slow: ",
    "readers": b"GET /pictures/REJECT/7.png HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("asked", SLOW.values(), ids=SLOW)
def test_strangers_keep_no_part_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bytes):
    """However many take their time, whoever has the token brings its part, as if they were not."""
    for module, name in (
        (push_module, "BODY_S"),
        (connections, "HEAD_S"),
        (connections, "WRITE_S"),
    ):
        monkeypatch.setattr(module, name, 600)
    folder = tmp_path / "pictures" / "REJECT"
    folder.mkdir(parents=True)
    (folder / "7.png").write_bytes(b"x" * 4_000_000)
    with line(tmp_path) as running, ExitStack() as strangers:
        for number in range(MAX_CONNECTIONS + 44):
            with suppress(ConnectionError):  # it gave way already
                strangers.enter_context(connected(running)).sendall(asked)
            if number % 50 == 0:
                assert running.post(part_id=f"among {number}").status_code == 200
        for number in range(3):
            with httpx.Client(base_url=running.client.base_url, headers=RIGHT, timeout=20) as new:
                running.client = new
                assert running.post(part_id=f"{number}").status_code == 200


def test_fault_comes_at_the_deadline_whatever_a_decoder_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A request whose picture is not decoded in time gets its FAULT; the next gets its verdict."""
    back, calls = Flag(), []

    def decode(content: bytes, name: str) -> Rgb:
        calls.append(name)
        if len(calls) == 1:
            back.wait()
        return decode_image(content, name)

    monkeypatch.setattr(decoding, "decode_image", decode)
    with line(tmp_path, deadline_s=1.0) as running:
        try:
            late, well = running.post(part_id="1").json(), running.post(part_id="2").json()
            assert not back.is_set()
        finally:
            back.set()
    assert (late["verdict"], well["verdict"]) == ("FAULT", "PASS")
    assert "camera main: not decoded within the deadline" in late["reason"]


def test_pictures_no_recipe_is_for_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """64 pictures of 80 million pixels, in a small form, are a FAULT part without a pixel."""

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(decoding, "decode_image", decode)
    large = png(8_944, 8_944)
    form = {f"c{number}": large for number in range(64)}
    assert sum(map(len, form.values())) < 700_000
    with line(tmp_path) as running:
        reply = running.post(files=form, content=None, headers={})
        assert (reply.status_code, reply.json()["verdict"]) == (200, "FAULT")
        assert "camera 'c0' has no recipe for product 'default'" in reply.json()["reason"]
        query = {"part_id": "7", "product": "unknown"}
        assert running.post(large, params=query).json()["verdict"] == "FAULT"


def test_pictures_of_too_many_pixels_are_refused_without_decoding(tmp_path: Path):
    """Though each camera has its recipe, one request may not bring 5,000 million pixels."""
    cameras = tuple(f"c{number}" for number in range(64))
    form = dict.fromkeys(cameras, png(8_944, 8_944))
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    with line(tmp_path, cameras=cameras) as running:
        reply = running.post(files=form, content=None, headers={})
        assert reply.status_code == 413
        assert "have 5,119,688,704 pixels; expected at most 320,000,000" in reply.json()["error"]
        assert running.parts == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - before_mb < 200


def test_pixels_of_all_requests_have_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A part holds its pixels until its event; whoever asks again for it holds nothing."""
    monkeypatch.setattr(push_module, "MAX_HELD_PIXELS", 500)  # two pictures of 12 × 20
    with line(tmp_path, wait_ms=20) as running:
        for round_ in range(3):
            with running.paused:
                first = running.post(part_id=f"{round_}")
                assert [running.post(part_id=f"{round_}").status_code for _ in range(3)] == [
                    202
                ] * 3
                assert running.post(part_id=f"{round_} b").status_code == 202
                reply = running.post(part_id=f"{round_} c")
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
                assert "too many pictures come at once" in reply.json()["error"]
            address = first.json()["ask"]
            wait_for(lambda address=address: running.client.get(address).status_code == 200)
            wait_for(lambda: running.post(part_id="after").status_code == 200)


def test_refused_requests_hold_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was read of a request that is refused, or was cut off, is given back."""
    monkeypatch.setattr(push_module, "HELD", 1)
    with line(tmp_path, max_mb=1) as running:
        for _ in range(3):
            large = lambda: running.post(iter([b"x" * 600_000] * 2)).status_code  # noqa: E731
            wait_for(lambda large=large: large() == 413)  # as soon as what was cut off has gone
            assert running.post(b"x" * 900_000, headers=FORM).status_code == 400
            with connected(running) as cut:
                cut.sendall(head(900_000) + b"x" * 800_000)
        wait_for(lambda: running.post(b"x" * 900_000).status_code == 200)


def test_frame_number_out_of_range_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A number no frame has is a FAULT without its pixels, and keeps its picture."""
    frames = FramesSettings(count=2, wait_ms=100)
    with line(tmp_path, frames=frames) as running:
        running.post(params={"part_id": "7", "frame": 999_999})
        wait_for(lambda: bool(running.parts))
    (frame,) = running.parts[0].frames
    assert isinstance(frame.pixels, Fault)
    assert frame.pixels.reason.startswith("frame number 999999; wanted 1 to 2")
    assert frame.encoded == encoded(40)


def test_event_id_has_a_length(tmp_path: Path):
    """A longer one is not looked up."""
    asked: list[str] = []
    with line(tmp_path, find=asked.append) as running:
        assert running.client.get(f"/events/{'x' * 129}").status_code == 404
        assert running.client.get(f"/events/{'x' * 128}").status_code == 404
    assert asked == ["x" * 128]


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, r"push.token: cannot be read \(.*No such file"),
        ("", "push.token: first line is empty"),
        ("x" * 15 + "\n", "push.token: token has 15 characters; expected 16 or more"),
        ("ä" * 16, "push.token: has other letters than ASCII"),
    ],
)
def test_token_that_protects_nothing_is_refused(tmp_path: Path, token: str | None, words: str):
    """The station does not begin, and says how a token is made."""
    settings = PushSettings(kind="push", token_file=tmp_path / "push.token")
    if token is not None:
        settings.token_file.write_text(token)
    with pytest.raises(ConfigError, match=rf"^source\.token_file: .*{words}.*openssl rand"):
        PushSource(settings, ActionSettings(), find_none, lambda _: CAMERAS)
