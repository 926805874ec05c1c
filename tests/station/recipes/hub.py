"""A hub that lends bundles to stations over HTTP, and can break off in a file, or drip."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from urllib.parse import unquote

from inspection.bundles.bundle import read_card
from inspection.bundles.seal import verify_bundle


class Hub:
    """What the hub has, what was asked of it, and where it breaks off."""

    def __init__(self) -> None:
        self.bundles: dict[str, Path] = {}
        self.listed: list[dict[str, object]] = []
        self.asked: list[str] = []
        """Paths of the requests, in order."""
        self.tokens: set[str | None] = set()
        self.breaks_off_at = ""
        """The file of which only the first half is sent."""
        self.drips_after = b""
        """What it answers at once, before a byte now and then; empty for a hub in order."""
        self.dripping, self.over = Flag(), Flag()
        self.address = ""

    def lend(self, bundle: Path, created_at: datetime | None = None) -> str:
        """Offer a bundle; gives its id."""
        bundle_id, card = verify_bundle(bundle), read_card(bundle)
        self.bundles[bundle_id] = bundle
        when = created_at or card.origin.created_at
        self.listed.append(
            {"bundle_id": bundle_id, "name": card.name, "created_at": when.isoformat()}
        )
        return bundle_id

    def answer(self, path: str) -> bytes | None:
        """Give what lies at a path; none is 404."""
        self.asked.append(path)
        if path == "/api/stations/station-1/bundles":
            return json.dumps(self.listed).encode()
        bundle_id, _, name = path.removeprefix("/api/bundles/").partition("/")
        file = self.bundles.get(bundle_id, Path()) / unquote(name)
        return file.read_bytes() if name and file.is_file() else None


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
            content = hub.answer(self.path)
            self.send_response(404 if content is None else 200)
            content = content or b""
            self.send_header("Content-Length", str(len(content)))
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
