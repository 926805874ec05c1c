"""Lets people of the identity provider in: checks its ID token and finds their account.

The dashboard's own login speaks with the provider; what arrives here is the ID token it got.
"""

import logging
from functools import lru_cache
from typing import Any

import jwt
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from inspection.core.errors import HubError
from inspection.hub.accounts import add_account, begin_session
from inspection.hub.hub import Hub
from inspection.hub.refusals import Standing
from inspection.hub.settings import OidcSettings
from inspection.hub.tables import accounts
from inspection.hub.wire.people import AccountName, NewAccount, OidcLogin, Role, Session

logger = logging.getLogger(__name__)
ALGORITHMS = ("RS256", "ES256")  # asymmetric only: a shared secret could be the public key's text
CLAIMS = ("iss", "aud", "exp", "iat", "sub")
LEEWAY_S = 30  # of two clocks
KEYS_TIMEOUT_S = 5.0
NAME: TypeAdapter[str] = TypeAdapter(AccountName)
PROVIDER = "identity provider"  # the actor that adds people whom nobody added


def log_in_by_token(hub: Hub, login: OidcLogin) -> Session | None:
    """Begin the session of whom an ID token names; none if it does not hold or names nobody.

    Raises:
        HubError: the provider's keys cannot be read.
    """
    settings = hub.config.oidc
    if settings is None:
        return None
    try:
        name = named_by(settings, login.id_token.get_secret_value())
    except (jwt.PyJWTError, ValidationError) as error:
        logger.warning("identity token refused", extra={"reason": str(error)})
        return None
    return begin_session(hub, name) if _may_come(hub, name, settings.role) else None


def named_by(settings: OidcSettings, token: str) -> str:
    """Give the account an ID token names, after checking all that can be checked of it.

    Raises:
        jwt.PyJWTError: it is not signed by the provider, not meant for us, over, or names nobody.
        ValidationError: its name can be no account's.
        HubError: the provider's keys cannot be read.
    """
    try:
        key = _keys(settings.keys_url).get_signing_key_from_jwt(token)
    except jwt.PyJWKClientConnectionError as error:
        raise HubError(
            f"identity provider: {settings.keys_url} gives no keys ({error}); look at the network"
        ) from error
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=ALGORITHMS,
        audience=settings.client_id,
        issuer=settings.issuer,
        leeway=LEEWAY_S,
        options={"require": [*CLAIMS, settings.name_claim]},
    )
    if settings.name_claim == "email" and claims.get("email_verified") is not True:
        raise jwt.InvalidTokenError("the provider has not verified the e-mail address")
    name = claims[settings.name_claim]
    if settings.name_claim == "email" and isinstance(name, str):
        name = name.lower()  # providers keep a mailbox's capitals as its owner once wrote them
    return NAME.validate_python(name, strict=True)


def _may_come(hub: Hub, name: str, role: Role | None) -> bool:
    """Say whether an account may be entered this way; makes one where the settings say so.

    An account with a password is entered by its password only: a provider that lets people choose
    their names must not give them a local admin's.
    """
    query = select(accounts.c.password_hash).where(accounts.c.account == name)
    with hub.database.reading() as connection:
        row = connection.execute(query).one_or_none()
    if row is not None:
        return row.password_hash is None
    if role is None:
        return False
    try:
        add_account(hub, NewAccount(account=name, role=role, password=None), PROVIDER)
    except Standing:  # a second window of the same person was faster
        return _may_come(hub, name, None)
    return True


@lru_cache(maxsize=4)
def _keys(url: str) -> jwt.PyJWKClient:
    """Give the reader of the provider's keys, which keeps them for five minutes."""
    return jwt.PyJWKClient(url, timeout=KEYS_TIMEOUT_S)
