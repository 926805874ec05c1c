"""configs/dashboard.yaml: which hub the dashboard shows, and where it listens."""

import ipaddress
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StrictInt, model_validator

from inspection.core.exposure import Exposed, Listener, refuse_clear

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class DashboardConfig(Listener):
    """configs/dashboard.yaml: the dashboard of one hub; paths start in the working directory."""

    port: StrictInt = Field(8101, ge=1, le=65_535, description="port to listen on")
    hub: str = Field(
        "http://127.0.0.1:8100", pattern=r"^https?://[^/]+$", description="address of the hub"
    )
    hub_exposed: Exposed = False
    names: tuple[Annotated[str, Field(pattern=r"^[0-9a-z.:-]+$")], ...] = Field(
        (),
        description="names and addresses, without port, by which people open it, the usual one "
        "first; loopback and `host` are known",
    )
    oidc_secrets: Path | None = Field(
        None,
        description="Streamlit's secrets file with [auth] of the identity provider and "
        'expose_tokens = ["id"]; none has local accounts only',
    )

    @model_validator(mode="after")
    def _people_log_in_unread(self) -> Self:
        refuse_clear("hub: passwords", self.hub, exposed=self.hub_exposed, word="hub_exposed")
        return self

    @model_validator(mode="after")
    def _is_known_by_name(self) -> Self:
        if self.names or not _is_any(self.host):
            return self
        raise ValueError(
            f"host '{self.host}' is every address of this machine, and no names say by which "
            "people open the dashboard; expected such as names: [dashboard.plant.example]"
        )

    @property
    def hosts(self) -> list[str]:
        """Give what may stand in the Host header, without port; an IPv6 address in brackets."""
        names = dict.fromkeys((*self.names, self.host.lower(), *LOOPBACK))
        return [f"[{name}]" if ":" in name else name for name in names]


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
