"""Whatever anybody sends, the hub answers as its own OpenAPI description says, and never 5xx."""

import pytest
import schemathesis

from inspection.hub.accounts import add_account, begin_session
from inspection.hub.api.app import make_app
from inspection.hub.stations import enrol, rotate
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import NewAccount, Role
from tests.fuzz import CHECKS, Caller, Tally, send
from tests.hub.parts import add_picture, named, part, store
from tests.hub.stations import status

# Half of the paths name what is there, or no request came past "not there".
THERE = {
    "account": "ann",
    "station": "station-1",
    "line": "line-1",
    "event_id": "part-2",
    "name": "2-top.png",
    "token_id": 1,
    "bundle_id": "b" * 64,
}
OWN = {"station": "station-1", "line": "line-1"}
# Its answer holds a list of tuples, whose schema schemathesis 4.32 rewrites into what it refuses.
UNREAD = "GET /v1/datasets/duplicates"
EVENTS, STATUS = "POST /v1/events", "PUT /v1/stations/{station}/status"
BODIES = {
    EVENTS: [
        named(part(number, 1.5), ("pore", 0.9)).model_dump(mode="json") | {"action": "none"}
        for number in (7, 8)
    ],
    STATUS: status().model_dump(mode="json"),
}
"""Bodies that fit, of which odd ones are made."""


@pytest.fixture
def app(sqlite_hub):
    hub = sqlite_hub
    for role in Role:
        add_account(hub, NewAccount(account=f"the-{role}", role=role), "test")
    add_account(hub, NewAccount(account="ann", role=Role.VIEWER), "test")
    enrol(hub, NewStation(station="station-1", line="line-1"), "test")
    store(hub, part(1, 0.5), part(2, 1.5), part(3, None))
    add_picture(hub, 2)
    return make_app(hub)


def callers(hub) -> tuple[Caller, ...]:
    """Give everybody who may ask, with sessions and tokens made anew: the last may have ended."""

    def bearer(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    people = {role: bearer(begin_session(hub, f"the-{role}").token) for role in Role}
    return (
        Caller("nobody", {}, fitting=1, unfitting=1),
        Caller("a stranger", bearer("x" * 43)),
        *(Caller(role, people[role]) for role in (Role.VIEWER, Role.REVIEWER)),
        Caller(Role.ENGINEER, people[Role.ENGINEER], fitting=1, odd=2),
        Caller(Role.ADMIN, people[Role.ADMIN], fitting=3, unfitting=2, odd=2),
        Caller("station", bearer(rotate(hub, "station-1", "test").token), fitting=2, odd=8),
    )


def adapt(case, there: bool) -> None:
    """Name what is there, and wait for nothing; the next operations need what would be deleted."""
    if there and case.method != "DELETE":
        known = {name: THERE[name] for name in case.path_parameters or {} if name in THERE}
        case.path_parameters = {**(case.path_parameters or {}), **known}
        if case.operation.label in BODIES:
            case.body = _as_own(case.body)
    if case.query and "wait_s" in case.query:
        case.query = {**case.query, "wait_s": 0}


def _as_own(body):
    """Let events and statuses be those of the station that sends them."""
    if isinstance(body, list):
        return [one | OWN if isinstance(one, dict) else one for one in body]
    return body | OWN if isinstance(body, dict) else body


def test_every_answer_is_as_described(app):
    """Strangers, people of every role, stations; odd numbers, texts and dates among good ones."""
    tally = Tally()
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()
        checks = CHECKS[:-1] if operation.label == UNREAD else CHECKS
        for caller in callers(app.state.hub):
            body = BODIES.get(operation.label)
            send(operation, caller, tally, adapt, checks=checks, body=body)
    tally.report("hub")
    assert tally.operations >= BODIES.keys()
    assert {200, 204, 401, 403, 404, 422} <= tally.answers.keys()
    assert max(tally.answers) < 500
