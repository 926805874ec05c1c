"""Steps in a process of their own: of lowest priority, watched, ended when it must be."""

import logging
import os
import sys
from pathlib import Path

import pytest

from inspection.core.errors import ConfigError, DatasetError, TrainingError
from inspection.core.progress import watched
from inspection.hub.wire.retraining import Step
from inspection.retraining import local
from inspection.retraining.local import launch, local_perform, memory_of
from inspection.retraining.settings import LocalSettings
from tests.retraining.local_stand_in import serve_stand_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch):
    """Do no real steps: what they do stands in the job's folder."""
    monkeypatch.setattr(local, "serve", serve_stand_in)
    monkeypatch.setattr(local, "LOOK_S", 0.05)


def order(folder: Path, what: str) -> Path:
    (folder / "do").write_text(what)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="priorities are the system's")
def test_steps_run_at_the_lowest_priority_in_one_process_that_is_heard(tmp_path, caplog):
    """Progress comes to who watches, log lines to the log, errors as they were raised."""
    heard = []

    def watcher(done: int, total: int) -> None:
        heard.append((done, total))
        if (tmp_path / "begun").exists():
            raise ConfigError("cancelled")

    with (
        local_perform(LocalSettings(threads=1, memory_mb=5000)) as perform,
        watched(watcher),
        caplog.at_level(logging.INFO, "inspection"),
    ):
        perform(Step.TRAIN, order(tmp_path, "look"))
        with pytest.raises(DatasetError, match="no pictures here"):
            perform(Step.EXPORT, order(tmp_path, "fail"))
        with pytest.raises(TrainingError, match="step 'export': RuntimeError: no such kernel; "):
            perform(Step.EXPORT, order(tmp_path, "break"))
        heard.clear()
        perform(Step.EXPORT, order(tmp_path, "count"))
        told = list(dict.fromkeys(one for one in heard if one != (0, 0)))
        assert told[:3] == [(1, 3), (2, 3), (3, 3)]
        perform(Step.GATE, order(tmp_path, "look"))
        with pytest.raises(ConfigError, match="cancelled"):
            perform(Step.TRAIN, order(tmp_path, "sleep"))
    assert "counted all" in caplog.text
    train, gate = ((tmp_path / step).read_text() for step in ("train", "gate"))
    assert train == gate
    pid, policy, threads, killed_first = map(int, train.split())
    assert (policy, threads) == (os.SCHED_IDLE, 1)
    assert os.sched_getscheduler(0) != os.SCHED_IDLE
    assert killed_first == 1000, "where memory runs out, it goes and not the hub"
    assert Path("/proc/self/oom_score_adj").read_text() != "1000\n"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_one_that_dies_is_told_and_one_that_takes_too_much_memory_is_ended(tmp_path):
    """The next step after a death has a new process."""
    with local_perform(LocalSettings(memory_mb=900)) as perform:
        with pytest.raises(TrainingError, match="its process died, code -9"):
            perform(Step.TRAIN, order(tmp_path, "die"))
        with pytest.raises(TrainingError, match=r"took \d+ MB; local.memory_mb allows 900"):
            perform(Step.TRAIN, order(tmp_path, "eat"))


@pytest.mark.skipif(sys.platform != "linux", reason="the system hides it elsewhere")
def test_memory_is_that_of_the_whole_tree():
    assert memory_of(os.getpid()) > 30_000_000
    assert memory_of(0x3FFFFFFF) == 0


def test_a_job_starts_in_a_session_of_its_own_and_its_output_is_kept(tmp_path):
    """A hub's end, or Ctrl-C in its terminal, does not reach it."""
    (tmp_path / "retraining.yaml").write_text(f"work_dir: {tmp_path}/work\n")
    (tmp_path / "hub.yaml").write_text("nonsense: 1\n")
    child = launch("a" * 64, hub_file=tmp_path / "hub.yaml", file=tmp_path / "retraining.yaml")
    assert os.getsid(child.pid) == child.pid
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == local.LESS_NICE
    assert child.wait(120) == 2
    said = (tmp_path / "work" / ("a" * 64) / local.OUTPUT).read_text()
    assert "nonsense" in said


@pytest.mark.fast
def test_the_unit_of_the_hub_outlives_a_training_and_says_what_trainings_need():
    """A training killed for memory ends no ingest; GPU, weights and key are in the documents."""
    unit = (ROOT / "configs" / "inspection-hub.service").read_text(encoding="utf-8")
    assert "\nOOMPolicy=continue\n" in unit
    guide = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")
    setting_up = guide.split("## Setting it up")[1].split("\n## ")[0]
    for name in ("PrivateDevices", "INSPECTION_WEIGHTS", "INSPECTION_KEYS"):
        assert (name in unit, name in setting_up) == (True, True), name
