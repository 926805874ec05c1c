"""README runs: its shell commands and its Python, as they stand, with smaller configurations."""

import json
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.core.imaging import load_image
from tests.command import inspection
from tests.end_to_end.settings import EXPORT, PATCHCORE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Give the code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_readme_commands_and_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every line of the shell block ends with 0; the Python block gives the verdict of judge."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("INSPECTION_SIGNING_KEY", str(tmp_path / "signing.key"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "configs/train.yaml").write_text(PATCHCORE)
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


def numbers(value: object) -> Iterator[float]:
    """Give every number of a JSON value."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


@pytest.mark.fast
def test_every_result_stands_in_its_evidence():
    """No number of the results is older than the evidence, or anybody's memory."""
    assert len(results()) > 8
    for found, evidence in results():
        known = list(numbers(json.loads((ROOT / evidence).read_text())))
        for text in re.findall(r"-?\d+(?:,\d{3})*(?:\.\d+)?", found):
            wanted, digits = float(text.replace(",", "")), len(text.partition(".")[2])
            near = [value for value in known if round(value, digits) == wanted]
            assert near, f"{text} of '{found}' is not in {evidence}"
