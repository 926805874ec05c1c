"""configs/dashboard.yaml: which hub the dashboard shows, and where it listens."""

from pathlib import Path

from pydantic import Field, StrictInt

from inspection.hub.settings import Listener


class DashboardConfig(Listener):
    """configs/dashboard.yaml: the dashboard of one hub; paths start in the working directory."""

    port: StrictInt = Field(8101, ge=1, le=65_535, description="port to listen on")
    hub: str = Field(
        "http://127.0.0.1:8100", pattern=r"^https?://[^/]+$", description="address of the hub"
    )
    oidc_secrets: Path | None = Field(
        None,
        description="Streamlit's secrets file with [auth] of the identity provider and "
        'expose_tokens = ["id"]; none has local accounts only',
    )
