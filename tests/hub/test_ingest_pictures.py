"""Pictures of events: taken by content, kept by hash, given as small as asked."""

import hashlib
import logging
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

import cv2
import httpx
import numpy as np
import pytest
from sqlalchemy import func, select

from inspection.core.errors import ConfigError
from inspection.core.imaging import decode_image
from inspection.hub.artefacts import picture_name
from inspection.hub.ingest import Sender
from inspection.hub.opening import MOST_AT_ONCE
from inspection.hub.pictures import SentPicture, keep_picture, keep_pictures
from inspection.hub.refusals import Foreign, NoPicture, NotThere, Standing, TooLarge
from inspection.hub.tables import pictures
from inspection.hub.wire.people import Role
from tests.hub.parts import SENDER, add_picture, part, store


def encoded(kind: str = ".png", *, grey: int = 90) -> bytes:
    pixels = np.full((40, 60, 3), grey, np.uint8)
    return cv2.imencode(kind, pixels)[1].tobytes()


def sent(content: bytes, name: str = "1-top.png", event_id: str = "part-1") -> SentPicture:
    return SentPicture(event_id, name, content, hashlib.sha256(content).hexdigest())


def bomb(side_px: int) -> bytes:
    """A PNG of some bytes that claims to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0"))


def rows(hub) -> int:
    with hub.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(pictures)).scalar_one()


def files(hub) -> int:
    return sum(1 for _ in hub.artefacts.names("pictures"))


def put(plant, content: bytes, **changes) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {changes.pop('token')}",
        "X-Content-SHA256": hashlib.sha256(content).hexdigest(),
    }
    url = f"{plant.url}/v1/events/part-1/pictures/{changes.pop('name', '1-top.png')}"
    return httpx.put(url, content=content, headers=headers | changes)


def test_a_picture_goes_in_once_and_comes_out_as_it_was(plant):
    token = plant.station_token()
    content = encoded()
    assert put(plant, content, token=token).status_code == 404  # its event is to come first
    store(plant.hub, part(1, 0.5))
    assert [put(plant, content, token=token).status_code for _ in range(2)] == [204, 204]
    assert put(plant, encoded(grey=91), token=token).status_code == 409
    viewer = plant.person(Role.VIEWER)
    assert viewer.picture("part-1", "1-top.png") == content
    detail = viewer.event("part-1")
    assert [(one.kind, one.height_px, one.width_px) for one in detail.pictures] == [
        ("image/png", 40, 60)
    ]
    assert detail.row.picture == "1-top.png"
    assert (rows(plant.hub), files(plant.hub)) == (1, 1)


def test_equal_pictures_share_one_file(hub):
    store(hub, part(1, 0.5), part(2, 0.5))
    lot = [(SENDER, sent(encoded(), f"{n}-top.png", f"part-{n}")) for n in (1, 2, 1)]
    assert keep_pictures(hub, lot) == [None, None, None]
    assert (rows(hub), files(hub)) == (2, 1)


def test_one_that_is_refused_takes_none_of_its_lot_with_it(hub):
    store(hub, part(1, 0.5), part(2, 0.5))
    refusals = keep_pictures(
        hub,
        [
            (SENDER, sent(encoded())),
            (SENDER, sent(encoded(grey=91))),  # another one of the same name, in the same lot
            (SENDER, sent(b"<html>", "x.png")),
            (SENDER, sent(encoded(), "2-top.png", "part-2")),
        ],
    )
    assert [type(one) for one in refusals] == [type(None), Standing, NoPicture, type(None)]
    assert rows(hub) == 2


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [(".png", "image/png"), (".jpg", "image/jpeg"), (".bmp", "image/bmp"), (".tiff", "image/tiff")],
)
def test_the_kind_is_that_of_the_content(sqlite_hub, kind, media_type):
    store(sqlite_hub, part(1, 0.5))
    keep_picture(sqlite_hub, SENDER, sent(encoded(kind), "any.name"))
    with sqlite_hub.database.reading() as connection:
        assert connection.execute(select(pictures.c.kind)).scalar_one() == media_type


REFUSED = {
    "HTML": (sent(b"<html><script>1</script></html>"), NoPicture),
    "a head of PNG before HTML": (sent(b"\x89PNG\r\n\x1a\n<html></html>"), NoPicture),
    "SVG": (sent(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), NoPicture),
    "nothing": (sent(b""), NoPicture),
    "a bomb": (sent(bomb(60_000)), TooLarge),
    "more than the hub takes": (sent(bomb(8_500)), TooLarge),
    "a path": (sent(encoded(), "../../etc/passwd"), ConfigError),
    "a hidden file": (sent(encoded(), ".bashrc"), ConfigError),
    "an unknown event": (sent(encoded(), event_id="part-9"), NotThere),
}


@pytest.mark.parametrize(("picture", "refusal"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_of_an_event_leaves_nothing_behind(sqlite_hub, picture, refusal):
    store(sqlite_hub, part(1, 0.5))
    with pytest.raises(refusal):
        keep_picture(sqlite_hub, SENDER, picture)
    assert (rows(sqlite_hub), files(sqlite_hub)) == (0, 0)


def test_another_stations_event_gets_no_picture(sqlite_hub):
    store(sqlite_hub, part(1, 0.5))
    with pytest.raises(Foreign, match="is not of station 'station-2'"):
        keep_picture(sqlite_hub, Sender("station-2", "line-1"), sent(encoded()))


def test_refusals_have_their_own_http_status(sqlite_plant):
    token = sqlite_plant.station_token()
    store(sqlite_plant.hub, part(1, 0.5))
    wrong = {"X-Content-SHA256": "0" * 64}
    assert put(sqlite_plant, encoded(), token=token, **wrong).status_code == 422
    assert put(sqlite_plant, encoded(), token="guess").status_code == 401
    assert put(sqlite_plant, b"<html>", token=token).status_code == 415
    assert put(sqlite_plant, bomb(60_000), token=token).status_code == 413
    assert put(sqlite_plant, encoded(), token=token, name="a%2Fb").status_code in {404, 405}
    assert put(sqlite_plant, encoded(), token=token, name="%2E%2E").status_code in {404, 405, 422}


def test_a_station_that_leaves_while_it_sends_is_no_mistake_of_the_hub(sqlite_plant, caplog):
    caplog.set_level(logging.DEBUG, "inspection.hub")
    token = sqlite_plant.station_token()
    host, port = sqlite_plant.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"PUT /v1/events/part-1/pictures/1.png HTTP/1.1\r\nHost: hub\r\nContent-Length: 9\r\n"
            b"X-Content-SHA256: %b\r\nAuthorization: Bearer %b\r\n\r\nhalf"
            % (b"0" * 64, token.encode())
        )
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.2)
    until = time.monotonic() + 10
    while not (said := [one for one in caplog.records if one.message == "request"]):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert (said[-1].status, said[-1].levelname) == (400, "INFO")
    assert "Traceback" not in caplog.text


def test_many_at_once_are_all_kept(sqlite_plant):
    """Requests that come together are worked on in lots; each gets its own answer."""
    token, statuses = sqlite_plant.station_token(), {}
    store(sqlite_plant.hub, part(1, 0.5))

    def send(number: int) -> None:
        content = b"<html>" if number % 4 == 0 else encoded(grey=number)
        answer = put(sqlite_plant, content, token=token, name=f"{number}.png")
        statuses[number] = answer.status_code

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {n: 415 if n % 4 == 0 else 204 for n in range(1, 41)}
    assert rows(sqlite_plant.hub) == 30


def test_a_picture_that_retention_took_between_is_put_again(sqlite_hub, monkeypatch):
    """The file of an unnamed hash may go until its row is committed."""
    store(sqlite_hub, part(1, 0.5))
    picture = sent(encoded())
    commit = sqlite_hub.database.writing_with_others

    def commit_late(work):
        sqlite_hub.artefacts.delete(picture_name(picture.sha256))
        return commit(work)

    monkeypatch.setattr(sqlite_hub.database, "writing_with_others", commit_late)
    keep_picture(sqlite_hub, SENDER, picture)
    assert sqlite_hub.artefacts.get(picture_name(picture.sha256)) == picture.content


def test_a_smaller_picture_is_a_jpeg_and_kept_by_browsers(sqlite_plant):
    store(sqlite_plant.hub, part(1, 0.5))
    add_picture(sqlite_plant.hub, 1)  # 64×80 px
    viewer = sqlite_plant.person(Role.VIEWER)
    small = decode_image(viewer.picture("part-1", "1-top.png", side_px=40), "small")
    assert small.shape == (32, 40, 3)
    assert decode_image(viewer.picture("part-1", "1-top.png", side_px=800), "x").shape[:2] == (
        64,
        80,
    )

    headers = {"Authorization": viewer._http.headers["Authorization"]}
    url = f"{sqlite_plant.url}/v1/events/part-1/pictures/1-top.png?side_px=40"
    first = httpx.get(url, headers=headers)
    assert first.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    again = httpx.get(url, headers=headers | {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    whole = httpx.get(url.partition("?")[0], headers=headers)
    assert whole.headers["ETag"] != first.headers["ETag"]
    assert httpx.get(url).status_code == 401


def test_few_pictures_are_decoded_at_a_time_however_many_ask(sqlite_plant):
    """One of 64 Mpx takes 0.2 GB: who comes later waits for room."""
    store(sqlite_plant.hub, part(1, 0.5))
    add_picture(sqlite_plant.hub, 1)
    viewer, room = sqlite_plant.person(Role.VIEWER), sqlite_plant.hub.opened.room
    with ExitStack() as full, ThreadPoolExecutor(1) as asking:
        for _ in range(MOST_AT_ONCE):
            full.enter_context(room)
        small = asking.submit(viewer.picture, "part-1", "1-top.png", side_px=40)
        assert not wait([small], 0.3).done
        full.close()
        assert small.result(30)
