import os
from pathlib import Path

import pytest

from inspection.bench import station
from inspection.bench.frame import BenchReport
from inspection.bench.station import Installed, Options, Served, judge_install, parts_per_s
from inspection.core.errors import DatasetError, InspectionError
from inspection.core.records import read_record
from tests.station.bundles import make_bundle
from tests.station.sources.files import encoded, put


def test_real_station_is_measured(tmp_path: Path):
    """A real station process judges every part; rate, steadiness and memory are measured."""
    images = tmp_path / "images"
    for red in (51, 153, 255):
        put(images, f"{red}.jpg", encoded(red, (30, 70), "JPEG"))
    options = Options(
        make_bundle(tmp_path / "bundle"), images, parts=30, singles=12, line=None, install=False
    )
    report = read_record(station.run(tmp_path / "out", options=options), BenchReport)
    rate, steadiness, memory = report.goals
    assert rate.found is not None
    assert rate.found > 1
    assert steadiness.found is not None
    assert steadiness.found >= 1
    assert memory.found is None or 30 < memory.found < 2_000
    times, verdicts = report.tables
    assert [row[1] for row in times.rows] == [12, 30]
    assert verdicts.rows == (("PASS", 10), ("REJECT", 10), ("REVIEW", 10))


def test_station_that_cannot_open_its_bundle_is_an_error(tmp_path: Path):
    """A bundle that never saw its gate yields no numbers."""
    bundle = make_bundle(tmp_path / "bundle", gated=False)
    with pytest.raises(InspectionError, match="station: ended after 0 parts"):
        station.run_flood(bundle, [encoded(51, (30, 70), "JPEG")], 3, tmp_path / "flood")


def test_folder_without_jpeg_is_refused(tmp_path: Path):
    """Parts for the station must be JPEG, because decoding is part of its work."""
    put(tmp_path, "a.png", encoded(51))
    with pytest.raises(DatasetError, match="found no JPEG"):
        station.read_jpegs(tmp_path)


def test_rate_counts_from_first_to_last_signal():
    """Opening the bundle is not part of the rate; one part has none."""
    assert parts_per_s(Served(arrived_s=[10.0, 10.5, 11.0])) == 2.0
    assert parts_per_s(Served(arrived_s=[10.0])) is None


def test_trainer_in_an_install_misses_the_goal():
    """One package of the trainer is one too many; size is judged in MB of 10⁶ bytes."""
    size, trainer = judge_install(Installed(499_000_000, (), ("torch",)))
    assert (size.found, size.reached) == (499.0, True)
    assert (trainer.what, trainer.found, trainer.reached) == (
        "packages of the trainer in it (torch)",
        1,
        False,
    )


def test_disk_bytes_are_blocks_not_lengths(tmp_path: Path):
    """A folder weighs what its blocks take, as du says."""
    (tmp_path / "a").write_bytes(b"x")
    os.sync()
    blocks = sum(p.lstat().st_blocks for p in (tmp_path, tmp_path / "a"))
    assert station.disk_bytes(tmp_path) == 512 * blocks


def test_own_memory_is_read():
    """The peak of this very process is some tens of MB at least, where the system tells."""
    found = station.peak_memory(os.getpid())
    assert found is None or found > 30e6


def test_install_needs_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where the package was installed without its project file there is nothing to install."""
    monkeypatch.setattr(station, "PROJECT", tmp_path)
    with pytest.raises(InspectionError, match=r"has no pyproject\.toml, README\.md, LICENSE; "):
        station.weigh_install(tmp_path / "work")
