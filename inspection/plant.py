"""Runs hub, one station and the dashboard together, as `inspection demo` leaves them.

One process watches over the three; what it was started with and where they answer stands in
plant.json. It holds plant.lock while it lives, so that a number in plant.json that another process
got meanwhile harms nobody; the three end when it is gone, however it went. The plant serves
loopback only and knows one person, whose password lies beside it.
"""

import fcntl
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path
from threading import Event as Flag

import httpx
import yaml
from pydantic import Field, SecretStr

from inspection.core.command import INSPECTION
from inspection.core.config import Settings
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.folders import write_whole
from inspection.core.records import Card, write_text
from inspection.core.settings import TrainConfig
from inspection.hub.accounts import add_account
from inspection.hub.client import HubClient
from inspection.hub.hub import open_hub
from inspection.hub.models import add_bundle, choose
from inspection.hub.settings import HubConfig
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Login, NewAccount, Role

logger = logging.getLogger(__name__)

HOST, LINE, STATION = "127.0.0.1", "line-1", "station-1"
PERSON, MAKER = "demo", "demonstration"
PORTS = {"hub": 8100, "dashboard": 8101, "station": 8090}  # others where these are taken
FOLDER, RECORD, LOCK = "plant", "plant.json", "plant.lock"
RETRAINING, PRODUCT = "retraining.yaml", "default"  # as a folder's parts are called
PACE_S, MOST_PARTS = 3.0, 500  # parts keep coming for 25 minutes, then the line rests
WAIT_S = 120.0  # for all three to answer, or to be gone
GRACE_S = 30  # for one of them to end by itself
PORT_S = 10.0  # for those of an earlier plant to let go of their ports
LOOK_S = 0.25
DAY_H = 24
# An inspection command that ends when its standard input does: a process that was killed has closed
# it, too. `os.read`, because a thread that waits in sys.stdin breaks the end of the interpreter.
FOLLOWER = f"""
import os, signal, threading, time
def follow():
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep({GRACE_S})
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=follow, daemon=True).start()
from inspection.cli.main import main
main()
"""


class Plant(Settings):
    """Where a plant answers and who may log in."""

    pid: int | None = Field(description="of the process that watches; none while it does not run")
    hub: str
    dashboard: str
    station: str
    account: str
    password_file: Path


def set_up(out: Path) -> Plant:
    """Make a hub that knows the demonstration's bundle, a station and a person.

    Args:
        out: folder of the demonstration, with `bundle` and `incoming`.

    Returns:
        The plant, not running yet; its settings lie in `out`/plant.
    """
    out = out.absolute()  # the plant may be opened from another folder
    folder = out / FOLDER
    folder.mkdir()
    urls = {name: f"http://{HOST}:{_free_port(port)}" for name, port in PORTS.items()}
    settings = HubConfig(
        port=_port(urls["hub"]),
        database=f"sqlite:///{out / 'hub' / 'hub.sqlite'}",
        artefacts=str(out / "hub" / "artefacts"),
        cache_dir=out / "hub" / "cache",
    )
    _write_yaml(folder / "hub.yaml", settings.model_dump(mode="json", exclude_defaults=True))
    password, token_file = secrets.token_urlsafe(12), folder / "station.token"
    hub = open_hub(settings)
    try:
        add_account(
            hub,
            NewAccount(account=PERSON, role=Role.ADMIN, password=SecretStr(password)),
            "demonstration",
        )
        bundle = add_bundle(hub, out / "bundle", MAKER)
        choice = NewChoice(bundle_id=bundle.bundle_id, comment="the demonstration's own")
        choose(hub, LINE, choice, MAKER)
        token = enrol(hub, NewStation(station=STATION, line=LINE), MAKER).token
    finally:
        hub.close()
    for path, secret in ((token_file, token), (folder / "password", password)):
        path.touch(0o600)
        path.write_text(f"{secret}\n", encoding="utf-8")
    _write_yaml(folder / "station.yaml", _station(out, urls, token_file))
    _write_retraining(out, bundle.card)
    plant = Plant(pid=None, account=PERSON, password_file=folder / "password", **urls)
    _write(out, plant)
    return plant


def _station(out: Path, urls: dict[str, str], token_file: Path) -> dict[str, object]:
    return {
        "line": LINE,
        "station": STATION,
        "data_dir": str(out / "station"),
        "source": {"kind": "folder", "path": str(out / "incoming")},
        "recipes": {"default": {"main": {"bundle": str(out / "bundle")}}},
        "outputs": [{"kind": "hub", "url": urls["hub"], "token_file": str(token_file)}],
        "updates": {"bundles": [urls["hub"]], "thresholds": urls["hub"]},
        "spool": {"keep_images": ["PASS", "REVIEW", "REJECT", "FAULT"]},
        "web": {"port": _port(urls["station"])},
    }


def _write_retraining(out: Path, card: Card) -> None:
    """Let what reviewers say be learnt, with the settings that the demonstration's bundle has."""
    folder = out / FOLDER
    plate = {
        "line": LINE,
        "product": PRODUCT,
        "bundle": card.name,
        "manifest": str(out / "manifest.json"),
        "train": str(folder / "train.yaml"),
        "export": str(folder / "export.yaml"),
    }
    train = card.train or TrainConfig()
    _write_yaml(folder / "train.yaml", train.model_dump(mode="json"))
    _write_yaml(folder / "export.yaml", card.export.model_dump(mode="json"))
    settings = {"work_dir": str(folder / "jobs"), "products": [plate]}
    _write_yaml(folder / RETRAINING, settings)


def start(out: Path) -> Plant:
    """Let the plant of a demonstration run in the background; does nothing when it does already.

    Raises:
        ConfigError: there is none.
        InspectionError: it does not come up.
    """
    if _runs(out):
        return read_plant(out)
    health = _health(read_plant(out))
    log = out / FOLDER / "plant.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            [*INSPECTION, "plant", "run", "--folder", str(out)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # Ctrl-C in this terminal is not for it
        )
    until = time.monotonic() + WAIT_S
    # Only a plant that found its ports free writes its number, so it is not another's that answers.
    while read_plant(out).pid != process.pid or not all(map(_answers, health)):
        if process.poll() is not None or time.monotonic() > until:
            process.terminate()
            process.wait()
            raise InspectionError(f"{out}: the plant does not come up; read {log}")
        time.sleep(LOOK_S)
    return read_plant(out)


def wait_for_parts(plant: Plant, count: int) -> None:
    """Wait until the hub has so many parts of the station.

    Raises:
        InspectionError: they do not come.
    """
    password = plant.password_file.read_text(encoding="utf-8").strip()
    stranger = HubClient(plant.hub)
    session = stranger.login(Login(account=plant.account, password=SecretStr(password)))
    person, until = HubClient(plant.hub, session.token), time.monotonic() + WAIT_S
    try:
        while sum(line.parts for line in person.overview(DAY_H).lines) < count:
            if time.monotonic() > until:
                raise InspectionError(f"{plant.hub}: fewer than {count} parts came; read its log")
            time.sleep(LOOK_S)
        person.logout()
    finally:
        stranger.close()
        person.close()


def stop(out: Path) -> None:
    """End the plant of a demonstration, if it runs.

    Raises:
        InspectionError: it does not end.
    """
    told, until = None, time.monotonic() + WAIT_S
    while _runs(out):
        pid = read_plant(out).pid
        if pid not in {None, told}:
            told = pid
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > until:
            raise InspectionError(f"{out}: its plant does not end; end process {pid}")
        time.sleep(LOOK_S)


def run(out: Path, ended: Flag) -> None:
    """Run hub, station and dashboard until `ended` or one of them is gone, and bring parts.

    Raises:
        ConfigError: there is no plant, or it runs already.
        InspectionError: one ended by itself, or its port is taken.
    """
    plant = read_plant(out)
    with _alone(out):
        _await_ports(plant, ended)
        _write(out, plant.model_copy(update={"pid": os.getpid()}))
        try:
            _run(out, plant, ended)
        finally:
            _write(out, plant.model_copy(update={"pid": None}))


def _run(out: Path, plant: Plant, ended: Flag) -> None:
    folder, port = out / FOLDER, str(_port(plant.dashboard))
    beside = folder / RETRAINING  # an older demonstration has none
    retraining = ["--retraining", str(beside)] if beside.exists() else []
    commands = {
        "hub": ["hub", "serve", "--config", str(folder / "hub.yaml"), *retraining],
        "station": ["station", "run", str(folder / "station.yaml")],
        "dashboard": ["dashboard", "--hub", plant.hub, "--port", port],
    }
    processes = {name: _begin(folder / f"{name}.log", words) for name, words in commands.items()}
    try:
        parts = iter(_parts(out))
        while not ended.wait(PACE_S):
            gone = [name for name, process in processes.items() if process.poll() is not None]
            if gone:
                raise InspectionError(f"{out}: its {gone[0]} ended; read {folder}/{gone[0]}.log")
            for target, content in islice(parts, 1):
                write_whole(target, content)
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            _finish(process)


def read_plant(out: Path) -> Plant:
    """Read where the plant of a demonstration answers.

    Raises:
        ConfigError: there is none.
    """
    path = out / FOLDER / RECORD
    try:
        return Plant.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no plant ({error}); make one with inspection demo") from error


def _parts(out: Path) -> Iterable[tuple[Path, bytes]]:
    """Give further parts to bring: those of the test split, again and again."""
    shots = sorted((out / "plate" / "test").rglob("*.png"))
    for number, shot in enumerate(islice(cycle(shots), MOST_PARTS)):
        yield out / "incoming" / "later" / f"{number:04}.png", shot.read_bytes()


def _begin(log: Path, words: list[str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            [sys.executable, "-c", FOLLOWER, *words],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
        )


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process is gone, which was told to end; not for ever."""
    try:
        process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _health(plant: Plant) -> tuple[str, ...]:
    return f"{plant.hub}/healthz", f"{plant.station}/healthz", f"{plant.dashboard}/_stcore/health"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a demonstration's plant against a second one; a killed process lets go of it."""
    with (out / FOLDER / LOCK).open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{out}: its plant runs already; show it with inspection plant open"
            ) from error
        yield


def _runs(out: Path) -> bool:
    """Say whether a living process runs the plant of a demonstration."""
    try:
        with (out / FOLDER / LOCK).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _await_ports(plant: Plant, ended: Flag) -> None:
    """Wait a little until the ports of a plant are free.

    Raises:
        InspectionError: one stays taken.
    """
    until = time.monotonic() + PORT_S
    for url in (plant.hub, plant.station, plant.dashboard):
        while not _is_free(_port(url)):
            if time.monotonic() > until or ended.wait(LOOK_S):
                raise InspectionError(
                    f"{url}: another program listens there; end it, or make the plant anew with "
                    "inspection demo"
                )


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 2_000, 100):  # apart from each other and from passing ones
        if _is_free(port):
            return port
    raise InspectionError(f"{HOST}: port {wanted} and those after it are taken; end what uses them")


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _write(out: Path, plant: Plant) -> None:
    write_text(out / FOLDER / RECORD, plant.model_dump_json(indent=1) + "\n")


def _write_yaml(path: Path, values: object) -> None:
    write_text(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
