"""Nothing of ours calls anybody whom no configuration names: no statistics, no look-ups."""

import os
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
import yaml

from inspection.bench.faults.network import free_port
from inspection.bench.redness import make_bundle
from inspection.core.command import INSPECTION
from inspection.hub.accounts import add_account
from inspection.hub.client import HubClient
from inspection.hub.hub import open_hub
from inspection.hub.settings import HubConfig
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.people import Login, NewAccount, Role
from tests.browser.plant import answers, make_part, process, wait_for
from tests.calls import watched
from tests.end_to_end.settings import EXPORT, GEOMETRY, OURS

PASSWORD = "correct horse battery"
TRAIN = f"model: Patchcore\n{OURS}{GEOMETRY}\npatchcore:\n  bank_size: 64\n  candidates: 2000\n"


@pytest.mark.parametrize(
    ("script", "call"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 9))", "socket.getaddrinfo"),
        ("import socket; socket.socket().connect(('192.0.2.1', 9))", "socket.connect"),
        ("import urllib.request as r; r.urlopen('http://elsewhere.example')", "socket.getaddrinfo"),
        (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', \"import socket;"
            " socket.socket(type=2).sendto(b'', ('192.0.2.1', 9))\"], check=True)",
            "socket.sendto",
        ),
    ],
)
def test_a_call_is_seen(script: str, call: str, tmp_path: Path):
    """The watch sees and refuses connections, look-ups of names and packets, of children, too."""
    with watched(tmp_path) as calls:
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (ended.returncode, [line.split()[0] for line in calls()]) == (1, [call])


def test_training_and_export_call_nobody(manifest: Path, tmp_path: Path):
    """With the backbone that ships nothing is asked for, whatever the libraries would like."""
    (tmp_path / "train.yaml").write_text(TRAIN)
    (tmp_path / "export.yaml").write_text(EXPORT)
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    commands = (
        ("train", tmp_path / "train.yaml", "--data", manifest, "--out", run),
        ("export", run, "--out", bundle, "--config", tmp_path / "export.yaml"),
        ("gate", bundle),
    )
    online = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    with watched(tmp_path) as calls:
        watch = {name: os.environ[name] for name in ("PYTHONPATH", "CALLS_LOG")}
        own = {"INSPECTION_KEYS": str(tmp_path / "keys"), "HOME": str(tmp_path)}
        for command in commands:
            words = [*INSPECTION, *map(str, command)]
            ended = subprocess.run(
                words, env=online | watch | own, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 0, ended.stderr
    assert calls() == []


def test_hub_station_and_dashboard_call_nobody(tmp_path: Path):
    """A part goes from the station to the hub, and a foreign page knocks at the dashboard."""
    hub_port, port = free_port(), free_port()
    config = {
        "port": hub_port,
        "database": f"sqlite:///{tmp_path}/hub.sqlite",
        "artefacts": str(tmp_path / "artefacts"),
        "cache_dir": str(tmp_path / "cache"),
    }
    hub = open_hub(HubConfig.model_validate(config))
    add_account(hub, NewAccount(account="ann", role=Role.ADMIN, password=PASSWORD), "test")
    (tmp_path / "token").write_text(
        enrol(hub, NewStation(station="station-1", line="line-1"), "test").token
    )
    hub.close()
    url, dashboard = f"http://127.0.0.1:{hub_port}", f"http://127.0.0.1:{port}"
    for name, content in (("hub", config), ("station", _station(tmp_path, url))):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    with watched(tmp_path) as calls, ExitStack() as stack:
        for words in (
            ("hub", "serve", "--config", str(tmp_path / "hub.yaml")),
            ("station", "run", str(tmp_path / "station.yaml")),
            ("dashboard", "--hub", url, "--port", str(port)),
        ):
            stack.enter_context(process(tmp_path / f"{words[0]}.log", *words))
        wait_for(lambda: answers(f"{url}/healthz"), "no hub")
        wait_for(lambda: answers(f"{dashboard}/_stcore/health"), "no dashboard")
        client = stack.enter_context(closing(HubClient(url)))
        token = client.login(Login(account="ann", password=PASSWORD)).token
        ann = stack.enter_context(closing(HubClient(url, token)))
        wait_for(lambda: ann.events(line="line-1").items, "no event")
        for address in ("", "/review", "/_stcore/host-config"):
            assert httpx.get(f"{dashboard}{address}").status_code == 200
        foreign = {"Origin": "https://elsewhere.example", "Connection": "Upgrade"}
        handshake = foreign | {
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        assert httpx.get(f"{dashboard}/_stcore/stream", headers=handshake).status_code == 403
    assert calls() == []


def _station(folder: Path, hub: str) -> dict[str, object]:
    (folder / "incoming").mkdir()
    (folder / "incoming" / "part.png").write_bytes(make_part(1, 0.2))
    make_bundle(folder / "bundle")
    return {
        "line": "line-1",
        "station": "station-1",
        "data_dir": str(folder / "station"),
        "source": {"kind": "folder", "path": str(folder / "incoming"), "settle_ms": 0},
        "recipes": {"default": {"main": {"bundle": str(folder / "bundle")}}},
        "guards": {"missing": "off", "focus": "off", "exposure": "off", "size": "off"},
        "outputs": [{"kind": "hub", "url": hub, "token_file": str(folder / "token")}],
        "web": {"port": free_port()},
    }
