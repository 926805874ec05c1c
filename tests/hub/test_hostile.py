"""What somebody means badly is refused or harmless, and the hub goes on."""

import hashlib
import http.client
import io
import itertools
import json
import struct
import threading
import zlib
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import func, select

from inspection.hub.asking import Refused
from inspection.hub.audit import verify_audit
from inspection.hub.stations import enrol
from inspection.hub.tables import accounts, events, pictures, stations
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Account, Role
from tests.hub.conftest import served
from tests.hub.parts import part, store

INJECTIONS = ["' OR '1'='1", "x'; DROP TABLE events; --", '"; DELETE FROM audit; --', "%", "_"]
ESCAPES = [
    "..",
    "../../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fetc%2fpasswd",
    "%252e%252e%252fetc",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "..\\..\\windows",
    "..%5c..%5cwindows",
    "C:%5cwindows",
    "a.png%00.txt",
    "file:%2f%2f%2fetc%2fpasswd",
    "con",
    "." * 300,
]
PLACES = [
    ("GET", "/v1/events/{}", "person"),
    ("GET", "/v1/events/part-1/pictures/{}", "person"),
    ("PUT", "/v1/events/part-1/pictures/{}", "station"),
    ("PUT", "/v1/events/{}/pictures/a.png", "station"),
    ("GET", "/v1/bundles/{}/card.json", "station"),
    ("GET", "/v1/bundles/" + "b" * 64 + "/{}", "station"),
    ("GET", "/v1/stations/{}/thresholds", "station"),
    ("DELETE", "/v1/stations/{}", "person"),
    ("GET", "/v1/lines/{}/choices", "person"),
]


@pytest.fixture
def tokens(sqlite_plant):
    """Give the tokens of an admin and of a station whose events are there."""
    station = sqlite_plant.station_token()
    store(sqlite_plant.hub, part(1, 0.5))
    person = sqlite_plant.person(Role.ADMIN)._http.headers["Authorization"].split()[1]
    return {"person": person, "station": station}


def send(plant, method: str, target: str, token: str, body: bytes = b"", **headers: str):
    """Send a request whose target nobody tidies up; gives status and body."""
    connection = http.client.HTTPConnection(plant.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, target, body, {"Authorization": f"Bearer {token}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_no_name_of_a_client_leaves_its_place(sqlite_plant, tokens):
    """A name that is no name of ours is refused, and nothing but the answer's own words comes."""
    before = sorted(map(str, sqlite_plant.hub.artefacts.names("")))
    for (method, place, caller), escape in itertools.product(PLACES, ESCAPES):
        target = place.format(escape)
        sha256 = {"X-Content-SHA256": hashlib.sha256(b"x").hexdigest()}
        status, body = send(sqlite_plant, method, target, tokens[caller], b"x", **sha256)
        listing = place.endswith("choices") and status == 200 and body == b"[]"
        assert listing or 400 <= status < 500, (target, status, body)
        assert b"root:" not in body
    assert sorted(map(str, sqlite_plant.hub.artefacts.names(""))) == before


def test_sql_in_filters_and_names_is_text(plant):
    store(plant.hub, part(1, 0.5))
    admin = plant.person(Role.ADMIN, "root")
    for text in INJECTIONS:
        for field in ("line", "part_id"):
            assert admin.events(**{field: text}).items == ()
        with pytest.raises(Refused) as unknown:
            admin.event(text)
        assert unknown.value.status == 404
        with pytest.raises(Refused, match="expected small letters a to z"):
            admin.ask("POST", "/v1/accounts", Account, json={"account": text, "role": "viewer"})
        admin.enrol(NewStation(station=text, line=text))
    with plant.hub.database.reading() as connection:
        names = set(connection.execute(select(accounts.c.account)).scalars())
        assert names == {"root"}
        assert set(connection.execute(select(stations.c.station)).scalars()) >= set(INJECTIONS)
        assert connection.execute(select(func.count()).select_from(events)).scalar() == 1
    assert verify_audit(plant.hub).sound


def test_a_cursor_that_was_made_up_is_refused(sqlite_plant):
    viewer = sqlite_plant.person(Role.VIEWER)
    made_up = ("1 OR 1=1", "-1", "9" * 30, "x", "NaN", "é")
    for ask, after in itertools.product((viewer.audit, viewer.events), made_up):
        with pytest.raises(Refused) as refused:
            ask(after=after)
        assert refused.value.status == 422


def test_json_that_is_meant_to_hurt_is_refused(sqlite_plant):
    kind = {"Content-Type": "application/json"}
    for body in (
        b'{"account": NaN, "password": "x"}',
        b'{"account": 1e999, "password": "x"}',
        b'{"account": "\\ud800", "password": "x"}',
        b'{"account": "a\\u0000", "password": "x"}',
        b'{"account": "ann", "password": "\\udfff"}',
        b'{"account": "ann", "password": "x", "\\ud800": 1}',
        b'{"account": ' + b"9" * 5000 + b', "password": "x"}',
        b"[" * 50_000,
        b'{"a":' * 20_000,
        b"\xff\xfe{}",
        b"\x00" * 100,
        b"",
        b"null",
        b'"text"',
        b'{"account": "ann", "password": "' + b"x" * 300 + b'"}',
    ):
        status, answer = send(sqlite_plant, "POST", "/v1/session", "", body, **kind)
        assert status in {400, 413, 422}, body[:40]
        assert set(json.loads(answer)) == {"error"}


def test_a_text_that_a_database_cannot_keep_is_refused(plant):
    """PostgreSQL takes no NUL in a text; both answer alike."""
    store(plant.hub, part(1, 0.5))
    token = plant.person(Role.ENGINEER)._http.headers["Authorization"].split()[1]
    kind = {"Content-Type": "application/json"}
    asked = {
        "/v1/lines/l/choices": '{"bundle_id": "%s", "comment": "TEXT"}' % ("a" * 64),
        "/v1/events/part-1/outline": '{"camera": "TEXT"}',
        "/v1/events/part-1/corrections": '{"camera": "TEXT", "mask": "", "revision": 0}',
        "/v1/events/part-1/reviews": '{"decision": "good", "comment": "TEXT", "revision": 0}',
    }
    texts = ("a\\u0000b", "\\ud800", "x" * 2000)
    for (path, body), text in itertools.product(asked.items(), texts):
        status, answer = send(
            plant, "POST", path, token, body.replace("TEXT", text).encode(), **kind
        )
        assert status == 422, (path, text[:20], answer)


def png(width: int, height: int) -> bytes:
    """Give a small PNG file that says it is large: its rows are zeros."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4)).save(stream, "GIF")
    return stream.getvalue()


def test_what_is_no_picture_of_ours_is_not_kept(sqlite_plant, tokens):
    target = "/v1/events/part-1/pictures/1-top.png"
    for content, wanted in (
        (b"<!DOCTYPE html><script>alert(1)</script>", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", 415),
        (b"\x89PNG\r\n\x1a\n<script>alert(1)</script>", 415),
        (gif(), 415),
        (b"", 415),
        (png(50_000, 50_000), 413),
        (png(2**31 - 1, 2**31 - 1), 413),
    ):
        sha256 = {"X-Content-SHA256": hashlib.sha256(content).hexdigest()}
        status, _ = send(sqlite_plant, "PUT", target, tokens["station"], content, **sha256)
        assert status == wanted, content[:40]
    with sqlite_plant.hub.database.reading() as connection:
        assert connection.execute(select(pictures)).all() == []


def test_a_station_speaks_for_itself_only(sqlite_plant, tokens):
    """A station's token brings no event, picture or status of another one."""
    other = enrol(sqlite_plant.hub, NewStation(station="other", line="line-1"), "test").token
    event = part(2, 0.5).model_dump(mode="json") | {"action": "none"}
    sha256 = {"X-Content-SHA256": hashlib.sha256(b"x").hexdigest()}
    for method, target, body in (
        ("POST", "/v1/events", json.dumps([event]).encode()),
        ("PUT", "/v1/events/part-1/pictures/1-top.png", b"x"),
        ("PUT", "/v1/stations/station-1/status", b"{}"),
        ("GET", "/v1/stations/station-1/thresholds", b""),
        ("GET", "/v1/stations/station-1/bundles", b""),
    ):
        status, answer = send(sqlite_plant, method, target, other, body, **sha256)
        assert (status, "error" in json.loads(answer)) == (403, True), target


def test_nothing_is_told_to_who_does_not_say_who_he_is(sqlite_plant):
    """Every route but logging in and the watchers' own refuses without a token."""
    paths = sqlite_plant.client()._http.get("/openapi.json").json()["paths"]
    opened = {"/v1/session post", "/v1/session/oidc post"}
    for path, methods in paths.items():
        for method in methods:
            target = path.replace("{", "").replace("}", "")
            status, _ = send(sqlite_plant, method.upper(), target, "made up")
            if path.startswith("/v1/") and f"{path} {method}" not in opened:
                assert status == 401, f"{method} {path}"


@pytest.mark.parametrize("days", [400, -400])
def test_a_station_whose_clock_is_wrong_loses_nothing(sqlite_plant, days):
    """What it says is kept beside the hub's own time of receipt."""
    off = timedelta(days=days)
    token = sqlite_plant.station_token()
    event = part(1, 0.5)
    moved = {"captured_at": sqlite_plant.hub.now() + off, "judged_at": sqlite_plant.hub.now() + off}
    record = event.model_copy(update=moved).model_dump(mode="json") | {"action": "none"}
    body = json.dumps([record]).encode()
    assert send(sqlite_plant, "POST", "/v1/events", token, body) == (
        200,
        b'{"stored":1,"refused":[]}',
    )
    (row,) = sqlite_plant.person(Role.VIEWER).events().items
    assert abs(row.received_at - sqlite_plant.hub.now()) < timedelta(minutes=5)
    assert abs(row.captured_at - row.received_at - off) < timedelta(minutes=5)


def test_two_hubs_on_one_database_do_each_other_no_harm(make_hub, database_url):
    """Both take the same events at once, and a token revoked at one is refused by the other."""
    one, two = make_hub(database_url), make_hub(database_url)
    token = enrol(one, NewStation(station="station-1", line="line-1"), "test")
    records = [part(n, 0.5).model_dump(mode="json") | {"action": "none"} for n in range(1, 61)]
    batches = [json.dumps(records[first : first + 20]).encode() for first in (0, 20, 40)]
    with served(one) as first, served(two) as second:
        answers = []

        def bring(plant) -> None:
            answers.extend(send(plant, "POST", "/v1/events", token.token, body) for body in batches)

        threads = [threading.Thread(target=bring, args=(plant,)) for plant in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert answers == [(200, b'{"stored":20,"refused":[]}')] * 6
        with one.database.reading() as connection:
            assert connection.execute(select(func.count()).select_from(events)).scalar() == 60
        first.person(Role.ADMIN).revoke("station-1", token.id)
        assert send(second, "POST", "/v1/events", token.token, b"[]")[0] == 401
    assert verify_audit(two).sound
