"""By which bands bundles are compared: those in force on the line, fixed in the job's folder."""

from datetime import UTC, datetime

import pytest

from inspection.bench.redness import make_bundle
from inspection.core.decision import Band
from inspection.core.errors import InspectionError
from inspection.core.records import Manifest, hash_file, write_record
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub.job_request import JobRequest
from inspection.hub.models import add_bundle
from inspection.hub.stations import enrol
from inspection.hub.thresholds import apply_thresholds, list_thresholds
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.retraining import JobKind, Step
from inspection.hub.wire.thresholds import NewThresholds, ThresholdRow
from inspection.retraining import bands
from inspection.retraining.assemble import MANIFEST, RECENT
from inspection.retraining.bands import Bands, fix_bands
from inspection.retraining.policy import Overkill
from inspection.retraining.steps import JobFolder

BAND, LATER = (Band(review_above=low, reject_above=9.0) for low in (1.0, 2.0))


@pytest.fixture
def hub(sqlite_hub, tmp_path, monkeypatch):
    """A line with two bundles."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    for name, gain in (("champion", 1.0), ("rival", 2.0)):
        add_bundle(sqlite_hub, make_bundle(tmp_path / name, gain=gain), "test")
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    return sqlite_hub


@pytest.fixture
def fix(hub, tmp_path):
    """Fixes the bands for a job of plates."""
    (tmp_path / "job").mkdir()
    return lambda: fix_bands(hub, request(tmp_path), tmp_path / "rival", tmp_path / "job")


def bundle_id(folder) -> str:
    return hash_file(folder / "SHA256SUMS")


def request(folder) -> JobRequest:
    return JobRequest(
        line="line-1",
        product="plate",
        name="plate",
        kind=JobKind.UPDATE,
        champion_id=bundle_id(folder / "champion"),
        manifest="set.json",
        manifest_sha256="0" * 64,
        reviews_until=0,
        forgotten=(),
        train=TrainConfig(),
        export=ExportConfig(),
        asked_at=datetime(2026, 5, 1, tzinfo=UTC),
    )


def apply(hub, bundle, band: Band, *stations: str, who: str = "ann", **scope: str) -> None:
    """Apply a band after the newest for these frames, as the line's one who looks at it does."""
    frames = bundle_id(bundle), scope.get("product"), scope.get("camera")
    kept = (row for row in list_thresholds(hub, "line-1") if covers(row, *frames))
    new = NewThresholds(
        bundle_id=bundle_id(bundle),
        band=band,
        stations=stations or ("station-1",),
        comment="a reason",
        previous=next((row.sha256 for row in kept), None),
        **scope,
    )
    apply_thresholds(hub, "line-1", new, who)


def covers(row: ThresholdRow, bundle: str, product: str | None, camera: str | None) -> bool:
    mine = row.product in {None, product} and row.camera in {None, camera}
    return row.bundle_id == bundle and mine


def test_without_a_record_the_cards_bands_hold(fix):
    assert fix() == Bands()


def test_the_newest_record_for_all_cameras_is_in_force(hub, fix, tmp_path):
    """A re-fit is for one product; what is set for another, or for one camera, says nothing."""
    apply(hub, tmp_path / "champion", BAND)
    apply(hub, tmp_path / "champion", LATER, product="cup")
    apply(hub, tmp_path / "champion", LATER, product="plate", camera="top")
    assert fix() == Bands(champion=BAND, by_hand=True)
    apply(hub, tmp_path / "champion", LATER, product="plate")
    assert fix() == Bands(champion=LATER, by_hand=True)


def test_a_trial_on_one_station_is_not_the_champions_band(hub, fix, tmp_path):
    """Nor is the champion's band set by hand, where the other stations have their own."""
    names = [f"station-{number}" for number in range(1, 11)]
    for name in names[1:]:
        enrol(hub, NewStation(station=name, line="line-1"), "test")
    apply(hub, tmp_path / "champion", LATER)
    assert fix() == Bands()
    apply(hub, tmp_path / "champion", BAND, *names, who="policy", product="plate")
    apply(hub, tmp_path / "champion", LATER, product="plate", camera="top")
    apply(hub, tmp_path / "champion", LATER, product="plate")
    assert fix() == Bands(champion=BAND)


def test_a_cameras_band_on_the_whole_line_was_set_by_hand(hub, fix, tmp_path):
    apply(hub, tmp_path / "champion", BAND, who="policy", product="plate")
    apply(hub, tmp_path / "champion", LATER, camera="top")
    assert fix() == Bands(champion=BAND, by_hand=True)


@pytest.mark.parametrize(("by_hand", "held"), [(False, 0.184), (True, 0.0)])
def test_what_the_champion_surely_holds_beyond_its_promise_is_known(
    fix, monkeypatch, by_hand, held
):
    found = Overkill(31, 100, 0.05, by_hand=by_hand)
    monkeypatch.setattr(bands, "find_overkill", lambda *_, **__: (found,))
    fixed = fix()
    assert fixed.held == pytest.approx(held, abs=0.002)
    assert fixed.by_threshold is not by_hand


def test_a_challenger_may_have_a_band_of_its_own(hub, fix, tmp_path):
    """The same bundle may have been made before."""
    apply(hub, tmp_path / "rival", BAND, product="plate")
    assert fix() == Bands(challenger=BAND)


def test_a_band_that_changes_makes_the_comparison_anew(hub, fix, tmp_path, monkeypatch):
    """Without the bands there is nothing to compare by."""
    folder = JobFolder.make(tmp_path / "job", request(tmp_path))
    write_record(folder.assembled / MANIFEST, Manifest(root=".", layout="plain", entries=()))
    write_record(folder.assembled / RECENT, folder.manifest)
    monkeypatch.setattr(JobFolder, "bundle", tmp_path / "rival")
    with pytest.raises(InspectionError, match="wanted a Bands"):
        folder.digest(Step.COMPARE)
    fix()
    before = folder.digest(Step.COMPARE)
    apply(hub, tmp_path / "champion", BAND, product="cup")
    fix()
    assert folder.digest(Step.COMPARE) == before
    apply(hub, tmp_path / "champion", BAND, product="plate")
    fix()
    assert folder.digest(Step.COMPARE) != before
