"""An HTTP server that takes the events of a webhook."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

from inspection.bench.faults.heard import Heard
from inspection.bench.faults.network import HOST, Network, free_port

Take = Callable[[int, str], None]
POLL_S = 0.01


class Receiver:
    """Listens on one port whenever it runs."""

    def __init__(self, take: Take) -> None:
        self._handler = _handler(take)
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        """Listen."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Listen no more."""
        self.stop()

    def start(self) -> None:
        """Listen, unless it does."""
        if self._server is None:
            self._server = server = ThreadingHTTPServer((HOST, self.port), self._handler)
            self._thread = Thread(target=server.serve_forever, args=(POLL_S,), name="receiver")
            self._thread.start()

    def stop(self) -> None:
        """Answer what came, then refuse connections."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


def _handler(take: Take) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            take(event["sequence"], event["event_id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Be quiet."""

    return Handler


class Webhook:
    """The receiver as a destination."""

    name = "webhook"
    safe, beat = None, 0

    def __init__(self, timeout_ms: int) -> None:
        self.heard = Heard()
        self._timeout_ms = timeout_ms
        self._receiver = Receiver(self.heard.take)
        self._network = Network(self._receiver.port)
        self.start, self.stop = self._receiver.start, self._receiver.stop
        self.go_dumb, self.heal = self._network.go_dumb, self._network.heal

    def __enter__(self) -> Self:
        """Listen."""
        self._receiver.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Be gone for good."""
        self._network.__exit__(*error)
        self._receiver.stop()

    @property
    def settings(self) -> dict[str, Any]:
        """The output as it stands in the station's configuration."""
        url = f"http://{HOST}:{self._network.port}"
        return {"kind": "webhook", "url": url, "timeout_ms": self._timeout_ms}
