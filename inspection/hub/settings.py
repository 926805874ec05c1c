"""configs/hub.yaml: where the hub listens, what it keeps, whom it believes, how much it takes."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    IPvAnyNetwork,
    StrictBool,
    StrictFloat,
    StrictInt,
    TypeAdapter,
    model_validator,
)

from inspection.core.config import Settings
from inspection.core.exposure import Listener, is_loopback
from inspection.hub.wire.people import Role

LOOPBACK = TypeAdapter(tuple[IPvAnyNetwork, ...]).validate_python(("127.0.0.0/8", "::1/128"))


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
        if url.scheme == "https" or is_loopback(url.hostname or ""):
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
        5,
        ge=1,
        le=1000,
        description="wrong passwords of one account from one address per minute; "
        "four times as many from an address, and 16 times as many for an account from everywhere",
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
    trusted_proxies: tuple[IPvAnyNetwork, ...] = Field(
        LOOPBACK,
        description="addresses or networks whose X-Forwarded-For is believed, which logins are "
        "counted by: the dashboard's, and a proxy's before the hub or the dashboard",
    )
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
    four_eyes: StrictBool = Field(
        default=True,
        description="who proposes thresholds beyond the limits of a bundle's card cannot approve "
        "them; false lets one person do both, which stations believe only where theirs is false",
    )
    oidc: OidcSettings | None = Field(default=None, description="none has local accounts only")
    limits: LimitSettings = Field(default_factory=LimitSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    review: ReviewSettings = Field(default_factory=ReviewSettings)
