"""Routes stations pull by: offers and threshold records, waited for, and files of bundles."""

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from inspection.bundles.signing import SignedText
from inspection.core.limits import MAX_WORDS, PathText
from inspection.hub import pulls
from inspection.hub.api.access import Anyone, Station, StationCaller, TheHub, find_caller
from inspection.hub.hub import Hub
from inspection.hub.wire.message import AnyName

MOST_WAIT_S = 30  # below the patience of proxies
SIGNED = TypeAdapter(tuple[SignedText, ...])
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "as If-None-Match knows it"}}
router = APIRouter(tags=["station"])


def own(station: AnyName, caller: Station) -> StationCaller:
    """Give the station that asks for what is its own.

    Raises:
        HTTPException: 403, it asks for another's.
    """
    if caller.station != station:
        raise HTTPException(403, f"the token is of station '{caller.station}'; ask for its own")
    return caller


Own = Annotated[StationCaller, Depends(own)]
Wait = Annotated[
    float, Query(ge=0, le=MOST_WAIT_S, description="answer later, when something changed, s")
]
Known = Annotated[
    str, Header(alias="If-None-Match", max_length=MAX_WORDS, description="ETag of the last answer")
]


@router.get(
    "/stations/{station}/bundles", response_model=tuple[SignedText, ...], responses=UNCHANGED
)
async def offers(
    request: Request,
    hub: TheHub,
    caller: Own,
    wait_s: Wait = 0,
    known: Known = "",
    *,
    challengers: bool = False,
) -> Response:
    """Give the bundles the station is to judge with, signed; with `challengers`, those to score."""

    def look() -> bytes:
        offered = pulls.offers(hub, caller.line, caller.station, shadows=challengers)
        return SIGNED.dump_json(offered)

    return await _when_changed(request, hub, look, wait_s, known)


@router.get(
    "/stations/{station}/thresholds", response_model=tuple[SignedText, ...], responses=UNCHANGED
)
async def thresholds(
    request: Request, hub: TheHub, caller: Own, wait_s: Wait = 0, known: Known = ""
) -> Response:
    """Give the threshold records for the station, as they were signed."""

    def look() -> bytes:
        return SIGNED.dump_json(pulls.thresholds(hub, caller.station))

    return await _when_changed(request, hub, look, wait_s, known)


@router.get("/bundles/{bundle_id}/{path:path}", response_class=StreamingResponse)
def bundle_file(hub: TheHub, caller: Anyone, bundle_id: AnyName, path: PathText) -> Response:
    """Give one file of a bundle: SHA256SUMS, signature.json, gate.json, or one SHA256SUMS names."""
    if isinstance(caller, StationCaller) and not pulls.may_read(hub, caller.line, bundle_id):
        raise HTTPException(404, f"no such bundle was ever offered on line '{caller.line}'")
    pieces = pulls.bundle_file(hub, bundle_id, path)
    return StreamingResponse(pieces, media_type="application/octet-stream")


async def _when_changed(
    request: Request, hub: Hub, look: Callable[[], bytes], wait_s: float, known: str
) -> Response:
    """Answer as soon as there is something else than the asker knows, or 304 after `wait_s`.

    Raises:
        HTTPException: 401, the token was revoked while its station waited.
    """
    tags = {one.strip().removeprefix("W/") for one in known.split(",")}
    due_s = time.monotonic() + wait_s
    waited = False
    with hub.news.listening() as bell:
        while True:
            body = await run_in_threadpool(look)
            headers = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
            if headers["ETag"] not in tags:
                if waited and await find_caller(request) != request.state.caller:
                    raise HTTPException(401, "the token was revoked meanwhile; ask for another")
                return Response(body, media_type="application/json", headers=headers)
            left_s = due_s - time.monotonic()
            if left_s <= 0 or hub.news.ended or await request.is_disconnected():
                return Response(status_code=304, headers=headers)
            await bell.wait(left_s)
            waited = True
