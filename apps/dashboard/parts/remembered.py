"""Keeps a login when the browser loads the page anew: a cookie stands for a session kept here.

The cookie is HttpOnly and SameSite=Strict, holds a random key and no token of the hub, and ends
with the browser. A page's script cannot set such a cookie, so a new login gets a ticket, good once
and for a minute, which the page hands to POST /session in a header no foreign page may send.
"""

import secrets
import threading
import time
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inspection.hub.wire.people import Session

COOKIE, TICKET = "inspection-dashboard", "x-ticket"
TICKET_S = 60.0


class Remembered:
    """The sessions that cookies stand for; they end with the process, and when they are over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._tickets: dict[str, tuple[str, float]] = {}

    def add(self, session: Session) -> str:
        """Keep a session; gives the ticket for its cookie."""
        key, ticket = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        now, until = datetime.now(UTC), time.monotonic() + TICKET_S
        with self._lock:
            self._sessions = {
                name: kept for name, kept in self._sessions.items() if kept.expires_at > now
            }
            self._tickets = {
                name: (of, end)
                for name, (of, end) in self._tickets.items()
                if end > time.monotonic()
            }
            self._sessions[key] = session
            self._tickets[ticket] = (key, until)
        return ticket

    def key_for(self, ticket: str) -> str | None:
        """Give the key a ticket is for, this once."""
        with self._lock:
            key, until = self._tickets.pop(ticket, (None, 0.0))
        return key if time.monotonic() < until else None

    def waits(self, ticket: str) -> bool:
        """Say whether a ticket was not used yet."""
        return ticket in self._tickets

    def get(self, key: str | None) -> Session | None:
        """Give the session of a cookie, unless it is over or was dropped."""
        session = self._sessions.get(key or "")
        return session if session and session.expires_at > datetime.now(UTC) else None

    def drop(self, token: str) -> None:
        """Forget a session by its token; its cookie stands for nothing from now on."""
        with self._lock:
            self._sessions = {
                name: kept for name, kept in self._sessions.items() if kept.token != token
            }


REMEMBERED = Remembered()


async def _set_cookie(request: Request) -> Response:
    key = REMEMBERED.key_for(request.headers.get(TICKET, ""))
    if key is None:
        return Response("ticket: not known, used, or older than a minute; log in again", 403)
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answer


ROUTE = Route("/session", _set_cookie, methods=["POST"])
