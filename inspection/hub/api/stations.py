"""Routes of stations: enrol and retire them, give and revoke their tokens."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from inspection.hub.api.access import Admin, TheHub
from inspection.hub.stations import enrol, retire, revoke, rotate
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.message import Name, RowNumber
from inspection.hub.wire.people import NewToken

router = APIRouter(tags=["stations"], prefix="/stations")


@router.post("")
def add(hub: TheHub, admin: Admin, new: NewStation) -> NewToken:
    """Enrol a station; its token is shown this once."""
    return enrol(hub, new, admin.account)


@router.delete("/{station}", status_code=204, response_class=Response)
def remove(hub: TheHub, admin: Admin, station: Name) -> None:
    """Retire a station: its tokens are revoked, its events stay."""
    retire(hub, station, admin.account)


@router.post("/{station}/tokens")
def add_token(hub: TheHub, admin: Admin, station: Name) -> NewToken:
    """Give a station one more token, shown this once; the old ones hold until they are revoked."""
    return rotate(hub, station, admin.account)


@router.delete("/{station}/tokens/{token_id}", status_code=204, response_class=Response)
def remove_token(
    hub: TheHub, admin: Admin, station: Name, token_id: Annotated[RowNumber, Path()]
) -> None:
    """Revoke a token; it is refused from the next request on."""
    revoke(hub, station, token_id, admin.account)
