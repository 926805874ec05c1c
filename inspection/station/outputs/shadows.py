"""Sends what challengers said to the plant's hub, beside events and status, holding up neither.

`POST {url}/v1/shadows`
    Body: a JSON array of at most 500, each a `ShadowScore`. Answer: 2xx. The hub knows them by
    event_id, camera and bundle_id: the same again changes nothing.

`PUT {url}/v1/events/{event_id}/pictures/{file name}`
    As for events: the picture of a part on which champion and challenger do not agree, once the
    hub has the event.

They are evidence and no record, so they are kept in memory only. What finds no room there while
the hub is away is counted and lost, the oldest first.
"""

import logging
from collections import Counter, deque
from dataclasses import dataclass, replace
from threading import Condition, Thread
from threading import Event as Flag

from pydantic import TypeAdapter

from inspection.station.outputs.courier import BACK_OFF
from inspection.station.outputs.endpoint import Endpoint, Refused
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.picture import UNTAKEABLE, put_picture
from inspection.station.outputs.settings import HubSettings
from inspection.station.shadow import Scored, ShadowScore

logger = logging.getLogger(__name__)

BATCH = 500
MOST_WAITING = 10_000  # a few MB, and some minutes of a fast line
MOST_PICTURES = 16  # of some MB each
PICTURE_TRIES = 5  # the event is mostly there at the first
FAREWELL_S = 1.0  # so long an ending station waits for its last ones to arrive
JSON = {"Content-Type": "application/json"}
FOR_GOOD = UNTAKEABLE | {403, 404, 405, 422}
"""No time mends these either: a hub that knows no shadows, or none of this event."""
NOT_STORED = 404  # of a picture: its event is not there yet
BODIES = TypeAdapter(list[ShadowScore])


@dataclass(frozen=True)
class _Sent:
    """A picture on its way."""

    event_id: str
    name: str
    content: bytes
    tries: int = 0


class ShadowSender:
    """Sends in batches, from a thread of its own; `take` never waits for the network."""

    def __init__(self, settings: HubSettings) -> None:
        self._name, self._pause_s = settings.name, settings.status_ms / 1000
        self._over = Flag()  # breaks off the request that is under way
        self._endpoint = Endpoint(
            settings.url, settings.token_file, settings.timeout_ms, self._over
        )
        self._opened, self._failures, self._complaint = False, 0, ""
        self._batch: list[ShadowScore] = []  # these are of the thread alone
        self._changed = Condition()  # guards the rest
        self._waiting: deque[ShadowScore] = deque()
        self._pictures: deque[_Sent] = deque(maxlen=MOST_PICTURES)
        self._lost: Counter[str] = Counter()
        self._ending = False
        self._thread: Thread | None = None  # since the first

    def lost(self, bundle_id: str) -> int:
        """Give how many frames a challenger scored of which the hub never heard."""
        return self._lost[bundle_id]

    def take(self, scored: Scored) -> None:
        """Hand over what was said of a frame."""
        said, picture = scored.said, scored.picture
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._lost[self._waiting.popleft().bundle_id] += 1
            self._waiting.append(said)
            if picture is not None:
                self._pictures.append(_Sent(said.event_id, picture.name, picture.encode()))
            self._changed.notify_all()
        if self._thread is None:
            self._thread = Thread(target=self._run, name=f"shadows {self._name}", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread, with the last ones sent or given up."""
        if self._thread is None:
            return
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(FAREWELL_S)
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while self._has_more():
            self._failures = 0 if self._send() else self._failures + 1
            pause_s = BACK_OFF.pause_s(self._failures) if self._failures else self._pause_s
            with self._changed:
                self._changed.wait_for(lambda: self._ending, pause_s)
                if self._ending and self._failures:
                    break
        self._endpoint.close()

    def _has_more(self) -> bool:
        """Wait for something to send; false when the station ends and nothing is left."""
        with self._changed:
            some = self._batch or self._waiting or self._pictures
            if not some:
                self._changed.wait_for(lambda: self._waiting or self._ending)
            return bool(some or self._waiting)

    def _send(self) -> bool:
        """Send a batch and the pictures that wait; what goes wrong is logged once per reason."""
        complaint = ""
        try:
            if not self._opened:
                self._endpoint.open()  # with the token as it is now
            self._post()
            self._illustrate()
        except OutputDown as error:
            complaint = str(error)
        self._opened = not complaint
        if complaint not in {"", self._complaint}:
            logger.warning("shadows not sent", extra={"output": self._name, "reason": complaint})
        self._complaint = complaint
        return not complaint

    def _post(self) -> None:
        with self._changed:
            while self._waiting and len(self._batch) < BATCH:
                self._batch.append(self._waiting.popleft())
        if not self._batch:
            return
        try:
            self._endpoint.send("POST", "/v1/shadows", BODIES.dump_json(self._batch), JSON)
        except Refused as error:
            if error.status not in FOR_GOOD:
                raise
            self._give_up(self._batch, error)
        self._batch = []

    def _illustrate(self) -> None:
        with self._changed:
            pictures = list(self._pictures)
            self._pictures.clear()
        for number, picture in enumerate(pictures):
            try:
                again = self._put(picture)
            except OutputDown:
                with self._changed:
                    self._pictures.extendleft(reversed(pictures[number:]))
                raise
            if again is not None:
                with self._changed:
                    self._pictures.append(again)

    def _put(self, picture: _Sent) -> _Sent | None:
        """Send one picture; gives it back where it is to be tried again."""
        try:
            put_picture(self._endpoint, picture.event_id, picture.name, picture.content)
        except Refused as error:
            if error.status not in FOR_GOOD:
                raise
            if error.status == NOT_STORED and picture.tries + 1 < PICTURE_TRIES:
                return replace(picture, tries=picture.tries + 1)
            self._give_up([], error)
        return None

    def _give_up(self, scores: list[ShadowScore], error: Refused) -> None:
        with self._changed:
            self._lost.update(one.bundle_id for one in scores)
        fields = {"output": self._name, "scores": len(scores), "reason": str(error)}
        logger.warning("hub does not take what a challenger said", extra=fields)
