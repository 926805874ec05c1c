from pathlib import Path

import numpy as np
import pytest

from inspection.bench import line
from inspection.bench.memory import MemorySource
from inspection.core.errors import InspectionError
from inspection.station.service import serve
from tests.station.bundles import make_bundle


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def frames(reds: tuple[int, ...] = (10, 20, 30)) -> list[np.ndarray]:
    """Make frames that differ."""
    return [np.full((32, 64, 3), red, np.uint8) for red in reds]


def test_latency_is_taken_with_the_graph_alone_in_the_same_run(tmp_path: Path):
    """Both numbers are of one process; the warm-up does not count."""
    goals, table = line.measure_latency(make_bundle(tmp_path / "b"), frames(), tmp_path / "w", 60)
    over_graph, p99 = goals
    assert over_graph.found is not None
    assert over_graph.found > 1
    assert p99.found is not None
    assert p99.found >= 1
    station, alone = table.rows
    assert (station[1], alone[1]) == (60, 300)


def test_four_cameras_are_flooded(tmp_path: Path):
    """Every round compares frames per second of the station and of the graph alone."""
    bundle = make_bundle(tmp_path / "b")
    [goal], table = line.measure_throughput(bundle, frames(), tmp_path / "w", 40)
    assert len(table.rows) == line.ROUNDS
    ratios = sorted(float(row[3]) for row in table.rows)
    assert goal.found == pytest.approx(ratios[1])


def test_bundles_change_while_parts_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each newer bundle judges some parts; late and FAULT parts are counted."""
    monkeypatch.setattr(line, "SWAPS", 1)
    monkeypatch.setattr(line, "SWAP_DEADLINE_MS", 5_000)
    bundle = make_bundle(tmp_path / "b")
    [judged, late, faults], _ = line.measure_swaps(bundle, frames(), tmp_path / "w", 400)
    assert (judged.found, late.found, faults.found) == (2, 0, 0)


def test_station_that_faults_yields_no_numbers(tmp_path: Path):
    """A speed without verdicts is none."""
    config = line.configure(make_bundle(tmp_path / "b"), tmp_path / "w")
    source = MemorySource(["elsewhere"], frames(), 3)
    status = serve(config, source=source)
    with pytest.raises(InspectionError, match="3 of them FAULT; wanted 3 and none"):
        line._require_judged(status, 3)
