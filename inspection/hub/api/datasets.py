"""Routes of the sets of reviewed parts: counts, near duplicates, export."""

from collections.abc import Iterator
from typing import IO

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from inspection.hub.api.access import Reviewer, TheHub, Viewer
from inspection.hub.artefacts import PIECE_BYTES
from inspection.hub.datasets import find_duplicates, list_sets
from inspection.hub.exports import Layout, export_set
from inspection.hub.wire.message import Name
from inspection.hub.wire.models import DataSet, NearDuplicates

router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.get("")
def datasets(hub: TheHub, _person: Viewer) -> tuple[DataSet, ...]:
    """Say what is in the sets."""
    return list_sets(hub)


@router.get("/duplicates")
def duplicates(hub: TheHub, _person: Viewer, line: Name, product: Name) -> NearDuplicates:
    """Find reviewed pictures that are too alike."""
    return find_duplicates(hub, line, product)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}, "description": "a ZIP"}},
)
def export(
    hub: TheHub, _person: Reviewer, line: Name, product: Name, layout: Layout
) -> StreamingResponse:
    """Give a product's reviewed parts as a ZIP."""
    archive = export_set(hub, line, product, layout)
    named = {"Content-Disposition": f'attachment; filename="reviewed-{layout}.zip"'}
    return StreamingResponse(_pieces(archive), media_type="application/zip", headers=named)


def _pieces(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        while piece := archive.read(PIECE_BYTES):
            yield piece
