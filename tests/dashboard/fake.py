"""A hub of canned answers for pages, and the page of a person who is logged in on it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
from pydantic import BaseModel
from streamlit.testing.v1 import AppTest

from inspection.dashboard.parts import session
from inspection.hub.client import HubClient
from inspection.hub.wire.people import Me, Role

Said = BaseModel | tuple[BaseModel, ...] | bytes | httpx.Response | None
Answer = Said | Callable[[httpx.Request], Said]
PAGE = "from inspection.dashboard.views.{} import page\npage()"


class FakeHub:
    """Answers (method, path) with a model, a tuple of models, bytes, a response, or nothing (204).

    A function is called with the request and gives one of these. What was asked stands in `asked`.
    """

    def __init__(self, answers: dict[tuple[str, str], Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[httpx.Request] = []

    def client(self) -> HubClient:
        """Give a client whose requests end here."""
        return HubClient("http://hub", "token", httpx.MockTransport(self._answer))

    def calls(self, method: str, path: str) -> list[dict]:
        """Give the bodies of the requests to one route, the first first."""
        return [
            json.loads(request.content or b"{}")
            for request in self.asked
            if (request.method, request.url.path) == (method, path)
        ]

    @contextmanager
    def served(self) -> Iterator[str]:
        """Answer on loopback, for what makes its own client; gives the address."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                url, headers = f"http://hub{self.path}", dict(self.headers)
                request = httpx.Request(self.command, url, headers=headers, content=content)
                said = fake._answer(request)
                self.send_response(said.status_code)
                self.send_header("Content-Length", str(len(said.content)))
                self.end_headers()
                self.wfile.write(said.content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        key = (request.method, request.url.path)
        if key not in self.answers:
            return refusal(404, f"{key}: no canned answer; add it to the test's FakeHub")
        said = self.answers[key]
        if callable(said) and not isinstance(said, BaseModel):
            said = said(request)
        return _response(said)


def refusal(status: int, error: str) -> httpx.Response:
    """Give what the hub says when it refuses."""
    return httpx.Response(status, json={"error": error})


def opened(name: str, hub: FakeHub, role: Role = Role.ENGINEER, line: str = "line-1") -> AppTest:
    """Give views/{name}.py as somebody of this role sees it, before its first run."""
    test = AppTest.from_string(PAGE.format(name), default_timeout=20)
    logged_in(test, hub, role)
    test.session_state[session.LINE] = line
    return test


def logged_in(test: AppTest, hub: FakeHub, role: Role = Role.ENGINEER) -> None:
    """Log somebody of this role in on a page or on the whole dashboard."""
    test.session_state[session.CLIENT] = hub.client()
    test.session_state[session.ME] = Me(account=f"{role}-1", role=role)


def answered(test: AppTest, opener: str, confirm: str, **typed: str) -> None:
    """Fill a dialog in and confirm it.

    Args:
        test: with the dialog open.
        opener: key of the button that opened it; a test runs the whole page, which shuts it.
        confirm: key of the button in it.
        typed: text of its fields by their keys, - written _.
    """
    for name, words in typed.items():
        test.text_input(key=name.replace("_", "-")).input(words)
    test.button(key=opener).click().run()
    test.button(key=opener).click()
    test.button(key=confirm).click().run()


def _response(said: Said) -> httpx.Response:
    if isinstance(said, httpx.Response):
        return said
    if said is None:
        return httpx.Response(204)
    if isinstance(said, bytes):
        return httpx.Response(200, content=said)
    if isinstance(said, BaseModel):
        return httpx.Response(200, content=said.model_dump_json())
    return httpx.Response(200, json=[one.model_dump(mode="json") for one in said])
