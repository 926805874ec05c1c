"""Runs the station's web server over a status that tests change, for the tests of the web."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from inspection.station.settings import StationConfig, WebSettings
from inspection.station.sources.push import PushSource
from inspection.station.state import StationState, StationStatus
from inspection.station.web.server import WebServer
from tests.station.outputs.status import status


class Station:
    """A station whose heart beats at every look, until `beats` is false."""

    def __init__(self, state: StationState = StationState.READY, **values) -> None:
        self.state = state
        self.values = values
        self.beat = 1
        self.beats = True

    def __call__(self) -> StationStatus:
        """Give the snapshot."""
        self.beat += self.beats
        return status(self.state, self.beat, **self.values)


def free_port() -> int:
    """Find a port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def server_of(
    station: Station, data_dir: Path, port: int, push: PushSource | None = None, **web
) -> WebServer:
    """Make the web server of a station that beats every 50 ms; `web` are further settings."""
    config = StationConfig(data_dir=data_dir, heartbeat_ms=50)
    return WebServer(WebSettings(port=port, **web), config, station, push)


@contextmanager
def served(
    station: Station, data_dir: Path, push: PushSource | None = None, **web
) -> Iterator[tuple[WebServer, httpx.Client]]:
    """Serve a station; gives the server and a client of it."""
    port = free_port()
    with (
        server_of(station, data_dir, port, push, **web) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
    ):
        yield server, client
