"""Routes on which stations bring events, pictures and their status."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response

from inspection.core.errors import InspectionError
from inspection.hub.api.access import Station, StationCaller, TheHub
from inspection.hub.api.gathering import Gathering
from inspection.hub.ingest import BATCH_MOST, Sender, keep_status, store_events
from inspection.hub.pictures import Brought, SentPicture
from inspection.hub.wire.line import Stored
from inspection.hub.wire.message import AnyName, Name

router = APIRouter(tags=["ingest"])


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a body whose model answers hold, too."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


# Bodies are read as bytes: JSON is kept as it came, and a picture is hashed while it streams in.
EVENTS: dict[str, Any] = _json(
    {"type": "array", "maxItems": BATCH_MOST, "items": {"$ref": "#/components/schemas/Event"}}
)
STATUS: dict[str, Any] = _json({"$ref": "#/components/schemas/StationStatus"})
PICTURE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {}}}}
}


async def _read(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_read)]
Hash = Annotated[
    str, Header(alias="X-Content-SHA256", pattern=r"^[0-9a-f]{64}$", description="of the body")
]


@router.post("/events", openapi_extra=EVENTS)
def post_events(hub: TheHub, caller: Station, body: Body) -> Stored:
    """Store a JSON array of at most 100 events, in order; those that are known change nothing.

    What can never be stored is named in the answer, and holds nothing up.
    """
    return store_events(hub, _sender(caller), body)


@router.put(
    "/events/{event_id}/pictures/{name}",
    status_code=204,
    response_class=Response,
    openapi_extra=PICTURE,
)
async def put_picture(
    request: Request, caller: Station, event_id: Name, name: AnyName, sha256: Hash
) -> None:
    """Keep a picture of a stored event; the same again changes nothing."""
    pieces, digest = [], hashlib.sha256()
    async for piece in request.stream():
        digest.update(piece)
        pieces.append(piece)
    if digest.hexdigest() != sha256:
        raise HTTPException(
            422, f"the body's sha256 is {digest.hexdigest()}; X-Content-SHA256 differs; send again"
        )
    sent = SentPicture(event_id, name, b"".join(pieces), sha256)
    lots: Gathering[Brought, InspectionError | None] = request.app.state.pictures
    if (refusal := await lots.do((_sender(caller), sent))) is not None:
        raise refusal


@router.put(
    "/stations/{station}/status", status_code=204, response_class=Response, openapi_extra=STATUS
)
def put_status(hub: TheHub, caller: Station, station: Name, body: Body) -> None:
    """Keep what a station says of itself, a StationStatus."""
    if station != caller.station:
        raise HTTPException(403, f"the token is of station '{caller.station}', not '{station}'")
    keep_status(hub, _sender(caller), body)


def _sender(caller: StationCaller) -> Sender:
    return Sender(caller.station, caller.line)
