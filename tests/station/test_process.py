"""A station as a real process: how it ends, and what it never loads.

Kills, full disks and all other faults are the fault suite's, see tests/bench/test_faults.py.
"""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from inspection.bench.faults import process
from inspection.bench.faults.ledger import Ledger
from inspection.bench.faults.process import DONE, Station
from inspection.bench.faults.scorer import ail, hold
from inspection.bench.redness import make_bundle
from inspection.station.state import StationState

PARTS = 40

process.PRELOADED.append("pytest")  # else every life would import it


@pytest.fixture
def station(tmp_path: Path):
    """Give a station that has not started, with parts waiting."""
    with Station(tmp_path / "station", make_bundle(tmp_path / "bundle")) as station:
        station.put(PARTS)
        yield station


def sound(ledger: Ledger) -> bool:
    """Say whether nothing is lost, double, out of order or torn."""
    return all(goal.reached for goal in ledger.goals("stopped"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signal_ends_between_two_parts(station: Station, number: signal.Signals):
    """Ctrl-C and SIGTERM let what is in work finish with its signal, and end without an error."""
    station.start()
    station.wait(station.works, "the first signal")
    assert station.stop(number) == DONE
    assert station.said(StationState.STOPPED)
    sent = [one.event_id for one in station.signals().all]
    assert sent == [event.event_id for event in station.events()]
    station.start()
    assert sound(station.finish())


def test_second_stop_signal_ends_at_once(station: Station, tmp_path: Path):
    """Whoever presses Ctrl-C twice does not wait for a scorer that hangs; the record is sound."""
    flag = tmp_path / "hold"
    flag.touch()
    station.start(partial(ail, hold, flag))
    station.wait(lambda: station.said(StationState.READY), "READY")
    os.kill(station.pid, signal.SIGTERM)
    station.wait(lambda: not handles(station.pid, signal.SIGTERM), "the first signal was taken")
    assert station.stop() == -signal.SIGTERM
    assert station.events() == []
    flag.unlink()
    station.start()
    assert sound(station.finish())


def handles(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler of its own for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (number - 1) & 1)


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
