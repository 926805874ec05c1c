import errno
import fcntl
import os
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.core.decision import Verdict
from inspection.station import heart as heart_module
from inspection.station.health import HANGS_AFTER_S, Health, Surroundings
from inspection.station.heart import Heart, is_running, read_status
from inspection.station.state import OutputStatus, StationState, StationStatus
from tests.fakes import StillClock
from tests.station.events import event, named
from tests.station.rig import configure

pytestmark = pytest.mark.fast


def healthy(folder: Path, clock: StillClock, **changes: object) -> Health:
    """Make the health of a station that judges."""
    health = Health(configure(folder, **changes), {}, [], clock)
    health.turn(StationState.READY)
    return health


def test_snapshot_goes_on_from_the_record(tmp_path: Path):
    """Counters and the last part of earlier runs are there from the first heartbeat."""
    counters = {"PASS": 7, "FAULT": 1, "pictures of PASS": 3}
    health = Health(configure(tmp_path), counters, [event(8)], StillClock())
    status = health.beat(Surroundings())
    assert status.state is StationState.STARTING
    assert status.counts == {"PASS": 7, "REVIEW": 0, "REJECT": 0, "FAULT": 1}
    assert sum(status.since_start.values()) == 0
    assert (status.sequence, status.last, status.latency) == (8, (event(8),), None)
    assert status.dropped == {"pictures of PASS": 3}


def test_loop_that_hangs_is_not_ready(tmp_path: Path):
    """READY is what the loop proves by turning; a hang shows without anybody saying so."""
    clock = StillClock()
    health = healthy(tmp_path, clock, deadline_ms=1_000)
    clock.advance(1 + HANGS_AFTER_S - 0.1)
    assert health.beat(Surroundings()).state is StationState.READY
    clock.advance(0.2)
    status = health.beat(Surroundings())
    assert (status.state, health.hangs) == (StationState.BLOCKED, True)
    assert "the loop hangs" in status.reason
    health.tick()
    assert health.beat(Surroundings()).state is StationState.READY


def test_source_in_trouble_impairs_a_ready_station_only(tmp_path: Path):
    """What is worse than a silent camera is not hidden by it."""
    health = healthy(tmp_path, StillClock())
    troubled = Surroundings(source="camera main: no frame")
    status = health.beat(troubled)
    assert (status.state, status.reason) == (StationState.IMPAIRED, "camera main: no frame")
    health.block("disk is full")
    assert health.beat(troubled).state is StationState.BLOCKED
    health.block("")
    assert health.beat(Surroundings()).state is StationState.READY


def test_late_parts_and_latencies_are_counted(tmp_path: Path):
    """Percentiles are of the last parts; late is beyond the deadline."""
    health = healthy(tmp_path, StillClock(), deadline_ms=100)
    for number, latency_ms in enumerate((10.0, 20.0, 30.0, 101.0), 1):
        health.judged(event(number, Verdict.PASS, latency_ms=latency_ms))
    status = health.beat(Surroundings())
    assert status.latency is not None
    assert (status.late, status.latency.parts, status.latency.p50_ms) == (1, 4, 25.0)


def test_every_beat_counts_and_reaches_outputs_and_file(tmp_path: Path):
    """A snapshot goes to the outputs and to status.json; a full disk loses only the file."""
    health = healthy(tmp_path, StillClock())
    up = OutputStatus(name="csv", up=True, waiting=0, reason="")
    told: list[StationStatus] = []
    heart = Heart(
        tmp_path, 1, health, lambda: health.beat(Surroundings(outputs=(up,))), told.append
    )
    heart.beat()
    assert read_status(tmp_path)[0] == told[0] == heart.status
    (tmp_path / "status.json").unlink()
    (tmp_path / "status.json").mkdir()  # cannot be replaced by a file
    heart.beat()
    heart.beat()
    assert [status.beat for status in told] == [2, 3, 4]


def beating(folder: Path, health: Health, beat_s: float = 1) -> Heart:
    """Make a heart that tells nobody."""
    return Heart(folder, beat_s, health, lambda: health.beat(Surroundings()), lambda _: None)


def test_full_disk_still_shows_how_the_station_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No new block is to be had, so the snapshot goes into those the file has."""
    health = healthy(tmp_path, StillClock())
    heart = beating(tmp_path, health)
    heart.beat()
    room = (tmp_path / "status.json").stat()

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(heart_module, "write_whole", full)
    for reason in ("disk is full: " + "x" * 2_000, "disk is full"):  # longer, then shorter
        health.block(reason)
        heart.beat()
        assert read_status(tmp_path)[0] == heart.status
        assert heart.status.reason == reason
    after = (tmp_path / "status.json").stat()
    assert (after.st_size, after.st_ino) == (room.st_size, room.st_ino)
    health.block("x" * 10_000)
    before = (tmp_path / "status.json").read_bytes()
    heart.beat()
    assert (tmp_path / "status.json").read_bytes() == before  # does not fit: old, but whole


def test_torn_status_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A reader that meets a rewriting half way looks once more."""
    heart = beating(tmp_path, healthy(tmp_path, StillClock()))
    (tmp_path / "status.json").write_text('{"line": "li')
    monkeypatch.setattr(heart_module.time, "sleep", lambda _: heart.beat())
    assert read_status(tmp_path)[0] == heart.status


def test_lock_tells_whether_a_process_lives(tmp_path: Path):
    """Whoever runs a station holds its folder; the system lets go of it when the process dies."""
    assert not is_running(tmp_path)
    with (tmp_path / heart_module.LOCK_FILE).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_running(tmp_path)
    assert not is_running(tmp_path)


def test_supervisor_is_told_by_its_own_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A slow heartbeat starves no watchdog, and the watchdog makes no heartbeat faster."""
    told: list[str] = []
    stop = Flag()

    def tell(message: str) -> None:
        told.append(message)
        if len(told) == 4:
            stop.set()

    monkeypatch.setattr(heart_module, "notify_supervisor", tell)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    heart = beating(tmp_path, healthy(tmp_path, StillClock()), beat_s=60)
    before = heart.status.beat
    heart.run(stop)
    assert told == ["READY=1", *["WATCHDOG=1"] * 3, "STOPPING=1"]
    assert heart.status.beat == before + 1  # that of the end


def test_the_snapshot_leaves_masks_out(tmp_path):
    """They fill most of an event, and a page reads it every second."""
    health = Health(configure(tmp_path), {}, [], StillClock())
    health.judged(named(1, Verdict.REVIEW, ("pore", 0.9), mask="AAAA"))
    (last,) = health.beat(Surroundings()).last
    (found,) = last.frames[0].recognised.found
    assert (found.type, found.mask) == ("pore", None)
