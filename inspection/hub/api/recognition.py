"""Routes on which people see what second stages named, and how far reviewers agree."""

from typing import Annotated

from fastapi import APIRouter, Query

from inspection.hub.api.access import TheHub, Viewer
from inspection.hub.recognition import confuse, count_known
from inspection.hub.wire.recognition import (
    Confusion,
    ConfusionWanted,
    RecognitionWanted,
    TypeCounts,
)

router = APIRouter(prefix="/recognition", tags=["recognition"])


@router.get("/types")
def get_types(
    hub: TheHub, _viewer: Viewer, wanted: Annotated[RecognitionWanted, Query()]
) -> TypeCounts:
    """Count the types that were named, by line, product and time."""
    return count_known(hub, wanted)


@router.get("/confusion")
def get_confusion(
    hub: TheHub, _viewer: Viewer, wanted: Annotated[ConfusionWanted, Query()]
) -> Confusion:
    """Hold the types that were named against those of reviewers."""
    return confuse(hub, wanted)
