"""The station's page in a real browser; skipped only where there is no chromium."""

import json
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.station.state import StationState
from tests.station.events import event, named
from tests.station.web.browser import CHROMIUM, Browser
from tests.station.web.serving import Station, free_port, server_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def test_page_follows_the_station(tmp_path: Path):
    """Lamp, parts and outputs are shown; foreign text is text; without contact nothing is green."""
    station = Station(
        last=(
            named(3, Verdict.REJECT, ("pore", 0.9), ("pore", 0.7), ("crack", 0.6)),
            event(2, Verdict.FAULT, part_id="<img src=x onerror=document.title='owned'>"),
            event(1, part_id="P-0001"),
        )
    )
    port = free_port()
    server = server_of(station, tmp_path, port)
    server.start()
    try:
        with Browser(tmp_path / "profile", f"http://127.0.0.1:{port}/") as browser:
            text = browser.wait_for("READY", "P-0001")
            assert "Parts are judged" in text
            assert "known defects: 2 pore, 1 crack" in text
            assert "<img src=x onerror" in text
            assert "dark" in text
            assert browser.value("document.title") == "READY · line-1 · station-1"
            assert browser.value("document.body.classList.contains('lost')") is False

            station.state = StationState.BLOCKED
            assert "camera unplugged" in browser.wait_for("BLOCKED")

            station.state, station.beats = StationState.READY, False
            text = browser.wait_for("NO ANSWER")
            assert "No contact since" in text
            assert "READY" not in text

            station.beats = True
            assert "NO ANSWER" not in browser.wait_for("READY")

            server.stop()
            text = browser.wait_for("NO ANSWER")
            assert "No contact since" in text
            assert browser.value("document.body.classList.contains('lost')") is True
            assert browser.value("document.title") == "NO ANSWER · line-1 · station-1"
    finally:
        server.stop()


def test_page_of_a_new_station_says_what_is_not_there_yet(tmp_path: Path):
    """Nothing judged, nothing kept, no output: words instead of holes, on one small screen."""
    port = free_port()
    with (
        server_of(Station(StationState.STARTING), tmp_path, port),
        Browser(tmp_path / "profile", f"http://127.0.0.1:{port}/", (1280, 800)) as browser,
    ):
        text = browser.wait_for("STARTING")
        assert "No part judged yet" in text
        assert "none configured" in text
        assert browser.value("document.documentElement.scrollHeight <= innerHeight") is True


def test_a_frame_that_was_skipped_is_no_failure(tmp_path: Path):
    """What other frames of the part say is shown: names, or that the second stage came late."""
    done = named(1, Verdict.REVIEW, ("pore", 0.9))
    skipped, late = named(1, status="skipped"), named(1, status="late")
    port = free_port()
    with (
        server_of(Station(last=(skipped,)), tmp_path, port),
        Browser(tmp_path / "profile", f"http://127.0.0.1:{port}/") as browser,
    ):
        assert "not named" not in browser.wait_for("READY")

        def said(*events):
            frames = [frame.model_dump(mode="json") for one in events for frame in one.frames]
            return browser.value(f"namesOf({{frames: {json.dumps(frames)}}})")

        assert said(skipped) == ""
        assert said(skipped, done) == "known defects: 1 pore"
        assert said(skipped, late, done).startswith("known defects not named: late")
