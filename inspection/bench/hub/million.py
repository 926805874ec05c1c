"""How long pages take in a browser with a million events behind them."""

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import sync_playwright
from pydantic import SecretStr
from pydantic_core import to_json

from inspection.bench.faults.network import HOST, free_port
from inspection.bench.frame import Goal, Table
from inspection.bench.hub.process import HubProcess
from inspection.bench.hub.stations import Shift, enrol_stations, make_events, make_picture
from inspection.bench.redness import make_bundle
from inspection.bench.soak import resident_bytes
from inspection.core.command import INSPECTION
from inspection.core.errors import InspectionError
from inspection.core.progress import follow
from inspection.hub.accounts import add_account
from inspection.hub.hub import Hub, open_hub
from inspection.hub.ingest import BATCH_MOST, Sender, store_events
from inspection.hub.models import add_bundle, choose
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.people import NewAccount, Role
from inspection.station.settings import MB

STATIONS = 20
PAGES = ("overview", "review", "thresholds", "models", "data", "stations", "audit")
ROUNDS = 7  # visits of each page; the first of all is thrown away
WANTED_S, WANTED_MB = 1.0, 1_000.0
WAIT_S, LOOK_S = 60.0, 0.1
SPAN = timedelta(days=30)
PICTURES, SIDE_PX = 20, 182  # the last of each station, 100 kB
PERSON, PASSWORD = "bench", "nobody hides this one"
DONE = '[data-testid="stApp"][data-test-script-state="notRunning"]'


VISIT = """link => new Promise(done => {
  const app = document.querySelector('[data-testid="stApp"]');
  const began = performance.now();
  let ran = false;
  const look = new MutationObserver(() => {
    const state = app.getAttribute('data-test-script-state');
    ran = ran || state === 'running';
    if (!ran || state !== 'notRunning') return;
    look.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
  });
  look.observe(app, {attributes: true, attributeFilter: ['data-test-script-state']});
  link.click();
})"""
"""Clicks a link and gives the ms until Streamlit has run the page and the browser has drawn it."""


def measure_pages(count: int, chromium: str | None = None) -> tuple[list[Goal], Table]:
    """Fill a hub on SQLite with events, open every page of its dashboard in Chromium, time each.

    Args:
        count: events.
        chromium: program; none takes the one on the path.

    Raises:
        InspectionError: there is no Chromium, or the dashboard does not come up.
    """
    program = chromium or shutil.which("chromium")
    if program is None:
        raise InspectionError("chromium is not installed; run apt-get install chromium")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        with HubProcess(folder, f"sqlite:///{folder}/hub.sqlite") as hub:
            opened = open_hub(hub.config)
            _fill(opened, folder, count)
            opened.close()
            with _dashboard(folder, hub.url) as (url, pid):
                times = _visit(program, url)
                resident = {"hub": resident_bytes(hub.pid), "dashboard": resident_bytes(pid)}
    goals = [
        Goal.at_most(f"page {name}, {count:,} events", WANTED_S, float(np.median(times[name])), "s")
        for name in PAGES
    ]
    goals += [
        Goal.at_most(f"memory of the {name} after all visits", WANTED_MB, found / MB, "MB")
        for name, found in resident.items()
    ]
    rows = tuple(
        (name, round(float(np.median(times[name])), 3), round(max(times[name]), 3))
        for name in PAGES
    )
    title = f"Pages over {count:,} events: from the click to the drawn page, {ROUNDS} visits each"
    return goals, Table(title=title, columns=("page", "median, s", "most, s"), rows=rows)


def _fill(hub: Hub, folder: Path, count: int) -> None:
    """Store events of the last weeks, some with pictures, as stations send them."""
    person = NewAccount(account=PERSON, role=Role.ADMIN, password=SecretStr(PASSWORD))
    add_account(hub, person, "bench")
    bundle = add_bundle(hub, make_bundle(folder / "bundle"), "bench")
    each = count // STATIONS
    pace = SPAN / each
    shift = Shift(datetime.now(UTC) - SPAN, pace, bundle.bundle_id, bundle.card.band)
    picture = make_picture(0, SIDE_PX)
    sha256 = hashlib.sha256(picture).hexdigest()
    stations = enrol_stations(hub, STATIONS, folder)
    for line in {station.line for station in stations}:
        choose(hub, line, NewChoice(bundle_id=bundle.bundle_id, comment="bench"), "bench")
    for station in follow(stations, "storing events"):
        sender = Sender(station.station, station.line)
        events = make_events(station, each, ("part.png",), shift)
        for first in range(0, each, BATCH_MOST):
            batch = [one.model_dump(mode="json") for one in events[first : first + BATCH_MOST]]
            store_events(hub, sender, to_json(batch))
        for event in events[-PICTURES:]:
            keep_picture(hub, sender, SentPicture(event.event_id, "part.png", picture, sha256))


@contextmanager
def _dashboard(folder: Path, hub_url: str) -> Iterator[tuple[str, int]]:
    """Serve the dashboard; gives its address and the number of its process."""
    port = free_port()
    command = [*INSPECTION, "dashboard", "--hub", hub_url, "--port", str(port)]
    with (folder / "dashboard.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own command, no shell
    try:
        until = time.monotonic() + WAIT_S
        while not _answers(f"http://{HOST}:{port}/_stcore/health"):
            if process.poll() is not None or time.monotonic() > until:
                raise InspectionError("the dashboard does not come up")
            time.sleep(LOOK_S)
        yield f"http://{HOST}:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.HTTPError:
        return False


def _visit(chromium: str, url: str) -> dict[str, list[float]]:
    """Open every page in turn; gives the seconds of each visit."""
    times: dict[str, list[float]] = {name: [] for name in PAGES}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.goto(url)
        page.get_by_label("Account").fill(PERSON)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Log in", exact=True).click()
        page.locator(".st-key-who").wait_for()
        for _ in range(1 + ROUNDS):
            for name in (*PAGES[1:], PAGES[0]):
                page.locator(DONE).wait_for(state="attached")
                link = page.get_by_role("link", name=name.capitalize(), exact=False).first
                times[name].append(link.evaluate(VISIT) / 1000)
        browser.close()
    return {name: found[1:] for name, found in times.items()}
