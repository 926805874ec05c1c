"""The dashboard's address as a process serves it: who may name it, speak to it and frame it."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from inspection.bench.faults.network import free_port
from inspection.core.connections import SHARE
from inspection.core.limits import MAX_BROWSER_CONNECTIONS, MAX_CLIENT_BYTES, MAX_PAGES_OF_ONE
from inspection.dashboard.settings import DashboardConfig
from tests.browser.plant import answers, process, wait_for
from tests.calls import watched

PAGES = ("/", "/review", "/static/none.js", "/_stcore/health", "/_stcore/host-config", "/media/a")
COMPONENT = "/component/streamlit_image_coordinates.streamlit_image_coordinates/index.html"
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@dataclass(frozen=True)
class Running:
    """A dashboard on loopback, whose hub is away."""

    port: int
    calls: Callable[[], list[str]]

    @property
    def own(self) -> str:
        """What a browser says for Host and behind the Origin's scheme."""
        return f"127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        """Send one request."""
        return httpx.request(method, f"http://{self.own}{path}", headers=headers, timeout=30)

    def knock(self, **headers: str) -> httpx.Response:
        """Ask for a page's web socket; 101 opens it, and it is closed at once."""
        return self.ask("GET", "/_stcore/stream", **HANDSHAKE, **headers)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve the dashboard under two names."""
    folder, port = tmp_path_factory.mktemp("border"), free_port()
    (folder / "dashboard.yaml").write_text(
        f"port: {port}\nnames: [dashboard.plant.example, '2001:db8::1']\n"
    )
    with (
        watched(folder) as calls,
        process(folder / "dashboard.log", "dashboard", "--config", str(folder / "dashboard.yaml")),
    ):
        one = Running(port, calls)
        wait_for(lambda: answers(f"http://{one.own}/_stcore/health"), "no dashboard")
        yield one


@pytest.mark.parametrize(
    "origin",
    [
        "https://elsewhere.example",
        "http://localhost:1",
        "http://127.0.0.1:1",
        "http://0.0.0.0",
        "null",
        "http://[",
        "",
    ],
)
def test_a_foreign_page_opens_no_page_and_nobody_is_called(running: Running, origin: str):
    """Another port of this machine is another page, too."""
    answer = running.knock(Origin=origin)
    assert (answer.status_code, running.calls()) == (403, [])
    assert answer.text.startswith("the Origin of this request is another page; expected the Host")


def test_the_dashboards_own_page_opens(running: Running):
    """By loopback and by each of its names; a program says no Origin."""
    known = ("dashboard.plant.example", f"localhost:{running.port}", "[2001:db8::1]", "[::1]:80")
    for host in (running.own, *known):
        assert running.knock(Host=host, Origin=f"http://{host}").status_code == 101
    assert running.knock().status_code == 101
    assert running.calls() == []


@pytest.mark.parametrize(
    "host",
    ["elsewhere.example", "127.0.0.1.elsewhere.example", "192.0.2.1", "a@127.0.0.1", "[", ""],
)
def test_a_name_somebody_else_gave_this_address_is_refused(running: Running, host: str):
    """A page of elsewhere.example cannot make its name lead here and read what is served."""
    for path in PAGES:
        assert running.ask("GET", path, Host=host).status_code == 400, path
    assert running.knock(Host=host, Origin=f"http://{host}").status_code in {400, 403}


def test_no_page_stands_in_a_frame(running: Running):
    """Each answer says so, a refusal, too; a component stands in a page of the dashboard only."""
    refused = running.ask("GET", "/", Host="elsewhere.example")
    for answer in (*(running.ask("GET", path) for path in PAGES), refused):
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"].endswith("frame-ancestors 'none'")
    component = running.ask("GET", COMPONENT)
    assert component.headers["x-frame-options"] == "SAMEORIGIN"
    assert component.headers["content-security-policy"].endswith("frame-ancestors 'self'")


def test_a_page_fetches_nothing_from_elsewhere(running: Running):
    """Scripts, pictures and data come from the dashboard alone."""
    policy = running.ask("GET", "/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:;")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/_stcore/upload_file/a/b"),
        ("DELETE", "/_stcore/upload_file/a/b"),
        ("POST", "/_stcore/agent/interact"),
        ("POST", "/"),
        ("GET", "/session"),
    ],
)
def test_nothing_is_taken_that_no_page_sends(running: Running, method: str, path: str):
    """Uploads would be kept in memory."""
    assert running.ask(method, path).status_code == 405


def test_the_pages_of_one_address_are_bounded(running: Running):
    """The next is told; one that closes makes room; another address is not kept out."""
    asked = f"GET /_stcore/stream HTTP/1.1\r\nHost: {running.own}\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in HANDSHAKE.items()
    )
    opened = []
    try:
        for _ in range(MAX_PAGES_OF_ONE):
            opened.append(socket.create_connection(("127.0.0.1", running.port), timeout=30))
            opened[-1].sendall(asked.encode() + b"\r\n")
            assert opened[-1].recv(12) == b"HTTP/1.1 101"
        refused = running.knock()
        assert refused.status_code == 503
        assert f"or {MAX_PAGES_OF_ONE} from your address" in refused.text
        elsewhere = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"))
        with elsewhere:
            page = f"http://{running.own}/_stcore/stream"
            assert elsewhere.get(page, headers=HANDSHAKE, timeout=30).status_code == 101
    finally:
        for one in opened:
            one.close()
    wait_for(lambda: running.knock().status_code == 101, "no page is closed")


def test_a_message_of_a_page_is_bounded(running: Running):
    """What people type and click is small; more ends the page before it is in memory."""
    with connect(f"ws://{running.own}/_stcore/stream", open_timeout=30) as page:
        page.send(bytes(MAX_CLIENT_BYTES + 1))
        with pytest.raises(ConnectionClosed) as ended:
            page.recv(30)
    assert ended.value.rcvd.code == 1009


def test_half_sent_heads_keep_nobody_out(running: Running):
    """A quarter of the places is all one address gets; the oldest that ask nothing go."""
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=30))
            for _ in range(MAX_BROWSER_CONNECTIONS // SHARE + 8)
        ]
        assert running.ask("GET", "/_stcore/health").status_code == 200
        for one in opened[:8]:
            assert one.recv(1) == b""


@pytest.mark.fast
@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_every_address_of_a_machine_is_no_name_of_it(host: str):
    """Who listens on all says how people call the dashboard."""
    with pytest.raises(ValueError, match="no names say by which people open the page"):
        DashboardConfig(host=host, exposed=True)
    named = DashboardConfig(host=host, exposed=True, names=("one.example",))
    assert named.hosts[0] == "one.example"


@pytest.mark.fast
@pytest.mark.parametrize("name", ["*", "*.example", "http://one.example", "One", "one example", ""])
def test_a_name_is_a_name(name: str):
    """No pattern, no address with a scheme."""
    with pytest.raises(ValueError, match="should match pattern"):
        DashboardConfig(names=(name,))
