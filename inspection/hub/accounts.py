"""Accounts and sessions of people; passwords by Argon2id, sessions by hash."""

from datetime import timedelta
from functools import cache
from threading import BoundedSemaphore
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from pydantic import SecretStr
from sqlalchemy import Connection, Row, delete, insert, select, update

from inspection.hub.audit import ACCOUNT_ADD, ACCOUNT_CHANGE, note
from inspection.hub.database import insert_new
from inspection.hub.hub import Hub
from inspection.hub.passwords import require_strong
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.secrets import new_secret, secret_hash
from inspection.hub.tables import accounts, sessions
from inspection.hub.wire.people import Account, AccountChange, Login, NewAccount, Role, Session

HASHER = PasswordHasher()  # Argon2id, RFC 9106's second recommendation, as argon2-cffi sets it
HASHES_AT_ONCE = BoundedSemaphore(4)  # each takes 64 MiB; logging in must not take all memory


def list_accounts(hub: Hub) -> tuple[Account, ...]:
    """Give all accounts, by name."""
    with hub.database.reading() as connection:
        rows = connection.execute(select(accounts).order_by(accounts.c.account)).all()
    return tuple(_account(row) for row in rows)


def add_account(hub: Hub, new: NewAccount, actor: str) -> Account:
    """Make an account.

    Raises:
        ConfigError: its password is guessed soon; Standing: there is one of this name.
    """
    if new.password is not None:
        require_strong(new.account, new.password)
    row = {
        "account": new.account,
        "role": new.role,
        "password_hash": _hash(new.password) if new.password else None,
        "created_at": hub.now(),
    }
    with hub.database.writing() as connection:
        if not insert_new(connection, accounts, [row], "account"):
            raise Standing(f"account '{new.account}': is there already; change it instead")
        note(connection, hub.now(), actor, ACCOUNT_ADD, new.account, role=new.role)
        return _account(_locked(connection, new.account))


def change_account(hub: Hub, account: str, change: AccountChange, actor: str) -> Account:
    """Change role, password or whether somebody may log in; their sessions end.

    Raises:
        ConfigError: the password is guessed soon; NotThere: there is no such account.
        Standing: nobody could administrate the hub afterwards.
    """
    if change.password is not None:
        require_strong(account, change.password)
    password_hash = _hash(change.password) if change.password else None
    now = hub.now()
    with hub.database.writing() as connection:
        if change.role not in {None, Role.ADMIN} or change.disabled:
            _keep_an_admin(connection, account)
        row = _locked(connection, account)
        values: dict[str, Any] = {}
        if change.role is not None:
            values["role"] = change.role
        if password_hash is not None:
            values["password_hash"] = password_hash
        if change.disabled is not None:
            values["disabled_at"] = (row.disabled_at or now) if change.disabled else None
        if values:
            connection.execute(update(accounts).where(accounts.c.account == account).values(values))
        connection.execute(delete(sessions).where(sessions.c.account == account))
        told = change.model_dump(mode="json", exclude={"password"}, exclude_none=True)
        told["password"] = change.password is not None
        note(connection, now, actor, ACCOUNT_CHANGE, account, **told)
        return _account(_locked(connection, account))


def log_in(hub: Hub, login: Login) -> Session | None:
    """Begin a session; none for a wrong name or password, in the same time for all of them."""
    with hub.database.reading() as connection:
        row = connection.execute(
            select(accounts).where(accounts.c.account == login.account)
        ).one_or_none()
    known = row is not None and row.password_hash is not None and row.disabled_at is None
    password_hash = row.password_hash if row is not None and known else _nobodys_hash(HASHER)
    if not _verified(password_hash, login.password) or row is None or not known:
        return None
    session = begin_session(hub, row.account, row.password_hash)
    if HASHER.check_needs_rehash(password_hash):
        _rehash(hub, login, password_hash)
    return session


def begin_session(hub: Hub, account: str, proved: str | None = None) -> Session | None:
    """Begin a session of somebody who has proved who they are.

    Args:
        hub: that knows the account.
        account: whose.
        proved: hash of the password that was given; none for people of the identity provider.

    Returns:
        The session; none if the account was disabled or its password changed meanwhile.
    """
    token, now = new_secret(), hub.now()
    expires_at = now + timedelta(hours=hub.config.session_h)
    with hub.database.writing() as connection:
        row = _locked(connection, account)
        if row.disabled_at is not None or row.password_hash != proved:
            return None
        connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
        connection.execute(
            insert(sessions).values(
                sha256=secret_hash(token), account=account, created_at=now, expires_at=expires_at
            )
        )
        note(connection, now, account, "session begin", account)
    return Session(account=account, role=Role(row.role), token=token, expires_at=expires_at)


def end_session(hub: Hub, account: str, token: str) -> None:
    """End one session; its token is refused from the next request on."""
    with hub.database.writing() as connection:
        connection.execute(delete(sessions).where(sessions.c.sha256 == secret_hash(token)))
        note(connection, hub.now(), account, "session end", account)


def _keep_an_admin(connection: Connection, account: str) -> None:
    """Refuse to take the last admin; locks all of them, as two could demote each other."""
    admins = connection.execute(
        select(accounts.c.account)
        .where(accounts.c.role == Role.ADMIN, accounts.c.disabled_at.is_(None))
        .order_by(accounts.c.account)
        .with_for_update()
    ).scalars()
    if set(admins) == {account}:
        raise Standing(f"account '{account}': is the last admin; make another one first")


def _locked(connection: Connection, account: str) -> Row[Any]:
    row = connection.execute(
        select(accounts).where(accounts.c.account == account).with_for_update()
    ).one_or_none()
    if row is None:
        raise NotThere(f"account '{account}': is not there; add it first")
    return row


def _rehash(hub: Hub, login: Login, old: str) -> None:
    """Bring a hash up to today's parameters, unless the password was changed meanwhile."""
    unchanged = accounts.c.account == login.account, accounts.c.password_hash == old
    new = _hash(login.password)
    with hub.database.writing() as connection:
        connection.execute(update(accounts).where(*unchanged).values(password_hash=new))


def _hash(password: SecretStr) -> str:
    with HASHES_AT_ONCE:
        return HASHER.hash(password.get_secret_value())


def _verified(password_hash: str, password: SecretStr) -> bool:
    try:
        with HASHES_AT_ONCE:
            return HASHER.verify(password_hash, password.get_secret_value())
    except VerificationError:
        return False


@cache
def _nobodys_hash(hasher: PasswordHasher) -> str:
    """Give what is verified for a name that is not there, so that it takes as long."""
    return hasher.hash(new_secret())


def _account(row: Row[Any]) -> Account:
    return Account(
        account=row.account,
        role=Role(row.role),
        local=row.password_hash is not None,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )
