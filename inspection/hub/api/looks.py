"""Routes that explain a frame's score, outline what is clicked, and keep corrected masks."""

from typing import Annotated

from fastapi import APIRouter, Query

from inspection.hub import looks, outlines
from inspection.hub.api.access import Reviewer, TheHub, Viewer
from inspection.hub.wire.message import AnyName
from inspection.hub.wire.review import Correction, Look, NewCorrection, Outline, Outlined

router = APIRouter(tags=["review"])
Side = Annotated[int, Query(ge=64, le=2048, description="most px of the longer side of an image")]


@router.get("/events/{event_id}/look")
def look(
    hub: TheHub,
    person: Viewer,
    event_id: AnyName,
    camera: Annotated[str, Query(max_length=128)],
    side_px: Side = 800,
) -> Look:
    """Explain one frame's score."""
    return looks.look(hub, event_id, camera, side_px, person.account)


@router.post("/events/{event_id}/outline")
def outline(hub: TheHub, _person: Reviewer, event_id: AnyName, clicks: Outline) -> Outlined:
    """Outline what was clicked."""
    return outlines.outline(hub, event_id, clicks)


@router.post("/events/{event_id}/corrections")
def correct(hub: TheHub, person: Reviewer, event_id: AnyName, new: NewCorrection) -> Correction:
    """Keep a person's mask."""
    return outlines.correct(hub, event_id, new, person.account)
