"""Sends events, then their pictures, to the plant's hub.

The protocol, all under the configured url, with `Authorization: Bearer TOKEN` where one is set:

`POST {url}/api/events`
    Body: a JSON array of events in order, at most 100; each is the event's record and `action`.
    Answer: 2xx with `{"stored": n}`: the hub keeps the first n of them durably. It knows events by
    event_id: one it has already counts as stored and changes nothing.

`PUT {url}/api/events/{event_id}/pictures/{file name}`
    Body: the file's bytes, with Content-Type, and X-Content-SHA256, their hash in hex. Answer: 2xx.
    Only for events it stored; the same picture again changes nothing.

Every other status means "not now": what is not acknowledged is sent again, in order, with growing
pauses, as for a webhook.

Pictures are written a moment after their event. Events do not wait for them: each delivery first
posts what the hub does not have, and an event counts as delivered when its pictures are there,
too. So an event whose pictures are late delays no event but those more than a batch behind it.
"""

import hashlib
import logging
import mimetypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, StrictInt, ValidationError

from inspection.core.records import Event
from inspection.station.outputs.endpoint import Endpoint
from inspection.station.outputs.message import event_message
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import ActionSettings, HubSettings
from inspection.station.state import StationStatus

logger = logging.getLogger(__name__)

TURN_S = 1.0  # so long a delivery sends pictures before new events have their turn

Pictures = Callable[[Event], Sequence[Path] | None]
"""Gives the files of an event's pictures; none while some may still be written."""


class _Stored(BaseModel):
    """The hub's answer; what a newer hub adds is ignored."""

    stored: StrictInt


class HubOutput:
    """The plant's hub."""

    batch = 100
    from_start = True

    def __init__(self, settings: HubSettings, actions: ActionSettings, pictures: Pictures) -> None:
        self.name = settings.name
        self._actions = actions
        self._pictures = pictures
        self._endpoint = Endpoint(settings.url, settings.token_file, settings.timeout_ms)
        self._stored = 0  # sequence up to which the hub has the events, pictures aside

    def connect(self) -> None:
        """Begin with a new connection and the token as it is now.

        Raises:
            OutputDown: the token cannot be read.
        """
        self._endpoint.open()
        self._stored = 0  # it may be another hub, or one set up from a backup

    def deliver(self, events: Sequence[Event]) -> int:
        """Post the events the hub does not have, then send pictures for a while.

        Returns:
            How many events, from the first, the hub has with all their pictures.

        Raises:
            OutputDown: no answer in time, or not as the protocol says.
        """
        self._post([event for event in events if event.sequence > self._stored])
        until = time.monotonic() + TURN_S
        count = 0
        for event in events:
            try:
                if event.sequence > self._stored or not self._illustrate(event):
                    break
            except OutputDown:
                if count:  # first acknowledge what is done, or a weak network never gets on
                    break
                raise
            count += 1
            if time.monotonic() > until:
                break
        return count

    def beat(self, status: StationStatus) -> None:
        """Do nothing: the hub gets events only."""

    def close(self) -> None:
        """Let the connection go."""
        self._endpoint.close()

    def _post(self, events: Sequence[Event]) -> None:
        if not events:
            return
        body = b"[" + b",".join(event_message(event, self._actions) for event in events) + b"]"
        answer = self._endpoint.send(
            "POST", "/api/events", body, {"Content-Type": "application/json"}
        )
        try:
            stored = _Stored.model_validate_json(answer).stored
        except ValidationError as error:
            shown = answer[:80].decode("utf-8", "replace")
            raise OutputDown(f"hub answered {shown!r}; {_wanted(events)}") from error
        if not 0 <= stored <= len(events):
            raise OutputDown(f"hub stored {stored} events; {_wanted(events)}")
        if stored:
            self._stored = events[stored - 1].sequence

    def _illustrate(self, event: Event) -> bool:
        """Send the pictures of an event; false when some may still be written."""
        pictures = self._pictures(event)
        for picture in pictures or ():
            self._put(event, picture)
        return pictures is not None

    def _put(self, event: Event, picture: Path) -> None:
        """Send one picture; one that is gone or cannot be read does not hold up the others."""
        try:
            content = picture.read_bytes()
        except FileNotFoundError:  # the byte budget dropped it, and counted it
            return
        except OSError as error:
            fields = {"output": self.name, "picture": str(picture), "reason": str(error)}
            logger.warning("picture cannot be read", extra=fields)
            return
        path = f"/api/events/{quote(event.event_id, '')}/pictures/{quote(picture.name, '')}"
        kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
        sha256 = hashlib.sha256(content).hexdigest()
        headers = {"Content-Type": kind, "X-Content-SHA256": sha256}
        self._endpoint.send("PUT", path, content, headers)


def _wanted(events: Sequence[Event]) -> str:
    return f'wanted {{"stored": n}} with n from 0 to {len(events)}; check that url is a hub'
