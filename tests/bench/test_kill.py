"""A retraining whose process is killed goes on and makes the same bundle."""

import pytest

from inspection.bench.retraining.kill import BOUNDARIES, Tally, Trial
from inspection.bench.retraining.product import make_plant
from inspection.hub.wire.retraining import Step


@pytest.fixture(autouse=True, scope="module")
def _own_key(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        key = tmp_path_factory.mktemp("key") / "keys"
        environment.setenv("INSPECTION_KEYS", str(key))
        yield


def test_every_boundary_is_there():
    assert len(BOUNDARIES) == 3 * len(Step) + 4


def test_a_killed_retraining_makes_the_same_bundle_and_nothing_half_made_is_seen(tmp_path):
    """At one boundary; the bench does all of them, and random moments."""
    trial, tally = Trial(tmp_path), Tally()
    trial.kill_at(BOUNDARIES["the bundle is added, the job not ended"], tally)
    assert (tally.kills, tally.again) == (1, 0)
    assert (tally.jobs, tally.alike, tally.half) == (1, 1, 0)


def test_the_small_plant_is_always_the_same(tmp_path):
    """Else its bundles would differ for that reason."""
    one, other = (make_plant(tmp_path / name) for name in ("one", "other"))
    names = [path.relative_to(one.folder) for path in sorted((one.folder / "set").rglob("*.png"))]
    assert len(names) == 28
    for name in names:
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
