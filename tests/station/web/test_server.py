import errno
import logging
import resource
import socket
import ssl
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread, active_count

import httpx
import pytest

from inspection.core import connections
from inspection.core.decision import Verdict
from inspection.core.errors import StationError
from inspection.core.limits import MAX_CONNECTIONS
from inspection.station.settings import WebSettings
from inspection.station.state import StationState, StationStatus
from inspection.station.web import server as server_module
from inspection.station.web.pulse import silent_after_s
from tests.hub.test_limits import certificate
from tests.station.events import event
from tests.station.web.serving import Station, free_port, served, server_of


def wait_for(client: httpx.Client, path: str, code: int) -> httpx.Response:
    """Ask until the station answers so, or give its last answer after twenty seconds."""
    until = time.monotonic() + 20
    while True:
        reply = client.get(path)
        if reply.status_code == code or time.monotonic() > until:
            return reply
        time.sleep(0.05)


def test_an_answer_does_not_wait_for_acknowledgements(tmp_path: Path):
    """On one connection it did, 40 ms each; on a new one the client acknowledges at once."""
    with served(Station(), tmp_path) as (_, client):
        base = str(client.base_url)
        kept, new = [], []
        for _ in range(9):
            new.append(httpx.get(f"{base}/healthz").elapsed.total_seconds())
            kept.append(client.get("/healthz").elapsed.total_seconds())
        assert statistics.median(kept) < 4 * statistics.median(new)


def test_health_is_200_only_while_ready(tmp_path: Path):
    """Every other state is 503 with the state and its reason."""
    station = Station()
    with served(station, tmp_path) as (_, client):
        assert client.get("/healthz").json() == {"state": "READY", "reason": ""}
        for state in set(StationState) - {StationState.READY}:
            station.state = state
            until = time.monotonic() + 20
            while client.get("/healthz").json()["state"] != state and time.monotonic() < until:
                time.sleep(0.05)
            reply = client.get("/healthz")
            assert (reply.status_code, reply.json()) == (
                503,
                {"state": state, "reason": "camera unplugged"},
            )


def test_health_says_when_the_heartbeat_stands_still(tmp_path: Path):
    """A READY of a heart that stands still is no READY, and recovers with the heart."""
    station = Station()
    with served(station, tmp_path) as (_, client):
        station.beats = False
        reply = wait_for(client, "/healthz", 503)
        assert reply.json()["state"] == "SILENT"
        assert "no heartbeat for 2 s" in reply.json()["reason"]
        assert client.get("/status.json").headers["age"] == "2"
        station.beats = True
        assert wait_for(client, "/healthz", 200).json()["state"] == "READY"


@pytest.mark.fast
def test_slow_heartbeat_is_no_silence():
    """Three heartbeats may be missing, and always two seconds: a busy machine is not dead."""
    assert (silent_after_s(50), silent_after_s(500), silent_after_s(60_000)) == (2, 2, 180)


def test_status_is_the_snapshot(tmp_path: Path):
    """/status.json is a StationStatus that a program can read back."""
    with served(Station(last=(event(7, Verdict.FAULT),)), tmp_path) as (_, client):
        reply = client.get("/status.json")
        read = StationStatus.model_validate_json(reply.text)
    assert (read.state, read.last[0].part_id) == (StationState.READY, "part-7")
    assert reply.headers["cache-control"] == "no-store"


def test_page_takes_nothing_from_elsewhere(tmp_path: Path):
    """The page, its style and its script come from the station, and the browser is told so."""
    with served(Station(), tmp_path) as (_, client):
        page, style, script = (client.get(path) for path in ("/", "/page.css", "/page.js"))
    assert "http" not in page.text.replace("</html>", "") + style.text + script.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 's")
    assert 'data-silent-ms="2000"' in page.text
    assert [one.headers["content-type"] for one in (page, style, script)] == [
        "text/html; charset=utf-8",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
    ]


def test_kept_pictures_are_served(tmp_path: Path):
    """A picture comes as its bytes and type; one that the budget took is 404."""
    folder = tmp_path / "pictures" / "REJECT"
    folder.mkdir(parents=True)
    (folder / "0000000007-main-overlay.png").write_bytes(b"pixels")
    with served(Station(), tmp_path) as (_, client):
        kept = client.get("/pictures/REJECT/0000000007-main-overlay.png")
        gone = client.get("/pictures/REJECT/0000000008-main-overlay.png")
    assert (kept.status_code, kept.content) == (200, b"pixels")
    assert kept.headers["content-type"] == "image/png"
    assert (gone.status_code, gone.json()["error"]) == (
        404,
        "no such picture; it may have been dropped",
    )


@pytest.mark.parametrize(
    "path",
    [
        "PASS/../../events.png",
        "PASS/%2e%2e/%2e%2e/events.png",
        "PASS/..%2f..%2fevents.png",
        "PASS/%2fetc%2fpasswd.png",
        "PASS/.hidden.png",
        "PASS/link.png",
        "PASS/folder.png",
        "PASS/a%00.png",
        "PASS/notes.txt",
        "../events.png",
        "OTHER/a.png",
    ],
)
def test_pictures_lead_nowhere_else(tmp_path: Path, path: str):
    """No name, encoded or not, and no link leads out of the folder or to another kind of file."""
    folder = tmp_path / "pictures" / "PASS"
    (folder / "folder.png").mkdir(parents=True)
    for secret in (tmp_path / "events.png", folder / ".hidden.png", folder / "notes.txt"):
        secret.write_bytes(b"secret")
    (folder / "link.png").symlink_to(tmp_path / "events.png")
    with served(Station(), tmp_path) as (_, client):
        url = client.base_url.copy_with(raw_path=b"/pictures/" + path.encode())
        assert client.get(url).status_code == 404


def test_taken_port_is_named(tmp_path: Path):
    """A port in use is an error with the remedy, and the server that has it goes on."""
    port = free_port()
    with server_of(Station(), tmp_path, port):
        with pytest.raises(
            StationError, match=rf"port {port} \(Address already in use\); expected a free port"
        ):
            server_of(Station(), tmp_path, port).start()
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


def not_up(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    """Let this machine have its addresses only after some tries to listen."""
    monkeypatch.setattr(server_module, "RETRY_S", 0.01)
    listen, tried = socket.create_server, []

    def create_server(*args, **kwargs):
        tried.append(args)
        if len(tried) <= tries:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return listen(*args, **kwargs)

    monkeypatch.setattr(server_module.socket, "create_server", create_server)


def test_address_that_is_not_up_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """A station that is up before its network serves its page once the address is there."""
    port = free_port()
    not_up(monkeypatch, 4)
    with server_of(Station(), tmp_path, port):
        until = time.monotonic() + 20
        code = 0
        while code != 200 and time.monotonic() < until:
            with suppress(httpx.ConnectError):
                code = httpx.get(f"http://127.0.0.1:{port}/healthz").status_code
    assert code == 200
    assert [
        record.message for record in caplog.records if record.name == server_module.__name__
    ] == ["web address is not up yet; the station has no page until it is"]


def test_server_without_an_address_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Waiting for the network holds up no stop."""
    port = free_port()
    not_up(monkeypatch, 10**9)
    server = server_of(Station(), tmp_path, port)
    server.start()
    server.stop()


def test_server_leaves_nothing_behind(tmp_path: Path):
    """After stop the port is free at once, for the next start, and no thread is left."""
    threads, port = active_count(), free_port()
    for _ in range(3):
        with server_of(Station(), tmp_path, port):
            assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/healthz")
    until = time.monotonic() + 10
    while active_count() > threads and time.monotonic() < until:
        time.sleep(0.02)
    assert active_count() <= threads


def test_server_that_never_started_can_be_stopped(tmp_path: Path):
    """Stopping is right whatever came before."""
    server_of(Station(), tmp_path, free_port()).stop()


def test_waiting_clients_hold_up_nobody(tmp_path: Path):
    """More half-open requests than connections are let in, and the station answers all the same."""
    with served(Station(), tmp_path) as (_, client):
        where = client.base_url.host, client.base_url.port
        lingering = []
        try:
            for _ in range(MAX_CONNECTIONS + 50):
                lingering.append(socket.create_connection(where, timeout=10))
                lingering[-1].sendall(b"GET /status.json HT")
            assert client.get("/healthz").status_code == 200
        finally:
            for one in lingering:
                one.close()


def test_client_that_asks_nothing_is_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A request head that never ends ends the connection, also after a good request."""
    monkeypatch.setattr(connections, "HEAD_S", 0.2)
    with served(Station(), tmp_path) as (_, client):
        where = client.base_url.host, client.base_url.port
        for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection(where, timeout=20) as slow:
                slow.sendall(before + b"GET /status.json HT")
                with suppress(ConnectionResetError):
                    while slow.recv(4096):
                        pass


def resident_mb() -> float:
    """Give the memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def picture(data_dir: Path, size: int) -> str:
    """Keep a picture of some bytes; gives its path."""
    folder = data_dir / "pictures" / "REJECT"
    folder.mkdir(parents=True)
    (folder / "7.png").write_bytes(b"x" * size)
    return "/pictures/REJECT/7.png"


def never_reading(client: httpx.Client, path: str) -> socket.socket:
    """Ask for something without taking it."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(20)
    reader.connect((client.base_url.host, client.base_url.port))
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return reader


def test_clients_that_never_read_take_no_memory(tmp_path: Path):
    """A picture is sent as it is taken: forty clients that take nothing hold no forty pictures."""
    path = picture(tmp_path, 16_000_000)
    with served(Station(), tmp_path) as (_, client):
        assert client.get(path).content == b"x" * 16_000_000
        before_mb = resident_mb()
        readers = [never_reading(client, path) for _ in range(40)]
        for _ in range(10):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.1)
        held_mb = resident_mb() - before_mb
        for reader in readers:
            reader.close()
    assert held_mb < 100


@pytest.mark.parametrize("size", [10_000, 16_000_000], ids=["small", "large"])
def test_client_that_never_reads_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
):
    """An answer that nobody takes ends its connection, and the station goes on."""
    monkeypatch.setattr(connections, "WRITE_S", 0.2)
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    path = picture(tmp_path, size)
    with served(Station(), tmp_path) as (server, client):
        with never_reading(client, path):
            wait_until(lambda: len(server._server.server_state.connections) == 1)
            wait_until(lambda: not server._server.server_state.connections)
        assert client.get("/healthz").status_code == 200


def wait_until(true: Callable[[], bool]) -> None:
    """Wait for at most twenty seconds."""
    until = time.monotonic() + 20
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    assert true()


def test_requests_that_queue_behind_an_answer_nobody_reads_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Hundreds of requests on one connection are no way around the limit."""
    monkeypatch.setattr(connections, "WRITE_S", 0.2)
    with served(Station(), tmp_path) as (server, client):
        with never_reading(client, "/page.js") as reader:
            reader.sendall(b"GET /page.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000)
            wait_until(lambda: bool(server._server.server_state.connections))
            wait_until(lambda: not server._server.server_state.connections)
        assert client.get("/healthz").status_code == 200


FOREIGN = [
    "evil.example",
    "evil.example:8090",
    "localhost.evil.example",
    "[",
    "[::1",
    "",
    "a b",
    "ä",
]


@pytest.mark.parametrize("host", [*FOREIGN, "192.168.0.10"])
def test_foreign_host_is_refused(tmp_path: Path, host: str):
    """A page whose name was made to mean this machine reads nothing here."""
    with served(Station(), tmp_path) as (_, client):
        for path in ("/", "/status.json", "/metrics", "/nothing"):
            reply = client.get(path, headers={"Host": host.encode()})
            assert (reply.status_code, reply.text) == (400, "Invalid host header")


def test_own_hosts_are_answered(tmp_path: Path):
    """Under each name of loopback, and under those that the configuration lists."""
    own = ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8090", "[::1]:8090"]
    with served(Station(), tmp_path, names=("station-7.plant.example", "192.168.0.10")) as (
        _,
        client,
    ):
        for host in (*own, "station-7.plant.example:8090", "192.168.0.10"):
            assert client.get("/healthz", headers={"Host": host}).status_code == 200
        for host in (*FOREIGN, "plant.example", "other.plant.example"):
            assert client.get("/healthz", headers={"Host": host.encode()}).status_code == 400


def test_station_on_every_address_lists_its_names():
    """Nobody could tell its names from a stranger's."""
    with pytest.raises(ValueError, match=r"no names say by which people open the page; expected"):
        WebSettings(host="0.0.0.0", exposed=True)
    assert WebSettings(host="192.168.0.10", exposed=True).hosts[0] == "192.168.0.10"


def test_station_with_a_certificate_speaks_tls_only(tmp_path: Path):
    """Its limits hold there, too."""
    tls = certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=str(tls.certificate))
    with served(Station(), tmp_path, tls=tls) as (_, client):
        base = str(client.base_url).replace("http", "https", 1)
        with httpx.Client(verify=trusted, base_url=base) as secret:
            assert secret.get("/healthz").status_code == 200
            assert secret.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
        with pytest.raises(httpx.TransportError):
            client.get("/healthz")


def test_every_answer_protects_itself(tmp_path: Path):
    """No answer may be framed, guessed at or kept, refusals included."""
    with served(Station(), tmp_path) as (_, client):
        for method, path, host, status in (
            ("GET", "/", "localhost", 200),
            ("GET", "/status.json", "localhost", 200),
            ("GET", "/nothing", "localhost", 404),
            ("POST", "/", "localhost", 405),
            ("GET", "/", "evil.example", 400),
        ):
            reply = client.request(method, path, headers={"Host": host})
            assert reply.status_code == status
            assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]
            assert reply.headers["x-frame-options"] == "DENY"
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /%ff%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /pictures/PASS/%ff.png HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_odd_requests_are_no_error_of_the_station(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, asked: bytes
):
    """Each is answered as the client's mistake, and no traceback stands in the log."""
    with served(Station(), tmp_path) as (_, client):
        where = client.base_url.host, client.base_url.port
        with socket.create_connection(where, timeout=20) as odd:
            odd.sendall(asked)
            assert odd.recv(4096)[:10] in {b"HTTP/1.1 2", b"HTTP/1.1 4"}
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


def test_stop_does_not_wait_for_clients(tmp_path: Path):
    """Half-open requests end with the station, not the other way round."""
    port = free_port()
    server = server_of(Station(), tmp_path, port)
    server.start()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        slow.sendall(b"GET /status.json HT")
        httpx.get(f"http://127.0.0.1:{port}/healthz")
        stopping = Thread(target=server.stop)
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive()


def test_metrics_are_those_of_the_snapshot(tmp_path: Path):
    """Prometheus reads the snapshot, and the latency of every event the station observed."""
    with served(Station(waiting=3), tmp_path) as (server, client):
        server.observe(event(1, latency_ms=30.0))
        reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert "inspection_queue_parts 3.0" in reply.text
    assert 'inspection_latency_seconds_bucket{le="0.05"} 1.0' in reply.text


def test_station_that_reports_no_more_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A snapshot that cannot be taken ends in the log and as silence, never as an old READY."""

    class Broken(Station):
        def __call__(self) -> StationStatus:
            if self.beat > 5:
                raise RuntimeError("snapshot broken")
            return super().__call__()

    with caplog.at_level(logging.ERROR), served(Broken(), tmp_path) as (_, client):
        assert wait_for(client, "/healthz", 503).json()["state"] == "SILENT"
    assert "RuntimeError: snapshot broken" in caplog.text
