"""The plant of a demonstration: one at a time, harmless to others, and gone when it should be."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from subprocess import PIPE
from threading import Event as Flag

import pytest
import yaml

from inspection.core.config import load_config
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.plant import FOLDER, LOCK, RECORD, Plant, read_plant, run, set_up, stop
from inspection.retraining.settings import RetrainingConfig
from inspection.station.settings import StationConfig
from tests.command import done
from tests.hub.bundles import make_bank_bundle

ENDED = Flag()
ENDED.set()
SOON_S = 30
# Begins a part of a plant, says its number, and waits to be killed.
SUPERVISOR = """
import sys, time
from pathlib import Path
from inspection.plant import _begin
child = _begin(Path(sys.argv[1]), ["hub", "serve", "--config", sys.argv[2]])
print(child.pid, flush=True)
time.sleep(600)
"""


def made(out: Path, pid: int | None = None, port: int = 9) -> Path:
    """Leave what set_up leaves of a plant's whereabouts."""
    (out / FOLDER).mkdir(parents=True)
    url = f"http://127.0.0.1:{port}"
    record = Plant(
        pid=pid, hub=url, dashboard=url, station=url, account="demo", password_file=out / "password"
    )
    (out / FOLDER / RECORD).write_text(record.model_dump_json())
    return out


def is_gone(pid: int) -> bool:
    """Say whether a process ended, though nobody may have asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.fast
def test_a_number_that_another_process_got_is_left_alone(tmp_path: Path):
    """After a crash plant.json names a number; whose it is now is no matter of the plant's."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()", "plant", "run"], stdin=PIPE)
    try:
        stop(made(tmp_path, stranger.pid))
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


@pytest.mark.fast
def test_a_second_plant_on_one_folder_is_refused(tmp_path: Path):
    """Two would fight for ports and for the station's record."""
    made(tmp_path)
    with (tmp_path / FOLDER / LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="runs already; show it with inspection plant open"):
            run(tmp_path, ENDED)
    assert read_plant(tmp_path).pid is None


@pytest.mark.fast
def test_a_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path):
    """Else the health of a stranger, or of another demonstration, would pass for the plant's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InspectionError, match=f"{port}: another program listens there; end it"):
            run(made(tmp_path, port=port), ENDED)
    assert [path.name for path in (tmp_path / FOLDER).glob("*.log")] == []


@pytest.mark.fast
@pytest.mark.parametrize("screen", [True, False], ids=["screen", "no screen"])
def test_open_says_where_and_who_and_takes_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, screen: bool
):
    """Without a screen Python's browser would be lynx or w3m, which do not return."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if screen:
        monkeypatch.setenv("DISPLAY", ":0")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    made(tmp_path)
    (tmp_path / "password").write_text("correct horse\n")
    with (tmp_path / FOLDER / LOCK).open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # as a plant that runs
        said = done("plant", "open", "--folder", tmp_path)
    assert "http://127.0.0.1:9" in said.out
    assert "correct horse" in said.out
    assert opened == ["http://127.0.0.1:9"] * screen


def test_what_a_killed_plant_began_ends_by_itself(tmp_path: Path):
    """No hub, station or dashboard outlives the process that watches over it."""
    config = tmp_path / "hub.yaml"
    config.write_text(f"database: sqlite:///{tmp_path}/hub.sqlite\nartefacts: {tmp_path}/artefacts")
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path / "hub.log"), str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        child = int(supervisor.stdout.readline())
        assert not is_gone(child)
        os.kill(supervisor.pid, signal.SIGKILL)
    until = time.monotonic() + SOON_S
    while not is_gone(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert is_gone(child)


def test_a_plant_may_be_opened_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every path it is set up with is whole, blanks too; secrets are for their owner only."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    (tmp_path / "my demo").mkdir()
    monkeypatch.chdir(tmp_path)
    make_bank_bundle(Path("my demo/bundle"))
    found = set_up(Path("my demo"))
    folder = tmp_path / "my demo" / FOLDER
    station = StationConfig.model_validate(yaml.safe_load((folder / "station.yaml").read_text()))
    hub = yaml.safe_load((folder / "hub.yaml").read_text())
    assert hub["database"] == f"sqlite:///{tmp_path}/my demo/hub/hub.sqlite"
    assert station.data_dir == tmp_path / "my demo/station"
    retraining = load_config(folder / "retraining.yaml", RetrainingConfig)
    [plate] = retraining.products
    assert (plate.bundle, plate.manifest.parent) == ("bank", tmp_path / "my demo")
    assert load_config(plate.train, TrainConfig) == TrainConfig()
    assert load_config(plate.export or Path(), ExportConfig) == ExportConfig()
    for secret in (found.password_file, folder / "station.token"):
        assert (secret.is_absolute(), secret.stat().st_mode & 0o777) == (True, 0o600)
    assert read_plant(Path("my demo")) == found
