"""Whatever a client sends, the hub answers as its own OpenAPI description says, and never 5xx."""

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from inspection.hub.accounts import add_account, begin_session
from inspection.hub.api.app import make_app
from inspection.hub.stations import enrol, rotate
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import NewAccount, Role
from tests.hub.parts import add_picture, part, store

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
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
EXAMPLES = (  # of each operation; more find no more in minutes of trying, and CI's time is scarce
    ("admin", GenerationMode.POSITIVE, 3),
    ("admin", GenerationMode.NEGATIVE, 2),
    ("station", GenerationMode.POSITIVE, 1),
)
# Its answer holds a list of tuples, whose schema schemathesis 4.32 rewrites into what it refuses.
UNREAD = "GET /v1/datasets/duplicates"


@pytest.fixture
def app(sqlite_hub):
    hub = sqlite_hub
    add_account(hub, NewAccount(account="root", role=Role.ADMIN), "test")
    add_account(hub, NewAccount(account="ann", role=Role.VIEWER), "test")
    enrol(hub, NewStation(station="station-1", line="line-1"), "test")
    store(hub, part(1, 0.5), part(2, 1.5), part(3, None))
    add_picture(hub, 2)
    return make_app(hub)


def ask(strategy, label: str, count: int, token: str) -> None:
    """Send so many examples of one operation and check every answer."""
    checks = CHECKS[:-1] if label == UNREAD else CHECKS

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy, st.booleans())
    def send(case, there):
        if there and case.method != "DELETE":  # the next operations need it
            known = {name: THERE[name] for name in case.path_parameters or {} if name in THERE}
            case.path_parameters = {**(case.path_parameters or {}), **known}
        if case.query and "wait_s" in case.query:
            case.query = {**case.query, "wait_s": 0}
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
        case.call_and_validate(checks=checks)

    with suppress(Unsatisfiable):  # nothing is wrong for it: any body, no parameter
        send()


def test_every_answer_is_as_described(app):
    hub = app.state.hub
    give = {
        "admin": lambda: begin_session(hub, "root").token,  # anew: the last operation may end it
        "station": lambda: rotate(hub, "station-1", "test").token,
    }
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()
        for caller, mode, count in EXAMPLES:
            strategy = operation.as_strategy(generation_mode=mode)
            ask(strategy, operation.label, count, give[caller]())
