"""Serves the station's page, state, metrics and pictures, and what a push source adds to them.

The server runs in a thread of the station's process and only ever reads the last snapshot, so it
answers also when nothing else of the station does, and then says so.
"""

import asyncio
import contextlib
import errno
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources
from io import BufferedReader
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from types import TracebackType
from typing import Self

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspection.core.connections import Connections
from inspection.core.decision import Verdict
from inspection.core.errors import StationError
from inspection.core.limits import MAX_CONNECTIONS, open_file
from inspection.core.records import Event
from inspection.station.pictures import FOLDER
from inspection.station.settings import StationConfig, WebSettings
from inspection.station.sources.push import PushSource
from inspection.station.state import StationState, StationStatus
from inspection.station.web.metrics import CONTENT_TYPE, Metrics
from inspection.station.web.pulse import Pulse, silent_after_s

logger = logging.getLogger(__name__)

LOOK_S = 0.1  # between two looks at the station's snapshot
RETRY_S = 1.0  # between two tries for an address this machine does not have yet
ASSETS = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
PICTURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PICTURE_KINDS = {
    **{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"},
    **{".bmp": "image/bmp", ".tif": "image/tiff", ".tiff": "image/tiff"},
}
PIECE_BYTES = 65_536  # of a picture in memory while its client takes it
PROTECTING = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # for browsers of panels that know no frame-ancestors
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
        self._connections = Connections(MAX_CONNECTIONS)
        self._server = uvicorn.Server(_uvicorn(self._app(), web, self._connections))
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
            ConfigError: the certificate or its key cannot be used.
        """
        if self._web.tls is not None:
            self._web.tls.require_usable()
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
        try:
            return self._connections.listen(self._web.host, self._web.port, MAX_CONNECTIONS)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return None
            why = str(error.strerror).partition(" (while")[0]
            raise StationError(
                f"web: cannot listen on {self._web.host} port {self._web.port} ({why}); expected a "
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

    def _app(self) -> ASGIApp:
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
        app = Starlette(
            routes=routes,
            middleware=[
                Middleware(TrustedHostMiddleware, allowed_hosts=self._web.hosts, www_redirect=False)
            ],
            lifespan=self._watch,
            exception_handlers={
                HTTPException: _refuse,  # type: ignore[dict-item] # typed for any Exception
                ClientDisconnect: _forget,
            },
        )
        return _Protecting(app)

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
        name = request.scope["path"].strip("/") or "page.html"
        return Response(self._assets[name], media_type=ASSETS[name])

    async def _status(self, _request: Request) -> Response:
        """Give the snapshot; the standard header Age says how old it is, in whole seconds."""
        text = self._pulse.status().model_dump_json()
        headers = {"Age": str(int(self._pulse.silent_s()))}
        return Response(text, media_type="application/json", headers=headers)

    async def _health(self, _request: Request) -> Response:
        """Answer 200 only while the station is READY and its heart beats."""
        status, silent_s = self._pulse.status(), self._pulse.silent_s()
        state, reason = str(status.state), status.reason
        if silent_s > self._silent_after_s:
            state, reason = "SILENT", f"no heartbeat for {silent_s:.0f} s; restart the station"
        code = 200 if state == StationState.READY else 503
        return JSONResponse({"state": state, "reason": reason}, code)

    async def _measure(self, _request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def _picture(self, request: Request) -> Response:
        verdict, name = request.path_params["verdict"], request.path_params["name"]
        kind = PICTURE_KINDS.get(Path(name).suffix)
        if verdict not in set(Verdict) or not PICTURE_NAME.fullmatch(name) or kind is None:
            raise HTTPException(404, "no such picture")
        stream = await anyio.to_thread.run_sync(_open, self._pictures / verdict / name)
        size = os.fstat(stream.fileno()).st_size
        headers = {"Content-Length": str(size)}
        return StreamingResponse(_pieces(stream, size), media_type=kind, headers=headers)


def _uvicorn(app: ASGIApp, web: WebSettings, connections: Connections) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=connections.protocol,  # type: ignore[arg-type] # typed as a class; any maker serves
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=MAX_CONNECTIONS,
        timeout_graceful_shutdown=1,
        ssl_certfile=None if web.tls is None else web.tls.certificate,
        ssl_keyfile=None if web.tls is None else web.tls.private_key,
    )


def _assets(silent_ms: int) -> dict[str, str]:
    """Read the page, which is to know when to call the station silent."""
    folder = resources.files("inspection.station.web")
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ASSETS}
    return texts | {"page.html": texts["page.html"].replace("SILENT_MS", str(silent_ms))}


def _open(path: Path) -> BufferedReader:
    """Open a picture; the byte budget may have taken it at any time.

    Raises:
        HTTPException: it is not there.
    """
    try:
        return open_file(path)
    except OSError as error:
        raise HTTPException(404, "no such picture; it may have been dropped") from error


async def _pieces(stream: BufferedReader, size: int) -> AsyncIterator[bytes]:
    """Give a picture bit by bit, as its client takes it: one that never does holds no memory."""
    with stream:
        while size > 0:
            piece = await anyio.to_thread.run_sync(stream.read, min(size, PIECE_BYTES))
            if not piece:  # cut short meanwhile; the connection ends, since its length is not met
                return
            size -= len(piece)
            yield piece


class _Protecting:
    """Adds the headers that protect to each answer, errors and refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def protect(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(PROTECTING)
            await send(message)

        await self._app(scope, receive, protect)


async def _refuse(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _forget(_request: Request, _error: Exception) -> Response:
    """Answer nobody: the client has left."""
    return Response(status_code=400)
