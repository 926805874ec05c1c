"""The hub's port under attack: slow heads, bodies of strangers, more than it has room for."""

import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from inspection.core import connections
from inspection.hub import limits
from inspection.hub.api import people
from inspection.hub.hub import open_hub
from inspection.hub.settings import LimitSettings
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from tests.hub.conftest import served
from tests.hub.test_limits import certificate
from tests.hub.test_service import SCRIPT, config, free_port

MB = 1_000_000
HALF = b"GET /healthz HTTP/1.1\r\nX-a: b"
FILES = 1_024  # what a shell gives a process


class Process:
    """A hub served by a process of its own, with the few files a shell allows."""

    def __init__(self, url: str, pid: int, log: Path) -> None:
        self.url, self.pid, self.log = url, pid, log
        self.place = ("127.0.0.1", int(url.rpartition(":")[2]))

    def memory_mb(self) -> float:
        """Give the most memory it ever had, MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1000

    def healthy(self) -> bool:
        """Say whether a new client is answered."""
        try:
            return httpx.get(f"{self.url}/healthz", timeout=20).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def process(folder: Path, url: str) -> Iterator[Process]:
    settings = config(folder, url, free_port())
    log = folder / "log"
    with log.open("w") as stderr:
        running = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, settings.model_dump_json()],
            stderr=stderr,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES)),
        )
        try:
            hub = Process(f"http://127.0.0.1:{settings.port}", running.pid, log)
            until = time.monotonic() + 60
            while not hub.healthy() and time.monotonic() < until and running.poll() is None:
                time.sleep(0.05)
            yield hub
        finally:
            running.kill()
            running.wait()


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process open more files than the hub may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(stack: ExitStack, place: tuple[str, int], sent: bytes = b"") -> socket.socket:
    client = stack.enter_context(socket.create_connection(place, 20))
    with suppress(OSError):  # the hub may have ended it
        client.sendall(sent)
    return client


def ended(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        while client.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_half_sent_heads_stop_nobody_and_fill_no_log(tmp_path, sqlite_url, many_files, sockets):
    """2,000 clients send half a head each; others are served, and all of them are sent away."""
    with process(tmp_path, sqlite_url) as hub:
        slow = [connect(sockets, hub.place, HALF) for _ in range(2_000)]
        assert [hub.healthy() for _ in range(3)] == [True] * 3
        until = time.monotonic() + 60
        while not all(map(ended, slow)) and time.monotonic() < until:
            time.sleep(0.2)
        assert all(map(ended, slow))
        assert hub.healthy()
    assert hub.log.stat().st_size < 20_000


def test_broken_requests_fill_no_log(tmp_path, sqlite_url, sockets):
    """Each is refused; the log says so sixty times a minute, and how many it left out."""
    with process(tmp_path, sqlite_url) as hub:
        for _ in range(300):
            client = connect(sockets, hub.place, b"\x16\x03\x01\r\n\r\n")
            assert b" 400 " in client.recv(1000)
            client.close()
        with httpx.Client(base_url=hub.url) as client:
            for _ in range(300):
                assert client.get("/v1/session").status_code == 401
    assert hub.log.stat().st_size < 60_000


def test_a_stranger_is_refused_before_his_body_is_read(tmp_path, sqlite_url, sockets):
    """29.7 MB of JSON without a token cost no memory; the head alone is answered."""
    body = b"[" + b"{}," * 9_900_000 + b"{}]"
    head = (
        b"POST /v1/events/x/corrections HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
    )
    with process(tmp_path, sqlite_url) as hub:
        before = hub.memory_mb()
        answer = connect(sockets, hub.place, head).recv(1000)
        assert answer.startswith(b"HTTP/1.1 401 ")
        for client in [connect(sockets, hub.place, head) for _ in range(4)]:
            with suppress(OSError):
                client.sendall(body)
            assert client.recv(1000).startswith(b"HTTP/1.1 401 ")
        assert hub.healthy()
        assert hub.memory_mb() - before < 20


def test_every_route_but_the_login_asks_who_comes_before_it_reads(sqlite_plant, sockets):
    """What the OpenAPI description lists below /v1 answers 401 to a head with no body behind it."""
    place = sqlite_plant.url.removeprefix("http://").split(":")
    paths = httpx.get(f"{sqlite_plant.url}/openapi.json").json()["paths"]
    asked = [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/") and (method, path.split("/")[2]) != ("post", "session")
    ]
    assert len(asked) > 50
    for method, path in asked:
        target = path.replace("{", "").replace("}", "")
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        client = connect(
            sockets, (place[0], int(place[1])), f"{head}Content-Length: 900\r\n\r\n".encode()
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 401 "), (method, path)
        client.close()


def test_bodies_share_a_budget_and_no_station_has_all_of_it(make_hub, sqlite_url, sockets):
    """Slow bodies of one station are refused beyond its share; another's events come through."""
    hub = make_hub(sqlite_url, limits=LimitSettings(events_mb=1.0, picture_mb=1.0))
    with served(hub) as plant:
        slow, good = plant.station_token("slow"), plant.station_token("good")
        host, port = plant.url.removeprefix("http://").split(":")
        head = (
            f"PUT /v1/events/e/pictures/a.png HTTP/1.1\r\nHost: a\r\nX-Content-SHA256: {'0' * 64}"
            f"\r\nAuthorization: Bearer {slow}\r\nContent-Length: {MB}\r\n\r\n"
        ).encode()
        share = limits.SHARE_MB
        clients = [
            connect(sockets, (host, int(port)), head + b"x" * 990_000)
            for _ in range(int(share) + 10)
        ]
        until = time.monotonic() + 20
        refused: list[bytes] = []
        while len(refused) < 5 and time.monotonic() < until:
            for client in clients:
                client.settimeout(0.01)
                with suppress(TimeoutError, OSError):
                    refused.append(client.recv(100))
        assert len(refused) >= 5
        assert {one.partition(b"\r\n")[0] for one in refused} == {
            b"HTTP/1.1 503 Service Unavailable"
        }
        answer = httpx.post(
            f"{plant.url}/v1/events", json=[], headers={"Authorization": f"Bearer {good}"}
        )
        assert answer.status_code == 200
        for client in clients:
            client.close()
        until = time.monotonic() + 20
        while (status := _fits(plant.url, slow)) != 422 and time.monotonic() < until:
            time.sleep(0.05)
        assert status == 422  # the hash differs: the body was taken, so its share is free again


def _fits(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "X-Content-SHA256": "0" * 64}
    path = f"{url}/v1/events/e/pictures/a.png"
    return httpx.put(path, content=b"x" * MB, headers=headers).status_code


def test_json_of_many_small_values_is_refused(sqlite_plant):
    """Each of them takes tens of bytes of memory for three of the body."""
    token = sqlite_plant.station_token()
    body = b"[" + b"{}," * 900_000 + b"{}]"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for path in ("/v1/events", "/v1/events/e/corrections"):
        answer = httpx.post(sqlite_plant.url + path, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (
            413,
            {"error": "the body holds too many JSON values; send fewer at once"},
        )


def test_a_login_is_small_and_quick(sqlite_plant, monkeypatch, sockets):
    """Whoever has not said who he is holds little of the hub, and not for long."""
    monkeypatch.setattr(limits, "LOGIN_S", 0.3)
    url = f"{sqlite_plant.url}/v1/session"
    assert httpx.post(url, content=b" " * 40_000).status_code == 413
    host, port = sqlite_plant.url.removeprefix("http://").split(":")
    client = connect(
        sockets,
        (host, int(port)),
        b"POST /v1/session HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n{",
    )
    assert b" 408 " in client.recv(1000).splitlines()[0]


def test_many_logins_at_once_hold_up_no_station(make_hub, sqlite_url, monkeypatch):
    """Passwords are slow to check by design; events have threads of their own meanwhile."""
    hub, free = make_hub(sqlite_url, limits=LimitSettings(logins=1000)), threading.Event()
    monkeypatch.setattr(people, "log_in", lambda *_: free.wait(20) and None)
    with served(hub) as plant:
        token = plant.station_token()

        def log_in(number: int) -> None:
            body = {"account": f"a{number}", "password": "x"}
            httpx.post(f"{plant.url}/v1/session", json=body, timeout=60)

        threads = [threading.Thread(target=log_in, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        try:
            headers = {"Authorization": f"Bearer {token}"}
            answer = httpx.post(f"{plant.url}/v1/events", json=[], headers=headers, timeout=15)
            assert answer.status_code == 200
        finally:
            free.set()
            for thread in threads:
                thread.join(60)


def test_files_of_the_database_are_for_the_hub_only(tmp_path):
    """Whatever the umask of the process, the WAL too."""
    old = os.umask(0)
    try:
        hub = open_hub(config(tmp_path, f"sqlite:///{tmp_path}/hub.sqlite", 1))
        enrol(hub, NewStation(station="s", line="l"), "test")
        modes = {
            path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("hub.sqlite*")
        }
        hub.close()
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm"), "0o600")


def test_clients_that_never_shake_hands_shut_nobody_out(
    make_hub, sqlite_url, tmp_path, monkeypatch, sockets
):
    """They count from their acceptance on, go for new clients, and are ended in time."""
    monkeypatch.setattr(connections, "HEAD_S", 1.0)
    tls = certificate(tmp_path)
    trusted = ssl.create_default_context(cafile=str(tls.certificate))
    with served(make_hub(sqlite_url, tls=tls)) as plant:
        url = plant.url.replace("http:", "https:")
        place = ("127.0.0.1", int(url.rpartition(":")[2]))
        silent = [connect(sockets, place) for _ in range(300)]  # one address has 250 places
        assert httpx.get(f"{url}/healthz", verify=trusted, timeout=20).status_code == 200
        until = time.monotonic() + 20
        while not all(map(ended, silent)) and time.monotonic() < until:
            time.sleep(0.1)
        assert all(map(ended, silent))


@pytest.mark.parametrize("host", [b"[", b"a b", b"a\xff", b"", b"x" * 5000])
def test_no_host_makes_a_mistake_of_ours(sqlite_plant, sockets, host):
    """Whatever a client calls the hub, it is answered or refused."""
    token = sqlite_plant.station_token().encode()
    place = ("127.0.0.1", int(sqlite_plant.url.rpartition(":")[2]))
    for target in (b"/v1/events", b"/healthz", b"/nowhere", b"/v1/events/"):
        client = connect(
            sockets,
            place,
            b"GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n"
            % (target, host, token),
        )
        status = int(client.recv(1000).split()[1])
        assert status < 500, (target, host)
        client.close()
