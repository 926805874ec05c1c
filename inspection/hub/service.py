"""Runs the hub as a process: listens, serves, deletes what is old, ends in order on a signal."""

import errno
import logging
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext

import uvicorn

from inspection.core.connections import Connections, allow_many_files
from inspection.core.errors import ConfigError, HubError
from inspection.hub.api.app import make_app
from inspection.hub.desk import Desk
from inspection.hub.hub import Hub, open_hub
from inspection.hub.retention import Retention
from inspection.hub.settings import HubConfig
from inspection.station.stopping import stop_on_signals
from inspection.station.tasks import running

logger = logging.getLogger(__name__)
BACKLOG = 1024
CONNECTIONS = 2_000  # three of each of some hundred stations, and people's
GRACE_S = 10  # requests that are being answered when the end comes may take so long
LOOK_S = 0.1
GIL_S = 0.0005  # until a thread lets go of the interpreter; the thread that hears must not wait


def serve(
    config: HubConfig, beside: Callable[[Hub], AbstractContextManager[Desk]] | None = None
) -> None:
    """Serve one hub until SIGTERM or SIGINT; what was being answered then is.

    Must be called in the main thread. A second signal ends at once.

    Args:
        config: of the hub.
        beside: begins the retraining that runs while the hub does; none runs without.

    Raises:
        ConfigError: the address cannot be listened on, or a setting does not fit what is there.
        HubError: the database cannot be reached, or the server has ended by itself.
    """
    sys.setswitchinterval(GIL_S)
    connections = Connections(min(CONNECTIONS, allow_many_files() // 2))
    with (
        stop_on_signals() as stop,
        closing(open_hub(config)) as hub,
        _listener(config, connections) as listener,
        nullcontext() if beside is None else beside(hub) as desk,
    ):
        server = uvicorn.Server(_uvicorn(hub, desk, connections))
        with (
            running("retention", Retention(hub).run),
            running("web", lambda _end: server.run([listener])) as web,
        ):
            said = False
            try:
                while not stop.wait(LOOK_S) and not web.over():
                    if server.started and not said:
                        said = True
                        logger.info("hub serves", extra={"url": _url(config)})
            finally:
                hub.news.end()
                server.should_exit = True
        if not stop.is_set():
            raise HubError("web server ended by itself; look at the log above, then start again")
    logger.info("hub ended", extra={"url": _url(config)})


def _uvicorn(hub: Hub, desk: Desk | None, connections: Connections) -> uvicorn.Config:
    config = hub.config
    settings = uvicorn.Config(
        make_app(hub, desk),
        http=connections.protocol,  # type: ignore[arg-type] # typed as a class; any maker serves
        ws="none",
        loop="asyncio",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=True,  # for who logs in; limits of connections go by who connects
        forwarded_allow_ips=[str(network) for network in config.trusted_proxies],
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=None if config.tls is None else config.tls.certificate,
        ssl_keyfile=None if config.tls is None else config.tls.private_key,
    )
    try:
        settings.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls: certificate or private_key cannot be used ({error}); wanted PEM files, the key "
            "without a password"
        ) from error
    return settings


def _listener(config: HubConfig, connections: Connections) -> socket.socket:
    try:
        return connections.listen(config.host, config.port, BACKLOG)
    except OSError as error:
        why = error.strerror if error.errno != errno.EADDRINUSE else "another program has it"
        raise ConfigError(
            f"host {config.host}, port {config.port}: cannot be listened on ({why}); wanted a free "
            "port on an address of this machine"
        ) from error


def _url(config: HubConfig) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"{'http' if config.tls is None else 'https'}://{host}:{config.port}"
