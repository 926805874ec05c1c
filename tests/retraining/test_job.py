"""One job from its first step to its end, and whoever dies on the way."""

import logging
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import pytest
from sqlalchemy import update

from inspection.bundles.bundle import read_card
from inspection.core.decision import Band
from inspection.core.errors import HubError, TrainingError
from inspection.core.guards import LIGHT, GuardLimits
from inspection.core.progress import tell
from inspection.core.records import write_text
from inspection.core.settings import GateLimits
from inspection.hub import jobs
from inspection.hub.challengers import list_challengers
from inspection.hub.forgetting import forget
from inspection.hub.hub import Hub, open_hub
from inspection.hub.job_request import JobRequest
from inspection.hub.jobs import Leased
from inspection.hub.loop_tables import jobs as job_rows
from inspection.hub.models import add_bundle, choose, list_bundles
from inspection.hub.settings import HubConfig
from inspection.hub.stations import enrol
from inspection.hub.thresholds import apply_thresholds, carry_thresholds, list_thresholds
from inspection.hub.wire.line import NewStation
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.retraining import (
    ChallengerState,
    Comparison,
    Job,
    JobKind,
    JobState,
    NewForgotten,
    Step,
)
from inspection.hub.wire.thresholds import NewThresholds
from inspection.retraining import job as job_module
from inspection.retraining.job import MOST_TRIES, Perform, Stopped, run_job
from inspection.retraining.settings import Policy, RetrainedProduct, RetrainingConfig
from inspection.retraining.steps import COMPARISON, JobFolder, perform
from tests.retraining.plant import ASKED_AT, EXPORT, KNOWN, first_set, request_for, review
from tests.training.tiny import tiny_config

ALIKE = Comparison(better=False, not_worse=True, frozen=None, recent=None, words="As good.")
UNKNOWN = ALIKE.model_copy(update={"not_worse": False, "words": "Too few parts."})
WORSE = ALIKE.model_copy(update={"not_worse": False, "worse": True, "words": "It is worse."})
ALWAYS = [{"begin": "00:00", "end": "00:00"}]  # a blackout that never ends
TOOK = re.compile(r"(\w+): [\d.]+ s")
Performer = Callable[..., Perform]


@pytest.fixture(autouse=True, scope="module")
def _own_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Sign with a key of these tests."""
    with pytest.MonkeyPatch.context() as environment:
        key = tmp_path_factory.mktemp("key") / "keys"
        environment.setenv("INSPECTION_KEYS", str(key))
        environment.setattr("inspection.export.evidence.TIMED_RUNS", 10)
        environment.setattr("inspection.export.evidence.WARM_RUNS", 2)
        yield


@pytest.fixture(scope="module")
def _trainer() -> None:
    """Load the trainer's libraries, which warn of their own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anomalib.models  # noqa: F401


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return first_set(tmp_path_factory.mktemp("first"))


def made(hub: Hub) -> list:
    """Give the bundles that jobs, or tests, brought."""
    return [one for one in list_bundles(hub) if one.bundle_id != KNOWN]


def reviewed(hub: Hub) -> Hub:
    review(hub, *range(1, 9), defects=(9,))
    return hub


@pytest.fixture(scope="module")
def finished(
    base: Path, empty_sqlite: Path, tmp_path_factory: pytest.TempPathFactory, _trainer: None
) -> Iterator[tuple[Hub, Job, Path]]:
    """A real training that nobody disturbed: its hub, its job, and its folder."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(empty_sqlite, folder / "hub.sqlite")
    hub = open_hub(
        HubConfig(
            database=f"sqlite:///{folder}/hub.sqlite",
            artefacts=str(folder / "artefacts"),
            cache_dir=folder / "cache",
        )
    )
    leased = asked(reviewed(hub), request_for(hub, base))
    assert run_job(hub, config_in(folder), leased, perform) is JobState.DONE
    yield hub, jobs.get_job(hub, leased.job_id), folder / leased.job_id
    hub.close()


@pytest.fixture
def performing(finished) -> Performer:
    """Gives a Perform that takes what the undisturbed job has made, where it has."""

    def make(comparison: Comparison = ALIKE, seen: list[Step] | None = None) -> Perform:
        def one(step: Step, folder: Path) -> None:
            out = JobFolder(folder).output(step)
            made = finished[2] / out.relative_to(folder)
            if seen is not None:
                seen.append(step)
            if step is Step.COMPARE:
                write_text(out / COMPARISON, comparison.model_dump_json())
            elif made.exists():
                shutil.copytree(made, out)
            else:
                perform(step, folder)

        return one

    return make


def config_in(folder: Path, **policy) -> RetrainingConfig:
    product = RetrainedProduct(
        line="line-1",
        product="plate",
        bundle="plate",
        manifest=Path("unused.json"),
        train=Path("unused.yaml"),
        policy=Policy(**policy),
    )
    return RetrainingConfig(work_dir=folder, lease_s=5, products=(product,))


def asked(hub: Hub, request: JobRequest) -> Leased:
    jobs.ask(hub, request, "ann", "to see")
    leased = jobs.lease(hub, "test", 60, request.job_id)
    assert leased is not None
    return leased


def taken_over(hub: Hub, job_id: str) -> Leased:
    """Take a job whose worker died, when its lease has run out."""
    with hub.database.writing() as connection:
        over = {"leased_until": hub.now() - timedelta(seconds=1)}
        connection.execute(update(job_rows).where(job_rows.c.job_id == job_id).values(over))
    leased = jobs.lease(hub, "another", 60, job_id)
    assert leased is not None
    return leased


def test_a_job_ends_with_a_bundle_on_the_hub(finished):
    """Every step is noted with its digest; the hub has the bundle and its words."""
    hub, job, folder = finished
    (bundle,) = made(hub)
    assert (job.state, job.bundle_id, bundle.name) == (JobState.DONE, bundle.bundle_id, "plate")
    assert bundle.created_at == request_date(hub, job)
    assert [one.step for one in job.steps] == list(Step)
    assert {one.tries for one in job.steps} == {1}
    assert job.steps[0].note.startswith("fit 1")
    assert "A person chooses the first bundle" in job.outcome
    lines = [line.text for line in jobs.job_log(hub, job.job_id)]
    assert [found[1] for found in map(TOOK.fullmatch, lines) if found] == list(Step)
    assert not list(folder.glob(".*")), "nothing half made is left"


def request_date(hub: Hub, job: Job):
    with hub.database.reading() as connection:
        row = connection.execute(job_rows.select().where(job_rows.c.job_id == job.job_id)).one()
    return JobRequest.model_validate_json(row.request).asked_at


def test_whoever_takes_a_dead_workers_job_goes_on_and_makes_the_same(
    hub, base, tmp_path, finished, performing
):
    """A worker dies at every step in turn; each is finished once, and the bundle is the same."""
    request = request_for(reviewed(hub), base)
    config, seen = config_in(tmp_path / "work"), []
    leased = asked(hub, request)
    real = performing(Comparison.model_validate_json(comparison_of(finished)), seen)
    for doomed in (Step.TRAIN, Step.EXPORT, Step.CALIBRATE, Step.GATE, Step.COMPARE):

        def dying(step: Step, folder: Path, doomed: Step = doomed) -> None:
            if step is doomed:
                raise HubError("as if the worker had died")
            real(step, folder)

        with pytest.raises(HubError, match="as if"):
            run_job(hub, config, leased, dying)
        assert made(hub) == []
        leased = taken_over(hub, leased.job_id)
    assert run_job(hub, config, leased, real) is JobState.DONE
    job = jobs.get_job(hub, leased.job_id)
    assert job.bundle_id == finished[1].bundle_id
    assert seen == [Step.TRAIN, Step.EXPORT, Step.CALIBRATE, Step.GATE, Step.COMPARE]
    assert [one.tries for one in job.steps] == [1, 2, 2, 2, 2, 2]


def test_a_moment_without_the_database_ends_no_step(
    sqlite_hub, base, tmp_path, finished, performing, monkeypatch
):
    """What could not be told is told later; the lease still holds."""
    leased, seen = asked(sqlite_hub, request_for(reviewed(sqlite_hub), base)), []
    real = performing(Comparison.model_validate_json(comparison_of(finished)), seen)
    told, refused = jobs.log, []

    def away_at_first(hub: Hub, held: jobs.Leased, level: str, text: str) -> None:
        if text == "half done" and len(refused) < 2:
            refused.append(text)
            raise HubError("no answer")
        told(hub, held, level, text)

    def slow(step: Step, folder: Path) -> None:
        logging.getLogger("inspection.step").warning("half done")
        time.sleep(0.1)
        real(step, folder)

    monkeypatch.setattr("inspection.retraining.job.LOOK_S", 0.01)
    monkeypatch.setattr("inspection.retraining.job.TELL_S", 0.0)
    monkeypatch.setattr(jobs, "log", away_at_first)
    assert run_job(sqlite_hub, config_in(tmp_path / "work"), leased, slow) is JobState.DONE
    lines = [line.text for line in jobs.job_log(sqlite_hub, leased.job_id)]
    assert (len(refused), lines.count("half done")) == (2, len(seen))


def comparison_of(finished) -> bytes:
    (path,) = finished[2].glob(f"{Step.COMPARE}-*/{COMPARISON}")
    return path.read_bytes()


def test_a_cancelled_job_ends_within_seconds(sqlite_hub, base, tmp_path, monkeypatch):
    """The step hears of it where it tells how far it is."""
    hub, config = sqlite_hub, config_in(tmp_path / "work")
    monkeypatch.setattr(job_module, "TELL_S", 0.05)
    monkeypatch.setattr(job_module, "LOOK_S", 0.05)
    leased = asked(hub, request_for(hub, base))
    begun, ended = Flag(), Flag()

    def endless(_step: Step, _folder: Path) -> None:
        try:
            for done in range(1_000_000):
                tell(done, 1_000_000)
                begun.set()
                ended.wait(0.01)
        except Stopped:
            ended.set()
            raise

    def cancel() -> None:
        begun.wait(60)
        jobs.cancel(hub, leased.job_id, "ann")

    thread = Thread(target=cancel)
    thread.start()
    assert run_job(hub, config, leased, endless) is JobState.CANCELLED
    thread.join()
    assert ended.is_set()


def test_progress_reaches_the_hub(sqlite_hub, base, tmp_path, monkeypatch):
    hub, config, told = sqlite_hub, config_in(tmp_path / "work"), Flag()
    monkeypatch.setattr(job_module, "TELL_S", 0.0)
    monkeypatch.setattr(job_module, "LOOK_S", 0.02)
    real = jobs.progress

    def heard(*arguments) -> None:
        real(*arguments)
        if arguments[2:] == (7, 9):
            told.set()

    monkeypatch.setattr(jobs, "progress", heard)
    leased = asked(hub, request_for(hub, base))

    def counting(_step: Step, _folder: Path) -> None:
        tell(7, 9)
        told.wait(60)
        raise TrainingError("enough")

    assert run_job(hub, config, leased, counting) is JobState.FAILED
    job = jobs.get_job(hub, leased.job_id)
    assert (job.step, job.done, job.total, job.outcome) == ("train", 7, 9, "enough")
    assert [line.level for line in jobs.job_log(hub, leased.job_id)][-1] == "ERROR"


def test_a_bundle_its_gate_refused_is_nowhere_to_be_seen(sqlite_hub, base, tmp_path, performing):
    strict = EXPORT.model_copy(update={"gate": GateLimits(score_correlation=1.0)})
    request = request_for(reviewed(sqlite_hub), base, export=strict)
    leased = asked(sqlite_hub, request)
    state = run_job(sqlite_hub, config_in(tmp_path / "work"), leased, performing())
    job = jobs.get_job(sqlite_hub, leased.job_id)
    assert state is JobState.REFUSED
    assert job.outcome.startswith("the gate refused it: ")
    assert "scores correlate with FP32 by" in job.outcome
    assert job.steps[-1].step is Step.GATE
    assert made(sqlite_hub) == []


def challenged(
    hub: Hub,
    base: Path,
    work: Path,
    champion: Path,
    run: Perform,
    kind: JobKind = JobKind.RETRAIN,
    **policy,
) -> tuple[Job, str]:
    """Let the finished bundle be challenged by what a later job makes."""
    champion_id = add_bundle(hub, champion, "test").bundle_id
    choose(hub, "line-1", NewChoice(bundle_id=champion_id, comment="first"), "ann")
    later = ASKED_AT + timedelta(days=1)
    request = request_for(reviewed(hub), base, champion_id=champion_id, asked_at=later, kind=kind)
    leased = asked(hub, request)
    run_job(hub, config_in(work, **policy), leased, run)
    return jobs.get_job(hub, leased.job_id), champion_id


@pytest.mark.parametrize(
    ("allowed", "state"),
    [
        ({"allowed": "retrain"}, ChallengerState.HELD),
        ({"allowed": "promote"}, ChallengerState.SHADOW),
        ({"allowed": "promote", "blackouts": ALWAYS}, ChallengerState.HELD),
    ],
    ids=["no further", "further", "blackout"],
)
def test_a_challenger_comes_as_far_as_the_policy_allows(
    sqlite_hub, base, tmp_path, finished, performing, allowed, state
):
    champion = JobFolder(finished[2]).bundle
    job, champion_id = challenged(
        sqlite_hub, base, tmp_path / "work", champion, performing(), **allowed
    )
    (challenger,) = list_challengers(sqlite_hub)
    assert (job.state, job.outcome) == (JobState.DONE, "As good.")
    assert (challenger.bundle_id, challenger.champion_id) == (job.bundle_id, champion_id)
    assert (challenger.state, challenger.comparison) == (state, ALIKE)


def test_an_update_takes_what_reviewers_said_into_the_bank_of_the_champion(
    sqlite_hub, base, tmp_path, finished, performing
):
    """Nothing is trained or exported; the bundle says what it was updated from."""
    seen: list[Step] = []
    review(sqlite_hub, *range(20, 30))
    champion = JobFolder(finished[2]).bundle
    run = performing(seen=seen)
    job, champion_id = challenged(
        sqlite_hub, base, tmp_path / "work", champion, run, JobKind.UPDATE
    )
    assert (job.state, job.outcome) == (JobState.DONE, "As good.")
    assert seen == [Step.CALIBRATE, Step.GATE, Step.COMPARE]
    (updated,) = (one for one in made(sqlite_hub) if one.bundle_id == job.bundle_id)
    assert (updated.name, updated.card.updated_from) == ("plate", champion_id)


def test_new_guards_know_the_light_that_was_reviewed_and_scores_and_bands_stay(
    sqlite_hub, base, tmp_path, finished, performing
):
    """Thresholds that a person set for the champion are the challenger's; they are the person's."""
    review(sqlite_hub, *range(20, 30))
    champion = JobFolder(finished[2]).bundle
    champion_id = add_bundle(sqlite_hub, champion, "test").bundle_id
    enrol(sqlite_hub, NewStation(station="station-1", line="line-1"), "test")
    bands = {None: Band(review_above=3.0, reject_above=4.0)}
    bands["top"] = Band(review_above=5.0, reject_above=6.0)
    previous = None
    for camera, band in bands.items():
        scope = {"product": None, "camera": camera, "stations": ("station-1",), "comment": "strict"}
        new = NewThresholds(bundle_id=champion_id, band=band, previous=previous, **scope)
        previous = apply_thresholds(sqlite_hub, "line-1", new, "eve").sha256
    job, _ = challenged(sqlite_hub, base, tmp_path / "work", champion, performing(), JobKind.GUARDS)
    assert job.state == JobState.DONE
    (guarded,) = (one for one in made(sqlite_hub) if one.bundle_id == job.bundle_id)
    before = read_card(champion)
    for name in ("band", "calibrate_scores", "geometry", "weights", "export"):
        assert getattr(guarded.card, name) == getattr(before, name), name
    assert guarded.card.updated_from == champion_id
    assert "0 vectors of 0 new pictures, 0 left" in guarded.card.graph_note
    assert "for guards alone " in job.steps[0].note
    old, new = before.guards, guarded.card.guards
    assert new.normals > old.normals
    assert new.model_copy(update={"normals": old.normals, **light(old)}) == old
    rows = list_thresholds(sqlite_hub, "line-1")
    assert carry_thresholds(sqlite_hub, "line-1", champion_id, job.bundle_id) == 0
    assert list_thresholds(sqlite_hub, "line-1") == rows, "after a crash it is done again"
    carried = [one for one in rows if one.bundle_id == job.bundle_id]
    assert {one.camera: one.band for one in carried if one.in_force} == bands
    assert all("by eve: strict" in one.why for one in carried)


def light(limits: GuardLimits) -> dict[str, object]:
    return {name: getattr(limits, name) for name in LIGHT}


def test_a_bundle_not_shown_to_be_no_worse_waits_for_a_person(
    sqlite_hub, base, tmp_path, finished, performing
):
    champion, run = JobFolder(finished[2]).bundle, performing(UNKNOWN)
    job, _ = challenged(sqlite_hub, base, tmp_path / "work", champion, run, allowed="promote")
    (challenger,) = list_challengers(sqlite_hub)
    assert (job.state, job.outcome) == (JobState.DONE, "Too few parts.")
    assert (challenger.bundle_id, challenger.state) == (job.bundle_id, ChallengerState.HELD)


def test_a_bundle_that_is_worse_challenges_nobody(sqlite_hub, base, tmp_path, finished, performing):
    champion = JobFolder(finished[2]).bundle
    job, champion_id = challenged(sqlite_hub, base, tmp_path / "work", champion, performing(WORSE))
    assert (job.state, job.outcome) == (JobState.REFUSED, "It is worse.")
    assert [one.bundle_id for one in made(sqlite_hub)] == [champion_id]
    assert list_challengers(sqlite_hub) == ()


def test_what_was_forgotten_meanwhile_is_not_offered(sqlite_hub, base, tmp_path, performing):
    request = request_for(reviewed(sqlite_hub), base)
    leased, run = asked(sqlite_hub, request), performing()

    def forgetting(step: Step, folder: Path) -> None:
        run(step, folder)
        if step is Step.COMPARE:
            sha256 = JobFolder(folder).manifest.entries[0].sha256
            forget(sqlite_hub, NewForgotten(sha256=sha256, comment="a hand"), "ann")

    state = run_job(sqlite_hub, config_in(tmp_path / "work"), leased, forgetting)
    assert state is JobState.REFUSED
    assert (
        "1 pictures it learnt from were forgotten"
        in jobs.get_job(sqlite_hub, leased.job_id).outcome
    )
    assert made(sqlite_hub) == []


def test_who_lost_the_lease_writes_nothing(sqlite_hub, base, tmp_path):
    hub = sqlite_hub
    old = asked(hub, request_for(hub, base))
    new = taken_over(hub, old.job_id)
    state = run_job(hub, config_in(tmp_path / "work"), old, perform)
    assert state is JobState.RUNNING
    assert jobs.get_job(hub, old.job_id).leased_by == new.owner
    assert jobs.get_job(hub, old.job_id).steps == ()


def test_a_step_that_always_ends_its_worker_is_given_up(sqlite_hub, base, tmp_path):
    hub = sqlite_hub
    request = request_for(hub, base)
    leased = asked(hub, request)
    folder = JobFolder.make(tmp_path / "work" / leased.job_id, request)
    for _ in range(MOST_TRIES):
        jobs.begin_step(hub, leased, Step.ASSEMBLE, folder.digest(Step.ASSEMBLE))
    assert run_job(hub, config_in(tmp_path / "work"), leased, perform) is JobState.FAILED
    assert "its worker died each time" in jobs.get_job(hub, leased.job_id).outcome


def test_a_fault_of_the_program_fails_the_job_at_once_in_words(sqlite_hub, base, tmp_path):
    """Whatever a library raises; every next worker would meet the same."""
    leased = asked(sqlite_hub, request_for(sqlite_hub, base))

    def broken(_step: Step, _folder: Path) -> None:
        raise RuntimeError("no such kernel")

    assert run_job(sqlite_hub, config_in(tmp_path / "work"), leased, broken) is JobState.FAILED
    job = jobs.get_job(sqlite_hub, leased.job_id)
    assert job.outcome.startswith("the job: RuntimeError: no such kernel; ")
    assert job.steps[-1].tries == 1


def test_on_how_many_reviewed_parts_bundles_are_compared_is_configured(
    sqlite_hub, base, tmp_path, monkeypatch
):
    leased = asked(sqlite_hub, request_for(sqlite_hub, base))
    config = config_in(tmp_path / "work").model_copy(update={"champion_parts": 37})

    def refuse(*asked: object) -> None:
        raise TrainingError(f"asked for {asked[-1]}")

    monkeypatch.setattr(job_module, "assemble", refuse)
    assert run_job(sqlite_hub, config, leased, perform) is JobState.FAILED
    assert "asked for 37" in jobs.get_job(sqlite_hub, leased.job_id).outcome


def test_an_update_that_cannot_work_ends_for_good(sqlite_hub, base, tmp_path, finished):
    """Its bundle has another backbone than wanted now: asking for the same again is that job."""
    champion_id = add_bundle(sqlite_hub, JobFolder(finished[2]).bundle, "test").bundle_id
    choose(sqlite_hub, "line-1", NewChoice(bundle_id=champion_id, comment="first"), "ann")
    about = {"champion_id": champion_id, "kind": JobKind.UPDATE, "train": tiny_config(bank_size=48)}
    request = request_for(reviewed(sqlite_hub), base, **about)
    config, leased = config_in(tmp_path / "work"), asked(sqlite_hub, request)
    assert run_job(sqlite_hub, config, leased, perform) is JobState.IMPOSSIBLE
    again = jobs.ask(sqlite_hub, request, "ann", "once more")
    assert (again.job_id, again.state) == (leased.job_id, JobState.IMPOSSIBLE)
    assert "was fitted by another configuration than wanted now" in again.outcome


def test_a_refit_without_a_bundle_that_judges_says_so(sqlite_hub, base, tmp_path):
    leased = asked(sqlite_hub, request_for(sqlite_hub, base, kind=JobKind.REFIT))
    config = config_in(tmp_path / "work")
    assert run_job(sqlite_hub, config, leased, perform) is JobState.FAILED
    assert "train first" in jobs.get_job(sqlite_hub, leased.job_id).outcome
    assert not config.work_dir.exists()
