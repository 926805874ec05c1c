"""Where a station's events go, and what the line does with each verdict."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.exposure import Exposed, refuse_clear

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Port = Annotated[StrictInt, Field(ge=1, le=65_535)]
LOGIN = "username and password_file"


class Action(StrEnum):
    """What the line does with a part; only `release` lets it go on."""

    RELEASE = "release"
    REJECT = "reject"
    HOLD = "hold"


Stopping = Literal[Action.REJECT, Action.HOLD]


class ActionSettings(Settings):
    """What the line does with each verdict."""

    review: Literal[Action.RELEASE, Action.REJECT, Action.HOLD] = Field(
        Action.REJECT, description="with a part a person should look at"
    )
    safe: Stopping = Field(
        Action.REJECT,
        description="the safe output: with a FAULT part, with no verdict, and whenever the station "
        "is not ready",
    )

    def of(self, verdict: Verdict) -> Action:
        """Give the action of a verdict."""
        return {
            Verdict.PASS: Action.RELEASE,
            Verdict.REVIEW: Action(self.review),
            Verdict.REJECT: Action.REJECT,
            Verdict.FAULT: Action(self.safe),
        }[verdict]


class StdoutSettings(Settings):
    """One JSON line per event on stdout."""

    kind: Literal["stdout"] = "stdout"
    name: Name = Field(
        "stdout", description="its place in the outbox; keep it when settings change"
    )


class CsvSettings(Settings):
    """One line per event in a CSV file; its last lines say what it already has."""

    kind: Literal["csv"]
    name: Name = Field("csv", description="its place in the outbox; keep it when settings change")
    path: Path = Field(description="file to append to; its folder is made")


class MqttSettings(Settings):
    """Each event as JSON by QoS 1, and the station's state as a retained message."""

    kind: Literal["mqtt"]
    name: Name = Field("mqtt", description="its place in the outbox; keep it when settings change")
    host: str = Field("127.0.0.1", description="address of the broker")
    port: Port = Field(1883, description="of the broker; 8883 is usual with TLS")
    topic: str = Field(
        "inspection/{line}/{station}",
        pattern=r"^[^#+]+$",
        description="events go to TOPIC/events, the state to TOPIC/state",
    )
    username: str | None = Field(None, description="whom the broker knows; none goes without")
    password_file: Path | None = Field(None, description="file whose first line is the password")
    tls_ca: Path | None = Field(None, description="PEM file of the authority; none is plain TCP")
    exposed: Exposed = False
    sparkplug: StrictBool = Field(
        default=False,
        description="speak Sparkplug B instead: group is the line, edge node the station",
    )
    timeout_ms: StrictInt = Field(
        5_000, ge=100, le=600_000, description="a broker that is silent so long is down, ms"
    )

    @model_validator(mode="after")
    def _password_goes_unread(self) -> Self:
        if self.username is not None and self.tls_ca is None:
            refuse_clear(LOGIN, self.host, exposed=self.exposed, instead="tls_ca")
        return self


class WebhookSettings(Settings):
    """Each event as JSON by HTTP POST, with its event_id as Idempotency-Key."""

    kind: Literal["webhook"]
    name: Name = Field(
        "webhook", description="its place in the outbox; keep it when settings change"
    )
    url: str = Field(pattern=r"^https?://", description="address events are posted to")
    token_file: Path | None = Field(None, description="file whose first line is the bearer token")
    exposed: Exposed = False
    timeout_ms: StrictInt = Field(
        5_000,
        ge=100,
        le=600_000,
        description="longest silence of one request, ms; the whole may take ten times that",
    )

    @model_validator(mode="after")
    def _token_goes_unread(self) -> Self:
        _refuse_clear_token(self)
        return self


class HubSettings(Settings):
    """The plant's hub: events, then their pictures, and the station's status beside them."""

    kind: Literal["hub"]
    name: Name = Field("hub", description="its place in the outbox; keep it when settings change")
    url: str = Field(pattern=r"^https?://", description="address of the hub")
    token_file: Path | None = Field(None, description="file whose first line is the bearer token")
    exposed: Exposed = False
    timeout_ms: StrictInt = Field(
        10_000,
        ge=100,
        le=600_000,
        description="longest silence of one request, ms; the whole may take ten times that",
    )
    status_ms: StrictInt = Field(
        2_000, ge=100, le=600_000, description="pause between two statuses, ms"
    )

    @model_validator(mode="after")
    def _token_goes_unread(self) -> Self:
        _refuse_clear_token(self)
        return self


class ModbusSettings(Settings):
    """A Modbus TCP server with the registers of docs/station.md; the PLC is its client."""

    kind: Literal["modbus"]
    name: Name = Field(
        "modbus", description="its place in the outbox; keep it when settings change"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(5020, description="port to listen on; 502 is usual and needs rights")
    unit: StrictInt = Field(1, ge=0, le=247, description="unit identifier")
    acknowledge: StrictBool = Field(
        default=True,
        description="a result stands until the PLC acknowledges it; false overwrites it",
    )
    plc_timeout_ms: StrictInt = Field(
        0,
        ge=0,
        le=600_000,
        description="the PLC's heartbeat may stand still so long, ms; then it counts as gone; 0 "
        "does not watch it",
    )


class OpcuaSettings(Settings):
    """An OPC UA server with the nodes of docs/station.md; PLC and SCADA are its clients."""

    kind: Literal["opcua"]
    name: Name = Field("opcua", description="its place in the outbox; keep it when settings change")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(4840, description="port to listen on")
    acknowledge: StrictBool = Field(
        default=True,
        description="a result stands until a client acknowledges it; false overwrites it",
    )
    certificate: Path | None = Field(
        None, description="DER certificate; with `private_key` only signed and encrypted sessions"
    )
    private_key: Path | None = Field(None, description="PEM key of the certificate")
    username: str | None = Field(None, description="user a client must name")
    password_file: Path | None = Field(None, description="file whose first line is the password")
    anonymous: StrictBool = Field(
        default=False, description="say true to let every client in, without a password"
    )
    exposed: Exposed = False

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        for one, other in (("username", "password_file"), ("certificate", "private_key")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"{one} and {other} go together; name both or none")
        return self

    @model_validator(mode="after")
    def _who_comes_in_is_said(self) -> Self:
        if self.username is None and not self.anonymous:
            raise ValueError(
                "nobody could log in; expected username and password_file, or anonymous: true, "
                "which lets every client read and acknowledge results"
            )
        if self.username is not None and self.anonymous:
            raise ValueError("anonymous: true and username contradict each other; name one")
        if self.username is not None and self.certificate is None:
            refuse_clear(LOGIN, self.host, exposed=self.exposed, instead="certificate")
        return self


def _refuse_clear_token(settings: WebhookSettings | HubSettings) -> None:
    """Refuse to send the token, or a login within the url, where others can read it."""
    if settings.token_file is not None:
        refuse_clear("token_file", settings.url, exposed=settings.exposed)
    elif "@" in settings.url:
        refuse_clear("the login within url", settings.url, exposed=settings.exposed)


OutputSettings = Annotated[
    StdoutSettings
    | CsvSettings
    | MqttSettings
    | WebhookSettings
    | HubSettings
    | ModbusSettings
    | OpcuaSettings,
    Field(discriminator="kind"),
]
