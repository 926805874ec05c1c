"""Routes of people: sessions and accounts."""

from fastapi import APIRouter, HTTPException

from inspection.hub.accounts import log_in
from inspection.hub.api.access import Person, TheHub
from inspection.hub.wire.people import Login, Me, Session

router = APIRouter(tags=["people"])


@router.post("/session")
def begin(hub: TheHub, login: Login) -> Session:
    """Log in with a password."""
    session = log_in(hub, login)
    if session is None:
        raise HTTPException(401, "account or password is wrong")
    return session


@router.get("/session")
def me(person: Person) -> Me:
    """Say who asks."""
    return person
