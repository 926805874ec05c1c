"""Stands before every route: asks who comes, limits bodies, adds headers, writes the access log.

Sizes are counted while a body streams in, so that neither a wrong Content-Length nor none gets
more into memory than the route may take, and all bodies together no more than there is for them.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspection.core.limits import MB, Budget
from inspection.hub.settings import LimitSettings

logger = logging.getLogger(__name__)
JSON_MB = 1.0
LOGIN_MB, LOGIN_S = 0.02, 5.0  # of a stranger: an identity token has 16 kB
CORRECTION_MB = 30.0  # a mask of 20 million base64 characters, and JSON around it
BODY_S = 30.0  # a body may take so long, and
S_PER_MB = 1.0  # so much longer for each megabyte its route may take
SHARE_MB = 64.0  # of one caller's bodies at once, unless one body may be larger
SHARES = 4  # bodies of all callers together may have so many shares
VALUE_BYTES = 64  # of memory that a value of JSON takes besides its text, at least
RETRY_S = "5"
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
        admit: says of a request's head why it is refused, and knows its caller afterwards, whose
            `actor` stands in the request's state.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: LimitSettings,
        admit: Callable[[Request], Awaitable[HTTPException | None]],
    ) -> None:
        self._app, self._admit = app, admit
        picture = _Allowed(settings.picture_mb, json=False)
        self._allowed = (
            (re.compile(r"/v1/events"), _Allowed(settings.events_mb)),
            (re.compile(r"/v1/events/[^/]+/pictures/[^/]+"), picture),
            (re.compile(r"/v1/lines/[^/]+/judge"), picture),
            (re.compile(r"/v1/events/[^/]+/corrections"), _Allowed(CORRECTION_MB)),
            (re.compile(r"/v1/session(/oidc)?"), _Allowed(LOGIN_MB, login=True)),
        )
        share_mb = max(SHARE_MB, *(allowed.mb for _, allowed in self._allowed))
        self._shares = _Shares(int(share_mb * MB))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        allowed = next(
            (allowed for path, allowed in self._allowed if path.fullmatch(scope["path"])),
            _Allowed(JSON_MB),
        )
        request = Request(scope)
        try:
            refusal = _refusal(scope, allowed) or await self._admit(request)
            if refusal is None:
                with self._shares.held(getattr(request.state, "actor", None)) as hold:
                    body = _Body(receive, allowed, hold)
                    await self._app(scope, body.receive, answer.send)
            else:
                await _refuse(answer.send, refusal)
        finally:
            answer.log()


@dataclass(frozen=True)
class _Allowed:
    """What a route takes."""

    mb: float
    json: bool = True
    login: bool = False

    @property
    def timeout_s(self) -> float:
        return LOGIN_S if self.login else BODY_S + S_PER_MB * self.mb

    def cost(self, piece: bytes) -> int:
        """Give the memory that a piece of a body takes, once it is read as what it is, in bytes."""
        values = piece.count(b",") + piece.count(b"[") + piece.count(b"{") if self.json else 0
        return len(piece) + values * VALUE_BYTES


class _Shares:
    """The memory of all bodies together, of which no caller has more than a share."""

    def __init__(self, share: int) -> None:
        self._share, self._held = share, Budget(SHARES * share, share)

    @contextmanager
    def held(self, caller: str | None) -> Iterator[Callable[[int], None]]:
        """Give what holds memory for one body of a caller until the block ends.

        All strangers, who may log in only, are one caller. What is given takes bytes; it raises
        HTTPException: 413, no body may have so much; 503, there is no room beside other bodies.
        """
        mine = 0

        def hold(cost: int) -> None:
            nonlocal mine
            if mine + cost > self._share:
                raise HTTPException(413, "the body holds too many JSON values; send fewer at once")
            if not self._held.take(cost, caller):
                raise HTTPException(
                    503, "too much comes at once; send it again later", {"Retry-After": RETRY_S}
                )
            mine += cost

        try:
            yield hold
        finally:
            self._held.release(mine, caller)


class _Body:
    """Passes a request's body on as long as it is small and quick enough, and there is room."""

    def __init__(self, receive: Receive, allowed: _Allowed, hold: Callable[[int], None]) -> None:
        self._receive, self._allowed, self._hold = receive, allowed, hold
        self._left, self._until = int(allowed.mb * MB), time.monotonic() + allowed.timeout_s
        self._complete = False

    async def receive(self) -> Message:
        """Give the next piece.

        Raises:
            HTTPException: 408 too slow, 413 too large, 503 no room beside other bodies.
        """
        if self._complete:  # what comes now is the client's going away
            return await self._receive()
        try:
            async with asyncio.timeout(self._until - time.monotonic()):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body came too slowly; look at the network") from None
        piece = message.get("body", b"")
        self._left -= len(piece)
        if self._left < 0:
            raise _too_large(self._allowed)
        self._hold(self._allowed.cost(piece))
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


def _refusal(scope: Scope, allowed: _Allowed) -> HTTPException | None:
    """Say why a request is refused by its head alone."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if len(scope["headers"]) > MOST_HEADERS:
        return HTTPException(431, f"more than {MOST_HEADERS} headers; send fewer")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return HTTPException(415, "Content-Encoding is not taken; send the body as it is")
    if b"%00" in scope["query_string"] or "\x00" in scope["path"]:
        return HTTPException(400, "path or query holds a NUL; leave it out")
    if not length.isdigit() or len(length) > 18 or int(length) > int(allowed.mb * MB):
        return _too_large(allowed)
    return None


def _too_large(allowed: _Allowed) -> HTTPException:
    return HTTPException(413, f"the body is larger than {allowed.mb:g} MB; send less")


async def _refuse(send: Send, refusal: HTTPException) -> None:
    """Answer before the body is read: what still comes of it, the server forgets for a while."""
    body = json.dumps({"error": refusal.detail}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(refusal.headers or {}),
    }
    start = {
        "type": "http.response.start",
        "status": refusal.status_code,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})
