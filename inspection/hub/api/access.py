"""Who asks: dependencies that give a route the hub, the station or the person, or refuse."""

from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select, update

from inspection.hub.hub import Hub
from inspection.hub.secrets import secret_hash
from inspection.hub.tables import accounts, sessions, stations, tokens
from inspection.hub.wire.message import Answer
from inspection.hub.wire.people import Me, Role

BEARER = HTTPBearer(auto_error=False, description="a person's session or a station's token")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


def the_hub(request: Request) -> Hub:
    """Give the hub the app serves."""
    hub: Hub = request.app.state.hub
    return hub


TheHub = Annotated[Hub, Depends(the_hub)]


class StationCaller(Answer):
    """The station that asks."""

    station: str
    line: str


def calling_station(hub: TheHub, bearer: Bearer) -> StationCaller:
    """Give the station whose token came along.

    Raises:
        HTTPException: 401, no token, or one that is unknown, revoked, or of a retired station.
    """
    if bearer is None:
        raise _unknown("a station's token")
    now = hub.now()
    found = (
        select(tokens.c.id, tokens.c.used_at, stations.c.station, stations.c.line)
        .join(stations, stations.c.station == tokens.c.station)
        .where(
            tokens.c.sha256 == secret_hash(bearer.credentials),
            tokens.c.revoked_at.is_(None),
            stations.c.retired_at.is_(None),
        )
    )
    with hub.database.reading() as connection:
        row = connection.execute(found).one_or_none()
    if row is None:
        raise _unknown("a station's token that is not revoked")
    if row.used_at is None or (now - row.used_at).total_seconds() > 60:
        with hub.database.writing() as connection:
            connection.execute(update(tokens).where(tokens.c.id == row.id).values(used_at=now))
    return StationCaller(station=row.station, line=row.line)


Station = Annotated[StationCaller, Depends(calling_station)]


def calling_person(hub: TheHub, bearer: Bearer) -> Me:
    """Give the person whose session's token came along.

    Raises:
        HTTPException: 401, no session, or one that is unknown or over.
    """
    if bearer is None:
        raise _unknown("a session; POST /v1/session gives one")
    found = (
        select(accounts.c.account, accounts.c.role)
        .join(sessions, sessions.c.account == accounts.c.account)
        .where(
            sessions.c.sha256 == secret_hash(bearer.credentials),
            sessions.c.expires_at > hub.now(),
            accounts.c.disabled_at.is_(None),
        )
    )
    with hub.database.reading() as connection:
        row = connection.execute(found).one_or_none()
    if row is None:
        raise _unknown("a session that is not over; log in again")
    return Me(account=row.account, role=Role(row.role))


Person = Annotated[Me, Depends(calling_person)]


class _AtLeast:
    """Lets those pass who have a role or more."""

    def __init__(self, role: Role) -> None:
        self._role = role

    def __call__(self, person: Person) -> Me:
        if not person.role.may(self._role):
            raise HTTPException(
                403,
                f"'{person.account}' is {person.role}; this needs {self._role}; ask an admin",
            )
        return person


Viewer = Annotated[Me, Depends(_AtLeast(Role.VIEWER))]
Reviewer = Annotated[Me, Depends(_AtLeast(Role.REVIEWER))]
Engineer = Annotated[Me, Depends(_AtLeast(Role.ENGINEER))]
Admin = Annotated[Me, Depends(_AtLeast(Role.ADMIN))]


def _unknown(wanted: str) -> HTTPException:
    return HTTPException(
        401, f"not known here; wanted {wanted}", headers={"WWW-Authenticate": "Bearer"}
    )
