"""Sends requests to one HTTP server; every answer but success means that it is down.

A server that drips – a byte now and then keeps every read in time – must not hold its courier, so
the whole request has a limit, too; asyncio enforces it wherever the request stands.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from threading import Event as Flag

import httpx

from inspection.core.limits import cut
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_token
from inspection.station.outputs.waiting import wait_until

TRY_AGAIN = frozenset({408, 425, 429})  # and 5xx: the same request may be taken later
SHOWN = 200  # characters of an answer in an error
MOST_BYTES = 65_536  # of an answer; the rest is not read
WHOLE = 10  # times timeout_ms: so long a request may take that goes on, like a picture's upload


class Refused(OutputDown):
    """The server answered, and not with success: the status it gave."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Endpoint:
    """One address, with its bearer token and timeouts; for one thread.

    `timeout_ms` is the longest silence, ten times that the longest request. Redirects are not
    followed and no proxy of the environment is used: the token goes to the configured address only.

    Args:
        url: address every request's path follows.
        token_file: file whose first line is the bearer token; none sends none.
        timeout_ms: longest silence, ms.
        stop: breaks a request off when another thread sets it; none never does.
    """

    def __init__(
        self, url: str, token_file: Path | None, timeout_ms: int, stop: Flag | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._timeout_ms = timeout_ms
        self._stop = stop or Flag()
        self._runner: asyncio.Runner | None = None
        self._client: httpx.AsyncClient | None = None

    def open(self) -> None:
        """Begin anew: no old connection is used, and the token is read again.

        Raises:
            OutputDown: the token cannot be read.
        """
        self.close()
        headers = {}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {read_token(self._token_file)}"
        headers["Accept-Encoding"] = "identity"  # a small answer may unpack to any size
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=self._timeout_ms / 1000,
            transport=httpx.AsyncHTTPTransport(),  # with one, httpx looks for no proxy
        )

    def close(self) -> None:
        """Let the connections go."""
        if self._runner is not None and self._client is not None:
            self._runner.run(self._client.aclose())
            self._runner.close()
            self._runner = self._client = None

    def send(self, method: str, path: str, content: bytes, headers: dict[str, str]) -> bytes:
        """Send one request to the address followed by `path`, and give the body of a success.

        Raises:
            OutputDown: no answer in time.
            Refused: any status but 2xx.
        """
        if self._runner is None or self._client is None:
            raise OutputDown(f"{self._url}: not opened yet")
        where = f"{method} {self._url}{path}"
        request = self._client.stream(method, self._url + path, content=content, headers=headers)
        due_s = time.monotonic() + WHOLE * self._timeout_ms / 1000
        try:
            answer = self._runner.run(wait_until(_read(request), self._stop, due_s))
        except TimeoutError as error:
            raise OutputDown(
                f"{where}: no whole answer within {WHOLE * self._timeout_ms} ms, though bytes "
                "came; check network and server, or raise timeout_ms"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutputDown(
                f"{where}: no answer within {self._timeout_ms} ms "
                f"({type(error).__name__}: {error}); check address, network and server"
            ) from error
        if not answer.is_success:
            raise Refused(answer.status_code, f"{where}: {_complaint(answer)}")
        return answer.content


async def _read(request: AbstractAsyncContextManager[httpx.Response]) -> httpx.Response:
    """Send a request and give what came, the body up to MOST_BYTES."""
    async with request as answer:
        body = b""
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) >= MOST_BYTES:
                break
        headers = {"Location": answer.headers.get("Location", "")} if answer.is_redirect else None
        return httpx.Response(answer.status_code, headers=headers, content=body[:MOST_BYTES])


def _complaint(answer: httpx.Response) -> str:
    status = f"status {answer.status_code}"
    if answer.is_redirect:
        where = cut(answer.headers["Location"], SHOWN)
        return f"{status}, a redirect to '{where}'; write that as url"
    if answer.is_server_error or answer.status_code in TRY_AGAIN:
        return f"{status}; wanted 2xx; check the server"
    return (
        f"{status}: {answer.text[:SHOWN]!r}; wanted 2xx; the server refuses this request for good, "
        "so this event and all later ones wait; mend the server, its rights or the token"
    )
