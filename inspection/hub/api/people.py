"""Routes of people: sessions and accounts."""

import logging
import math
from collections.abc import Callable
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request, Response

from inspection.core.connections import host_of
from inspection.hub.accounts import (
    add_account,
    change_account,
    end_session,
    list_accounts,
    log_in,
)
from inspection.hub.api.access import Admin, Bearer, Person, TheHub
from inspection.hub.oidc import log_in_by_token
from inspection.hub.tries import Tries
from inspection.hub.wire.message import Name
from inspection.hub.wire.people import (
    Account,
    AccountChange,
    Login,
    Me,
    NewAccount,
    OidcLogin,
    Session,
)

logger = logging.getLogger(__name__)
router = APIRouter(tags=["people"])


class Door:
    """Lets in who gives the right word, and few wrong ones a minute."""

    def __init__(self, request: Request) -> None:
        self._tries: Tries = request.app.state.tries
        self._limiter: CapacityLimiter = request.app.state.logins
        self._request = request
        # Of whom a trusted proxy, such as the dashboard, says that it forwards.
        self._address = host_of(request.client.host if request.client else "unknown")

    async def enter(
        self, begin: Callable[[], Session | None], otherwise: str, account: str | None = None
    ) -> Session:
        """Give the session that `begin` gives, which may take its time.

        Raises:
            HTTPException: 401, it gives none, with the words of `otherwise`; 429, too many gave
                none before, for this account or from this address.
        """
        known = {"account": account, "address": self._address}
        wait_s = math.ceil(self._tries.begin(account, self._address))
        if wait_s:
            logger.warning("login refused: too many wrong ones", extra=known)
            raise HTTPException(
                429, f"too many wrong logins; wait {wait_s} s", {"Retry-After": str(wait_s)}
            )
        session = await to_thread.run_sync(begin, limiter=self._limiter)
        if session is None:
            logger.warning("login refused: wrong", extra=known)
            raise HTTPException(401, otherwise)
        self._tries.forgive(account, self._address)
        self._request.state.actor = session.account
        return session


@router.post("/session")
async def begin(hub: TheHub, door: Annotated[Door, Depends()], login: Login) -> Session:
    """Log in with a password."""
    wrong = "account or password is wrong"
    return await door.enter(lambda: log_in(hub, login), wrong, login.account)


@router.post("/session/oidc")
async def begin_by_token(
    hub: TheHub, door: Annotated[Door, Depends()], login: OidcLogin
) -> Session:
    """Log in with an ID token of the identity provider."""
    wrong = "the token does not hold, or names nobody who may come"
    return await door.enter(lambda: log_in_by_token(hub, login), wrong)


@router.get("/session")
def me(person: Person) -> Me:
    """Say who asks."""
    return person


@router.delete("/session", status_code=204, response_class=Response)
def end(hub: TheHub, person: Person, bearer: Bearer) -> None:
    """Log out."""
    if bearer is not None:  # it is there, or there were no person
        end_session(hub, person.account, bearer.credentials)


@router.get("/accounts")
def accounts(hub: TheHub, _admin: Admin) -> tuple[Account, ...]:
    """List accounts."""
    return list_accounts(hub)


@router.post("/accounts")
def add(hub: TheHub, admin: Admin, new: NewAccount) -> Account:
    """Make an account."""
    return add_account(hub, new, admin.account)


@router.patch("/accounts/{account}")
def change(hub: TheHub, admin: Admin, account: Name, wanted: AccountChange) -> Account:
    """Change an account; its sessions end."""
    return change_account(hub, account, wanted, admin.account)
