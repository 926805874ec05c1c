"""Routes of bundles: which there are, which judges on a line, how stations stand to it."""

from fastapi import APIRouter

from inspection.hub import models
from inspection.hub.api.access import Engineer, TheHub, Viewer
from inspection.hub.wire.message import Name
from inspection.hub.wire.models import BundleRow, Choice, NewChoice, StationParity

router = APIRouter(tags=["models"])


@router.get("/bundles")
def bundles(hub: TheHub, _person: Viewer) -> tuple[BundleRow, ...]:
    """List bundles, the newest first."""
    return models.list_bundles(hub)


@router.post("/lines/{line}/choices")
def choose(hub: TheHub, person: Engineer, line: Name, new: NewChoice) -> Choice:
    """Let a bundle judge on a line, newer or older than the one that does."""
    return models.choose(hub, line, new, person.account)


@router.get("/lines/{line}/choices")
def choices(hub: TheHub, _person: Viewer, line: Name) -> tuple[Choice, ...]:
    """Give the history of a line's choices, the newest first."""
    return models.list_choices(hub, line)


@router.get("/parity")
def parity(hub: TheHub, _person: Viewer) -> tuple[StationParity, ...]:
    """Say how each station stands to the choice of its line."""
    return models.parity(hub)
