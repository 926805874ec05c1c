"""Bundles of the plant's hub, over HTTP; the hub is asked and never told anything.

- `GET {hub}/api/stations/{station}/bundles` gives the bundles this station may run, as JSON: a list
  of `{"bundle_id": "64 hex digits", "name": "...", "created_at": "2025-03-01T06:30:00Z"}`.
- `GET {hub}/api/bundles/{bundle_id}/{path}` gives one file of a bundle: `SHA256SUMS`,
  `signature.json`, `gate.json`, and every path that SHA256SUMS names.

Both answer 200 with the content, anything else is asked again later. Where the hub wants it, each
request carries `Authorization: Bearer TOKEN`.
"""

from pathlib import Path
from urllib.parse import quote

import httpx
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from inspection.core.config import Settings
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.secret import read_secret
from inspection.station.recipes.fetching import PIECE_BYTES, Offer, Pieces, SourceGone

TIMEOUT_S = 5  # of a connection, and of each silence
MOST_LIST_BYTES = 1_000_000


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
        self._client = httpx.Client(timeout=TIMEOUT_S)

    def offers(self) -> tuple[Offer, ...]:
        """Give the bundles the hub has for this station.

        Raises:
            SourceGone: it cannot be reached, or its answer is no list of bundles.
        """
        address = f"{self._address}/api/stations/{quote(self._station, safe='')}/bundles"
        answer = b"".join(self._get(address, most_bytes=MOST_LIST_BYTES))
        try:
            listed = OFFERS.validate_json(answer)
        except ValidationError as error:
            raise SourceGone(f"{address}: answers no list of bundles ({error})") from error
        return tuple(self._offer(one) for one in listed)

    def _offer(self, listed: HubOffer) -> Offer:
        address = f"{self._address}/api/bundles/{listed.bundle_id}"

        def read(name: str) -> Pieces:
            return self._get(f"{address}/{quote(name)}")

        return Offer(listed.bundle_id, listed.name, listed.created_at, address, read)

    def _get(self, address: str, most_bytes: float = float("inf")) -> Pieces:
        """Give the body of an answer, in pieces; the reader bounds it where none is given."""
        came = 0
        try:
            with self._client.stream("GET", address, headers=self._headers()) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise SourceGone(f"{address}: answered {answer.status_code}; wanted 200")
                for piece in answer.iter_bytes(PIECE_BYTES):
                    came += len(piece)
                    if came > most_bytes:
                        raise SourceGone(f"{address}: more than {most_bytes:,} bytes")
                    yield piece
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SourceGone(
                f"{address}: no answer ({type(error).__name__}: {error}); look at the network and "
                "at the hub"
            ) from error

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = read_secret(self._token_file)
        except OutputDown as error:
            raise SourceGone(str(error)) from error
        if not token.isascii():
            raise SourceGone(f"{self._token_file}: has other letters than ASCII; wanted a token")
        return {"Authorization": f"Bearer {token}"}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
