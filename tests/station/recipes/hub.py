"""A hub that lends bundles and thresholds to stations over HTTP, and can break off, or drip."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import Deployment, Purpose, sign
from inspection.bundles.thresholds import SignedRecord


class Hub:
    """What the hub has, what was asked of it, and where it breaks off."""

    def __init__(self) -> None:
        self.bundles: dict[str, Path] = {}
        self.listed: list[Deployment] = []
        self.sends: list[dict[str, object]] | None = None
        """What it lists in place of its bundles."""
        self.station = "station-1"
        """The station it says its deployments are for."""
        self.records: list[object] = []
        """Its threshold records, as it lists them."""
        self.waits = True
        """Whether it knows long polling and ETags."""
        self.status = 200
        """What it answers to everything it has."""
        self.asked: list[str] = []
        """Paths of the requests, with their queries, in order."""
        self.standing = False
        """Whether a request waits for other content than it knows."""
        self.tokens: set[str | None] = set()
        self.breaks_off_at = ""
        """The file of which only the first half is sent."""
        self.drips_after = b""
        """What it answers at once, before a byte now and then; empty for a hub in order."""
        self.dripping, self.over = Flag(), Flag()
        self.address = ""

    def lend(
        self,
        bundle: Path,
        created_at: datetime | None = None,
        chosen_at: datetime | None = None,
    ) -> str:
        """Offer a bundle; gives its id."""
        bundle_id, card = verify_bundle(bundle), read_card(bundle)
        self.bundles[bundle_id] = bundle
        when = created_at or card.origin.created_at
        self.listed.append(
            Deployment(
                station=self.station,
                bundle_id=bundle_id,
                name=card.name,
                created_at=when,
                chosen_at=chosen_at,
            )
        )
        return bundle_id

    def choose(self, bundle: Path, chosen_at: datetime) -> str:
        """Offer a bundle instead of all others of its name, as after a person's choice."""
        name = read_card(bundle).name
        self.listed = [one for one in self.listed if one.name != name]
        return self.lend(bundle, chosen_at=chosen_at)

    def apply(self, record: SignedRecord) -> None:
        """Add a threshold record."""
        self.records = [*self.records, record.signed.model_dump()]

    def answer(self, path: str) -> bytes | None:
        """Give what lies at a path; none is 404."""
        path = urlsplit(path).path
        if path == "/v1/stations/station-1/thresholds":
            return json.dumps(self.records).encode()
        if path == "/v1/stations/station-1/bundles":
            return json.dumps(self.signed()).encode()
        bundle_id, _, name = path.removeprefix("/v1/bundles/").partition("/")
        file = self.bundles.get(bundle_id, Path()) / unquote(name)
        return file.read_bytes() if name and file.is_file() else None

    def signed(self) -> list[dict[str, object]]:
        """Give the list of bundles as it goes over the wire."""
        texts = (one.model_dump_json() for one in self.listed)
        if self.sends is not None:
            return self.sends
        return [sign(Purpose.DEPLOYMENT, text).model_dump() for text in texts]

    def awaited(self, path: str, known: str | None) -> tuple[int, bytes, str]:
        """Wait for other content than is known, as long as is asked for; status, content, ETag."""
        until = time.monotonic() + float(parse_qs(urlsplit(path).query).get("wait_s", ["0"])[0])
        while True:
            content = self.answer(path)
            etag = f'"{hashlib.sha256(content or b"").hexdigest()}"'
            if not self.waits or self.status != 200 or etag != known:
                self.standing = False
                return (404, b"", etag) if content is None else (self.status, content, etag)
            self.standing = True
            if time.monotonic() > until or self.over.wait(0.005):
                self.standing = False
                return 304, b"", etag


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Give a hub that listens on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if hub.drips_after:
                self.drip()
                return
            hub.tokens.add(self.headers.get("Authorization"))
            hub.asked.append(self.path)
            status, content, etag = hub.awaited(self.path, self.headers["If-None-Match"])
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if hub.waits:
                self.send_header("ETag", etag)
            self.end_headers()
            half = hub.breaks_off_at and self.path.endswith(f"/{hub.breaks_off_at}")
            self.wfile.write(content[: len(content) // 2] if half else content)

        def drip(self) -> None:
            self.close_connection = True
            with suppress(OSError):  # the station has hung up
                self.wfile.write(hub.drips_after)
                hub.dripping.set()
                while not hub.over.wait(0.02):
                    self.wfile.write(b"x")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.over.set()
            server.shutdown()
            thread.join()
