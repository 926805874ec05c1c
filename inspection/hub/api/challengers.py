"""Routes of bundles on their way to a line, and of what they say in the shadow."""

from typing import Annotated

from fastapi import APIRouter, Body

from inspection.hub import challengers
from inspection.hub.api.access import Engineer, Station, TheHub, Viewer
from inspection.hub.ingest import Sender
from inspection.hub.shadows import BATCH_MOST, take_shadows
from inspection.hub.wire.message import Name, RowNumber
from inspection.hub.wire.retraining import Challenger, NewStage, Shadow, ShadowsStored

router = APIRouter(tags=["challengers"])
Said = Annotated[list[Shadow], Body(max_length=BATCH_MOST)]


@router.post("/shadows")
def shadows(hub: TheHub, caller: Station, said: Said) -> ShadowsStored:
    """Take what challengers said at a station; the same again changes nothing."""
    return ShadowsStored(stored=take_shadows(hub, Sender(caller.station, caller.line), said))


@router.get("/challengers")
def list_challengers(
    hub: TheHub, _person: Viewer, line: Name | None = None
) -> tuple[Challenger, ...]:
    """Give the bundles on their way to a line, or all, the newest first; 100 at most."""
    return challengers.list_challengers(hub, line)


@router.post("/challengers/{challenger}/stage")
def stage(hub: TheHub, person: Engineer, challenger: RowNumber, new: NewStage) -> Challenger:
    """Let a challenger score in the shadow, roll it out, or take it back."""
    return challengers.stage(hub, challenger, new, person.account)
