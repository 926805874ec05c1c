"""Writes an event as it leaves the station: its record as JSON, and the line's action."""

import json

from inspection.core.records import Event
from inspection.station.outputs.settings import ActionSettings


def event_message(event: Event, actions: ActionSettings) -> bytes:
    """Give the JSON object of one event, UTF-8: the fields of its record and `action`."""
    fields = {**event.model_dump(mode="json"), "action": actions.of(event.verdict)}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
