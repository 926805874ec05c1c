import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from inspection.station.settings import StationConfig
from tests.station.parts import configure, encoded, put, recorded, run
from tests.station.process import DONE, FULL, Life, start


def fill(config: StationConfig, files: int) -> set[str]:
    """Put parts of all verdicts, some unreadable, into the folder and give their sources."""
    names = {f"{number % 3}/{number:04d}.jpg" for number in range(files)}
    for number, name in enumerate(sorted(names)):
        content = encoded(number % 256, (16, 24), "JPEG")
        put(config.source, name, b"" if number % 17 == 5 else content)
    return names


def signalled(signals: Path) -> list[str]:
    """Give the event_ids that were signalled, in order."""
    return signals.read_text().split() if signals.exists() else []


def wait_for(process: BaseProcess, condition: Callable[[], bool]) -> None:
    """Wait at most 20 s for something a living process does."""
    end = time.monotonic() + 20
    while not condition():
        assert process.is_alive(), f"the station ended with {process.exitcode}"
        assert time.monotonic() < end, "the station does nothing"
        time.sleep(0.001)


def require_each_once(config: StationConfig, signals: Path, names: set[str]) -> None:
    """Every file has one event; signals are a part of the events, in order, none twice."""
    events = recorded(config)
    assert Counter(event.source for event in events) == Counter(names)
    ids = [event.event_id for event in events]
    sent = signalled(signals)
    assert len(sent) == len(set(sent))
    assert sent == [event_id for event_id in ids if event_id in set(sent)]
    for event in events:
        reads = event.overlay is None or (config.data_dir / "overlays" / event.overlay).is_file()
        assert reads, event
    faults = {event.source for event in events if event.verdict == "FAULT"}
    empty = {name for name in names if (config.source / name).stat().st_size == 0}
    assert faults == empty


def test_killed_at_random_points_it_judges_every_file_once(tmp_path: Path):
    """40 times kill -9 at random moments: no file lost, none judged twice, no signal alone."""
    config = configure(tmp_path, overlay_for=["REJECT"])
    names = fill(config, 900)
    signals = tmp_path / "signals"
    chance = random.Random()
    span = 0.0  # s from start to first signal, here and now; the first life boots the server
    in_the_middle = 0
    for life in range(40):
        before, began = len(signalled(signals)), time.monotonic()
        process = start(config, signals, Life())
        if life < 2:
            wait_for(process, lambda: len(signalled(signals)) > before)  # noqa: B023 - same turn
        span = time.monotonic() - began if life < 2 else span
        time.sleep(chance.uniform(0, 2 * span))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        in_the_middle += len(signalled(signals)) > before
    unfinished = len(signalled(signals))
    last = start(config, signals, Life(takes_s=0))
    last.join()
    assert last.exitcode == DONE
    assert 0 < unfinished < len(names), "the kills must hit a station at work"
    assert in_the_middle >= 5
    require_each_once(config, signals, names)


@pytest.mark.parametrize("step", ["judge", "clock", "signal"])
@pytest.mark.parametrize("part", [1, 2, 7])
def test_killed_at_a_given_step_it_judges_every_file_once(tmp_path: Path, step: str, part: int):
    """Killed in the judge, between overlay and event, or between event and signal: each once."""
    config = configure(tmp_path, overlay_for=["PASS", "REVIEW", "REJECT"])
    names = fill(config, 20)
    signals = tmp_path / "signals"
    for _ in range(2):
        process = start(config, signals, Life(takes_s=0, dies_in=step, dies_at=part))
        process.join()
        assert process.exitcode == -signal.SIGKILL
    last = start(config, signals, Life(takes_s=0))
    last.join()
    assert last.exitcode == DONE
    require_each_once(config, signals, names)
    lost_signals = 2 if step == "signal" else 0
    assert len(signalled(signals)) == len(names) - lost_signals


def test_full_disk_signals_nothing_that_is_not_recorded(tmp_path: Path):
    """When the database cannot grow the station ends with SpoolFull; with room it goes on."""
    config = configure(tmp_path, overlay_for=[])
    names = fill(config, 120)
    signals = tmp_path / "signals"
    process = start(config, signals, Life(takes_s=0, file_limit_bytes=150_000))
    process.join()
    assert process.exitcode == FULL
    assert 0 < len(signalled(signals)) < len(names)
    events = [event.event_id for event in recorded(config)]
    assert signalled(signals) == events
    last = start(config, signals, Life(takes_s=0))
    last.join()
    require_each_once(config, signals, names)
    assert len(signalled(signals)) == len(names)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signal_ends_between_two_parts(tmp_path: Path, number: signal.Signals):
    """Ctrl-C and SIGTERM let the part in work finish with its signal, and end without an error."""
    config = configure(tmp_path, once=False)
    names = fill(config, 60)
    signals = tmp_path / "signals"
    process = start(config, signals, Life(takes_s=0.01))
    wait_for(process, lambda: len(signalled(signals)) >= 3)
    os.kill(process.pid or 0, number)
    process.join(5)
    assert process.exitcode == DONE
    assert len(signalled(signals)) < len(names)
    assert signalled(signals) == [event.event_id for event in recorded(config)]
    run(configure(tmp_path))
    assert {event.source for event in recorded(config)} == names


def test_second_stop_signal_ends_at_once(tmp_path: Path):
    """Whoever presses Ctrl-C twice does not wait for the part; the record stays sound."""
    config = configure(tmp_path)
    names = fill(config, 5)
    signals = tmp_path / "signals"
    process = start(config, signals, Life(takes_s=30))
    wait_for(process, (config.data_dir / "events.sqlite-wal").exists)
    time.sleep(0.05)
    os.kill(process.pid or 0, signal.SIGTERM)
    time.sleep(0.05)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join(5)
    assert process.exitcode == -signal.SIGTERM
    assert recorded(config) == []
    run(configure(tmp_path))
    require_each_once(config, signals, names)


def test_station_never_loads_the_trainer():
    """A fresh interpreter that imports the whole station loads nothing of the training side."""
    command = (
        "import sys, inspection.station.service, inspection.bundles.overlay; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    loaded = set(shown.stdout.split())
    unwanted = {"torch", "torchvision", "anomalib", "lightning", "nncf", "timm", "sklearn"}
    unwanted |= {"scipy", "pandas", "matplotlib", "streamlit", "jinja2"}
    assert loaded & unwanted == set()
    assert "inspection" in loaded
