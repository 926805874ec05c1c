"""Thresholds that were fitted on a part whose picture was forgotten: named, due, fitted again."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from inspection.core.decision import Band
from inspection.hub import jobs
from inspection.hub.forgetting import forget, list_forgotten
from inspection.hub.hub import Hub
from inspection.hub.models import choose
from inspection.hub.overview import overview
from inspection.hub.reviews import decide
from inspection.hub.tables import EPOCH
from inspection.hub.thresholds import apply_thresholds, list_thresholds, revert_thresholds
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.retraining import JobKind, JobState, NewForgotten
from inspection.hub.wire.review import Decision, NewReview
from inspection.hub.wire.thresholds import NewThresholds, Revert
from inspection.metrics.causes import Advice, Cause
from inspection.retraining.facts import gather, request_of
from inspection.retraining.policy import Drifted, Facts, Unlearnt
from inspection.retraining.policy import decide as decide_due
from inspection.retraining.refit import refit
from inspection.retraining.settings import Allowed, Policy, RetrainedProduct, RetrainingConfig
from tests.hub.parts import BEGIN, add_picture, contradict, part, store
from tests.hub.scored import BUNDLE
from tests.retraining.loop import ANN, make_config, raise_alarm
from tests.retraining.test_refit import equip, request, say

HELD = [1.01 + number / 125 for number in range(120)]  # for review, so all have a say
HALF = HELD[::2]  # 60: as few as a re-fit may learn from


@pytest.fixture(autouse=True)
def _own_key(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


@pytest.fixture
def line(hub) -> Hub:
    """A line on which the bundle judges by its card, and 61 good parts were reviewed."""
    return ready(hub)


def ready(hub: Hub) -> Hub:
    equip(hub, [1.005, *HALF], reviewed=lambda number, score: True)
    choose(hub, "line-1", NewChoice(bundle_id=BUNDLE, comment="first"), "test")
    return hub


def fit(hub: Hub) -> str:
    """Re-fit as a job would; give the record."""
    refit(hub, request(hub))
    return list_thresholds(hub, "line-1")[0].sha256


def forget_part(hub: Hub, number: int) -> tuple[str, ...]:
    """Forget the picture of a part; give the thresholds that its part had a say in."""
    sha256 = hashlib.sha256(add_picture(hub, number)).hexdigest()
    return forget(hub, NewForgotten(sha256=sha256, comment="a hand"), "eve").thresholds


def said(hub: Hub) -> list[str]:
    return [one.what for one in overview(hub, 8).needs if one.page == "retraining"]


def test_thresholds_in_force_that_were_fitted_on_it_are_named(line):
    """In what forgetting answers, in the list, and among what the line needs."""
    assert (said(line), list_forgotten(line)) == ([], ())
    record = fit(line)
    assert forget_part(line, 7) == (record,)
    assert [one.thresholds for one in list_forgotten(line)] == [(record,)]
    assert said(line) == [
        f"thresholds of bundle 'redness', record {record[:12]}, were fitted on 1 pictures that "
        "were forgotten; fit them again, or set them by hand"
    ]


def test_a_part_that_had_no_say_taints_nothing(sqlite_hub):
    """Forgotten before, of before the change, unsure, disputed, or reviewed afterwards."""
    hub = sqlite_hub
    equip(hub, [1.005, *HELD], reviewed=lambda number, score: number not in {90, 91})
    raise_alarm(hub, Cause.LIGHT, bundle_id=BUNDLE, since=BEGIN + timedelta(seconds=5))
    say(hub, 90, Decision.UNSURE)
    contradict(hub, 92, Decision.DEFECT)
    assert forget_part(hub, 93) == ()
    record = fit(hub)
    say(hub, 91, Decision.GOOD)
    decide(hub, "part-90", NewReview(decision=Decision.GOOD, revision=1), ANN)
    assert [forget_part(hub, number) for number in (4, 90, 91, 92)] == [()] * 4
    assert forget_part(hub, 5) == (record,), "the first after the change"


def test_thresholds_of_a_person_stand_for_themselves_and_what_is_brought_back_does_not(line):
    """The band in force counts, not who made the record."""
    record = fit(line)
    forget_part(line, 7)
    band = Band(review_above=1.2, reject_above=2.0)
    own = NewThresholds(
        bundle_id=BUNDLE,
        band=band,
        stations=("station-1",),
        product="plate",
        comment="mine",
        previous=record,
    )
    hand = apply_thresholds(line, "line-1", own, "bob")
    assert [one.thresholds for one in list_forgotten(line)] == [()]
    back = revert_thresholds(line, "line-1", Revert(sha256=hand.sha256, comment="no"), "bob")
    assert [one.thresholds for one in list_forgotten(line)] == [(back.sha256,)]
    card = revert_thresholds(line, "line-1", Revert(sha256=back.sha256, comment="no"), "bob")
    assert card.band == band, "what the record before it says"
    assert [one.thresholds for one in list_forgotten(line)] == [()]


def configured(hub: Hub, folder) -> tuple[RetrainingConfig, RetrainedProduct]:
    config = make_config(folder)
    return config, config.products[0].model_copy(update={"bundle": "redness"})


def test_a_re_fit_is_due_until_one_without_it_is_done(sqlite_hub, tmp_path):
    """It needs parts that were reviewed since, as each re-fit does, and says how many."""
    hub = ready(sqlite_hub)
    config, product = configured(hub, tmp_path)
    fit(hub)
    assert gather(hub, config, product).unlearnt is None
    forget_part(hub, 7)
    found = gather(hub, config, product).unlearnt
    assert found.pictures == 1
    assert found.missing.startswith("0 reviewed good parts since the change; thresholds need 60")
    again(hub)
    assert gather(hub, config, product).unlearnt == Unlearnt(1, "")
    job = jobs.ask(hub, request_of(hub, product, JobKind.REFIT), "policy", "due")
    refit(hub, request_of(hub, product, JobKind.REFIT))
    jobs.finish(hub, jobs.lease(hub, "pc", 60, job.job_id), JobState.DONE, "ended")
    assert gather(hub, config, product).unlearnt is None
    assert [one.thresholds for one in list_forgotten(hub)] == [()]
    assert forget_part(hub, 8) == (), "of before the thresholds that the new ones followed"


def test_a_re_fit_without_it_that_comes_to_the_same_band_is_enough(sqlite_hub, tmp_path):
    """Else the same would be due for ever: a band that stays makes no record."""
    hub = ready(sqlite_hub)
    config, product = configured(hub, tmp_path)
    fit(hub)
    forget_part(hub, 7)
    job = jobs.ask(hub, request_of(hub, product, JobKind.REFIT), "policy", "due")
    jobs.finish(hub, jobs.lease(hub, "pc", 60, job.job_id), JobState.DONE, "the band stays")
    assert gather(hub, config, product).unlearnt is None


def again(hub: Hub) -> None:
    """Make and review parts after what was set last."""
    now = hub.now() - EPOCH
    late = [part(number, score) for number, score in enumerate(HALF, 501)]
    begin = EPOCH + now + timedelta(seconds=1)
    moved = {"captured_at": begin, "judged_at": begin}
    store(hub, *(one.model_copy(update=moved) for one in late))
    for one in late:
        say(hub, one.sequence, Decision.GOOD)


NOW = datetime(2026, 3, 11, 12, tzinfo=UTC)
KNOWN = Facts(champion_at=NOW, updatable=False, reviews=0, unlearnt=Unlearnt(2, ""))
LENS = Drifted(Cause.FOCUS, Advice.CLEAN, NOW, 0)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("facts", "kind", "words"),
    [
        (
            KNOWN,
            JobKind.REFIT,
            "Due is a re-fit of the thresholds. The thresholds were fitted on 2 pictures that were "
            "forgotten since.",
        ),
        (
            replace(KNOWN, unlearnt=Unlearnt(2, "review 5 more")),
            None,
            "forgotten since. To fit them again: review 5 more.",
        ),
        (replace(KNOWN, drifts=(LENS,)), None, "forgotten since. But first: Clean the lens"),
    ],
    ids=["due", "too few reviewed", "a dirty lens is not learnt"],
)
def test_policy_asks_for_a_re_fit_where_it_can_be_made(facts, kind, words):
    due = decide_due(Policy(allowed=Allowed.REFIT), facts, NOW)
    assert (due.kind, due.allowed, words in due.words) == (kind, kind is not None, True)
