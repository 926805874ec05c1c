"""Steps in a job's folder: found again, done anew when their input changed, dated as asked."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import update

from inspection.bench.redness import make_bundle
from inspection.core.errors import ConfigError, UpdateImpossible
from inspection.core.origin import DATE_VARIABLE, dated, describe_origin
from inspection.core.progress import follow, watched
from inspection.core.records import Split, read_manifest, write_record
from inspection.hub import jobs, loop_tables
from inspection.hub.models import add_bundle, choose
from inspection.hub.tables import EPOCH
from inspection.hub.wire.models import NewChoice
from inspection.hub.wire.retraining import JobKind, JobState, Step
from inspection.retraining.assemble import MANIFEST, RECENT, SET, assemble, is_reviewed
from inspection.retraining.keeping import remove_forgotten, remove_old
from inspection.retraining.steps import REQUEST, JobFolder, hash_folder, perform
from tests.retraining.plant import ASKED_AT, first_set, request_for, review
from tests.training.tiny import tiny_config


@pytest.fixture
def job(sqlite_hub, tmp_path) -> JobFolder:
    """The folder of a job whose set is assembled."""
    review(sqlite_hub, 1, 2, 3)
    request = request_for(sqlite_hub, first_set(tmp_path / "first"))
    folder = JobFolder.make(tmp_path / "work" / request.job_id, request)
    assemble(sqlite_hub, request, folder.output(Step.ASSEMBLE))
    return folder


def changed(job: JobFolder, **changes) -> JobFolder:
    """Give the same folder as if something else had been asked for."""
    before = job.assembled
    write_record(job.path / REQUEST, job.request.model_copy(update=changes))
    anew = JobFolder(job.path)
    before.rename(anew.assembled)
    return anew


def test_a_steps_folder_is_named_by_what_it_is_made_from(job):
    """By its settings and its set, whatever else was asked for."""
    before = job.output(Step.TRAIN)
    job = changed(job, name="other")
    assert job.output(Step.TRAIN) == before
    manifest = job.manifest
    fewer = manifest.model_copy(update={"root": SET, "entries": manifest.entries[1:]})
    write_record(job.assembled / MANIFEST, fewer)
    assert job.output(Step.TRAIN) != before
    write_record(job.assembled / MANIFEST, manifest.model_copy(update={"root": SET}))
    job = changed(job, train=job.request.train.model_copy(update={"seed": 1}))
    assert job.output(Step.TRAIN) != before


def test_a_finished_step_is_left_alone(job):
    """What lies there is not looked into: its name says what it was made from."""
    out = job.output(Step.TRAIN)
    out.mkdir()
    (out / "run.json").write_text("as it was")
    perform(Step.TRAIN, job.path)
    assert [path.name for path in out.iterdir()] == ["run.json"]


def test_a_step_that_needs_the_hub_is_not_done_by_others(job):
    with pytest.raises(ConfigError, match="step 'assemble' needs the hub; wanted train, export"):
        perform(Step.ASSEMBLE, job.path)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (JobKind.GUARDS, "wanted calibrate, gate, compare$"),
        (JobKind.UPDATE, "wanted calibrate, gate, compare$"),
        (JobKind.REFIT, "wanted none: the hub does all$"),
    ],
)
def test_a_step_that_is_none_of_its_jobs_is_refused(job, kind, wanted):
    other = changed(job, kind=kind)
    with pytest.raises(ConfigError, match=f"of kind '{kind}' has no step 'train'; {wanted}"):
        perform(Step.TRAIN, other.path)
    assert not other.output(Step.TRAIN).exists()


def test_a_folder_of_no_job_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no folder of a job"):
        perform(Step.TRAIN, tmp_path)


def test_an_update_without_a_champion_is_refused(job):
    update = changed(job, kind=JobKind.UPDATE)
    with pytest.raises(UpdateImpossible, match="an update needs a bundle that judges"):
        perform(Step.CALIBRATE, update.path)


def test_the_first_request_of_a_folder_stays(job):
    other = job.request.model_copy(update={"asked_at": datetime(2027, 1, 1, tzinfo=UTC)})
    assert JobFolder.make(job.path, other).request.asked_at == ASKED_AT


def test_a_folders_hash_follows_names_and_bytes(tmp_path):
    (tmp_path / "one").write_text("1")
    first = hash_folder(tmp_path)
    (tmp_path / "one").rename(tmp_path / "two")
    second = hash_folder(tmp_path)
    (tmp_path / "two").write_text("2")
    assert len({first, second, hash_folder(tmp_path)}) == 3


def test_forgotten_pictures_leave_the_folders_of_jobs(job, sqlite_hub):
    """The copies go, and what was learnt from one that taught; the first set is its owner's."""
    taught = next(one for one in job.manifest.of(Split.FIT) if not is_reviewed(one))
    tested = job.manifest.of(Split.TEST)[0]
    first = Path(read_manifest(job.request.manifest).root, taught.path)
    learnt = job.output(Step.TRAIN)
    learnt.mkdir()
    work_dir = job.path.parent
    assert remove_forgotten(sqlite_hub, work_dir, ()) == 0
    assert remove_forgotten(sqlite_hub, work_dir, (tested.sha256,)) == 1
    assert learnt.exists()
    assert remove_forgotten(sqlite_hub, work_dir, (taught.sha256, tested.sha256)) == 1
    assert not (job.assembled / SET / taught.path).exists()
    assert not learnt.exists()
    assert first.exists()
    assert (job.assembled / RECENT).exists()


def test_what_a_killed_step_left_half_written_is_forgotten_unless_somebody_is_at_it(
    sqlite_hub, tmp_path
):
    """It names no pictures; of a job that was cancelled nobody would ever write it to its end."""
    hub, base = sqlite_hub, first_set(tmp_path / "first")
    work_dir, left = tmp_path / "work", []
    for product in ("cancelled", "leased", "again"):
        request = request_for(hub, base).model_copy(update={"product": product})
        job_id = jobs.ask(hub, request, "ann", "to see").job_id
        jobs.lease(hub, "test", 60, job_id)
        left.append(work_dir / job_id / f".{Step.ASSEMBLE}-0.partial")
    cancelled, leased, again = (path.parent.name for path in left)
    for job_id in (cancelled, again):
        jobs.cancel(hub, job_id, "ann")
    with hub.database.writing() as connection:
        gone = update(loop_tables.jobs).where(loop_tables.jobs.c.job_id == cancelled)
        connection.execute(gone.values(leased_until=EPOCH))
    jobs.end_left(hub)
    jobs.ask(hub, request, "ann", "at once")  # its old worker has not ended yet
    left += [work_dir / "unknown" / ".train-0.partial", work_dir / cancelled / ".words.partial"]
    for path in left[:-1]:
        (path / SET).mkdir(parents=True)
        (path / SET / "a.png").write_bytes(b"forgotten")
    left[-1].write_bytes(b"half")
    assert remove_forgotten(hub, work_dir, ()) == 0
    assert all(path.exists() for path in left)
    assert remove_forgotten(hub, work_dir, ("0" * 64,)) == 0
    assert [path.parent.name for path in left if path.exists()] == [leased, again]


def test_a_fixed_date_is_the_date(monkeypatch):
    """By the block, else by the variable of reproducible builds, else now."""
    monkeypatch.setenv(DATE_VARIABLE, "1700000000")
    with dated(ASKED_AT):
        assert describe_origin(()).created_at == ASKED_AT
    assert describe_origin(()).created_at == datetime.fromtimestamp(1_700_000_000, UTC)
    monkeypatch.delenv(DATE_VARIABLE)
    assert describe_origin(()).created_at.year >= datetime.now(UTC).year


@pytest.mark.parametrize("named", ["soon", "1.5", "9" * 30])
def test_a_date_that_is_none_is_refused(monkeypatch, named):
    monkeypatch.setenv(DATE_VARIABLE, named)
    with pytest.raises(ConfigError, match="wanted whole seconds since 1970"):
        describe_origin(())


def test_who_watches_hears_of_every_item_and_may_end_it():
    heard = []

    def watcher(done: int, total: int) -> None:
        heard.append((done, total))
        if done == 2:
            raise ConfigError("enough")

    with watched(watcher), pytest.raises(ConfigError, match="enough"):
        for _ in follow(range(5), "items"):
            pass
    list(follow(range(3), "unwatched"))
    assert heard == [(1, 5), (2, 5)]


def test_of_old_jobs_only_the_last_folders_and_those_in_use_stay(sqlite_hub, tmp_path):
    """The bundle that judges was made in the oldest; a job that waits keeps its folder, too.

    Re-fits, which have none, push nothing out.
    """
    hub, base = sqlite_hub, first_set(tmp_path / "first")
    bundle_id = add_bundle(hub, make_bundle(tmp_path / "bundle", name="plate"), "test").bundle_id
    choose(hub, "line-1", NewChoice(bundle_id=bundle_id, comment="first"), "ann")
    ids = []
    for seed in range(7):
        request = request_for(hub, base, train=tiny_config(seed=seed))
        ids.append(jobs.ask(hub, request, "ann", "to see").job_id)
        (tmp_path / "work" / ids[-1]).mkdir(parents=True)
        if seed < 6:
            leased = jobs.lease(hub, "test", 60, ids[-1])
            jobs.finish(hub, leased, JobState.DONE, "", None if seed else bundle_id)
    for seed in range(3):
        request = request_for(hub, base, train=tiny_config(seed=seed), kind=JobKind.REFIT)
        leased = jobs.lease(hub, "test", 60, jobs.ask(hub, request, "ann", "glare").job_id)
        jobs.finish(hub, leased, JobState.DONE, "")
    (tmp_path / "work" / "notes of a person").mkdir()
    assert set(remove_old(hub, tmp_path / "work")) == set(ids[1:3])
    left = {path.name for path in (tmp_path / "work").iterdir()}
    assert left == {ids[0], *ids[3:], "notes of a person"}
    assert remove_old(hub, tmp_path / "work") == []
