"""Sends events, then their pictures, to the plant's hub, and the station's status beside them.

The protocol, all under the configured url, with `Authorization: Bearer TOKEN` where one is set:

`POST {url}/v1/events`
    Body: a JSON array of events in order, at most 100; each is the event's record and `action`.
    Answer: 2xx with `{"stored": n, "refused": [{"index": i, "code": c, "reason": r}]}`: the hub is
    done with the first n of them. It keeps them durably but for those refused: never sent again,
    counted as `refused by NAME`, they stay in the station's record. It knows events by event_id:
    one it has already changes nothing.

`PUT {url}/v1/events/{event_id}/pictures/{file name}`
    Body: the file's bytes, with Content-Type, and X-Content-SHA256, their hash in hex. Answer: 2xx.
    Only for events it stored; the same picture again changes nothing. 409 (another picture of this
    name is there), 413 (too large) and 415 (no picture) are final: it stays at the station.

`PUT {url}/v1/stations/{station}/status`
    Body: the newest status of the station, without its last parts. Answer: 2xx.

What challengers said goes beside all of it, see `outputs.shadows`.

What the station recorded under another name, or on another line, is not sent: its token is not of
that name. Once the hub has accepted a status under the present name it is counted as refused, and
stays in the record.

Every other status means "not now": what is not acknowledged is sent again, in order, with growing
pauses, as for a webhook. A status that did not arrive is not sent again, the next one is; it has a
connection of its own, so that it neither waits for events nor holds them up.

Pictures are written a moment after their event. Events do not wait for them: each delivery first
posts what the hub does not have, and an event counts as delivered when its pictures are there,
too. So an event whose pictures are late delays no event but those more than a batch behind it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from threading import Condition, Thread
from threading import Event as Flag
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, StrictInt, ValidationError

from inspection.core.limits import MAX_PICTURE_BYTES, MAX_WORDS, Count, cut, read_file
from inspection.core.records import Event
from inspection.station.outputs.endpoint import Endpoint, Refused
from inspection.station.outputs.message import event_message
from inspection.station.outputs.output import OutputDown, refused_by
from inspection.station.outputs.picture import UNTAKEABLE, put_picture
from inspection.station.outputs.settings import ActionSettings, HubSettings
from inspection.station.outputs.shadows import ShadowSender
from inspection.station.shadow import Scored
from inspection.station.state import StationStatus

logger = logging.getLogger(__name__)

TURN_S = 1.0  # so long a delivery sends pictures before new events have their turn
FAREWELL_S = 1.0  # so long an ending station waits for its last status to arrive
BODY_BYTES = 4_000_000  # of one post; a hub takes 8 MB, and masks make events long
JSON = {"Content-Type": "application/json"}

Pictures = Callable[[Event], Sequence[Path] | None]
"""Gives the files of an event's pictures; none while some may still be written."""


class _Refused(BaseModel):
    """An event the hub never takes."""

    index: StrictInt = Field(ge=0, lt=100)
    code: str = Field(max_length=64)
    reason: str = Field(max_length=1_000)


class _Stored(BaseModel):
    """The hub's answer; what a newer hub adds is ignored."""

    stored: Count
    refused: tuple[_Refused, ...] = Field((), max_length=100)


class HubOutput:
    """The plant's hub."""

    batch = 100
    from_start = True

    def __init__(
        self,
        settings: HubSettings,
        line: str,
        station: str,
        actions: ActionSettings,
        pictures: Pictures,
        count: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.name, self._count = settings.name, count
        self._own = line, station
        self._refused: set[int] = set()  # sequences the hub has no pictures for
        self._actions = actions
        self._pictures = pictures
        self._endpoint = Endpoint(settings.url, settings.token_file, settings.timeout_ms)
        self._stored = 0  # sequence up to which the hub has the events, pictures aside
        self._reporter = _Reporter(settings)
        self._shadows = ShadowSender(settings)

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
        new = [event for event in events if event.sequence > self._stored]
        for own, some in groupby(new, lambda event: (event.line, event.station) == self._own):
            if own:
                self._post([*some])
                break
            self._pass_renamed([*some])
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
        """Have the status sent by a thread of its own; never OutputDown, events may still pass."""
        self._reporter.tell(status)

    def hear(self, scored: Scored) -> None:
        """Have what a challenger said sent by a thread of its own."""
        self._shadows.take(scored)

    def unheard(self, bundle_id: str) -> int:
        """Give how many frames a challenger scored of which the hub never heard."""
        return self._shadows.lost(bundle_id)

    def close(self) -> None:
        """Send the last status, if the hub takes it within a second; let the connections go."""
        self._shadows.close()
        self._reporter.close()
        self._endpoint.close()

    def _post(self, events: Sequence[Event]) -> None:
        if not events:
            return
        messages = _fitting([event_message(event, self._actions) for event in events])
        events = events[: len(messages)]
        body = b"[" + b",".join(messages) + b"]"
        try:
            found = self._send(body, events)
        except Refused as error:
            if error.status != httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                raise
            self._post(events[: len(events) // 2])  # more than one, or it was refused by itself
            return
        for one in found.refused:
            if one.index < found.stored:
                self._refuse(events[one.index], one)
        if found.stored:
            self._stored = events[found.stored - 1].sequence

    def _pass_renamed(self, events: Sequence[Event]) -> None:
        """Refuse events from before the station was renamed: its token is not theirs.

        Only once the hub has accepted a status under the present name. With a wrong name in the
        configuration nothing is passed over; what was recorded under the right name is sent once
        the name is corrected, and what was recorded under the wrong one is then refused.

        Raises:
            OutputDown: the hub has not accepted one.
        """
        first = events[0]
        names = f"station '{first.station}' of line '{first.line}'"
        if not self._reporter.taken:
            line, station = self._own
            raise OutputDown(
                f"events of {names} wait, and the hub has taken no status of '{station}' of line "
                f"'{line}' yet; look at station, line and token"
            )
        self._stored = events[-1].sequence
        fresh = [event for event in events if event.sequence not in self._refused]
        for event in fresh:  # the others were refused before the connection broke
            self._refused.add(event.sequence)
            self._count(refused_by(self.name))
        if fresh:
            fields = {"output": self.name, "sequence": fresh[0].sequence, "events": len(fresh)}
            logger.error("events of another name refused for good", extra=fields | {"names": names})

    def _send(self, body: bytes, events: Sequence[Event]) -> _Stored:
        """Send events and give the hub's answer; one that is larger than it takes is refused."""
        try:
            answer = self._endpoint.send("POST", "/v1/events", body, JSON)
        except Refused as error:
            if error.status != httpx.codes.REQUEST_ENTITY_TOO_LARGE or len(events) > 1:
                raise
            refused = _Refused(index=0, code="too large", reason=cut(str(error), MAX_WORDS))
            return _Stored(stored=1, refused=(refused,))
        try:
            found = _Stored.model_validate_json(answer)
        except ValidationError as error:
            shown = answer[:80].decode("utf-8", "replace")
            raise OutputDown(f"hub answered {shown!r}; {_wanted(events)}") from error
        if found.stored > len(events):
            raise OutputDown(f"hub stored {found.stored} events; {_wanted(events)}")
        return found

    def _refuse(self, event: Event, refused: _Refused) -> None:
        """Count an event the hub never takes; it stays in the record, and the others go on."""
        if event.sequence in self._refused:
            return
        self._refused.add(event.sequence)
        self._count(refused_by(self.name))
        fields = {"output": self.name, "sequence": event.sequence, "code": refused.code}
        logger.error("event refused for good", extra=fields | {"reason": refused.reason})

    def _illustrate(self, event: Event) -> bool:
        """Send the pictures of an event; false when some may still be written."""
        if event.sequence in self._refused:
            self._refused.discard(event.sequence)
            return True
        pictures = self._pictures(event)
        for picture in pictures or ():
            self._put(event, picture)
        return pictures is not None

    def _put(self, event: Event, picture: Path) -> None:
        """Send one picture; one that is gone or cannot be read does not hold up the others."""
        try:
            content = read_file(picture, MAX_PICTURE_BYTES)
        except FileNotFoundError:  # the byte budget dropped it, and counted it
            return
        except OSError as error:
            fields = {"output": self.name, "picture": str(picture), "reason": str(error)}
            logger.warning("picture cannot be read", extra=fields)
            return
        try:
            put_picture(self._endpoint, event.event_id, picture.name, content)
        except Refused as error:
            if error.status not in UNTAKEABLE:
                raise
            fields = {"output": self.name, "picture": str(picture), "reason": str(error)}
            logger.warning("hub never takes this picture; events go on", extra=fields)


class _Reporter:
    """Sends the newest status every `status_ms`; what came in between is left out."""

    def __init__(self, settings: HubSettings) -> None:
        self._name, self._pause_s = settings.name, settings.status_ms / 1000
        self._over = Flag()  # breaks off the request that is under way
        self._endpoint = Endpoint(
            settings.url, settings.token_file, settings.timeout_ms, self._over
        )
        self.taken = False  # whether the hub took the last one
        self._complaint = ""
        self._changed = Condition()  # guards the next two
        self._newest: StationStatus | None = None
        self._ending = False
        self._thread: Thread | None = None  # since the first status

    def tell(self, status: StationStatus) -> None:
        """Hand a status over; never waits."""
        with self._changed:
            self._newest = status
            self._changed.notify_all()
        if self._thread is None:
            self._thread = Thread(target=self._run, name=f"status {self._name}", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread, with the last status sent or given up."""
        if self._thread is None:
            return
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(FAREWELL_S)
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while (status := self._next()) is not None:
            self._send(status)
            with self._changed:
                self._changed.wait_for(lambda: self._ending, self._pause_s)
        self._endpoint.close()

    def _next(self) -> StationStatus | None:
        """Wait for a status that was not sent; none when the station ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._ending)
            status, self._newest = self._newest, None
            return status

    def _send(self, status: StationStatus) -> None:
        """Send one; what goes wrong is logged once for each reason."""
        body = status.model_copy(update={"last": ()}).model_dump_json().encode()
        complaint = ""
        try:
            if not self.taken:
                self._endpoint.open()  # with the token as it is now
            self._endpoint.send(
                "PUT", f"/v1/stations/{quote(status.station, '')}/status", body, JSON
            )
        except OutputDown as error:
            complaint = str(error)
        self.taken = not complaint
        if complaint not in {"", self._complaint}:
            logger.warning("status not sent", extra={"output": self._name, "reason": complaint})
        self._complaint = complaint


def _fitting(messages: Sequence[bytes]) -> list[bytes]:
    """Give those, from the first, that fit one post; at least one."""
    ends = accumulate(len(message) + 1 for message in messages)
    count = sum(1 for end in ends if end <= BODY_BYTES)
    return list(messages[: max(1, count)])


def _wanted(events: Sequence[Event]) -> str:
    return f'wanted {{"stored": n}} with n from 0 to {len(events)}; check that url is a hub'
