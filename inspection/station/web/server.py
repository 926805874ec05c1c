"""Serves the station's page, state, metrics and pictures, and what a push source adds to them.

The server runs in a thread of the station's process and only ever reads the last snapshot, so it
answers also when nothing else of the station does, and then says so.
"""

import asyncio
import contextlib
import errno
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from types import TracebackType
from typing import Any, Self

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from inspection.core.decision import Verdict
from inspection.core.errors import StationError
from inspection.core.limits import MAX_PICTURE_BYTES, read_file
from inspection.core.records import Event
from inspection.station.pictures import FOLDER
from inspection.station.settings import StationConfig, WebSettings
from inspection.station.sources.push import PushSource
from inspection.station.state import StationState, StationStatus
from inspection.station.web.metrics import CONTENT_TYPE, Metrics
from inspection.station.web.pulse import Pulse, silent_after_s

logger = logging.getLogger(__name__)

LOOK_S = 0.1  # between two looks at the station's snapshot
CONNECTIONS = 256  # well below the files a process may open, which the record needs, too
RETRY_S = 1.0  # between two tries for an address this machine does not have yet
HEAD_S = 10  # a client that does not ask anything for so long is sent away
ASSETS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
PICTURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PICTURE_KINDS = {
    **{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"},
    **{".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff"},
}
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
}


class WebServer:
    """The station's web address; serves from `start` to `stop`.

    Args:
        web: where to listen.
        config: the station's configuration.
        status: gives the snapshot of the last heartbeat; must not wait.
        push: the source whose requests come here, if that is the station's source.
    """

    def __init__(
        self,
        web: WebSettings,
        config: StationConfig,
        status: Callable[[], StationStatus],
        push: PushSource | None = None,
    ) -> None:
        self._web, self._push = web, push
        self._pictures = config.data_dir / FOLDER
        self._pulse = Pulse(status)
        self._silent_after_s = silent_after_s(config.heartbeat_ms)
        self._metrics = Metrics(self._pulse.status, self._pulse.silent_s, config.deadline_ms)
        self._assets = _assets(round(self._silent_after_s * 1000))
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                http=_Connection,
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread: Thread | None = None
        self._stop = Flag()

    def __enter__(self) -> Self:
        """Start and give the server."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.stop()

    def start(self) -> None:
        """Listen; requests are answered from when this returns.

        An address that this machine does not have yet, as before its network is up, is waited for
        in the server's thread.

        Raises:
            StationError: the address cannot be listened on, for instance because it is taken.
        """
        listener = self._listen()
        if listener is None:
            logger.warning(
                "web address is not up yet; the station has no page until it is",
                extra={"host": self._web.host, "port": self._web.port},
            )
        self._thread = Thread(target=self._run, args=(listener,), name="web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Answer what was asked, let go of the port and end; takes a second or so at most."""
        if self._push is not None:
            self._push.close()
        self._server.should_exit = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def observe(self, event: Event) -> None:
        """Take the latency of an event into the metrics; for any thread, never waits."""
        self._metrics.observe(event)

    def _listen(self) -> socket.socket | None:
        """Give the listening socket; none while this machine does not have the address."""
        where = self._web.host, self._web.port
        family = socket.AF_INET6 if ":" in self._web.host else socket.AF_INET
        try:
            listener = socket.create_server(where, family=family, backlog=CONNECTIONS)
            # Handed on to every connection; asyncio sets it only on sockets it made itself, and an
            # answer would wait 40 ms for the client's acknowledgement of its head.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return None
            why = str(error.strerror).partition(" (while")[0]
            raise StationError(
                f"web: cannot listen on {where[0]} port {where[1]} ({why}); wanted a "
                "free port on an address of this machine; end what uses it or correct `web`"
            ) from error

    def _run(self, listener: socket.socket | None) -> None:
        try:
            while listener is None and not self._stop.wait(RETRY_S):
                listener = self._listen()
            if listener is not None:
                with listener:
                    self._server.run([listener])
        except StationError as error:  # the address came up, but is taken
            logger.critical("web server cannot listen", extra={"reason": str(error)})
        finally:
            if not self._server.should_exit:
                logger.critical("web server ended; the station has no page and takes no request")
            if self._push is not None:
                self._push.close()

    def _app(self) -> Starlette:
        routes = [
            Route("/", self._asset),
            Route("/page.css", self._asset),
            Route("/page.js", self._asset),
            Route("/status.json", self._status),
            Route("/healthz", self._health),
            Route("/metrics", self._measure),
            Route("/pictures/{verdict}/{name}", self._picture),
        ]
        if self._push is not None:
            routes += self._push.routes(self._pulse.status)
        return Starlette(
            routes=routes,
            lifespan=self._watch,
            exception_handlers={
                HTTPException: _refuse,  # type: ignore[dict-item] # typed for any Exception
                ClientDisconnect: _forget,
            },
        )

    @contextlib.asynccontextmanager
    async def _watch(self, _app: Starlette) -> AsyncIterator[None]:
        """Look at the station while the server runs."""

        async def look() -> None:
            while True:
                self._pulse.look()
                await asyncio.sleep(LOOK_S)

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            yield
            group.cancel_scope.cancel()

    async def _asset(self, request: Request) -> Response:
        name = request.url.path.strip("/") or "page.html"
        return Response(self._assets[name], media_type=ASSETS[name], headers=HEADERS)

    async def _status(self, _request: Request) -> Response:
        """Give the snapshot; the standard header Age says how old it is, in whole seconds."""
        text = self._pulse.status().model_dump_json()
        headers = {**HEADERS, "Age": str(int(self._pulse.silent_s()))}
        return Response(text, media_type="application/json", headers=headers)

    async def _health(self, _request: Request) -> Response:
        """Answer 200 only while the station is READY and its heart beats."""
        status, silent_s = self._pulse.status(), self._pulse.silent_s()
        state, reason = str(status.state), status.reason
        if silent_s > self._silent_after_s:
            state, reason = "SILENT", f"no heartbeat for {silent_s:.0f} s; restart the station"
        code = 200 if state == StationState.READY else 503
        return JSONResponse({"state": state, "reason": reason}, code, headers=HEADERS)

    async def _measure(self, _request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE, headers=HEADERS)

    async def _picture(self, request: Request) -> Response:
        verdict, name = request.path_params["verdict"], request.path_params["name"]
        kind = PICTURE_KINDS.get(Path(name).suffix)
        if verdict not in set(Verdict) or not PICTURE_NAME.fullmatch(name) or kind is None:
            raise HTTPException(404, "no such picture")
        path = self._pictures / verdict / name
        content = await anyio.to_thread.run_sync(_read, path)
        return Response(content, media_type=kind, headers=HEADERS)


class _Connection(H11Protocol):
    """One client; uvicorn itself would let it wait, and all others with it, for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client; when there are too many, one that asks nothing goes for it."""
        super().connection_made(transport)
        self._send_away_later()
        if len(self.connections) > CONNECTIONS:
            others = (one for one in self.connections if one is not self)
            next((one for one in others if _asks_nothing(one)), self).transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._send_away_later()

    def _send_away_later(self) -> None:
        self.loop.call_later(HEAD_S, self._send_away, self.cycle)

    def _send_away(self, before: Any) -> None:
        if self.cycle is before and _asks_nothing(self):
            self.transport.abort()


def _asks_nothing(connection: Any) -> bool:
    return connection.cycle is None or bool(connection.cycle.response_complete)


def _assets(silent_ms: int) -> dict[str, str]:
    """Read the page, which is to know when to call the station silent."""
    folder = resources.files("inspection.station.web")
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ASSETS}
    return texts | {"page.html": texts["page.html"].replace("SILENT_MS", str(silent_ms))}


def _read(path: Path) -> bytes:
    """Read a picture; the byte budget may have taken it at any time.

    Raises:
        HTTPException: it is not there.
    """
    try:
        return read_file(path, MAX_PICTURE_BYTES)
    except OSError as error:
        raise HTTPException(404, "no such picture; it may have been dropped") from error


async def _refuse(_request: Request, error: HTTPException) -> Response:
    headers = {**HEADERS, **(error.headers or {})}
    return JSONResponse({"error": error.detail}, error.status_code, headers=headers)


async def _forget(_request: Request, _error: Exception) -> Response:
    """Answer nobody: the client has left."""
    return Response(status_code=400)
