"""configs/dashboard.yaml: which hub the dashboard shows, and where it listens."""

from pathlib import Path
from typing import Self

from pydantic import Field, StrictInt, model_validator

from inspection.core.exposure import Exposed, Page, refuse_clear


class DashboardConfig(Page):
    """configs/dashboard.yaml: the dashboard of one hub; paths start in the working directory."""

    port: StrictInt = Field(8101, ge=1, le=65_535, description="port to listen on")
    hub: str = Field(
        "http://127.0.0.1:8100", pattern=r"^https?://[^/]+$", description="address of the hub"
    )
    hub_exposed: Exposed = False
    oidc_secrets: Path | None = Field(
        None,
        description="Streamlit's secrets file with [auth] of the identity provider and "
        'expose_tokens = ["id"]; none has local accounts only',
    )

    @model_validator(mode="after")
    def _people_log_in_unread(self) -> Self:
        refuse_clear("hub: passwords", self.hub, exposed=self.hub_exposed, word="hub_exposed")
        return self
