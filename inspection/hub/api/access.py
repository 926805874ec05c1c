"""Who asks: dependencies that give a route the hub, the station or the person, or refuse."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Row, select, update

from inspection.core.errors import HubError
from inspection.hub.api.gathering import Gathering
from inspection.hub.hub import Hub
from inspection.hub.secrets import secret_hash
from inspection.hub.tables import accounts, sessions, stations, tokens
from inspection.hub.wire.message import Answer
from inspection.hub.wire.people import Me, Role

logger = logging.getLogger(__name__)
BEARER = HTTPBearer(auto_error=False, description="a person's session or a station's token")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
LOGINS = {"/v1/session", "/v1/session/oidc"}  # POST to these is for strangers
STATIONS = select(tokens, stations.c.line, stations.c.retired_at).join(
    stations, stations.c.station == tokens.c.station
)
PEOPLE = (
    select(sessions.c.sha256, accounts.c.account, accounts.c.role)
    .join(accounts, accounts.c.account == sessions.c.account)
    .where(accounts.c.disabled_at.is_(None))
)
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


Caller = StationCaller | Me


async def admit(request: Request) -> HTTPException | None:
    """Find out who asks, from a request's head: strangers may log in and ask how the hub is.

    What `caller` and `actor` of the request's state then say, the routes and the log go by.

    Returns:
        Why the request is refused; none when it is not.
    """
    path = request.scope["path"]
    if not path.startswith("/v1/") or (request.method == "POST" and path in LOGINS):
        return None
    try:
        caller = await find_caller(request)
    except HubError as error:
        return down(error)
    if caller is None:
        return _unknown("a session that is not over, or a station's token that is not revoked")
    request.state.caller = caller
    request.state.actor = caller.account if isinstance(caller, Me) else f"station {caller.station}"
    return None


async def find_caller(request: Request) -> Caller | None:
    """Give whose token came along; asks the database each time, for many at once.

    Raises:
        HubError: the database does not answer.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        return None
    callers: Gathering[str, Caller | None] = request.app.state.callers
    return await callers.do(secret.strip())


async def calling_station(request: Request, _bearer: Bearer) -> StationCaller:
    """Give the station that asks.

    Raises:
        HTTPException: 401, no station does.
    """
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, StationCaller):
        raise _unknown("a station's token that is not revoked")
    return caller


async def calling_person(request: Request, _bearer: Bearer) -> Me:
    """Give the person who asks.

    Raises:
        HTTPException: 401, no person does.
    """
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, Me):
        raise _unknown("a session that is not over; POST /v1/session gives one")
    return caller


async def calling_anyone(request: Request, _bearer: Bearer) -> Caller:
    """Give the station or the person who asks.

    Raises:
        HTTPException: 401, nobody known does.
    """
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        raise _unknown("a session or a station's token")
    return caller


Station = Annotated[StationCaller, Depends(calling_station)]
Person = Annotated[Me, Depends(calling_person)]
Anyone = Annotated[Caller, Depends(calling_anyone)]


class _AtLeast:
    """Lets those pass who have a role or more."""

    def __init__(self, role: Role) -> None:
        self._role = role

    async def __call__(self, person: Person) -> Me:
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


def find_callers(hub: Hub, secrets: Sequence[str]) -> list[Caller | None]:
    """Give whose each token is; none for one that does not hold."""
    hashes = [secret_hash(secret) for secret in secrets]
    with hub.database.reading() as connection:
        found = connection.execute(STATIONS.where(tokens.c.sha256.in_(set(hashes)))).all()
        others = set(hashes) - {row.sha256 for row in found}
        people = PEOPLE.where(sessions.c.sha256.in_(others), sessions.c.expires_at > hub.now())
        rows = connection.execute(people).all() if others else []
    callers: dict[str, Caller | None] = {row.sha256: _caller(hub, row) for row in found}
    callers |= {row.sha256: Me(account=row.account, role=Role(row.role)) for row in rows}
    return [callers.get(sha256) for sha256 in hashes]


def down(error: HubError) -> HTTPException:
    """Give the answer of a hub that cannot answer, and log why."""
    logger.error("hub cannot answer", extra={"reason": str(error)})
    return HTTPException(503, "the hub's database, store or identity provider does not answer")


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
