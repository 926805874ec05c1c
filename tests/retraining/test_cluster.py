import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import Nanny, Scheduler, SpecCluster
from distributed.comm import CommClosedError

from inspection.bench.redness import encode_part, make_bundle
from inspection.core.errors import (
    ClusterAway,
    ConfigError,
    DatasetError,
    InspectionError,
    TrainingError,
)
from inspection.core.progress import watched
from inspection.hub.wire.retraining import Step
from inspection.retraining import cluster
from inspection.retraining.cluster import cluster_perform, connect, require_alike
from inspection.retraining.rejudge import Where, rejudge
from inspection.retraining.remote import LOG, revision, run_step
from tests.retraining.stand_in import perform, perform_alone
from tests.test_architecture import loaded_by

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def running() -> Iterator[SpecCluster]:
    """A cluster of a worker with one thread, and of one with two and a GPU."""
    workers = {
        "plain": {"cls": Nanny, "options": {"nthreads": 1, "host": HOST}},
        "gpu": {"cls": Nanny, "options": {"nthreads": 2, "host": HOST, "resources": {"GPU": 1}}},
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard": False, "host": HOST, "port": 0}}
    with SpecCluster(workers, scheduler, silence_logs=50) as cluster:
        yield cluster


@pytest.fixture
def address(running: SpecCluster) -> str:
    """Where that cluster is, once both workers are there again."""
    while len(running.scheduler.workers) < 2:
        time.sleep(0.02)
    return running.scheduler_address.replace("tcp://", "dask://")


def folder_of(tmp_path: Path, **files: object) -> Path:
    """Make a job's folder with files that say what its steps do."""
    folder = tmp_path / "job"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(str(text))
    return folder


def tries(folder: Path) -> list[str]:
    """Give the workers that began a step, in order."""
    noted = [line.split(" ", 3)[3] for line in (folder / LOG).read_text().splitlines()]
    return [one for one in noted if one not in {"asked for", "given up"}]


def test_training_goes_to_a_gpu_with_as_many_threads_as_the_worker_has(
    address: str, tmp_path: Path
):
    """Of two workers one has a GPU, and two threads: torch, OpenVINO and OpenCV take two."""
    folder = folder_of(tmp_path)
    cluster_perform(address, perform)(Step.TRAIN, folder)
    assert (folder / "train").read_text() == "gpu (2, 2)"


def test_other_steps_go_to_whoever_is_free(address: str, tmp_path: Path):
    """While the only GPU trains for long, the next job's export is done by the other worker."""
    training, other = tmp_path / "a", tmp_path / "b"
    training.mkdir()
    other.mkdir()
    job, export = folder_of(training, slow=1), folder_of(other, slow=0.2)
    step = cluster_perform(address, perform)
    with ThreadPoolExecutor(3) as jobs:
        began = jobs.submit(step, Step.TRAIN, job)
        while not (job / "begun").exists():
            assert not began.done()
            time.sleep(0.01)
        step(Step.EXPORT, export)
        assert (export / "export").read_text() == "plain (1, 1)"
        began.result()


def test_what_a_step_raises_is_raised_here(address: str, tmp_path: Path):
    """An error of the step is no error of the cluster: it is not tried again."""
    folder = folder_of(tmp_path, fails="")
    with pytest.raises(DatasetError, match="no pictures"):
        cluster_perform(address, perform)(Step.EXPORT, folder)
    assert len(tries(folder)) == 1


def test_what_a_library_raises_in_a_step_is_told_and_not_tried_again(address: str, tmp_path: Path):
    """Only a lost worker is; a plain RuntimeError once trained up to twenty times."""
    folder = folder_of(tmp_path, breaks="")
    told = r"step 'train' on tcp://\S+: RuntimeError: no such kernel; .*ask again"
    with pytest.raises(TrainingError, match=told):
        cluster_perform(address, perform)(Step.TRAIN, folder)
    assert len(tries(folder)) == 1


def test_workers_do_the_steps_of_a_job_unless_told_otherwise(address: str, tmp_path: Path):
    """Without a stand-in it is `steps.perform` that answers: it leaves `assemble` to the hub."""
    with pytest.raises(ConfigError, match="step 'assemble' needs the hub"):
        cluster_perform(address)(Step.ASSEMBLE, folder_of(tmp_path))


def test_a_killed_worker_costs_one_step(address: str, tmp_path: Path):
    """The step that was under way is begun once more; those before it are not."""
    folder = folder_of(tmp_path)
    step = cluster_perform(address, perform)
    step(Step.EXPORT, folder)
    (folder / "deaths").write_text("1")
    step(Step.CALIBRATE, folder)
    lines = [line.split(" ", 3) for line in (folder / LOG).read_text().splitlines()]
    assert [line[2] for line in lines if line[3] != "asked for"] == [
        "export",
        "calibrate",
        "calibrate",
    ]


def test_a_step_that_ends_its_worker_each_time_fails_in_words(address: str, tmp_path: Path):
    """After three workers it is given up, and the message tells where to look."""
    folder = folder_of(tmp_path, deaths=100)
    with pytest.raises(TrainingError, match=r"'export' ended its worker 3 times .*look at their"):
        cluster_perform(address, perform)(Step.EXPORT, folder)
    assert len(tries(folder)) == 3


def test_steps_of_one_worker_never_overlap(address: str, tmp_path: Path):
    """A worker of two threads trains one model at a time: seeds belong to the process."""
    folder = folder_of(tmp_path)
    step = cluster_perform(address, perform_alone)
    with ThreadPoolExecutor(6) as jobs:
        assert list(jobs.map(lambda _: step(Step.EXPORT, folder), range(6))) == [None] * 6


def test_workers_of_another_version_are_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both are named, and nothing is begun."""
    found = revision()
    monkeypatch.setattr("inspection.retraining.remote.revision", lambda: "0.0.1 (old)")
    folder = folder_of(tmp_path)
    with pytest.raises(ConfigError) as refused:
        cluster_perform(address, perform)(Step.TRAIN, folder)
    assert str(refused.value).count(f"runs inspection {found}; wanted 0.0.1 (old)") == 2
    assert tries(folder) == []


@dataclass
class Answering:
    """A client all of whose workers answer alike."""

    answer: object

    def run(self, *_: object, on_error: str) -> dict[str, object]:
        """Give it for one worker."""
        assert on_error == "return"
        return {"tcp://worker": self.answer}


@pytest.mark.parametrize(
    "answer", [CommClosedError("gone"), ConnectionResetError()], ids=["closed", "reset"]
)
def test_a_worker_that_dies_while_it_is_asked_is_no_reason_to_refuse(
    tmp_path: Path, answer: OSError
):
    """Or else a killed worker would cost every job that is about to ask for a step."""
    (tmp_path / "seen").touch()
    require_alike(Answering(answer), tmp_path / "seen")
    with pytest.raises(ConfigError, match=r"cannot run this program .*install inspection there"):
        require_alike(Answering(ImportError("no inspection")), tmp_path / "seen")


def test_workers_that_do_not_see_the_folder_are_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A path that leads elsewhere in each process stands for a folder that is not shared."""
    (tmp_path / "token").write_text("here")
    monkeypatch.chdir(tmp_path)
    own = Path("/proc/self/cwd/token")
    with (
        pytest.raises(ConfigError, match=r"sees another /proc/self/cwd/token, or none; mount"),
        connect(address, own),
    ):
        pass


def test_a_step_that_nobody_waits_for_ends(address: str, tmp_path: Path):
    """What is raised to who tells of progress ends the waiting at once, and the worker's step."""
    folder = folder_of(tmp_path, counted=400)
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done > 0:
            raise InspectionError("cancelled")

    with pytest.raises(InspectionError, match=r"^cancelled$"), watched(stop):
        cluster_perform(address, perform)(Step.EXPORT, folder)
    assert 0 < told[-1][0] < told[-1][1] == 400
    cluster_perform(address, perform)(Step.EXPORT, folder_of(tmp_path / "next"))
    for _ in range(50):
        if (folder / "ended").exists():
            break
        time.sleep(0.1)
    assert "nobody waits" in (folder / "ended").read_text()
    assert not (folder / "export").exists()


def test_a_worker_that_came_later_is_looked_at_too(address: str, tmp_path: Path):
    """A step on a worker that does not see the log of its job is refused there."""
    folder = folder_of(tmp_path, seen="")
    gone = str(tmp_path / "elsewhere" / LOG)
    with connect(address, folder / "seen") as client:
        asked = client.submit(run_step, perform, "train", gone, "attempt", revision())
        with pytest.raises(ConfigError, match="mount the folder"):
            asked.result()


def test_nobody_at_the_address_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The message says what to do, and that nothing is lost."""
    monkeypatch.setattr(cluster, "CONNECT_S", 0.3)
    with pytest.raises(ClusterAway, match=r"does not answer .* what is finished is kept"):
        cluster_perform(f"dask://{HOST}:9", perform)(Step.TRAIN, folder_of(tmp_path))


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of Dask's until the end of the block."""
    command = [sys.executable, "-m", "dask", *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_scheduler_that_goes_is_away_and_its_job_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Without a worker, and killed while a step is under way: each time in words."""
    monkeypatch.setattr(cluster, "NOBODY_S", 0.2)
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    monkeypatch.setattr(cluster, "LOOK_S", 0.2)
    file = tmp_path / "scheduler.json"
    folder = folder_of(tmp_path, slow=20)
    said = ("--scheduler-file", str(file), "--host", HOST, "--no-dashboard")
    with started("scheduler", *said, "--port", "0") as scheduler, ThreadPoolExecutor() as jobs:
        while not (file.exists() and '"address"' in file.read_text()):  # it is written in place
            time.sleep(0.05)
        at = file.read_text().split('"address": "tcp://')[1].split('"')[0]
        step = cluster_perform(f"dask://{at}", perform)
        with pytest.raises(ClusterAway, match="has no worker; start one: dask worker tcp://"):
            step(Step.TRAIN, folder)
        monkeypatch.setattr(cluster, "NOBODY_S", 60)
        worker = ("worker", f"tcp://{at}", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        with started(*worker, "--local-directory", str(tmp_path)):
            asked = jobs.submit(step, Step.TRAIN, folder)
            while not (folder / "begun").exists():
                assert not asked.done()
                time.sleep(0.05)
            scheduler.send_signal(signal.SIGKILL)
            with pytest.raises(ClusterAway, match="does not answer"):
                asked.result()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty pictures and a broken one beside a bundle."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setattr("inspection.retraining.rejudge.CHUNK", 4)
    make_bundle(tmp_path / "bundle")
    (tmp_path / "pictures").mkdir()
    for name, encoded in map(encode_part, range(0, 300, 10)):
        (tmp_path / "pictures" / name).write_bytes(encoded)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    return tmp_path


def rows(folder: Path) -> dict[str, bytes]:
    """Give every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_archive_judged_on_a_cluster_is_judged_as_here(address: str, archive: Path):
    """Rows, their files and the summary are the same to the byte."""
    here, there = archive / "here", archive / "there"
    found = rejudge(archive / "bundle", archive / "pictures", here)
    where = Where(executor=address)
    assert rejudge(archive / "bundle", archive / "pictures", there, where=where) == found
    assert rows(here) == rows(there)


def test_a_bundle_that_workers_see_otherwise_is_refused(
    address: str, archive: Path, monkeypatch: pytest.MonkeyPatch
):
    """A bundle changed since its first look is not judged with."""
    real = cluster.cluster_pool

    def late(*arguments: object):
        other = make_bundle(archive / "other", gain=2)
        (archive / "bundle").rename(archive / "before")
        other.rename(archive / "bundle")
        return real(*arguments)

    monkeypatch.setattr(cluster, "cluster_pool", late)
    with pytest.raises(InspectionError, match=r"bundle: is [0-9a-f]{64}; wanted .*copy it again"):
        rejudge(
            archive / "bundle",
            archive / "pictures",
            archive / "out",
            where=Where(executor=address),
        )


def test_dask_is_loaded_only_where_a_cluster_is_asked_for():
    """A replay on this machine's cores neither loads nor needs it."""
    loaded = loaded_by("import inspection.retraining.rejudge, inspection.cli.main")
    assert loaded & {"dask", "distributed", "torch", "sqlalchemy", "pandas"} == set()
