import pytest
from pydantic import ValidationError

from inspection.core.errors import InspectionError
from inspection.report.edge import (
    ProbeRequest,
    energy_between_uj,
    percentile,
    read_energy_uj,
    size_on_disk,
)

pytestmark = pytest.mark.fast


def package(root, name, energy_uj, range_uj=1000):
    """Write the counters of one package."""
    zone = root / name
    zone.mkdir()
    (zone / "energy_uj").write_text(f"{energy_uj}\n")
    (zone / "max_energy_range_uj").write_text(f"{range_uj}\n")


def test_energy_sums_packages_and_leaves_their_parts_out(tmp_path):
    """Counters of all packages are read; zones within a package would count twice."""
    package(tmp_path, "intel-rapl:0", 100)
    package(tmp_path, "intel-rapl:1", 50)
    package(tmp_path, "intel-rapl:0:0", 40)
    assert read_energy_uj(tmp_path) == {"intel-rapl:0": 100, "intel-rapl:1": 50}


def test_no_counters_are_not_zero_energy(tmp_path):
    """A machine that tells no energy gives none, not 0."""
    assert read_energy_uj(tmp_path) is None
    assert energy_between_uj(None, None, tmp_path) is None


def test_unreadable_counter_gives_no_energy(tmp_path):
    """One package whose counter cannot be read makes the sum unknown."""
    package(tmp_path, "intel-rapl:0", 100)
    (tmp_path / "intel-rapl:1").mkdir()
    assert read_energy_uj(tmp_path) is None


def test_wrapped_counter_is_mended(tmp_path):
    """A counter that began again at 0 is continued by its range."""
    package(tmp_path, "intel-rapl:0", 0, range_uj=1000)
    package(tmp_path, "intel-rapl:1", 0)
    before = {"intel-rapl:0": 900, "intel-rapl:1": 10}
    after = {"intel-rapl:0": 100, "intel-rapl:1": 15}
    assert energy_between_uj(before, after, tmp_path) == 205


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_percentiles_are_measured_values(share, expected):
    """A percentile is one of the measured times, by nearest rank."""
    assert percentile(list(range(1, 101)), share) == expected


def test_percentile_of_few_values_is_the_worst():
    """The 99th percentile of ten times is the longest; of none it is refused."""
    assert percentile([1.0, 2.0, 9.0], 0.99) == 9.0
    with pytest.raises(InspectionError, match="percentile of no values"):
        percentile([], 0.5)


def test_size_on_disk_counts_all_files(tmp_path):
    """The size is that of every file, folders within included."""
    (tmp_path / "golden").mkdir()
    (tmp_path / "card.json").write_bytes(b"12345")
    (tmp_path / "golden" / "0.png").write_bytes(b"123")
    assert size_on_disk(tmp_path) == 8


def test_a_request_needs_an_image():
    """Nothing is timed without a part to judge."""
    with pytest.raises(ValidationError, match="at least 1 item"):
        ProbeRequest(bundle="b", images=())
