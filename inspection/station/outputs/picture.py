"""Sends one picture of an event to the hub, as `outputs.hub` describes it."""

import hashlib
import mimetypes
from urllib.parse import quote

from inspection.station.outputs.endpoint import Endpoint

UNTAKEABLE = frozenset({409, 413, 415})
"""Another picture of this name is there, it is too large, it is none; no time mends it."""


def put_picture(endpoint: Endpoint, event_id: str, name: str, content: bytes) -> None:
    """Send one picture.

    Raises:
        OutputDown: no answer in time.
        Refused: any status but 2xx.
    """
    path = f"/v1/events/{quote(event_id, '')}/pictures/{quote(name, '')}"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    sha256 = hashlib.sha256(content).hexdigest()
    endpoint.send("PUT", path, content, {"Content-Type": kind, "X-Content-SHA256": sha256})
