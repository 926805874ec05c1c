"""Limits of every request, headers that protect, the access log, TLS."""

import asyncio
import datetime
import ipaddress
import logging
import socket
import ssl
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from inspection.core.config import parse_config
from inspection.core.connections import Connections
from inspection.core.errors import ConfigError
from inspection.core.exposure import TlsSettings
from inspection.hub import limits
from inspection.hub.api.app import make_app
from inspection.hub.limits import Limits
from inspection.hub.service import _uvicorn
from inspection.hub.settings import HubConfig, LimitSettings
from inspection.hub.wire.people import Role

MB = 1_000_000


@contextmanager
def raw(plant):
    """Give a socket to a served hub."""
    host, port = plant.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        yield connection


async def everybody(_request: Request) -> None:
    """Refuse nobody."""


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/v1/session", MB // 50),
        ("/v1/session/oidc", MB // 50),
        ("/v1/events", 2 * MB),
        ("/v1/events/e/pictures/a.png", 3 * MB),
        ("/v1/lines/l/judge", 3 * MB),
        ("/v1/events/e/corrections", 30 * MB),
        ("/v1/nothing", MB),
    ],
)
@pytest.mark.parametrize("way", ["with a length", "chunked"])
def test_each_route_takes_its_own_size_and_no_byte_more(path, most, way):
    app, taken = FastAPI(), []
    app.add_middleware(
        Limits, settings=LimitSettings(events_mb=2.0, picture_mb=3.0), admit=everybody
    )

    @app.post("/{path:path}")
    async def take(request: Request) -> None:
        taken.append(len(await request.body()))

    with TestClient(app) as client:
        for size, status in ((most, 200), (most + 1, 413)):
            pieces = b"x" * size if way == "with a length" else _pieces(size)
            answer = client.post(path, content=pieces)
            assert answer.status_code == status
    assert taken == [most]
    assert list(answer.json().values()) == [f"the body is larger than {most / MB:g} MB; send less"]


def _pieces(size: int):
    while size > 0:
        yield b"x" * min(size, 100_000)
        size -= 100_000


def test_a_flood_is_cut_off_while_it_comes(sqlite_plant):
    """A hub never waits for the end of a body that is too large."""
    with raw(sqlite_plant) as connection:
        connection.sendall(
            b"POST /v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\n\r\n"
        )
        sent, answer = 0, b""
        connection.settimeout(0.02)
        while not answer and sent < 200:
            try:
                connection.sendall(b"186a0\r\n" + b" " * 100_000 + b"\r\n")
                sent += 1
            except OSError:
                break
            try:
                answer = connection.recv(1000)
            except TimeoutError:
                continue
    assert b" 413 " in answer.splitlines()[0]
    assert sent < 50


def test_a_body_that_comes_too_slowly_ends(sqlite_plant, monkeypatch):
    monkeypatch.setattr(limits, "BODY_S", 0.1)
    monkeypatch.setattr(limits, "S_PER_MB", 0.0)
    token = sqlite_plant.station_token().encode()
    with raw(sqlite_plant) as connection:
        connection.sendall(b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token)
        connection.sendall(b"\r\nContent-Length: 50\r\n\r\n{")
        assert b" 408 " in connection.recv(1000).splitlines()[0]


def test_waiting_for_the_clients_end_is_not_limited():
    """A long poll reads on behind its body; that must not count as a slow body."""
    messages = [{"type": "http.request", "body": b"x", "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await asyncio.sleep(0.05)
        return {"type": "http.disconnect"}

    async def read():
        body = limits._Body(receive, limits._Allowed(0.01), lambda _: None)
        body._until = time.monotonic() + 0.01
        return [(await body.receive())["type"] for _ in range(2)]

    assert asyncio.run(read()) == ["http.request", "http.disconnect"]


def test_a_head_that_does_not_fit_is_refused(sqlite_hub):
    with TestClient(make_app(sqlite_hub)) as client:
        for asked, status in (
            ({"headers": {"Content-Encoding": "gzip"}, "content": b"x"}, 415),
            ({"headers": {f"X-{number}": "1" for number in range(120)}}, 431),
            ({"headers": {"Content-Length": "1" * 30}}, 413),
            ({"params": {"line": "a\0"}}, 400),
            ({"url": "/v1/events/a%00b"}, 400),
        ):
            answer = client.request(**{"method": "POST", "url": "/v1/events"} | asked)
            assert answer.status_code == status
            assert set(answer.json()) == {"error"}


def test_a_head_without_end_is_refused_by_the_server(sqlite_plant):
    with raw(sqlite_plant) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000)
        assert b" 400 " in connection.recv(1000).splitlines()[0]


def test_every_answer_protects_itself(sqlite_hub):
    with TestClient(make_app(sqlite_hub)) as client:
        for method, path, status in (
            ("GET", "/v1/session", 401),
            ("GET", "/nowhere", 404),
            ("PUT", "/healthz", 405),
        ):
            answer = client.request(method, path, headers={"Origin": "https://evil.example"})
            assert answer.status_code == status
            assert isinstance(answer.json()["error"], str)
            headers = answer.headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in headers
            assert len(headers["X-Request-Id"]) == 32


def test_a_mistake_of_ours_is_json_and_logged(sqlite_hub, caplog):
    app = make_app(sqlite_hub)

    @app.get("/mistake")
    def fail() -> None:
        raise RuntimeError("secret detail")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/mistake")
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        "a mistake of the hub's; its log says more",
    )
    (record,) = (one for one in caplog.records if one.name == "inspection.hub.limits")
    assert (record.levelname, record.status, record.route) == ("ERROR", 500, "/mistake")


def test_the_access_log_says_who_did_what_and_no_secret(sqlite_plant, caplog):
    caplog.set_level(logging.DEBUG, "inspection.hub.limits")
    token = sqlite_plant.station_token("press", "line-1")
    ann = sqlite_plant.person(Role.VIEWER, "ann")
    ann.events(line="secret-filter")
    sqlite_plant.client(token)._http.post("/v1/events", json=[])
    until = time.monotonic() + 10
    while (count := caplog.text.count("limits.py")) < 3 and time.monotonic() < until:
        time.sleep(0.01)  # a line is written when its answer has gone
    assert count == 3
    lines = [one for one in caplog.records if one.name == "inspection.hub.limits"]
    told = [(one.levelname, one.method, one.route, one.status, one.actor) for one in lines]
    assert told == [
        ("INFO", "POST", "/v1/session", 200, "ann"),
        ("INFO", "GET", "/v1/events", 200, "ann"),
        ("DEBUG", "POST", "/v1/events", 200, "station press"),
    ]
    assert len({one.request_id for one in lines}) == 3
    assert all(one.ms > 0 for one in lines)
    assert not any(word in caplog.text for word in (token, "secret-filter", "correct horse"))


def certificate(folder) -> TlsSettings:
    """Make a self-signed certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    settings = TlsSettings(certificate=folder / "hub.pem", private_key=folder / "hub.key")
    settings.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    settings.private_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return settings


def test_a_hub_with_a_certificate_speaks_tls_only_and_names_no_server(
    make_hub, sqlite_url, tmp_path
):
    tls = certificate(tmp_path)
    hub = make_hub(sqlite_url, tls=tls)
    connections = Connections(16)
    listener = connections.listen("127.0.0.1", 0, 16)
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(_uvicorn(hub, None, connections))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    trusted = ssl.create_default_context(cafile=str(tls.certificate))
    try:
        with httpx.Client(verify=trusted, base_url=f"https://{address}") as client:
            answer = client.get("/v1/session")
        assert answer.status_code == 401
        assert "Server" not in answer.headers
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{address}/v1/session")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"https://{address}/v1/session")
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "hub.plant.example"])
def test_a_hub_stays_on_loopback_until_told(host):
    with pytest.raises(ConfigError, match="exposed: true"):
        parse_config(f"host: '{host}'\n", HubConfig, "hub.yaml")
    assert parse_config(f"host: '{host}'\nexposed: true\n", HubConfig, "hub.yaml").host == host
