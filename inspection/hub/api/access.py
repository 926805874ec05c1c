"""Who asks: dependencies that give a route the hub, the station or the person, or refuse."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Row, select, update

from inspection.hub.api.gathering import Gathering
from inspection.hub.hub import Hub
from inspection.hub.secrets import secret_hash
from inspection.hub.tables import accounts, sessions, stations, tokens
from inspection.hub.wire.message import Answer
from inspection.hub.wire.people import Me, Role

logger = logging.getLogger(__name__)
BEARER = HTTPBearer(auto_error=False, description="a person's session or a station's token")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
USED_S = 60  # the last use of a token is known to the minute, so that a request need not write


async def the_hub(request: Request) -> Hub:
    """Give the hub the app serves."""
    hub: Hub = request.app.state.hub
    return hub


TheHub = Annotated[Hub, Depends(the_hub)]


class StationCaller(Answer):
    """The station that asks."""

    station: str
    line: str


async def calling_station(request: Request, bearer: Bearer) -> StationCaller:
    """Give the station whose token came along; asks the database each time, for many at once.

    Raises:
        HTTPException: 401, no token, or one that is unknown, revoked, or of a retired station.
    """
    tokens_asked: Gathering[str, StationCaller | None] = request.app.state.tokens
    caller = None if bearer is None else await tokens_asked.do(bearer.credentials)
    return _required_station(request, caller)


def calling_person(request: Request, hub: TheHub, bearer: Bearer) -> Me:
    """Give the person whose session's token came along.

    Raises:
        HTTPException: 401, no session, or one that is unknown or over.
    """
    caller = None if bearer is None else _person(hub, bearer.credentials)
    if caller is None:
        raise _unknown("a session that is not over; POST /v1/session gives one")
    request.state.actor = caller.account
    return caller


def calling_anyone(request: Request, hub: TheHub, bearer: Bearer) -> StationCaller | Me:
    """Give the station or the person whose token came along.

    Raises:
        HTTPException: 401, as for each of them.
    """
    if bearer is None:
        raise _unknown("a session or a station's token")
    person = _person(hub, bearer.credentials)
    if person is None:
        return _required_station(request, _station(hub, bearer.credentials))
    request.state.actor = person.account
    return person


Station = Annotated[StationCaller, Depends(calling_station)]
Person = Annotated[Me, Depends(calling_person)]
Anyone = Annotated[StationCaller | Me, Depends(calling_anyone)]


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


def find_stations(hub: Hub, secrets: Sequence[str]) -> list[StationCaller | None]:
    """Give the station of each token; none for one that does not hold."""
    hashes = [secret_hash(secret) for secret in secrets]
    found = (
        select(tokens, stations.c.line, stations.c.retired_at)
        .join(stations, stations.c.station == tokens.c.station)
        .where(tokens.c.sha256.in_(set(hashes)))
    )
    with hub.database.reading() as connection:
        rows = connection.execute(found).all()
    holding = {row.sha256: _caller(hub, row) for row in rows}
    return [holding.get(sha256) for sha256 in hashes]


def _required_station(request: Request, caller: StationCaller | None) -> StationCaller:
    if caller is None:
        raise _unknown("a station's token that is not revoked")
    request.state.actor = f"station {caller.station}"
    return caller


def _person(hub: Hub, secret: str) -> Me | None:
    found = (
        select(accounts.c.account, accounts.c.role)
        .join(sessions, sessions.c.account == accounts.c.account)
        .where(
            sessions.c.sha256 == secret_hash(secret),
            sessions.c.expires_at > hub.now(),
            accounts.c.disabled_at.is_(None),
        )
    )
    with hub.database.reading() as connection:
        row = connection.execute(found).one_or_none()
    return None if row is None else Me(account=row.account, role=Role(row.role))


def _station(hub: Hub, secret: str) -> StationCaller | None:
    return find_stations(hub, [secret])[0]


def _caller(hub: Hub, row: Row[Any]) -> StationCaller | None:
    if row.revoked_at is not None or row.retired_at is not None:
        logger.warning(
            "revoked token came again", extra={"station": row.station, "token_id": row.id}
        )
        return None
    now = hub.now()
    if row.used_at is None or (now - row.used_at).total_seconds() > USED_S:
        with hub.database.writing() as connection:
            connection.execute(update(tokens).where(tokens.c.id == row.id).values(used_at=now))
    return StationCaller(station=row.station, line=row.line)


def _unknown(wanted: str) -> HTTPException:
    return HTTPException(
        401, f"not known here; wanted {wanted}", headers={"WWW-Authenticate": "Bearer"}
    )
