"""The demonstration: whole on a small set, careful with folders that are not its own."""

import shutil
from pathlib import Path

import pytest

from inspection.cli.tables import outcome_text
from inspection.core.errors import ConfigError
from inspection.core.geometry import Geometry
from inspection.core.settings import PatchcoreConfig, TrainConfig
from inspection.demo import MARKER, clear_demo, run_demo
from inspection.plant import stop
from inspection.synthetic.dataset import Counts
from inspection.training.weights import FOLDER_VARIABLE

pytestmark = pytest.mark.usefixtures("alone")

COUNTS = Counts(train_good=100, test_good=4, per_defect=1)
SETTINGS = TrainConfig(
    geometry=Geometry(height_px=256, width_px=352),
    patchcore=PatchcoreConfig(bank_size=512, candidates=20_000),
    accelerator="cpu",
)


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # the plant is
def test_demo_leaves_report_and_records_and_says_what_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What ships is good enough for the gate, and the text says what judged."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    out = tmp_path / "demo"
    outcome = run_demo(out, counts=COUNTS, settings=SETTINGS)
    stop(out)  # hub, station and dashboard would go on
    assert outcome.report.stat().st_size > 10_000
    assert outcome.weights[0].source == "shipped"
    text = outcome_text(outcome)
    assert "formulanet.formulas.safetensors (shipped" in text
    assert str(outcome.report) in text
    assert outcome.passed, outcome.gate.refusals
    assert sum(outcome.verdicts.values()) == len(outcome.gate.rows) == 10
    assert len(list((out / "overlays").rglob("*.png"))) == 10


def test_what_a_demo_made_is_replaced_and_nothing_else(tmp_path: Path):
    """A second demonstration removes what the first made; other files in the folder stay."""
    out = tmp_path / "demo"
    clear_demo(out)
    (out / "run").mkdir()
    (out / "run/run.json").write_text("{}")
    (out / "report.html").write_text("page")
    (out / "mine").mkdir()
    clear_demo(out)
    assert sorted(path.name for path in out.iterdir()) == [MARKER, "mine"]


def test_a_folder_that_no_demo_made_is_refused_untouched(tmp_path: Path):
    """Without the mark nothing of these names is removed: wrong use, with the remedy."""
    (tmp_path / "plate").mkdir()
    with pytest.raises(ConfigError, match="holds plate that no demonstration made; name another"):
        clear_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plate"]
    shutil.rmtree(tmp_path / "plate")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no folder"):
        clear_demo(tmp_path / "file")
