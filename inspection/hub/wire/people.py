"""Who may do what: roles, sessions and accounts of people, tokens of stations, the audit log."""

from enum import StrEnum

from pydantic import AwareDatetime, Field, JsonValue, SecretStr

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


class Login(Request):
    """A local account's name and password."""

    account: Name
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
    expires_at: AwareDatetime


class Account(Answer):
    """Somebody who may log in."""

    account: str
    role: Role
    local: bool = Field(description="has a password here; else comes by the identity provider")
    created_at: AwareDatetime
    disabled_at: AwareDatetime | None


class NewAccount(Request):
    """An account to make."""

    account: Name
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

    id: int
    created_at: AwareDatetime
    created_by: str
    used_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class NewToken(Token):
    """What lets a station in: a new token with its secret, shown this once, and whom to believe."""

    station: str
    token: str
    trusted_keys: tuple[str, ...] = Field(description="for the station's configuration")


class AuditEntry(Answer):
    """Who changed what; each entry's hash covers the one before."""

    id: int
    at: AwareDatetime
    actor: str
    action: str
    subject: str
    detail: dict[str, JsonValue]
    previous: str
    sha256: str


class AuditCheck(Answer):
    """Whether the chain holds."""

    entries: int
    sound: bool
    head: str = Field(description="hash of the last entry: write it down elsewhere")
    problem: str = Field(description="the first entry that does not fit, and why; else empty")
