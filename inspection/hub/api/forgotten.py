"""Routes of forgotten pictures: forget one, list them with what they had taught."""

from fastapi import APIRouter

from inspection.hub import forgetting
from inspection.hub.api.access import Engineer, TheHub
from inspection.hub.wire.retraining import Forgotten, NewForgotten

router = APIRouter(tags=["retraining"])


@router.post("/forgotten")
def forget(hub: TheHub, person: Engineer, new: NewForgotten) -> Forgotten:
    """Let a picture never teach anything again."""
    return forgetting.forget(hub, new, person.account)


@router.get("/forgotten")
def list_(hub: TheHub, _person: Engineer) -> tuple[Forgotten, ...]:
    """List what was forgotten, the newest first."""
    return forgetting.list_forgotten(hub)
