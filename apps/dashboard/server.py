"""Serves the pages with Streamlit, hardened: loopback, no statistics, no watcher, no uploads."""

import errno
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import streamlit as st
import uvicorn
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from streamlit.web import bootstrap

from inspection.core.connections import Connections, allow_many_files
from inspection.core.errors import ConfigError
from inspection.core.limits import MAX_BROWSER_CONNECTIONS, MAX_CLIENT_BYTES
from inspection.dashboard.border import Border
from inspection.dashboard.parts.remembered import ROUTE
from inspection.dashboard.parts.session import HUB_URL, OIDC
from inspection.dashboard.settings import DashboardConfig

logger = logging.getLogger(__name__)
SCRIPT = Path(__file__).resolve().parent / "main.py"
PING_S = 30  # a browser that does not answer for so long is gone
BACKLOG = 1024
GRACE_S = 5  # pages that are being answered when the end comes may take so long
SETTINGS: dict[str, Any] = {
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "minimal",
    "client.disableDataExport": True,  # its CSV would hold formulas that people elsewhere wrote
    "client.showErrorDetails": "type",  # a traceback belongs into the log, not on a page
    "client.showErrorLinks": False,  # they tell search engines what failed here
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.enableCORS": True,
    "server.enableXsrfProtection": True,
    "server.xsrfCookieSameSite": "strict",
    "server.maxUploadSize": 1,  # MB; no page takes a file
    "server.maxMessageSize": 50,  # MB to a browser; a page with pictures stays far below
    "theme.base": "light",
    "theme.primaryColor": "#0072B2",
    "theme.baseFontSize": 15,
    "theme.paddingTop": "0.75rem",
    "theme.headingFontSizes": ["1.6rem", "1.35rem", "1.15rem"],
}


def serve(settings: DashboardConfig) -> None:
    """Serve the dashboard until the process is told to end.

    Raises:
        ConfigError: the secrets file or a file of the certificate is not there or unfit, or the
            address cannot be listened on.
    """
    files = [settings.oidc_secrets]
    if settings.tls is not None:
        files += [settings.tls.certificate, settings.tls.private_key]
    for path in files:
        if path is not None and not path.is_file():
            raise ConfigError(
                f"{path}: no such file; the dashboard's settings name it; put it back"
            )
    bootstrap.load_config_options(SETTINGS | _own(settings))
    allow_many_files()
    connections = Connections(MAX_BROWSER_CONNECTIONS)
    with _listener(settings, connections) as listener:
        server = uvicorn.Server(_uvicorn(settings, connections))
        scheme = "http" if settings.tls is None else "https"
        url = f"{scheme}://{settings.hosts[0]}:{settings.port}"
        logger.info("dashboard serves", extra={"url": url, "hub": settings.hub})
        server.run(sockets=[listener])


def make_app(settings: DashboardConfig) -> st.App:
    """Give the pages behind their border."""
    return st.App(
        SCRIPT,
        routes=[ROUTE],
        middleware=[
            Middleware(Border),
            Middleware(TrustedHostMiddleware, allowed_hosts=settings.hosts, www_redirect=False),
        ],
        secrets={HUB_URL: settings.hub, OIDC: settings.oidc_secrets is not None},
    )


def _own(settings: DashboardConfig) -> dict[str, Any]:
    own: dict[str, Any] = {
        "server.address": settings.host,
        "server.port": settings.port,
        # else Streamlit asks an address on the internet which one people may use
        "browser.serverAddress": (*settings.names, settings.host)[0],
    }
    if settings.tls is not None:
        own["server.sslCertFile"] = str(settings.tls.certificate)
        own["server.sslKeyFile"] = str(settings.tls.private_key)
    if settings.oidc_secrets is not None:
        own["secrets.files"] = [str(settings.oidc_secrets)]
    return own


def _uvicorn(settings: DashboardConfig, connections: Connections) -> uvicorn.Config:
    """Configure the server; Streamlit's own runner would leave all limits at uvicorn's."""
    config = uvicorn.Config(
        make_app(settings),
        http=connections.protocol,  # type: ignore[arg-type]  # called as the class would be
        ws="websockets-sansio",
        ws_max_size=MAX_CLIENT_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        loop="asyncio",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=None if settings.tls is None else settings.tls.certificate,
        ssl_keyfile=None if settings.tls is None else settings.tls.private_key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls: certificate or private_key cannot be used ({error}); wanted PEM files, the key "
            "without a password"
        ) from error
    return config


def _listener(settings: DashboardConfig, connections: Connections) -> socket.socket:
    try:
        return connections.listen(settings.host, settings.port, BACKLOG)
    except OSError as error:
        why = error.strerror if error.errno != errno.EADDRINUSE else "another program has it"
        raise ConfigError(
            f"host {settings.host}, port {settings.port}: cannot be listened on ({why}); wanted a "
            "free port on an address of this machine"
        ) from error
