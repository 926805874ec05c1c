"""Whatever anybody sends to the station's port, no answer is 5xx, and each is one that is meant."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis

from tests.fuzz import ANSWER, Caller, Tally, send
from tests.station.sources.test_push import RIGHT, encoded, line

JSON, TEXT = {"type": "object"}, {"type": "string", "maxLength": 2_000}
PICTURE = {"type": "string", "format": "binary"}
FORM = {"type": "object", "properties": dict.fromkeys(("main", "top", "left.2"), PICTURE)}
KINDS = ("image/png", "image/jpeg", "image/bmp", "image/tiff", "application/octet-stream")
BODIES = {
    **{kind: {"schema": PICTURE} for kind in KINDS},
    "multipart/form-data": {"schema": FORM},
    "application/json": {"schema": JSON},
}


def _operation(*statuses: int, query: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Describe an operation; each may refuse a head that is not understood."""
    parameters = [{"name": name, "in": "query", "schema": TEXT} for name in query]
    answers = {str(status): {"description": "as it says"} for status in (*statuses, 400, 431)}
    return {"parameters": parameters, "responses": answers, **more}


def _path(name: str, *of: str) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": one, "in": "path", "required": True, "schema": TEXT | {"minLength": 1}}
            for one in of
        ],
        **{method: _operation(200, 404, 405) for method in name.split()},
    }


POST = _operation(
    *(200, 202, 401, 408, 411, 413, 415, 422, 429),
    query=("part_id", "product", "frame", "last"),
    requestBody={"required": True, "content": BODIES},
)
PORT = {
    "openapi": "3.1.0",
    "info": {"title": "The station's port", "version": "1"},
    "paths": {
        **{
            place: {"get": _operation(200), "delete": _operation(405), "post": _operation(405)}
            for place in ("/", "/page.css", "/page.js", "/status.json", "/healthz", "/metrics")
        },
        "/pictures/{verdict}/{name}": _path("get head post", "verdict", "name"),
        "/events/{event_id}": {
            **_path("get delete", "event_id"),
            "get": _operation(200, 202, 401, 404),
        },
        "/frames": {"post": POST, "get": _operation(405)},
        "/{anything}": _path("get put options patch", "anything"),
    },
}
CALLERS = (
    Caller("nobody", {}, fitting=2, unfitting=2),
    Caller("a stranger", {"Authorization": "Bearer " + "x" * 43}, fitting=2, unfitting=2),
    Caller("an odd one", {"Authorization": "Basic \xff", "Host": "localhost"}, fitting=2),
    Caller("a token's holder", RIGHT, fitting=12, unfitting=8),
)


def adapt(case: Any, there: bool) -> None:
    """Send pictures that are some, and ask for verdicts that there are."""
    if there and case.media_type in KINDS:
        case.body = encoded(40)
    if there and case.operation.label == "POST /frames":
        case.query = {"part_id": (case.query or {}).get("part_id", "0173")}
    if there and "verdict" in (case.path_parameters or {}):
        case.path_parameters = {**case.path_parameters, "verdict": "FAULT"}


@pytest.fixture
def address(tmp_path) -> Iterator[str]:
    """A station that takes parts and judges them."""
    with line(tmp_path) as running:
        yield str(running.client.base_url)


def test_no_request_brings_the_station_to_a_server_error(address):
    """Strangers and token holders; paths, queries, pictures and forms of every kind."""
    tally = Tally()
    for found in schemathesis.openapi.from_dict(PORT).get_all_operations():
        for caller in CALLERS:
            send(found.ok(), caller, tally, adapt, checks=ANSWER, base_url=address)
    tally.report("station")
    assert {200, 401, 404, 405} <= tally.answers.keys()
    assert max(tally.answers) < 500
