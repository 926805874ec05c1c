"""configs/hub.yaml: where the hub listens, what it keeps, whom it believes, how much it takes."""

import ipaddress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.hub.wire.people import Role


class TlsSettings(Settings):
    """The certificate with which the hub proves itself."""

    certificate: Path = Field(description="PEM file, the whole chain")
    private_key: Path = Field(description="PEM file of its key")


class Listener(Settings):
    """Where something listens: on loopback until told otherwise."""

    host: str = Field("127.0.0.1", description="address to listen on")
    exposed: StrictBool = Field(
        default=False, description="say true to listen on an address other machines can reach"
    )
    tls: TlsSettings | None = Field(default=None, description="none speaks plain HTTP")

    @model_validator(mode="after")
    def _stays_on_loopback_until_told(self) -> Self:
        if self.exposed or _is_loopback(self.host):
            return self
        raise ValueError(
            f"host '{self.host}' can be reached from other machines; wanted a loopback address, or "
            "exposed: true; name tls, too, or passwords and tokens can be read on the way"
        )


class OidcSettings(Settings):
    """The identity provider whose people may log in."""

    issuer: str = Field(pattern=r"^https?://", description="as it stands in its tokens")
    client_id: str = Field(min_length=1, description="audience of its tokens: the dashboard's")
    keys_url: str = Field(pattern=r"^https?://", description="its JSON Web Key Set")
    name_claim: str = Field("email", description="claim that names the account")
    role: Role | None = Field(
        None, description="of people without an account; none lets only those with one in"
    )

    @model_validator(mode="after")
    def _keys_come_unchanged(self) -> Self:
        url = urlsplit(self.keys_url)
        if url.scheme == "https" or _is_loopback(url.hostname or ""):
            return self
        raise ValueError(
            f"keys_url '{self.keys_url}': who can change the keys on their way can log in as "
            "anybody; wanted https://"
        )


class LimitSettings(Settings):
    """The most one request may bring or ask."""

    events_mb: StrictFloat = Field(8.0, gt=0, le=1024, description="of one batch of events, MB")
    picture_mb: StrictFloat = Field(64.0, gt=0, le=1024, description="of one picture, MB")
    picture_mpx: StrictFloat = Field(64.0, gt=0, le=1000, description="of one picture, megapixels")
    skew_s: StrictInt = Field(
        300, ge=1, description="a station's clock may be off by this; more is said on its page, s"
    )
    logins: StrictInt = Field(
        5, ge=1, le=1000, description="wrong passwords of one account or address per minute"
    )


class RetentionSettings(Settings):
    """What is deleted in time; reviewed events, their pictures and the audit log never are.

    Ages count from when a part was captured or came, whichever is later.
    """

    events_days: StrictInt = Field(730, ge=1, description="age of an event at which it goes, days")
    pictures_days: StrictInt = Field(
        90, ge=1, description="age of an event at which its pictures go, days"
    )
    passes_days: StrictInt = Field(14, ge=1, description="the same for pictures of a PASS, days")


class ReviewSettings(Settings):
    """Which parts people are asked to look at, and how often two must."""

    pass_share: StrictFloat = Field(
        0.005, ge=0, le=1, description="share of PASS parts that are drawn at random for review"
    )
    second_share: StrictFloat = Field(
        0.1, ge=0, le=1, description="share of reviewed parts a second person decides blindly"
    )
    per_shift: StrictInt = Field(
        200, ge=1, description="parts the reviewers can look at in one shift"
    )
    shift_h: StrictFloat = Field(8.0, gt=0, le=24, description="length of a shift, hours")
    segmenter: Path | None = Field(
        None,
        description="folder of `inspection review convert`, or `grabcut`; none is the one that "
        "ships",
    )


class HubConfig(Listener):
    """configs/hub.yaml: one hub; paths are relative to the working directory."""

    port: StrictInt = Field(8100, ge=1, le=65_535, description="port to listen on")
    database: str = Field(
        "sqlite:///demo/hub/hub.sqlite",
        description="SQLAlchemy URL: sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME; a "
        "password belongs in database_password_file",
    )
    database_password_file: Path | None = Field(
        None, description="file whose first line is the database's password"
    )
    artefacts: str = Field(
        "demo/hub/artefacts", description="folder, or any fsspec URL, of pictures and bundles"
    )
    cache_dir: Path = Field(
        Path("demo/hub/cache"), description="local folder of opened bundles; may be deleted"
    )
    session_h: StrictFloat = Field(12.0, gt=0, le=720, description="a login lasts so long, hours")
    oidc: OidcSettings | None = Field(default=None, description="none has local accounts only")
    limits: LimitSettings = Field(default_factory=LimitSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    review: ReviewSettings = Field(default_factory=ReviewSettings)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
