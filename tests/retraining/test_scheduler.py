"""The loop beside the hub: what is due is asked for once, started once, and taken over."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from multiprocessing import get_context
from threading import Barrier, Semaphore
from threading import Event as Flag
from threading import enumerate as threads

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import insert, select, update

from inspection.core.errors import HubError
from inspection.hub import jobs, loop_tables
from inspection.hub.backup import back_up
from inspection.hub.hub import open_hub
from inspection.hub.loop_tables import schedule
from inspection.hub.refusals import NotThere
from inspection.hub.settings import HubConfig
from inspection.hub.tables import EPOCH
from inspection.hub.wire.retraining import JobKind, JobState, NewJob
from inspection.retraining import once, scheduler
from inspection.retraining.due import RetrainingDesk
from inspection.retraining.facts import gather, request_of
from inspection.retraining.once import train_if_due
from inspection.retraining.schedule import ScheduleStore
from inspection.retraining.scheduler import START_S, TICK, Scheduler, retraining_beside, tick
from inspection.retraining.settings import RetrainingConfig
from tests.hub.parts import draw_mask
from tests.retraining.loop import judge_with, make_config, review

WAIT_S = 60
MET: list[Barrier] = []  # in a process that is a hub: what it waits for with the other
CLUSTER = "dask://127.0.0.1:8786"


class Child:
    """Stands for the process of a job."""

    def __init__(self):
        self.returncode = None

    def poll(self):
        """Say whether it has ended."""
        return self.returncode


class Trainer:
    """Trains at once in place of a process, or leaves its job alone."""

    def __init__(self, hub, *, idle: bool = False, state: JobState = JobState.DONE):
        self.hub, self.idle, self.state = hub, idle, state
        self.trained, self.children = [], []

    def __call__(self, job_id: str) -> Child:
        """Start it."""
        self.children.append(Child())
        leased = None if self.idle else jobs.lease(self.hub, "stub", 60, job_id)
        if leased is not None:
            self.trained.append(job_id)
            jobs.finish(self.hub, leased, self.state, "ended")
            self.children[-1].returncode = 0
        return self.children[-1]


def test_two_schedulers_on_two_hubs_train_what_is_due_once(make_hub, database_url, tmp_path):
    hubs = [make_hub(database_url) for _ in range(2)]
    config = make_config(tmp_path)
    review(hubs[0], 1, 2, 3)
    trainers = [Trainer(hub) for hub in hubs]
    together = Barrier(2)

    def go(number: int) -> None:
        clock = Scheduler(hubs[number], config, trainers[number])
        together.wait()
        for _ in range(3):
            tick(hubs[number], config)
            clock.start_waiting()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(go, range(2)))
    [job] = jobs.list_jobs(hubs[0])
    assert job.state is JobState.DONE
    assert trainers[0].trained + trainers[1].trained == [job.job_id]
    assert (job.who, job.kind) == ("policy", JobKind.RETRAIN)


def _meet(together: Barrier) -> None:
    MET.append(together)


def _live(settings: HubConfig, config: RetrainingConfig) -> list[str]:
    """Be a hub with its scheduler; give the jobs it trained."""
    with closing(open_hub(settings)) as hub:
        trainer = Trainer(hub)
        clock = Scheduler(hub, config, trainer)
        MET[0].wait(WAIT_S)
        for _ in range(3):
            tick(hub, config)
            clock.start_waiting()
    return trainer.trained


def test_two_hubs_in_processes_of_their_own_train_what_is_due_once(
    make_hub, database_url, tmp_path
):
    hub, spawn = make_hub(database_url), get_context("spawn")
    config = make_config(tmp_path)
    review(hub, 1, 2, 3)
    with ProcessPoolExecutor(2, spawn, _meet, (spawn.Barrier(2),)) as pool:
        trained = [pool.submit(_live, hub.config, config) for _ in range(2)]
        found = [one.result(WAIT_S) for one in trained]
    [job] = jobs.list_jobs(hub)
    assert (job.state, found[0] + found[1]) == (JobState.DONE, [job.job_id])


def test_a_fault_of_one_product_keeps_no_other_waiting(sqlite_hub, tmp_path):
    config = make_config(tmp_path, products=2)
    missing = config.products[0].model_copy(update={"train": tmp_path / "gone.yaml"})
    broken = config.model_copy(update={"products": (missing, config.products[1])})
    ticked = tick(sqlite_hub, broken)
    assert [one.product for one in ticked.asked] == ["plate-1"]
    [fault] = ticked.faults
    assert fault.startswith("plate on line-1: ")
    [words, _] = RetrainingDesk(sqlite_hub, broken).policy()
    assert "gone.yaml" in words.words


def test_nothing_is_asked_for_that_is_not_allowed(sqlite_hub, tmp_path):
    config = make_config(tmp_path, policy={"allowed": "refit"})
    assert tick(sqlite_hub, config).asked == ()
    [words] = RetrainingDesk(sqlite_hub, config).policy()
    assert (words.due, words.allowed) == (JobKind.RETRAIN, "refit")


def test_jobs_start_one_after_the_other(sqlite_hub, tmp_path):
    config = make_config(tmp_path, products=2)
    tick(sqlite_hub, config)
    trainer = Trainer(sqlite_hub, idle=True)
    clock = Scheduler(sqlite_hub, config, trainer)
    clock.start_waiting()
    clock.start_waiting()
    assert len(trainer.children) == 1


@pytest.mark.parametrize(
    ("settings", "at_once"),
    [
        ({"executor": CLUSTER}, 9),
        ({"executor": CLUSTER, "jobs_at_once": 2}, 2),
        ({"executor": "local", "jobs_at_once": 2}, 1),
    ],
    ids=["of a cluster's default 24", "as set", "local whatever is set"],
)
def test_on_a_cluster_as_many_jobs_run_beside_each_other_as_are_allowed(
    sqlite_hub, tmp_path, settings, at_once
):
    """Nine products are due; one that is started counts, so the next look starts no more."""
    config = make_config(tmp_path, products=9, **settings)
    tick(sqlite_hub, config)
    trainer = Trainer(sqlite_hub, idle=True)
    clock = Scheduler(sqlite_hub, config, trainer)
    for _ in range(2):
        clock.start_waiting()
    assert len(trainer.children) == at_once


def test_a_job_whose_worker_is_gone_is_taken_over(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    [job] = tick(sqlite_hub, config).asked
    jobs.lease(sqlite_hub, "gone", 60)
    trainer = Trainer(sqlite_hub)
    clock = Scheduler(sqlite_hub, config, trainer)
    clock.start_waiting()
    assert trainer.trained == []  # whoever has it may live
    silence(sqlite_hub)
    clock.start_waiting()
    assert trainer.trained == [job.job_id]


def test_a_cancelled_job_whose_worker_is_gone_stands_in_nobodys_way(
    make_hub, database_url, tmp_path
):
    """Cancelled while its worker may live; then two hubs look, and it ends once."""
    config = make_config(tmp_path)
    first, second = (make_hub(database_url) for _ in range(2))
    [job] = tick(first, config).asked
    jobs.lease(first, "gone", 60)
    jobs.cancel(first, job.job_id, "ann")
    clocks = [Scheduler(hub, config, Trainer(hub)) for hub in (first, second)]
    clocks[0].start_waiting()
    assert jobs.get_job(first, job.job_id).state is JobState.RUNNING  # whoever has it may live
    silence(first)
    with ThreadPoolExecutor() as pool:
        list(pool.map(Scheduler.start_waiting, clocks))
    ended = jobs.get_job(first, job.job_id)
    assert (ended.state, ended.outcome) == (JobState.CANCELLED, "cancelled")
    assert gather(first, config, config.products[0]).underway == ""


def test_a_process_that_never_took_its_job_is_not_started_again_at_once(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    tick(sqlite_hub, config)
    trainer = Trainer(sqlite_hub, idle=True)
    clock = Scheduler(sqlite_hub, config, trainer)
    clock.start_waiting()
    trainer.children[0].returncode = 2
    clock.start_waiting()
    assert len(trainer.children) == 1


def test_a_job_that_failed_is_started_at_once_when_somebody_asks_again(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    [job] = tick(sqlite_hub, config).asked
    trainer = Trainer(sqlite_hub, state=JobState.FAILED)
    clock = Scheduler(sqlite_hub, config, trainer)
    clock.start_waiting()
    clock.start_waiting()
    request = request_of(sqlite_hub, config.products[0], job.kind)
    assert jobs.ask(sqlite_hub, request, "ann", "disk freed").job_id == job.job_id
    clock.start_waiting()
    assert trainer.trained == [job.job_id] * 2


def test_a_job_that_survived_its_hub_is_left_alone(sqlite_hub, tmp_path):
    config = make_config(tmp_path, products=2)
    tick(sqlite_hub, config)
    jobs.lease(sqlite_hub, "its process", 60)
    trainer = Trainer(sqlite_hub)
    Scheduler(sqlite_hub, config, trainer).start_waiting()
    assert trainer.children == []


def test_what_came_due_while_no_hub_ran_is_done_when_one_does_and_all_ends_with_it(hub, tmp_path):
    config = make_config(tmp_path)
    with hub.database.writing() as connection:
        yesterday = hub.now() - timedelta(days=1)
        connection.execute(insert(schedule).values(name=TICK, next_at=yesterday))
    with retraining_beside(hub, config, Trainer(hub)) as desk:
        until = time.monotonic() + WAIT_S
        while not jobs.list_jobs(hub) and time.monotonic() < until:
            time.sleep(0.02)
        assert [one.due for one in desk.policy()] == [None]
    assert len(jobs.list_jobs(hub)) == 1
    assert not {"APScheduler", "retraining"} & {thread.name for thread in threads()}
    assert next_at(hub) > hub.now()


def test_what_a_person_asks_for_begins_within_a_second_or_two(sqlite_hub, tmp_path):
    """The policy looks every ten minutes; nobody waits for that."""
    hub, trainer = sqlite_hub, Trainer(sqlite_hub)
    config = make_config(tmp_path, policy={"allowed": "nothing"})
    with retraining_beside(hub, config, trainer) as desk:
        time.sleep(1)  # the first look of the policy is over, and found nothing
        wish = NewJob(line="line-1", product="plate", kind=JobKind.REFIT, comment="glare")
        job, asked_s = desk.start(wish, "ann"), time.monotonic()
        while not trainer.trained and time.monotonic() < asked_s + WAIT_S:
            time.sleep(0.02)
        assert time.monotonic() - asked_s < 2 * START_S
    assert trainer.trained == [job.job_id]


def test_harm_is_looked_for_more_often_than_what_is_due(sqlite_hub, tmp_path, monkeypatch):
    looks = Semaphore(0)
    monkeypatch.setattr(scheduler, "WATCH_S", 1)
    monkeypatch.setattr(scheduler, "watch", lambda _hub, _config: looks.release() or ())
    with retraining_beside(sqlite_hub, make_config(tmp_path), Trainer(sqlite_hub)):
        assert all(looks.acquire(timeout=WAIT_S) for _ in range(2))


def test_what_is_due_is_looked_for_as_often_as_is_configured(sqlite_hub, tmp_path):
    """Not at once: what was missed is caught up with by the stored time."""
    config = make_config(tmp_path, every_min=7)
    with retraining_beside(sqlite_hub, config, Trainer(sqlite_hub)):
        until_s = time.monotonic() + WAIT_S
        while next_at(sqlite_hub) is None and time.monotonic() < until_s:
            time.sleep(0.02)
        wait = next_at(sqlite_hub) - sqlite_hub.now()
    assert timedelta(minutes=6) < wait <= timedelta(minutes=7)


def test_while_the_database_is_away_no_job_is_begun_and_the_clock_goes_on(
    sqlite_hub, tmp_path, caplog
):
    config = make_config(tmp_path)
    tick(sqlite_hub, config)
    trainer = Trainer(sqlite_hub)
    clock = Scheduler(sqlite_hub, config, trainer)
    with sqlite_hub.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO away")
    clock.start_waiting()
    assert (trainer.trained, "retraining put off" in caplog.text) == ([], True)
    with sqlite_hub.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO jobs")
    clock.start_waiting()
    assert len(trainer.trained) == 1


def test_a_failed_job_is_not_asked_for_again_until_something_is_new(sqlite_hub, tmp_path):
    """Look after look, as long as the same would fail."""
    config = make_config(tmp_path, policy={"triggers": {"reviews": 1}, "pause_h": 0})
    hub, trainer = sqlite_hub, Trainer(sqlite_hub, state=JobState.FAILED)
    clock = Scheduler(hub, config, trainer)
    for number in (1, 2):
        review(hub, number)
        for _ in range(3):
            tick(hub, config)
            clock.start_waiting()
        assert len(trainer.trained) == number
    [words] = RetrainingDesk(hub, config).policy()
    assert "It failed before and would again" in words.words


def test_times_outlive_the_process_and_hold_for_all_hubs(make_hub, database_url):
    first, second = (ScheduleStore(make_hub(database_url).database) for _ in range(2))
    hub = make_hub(database_url)
    soon, late = hub.now() + timedelta(minutes=1), hub.now() + timedelta(minutes=9)
    first.add_job(work(soon))
    second.add_job(work(late))
    assert first.get_next_run_time() == second.get_next_run_time() == soon
    assert first.get_due_jobs(soon - timedelta(seconds=1)) == []
    [due] = second.get_due_jobs(soon)
    due.next_run_time = late
    second.update_job(due)
    assert first.get_next_run_time() == late
    first.remove_all_jobs()
    assert next_at(hub) is None


def test_a_clock_goes_on_when_its_database_does_not_answer(sqlite_hub, caplog):
    store = ScheduleStore(sqlite_hub.database)
    job = work(sqlite_hub.now())
    store.add_job(job)
    with sqlite_hub.database.writing() as connection:
        schedule.drop(connection)
    store.update_job(job)
    assert "schedule not written" in caplog.text
    assert store.get_next_run_time() > sqlite_hub.now()
    with pytest.raises(HubError):
        store.get_due_jobs(sqlite_hub.now())


def test_a_backup_has_the_jobs_and_not_the_schedule(sqlite_hub, tmp_path):
    ScheduleStore(sqlite_hub.database).add_job(work(sqlite_hub.now()))
    tick(sqlite_hub, make_config(tmp_path))
    contents = back_up(sqlite_hub, tmp_path / "backup", "test")
    assert contents.tables["jobs"].lines == 1
    assert "schedule" not in contents.tables


def test_a_person_may_ask_for_what_is_not_due(sqlite_hub, tmp_path):
    desk = RetrainingDesk(sqlite_hub, make_config(tmp_path))
    wish = NewJob(line="line-1", product="plate", kind=JobKind.REFIT, comment="glare")
    job = desk.start(wish, "ann")
    assert (job.kind, job.who, job.why) == (JobKind.REFIT, "ann", "glare")
    assert desk.start(wish, "ben") == job
    with pytest.raises(NotThere, match="add it under products"):
        desk.start(wish.model_copy(update={"product": "disc"}), "ann")


def test_by_hand_what_is_due_is_trained_and_what_waits_too(sqlite_hub, tmp_path, monkeypatch):
    config = make_config(tmp_path, products=2)
    hub, [plate, _] = sqlite_hub, config.products
    jobs.ask(hub, request_of(hub, plate, JobKind.REFIT), "ann", "glare")
    trainer = Trainer(hub)
    monkeypatch.setattr(once, "work", lambda _hub, _config, job_id: trainer(job_id).returncode)
    assert {(job.product, job.kind) for job in train_if_due(hub, config).jobs} == {
        ("plate", JobKind.REFIT),
        ("plate-1", JobKind.RETRAIN),
    }
    assert jobs.ready(hub, 9) == ()


def test_by_hand_a_job_another_worker_has_is_left_to_it(sqlite_hub, tmp_path):
    config = make_config(tmp_path)
    [job] = tick(sqlite_hub, config).asked
    jobs.lease(sqlite_hub, "other", 60)
    done = train_if_due(sqlite_hub, config)
    assert (done.jobs, done.faults, done.barred) == ((), (), ())
    [left] = done.left
    assert (left.job_id, left.state) == (job.job_id, JobState.RUNNING)


def test_by_hand_a_job_asked_for_that_a_scheduler_took_and_ended_is_said(
    sqlite_hub, tmp_path, monkeypatch
):
    """Between the look and the lease it was the other's."""
    config, trainer = make_config(tmp_path), Trainer(sqlite_hub)
    monkeypatch.setattr(once, "work", lambda _hub, _config, job_id: (trainer(job_id), None)[1])
    done = train_if_due(sqlite_hub, config)
    assert (done.jobs, [one.state for one in done.left]) == ((), [JobState.DONE])


def test_by_hand_what_only_a_person_may_begin_is_said(sqlite_hub, tmp_path):
    config = make_config(tmp_path, policy={"allowed": "refit"})
    done = train_if_due(sqlite_hub, config)
    assert (done.jobs, done.left) == ((), ())
    [said] = done.barred
    assert (said.due, said.product) == (JobKind.RETRAIN, "plate")
    assert "By itself refit is allowed; a person may start it." in said.words


def test_by_hand_a_cancelled_job_whose_worker_is_gone_ends_first(sqlite_hub, tmp_path, monkeypatch):
    config = make_config(tmp_path, policy={"pause_h": 0})
    [job] = tick(sqlite_hub, config).asked
    jobs.lease(sqlite_hub, "gone", 60)
    jobs.cancel(sqlite_hub, job.job_id, "ann")
    silence(sqlite_hub)
    stood = []
    monkeypatch.setattr(
        once, "tick", lambda *given: stood.append(state_of(sqlite_hub, job)) or tick(*given)
    )
    monkeypatch.setattr(once, "work", lambda *_: None)
    monkeypatch.setattr(once, "ready", lambda *_, **__: ())
    train_if_due(sqlite_hub, config)
    assert stood == [JobState.CANCELLED]


def test_an_outline_drawn_since_is_asked_for_once_and_trained(sqlite_hub, tmp_path, monkeypatch):
    """Also where a person starts it: what is done already is another job."""
    config = make_config(tmp_path, policy={"triggers": {"cron": "* * * * *"}, "pause_h": 0})
    hub, trainer = sqlite_hub, Trainer(sqlite_hub)
    clock, [plate] = Scheduler(hub, config, trainer), config.products
    review(hub, 1, 2, 3)
    judge_with(hub, tmp_path / "bundle")
    jobs.ask(hub, request_of(hub, plate, JobKind.RETRAIN), "ann", "first")
    clock.start_waiting()
    draw_mask(hub, 1, at=hub.now())
    outlined = request_of(hub, plate, JobKind.RETRAIN)
    later = hub.now() + timedelta(minutes=2)
    monkeypatch.setattr(type(hub), "now", lambda _hub: later)
    for _ in range(2):
        tick(hub, config)
        clock.start_waiting()
    assert trainer.trained[1:] == [outlined.job_id]
    draw_mask(hub, 2, at=hub.now())
    new = NewJob(line=plate.line, product=plate.product, kind=JobKind.RETRAIN, comment="outlined")
    assert RetrainingDesk(hub, config).start(new, "ann").state is JobState.WAITING


def test_a_look_ends_between_two_products_when_the_hub_does(sqlite_hub, tmp_path):
    ended = Flag()
    ended.set()
    assert tick(sqlite_hub, make_config(tmp_path, products=2), ended).asked == ()


class _Work:
    """What a schedule knows of APScheduler's job."""

    id = "work"
    trigger = IntervalTrigger(minutes=1)


def work(at) -> _Work:
    """Give work that is due then."""
    job = _Work()
    job.next_run_time = at
    return job


def state_of(hub, job) -> JobState:
    """Read how a job stands."""
    return jobs.get_job(hub, job.job_id).state


def next_at(hub):
    """Read when something is due next."""
    with hub.database.reading() as connection:
        return connection.execute(select(schedule.c.next_at)).scalar()


def silence(hub) -> None:
    """Let the worker of every job be silent for too long."""
    with hub.database.writing() as connection:
        connection.execute(update(loop_tables.jobs).values(leased_until=EPOCH))
