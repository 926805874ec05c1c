"""The hub as a process: it says where it is, ends in order, and says what keeps it from serving."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from inspection.core.errors import ConfigError
from inspection.hub.service import serve
from inspection.hub.settings import HubConfig

SCRIPT = """
import sys
from inspection.cli.logs import configure_logging
from inspection.hub.service import serve
from inspection.hub.settings import HubConfig
configure_logging(as_json=True)
serve(HubConfig.model_validate_json(sys.argv[1]))
"""


def config(folder: Path, url: str, port: int, **changes) -> HubConfig:
    places = {"artefacts": str(folder / "artefacts"), "cache_dir": folder / "cache"}
    return HubConfig(database=url, port=port, **places, **changes)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def test_it_says_where_it_serves_and_ends_in_order_on_sigterm(tmp_path, sqlite_url):
    settings = config(tmp_path, sqlite_url, free_port())
    url = f"http://127.0.0.1:{settings.port}"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, settings.model_dump_json()],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                health = httpx.get(f"{url}/healthz")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        assert health.json() == {"state": "READY"}
        os.kill(process.pid, signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert f'"message": "hub serves", "url": "{url}"' in log
    assert '"message": "hub ended"' in log
    assert '"message": "retention", "events": 0' in log


def test_a_port_that_is_taken_is_said(tmp_path, sqlite_url):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="another program has it"),
    ):
        serve(config(tmp_path, sqlite_url, taken.getsockname()[1]))


def test_a_certificate_that_is_none_is_said(tmp_path, sqlite_url):
    (tmp_path / "key.pem").write_text("no key")
    tls = {"certificate": tmp_path / "none.pem", "private_key": tmp_path / "key.pem"}
    with pytest.raises(ConfigError, match="tls: certificate or private_key cannot be used"):
        serve(config(tmp_path, sqlite_url, free_port(), tls=tls))
