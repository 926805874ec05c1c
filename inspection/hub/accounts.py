"""Accounts and sessions of people; passwords by Argon2id, sessions by hash."""

from datetime import timedelta

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import insert, select

from inspection.core.errors import ConfigError
from inspection.hub.audit import note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.secrets import new_secret, secret_hash
from inspection.hub.tables import accounts, sessions
from inspection.hub.wire.people import Account, Login, NewAccount, Role, Session

HASHER = PasswordHasher()  # Argon2id, RFC 9106's second recommendation, as argon2-cffi sets it


def add_account(hub: Hub, new: NewAccount, actor: str) -> Account:
    """Make an account.

    Raises:
        ConfigError: there is one of this name.
    """
    hashed = HASHER.hash(new.password.get_secret_value()) if new.password else None
    row = {
        "account": new.account,
        "role": new.role,
        "password_hash": hashed,
        "created_at": hub.now(),
    }
    with hub.database.writing() as connection:
        if not insert_new(connection, accounts, [row], "account"):
            raise ConfigError(f"account '{new.account}': is there already; change it instead")
        note(connection, hub.now(), actor, "account add", new.account, role=new.role)
    return Account(**{**row, "local": hashed is not None, "disabled_at": None})


def log_in(hub: Hub, login: Login) -> Session | None:
    """Begin a session; none for a wrong name or password."""
    with hub.database.reading() as connection:
        row = connection.execute(
            select(accounts).where(accounts.c.account == login.account)
        ).one_or_none()
    if row is None or row.password_hash is None or row.disabled_at is not None:
        return None
    try:
        HASHER.verify(row.password_hash, login.password.get_secret_value())
    except VerificationError:
        return None
    return begin_session(hub, row.account, Role(row.role))


def begin_session(hub: Hub, account: str, role: Role) -> Session:
    """Begin a session of somebody who has proved who they are."""
    token, now = new_secret(), hub.now()
    expires_at = now + timedelta(hours=hub.config.session_h)
    with hub.database.writing() as connection:
        connection.execute(
            insert(sessions).values(
                sha256=secret_hash(token), account=account, created_at=now, expires_at=expires_at
            )
        )
        note(connection, now, account, "session begin", account)
    return Session(account=account, role=role, token=token, expires_at=expires_at)
