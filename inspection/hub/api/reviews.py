"""Routes of reviewing: the queue, decisions, and where reviewing stands."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from inspection.hub.api.access import Reviewer, TheHub, Viewer
from inspection.hub.queue import queue_of
from inspection.hub.reviews import ReviewConflict, decide, summarise
from inspection.hub.wire.message import Name
from inspection.hub.wire.review import Conflict, NewReview, QueueItem, Review, ReviewSummary

router = APIRouter(tags=["reviews"])


@router.get("/queue")
def queue(
    hub: TheHub,
    person: Reviewer,
    line: Name,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    type: Name | None = None,  # noqa: A002 - the query's name
) -> tuple[QueueItem, ...]:
    """Give the parts this person should look at, the most valuable first."""
    return queue_of(hub, line, person.account, limit, type)


@router.post(
    "/events/{event_id}/reviews",
    response_model=Review,
    responses={409: {"model": Conflict, "description": "somebody decided meanwhile"}},
)
def review(hub: TheHub, person: Reviewer, event_id: Name, new: NewReview) -> Review | JSONResponse:
    """Decide on a part, or take a decision back."""
    try:
        return decide(hub, event_id, new, person)
    except ReviewConflict as conflict:
        said = Conflict(error=str(conflict), current=conflict.current)
        return JSONResponse(said.model_dump(mode="json"), 409)


@router.get("/reviews/summary")
def summary(hub: TheHub, _person: Viewer, line: Name) -> ReviewSummary:
    """Say where reviewing stands on a line."""
    return summarise(hub, line)
