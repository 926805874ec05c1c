"""Sends generated requests as an OpenAPI description tells them, and odd values within good bodies.

INSPECTION_FUZZ=N sends N times as many, and writes what came of them into reports/bench/fuzz.json
(`make fuzz`); the answers are checked all the same.
"""

import copy
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

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

from inspection.core.origin import describe_origin

ORIGIN = describe_origin(("schemathesis", "hypothesis"))  # before a report makes the clone dirty
TIMES = int(os.environ.get("INSPECTION_FUZZ", "1"))
REPORT = Path(__file__).parents[1] / "reports" / "bench" / "fuzz.json"
ANSWER = [not_a_server_error, status_code_conformance]
CHECKS = [*ANSWER, content_type_conformance, response_schema_conformance]
DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 2**31, 2**53 + 1, 2**63, 10**400, -(10**400)),
    *(1.7e308, -1.7e308, 5e-324, -0.0),
    *("", " ", "\0", "a\u2028b", "..", "../../x", "=1+1", "x" * 100_000, "٣", "1e5"),
    *("0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"),
    *([], {}, {"": None}, [[]] * 1_000, DEEP),
)


@dataclass
class Tally:
    """What came of the requests to one server."""

    operations: set[str] = field(default_factory=set)
    callers: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)

    def count(self, operation: str, caller: str, status: int) -> None:
        """Take one answer in."""
        self.operations.add(operation)
        self.callers.add(caller)
        self.answers[status] += 1

    def report(self, server: str) -> None:
        """Write it beside those of other servers, when more than the usual number was asked for."""
        if TIMES == 1:
            return
        known = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
        known[server] = {
            "requests": self.answers.total(),
            "operations": len(self.operations),
            "callers": sorted(self.callers),
            "server_errors": sum(n for status, n in self.answers.items() if status >= 500),
            "origin": ORIGIN.model_dump(mode="json"),
            "answers": {str(status): n for status, n in sorted(self.answers.items())},
        }
        REPORT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Caller:
    """Somebody who asks: with which headers, and how many requests of each kind."""

    name: str
    headers: dict[str, str]
    fitting: int = 1
    """Requests as described."""
    unfitting: int = 0
    """Requests against the description."""
    odd: int = 0
    """Requests of which one value in the body is odd."""


def send(
    operation: Any,
    caller: Caller,
    tally: Tally,
    adapt: Callable[[Any, bool], None],
    *,
    checks: Sequence[Any] = tuple(CHECKS),
    body: Any = None,
    **call: Any,
) -> None:
    """Send one operation's requests of one caller, and check each answer.

    Args:
        operation: of schemathesis.
        caller: who asks.
        tally: counts the answers.
        adapt: changes a case in place before it goes; told whether it should name what is there.
        checks: of schemathesis.
        body: one that fits, in which odd values are put; none takes what is generated.
        call: for schemathesis' `call`, such as base_url.
    """
    odd = caller.odd if "application/json" in {one.media_type for one in operation.body} else 0
    for mode, count, oddly in (
        (GenerationMode.POSITIVE, caller.fitting, False),
        (GenerationMode.NEGATIVE, caller.unfitting, False),
        (GenerationMode.POSITIVE, odd, True),
    ):

        def ask(case: Any, there: bool, data: st.DataObject, *, oddly: bool) -> None:
            if oddly:
                case.body = _with_odd(case.body if body is None else copy.deepcopy(body), data)
            adapt(case, there)
            case.headers = {**(case.headers or {}), **caller.headers}
            answer = case.call(**call)
            tally.count(operation.label, caller.name, answer.status_code)
            case.validate_response(answer, checks=list(checks))

        cases = operation.as_strategy(generation_mode=mode)
        _try(cases, partial(ask, oddly=oddly), count * TIMES)


def _try(cases: Any, ask: Callable[[Any, bool, st.DataObject], None], count: int) -> None:
    """Ask so many times, each time the same ones."""
    if not count:
        return

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases, st.booleans(), st.data())
    def one(case: Any, there: bool, data: st.DataObject) -> None:
        ask(case, there, data)

    with suppress(Unsatisfiable):  # nothing is wrong for it: any body, no parameter
        one()


def _with_odd(body: Any, data: st.DataObject) -> Any:
    """Put an odd value in the place of one of a body's, or of the whole body."""
    places = list(_places(body))
    odd = data.draw(st.sampled_from(ODD))
    if not places:
        return odd
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = odd
    return body


def _places(value: Any) -> Any:
    """Give every (holder, key) of a body."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from _places(value[key])
