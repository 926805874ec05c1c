"""Sends requests to one HTTP server; every answer but success means that it is down."""

from pathlib import Path

import httpx

from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_secret

TRY_AGAIN = frozenset({408, 425, 429})  # and 5xx: the same request may be taken later
SHOWN = 200  # characters of an answer in an error


class Endpoint:
    """One address, with its bearer token and timeouts.

    Redirects are not followed: they would carry the token to an address nobody configured.
    """

    def __init__(self, url: str, token_file: Path | None, timeout_ms: int) -> None:
        self._url = url.rstrip("/")
        self._token_file = token_file
        self._timeout_ms = timeout_ms
        self._client: httpx.Client | None = None

    def open(self) -> None:
        """Begin anew: no old connection is used, and the token is read again.

        Raises:
            OutputDown: the token cannot be read.
        """
        self.close()
        headers = {}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {read_secret(self._token_file)}"
        self._client = httpx.Client(headers=headers, timeout=self._timeout_ms / 1000)

    def close(self) -> None:
        """Let the connections go."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def send(
        self, method: str, path: str, content: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        """Send one request to the address followed by `path`, and give the answer, a success.

        Raises:
            OutputDown: no answer in time, or any status but 2xx.
        """
        if self._client is None:
            raise OutputDown(f"{self._url}: not opened yet")
        where = f"{method} {self._url}{path}"
        try:
            answer = self._client.request(
                method, self._url + path, content=content, headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise OutputDown(
                f"{where}: no answer within {self._timeout_ms} ms "
                f"({type(error).__name__}: {error}); check address, network and server"
            ) from error
        if not answer.is_success:
            raise OutputDown(f"{where}: {_complaint(answer)}")
        return answer


def _complaint(answer: httpx.Response) -> str:
    status = f"status {answer.status_code}"
    if answer.is_redirect:
        return f"{status}, a redirect to '{answer.headers['Location']}'; write that as url"
    if answer.is_server_error or answer.status_code in TRY_AGAIN:
        return f"{status}; wanted 2xx; check the server"
    return (
        f"{status}: {answer.text[:SHOWN]!r}; wanted 2xx; the server refuses this request for good, "
        "so this event and all later ones wait; mend the server, its rights or the token"
    )
