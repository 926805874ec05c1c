"""A plant for browser tests: hub, a real station that watches a folder, and the dashboard."""

import io
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import yaml
from PIL import Image

from inspection.bench.cells import make_detector
from inspection.bench.faults.network import free_port
from inspection.bench.redness import make_bundle
from inspection.core.command import INSPECTION
from inspection.hub.client import HubClient
from inspection.hub.hub import open_hub
from inspection.hub.models import add_bundle, choose
from inspection.hub.settings import HubConfig, ReviewSettings
from inspection.hub.wire.line import StationRow
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import Role
from tests.hub.conftest import Served, served

WAIT_S = 60.0
LINE, STATION = "line-1", "station-1"
OTHER_LINE, OTHER_STATION = "line-2", "station-2"
BUNDLES = ("older", "newer")
HEIGHT_PX, WIDTH_PX = 320, 640


def make_part(number: int, red: float, green: int = 70, blue: int = 60) -> bytes:
    """Draw a brushed plate with a round spot; the bundle's score is about `red`, 0 to 1.

    What is green or blue beyond 127 the detector calls a pore or a crack.
    """
    dice = np.random.default_rng(number)
    brushed = (
        60
        + 12 * dice.standard_normal((HEIGHT_PX, 1, 1))
        + 4 * dice.standard_normal((HEIGHT_PX, WIDTH_PX, 1))
    )
    pixels = np.repeat(brushed, 3, axis=2)
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX]
    at_y, at_x = dice.integers(120, HEIGHT_PX - 120), dice.integers(120, WIDTH_PX - 120)
    spot = (y - at_y) ** 2 + (x - at_x) ** 2 < 110**2
    pixels[spot] = (255 * red, green, blue)
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def wait_for(condition: Callable[[], object], what: str) -> float:
    """Wait until something is so; gives the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < WAIT_S, what
        time.sleep(0.05)
    return time.monotonic() - began


@dataclass
class Plant:
    """What runs, and who looks at it."""

    served: Served
    dashboard: str
    lamp: str
    incoming: Path
    older: str
    newer: str

    def bring(self, first: int, reds: list[float], **colours: int) -> None:
        """Bring parts to the station, each whole when it has its name."""
        for number, red in enumerate(reds, first):
            hidden = self.incoming / f".{number}"
            hidden.write_bytes(make_part(number, red, **colours))
            hidden.rename(self.incoming / f"part-{number:04}.png")

    def station(self) -> StationRow:
        """Ask the hub what the station said last."""
        return next(row for row in self.admin.stations() if row.station == STATION)

    @property
    def admin(self) -> HubClient:
        """The hub as an admin sees it."""
        if not hasattr(self, "_admin"):
            self._admin = self.served.person(Role.ADMIN, "ada")
        return self._admin

    def judges_with(self) -> tuple[str, float, float]:
        """Give the bundle and the band by which the station judges, as it says."""
        status = self.station().status
        if status is None:
            return "", 0.0, 0.0
        one = status.bundles[0]
        return one.bundle_id, one.review_above, one.reject_above


@contextmanager
def running_plant(folder: Path) -> Iterator[Plant]:
    """Run hub, station and dashboard over an empty folder."""
    config = HubConfig(
        database=f"sqlite:///{folder}/hub.sqlite",
        artefacts=str(folder / "artefacts"),
        cache_dir=folder / "cache",
        review=ReviewSettings(second_share=0.0),  # each part comes to one person once
    )
    incoming = folder / "incoming"
    incoming.mkdir()
    with ExitStack() as stack:
        hub = open_hub(config)
        stack.callback(hub.close)
        ids = [
            add_bundle(
                hub, make_bundle(folder / name, day=day, gain=1 + day / 100), "test"
            ).bundle_id
            for day, name in enumerate(BUNDLES)
        ]
        for bundle_id in ids:
            choose(hub, LINE, NewChoice(bundle_id=bundle_id, comment="as it came"), "test")
        running = stack.enter_context(served(hub))
        make_detector(folder / "detector", least_score=0.5)
        token = folder / "token"
        token.write_text(running.station_token(STATION, LINE))
        station = folder / "station.yaml"
        page = free_port()
        station.write_text(yaml.safe_dump(_station(folder, running.url, token, page)))
        stack.enter_context(process(folder / "station.log", "station", "run", str(station)))
        port = free_port()
        words = ("dashboard", "--hub", running.url, "--port", str(port))
        stack.enter_context(process(folder / "dashboard.log", *words))
        lamp = f"http://127.0.0.1:{page}"
        plant = Plant(running, f"http://127.0.0.1:{port}", lamp, incoming, *ids)
        wait_for(lambda: answers(f"{plant.dashboard}/_stcore/health"), "no dashboard")
        wait_for(lambda: plant.judges_with()[0] == plant.newer, "the station does not come up")
        yield plant


def _station(folder: Path, hub: str, token: Path, page: int) -> dict[str, object]:
    return {
        "line": LINE,
        "station": STATION,
        "data_dir": str(folder / "station"),
        "source": {"kind": "folder", "path": str(folder / "incoming"), "settle_ms": 0},
        "recipes": {"default": {"main": {"bundle": str(folder / BUNDLES[0])}}},
        "recognition": {"detector": str(folder / "detector"), "budget_ms": 800},
        "guards": {"missing": "off", "focus": "off", "exposure": "off", "size": "off"},
        "outputs": [{"kind": "hub", "url": hub, "token_file": str(token), "status_ms": 200}],
        "updates": {"bundles": [hub], "thresholds": hub, "poll_ms": 200, "trial_parts": 1},
        "web": {"port": page},
        "spool": {"keep_images": ["PASS", "REVIEW", "REJECT", "FAULT"]},
    }


@contextmanager
def process(log: Path, *words: str) -> Iterator[None]:
    """Run a command of ours for as long as the block takes."""
    with log.open("wb") as stream:
        running = subprocess.Popen([*INSPECTION, *words], stdout=stream, stderr=stream)
        try:
            yield
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def answers(url: str) -> bool:
    """Say whether a page is served."""
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.HTTPError:
        return False


def screens() -> Path | None:
    """Give the folder screenshots go to; none where nobody asked for them."""
    named = os.environ.get("INSPECTION_SCREENS")
    return Path(named) if named else None


CHROMIUM = shutil.which("chromium")
