"""Bundles of the plant's hub, over HTTP; the hub is asked and never told anything.

- `GET {hub}/api/stations/{station}/bundles` gives the bundles this station may run, as JSON: a list
  of `{"bundle_id": "64 hex digits", "name": "...", "created_at": "2025-03-01T06:30:00Z"}`.
- `GET {hub}/api/bundles/{bundle_id}/{path}` gives one file of a bundle: `SHA256SUMS`,
  `signature.json`, `gate.json`, and every path that SHA256SUMS names.

Both answer 200 with the content, anything else is asked again later. Where the hub wants it, each
request carries `Authorization: Bearer TOKEN`. A hub that drips must not hold a station that is to
end, so every wait is asyncio's, which can be broken off wherever the request stands.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from threading import Event as Flag
from typing import TypeVar
from urllib.parse import quote

import httpx
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from inspection.core.config import Settings
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_secret
from inspection.station.recipes.fetching import Offer, Pieces, SourceGone

SILENCE_S = 5  # the longest, of a connection too
LIST_S = 10  # the longest request for a list
FILE_S = 600  # and for a file: 300 MB at 0.5 MB/s
LISTEN_S = 0.2  # between two looks whether the station is to end
MOST_LIST_BYTES = 1_000_000

T = TypeVar("T")


class HubOffer(Settings):
    """One bundle as the hub lists it."""

    bundle_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str
    created_at: AwareDatetime


OFFERS = TypeAdapter(tuple[HubOffer, ...])


class HubSource:
    """The bundles one hub has for one station.

    Args:
        address: of the hub, http://… or https://….
        station: name of this station.
        token_file: file whose first line is the bearer token; none sends none.
    """

    def __init__(self, address: str, station: str, token_file: Path | None = None) -> None:
        self._address, self._station, self._token_file = address.rstrip("/"), station, token_file
        self._client = httpx.AsyncClient(timeout=SILENCE_S)
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def offers(self, stop: Flag, /) -> tuple[Offer, ...]:
        """Give the bundles the hub has for this station.

        Raises:
            SourceGone: it cannot be reached, or its answer is no list of bundles.
        """
        address = f"{self._address}/api/stations/{quote(self._station, safe='')}/bundles"
        answer = b"".join(self._get(address, stop, LIST_S, MOST_LIST_BYTES))
        try:
            listed = OFFERS.validate_json(answer)
        except ValidationError as error:
            raise SourceGone(f"{address}: answers no list of bundles ({error})") from error
        return tuple(self._offer(one, stop) for one in listed)

    def _offer(self, listed: HubOffer, stop: Flag) -> Offer:
        address = f"{self._address}/api/bundles/{listed.bundle_id}"

        def read(name: str) -> Pieces:
            return self._get(f"{address}/{quote(name)}", stop, FILE_S)

        return Offer(listed.bundle_id, listed.name, listed.created_at, address, read)

    def _get(
        self, address: str, stop: Flag, most_s: float, most_bytes: float = float("inf")
    ) -> Pieces:
        """Give the body of an answer, as it comes; the reader bounds it where nothing is given."""
        came, due_s = 0, time.monotonic() + most_s
        coming = self._stream(address)
        try:
            while piece := self._runner.run(_wait(anext(coming, b""), stop, due_s)):
                came += len(piece)
                if came > most_bytes:
                    raise SourceGone(f"{address}: more than {most_bytes:,} bytes")
                yield piece
        except TimeoutError as error:
            why = f"no whole answer within {most_s} s; look at the network and at the hub"
            raise SourceGone(
                f"{address}: {'the station ends' if stop.is_set() else why}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceGone(
                f"{address}: no answer ({type(error).__name__}: {error}); look at the network and "
                "at the hub"
            ) from error
        finally:
            self._runner.run(coming.aclose())

    async def _stream(self, address: str) -> AsyncGenerator[bytes, None]:
        async with self._client.stream("GET", address, headers=self._headers()) as answer:
            if answer.status_code != httpx.codes.OK:
                raise SourceGone(f"{address}: answered {answer.status_code}; wanted 200")
            async for piece in answer.aiter_raw():
                yield piece

    def _headers(self) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}  # a small answer may unpack to any size
        if self._token_file is None:
            return plain
        try:
            token = read_secret(self._token_file)
        except OutputDown as error:
            raise SourceGone(str(error)) from error
        if not token.isascii():
            raise SourceGone(f"{self._token_file}: has other letters than ASCII; wanted a token")
        return {**plain, "Authorization": f"Bearer {token}"}

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._client.aclose())
        self._runner.close()


async def _wait(asked: Awaitable[T], stop: Flag, due_s: float) -> T:
    """Wait for the hub, but no longer than the station goes on and the request may take.

    Raises:
        TimeoutError: one of the two is over; what was asked for is broken off.
    """
    task = asyncio.ensure_future(asked)
    try:
        while not stop.is_set() and time.monotonic() < due_s:
            if (await asyncio.wait({task}, timeout=LISTEN_S))[0]:
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
