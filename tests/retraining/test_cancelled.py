"""The policy asks again for what a person cancelled where something is new, and only there."""

import pytest

from inspection.hub.reviews import decide
from inspection.hub.wire.retraining import JobKind, JobState
from inspection.hub.wire.review import Decision, NewReview
from inspection.retraining.facts import gather
from tests.hub.parts import part, store
from tests.retraining.loop import ANN, end_job, judge_with, make_config, review
from tests.retraining.test_overkill import held_by_guard

HELD = 20


def hold_by_light(hub, bundle_id: str, begin: int) -> None:
    """Let a guard hold so many of a hundred parts, all reviewed good."""
    parts = [part(begin + number, 0.2, bundle_id=bundle_id) for number in range(100)]
    store(hub, *parts[HELD:], *map(held_by_guard, parts[:HELD]))
    for number in range(HELD):
        good = NewReview(decision=Decision.GOOD, revision=0)
        decide(hub, f"part-{begin + number}", good, ANN)


def test_a_refit_is_in_vain_until_something_is_reviewed(sqlite_hub, tmp_path):
    """For whatever reason it was due: only drift counted what was reviewed since."""
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    review(hub, 1)
    end_job(hub, plate, JobKind.REFIT, JobState.CANCELLED)
    assert gather(hub, config, plate).in_vain == {JobKind.REFIT}
    review(hub, 2)
    assert gather(hub, config, plate).in_vain == set()


@pytest.mark.parametrize("kind", [JobKind.UPDATE, JobKind.RETRAIN])
def test_a_training_counts_anew_and_keeps_no_dearer_one_waiting(sqlite_hub, tmp_path, kind):
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    review(hub, 1)
    end_job(hub, plate, kind, JobState.CANCELLED)
    known = gather(hub, config, plate)
    assert (known.in_vain, known.reviews) == (set(), 0)


def test_guards_learn_from_parts_of_later_and_nothing_is_trained_with_those_of_before(
    sqlite_hub, tmp_path
):
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    bundle_id = judge_with(hub, tmp_path / "bundle")
    hold_by_light(hub, bundle_id, begin=1)
    [held] = gather(hub, config, plate).overkill
    assert (held.by_light, held.rejected) == (True, HELD)
    end_job(hub, plate, JobKind.GUARDS, JobState.CANCELLED)
    assert gather(hub, config, plate).overkill == ()
    hold_by_light(hub, bundle_id, begin=101)
    [held] = gather(hub, config, plate).overkill
    assert (held.by_light, held.rejected) == (True, HELD)
