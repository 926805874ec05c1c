"""What the policy is told of a product, and what a job is asked to do."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import insert, select, true, update

from inspection.bench.redness import make_bundle
from inspection.core.config import load_config
from inspection.core.records import Split, read_manifest
from inspection.core.settings import ExportConfig, TrainConfig
from inspection.hub import jobs
from inspection.hub.forgetting import forget
from inspection.hub.loop_tables import challengers, forgotten
from inspection.hub.loop_tables import jobs as job_rows
from inspection.hub.models import add_bundle
from inspection.hub.reviews import decide
from inspection.hub.stations import enrol, retire
from inspection.hub.tables import bundles
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.retraining import ChallengerState, JobKind, JobState, NewForgotten
from inspection.hub.wire.review import Decision, NewReview
from inspection.metrics.causes import STAYS, Advice, Cause
from inspection.retraining import facts
from inspection.retraining.facts import few, gather, request_of
from inspection.retraining.history import bank_of
from inspection.retraining.policy import Drifted, Facts, Settled, Young
from tests.hub.parts import BEGIN, contradict, draw_mask, part, store
from tests.retraining.loop import ANN, end_job, judge_with, make_config, raise_alarm, review
from tests.retraining.plant import know_bundle


def test_of_a_new_product_nothing_is_known(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    known = gather(sqlite_hub, config, config.products[0])
    assert known == Facts(champion_at=None, updatable=False, reviews=0)


def test_what_was_decided_since_the_last_training_counts(hub, tmp_path):
    config = make_config(tmp_path)
    [plate] = config.products
    judge_with(hub, tmp_path / "bundle")
    review(hub, 1, 2)
    done = end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)
    review(hub, 3)
    review(hub, 4, decision=Decision.DEFECT)
    review(hub, 5, decision=Decision.UNSURE)
    failed = end_job(hub, plate, JobKind.UPDATE, JobState.FAILED)
    refit = end_job(hub, plate, JobKind.REFIT, JobState.DONE)
    known = gather(hub, config, plate)
    assert known.reviews == 2
    assert known.settled == Settled(JobKind.RETRAIN, done.created_at)
    assert (known.training_ended_at, known.refit_ended_at) == (failed.ended_at, refit.ended_at)
    assert known.newest.job_id == refit.job_id
    assert (known.underway, known.challenged) == ("", "")


def test_what_only_one_more_job_in_a_hundred_was_is_still_known(sqlite_hub, tmp_path):
    """Re-fits may be many; the last training lies behind them."""
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    review(hub, 1)
    done = end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)
    request = request_of(hub, plate, JobKind.REFIT)
    row = {"line": "line-1", "product": "plate", "name": "plate", "kind": JobKind.REFIT}
    row |= {"state": JobState.DONE, "why": "", "who": "policy", "ended_at": hub.now()}
    rows = [
        row
        | {
            "job_id": f"{number:064x}",
            "created_at": hub.now(),
            "request": request.model_dump_json(),
        }
        for number in range(150)
    ]
    with hub.database.writing() as connection:
        connection.execute(insert(job_rows), rows)
    known = gather(hub, config, plate)
    assert (known.settled, known.reviews) == (Settled(JobKind.RETRAIN, done.created_at), 0)
    assert known.training_ended_at == done.ended_at


def test_what_no_new_decision_tells_is_new_too(hub, tmp_path):
    """A decision taken back or settled, an outline, a forgotten picture, another configuration."""
    config = make_config(tmp_path)
    [plate] = config.products
    review(hub, 1, 2, 3, 4)
    contradict(hub, 3, Decision.DEFECT)
    end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)

    def said() -> str:
        known = gather(hub, config, plate)
        assert known.reviews == 0
        return known.changed

    assert said() == ""
    review(hub, 5, decision=Decision.UNSURE)
    contradict(hub, 4, Decision.GOOD)
    forget(hub, NewForgotten(sha256="f" * 64, comment="of another product"), "ann")
    assert said() == ""
    decide(hub, "part-1", NewReview(decision=Decision.UNDONE, revision=1), ANN)
    decide(hub, "part-2", NewReview(decision=Decision.UNSURE, revision=1), ANN)
    assert said() == "Since the last one 2 decisions were taken back, settled or disputed."
    contradict(hub, 3, Decision.GOOD, revision=2)  # so the first word stands again
    draw_mask(hub, 4, at=hub.now())
    forget(hub, NewForgotten(sha256=f"{3:064x}", comment="of the first set"), "ann")
    plate.train.write_text("seed: 2\n")
    assert said() == (
        "Since the last one 3 decisions were taken back, settled or disputed, 1 outlines were "
        "drawn, 1 pictures were forgotten, the first set or the configuration is another."
    )
    end_job(hub, plate, JobKind.RETRAIN, JobState.REFUSED)
    assert said() == ""


def test_what_failed_is_in_vain_until_something_is_new(hub, tmp_path):
    config = make_config(tmp_path)
    [plate] = config.products
    judge_with(hub, tmp_path / "bundle")
    review(hub, 1)

    def in_vain() -> set[JobKind]:
        return set(gather(hub, config, plate).in_vain)

    end_job(hub, plate, JobKind.REFIT, JobState.FAILED)
    end_job(hub, plate, JobKind.UPDATE, JobState.IMPOSSIBLE)
    assert in_vain() == {JobKind.REFIT, JobKind.UPDATE}
    review(hub, 2)
    assert in_vain() == {JobKind.UPDATE}  # whatever is reviewed, its bank cannot follow
    end_job(hub, plate, JobKind.RETRAIN, JobState.FAILED)
    assert in_vain() == {JobKind.UPDATE, JobKind.RETRAIN}
    decide(hub, "part-2", NewReview(decision=Decision.UNDONE, revision=1), ANN)
    assert in_vain() == {JobKind.UPDATE, JobKind.REFIT}  # which would learn what it had
    end_job(hub, plate, JobKind.RETRAIN, JobState.FAILED)
    assert in_vain() == {JobKind.UPDATE, JobKind.REFIT, JobKind.RETRAIN}
    end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)
    assert in_vain() == {JobKind.UPDATE, JobKind.REFIT}
    plate.train.write_text("seed: 2\n")
    assert in_vain() == set()


def test_only_what_a_bundle_of_its_name_judged_counts(sqlite_hub, tmp_path):
    """Another camera's bundle is another matter, and one the hub does not know is nobody's."""
    hub, config = sqlite_hub, make_config(tmp_path)
    know_bundle(hub, "c" * 64, "lid")
    store(hub, part(1, 1.5, bundle_id="c" * 64), part(2, 1.5, bundle_id="d" * 64))
    for number in (1, 2):
        decide(hub, f"part-{number}", NewReview(decision=Decision.GOOD, revision=0), ANN)
    review(hub, 3)
    for bundle_id in ("c" * 64, "d" * 64):
        raise_alarm(hub, Cause.TEXTURE, bundle_id=bundle_id)
    known = gather(hub, config, config.products[0])
    assert (known.reviews, known.drifts) == (1, ())


@pytest.mark.parametrize(
    ("cause", "cleared", "is_change"),
    [
        (Cause.TEXTURE, "", True),
        (Cause.SCORE, "refitted", True),
        (Cause.FEATURES, "replaced", True),
        (Cause.TEXTURE, "settled", False),  # it went away by itself
        (Cause.SCORE, "explained", False),  # it only followed from a smear
        (Cause.FOCUS, "", False),  # a hand mends it
    ],
)
def test_a_new_material_wants_parts_that_thresholds_can_be_fitted_on(
    hub, tmp_path, cause, cleared, is_change
):
    config = make_config(tmp_path)
    [plate] = config.products
    since = BEGIN + timedelta(seconds=10)
    ended = {"cleared_at": hub.now(), "why_cleared": cleared} if cleared else {}
    raise_alarm(hub, cause, since=since, **ended)
    review(hub, 1, 10, 11)
    assert request_of(hub, plate, JobKind.RETRAIN).changed_at == (since if is_change else None)
    words = gather(hub, config, plate).unpromised
    assert ("2 of 273 good parts of after that are reviewed" in words) is is_change
    export = tmp_path / "export.yaml"
    export.write_text("false_reject_rate: 0.4\n")
    mild = plate.model_copy(update={"export": export})
    review(hub, *range(12, 20))
    assert not gather(hub, config, mild).unpromised


def test_a_new_material_is_young_until_what_judges_counted_as_much_of_it_as_the_first_set_fits(
    hub, tmp_path
):
    config = make_config(tmp_path)
    [plate] = config.products
    judging = judge_with(hub, tmp_path / "bundle")
    since = BEGIN + timedelta(seconds=10)
    fit = len(read_manifest(plate.manifest).of(Split.FIT))

    def young():
        return gather(hub, config, plate).young

    review(hub, 1, 2)
    end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)
    assert young() is None  # there is no other material
    raise_alarm(hub, Cause.TEXTURE, since=since)
    review(hub, 12, 13)
    assert young() is None  # no training has answered to it
    end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)
    review(hub, 14, 15, 16)
    review(hub, 17, decision=Decision.DEFECT)
    review(hub, 3)  # seen before it changed
    assert young() == Young(since, counted=2, goods=5)
    contradict(hub, 12, Decision.DEFECT)  # counted it was all the same
    assert young() == Young(since, counted=2, goods=4)
    end_job(hub, plate, JobKind.UPDATE, JobState.REFUSED)
    assert young() == Young(since, counted=2, goods=4)  # a full training may follow with the same
    end_job(hub, plate, JobKind.RETRAIN, JobState.REFUSED)
    assert young() == Young(since, counted=4, goods=4)
    later = since + timedelta(seconds=1)
    raise_alarm(hub, Cause.SCORE, since=later)
    assert young() == Young(since, counted=4, goods=4)  # no training answered to that
    review(hub, *range(20, 20 + fit))
    end_job(hub, plate, JobKind.RETRAIN, JobState.REFUSED)
    assert young() == Young(later, counted=4 + fit, goods=4 + fit)  # what judges knows none of it
    end_job(hub, plate, JobKind.UPDATE, JobState.DONE, bundle_id=judging)
    assert young() is None


def test_an_alarm_of_a_retired_station_stands_in_nobodys_way(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    [plate] = config.products
    judging = judge_with(sqlite_hub, tmp_path / "bundle")
    enrol(sqlite_hub, NewStation(line="line-1", station="station-9"), "ann")
    raise_alarm(sqlite_hub, Cause.FOCUS, bundle_id=judging, station="station-9")
    assert len(gather(sqlite_hub, config, plate).drifts) == 1
    retire(sqlite_hub, "station-9", "ann")
    assert gather(sqlite_hub, config, plate).drifts == ()


def test_where_thresholds_would_let_known_defects_pass_a_training_is_advised(
    sqlite_hub, tmp_path, monkeypatch
):
    config = make_config(tmp_path)
    raise_alarm(sqlite_hub, Cause.SCORE)
    card = SimpleNamespace(export=ExportConfig())
    for name, value in (("what_is_missing", ""), ("read_card", card), ("what_bars", "10 of 10")):
        monkeypatch.setattr(facts, name, lambda *_, value=value: value)
    [drifted] = gather(sqlite_hub, config, config.products[0]).drifts
    assert drifted.advice is Advice.RETRAIN


def test_parts_of_another_product_do_not_count(sqlite_hub, tmp_path):
    config = make_config(tmp_path, products=2)
    review(sqlite_hub, 1, 2)
    end_job(sqlite_hub, config.products[0], JobKind.RETRAIN, JobState.DONE)
    other = gather(sqlite_hub, config, config.products[1])
    assert (other.reviews, other.settled, other.newest) == (0, None, None)


@pytest.mark.parametrize("guarded", [True, False])
def test_of_an_alarm_it_is_known_whether_guards_hold_its_frames(sqlite_hub, tmp_path, guarded):
    """While new guards wait for a person, that light is no reason to train."""
    config = make_config(tmp_path)
    raise_alarm(
        sqlite_hub, Cause.LIGHT, raised_at=sqlite_hub.now() - STAYS, guarded=guarded, since=BEGIN
    )
    [drifted] = gather(sqlite_hub, config, config.products[0]).drifts
    advice = Advice.RETRAIN if guarded else Advice.REFIT
    assert (drifted.advice, drifted.guarded) == (advice, guarded)


TOO_FEW = (
    "2 reviewed good parts since the change; thresholds need 60; review more, or set them by hand"
)


def test_good_parts_of_after_a_change_count_until_its_advice_was_followed(hub, tmp_path):
    config = make_config(tmp_path)
    [plate] = config.products
    since = BEGIN + timedelta(seconds=10)
    raise_alarm(hub, Cause.LIGHT, raised_at=hub.now() - STAYS, since=since)
    raise_alarm(hub, Cause.TEXTURE, since=since)
    raise_alarm(hub, Cause.SCORE, since=since, cleared_at=hub.now())
    review(hub, 1, 10, 11)
    review(hub, 12, decision=Decision.DEFECT)
    expected = [
        Drifted(Cause.LIGHT, Advice.REFIT, since, 2, TOO_FEW),
        Drifted(Cause.TEXTURE, Advice.RETRAIN, since, 2),
    ]
    assert list(gather(hub, config, plate).drifts) == expected
    end_job(hub, plate, JobKind.REFIT, JobState.DONE)
    review(hub, 13)
    assert [one.goods for one in gather(hub, config, plate).drifts] == [1, 3]


def test_an_alarm_of_unknown_beginning_counts_from_when_it_was_raised(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    at = BEGIN + timedelta(seconds=2)
    raise_alarm(sqlite_hub, Cause.TEXTURE, raised_at=at)
    review(sqlite_hub, 1, 2, 3)
    [drifted] = gather(sqlite_hub, config, config.products[0]).drifts
    assert (drifted.since, drifted.goods) == (at, 2)


def test_what_is_under_way_is_said(sqlite_hub, tmp_path):
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    jobs.ask(hub, request_of(hub, plate, JobKind.UPDATE), "ann", "glare")
    assert gather(hub, config, plate).underway == "A job (update) asked for by ann is waiting."
    bundle_id = judge_with(hub, tmp_path / "bundle")
    row = {"line": "line-1", "name": "plate", "bundle_id": bundle_id, "champion_id": "c" * 64}
    row |= {"since": BEGIN, "created_at": BEGIN, "comparison": "{}", "words": ""}
    with hub.database.writing() as connection:
        for state in (ChallengerState.WITHDRAWN, ChallengerState.SHADOW):
            connection.execute(insert(challengers).values(state=state, **row))
    said = gather(hub, config, plate).challenged
    assert said == f"Bundle {bundle_id[:12]} scores in the shadow."


def test_a_request_names_all_that_decides_what_comes_of_it(hub, tmp_path):
    config = make_config(tmp_path)
    [plate] = config.products
    review(hub, 1)
    with hub.database.writing() as connection:
        for sha256 in ("f" * 64, "0" * 64):
            row = {"sha256": sha256, "at": hub.now(), "who": "ann", "why": "a hand in it"}
            connection.execute(insert(forgotten).values(row))
    champion = judge_with(hub, tmp_path / "bundle")
    first = request_of(hub, plate, JobKind.RETRAIN)
    assert (first.champion_id, first.forgotten) == (champion, ("0" * 64, "f" * 64))
    assert (first.manifest, first.train.seed) == (plate.manifest, 1)
    assert request_of(hub, plate, JobKind.RETRAIN).job_id == first.job_id
    review(hub, 2)
    later = request_of(hub, plate, JobKind.RETRAIN)
    assert later.reviews_until > first.reviews_until
    assert later.job_id != first.job_id


@pytest.mark.parametrize(
    ("model", "goods", "updatable"),
    [("Patchcore", 2, True), ("Patchcore", 3, False), ("Patchcore", 0, False), ("Stfpm", 2, False)],
)
def test_a_bank_fitted_as_is_configured_takes_in_a_few_pictures(
    sqlite_hub, tmp_path, model, goods, updatable
):
    """Of 12 pictures with two new ones those are a sixth; of 13, three are more than a fifth."""
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    judge_with(hub, tmp_path / "bundle")
    plate.train.write_text(f"model: {model}\nseed: 1\n")
    fitted_as(hub, load_config(plate.train, TrainConfig))
    review(hub, *range(1, goods + 1))
    assert gather(hub, config, plate).updatable is updatable


@pytest.mark.parametrize(("below", "updatable"), [(0.1, False), (0.5, True)])
def test_how_many_are_few_is_configured(sqlite_hub, tmp_path, below, updatable):
    """Of 13 pictures three are new."""
    hub, config = sqlite_hub, make_config(tmp_path, update_below=below)
    [plate] = config.products
    judge_with(hub, tmp_path / "bundle")
    fitted_as(hub, load_config(plate.train, TrainConfig))
    review(hub, 1, 2, 3)
    assert gather(hub, config, plate).updatable is updatable


def test_a_bank_fitted_otherwise_than_is_configured_now_is_not_updated(sqlite_hub, tmp_path):
    hub, config = sqlite_hub, make_config(tmp_path)
    judge_with(hub, tmp_path / "bundle")
    fitted_as(hub, TrainConfig(seed=7))
    review(hub, 1)
    assert not gather(hub, config, config.products[0]).updatable


def test_few_is_some_and_not_too_many():
    assert [few(fresh, 10, 0.2) for fresh in (0, 1, 2, 3)] == [False, True, True, False]


def fitted_as(hub, train: TrainConfig, bundle_id: str | None = None) -> None:
    """Let a bundle's card, or that of all, say how it was fitted."""
    one = true() if bundle_id is None else bundles.c.bundle_id == bundle_id
    with hub.database.writing() as connection:
        cards = select(bundles.c.card).where(one).limit(1)
        card = json.loads(connection.execute(cards).scalar_one())
        card |= {"train": train.model_dump(mode="json"), "model": train.model}
        connection.execute(update(bundles).where(one).values(card=json.dumps(card)))


def test_a_training_may_follow_a_refused_update_with_what_that_had_learnt(sqlite_hub, tmp_path):
    """What an update made nothing of is not spent; what a training made nothing of is."""
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    since = BEGIN + timedelta(seconds=10)
    raise_alarm(hub, Cause.TEXTURE, since=since)
    review(hub, 11, 12)
    for kind, goods in ((JobKind.UPDATE, 2), (JobKind.RETRAIN, 0)):
        end_job(hub, plate, kind, JobState.REFUSED)
        assert [one.goods for one in gather(hub, config, plate).drifts] == [goods]


def test_guards_may_learn_once_for_a_bundle_and_its_bank_has_learnt_nothing_then(
    sqlite_hub, tmp_path
):
    """What was reviewed before new guards is still new to the bank."""
    hub, config = sqlite_hub, make_config(tmp_path, update_below=0.5)
    [plate] = config.products
    judge_with(hub, tmp_path / "bundle")
    fitted_as(hub, load_config(plate.train, TrainConfig))
    review(hub, 1)
    assert gather(hub, config, plate).guardable
    job = end_job(hub, plate, JobKind.GUARDS, JobState.DONE)
    known = gather(hub, config, plate)
    assert (known.guardable, known.reviews, known.settled) == (False, 1, None)
    assert known.training_ended_at == job.ended_at
    guarded = judge_with(hub, tmp_path / "guarded")
    fitted_as(hub, load_config(plate.train, TrainConfig), guarded)
    with hub.database.writing() as connection:
        connection.execute(update(job_rows).values(bundle_id=guarded))
    known = gather(hub, config, plate)
    assert (known.guardable, known.updatable) == (False, True)
    end_job(hub, plate, JobKind.UPDATE, JobState.REFUSED)
    assert not gather(hub, config, plate).guardable
    end_job(hub, plate, JobKind.RETRAIN, JobState.DONE)
    assert gather(hub, config, plate).guardable


def test_guards_that_made_the_very_bundle_again_lead_nowhere(sqlite_hub, tmp_path):
    hub, [plate] = sqlite_hub, make_config(tmp_path).products
    champion = judge_with(hub, tmp_path / "bundle")
    end_job(hub, plate, JobKind.GUARDS, JobState.DONE, bundle_id=champion)
    with hub.database.reading() as connection:
        assert bank_of(connection, plate, champion) == champion


def test_guards_that_cannot_learn_alone_are_asked_for_again_after_a_training_only(
    sqlite_hub, tmp_path
):
    """Say, of a bundle whose bank has a picture that was forgotten."""
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    judge_with(hub, tmp_path / "bundle")
    review(hub, 1)
    end_job(hub, plate, JobKind.GUARDS, JobState.IMPOSSIBLE)
    review(hub, 2)
    assert gather(hub, config, plate).in_vain == {JobKind.GUARDS}
    judge_with(hub, tmp_path / "trained")
    assert gather(hub, config, plate).in_vain == set()


def test_guards_of_a_bundle_fitted_otherwise_cannot_learn_alone(sqlite_hub, tmp_path):
    hub, config = sqlite_hub, make_config(tmp_path)
    judge_with(hub, tmp_path / "bundle")
    fitted_as(hub, TrainConfig(seed=7))
    assert not gather(hub, config, config.products[0]).guardable


def test_while_a_bundle_waits_for_a_person_no_other_has_new_guards(sqlite_hub, tmp_path):
    hub, config = sqlite_hub, make_config(tmp_path)
    [plate] = config.products
    champion = judge_with(hub, tmp_path / "bundle")
    fitted_as(hub, load_config(plate.train, TrainConfig))
    waits = add_bundle(hub, make_bundle(tmp_path / "waits", name="plate"), "test").bundle_id
    assert waits != champion
    row = {"line": "line-1", "name": "plate", "bundle_id": waits, "champion_id": champion}
    row |= {"state": ChallengerState.HELD, "comparison": "{}", "words": "", "since": hub.now()}
    with hub.database.writing() as connection:
        connection.execute(insert(challengers).values(row | {"created_at": hub.now()}))
    known = gather(hub, config, plate)
    assert (known.guardable, known.guards_wait) == (False, False)
    end_job(hub, plate, JobKind.GUARDS, JobState.DONE)
    with hub.database.writing() as connection:
        connection.execute(update(job_rows).values(bundle_id=waits))
    assert gather(hub, config, plate).guards_wait
