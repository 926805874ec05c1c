"""Connections of a web server: how many, from where, and how long a client may keep it waiting."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import uvicorn

from inspection.core import connections as module
from inspection.core.connections import Connections, host_of

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"
GOOD = HEAD + b"\r\n"
LARGE = 30_000_000  # bytes of an answer: no kernel keeps so much for a client


async def app(scope, receive, send) -> None:
    """Answer /large with many bytes, /body when a body has come, anything else at once."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    if scope["type"] != "http":
        return
    if dict(scope["headers"]).get(b"authorization"):
        scope["state"]["actor"] = "ann"
    while scope["path"] == "/body" and (await receive()).get("more_body"):
        pass
    body = b"x" * LARGE if scope["path"] == "/large" else b"fine"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(most: int) -> Iterator[int]:
    """Serve `app` with so many connections at most; gives the port."""
    connections = Connections(most)
    config = uvicorn.Config(
        app, http=connections.protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with connections.listen("127.0.0.1", 0, 128) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(10)


class Clients(ExitStack):
    """Opens connections to a port, and closes them all at the end."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    def open(self, sent: bytes = b"", host: str = "127.0.0.1") -> socket.socket:
        """Connect from an address of loopback and send something."""
        place = ("127.0.0.1", self.port)
        client = self.enter_context(socket.create_connection(place, 20, source_address=(host, 0)))
        client.sendall(sent)
        return client


def ended(client: socket.socket, within_s: float = 20) -> bool:
    """Say whether the server ends a connection in time, whatever it answers before."""
    client.settimeout(within_s)
    try:
        while client.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def is_open(client: socket.socket) -> bool:
    """Say whether a connection stands and nothing was answered."""
    client.settimeout(0.05)
    try:
        return bool(client.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def answer(client: socket.socket) -> bytes:
    """Give the first line of a short answer; nothing when the connection ends without one."""
    client.settimeout(20)
    received = b""
    with suppress(OSError):
        while not received.endswith(b"fine") and (piece := client.recv(65_536)):
            received += piece
    return received.partition(b"\r\n")[0]


OK = b"HTTP/1.1 200 OK"


def test_a_head_must_be_whole_in_time_however_it_drips(monkeypatch):
    """A client that sends a byte now and then, or nothing, is sent away."""
    monkeypatch.setattr(module, "HEAD_S", 0.3)
    with serving(8) as port, Clients(port) as clients:
        silent, dripping = clients.open(), clients.open(HEAD)
        with suppress(OSError):
            for _ in range(100):
                dripping.sendall(b"x")
                time.sleep(0.05)
        assert ended(silent)
        assert ended(dripping)


def test_a_kept_connection_is_ended_when_nothing_is_asked_any_more(monkeypatch):
    """The time counts from the last answer, and half a head does not prolong it."""
    monkeypatch.setattr(module, "HEAD_S", 0.5)
    with serving(8) as port, Clients(port) as clients:
        kept = clients.open()
        for _ in range(4):
            kept.sendall(GOOD)
            assert answer(kept) == OK
            time.sleep(0.2)
        kept.sendall(HEAD)
        assert ended(kept)


def test_a_request_that_is_answered_slowly_is_not_ended(monkeypatch):
    """The time of the head ends with the head; what the app does is the app's business."""
    monkeypatch.setattr(module, "HEAD_S", 0.2)
    with serving(8) as port, Clients(port) as clients:
        sends = clients.open(b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
        time.sleep(0.8)
        sends.sendall(b"y")
        assert answer(sends) == OK


def test_a_client_that_does_not_read_is_ended(monkeypatch):
    """An answer that does not move on frees its memory and its place; others are answered."""
    monkeypatch.setattr(module, "WRITE_S", 0.3)
    with serving(8) as port, Clients(port) as clients:
        deaf = clients.open(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        time.sleep(2)
        assert answer(clients.open(GOOD)) == OK
        received = 0
        deaf.settimeout(20)
        with suppress(OSError):
            while piece := deaf.recv(1_000_000):
                received += len(piece)
        assert received < LARGE


def test_a_client_that_reads_slowly_gets_its_answer_whole(monkeypatch):
    """What counts is that the answer moves on, not that it is read at once."""
    monkeypatch.setattr(module, "WRITE_S", 0.2)
    with serving(8) as port, Clients(port) as clients:
        slow = clients.open(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = 0
        while piece := slow.recv(200_000):
            received += len(piece)
            time.sleep(0.005)
        assert received > LARGE


def test_a_refused_body_is_forgotten_and_ended(monkeypatch):
    """A client that is answered before its body may send on for a while, and reads the answer."""
    monkeypatch.setattr(module, "HEAD_S", 0.5)
    with serving(8) as port, Clients(port) as clients:
        sends = clients.open(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        sends.sendall(b"x" * 1_000_000)
        assert answer(sends) == OK
        with suppress(OSError):
            for _ in range(100):
                sends.sendall(b"x")
                time.sleep(0.05)
        assert ended(sends)


def test_who_asks_nothing_goes_for_a_new_client(caplog):
    """The oldest such connection goes, and the log says so once."""
    with serving(16) as port, Clients(port) as clients:
        silent = [clients.open(HEAD) for _ in range(4)]  # all that one address may have
        for _ in range(10):
            assert answer(clients.open(GOOD)) == OK
        assert all(ended(one) for one in silent)
    (told,) = (one for one in caplog.records if one.name == module.__name__)
    assert (told.levelname, told.host, told.times) == ("WARNING", "127.0.0.1", 1)


def test_a_stranger_goes_before_a_caller_the_app_knows():
    """A slow body of a stranger, then a kept connection of a known caller; his request never."""
    post = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
    token = b"Authorization: Bearer x\r\n"
    with serving(16) as port, Clients(port) as clients:
        kept = clients.open(HEAD + token + b"\r\n")
        assert answer(kept) == OK
        known = [clients.open(post + token + b"\r\n") for _ in range(2)]
        stranger = clients.open(post + b"\r\n")
        time.sleep(0.3)  # until the app has seen all of them
        newest = clients.open(post + token + b"\r\n")
        assert ended(stranger)
        time.sleep(0.3)
        assert is_open(kept)
        last = clients.open(post + token + b"\r\n")
        assert ended(kept)
        time.sleep(0.3)
        assert ended(clients.open(GOOD))
        for one in (*known, newest, last):
            one.sendall(b"123456789")
            assert answer(one) == OK


def test_one_address_cannot_take_the_places_of_others():
    """A flood from one address ends its own connections only."""
    with serving(16) as port, Clients(port) as clients:
        quiet = [clients.open(host="127.0.0.2") for _ in range(4)]
        flood = [clients.open(HEAD, "127.0.0.3") for _ in range(60)]
        assert answer(clients.open(GOOD, "127.0.0.1")) == OK
        assert all(is_open(one) for one in quiet)
        assert sum(map(is_open, flood)) <= 4


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("x" * 100, "x" * 64),
    ],
)
def test_who_counts_as_one_client(address, host):
    """Whoever has an IPv6 network has all its addresses."""
    assert host_of(address) == host


def test_nothing_is_remembered_of_connections_that_ended():
    """Places, hosts and timers are free again."""

    async def many() -> Connections:
        connections = Connections(64)
        config = uvicorn.Config(app, http=connections.protocol, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        with connections.listen("127.0.0.1", 0, 128) as listener:
            port = listener.getsockname()[1]
            task = asyncio.create_task(server.serve([listener]))
            for _ in range(100):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(GOOD)
                writer.close()
            server.should_exit = True
            await task
            await asyncio.sleep(0.1)
        return connections

    connections = asyncio.run(many())
    assert (connections._open, connections._hosts) == ({}, {})


def test_no_answer_waits_until_its_head_is_acknowledged():
    """What comes by our listener sends its body at once, behind its head."""

    async def accepted() -> int:
        with (
            Connections(8).listen("127.0.0.1", 0, 8) as listener,
            socket.create_connection(listener.getsockname()),
        ):
            taken, _ = listener.accept()
            with taken:
                return taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert asyncio.run(accepted())


FULL = """
import logging, resource, sys, threading, uvicorn
from inspection.core.connections import Connections
from tests.core.test_connections import app
logging.basicConfig(level=logging.INFO)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
connections = Connections(10_000)
config = uvicorn.Config(app, http=connections.protocol, lifespan="off", log_config=None)
with connections.listen("127.0.0.1", 0, 1024) as listener:
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(config).run([listener])
"""


def test_a_process_that_can_open_no_file_makes_room_and_says_so_once_a_second(tmp_path):
    """Asyncio itself writes as many tracebacks as its backlog is long, again and again."""
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", FULL], stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        try:
            port = int(process.stdout.readline())
            with Clients(port) as clients:
                for _ in range(200):
                    clients.open(HEAD)
                began = time.monotonic()
                client = clients.open(GOOD)
                assert answer(client) == OK
                took = time.monotonic() - began
        finally:
            process.kill()
            process.communicate()
    errors = log.read_text().count("out of system resource")
    assert 1 <= errors <= 2 + took


def test_a_web_socket_waits_for_its_client(monkeypatch: pytest.MonkeyPatch):
    """It is no half-sent head: whoever reads a page may say nothing for hours."""
    monkeypatch.setattr(module, "HEAD_S", 0.3)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    with serving(8) as port, Clients(port) as clients:
        page = clients.open(HEAD + upgrade + key)
        assert page.recv(12) == b"HTTP/1.1 101"
        assert not ended(page, within_s=1)
