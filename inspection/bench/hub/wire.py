"""Sends what stations send, with little work of the client: what is timed is the hub."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from inspection.bench.faults.network import HOST
from inspection.bench.hub.stations import Enrolled, files_of
from inspection.core.errors import InspectionError
from inspection.core.records import Event
from inspection.station.outputs.hub import HubOutput
from inspection.station.outputs.message import event_message
from inspection.station.outputs.settings import ActionSettings

TIMEOUT_S = 60.0


class Wire:
    """What a station says to a hub, made ready beforehand: of sending it, little is the client's.

    Args:
        station: as the hub knows it.
        port: of the hub, on loopback.
        events: its record, in order; each frame has a picture.
        pictures: folder of the pictures the events name.
    """

    def __init__(
        self, station: Enrolled, port: int, events: Sequence[Event], pictures: Path
    ) -> None:
        self._port = port
        token = station.token_file.read_text(encoding="utf-8")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lots = [
            (
                b"[" + b",".join(event_message(event, ActionSettings()) for event in lot) + b"]",
                [(event, path) for event in lot for path in files_of(event, pictures)],
            )
            for first in range(0, len(events), HubOutput.batch)
            for lot in [events[first : first + HubOutput.batch]]
        ]

    def send(self) -> None:
        """Send all, lot by lot: the events, then each of their pictures, as the protocol wants.

        Raises:
            InspectionError: the hub did not take something.
        """
        with closing(HTTPConnection(HOST, self._port, timeout=TIMEOUT_S)) as connection:
            for body, pictures in self._lots:
                kind = {"Content-Type": "application/json"}
                self._ask(connection, "POST", "/v1/events", body, kind)
                for event, path in pictures:
                    content = path.read_bytes()
                    where = f"/v1/events/{event.event_id}/pictures/{path.name}"
                    sha256 = hashlib.sha256(content).hexdigest()
                    kind = {"Content-Type": "image/png", "X-Content-SHA256": sha256}
                    self._ask(connection, "PUT", where, content, kind)

    def _ask(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        connection.request(method, path, body, self._headers | headers)
        answer = connection.getresponse()
        said = answer.read()
        if not 200 <= answer.status < 300:
            raise InspectionError(f"{method} {path}: the hub answered {answer.status}: {said!r}")
