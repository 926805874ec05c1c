"""Stands before every route: limits bodies, adds headers that protect, writes the access log.

Sizes are counted while a body streams in, so that neither a wrong Content-Length nor none gets
more into memory than the route may take.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspection.hub.settings import LimitSettings

logger = logging.getLogger(__name__)
MB = 1_000_000
JSON_MB = 1.0
CORRECTION_MB = 30.0  # a mask of 20 million base64 characters, and JSON around it
BODY_S = 30.0  # a body may take so long, and
S_PER_MB = 1.0  # so much longer for each megabyte its route may take
MOST_HEADERS = 100
PROTECTING = {
    b"x-content-type-options": b"nosniff",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}


class Limits:
    """ASGI middleware around the whole app.

    Args:
        app: what answers.
        settings: the configured sizes.
    """

    def __init__(self, app: ASGIApp, settings: LimitSettings) -> None:
        self._app = app
        self._most_mb = (
            (re.compile(r"/v1/events"), settings.events_mb),
            (re.compile(r"/v1/events/[^/]+/pictures/[^/]+"), settings.picture_mb),
            (re.compile(r"/v1/lines/[^/]+/judge"), settings.picture_mb),
            (re.compile(r"/v1/events/[^/]+/corrections"), CORRECTION_MB),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        most_mb = next((mb for path, mb in self._most_mb if path.fullmatch(scope["path"])), JSON_MB)
        body = _Body(receive, int(most_mb * MB), BODY_S + S_PER_MB * most_mb)
        try:
            refusal = _refusal(scope, body.most)
            if refusal is None:
                await self._app(scope, body.receive, answer.send)
            else:
                await _refuse(answer.send, refusal)
        finally:
            answer.log()


class _Body:
    """Passes a request's body on as long as it is small and quick enough."""

    def __init__(self, receive: Receive, most: int, timeout_s: float) -> None:
        self._receive, self.most = receive, most
        self._left, self._until = most, time.monotonic() + timeout_s
        self._complete = False

    async def receive(self) -> Message:
        """Give the next piece.

        Raises:
            HTTPException: 408 too slow, 413 too large.
        """
        if self._complete:  # what comes now is the client's going away
            return await self._receive()
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408, "the body came too slowly; look at the network", {"Connection": "close"}
            ) from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(self.most)
        self._complete = not message.get("more_body", False)
        return message


@dataclass
class _Answer:
    """Sends an answer on with the protecting headers, and remembers what to log of it."""

    scope: Scope
    sending: Send
    status: int = 500  # what the server makes of an error that nobody took

    def __post_init__(self) -> None:
        self.request_id = uuid.uuid4().hex
        self._began = time.perf_counter()

    async def send(self, message: Message) -> None:
        """Send one message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._headers(message.get("headers", ()))}
        await self.sending(message)

    def log(self) -> None:
        """Write the line of the access log: never a token, a query or a body."""
        actor = self.scope.get("state", {}).get("actor")
        routine = self.status < 400 and str(actor).startswith("station ")
        level = logging.DEBUG if routine else logging.INFO
        logger.log(
            logging.ERROR if self.status >= 500 else level,
            "request",
            extra={
                "request_id": self.request_id,
                "method": self.scope["method"],
                "route": _template(self.scope),
                "status": self.status,
                "ms": round((time.perf_counter() - self._began) * 1000, 1),
                "actor": actor,
            },
        )

    def _headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        headers = list(given)
        names = {name.lower(): value for name, value in headers}
        added = PROTECTING | {b"x-request-id": self.request_id.encode()}
        if names.get(b"content-type", b"").startswith(b"application/json"):
            added |= {b"cache-control": b"no-store"}
        return headers + [(name, value) for name, value in added.items() if name not in names]


def _template(scope: Scope) -> str:
    """Give the route as it was declared; a path that has none may be of any length."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return "none"
    version = "/v1" if scope["path"].startswith("/v1/") else ""
    return version + str(path).removeprefix(version)  # FastAPI's later versions leave it out


def _refusal(scope: Scope, most: int) -> HTTPException | None:
    """Say why a request is refused by its head alone."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if len(scope["headers"]) > MOST_HEADERS:
        return HTTPException(431, f"more than {MOST_HEADERS} headers; send fewer")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return HTTPException(415, "Content-Encoding is not taken; send the body as it is")
    if b"%00" in scope["query_string"] or "\x00" in scope["path"]:
        return HTTPException(400, "path or query holds a NUL; leave it out")
    if not length.isdigit() or len(length) > 18 or int(length) > most:
        return _too_large(most)
    return None


def _too_large(most: int) -> HTTPException:
    return HTTPException(
        413, f"the body is larger than {most / MB:g} MB; send less", {"Connection": "close"}
    )


async def _refuse(send: Send, refusal: HTTPException) -> None:
    body = json.dumps({"error": refusal.detail}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",  # what is left of the body is not read
    }
    start = {
        "type": "http.response.start",
        "status": refusal.status_code,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
