"""Ctrl-C and a full disk in the middle of each command: nothing half-written is taken for whole."""

import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from inspection.demo import clear_demo
from tests.command import Said, done, finish, start
from tests.end_to_end.conftest import Line
from tests.end_to_end.settings import STFPM

pytestmark = pytest.mark.usefixtures("alone")

# Presses Ctrl-C in the middle of the first call of a function, before it has done anything.
CTRL_C_WHEN = """
import os, pkgutil, signal
path = "{}"
owner, name = pkgutil.resolve_name(path.rpartition(".")[0]), path.rpartition(".")[2]
function = getattr(owner, name)
def interrupted(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    return function(*arguments, **options)
setattr(owner, name, interrupted)
"""
START_S = 120  # a fresh interpreter with torch, on a busy machine


def interrupt_when(process: subprocess.Popen[str], begun: Path, after_s: float = 0) -> Said:
    """Press Ctrl-C once `begun` exists and some time more has passed."""
    end = time.monotonic() + START_S
    while not begun.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{begun} never came"
        time.sleep(0.005)
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    return finish(process)


def require_interrupted(said: Said) -> None:
    """Exit 130, one line for the person, no traceback."""
    assert said.code == 130, said.err
    assert said.err.endswith("interrupted; nothing half-written was kept\n")
    assert "Traceback" not in said.err


def names(folder: Path) -> list[str]:
    """Give what lies in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_interrupted_make_leaves_no_set(tmp_path: Path):
    """Ctrl-C while parts are generated: no folder, hidden ones neither."""
    process = start(["dataset", "make", "set", "--train-good", 5_000], tmp_path)
    require_interrupted(interrupt_when(process, tmp_path / ".set.partial/train/good/003.png"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("after_s", [0, 1.5], ids=["at the start", "in the epochs"])
def test_interrupted_training_leaves_no_run(manifest: Path, tmp_path: Path, after_s: float):
    """Ctrl-C while a model is fitted, Lightning's own handling included: no run folder."""
    (tmp_path / "train.yaml").write_text(STFPM.replace("epochs: 1", "epochs: 5000"))
    process = start(["train", "train.yaml", "--data", manifest, "--out", "run"], tmp_path)
    require_interrupted(interrupt_when(process, tmp_path / ".run.partial", after_s))
    assert names(tmp_path) == ["train.yaml"]


def test_interrupted_export_leaves_no_bundle_and_goes_well_the_next_time(
    line: Line, tmp_path: Path
):
    """Ctrl-C while a bundle is made: no bundle; the same command then makes it whole."""
    words = ["export", line.run, "--out", tmp_path / "bundle", "--config", line.export_config]
    require_interrupted(interrupt_when(start(words, tmp_path), tmp_path / ".bundle.partial"))
    assert names(tmp_path) == []
    done(*words)
    done("bundle", "verify", tmp_path / "bundle")


def ungated(line: Line, folder: Path) -> Path:
    """Copy the bundle as it was before its gate."""
    bundle = folder / "bundle"
    shutil.copytree(line.bundle, bundle, ignore=shutil.ignore_patterns("gate.json"))
    return bundle


def writers(line: Line) -> dict[str, list[object]]:
    """Give the commands that end by writing one file."""
    return {
        "check": ["dataset", "check", line.images, "--out", "new.json", "--accept-problems"],
        "split": ["dataset", "split", line.manifest, "--out", "new.json"],
        "gate": ["gate", "bundle"],
        "report": ["report", "bundle", "--out", "new.html"],
    }


@pytest.mark.parametrize("command", ["check", "split", "gate", "report"])
def test_interrupted_writing_leaves_nothing(line: Line, tmp_path: Path, command: str):
    """Ctrl-C when the bytes are written and the name is not: nothing new, the bundle intact."""
    bundle = ungated(line, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    require_interrupted(
        finish(start(writers(line)[command], tmp_path, first=CTRL_C_WHEN.format("os.fsync")))
    )
    assert sorted(tmp_path.rglob("*")) == before
    done("bundle", "verify", bundle)


def test_interrupted_gate_leaves_the_bundle_ungated(line: Line, tmp_path: Path):
    """Ctrl-C while the gate looks at the parts: the bundle is intact and was never gated."""
    bundle = ungated(line, tmp_path)
    first = CTRL_C_WHEN.format("inspection.core.parts.load_part")
    require_interrupted(finish(start(["gate", bundle], tmp_path, first=first)))
    assert not (bundle / "gate.json").exists()
    done("bundle", "verify", bundle)


def test_interrupted_judging_leaves_whole_overlays_only(line: Line, tmp_path: Path):
    """Ctrl-C while an overlay is written: no verdict is printed and no half picture stays."""
    parts = sorted(line.images.glob("test/*/*.png"))[:3]
    words = ["judge", line.bundle, *parts, "--allow-refused", "--overlay", "overlays"]
    said = finish(start(words, tmp_path, first=CTRL_C_WHEN.format("pathlib.Path.replace")))
    require_interrupted(said)
    assert said.out == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_interrupted_demo_is_made_anew(tmp_path: Path):
    """Ctrl-C in the demonstration: no run and no bundle; the folder is known as its own."""
    process = start(["demo", "--out", "demo"], tmp_path)
    require_interrupted(interrupt_when(process, tmp_path / "demo/manifest.json", 1.5))
    assert "run" not in names(tmp_path / "demo")
    assert ".run.partial" not in names(tmp_path / "demo")
    clear_demo(tmp_path / "demo")


def limit_files_to(size: int) -> None:
    """Let no file of this process grow beyond a size, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def largest_file(folder: Path) -> int:
    """Give the bytes of the largest file of a folder."""
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("share", [0.01, 0.99], ids=["at once", "near the end"])
def test_full_disk_ends_training_without_a_run(line: Line, tmp_path: Path, share: float):
    """A run that cannot be written whole is a fault, and leaves nothing."""
    words = ["train", line.train_config, "--data", line.manifest, "--out", "run"]
    limit_bytes = int(share * largest_file(line.run))
    said = finish(start(words, tmp_path, lambda: limit_files_to(limit_bytes)))
    assert said.code == 3, said.err
    assert "cannot be written" in said.err
    assert "Traceback" not in said.err
    assert names(tmp_path) == []


@pytest.mark.parametrize("share", [0.01, 0.99], ids=["at once", "near the end"])
def test_full_disk_ends_export_without_a_bundle(line: Line, tmp_path: Path, share: float):
    """A bundle that cannot be written whole is a fault, and leaves nothing."""
    words = ["export", line.run, "--out", "bundle", "--config", line.export_config]
    limit_bytes = int(share * largest_file(line.bundle))
    said = finish(start(words, tmp_path, lambda: limit_files_to(limit_bytes)))
    assert said.code == 3, said.err
    assert "cannot be written" in said.err
    assert names(tmp_path) == []


@pytest.mark.parametrize("command", ["check", "split", "gate", "report"])
def test_full_disk_leaves_nothing_of_a_file(line: Line, tmp_path: Path, command: str):
    """A file that cannot be written whole is a fault that names it, and leaves nothing."""
    bundle = ungated(line, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = finish(start(writers(line)[command], tmp_path, lambda: limit_files_to(1_000)))
    assert said.code == 3, said.err
    assert "cannot be written (File too large); free space or rights" in said.err
    assert "Traceback" not in said.err
    assert sorted(tmp_path.rglob("*")) == before
    done("bundle", "verify", bundle)


def test_full_disk_ends_make_without_a_set(tmp_path: Path):
    """A generated set that does not fit is a fault, and leaves nothing."""
    words = ["dataset", "make", "set", "--train-good", 3, "--test-good", 1, "--per-defect", 0]
    said = finish(start(words, tmp_path, lambda: limit_files_to(30_000)))
    assert said.code == 3, said.err
    assert names(tmp_path) == []
