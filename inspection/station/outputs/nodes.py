"""The OPC UA nodes of docs/station.md: their table, and the value of each."""

import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

from inspection.core.decision import Verdict
from inspection.core.known import words_of_types
from inspection.station.outputs.handshake import ACTION_CODES, VERDICT_CODES, Shown
from inspection.station.outputs.settings import Action

NAMESPACE = "urn:inspection:station"
APPLICATION = "urn:inspection:station:server"
"""URI of the server; its certificate must hold it as subject alternative name."""
NEVER = datetime(1601, 1, 1, tzinfo=UTC)
"""OPC UA's time that stands for none."""


class Variable(NamedTuple):
    """One variable below the object Station: its node id without `Station.`, its OPC UA type."""

    name: str
    type: str


VARIABLES = (
    Variable("Ready", "Boolean"),
    Variable("State", "String"),
    Variable("Reason", "String"),
    Variable("Heartbeat", "UInt32"),
    Variable("Waiting", "UInt32"),
    Variable("Counters.Pass", "UInt32"),
    Variable("Counters.Review", "UInt32"),
    Variable("Counters.Reject", "UInt32"),
    Variable("Counters.Fault", "UInt32"),
    Variable("EventId", "String"),
    Variable("PartId", "String"),
    Variable("Product", "String"),
    Variable("Verdict", "String"),
    Variable("VerdictCode", "UInt16"),
    Variable("Score", "Double"),
    Variable("JudgedAt", "DateTime"),
    Variable("Action", "String"),
    Variable("ActionCode", "UInt16"),
    Variable("Release", "Boolean"),
    Variable("Sequence", "UInt32"),
    Variable("Types", "String"),
)
"""What the station writes, in this order."""
TYPES = {variable.name: variable.type for variable in VARIABLES}
ACKNOWLEDGE = Variable("Acknowledge", "UInt32")
"""What a client writes."""
METHOD = "AcknowledgeResult"
"""The same as a method: takes the sequence, says whether that result was on show."""


def values(shown: Shown) -> dict[str, Any]:
    """Give the value of each of VARIABLES."""
    return _of_station(shown) | _of_result(shown)


def _of_station(shown: Shown) -> dict[str, Any]:
    status = shown.status
    counts = status.counts if status else {}
    counters = {
        f"Counters.{verdict.capitalize()}": counts.get(verdict, 0) % 2**32 for verdict in Verdict
    }
    return {
        "Ready": shown.ready,
        "State": str(shown.state or ""),
        "Reason": shown.reason,
        "Heartbeat": status.beat % 2**32 if status else 0,
        "Waiting": status.waiting if status else 0,
        **counters,
    }


def _of_result(shown: Shown) -> dict[str, Any]:
    event = shown.event
    score = event.deciding.score if event else None
    return {
        "EventId": event.event_id if event else "",
        "PartId": event.part_id if event else "",
        "Product": event.product if event else "",
        "Verdict": str(event.verdict) if event else "",
        "VerdictCode": VERDICT_CODES[event.verdict] if event else 0,
        "Score": math.nan if score is None else score,
        "JudgedAt": event.judged_at if event else NEVER,
        "Action": str(shown.action),
        "ActionCode": ACTION_CODES[shown.action],
        "Release": shown.action is Action.RELEASE,
        "Sequence": event.sequence % 2**32 if event else 0,
        "Types": words_of_types(frame.recognised for frame in event.frames) if event else "",
    }
