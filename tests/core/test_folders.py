"""A folder appears whole or not at all, whatever ends the work."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from inspection.core.errors import InspectionError, TrainingError
from inspection.core.folders import new_folder

pytestmark = pytest.mark.fast


def _tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def _fill(out: Path, error: BaseException) -> None:
    """Write half of a folder, then fail."""
    with new_folder(out) as folder:
        (folder / "half").write_text("half")
        raise error


def test_folder_appears_when_the_block_ends(tmp_path: Path):
    """Inside the block the place is empty; afterwards it holds all that was written."""
    out = tmp_path / "deep" / "run"
    with new_folder(out) as folder:
        (folder / "maps").mkdir()
        (folder / "maps" / "a").write_text("1")
        assert not out.exists()
        assert folder.parent == out.parent
    assert _tree(tmp_path) == ["deep", "deep/run", "deep/run/maps", "deep/run/maps/a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), ZeroDivisionError()])
def test_whatever_ends_the_block_leaves_nothing(tmp_path: Path, error):
    """Ctrl-C, an exit and a bug pass through and leave neither folder nor rest."""
    with pytest.raises(type(error)):
        _fill(tmp_path / "run", error)
    assert _tree(tmp_path) == []


def test_own_errors_pass_as_they_are(tmp_path: Path):
    """A refusal inside the block keeps its kind and words."""
    with pytest.raises(TrainingError, match=r"^no normals; add some$"):
        _fill(tmp_path / "run", TrainingError("no normals; add some"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_full_disk_is_said_with_the_remedy(tmp_path: Path, code):
    """A disk that is full or read-only becomes one sentence that names the folder."""
    message = rf"run: cannot be written \(.*{os.strerror(code)}.*\); free space or rights$"
    with pytest.raises(InspectionError, match=message):
        _fill(tmp_path / "run", OSError(code, os.strerror(code)))
    assert _tree(tmp_path) == []


def test_place_that_cannot_be_made_is_said(tmp_path: Path):
    """A file where a parent folder should be is refused by name."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InspectionError, match=r"run: cannot be written .*Not a directory"),
        new_folder(tmp_path / "file" / "run"),
    ):
        pass


def _file(path: Path) -> None:
    path.write_text("mine")


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


@pytest.mark.parametrize("make", [_file, _full_folder], ids=["a file", "a full folder"])
def test_what_exists_is_never_replaced(tmp_path: Path, make):
    """An existing file or full folder is refused before anything is written."""
    make(tmp_path / "run")
    before = _tree(tmp_path)
    message = f"{tmp_path / 'run'}: exists already; name a new folder or remove it"
    with (
        pytest.raises(InspectionError, match=f"^{re.escape(message)}$"),
        new_folder(tmp_path / "run"),
    ):
        pass
    assert _tree(tmp_path) == before


def test_empty_folder_is_taken(tmp_path: Path):
    """An empty folder made beforehand is no obstacle."""
    (tmp_path / "run").mkdir()
    with new_folder(tmp_path / "run") as folder:
        (folder / "a").write_text("1")
    assert _tree(tmp_path) == ["run", "run/a"]


def test_folder_filled_by_another_meanwhile_is_kept(tmp_path: Path):
    """When somebody fills the place during the work theirs stays and ours is refused."""
    (tmp_path / "run").mkdir()
    message = r"run: cannot be written .*not empty"
    with pytest.raises(InspectionError, match=message), new_folder(tmp_path / "run"):
        (tmp_path / "run" / "theirs").write_text("2")
    assert _tree(tmp_path) == ["run", "run/theirs"]


def test_name_without_a_parent_lands_in_the_current_folder(tmp_path: Path, monkeypatch):
    """A plain name is made where the process stands, even when it changes folder meanwhile."""
    monkeypatch.chdir(tmp_path)
    with new_folder(Path("run")) as folder:
        assert folder.is_absolute()
        (folder / "a").write_text("1")
    assert _tree(tmp_path) == ["run", "run/a"]


KILLED = """
import os, signal, sys
from pathlib import Path
from inspection.core.folders import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_process_leaves_only_a_hidden_rest_that_the_next_removes(tmp_path: Path):
    """After SIGKILL the place is empty, and the next call starts from nothing."""
    out = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(out)], env=environment, check=False)
    assert _tree(tmp_path) == [".run.partial", ".run.partial/half"]
    with new_folder(out) as folder:
        assert _tree(folder) == []
        (folder / "whole").write_text("1")
    assert _tree(tmp_path) == ["run", "run/whole"]


def test_two_processes_never_fill_one_folder(tmp_path: Path):
    """The second is refused while the first still writes, and spoils nothing of it."""
    out = tmp_path / "run"
    second = (
        "import sys; from pathlib import Path; from inspection.core.folders import new_folder\n"
        "with new_folder(Path(sys.argv[1])): pass"
    )
    with new_folder(out) as folder:
        (folder / "kept").write_text("1")
        done = subprocess.run(
            [sys.executable, "-c", second, str(out)], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert "another process is writing it; wait for it or name a new folder" in done.stderr
    assert _tree(tmp_path) == ["run", "run/kept"]
