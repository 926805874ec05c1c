"""The route on which thin clients have a picture judged."""

from typing import Annotated

from fastapi import APIRouter, Query

from inspection.hub.api.access import Station, TheHub
from inspection.hub.api.ingest import PICTURE, Body
from inspection.hub.ingest import Sender
from inspection.hub.judging import PartPicture, judge
from inspection.hub.wire.line import EventDetail
from inspection.hub.wire.message import WITHOUT_NUL, Name

router = APIRouter(tags=["station"])
PartId = Annotated[str, Query(min_length=1, max_length=512, pattern=WITHOUT_NUL)]


@router.post("/lines/{line}/judge", openapi_extra=PICTURE)
def judge_picture(
    hub: TheHub,
    caller: Station,
    body: Body,
    line: Name,
    product: Annotated[Name, Query()],
    part_id: PartId,
) -> EventDetail:
    """Judge the picture of a part, for a client without a bundle; no answer is no verdict."""
    brought = PartPicture(line, product, part_id, body)
    return judge(hub, Sender(caller.station, caller.line), brought)
