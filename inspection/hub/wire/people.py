"""Who may do what: roles, sessions and accounts of people, tokens of stations, the audit log."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, SecretStr, StringConstraints

from inspection.core.limits import MAX_NAME, Moment, Total
from inspection.hub.wire.message import Answer, Name, Request


class Role(StrEnum):
    """What a person may do; each may what those before may."""

    VIEWER = "viewer"  # look
    REVIEWER = "reviewer"  # decide on parts, correct masks
    ENGINEER = "engineer"  # set thresholds, choose bundles
    ADMIN = "admin"  # stations, tokens, accounts

    def may(self, wanted: "Role") -> bool:
        """Say whether this role may do what needs `wanted`."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)


ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._@+-]*")
NO_PEOPLE = frozenset({"hub", "policy", "retraining"})  # who acts of itself in the audit log


def _distinct(name: str) -> str:
    if name in NO_PEOPLE:
        raise ValueError("is how the audit log calls a part of the hub; expected another name")
    if ACCOUNT.fullmatch(name):
        return name
    raise ValueError(
        "expected small letters a to z, digits and . _ @ + -, a letter or digit first: others can "
        "look alike, and two people must not be taken for each other"
    )


AccountName = Annotated[
    str,
    AfterValidator(_distinct),
    Field(max_length=MAX_NAME, json_schema_extra={"pattern": f"^{ACCOUNT.pattern}$"}),
]


class Login(Request):
    """A local account's name, in letters of any size, and password."""

    account: Annotated[Name, StringConstraints(to_lower=True, strip_whitespace=True)]
    password: SecretStr = Field(min_length=1, max_length=256)


class OidcLogin(Request):
    """An identity token of the configured provider, as the dashboard's own login got it."""

    id_token: SecretStr = Field(min_length=1, max_length=16_384)


class Me(Answer):
    """Who asks."""

    account: str
    role: Role


class Session(Me):
    """A login; the token goes into `Authorization: Bearer` and is kept by its hash only."""

    token: str
    expires_at: Moment


class Account(Answer):
    """Somebody who may log in."""

    account: str
    role: Role
    local: bool = Field(description="has a password here; else comes by the identity provider")
    created_at: Moment
    disabled_at: Moment | None


class NewAccount(Request):
    """An account to make."""

    account: AccountName
    role: Role
    password: SecretStr | None = Field(
        None, min_length=12, max_length=256, description="none for the identity provider's people"
    )


class AccountChange(Request):
    """What is to change of an account; none leaves it. A change ends its sessions."""

    role: Role | None = None
    password: SecretStr | None = Field(None, min_length=12, max_length=256)
    disabled: bool | None = None


class Token(Answer):
    """A station's token, without the secret, which nobody can read again."""

    id: Total
    created_at: Moment
    created_by: str
    used_at: Moment | None
    revoked_at: Moment | None


class NewToken(Token):
    """What lets a station in: a new token with its secret, shown this once, and whom to believe."""

    station: str
    token: str
    trusted_keys: tuple[str, ...] = Field(description="for the station's configuration")


class AuditEntry(Answer):
    """Who changed what; each entry's hash covers the one before."""

    id: Total
    at: Moment
    actor: str
    action: str
    subject: str
    detail: dict[str, JsonValue]
    previous: str
    sha256: str


class AuditCheck(Answer):
    """Whether the chain holds."""

    entries: Total
    sound: bool
    head: str = Field(description="hash of the last entry: write it down elsewhere")
    problem: str = Field(description="the first entry that does not fit, and why; else empty")
