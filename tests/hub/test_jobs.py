"""Retrainings as rows: asked for once, leased by one, fenced off, followed, cancelled."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import update

from inspection.core.records import hash_json
from inspection.hub import jobs, loop_tables
from inspection.hub.asking import Refused
from inspection.hub.audit import list_entries
from inspection.hub.hub import open_hub
from inspection.hub.job_request import JobRequest
from inspection.hub.refusals import LeaseLost, NotThere, Standing
from inspection.hub.settings import HubConfig
from inspection.hub.tables import EPOCH
from inspection.hub.wire.people import Role
from inspection.hub.wire.retraining import (
    Job,
    JobKind,
    JobState,
    NewJob,
    PolicyWords,
    Step,
)
from tests.hub.conftest import served
from tests.hub.jobs import request

DIGEST = "d" * 64
GONE_S = -1.0  # a lease that is over when it begins: its worker is not heard of again


def asked(hub, **changes) -> Job:
    return jobs.ask(hub, request(**changes), "ann", "new material")


def test_a_job_is_followed_from_the_wish_to_its_bundle(hub):
    job = asked(hub)
    assert (job.state, job.who, job.why, job.steps) == (JobState.WAITING, "ann", "new material", ())
    leased = jobs.lease(hub, "pc 1", 60)
    assert leased is not None
    assert (leased.job_id, leased.lease, leased.request) == (job.job_id, 1, request())
    jobs.begin_step(hub, leased, Step.TRAIN, DIGEST)
    jobs.progress(hub, leased, 3, 9)
    jobs.log(hub, leased, "INFO", "half a\0 line\ud800")
    running = jobs.get_job(hub, job.job_id)
    assert (running.state, running.leased_by, running.step) == (JobState.RUNNING, "pc 1", "train")
    assert (running.done, running.total) == (3, 9)
    jobs.end_step(hub, leased, Step.TRAIN, "9 images")
    jobs.finish(hub, leased, JobState.DONE, "better", "b" * 64)
    done = jobs.get_job(hub, job.job_id)
    assert (done.state, done.outcome, done.bundle_id) == (JobState.DONE, "better", "b" * 64)
    assert (done.leased_by, done.leased_until) == (None, None)
    [step] = done.steps
    assert (step.step, step.digest, step.tries, step.note) == (Step.TRAIN, DIGEST, 1, "9 images")
    assert [line.text for line in jobs.job_log(hub, job.job_id)] == ["half a� line�"]
    assert jobs.list_jobs(hub) == (done.model_copy(update={"steps": ()}),)


def test_the_same_wish_is_one_job_whatever_became_of_it(hub):
    job = asked(hub)
    assert asked(hub) == job
    assert asked(hub, reviews_until=8) == job  # one of its kind waits for the product already
    leased = jobs.lease(hub, "pc", 60)
    jobs.finish(hub, leased, JobState.REFUSED, "worse")
    assert asked(hub).state is JobState.REFUSED
    assert asked(hub, reviews_until=8).state is JobState.WAITING
    assert [one.action for one in list_entries(hub, None, 10).items] == ["job ask"] * 2


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED])
def test_a_job_that_failed_or_was_cancelled_goes_on_where_it_was_when_asked_again(sqlite_hub, end):
    job = asked(sqlite_hub)
    leased = jobs.lease(sqlite_hub, "pc", 60)
    jobs.begin_step(sqlite_hub, leased, Step.ASSEMBLE, DIGEST)
    jobs.finish(sqlite_hub, leased, end, "disk full")
    again = asked(sqlite_hub)
    assert (again.state, again.outcome, again.ended_at) == (JobState.WAITING, "", None)
    assert again.job_id == job.job_id
    second = jobs.lease(sqlite_hub, "pc", 60)
    jobs.begin_step(sqlite_hub, second, Step.ASSEMBLE, DIGEST)
    assert [step.tries for step in jobs.get_job(sqlite_hub, job.job_id).steps] == [2]


@pytest.mark.parametrize("kind", JobKind)
def test_a_job_asked_for_again_is_the_last_and_a_re_fit_begins_with_what_is_so_by_now(
    sqlite_hub, kind
):
    """Else a re-fit that failed because of a band set meanwhile fails alike each time.

    A training goes on with its steps, which stand on when it was asked for first.
    """
    hub, later = sqlite_hub, request().asked_at + timedelta(days=1)
    first = asked(hub, kind=kind)
    jobs.finish(hub, jobs.lease(hub, "pc", 60), JobState.FAILED, "set by hand meanwhile; ask again")
    asked(hub, kind=kind, reviews_until=8)
    jobs.finish(hub, jobs.lease(hub, "pc", 60), JobState.FAILED, "disk full")
    again = asked(hub, kind=kind, asked_at=later)
    assert (again.job_id, again.started_at) == (first.job_id, None)
    assert again.created_at > first.created_at
    assert jobs.list_jobs(hub)[0].job_id == first.job_id
    leased = jobs.lease(hub, "pc", 60)
    wanted = later if kind is JobKind.REFIT else request().asked_at
    assert leased.request == request(kind=kind, asked_at=wanted)


def test_of_many_workers_one_leases_a_job(hub):
    asked(hub)
    together = Barrier(6)

    def take(number: int) -> jobs.Leased | None:
        together.wait()
        return jobs.lease(hub, f"pc {number}", 60)

    with ThreadPoolExecutor(6) as pool:
        taken = [one for one in pool.map(take, range(6)) if one is not None]
    assert [one.lease for one in taken] == [1]


def test_of_many_schedulers_one_asks_for_what_they_all_found(hub):
    together = Barrier(6)

    def ask(number: int) -> Job | None:
        newest = jobs.newest_job(hub, "line-1", "plate")
        together.wait()
        return jobs.ask_after(hub, request(reviews_until=number), "policy", "due", newest)

    with ThreadPoolExecutor(6) as pool:
        [job] = [one for one in pool.map(ask, range(6)) if one is not None]
    assert jobs.list_jobs(hub) == (job,)


def test_what_was_found_due_before_another_job_ended_is_not_asked_for(sqlite_hub):
    hub = sqlite_hub
    asked(hub)
    seen = jobs.newest_job(hub, "line-1", "plate")
    jobs.finish(hub, jobs.lease(hub, "pc", 60), JobState.DONE, "better")
    due = request(reviews_until=9)
    assert jobs.ask_after(hub, due, "policy", "due", seen) is None
    now = jobs.newest_job(hub, "line-1", "plate")
    assert jobs.ask_after(hub, due, "policy", "due", now).state is JobState.WAITING


def test_whose_lease_was_taken_over_writes_nothing_any_more(hub):
    job = asked(hub)
    first = jobs.lease(hub, "pc 1", GONE_S)
    second = jobs.lease(hub, "pc 2", 60)
    assert (second.job_id, second.lease) == (job.job_id, 2)
    before = jobs.get_job(hub, job.job_id)
    for write in (
        lambda: jobs.begin_step(hub, first, Step.TRAIN, DIGEST),
        lambda: jobs.end_step(hub, first, Step.TRAIN, ""),
        lambda: jobs.progress(hub, first, 1, 2),
        lambda: jobs.log(hub, first, "INFO", "still here"),
        lambda: jobs.finish(hub, first, JobState.DONE, "mine"),
    ):
        with pytest.raises(LeaseLost, match="lease 1 of pc 1 is over"):
            write()
    assert not jobs.renew(hub, first, 60)
    assert jobs.get_job(hub, job.job_id) == before
    assert jobs.job_log(hub, job.job_id) == ()
    assert jobs.renew(hub, second, 60)


def test_a_worker_that_is_late_keeps_its_job_while_nobody_took_it(sqlite_hub):
    asked(sqlite_hub)
    leased = jobs.lease(sqlite_hub, "pc", GONE_S)
    assert jobs.renew(sqlite_hub, leased, 60)
    assert jobs.lease(sqlite_hub, "other", 60) is None


def test_a_job_that_waits_is_cancelled_at_once(sqlite_hub):
    job = jobs.cancel(sqlite_hub, asked(sqlite_hub).job_id, "ann")
    assert (job.state, job.cancelled_by) == (JobState.CANCELLED, "ann")
    assert jobs.lease(sqlite_hub, "pc", 60) is None
    with pytest.raises(Standing, match="is cancelled; only one that waits or runs"):
        jobs.cancel(sqlite_hub, job.job_id, "ann")


def test_a_job_that_runs_is_cancelled_when_its_worker_renews(hub):
    job_id = asked(hub).job_id
    leased = jobs.lease(hub, "pc", 60)
    assert jobs.cancel(hub, job_id, "ann").state is JobState.RUNNING
    assert not jobs.renew(hub, leased, 60)
    assert jobs.get_job(hub, job_id).state is JobState.CANCELLED
    with pytest.raises(LeaseLost):
        jobs.finish(hub, leased, JobState.DONE, "too late")


def test_what_is_asked_for_again_right_after_cancelling_begins_when_the_old_has_ended(hub):
    """The same wish is the same row, which waits; the worker that ends it writes nothing more."""
    job_id = asked(hub).job_id
    old = jobs.lease(hub, "pc 1", 60)
    jobs.cancel(hub, job_id, "ann")
    again = asked(hub)
    assert (again.job_id, again.state, again.cancelled_by) == (job_id, JobState.WAITING, None)
    assert jobs.ready(hub, 9) == ()
    assert jobs.lease(hub, "pc 2", 60) is None
    with pytest.raises(LeaseLost):
        jobs.finish(hub, old, JobState.DONE, "too late")
    assert not jobs.renew(hub, old, 60)
    jobs.let_go(hub, old)
    assert jobs.ready(hub, 9) == (job_id,)
    new = jobs.lease(hub, "pc 2", 60)
    jobs.let_go(hub, old)
    assert jobs.get_job(hub, job_id).leased_by == "pc 2"
    assert jobs.renew(hub, new, 60)


def test_another_wish_right_after_cancelling_is_a_job_of_its_own(sqlite_hub):
    """It is not the one that dies, and waits until that has ended."""
    hub = sqlite_hub
    dying = asked(hub)
    old = jobs.lease(hub, "pc", 60)
    jobs.cancel(hub, dying.job_id, "ann")
    new = asked(hub, reviews_until=8)
    assert (new.job_id != dying.job_id, new.state) == (True, JobState.WAITING)
    assert jobs.lease(hub, "pc", 60, new.job_id) is None
    assert not jobs.renew(hub, old, 60)
    assert jobs.lease(hub, "pc", 60).job_id == new.job_id


def test_a_job_asked_for_again_whose_old_worker_is_gone_begins_when_the_lease_is_over(sqlite_hub):
    job_id = asked(sqlite_hub).job_id
    jobs.lease(sqlite_hub, "pc", 60)
    jobs.cancel(sqlite_hub, job_id, "ann")
    asked(sqlite_hub)
    expire(sqlite_hub)
    assert jobs.lease(sqlite_hub, "other", 60).lease == 2


def test_of_one_product_one_job_runs_at_a_time_whatever_it_does(hub):
    """A re-fit and two trainings wait for each other; another product or name waits for nobody."""
    kinds = [asked(hub, kind=kind).job_id for kind in JobKind]
    others = [asked(hub, product="disc").job_id, asked(hub, name="second").job_id]
    assert set(jobs.ready(hub, 9)) == {kinds[0], *others}
    taken = [jobs.lease(hub, "pc", 60) for _ in range(4)]
    assert [one and one.job_id for one in taken] == [kinds[0], *others, None]
    assert jobs.ready(hub, 9) == ()
    jobs.finish(hub, taken[0], JobState.DONE, "fitted")
    assert jobs.lease(hub, "pc", 60).job_id == kinds[1]


def test_of_many_workers_of_two_hubs_one_takes_a_job_of_a_product(hub, database_url, tmp_path):
    """Each wants another kind; on neither database do two get theirs."""
    wanted = [asked(hub, kind=kind).job_id for kind in JobKind] * 2
    together = Barrier(len(wanted))
    config = HubConfig(database=database_url, artefacts=str(tmp_path / "other"))
    other = open_hub(config)

    def take(number: int) -> jobs.Leased | None:
        together.wait()
        return jobs.lease((hub, other)[number % 2], f"pc {number}", 60, wanted[number])

    with ThreadPoolExecutor(len(wanted)) as pool:
        taken = [one for one in pool.map(take, range(len(wanted))) if one is not None]
    other.close()
    assert len(taken) == 1


def test_a_late_worker_does_not_come_back_beside_another_of_the_product(sqlite_hub):
    late_id = asked(sqlite_hub).job_id
    late = jobs.lease(sqlite_hub, "pc 1", GONE_S)
    update_id = asked(sqlite_hub, kind=JobKind.UPDATE).job_id
    jobs.lease(sqlite_hub, "pc 2", 60, update_id)
    assert not jobs.renew(sqlite_hub, late, 60)
    assert jobs.get_job(sqlite_hub, late_id).state is JobState.RUNNING
    assert jobs.lease(sqlite_hub, "pc 1", 60) is None


def test_a_cancelled_job_whose_worker_is_gone_ends_and_nobody_takes_it(sqlite_hub):
    job_id = asked(sqlite_hub).job_id
    jobs.lease(sqlite_hub, "pc", 60)
    jobs.cancel(sqlite_hub, job_id, "ann")
    expire(sqlite_hub)
    assert jobs.lease(sqlite_hub, "other", 60) is None
    assert jobs.get_job(sqlite_hub, job_id).state is JobState.CANCELLED


def test_a_request_of_before_masks_were_counted_reads_and_keeps_its_id():
    text = request().model_dump_json(exclude={"corrections_until", "changed_at"})
    old = JobRequest.model_validate_json(text)
    assert (old.corrections_until, old.job_id) == (0, request().job_id)
    known = {key: value for key, value in json.loads(text).items() if key != "asked_at"}
    assert old.job_id == hash_json(known)
    assert request(corrections_until=1).job_id != request(corrections_until=2).job_id


def test_the_oldest_job_is_leased_first_and_one_by_name(sqlite_hub):
    first, second = asked(sqlite_hub), asked(sqlite_hub, product="disc")
    assert jobs.ready(sqlite_hub, 9) == (first.job_id, second.job_id)
    assert jobs.lease(sqlite_hub, "pc", 60, second.job_id).job_id == second.job_id
    assert jobs.ready(sqlite_hub, 9) == (first.job_id,)
    assert jobs.ready(sqlite_hub, 1) == ()  # one is in somebody's hands
    assert jobs.lease(sqlite_hub, "pc", 60).job_id == first.job_id


def test_a_log_keeps_its_newest_lines(hub, monkeypatch):
    monkeypatch.setattr(jobs, "LINES", 3)
    job_id = asked(hub).job_id
    leased = jobs.lease(hub, "pc", 60)
    for number in range(5):
        jobs.log(hub, leased, "INFO", str(number))
    lines = jobs.job_log(hub, job_id)
    assert [line.text for line in lines] == ["2", "3", "4"]
    assert [line.text for line in jobs.job_log(hub, job_id, lines[0].id, 1)] == ["3"]


def test_a_job_ends_in_a_state_that_is_an_end(sqlite_hub):
    asked(sqlite_hub)
    with pytest.raises(ValueError, match="cannot end as running"):
        jobs.finish(sqlite_hub, jobs.lease(sqlite_hub, "pc", 60), JobState.RUNNING, "")


class StandIn:
    """Stands for the retraining: whatever is wished for is the same job."""

    def __init__(self, hub):
        self.hub = hub

    def start(self, new: NewJob, who: str) -> Job:
        """Ask for it."""
        return jobs.ask(self.hub, request(product=new.product, kind=new.kind), who, new.comment)

    def policy(self) -> tuple[PolicyWords, ...]:
        """Put it off."""
        now = self.hub.now()
        return (
            PolicyWords(
                line="line-1", product="plate", at=now, due=None, words="Later.", allowed="shadow"
            ),
        )


WISH = NewJob(line="line-1", product="plate", kind=JobKind.UPDATE, comment="glare")


def test_engineers_start_and_cancel_and_viewers_look(hub):
    with served(hub, StandIn(hub)) as plant:
        engineer, viewer = plant.person(Role.ENGINEER), plant.person(Role.VIEWER)
        job = engineer.start_job(WISH)
        assert (job.kind, job.who, job.why) == (JobKind.UPDATE, "engineer-1", "glare")
        assert viewer.jobs() == (job,)
        assert viewer.job(job.job_id) == job
        assert viewer.job_log(job.job_id) == ()
        assert [one.words for one in viewer.policy()] == ["Later."]
        for forbidden in (lambda: viewer.start_job(WISH), lambda: viewer.cancel_job(job.job_id)):
            with pytest.raises(Refused, match="this needs engineer"):
                forbidden()
        assert engineer.cancel_job(job.job_id).state is JobState.CANCELLED
        with pytest.raises(Refused, match="look at the list of jobs"):
            viewer.job("0" * 64)
    told = [(one.actor, one.action) for one in list_entries(hub, None, 10).items]
    assert told[:2] == [("engineer-1", "job cancel"), ("engineer-1", "job ask")]


def test_a_hub_without_retraining_says_so(sqlite_plant):
    engineer = sqlite_plant.person(Role.ENGINEER)
    for asking in (engineer.policy, lambda: engineer.start_job(WISH)):
        with pytest.raises(Refused, match="--retraining FILE"):
            asking()
    assert engineer.jobs() == ()


def test_a_job_nobody_asked_for_is_not_there(sqlite_hub):
    for look in (jobs.get_job, jobs.job_log, lambda hub, job: jobs.cancel(hub, job, "ann")):
        with pytest.raises(NotThere, match="look at the list of jobs"):
            look(sqlite_hub, "0" * 64)


def expire(hub) -> None:
    """Let the worker of every job be silent for too long."""
    with hub.database.writing() as connection:
        connection.execute(update(loop_tables.jobs).values(leased_until=EPOCH))
