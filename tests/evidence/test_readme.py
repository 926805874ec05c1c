"""README runs: its shell commands and its Python, as they stand, with smaller configurations."""

import re
import shutil
import warnings
from pathlib import Path

import pytest

from inspection.bench.frame import BenchReport
from inspection.core.decision import Verdict
from inspection.core.imaging import load_image
from inspection.core.records import read_record
from tests.command import inspection
from tests.end_to_end.settings import EXPORT, MOBILENET, OURS, PATCHCORE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Give the code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_readme_commands_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every line of the shell block ends with 0; the Python block gives the verdict of judge."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.delenv("INSPECTION_WEIGHTS", raising=False)
    (tmp_path / "configs/train.yaml").write_text(PATCHCORE.replace(MOBILENET, OURS))
    promise = EXPORT.replace("false_reject_rate: 0.2", "false_reject_rate: 0.01")
    (tmp_path / "configs/export.yaml").write_text(promise)
    (shell,) = blocks("sh")
    for line in shell.splitlines():
        name, *words = line.split()
        assert name == "inspection"
        said = inspection(*words)
        assert said.code == 0, f"{line}\n{said.out}{said.err}"
    assert (tmp_path / "plate.html").stat().st_size > 10_000
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["000.png"]
    (python,) = blocks("python")
    pixels = load_image(tmp_path / "sets/plate/test/scratch/000.png")
    names: dict[str, object] = {"pixels": pixels}
    with warnings.catch_warnings():
        exec(python, names)
    assert names["verdict"] in set(Verdict)


def results() -> list[tuple[str, str]]:
    """Give what was found, and the evidence it was found in, of each row of the results."""
    return re.findall(
        r"^\| .+? \| (.+?) \| .+? \| \[\w+\]\((reports/.+?\.json)\) \|$", README, re.M
    )


def fell_short(report: BenchReport, digits: int, number: float) -> bool | None:
    """Say whether a number fell short of its goal; what gates measured has none; None: not found.

    Nothing else is asked: among all numbers of a report any small one has its double.
    """
    goals = [goal for goal in report.goals if goal.found is not None]
    if of := [goal for goal in goals if round(goal.found, digits) == number]:
        return not any(goal.reached for goal in of)
    tables = [table for table in report.tables if table.title.startswith("Gate on")]
    cells = [cell for table in tables for row in table.rows for cell in row]
    measured = [cell for cell in cells if isinstance(cell, float)]
    return False if number in [round(cell, digits) for cell in measured] else None


@pytest.mark.fast
def test_every_result_stands_in_its_evidence():
    """Each number is one the bench found, rounded, and bold where it fell short of its goal."""
    assert len(results()) > 8
    for found, evidence in results():
        report = read_record(ROOT / evidence, BenchReport)
        for bold, text in re.findall(r"(\*\*)?(-?\d+(?:\.\d+)?)", found):
            digits = len(text.partition(".")[2])
            short = fell_short(report, digits, float(text))
            assert short is not None, f"{text} of '{found}' is not in {evidence}"
            assert bool(bold) == short, f"{text} of '{found}': bold is for what fell short"
