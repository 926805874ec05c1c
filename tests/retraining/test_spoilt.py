"""What was seen while something was wrong that a hand has mended since says and teaches nothing."""

from datetime import timedelta

import pytest

from inspection.core.decision import Band
from inspection.hub.stations import enrol
from inspection.hub.thresholds import apply_thresholds, carry_thresholds, list_thresholds
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.thresholds import NewThresholds
from inspection.metrics.causes import Cause
from inspection.retraining.known import EPOCH, Scope, what_is_missing
from inspection.retraining.scheduler import watch
from inspection.retraining.spoilt import spoilt_events
from tests.hub.parts import BEGIN
from tests.retraining.loop import judge_with, make_config, raise_alarm, review
from tests.retraining.plant import KNOWN, know_bundle

RIVAL = "c" * 64
BAND = Band(review_above=50.0, reject_above=60.0)


def mended(hub, cause: Cause, **changes) -> None:
    """Let an alarm have stood from part 10 to part 12."""
    times = {"since": BEGIN + timedelta(seconds=10), "cleared_at": BEGIN + timedelta(seconds=12)}
    raise_alarm(hub, cause, **{"why_cleared": "settled"} | times | changes)


def spoilt(hub, as_of=None) -> set[str]:
    with hub.database.reading() as connection:
        return spoilt_events(connection, "line-1", "plate", as_of or hub.now())


def test_parts_seen_through_a_dirty_lens_are_known(hub):
    review(hub, 1, 9, 10, 11, 12, 13)
    mended(hub, Cause.FOCUS)
    assert spoilt(hub) == {"part-10", "part-11", "part-12"}
    assert spoilt(hub, BEGIN + timedelta(seconds=11)) == set(), "nobody knew it then"


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        (Cause.TEXTURE, {}),  # it is the material
        (Cause.LIGHT, {"why_cleared": "refitted"}),  # it is accepted, and stays
        (Cause.FOCUS, {"camera": "side"}),
        (Cause.FOCUS, {"station": "another"}),
        (Cause.FOCUS, {"product": "ring"}),
    ],
)
def test_what_stays_or_is_elsewhere_spoils_nothing(sqlite_hub, cause, changes):
    review(sqlite_hub, 10, 11)
    mended(sqlite_hub, cause, **changes)
    assert spoilt(sqlite_hub) == set()


def test_thresholds_are_not_fitted_on_them(sqlite_hub):
    review(sqlite_hub, *range(1, 14))
    scope = Scope("line-1", "plate", KNOWN, EPOCH)
    with sqlite_hub.database.reading() as connection:
        before = what_is_missing(connection, scope, 0.01)
    mended(sqlite_hub, Cause.FOCUS)
    with sqlite_hub.database.reading() as connection:
        after = what_is_missing(connection, scope, 0.01)
    assert before.startswith("13 reviewed good parts")
    assert after.startswith("10 reviewed good parts")


@pytest.mark.parametrize(
    ("cause", "who", "is_taken_back"),
    [
        (Cause.FOCUS, "policy", True),
        (Cause.FOCUS, "ann", False),  # a person's are the person's
        (Cause.TEXTURE, "policy", False),
    ],
)
def test_a_refit_of_a_dirty_lens_is_taken_back_when_it_is_clean(
    hub, tmp_path, cause, who, is_taken_back
):
    config = make_config(tmp_path, policy={"allowed": "refit"})
    bundle_id = judge_with(hub, tmp_path / "bundle")
    enrol(hub, NewStation(station="station-1", line="line-1"), "test")
    new = NewThresholds(
        bundle_id=bundle_id, band=BAND, stations=("station-1",), product="plate", comment="fitted"
    )
    apply_thresholds(hub, "line-1", new, who)
    assert watch(hub, config) == ()
    assert len(list_thresholds(hub, "line-1")) == 1
    now = hub.now()
    times = {"since": now - timedelta(hours=2), "cleared_at": now + timedelta(seconds=5)}
    raise_alarm(hub, cause, bundle_id=bundle_id, why_cleared="settled", **times)
    for _ in range(2):
        assert watch(hub, config) == ()
    newest, *older = list_thresholds(hub, "line-1")
    assert len(older) == int(is_taken_back)
    assert ("which is mended" in newest.why) is is_taken_back
    if is_taken_back:
        assert newest.band != BAND


def test_a_refit_of_before_that_new_guards_took_over_stays(sqlite_hub, tmp_path):
    """It was carried while the lamp was weak, but fitted long before."""
    config = make_config(tmp_path, policy={"allowed": "refit"})
    bundle_id = judge_with(sqlite_hub, tmp_path / "bundle")
    know_bundle(sqlite_hub, RIVAL)
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    new = NewThresholds(
        bundle_id=bundle_id, band=BAND, stations=("station-1",), product="plate", comment="fitted"
    )
    fitted = apply_thresholds(sqlite_hub, "line-1", new, "policy")
    carry_thresholds(sqlite_hub, "line-1", bundle_id, RIVAL)
    now = sqlite_hub.now()
    times = {"since": fitted.when + timedelta(microseconds=1), "cleared_at": now}
    raise_alarm(sqlite_hub, Cause.LIGHT, bundle_id=bundle_id, why_cleared="settled", **times)
    watch(sqlite_hub, config)
    rows = list_thresholds(sqlite_hub, "line-1")
    assert [one.bundle_id for one in rows] == [RIVAL, bundle_id]
