import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from inspection.cli.station_text import status_text
from inspection.core.decision import Verdict
from inspection.station.state import (
    BundleStatus,
    Latencies,
    OutputStatus,
    StationState,
    StationStatus,
)
from tests.station.events import event
from tests.station.outputs.status import status

pytestmark = pytest.mark.fast

FULL = {
    "counts": {Verdict.PASS: 183_211},
    "since_start": {Verdict.PASS: 20_021, Verdict.FAULT: 3},
    "last": tuple(event(9 - n) for n in range(8)),
    "latency": Latencies(parts=9, p50_ms=11.4, p99_ms=23.9),
    "waiting": 2,
    "late": 1,
    "outputs": (
        OutputStatus(name="csv", up=True, waiting=0, reason=""),
        OutputStatus(name="mqtt", up=False, waiting=1_289, reason="start the broker"),
    ),
    "bundles": (
        BundleStatus(
            product="plate",
            camera="top",
            name="plates",
            bundle_id="9f31c2aa" * 8,
            review_above=0.5,
            reject_above=0.8,
            since=datetime(2025, 3, 1, tzinfo=UTC),
            trial=True,
            note="",
        ),
    ),
    "disk_bytes": 4_212_000_000,
    "budget_bytes": 10_000_000_000,
    "dropped": {"pictures of PASS": 311},
}


def words(
    taken: StationStatus, age_s: float = 0.3, heartbeat_ms: int = 500, *, running: bool = True
) -> str:
    """Print the screen as into a pipe, blanks between words made one."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as screen:
        console.print(status_text(taken, age_s, heartbeat_ms, running=running))
    return " ".join(screen.get().split())


@pytest.mark.parametrize("state", list(StationState))
def test_state_and_reason_come_first(state: StationState):
    """The lamp's word is on the screen in every state, with why it is not READY."""
    said = words(status(state))
    reason = "parts are judged" if state is StationState.READY else "camera unplugged"
    assert f"{state} {reason}" in said


def test_everything_of_the_status_is_said():
    """Counters, parts with band, outputs, bundles, speed and disk."""
    said = words(status(**FULL))
    for wanted in (
        "line-1 · station-1",
        "since the start 20,021 0 0 3",
        "in all 183,211 0 0 0",
        "part-9 PASS 0.25 0.5 / 0.8 4",
        "csv up 0",
        "mqtt DOWN 1,289 start the broker",
        "plate top plates 9f31c2aa9f31 0.5 / 0.8 on trial",
        "p50 11.4 ms, p99 23.9 ms, deadline 1,000 ms · 2 waiting, 1 late",
        "disk 4.21 of 10.00 GB, dropped: 311 pictures of PASS",
        "source works",
    ):
        assert wanted in said


def test_station_that_judged_nothing_yet_is_said_so():
    """Zeros are printed, too."""
    said = words(status())
    assert "no part judged yet" in said
    assert "no latency yet" in said
    assert "dropped: nothing" in said


def test_fault_has_no_score():
    """A part that could not be judged shows why instead of a number."""
    assert "part-1 FAULT none 4 dark" in words(status(last=(event(1, Verdict.FAULT),)))


@pytest.mark.parametrize(
    ("age_s", "heartbeat_ms", "silent"),
    [(1.9, 50, False), (2.1, 50, True), (2.9, 1_000, False), (3.1, 1_000, True)],
)
def test_old_status_is_no_answer(age_s: float, heartbeat_ms: int, silent: bool):
    """Three missing heartbeats, but two seconds at least, make a READY worthless."""
    said = words(status(), age_s, heartbeat_ms)
    assert (f"STATION DOES NOT ANSWER since {age_s:.0f} s" in said) == silent
    assert ("READY parts are judged" in said) != silent


def test_stopped_station_need_not_answer():
    """Who said that it stopped is not missing."""
    said = words(status(StationState.STOPPED), age_s=1_000)
    assert "STOPPED camera unplugged" in said
    assert "NOT ANSWER" not in said


def test_foreign_text_commands_nothing():
    """Neither rich nor the terminal obeys what stands in a part id."""
    said = words(status(last=(event(1, part_id="[red]a\x1b[2Jb[/red]"),)))
    assert "[red]a\N{REPLACEMENT CHARACTER}[2Jb[/red]" in said


def test_snapshot_from_the_future_is_no_answer():
    """A dead station does not come alive by a clock that is set back."""
    said = words(status(), age_s=-3_600)
    assert "STATION DOES NOT ANSWER since the clock was set back" in said
    assert "READY" not in said
    assert "READY" in words(status(), age_s=-0.5)  # clocks are disciplined all the time


def test_process_that_is_gone_is_said_so():
    """A fresh READY of a process that was killed is no READY; one that stopped said why."""
    assert "STATION IS NOT RUNNING" in words(status(), running=False)
    assert "IS NOT RUNNING" not in words(status(StationState.STOPPED), running=False)
