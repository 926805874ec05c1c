"""Bundles and threshold records of the plant's hub, over HTTP; here it is asked, never told.

- `GET {hub}/v1/stations/{station}/bundles` gives the bundles this station may run, as JSON: a list
  of signed texts, each a `Deployment` made for this very station. With `?challengers=true` the list
  holds bundles of role `challenger`, too, which only score in the shadow of the one of their name.
- `GET {hub}/v1/bundles/{bundle_id}/{path}` gives one file of a bundle: `SHA256SUMS`,
  `signature.json`, `gate.json`, and every path that SHA256SUMS names.
- `GET {hub}/v1/stations/{station}/thresholds?wait_s=N` gives all threshold records of this
  station, as JSON: a list of `{"text": "...", "signature": {"public_key": "...", "signature":
  "..."}}`. While they are those of `If-None-Match`, the hub waits up to N seconds for others.

All answer 200 with the content; anything else is asked again later. A list with an `ETag` is asked
for with `If-None-Match` from then on, which 304 answers where it did not change. Where the hub
wants it, each request carries `Authorization: Bearer TOKEN`. A hub that drips must not hold a
station that is to end, so every wait is asyncio's, which can be broken off wherever the request
stands.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from threading import Event as Flag
from typing import Annotated, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import FailFast, TypeAdapter, ValidationError

from inspection.bundles.signing import Deployment, Purpose, SignedText, check_signature
from inspection.core.errors import BundleError
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_token
from inspection.station.outputs.waiting import wait_until
from inspection.station.recipes.fetching import LIST_S, Offer, Pieces, SourceGone

SILENCE_S = 5  # the longest, of a connection too
FILE_S = 600  # the longest request for a file: 300 MB at 0.5 MB/s
MOST_LIST_BYTES = 8_000_000  # 10,000 threshold records; a list of bundles is far shorter
SHOWN = 200  # characters of what is wrong with an answer
NOT_KNOWN = {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}

T = TypeVar("T")


class HubSource:
    """The bundles one hub has for one station.

    Args:
        address: of the hub, http://… or https://….
        station: name of this station.
        trusted_keys: whose deployments it believes.
        token_file: file whose first line is the bearer token; none sends none.
    """

    def __init__(
        self,
        address: str,
        station: str,
        trusted_keys: tuple[str, ...],
        token_file: Path | None = None,
    ) -> None:
        self._address, self._link = address.rstrip("/"), _Link(token_file)
        self._station, self._trusted_keys = station, trusted_keys
        place = f"{self._address}/v1/stations/{quote(station, safe='')}/bundles?challengers=true"
        kind = TypeAdapter(Annotated[tuple[SignedText, ...], FailFast()])
        self._listed = _Listed(self._link, place, kind, "list of bundles")

    def offers(self, stop: Flag, /) -> tuple[Offer, ...]:
        """Give the bundles the hub has for this station.

        Raises:
            SourceGone: it cannot be reached, or its answer is no list of deployments for this
                station, signed by a trusted key.
        """
        return tuple(self._offer(one, stop) for one in self._listed.ask(stop, 0, LIST_S))

    def _offer(self, signed: SignedText, stop: Flag) -> Offer:
        listed = self._checked(signed)
        address = f"{self._address}/v1/bundles/{listed.bundle_id}"

        def read(name: str) -> Pieces:
            return self._link.pieces(f"{address}/{quote(name)}", stop)

        return Offer(
            listed.bundle_id,
            listed.name,
            listed.created_at,
            address,
            read,
            listed.chosen_at,
            shadow=listed.role == "challenger",
        )

    def _checked(self, signed: SignedText) -> Deployment:
        try:
            check_signature(
                Purpose.DEPLOYMENT,
                signed.text,
                signed.signature,
                self._trusted_keys,
                f"{self._address}: deployment",
            )
            deployment = Deployment.model_validate_json(signed.text)
        except BundleError as error:
            raise SourceGone(str(error)) from error
        except ValidationError as error:
            raise SourceGone(
                f"{self._address}: signed no deployment ({_first(error)}); update this station"
            ) from error
        if deployment.station != self._station:
            raise SourceGone(
                f"{self._address}: gave a deployment for station '{deployment.station}'; expected "
                f"one for '{self._station}'; look at who stands between"
            )
        return deployment

    def close(self) -> None:
        """Close the connections."""
        self._link.close()


class HubTexts:
    """The signed threshold records one hub has for one station; nobody has checked them yet.

    Args:
        address: of the hub, http://… or https://….
        station: name of this station.
        token_file: file whose first line is the bearer token; none sends none.
    """

    def __init__(self, address: str, station: str, token_file: Path | None = None) -> None:
        self.place = f"{address.rstrip('/')}/v1/stations/{quote(station, safe='')}/thresholds"
        """Where they come from, for people."""
        self._link = _Link(token_file)
        kind = TypeAdapter(Annotated[tuple[SignedText, ...], FailFast()])
        self._listed = _Listed(self._link, self.place, kind, "list of threshold records")

    def ask(self, stop: Flag, wait_s: int, most_s: float) -> tuple[SignedText, ...]:
        """Give all records, after waiting up to `wait_s` for others than were given last.

        Args:
            stop: the station is to end; the request ends with it.
            wait_s: how long the hub may wait for news, seconds.
            most_s: how long the request may take beyond that, seconds.

        Raises:
            SourceGone: the hub cannot be reached, or its answer is no list of signed records.
        """
        return self._listed.ask(stop, wait_s, most_s)

    def close(self) -> None:
        """Close the connections."""
        self._link.close()


class _Link:
    """Requests to one hub, from one thread at a time."""

    def __init__(self, token_file: Path | None) -> None:
        self._token_file = token_file
        transport = httpx.AsyncHTTPTransport()  # with one, httpx looks for no proxy
        self._client = httpx.AsyncClient(timeout=SILENCE_S, transport=transport)
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def pieces(self, address: str, stop: Flag) -> Pieces:
        """Give the body of an answer, as it comes; the reader bounds it.

        Raises:
            SourceGone: no answer in time, or another status than 200.
        """
        due_s = time.monotonic() + FILE_S
        coming = self._stream(address)
        try:
            with _explained(address, stop, FILE_S):
                while piece := self._runner.run(wait_until(anext(coming, b""), stop, due_s)):
                    yield piece
        finally:
            self._runner.run(coming.aclose())

    async def _stream(self, address: str) -> AsyncGenerator[bytes, None]:
        async with self._get(address, {}) as answer:
            _require_success(answer, address)
            async for piece in answer.aiter_raw():
                yield piece

    def changed(
        self, address: str, etag: str, stop: Flag, wait_s: int, most_s: float
    ) -> tuple[bytes, str] | None:
        """Give a list and its ETag, empty where it has none; none if the given one is still it.

        Raises:
            SourceGone: no answer in time, too long a one, or another status than 200 and 304.
        """
        asked = self._list(address, etag, wait_s)
        with _explained(address, stop, wait_s + most_s):
            return self._runner.run(wait_until(asked, stop, time.monotonic() + wait_s + most_s))

    async def _list(self, address: str, etag: str, wait_s: int) -> tuple[bytes, str] | None:
        query = f"?wait_s={wait_s}" if wait_s else ""
        headers = {"If-None-Match": etag} if etag else {}
        body = bytearray()
        async with self._get(address + query, headers, wait_s) as answer:
            if etag and answer.status_code == httpx.codes.NOT_MODIFIED:
                return None
            _require_success(answer, address)
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MOST_LIST_BYTES:
                    raise SourceGone(f"{address}: more than {MOST_LIST_BYTES:,} bytes")
            found = answer.headers.get("ETag", "")
        return bytes(body), found if found.isascii() else ""  # no header could carry it back

    def _get(
        self, address: str, headers: dict[str, str], wait_s: int = 0
    ) -> AbstractAsyncContextManager[httpx.Response]:
        timeout = httpx.Timeout(SILENCE_S, read=SILENCE_S + wait_s)
        headers = self._headers() | headers
        return self._client.stream("GET", address, headers=headers, timeout=timeout)

    def _headers(self) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}  # a small answer may unpack to any size
        if self._token_file is None:
            return plain
        try:
            return {**plain, "Authorization": f"Bearer {read_token(self._token_file)}"}
        except OutputDown as error:
            raise SourceGone(str(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._client.aclose())
        self._runner.close()


class _Listed(Generic[T]):
    """One list of a hub; while it does not change it is neither sent nor read again."""

    def __init__(
        self, link: _Link, address: str, kind: TypeAdapter[tuple[T, ...]], what: str
    ) -> None:
        self._link, self._address, self._kind, self._what = link, address, kind, what
        self._etag, self._last = "", tuple[T, ...]()

    def ask(self, stop: Flag, wait_s: int, most_s: float) -> tuple[T, ...]:
        """Give what is listed, after waiting up to `wait_s` for another list than the last.

        Raises:
            SourceGone: the hub cannot be reached, or its answer is no such list.
        """
        changed = self._link.changed(self._address, self._etag, stop, wait_s, most_s)
        if changed is not None:
            try:
                self._last = self._kind.validate_json(changed[0])
            except ValidationError as error:
                raise SourceGone(
                    f"{self._address}: answers no {self._what} ({_first(error)}); check that the "
                    "address is a hub"
                ) from error
            self._etag = changed[1]
        return self._last


@contextmanager
def _explained(address: str, stop: Flag, most_s: float) -> Iterator[None]:
    """Say of a request that failed why it did; raises SourceGone."""
    try:
        yield
    except TimeoutError as error:
        why = f"no whole answer within {most_s} s; look at the network and at the hub"
        raise SourceGone(f"{address}: {'the station ends' if stop.is_set() else why}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceGone(
            f"{address}: no answer ({type(error).__name__}: {error}); look at the network and "
            "at the hub"
        ) from error


def _first(error: ValidationError) -> str:
    """Say the first thing that is wrong: all of them may be a hundred times the answer's size."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:SHOWN]


def _require_success(answer: httpx.Response, address: str) -> None:
    if answer.status_code != httpx.codes.OK:
        remedy = (
            "; give the station a token the hub knows" if answer.status_code in NOT_KNOWN else ""
        )
        raise SourceGone(f"{address}: answered {answer.status_code}; wanted 200{remedy}")
