"""Serves the pages with Streamlit, hardened: loopback, no statistics, no watcher, small uploads."""

import sys
from pathlib import Path
from typing import Any

import streamlit as st

from inspection.core.errors import ConfigError
from inspection.dashboard.parts.remembered import ROUTE
from inspection.dashboard.parts.session import HUB_URL, OIDC
from inspection.dashboard.settings import DashboardConfig

SCRIPT = Path(__file__).resolve().parent / "main.py"
SETTINGS: dict[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "type",  # a traceback belongs into the log, not on a page
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.enableXsrfProtection": True,
    "server.xsrfCookieSameSite": "strict",
    "server.maxUploadSize": 1,  # MB; no page takes a file
    "server.maxMessageSize": 50,  # MB; a page with pictures stays far below
    "theme.base": "light",
    "theme.primaryColor": "#0072B2",
    "theme.baseFontSize": 15,
    "theme.paddingTop": "0.75rem",
    "theme.headingFontSizes": ["1.6rem", "1.35rem", "1.15rem"],
}


def serve(settings: DashboardConfig) -> None:
    """Serve the dashboard until the process is told to end.

    Raises:
        ConfigError: the secrets file or a file of the certificate is not there.
    """
    files = [settings.oidc_secrets]
    if settings.tls is not None:
        files += [settings.tls.certificate, settings.tls.private_key]
    for path in files:
        if path is not None and not path.is_file():
            raise ConfigError(
                f"{path}: no such file; the dashboard's settings name it; put it back"
            )
    sys.argv = sys.argv[:1]  # Streamlit hands the rest to the script
    app = st.App(
        SCRIPT,
        routes=[ROUTE],
        secrets={HUB_URL: settings.hub, OIDC: settings.oidc_secrets is not None},
    )
    app.run(config=SETTINGS | _own(settings))


def _own(settings: DashboardConfig) -> dict[str, Any]:
    own: dict[str, Any] = {"server.address": settings.host, "server.port": settings.port}
    if settings.tls is not None:
        own["server.sslCertFile"] = str(settings.tls.certificate)
        own["server.sslKeyFile"] = str(settings.tls.private_key)
    if settings.oidc_secrets is not None:
        own["secrets.files"] = [str(settings.oidc_secrets)]
    return own
