"""Asks a hub over HTTP and understands its refusals; which routes there are, clients know."""

from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from inspection.core.errors import HubError
from inspection.core.limits import MAX_RECORD_BYTES
from inspection.hub.wire.review import Conflict

T = TypeVar("T")
TIMEOUT_S = 30.0


class Refused(HubError):
    """The hub said no: what it said, and the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Conflicted(Refused):
    """Somebody else decided meanwhile; `current` is what stands now."""

    def __init__(self, conflict: Conflict) -> None:
        super().__init__(409, conflict.error)
        self.current = conflict.current


class Asking:
    """One hub as one person or station sees it.

    Args:
        url: of the hub, http://… or https://….
        token: of a session or a station; none may only log in.
        transport: for tests, an app in the same process.
    """

    def __init__(
        self, url: str, token: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(
            base_url=url.rstrip("/"),
            headers=headers,
            timeout=TIMEOUT_S,
            transport=transport or httpx.HTTPTransport(),  # with one, httpx looks for no proxy
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, method: str, path: str, kind: type[T], **request: Any) -> T:
        """Ask for an answer of a kind; `request` is what httpx takes.

        Raises:
            HubError: no answer, or not of this kind; Refused where the hub says no.
        """
        answer = self.send(method, path, **request)
        try:
            return TypeAdapter(kind).validate_json(answer.content)
        except ValidationError as error:
            raise HubError(
                f"{path}: answer not understood ({error}); update this program"
            ) from error

    def send(
        self, method: str, path: str, *, max_bytes: int = MAX_RECORD_BYTES, **request: Any
    ) -> httpx.Response:
        """Send a request that succeeds, and give status and body; raises as `ask`."""
        try:
            with self._http.stream(method, path, **request) as coming:
                answer = _read(coming, max_bytes, path)
        except httpx.HTTPError as error:
            raise HubError(
                f"{self._http.base_url}: no answer ({type(error).__name__}: {error}); look at the "
                "network and whether inspection hub serve runs there"
            ) from error
        if answer.is_success:
            return answer
        raise _refusal(answer)


def _read(coming: httpx.Response, max_bytes: int, path: str) -> httpx.Response:
    body = bytearray()
    for piece in coming.iter_bytes():
        body += piece
        if len(body) > max_bytes:
            raise HubError(
                f"{path}: answer has more than {max_bytes:,} bytes; expected at most that; check "
                "that the address is a hub, or ask for less"
            )
    return httpx.Response(coming.status_code, content=bytes(body))


def _refusal(answer: httpx.Response) -> Refused:
    try:
        body = answer.json()
        if answer.status_code == httpx.codes.CONFLICT and "current" in body:
            return Conflicted(Conflict.model_validate(body))
        return Refused(answer.status_code, str(body["error"]))
    except (ValueError, KeyError, TypeError):
        return Refused(answer.status_code, f"the hub answered {answer.status_code}")


def part(name: str) -> str:
    """Quote a name for one part of a path."""
    return quote(name, safe="")


def without_none(**values: Any) -> dict[str, Any]:
    """Give the parameters that have a value."""
    return {name: value for name, value in values.items() if value is not None}
