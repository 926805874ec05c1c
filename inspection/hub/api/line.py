"""Routes on which people look at the line: overview, events, pictures, stations; and health."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from inspection.core.limits import MAX_WORDS
from inspection.hub.api.access import TheHub, Viewer
from inspection.hub.events import EventsWanted, event_detail, list_events
from inspection.hub.metrics import CONTENT_TYPE, Metrics
from inspection.hub.overview import overview
from inspection.hub.pictures import find_picture, picture_bytes, smaller
from inspection.hub.standing import station_rows
from inspection.hub.stations import tokens_by_station
from inspection.hub.wire.line import EventDetail, EventRow, Overview, StationRow
from inspection.hub.wire.message import AnyName, Page
from inspection.hub.wire.people import Role

router = APIRouter(tags=["line"])
outside = APIRouter(tags=["operation"])
"""Without a version, for whatever watches the hub; needs no token and tells no part."""

PICTURE_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}
PICTURES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/*": {}}},
    304: {"description": "as If-None-Match names it"},
}


@router.get("/overview")
def get_overview(
    hub: TheHub, _viewer: Viewer, hours: Annotated[int, Query(ge=1, le=24 * 366)] = 24
) -> Overview:
    """Give all lines in the last hours, and what needs a person."""
    return overview(hub, hours)


@router.get("/events")
def get_events(
    hub: TheHub, viewer: Viewer, wanted: Annotated[EventsWanted, Query()]
) -> Page[EventRow]:
    """Give a page of events, the newest captured first."""
    return list_events(hub, wanted, viewer.account)


@router.get("/events/{event_id}")
def get_event(hub: TheHub, viewer: Viewer, event_id: AnyName) -> EventDetail:
    """Give all of one event."""
    return event_detail(hub, event_id, viewer.account)


@router.get("/events/{event_id}/pictures/{name}", response_class=Response, responses=PICTURES)
def get_picture(
    hub: TheHub,
    _viewer: Viewer,
    event_id: AnyName,
    name: AnyName,
    side_px: Annotated[int | None, Query(ge=16, le=8192)] = None,
    if_none_match: Annotated[str, Header(max_length=MAX_WORDS)] = "",
) -> Response:
    """Give a picture: as stored, or as a JPEG whose longer side has at most `side_px`."""
    row = find_picture(hub, event_id, name)
    tag = f'"{row.sha256}"' if side_px is None else f'"{row.sha256}-{side_px}"'
    headers = {**PICTURE_HEADERS, "ETag": tag}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    content, kind = picture_bytes(hub, row.sha256), row.kind
    if side_px is not None:
        with hub.opened.room:
            content, kind = smaller(content, side_px, name), "image/jpeg"
    return Response(content, media_type=kind, headers=headers)


@router.get("/stations")
def get_stations(hub: TheHub, viewer: Viewer) -> tuple[StationRow, ...]:
    """List stations; tokens for admins only."""
    with hub.database.reading() as connection:
        tokens = tokens_by_station(connection) if viewer.role.may(Role.ADMIN) else {}
        return station_rows(connection, hub, tokens)


@outside.get("/healthz")
async def get_health(request: Request) -> dict[str, str]:
    """Answer 200 while the database does, 503 otherwise."""
    metrics: Metrics = request.app.state.metrics
    await metrics.is_up()
    return {"state": "READY"}


@outside.get("/metrics", response_class=Response)
async def get_metrics(request: Request) -> Response:
    """Give metrics in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(await metrics.text(), media_type=CONTENT_TYPE)
