"""The demonstration: whole on a small set, careful with folders that are not its own."""

import shutil
from pathlib import Path

import pytest

from inspection.bundles.bundle import open_bundle
from inspection.cli.tables import outcome_text
from inspection.core.errors import ConfigError
from inspection.core.geometry import Geometry
from inspection.core.settings import BackboneConfig, PatchcoreConfig, TrainConfig
from inspection.demo import CHANCE, MARKER, clear_demo, run_demo
from inspection.plant import stop
from inspection.synthetic.dataset import Counts

pytestmark = pytest.mark.usefixtures("alone")

COUNTS = Counts(train_good=100, test_good=4, per_defect=1)
SETTINGS = TrainConfig(
    backbone=BackboneConfig(
        name="mobilenetv2_050", layers=("blocks.1", "blocks.2"), allow_random_weights=True
    ),
    geometry=Geometry(height_px=96, width_px=128),
    patchcore=PatchcoreConfig(bank_size=64, candidates=2_000),
    accelerator="cpu",
)


def test_demo_leaves_report_and_records_and_says_what_judged(tmp_path: Path):
    """Whatever the gate says, the report is there; overlays and events only if it passed."""
    out = tmp_path / "demo"
    outcome = run_demo(out, counts=COUNTS, settings=SETTINGS)
    stop(out)  # hub, station and dashboard would go on
    assert outcome.report.stat().st_size > 10_000
    assert outcome.weights[0].source == "random"
    assert (
        outcome.limits.auroc_least
        == CHANCE
        == open_bundle(out / "bundle", allow_refused=True).card.export.gate.auroc_least
    )
    text = outcome_text(outcome)
    assert "RANDOM WEIGHTS" in text
    assert str(outcome.report) in text
    assert outcome.passed == outcome.gate.passed == (out / "overlays").is_dir()
    if outcome.passed:
        assert sum(outcome.verdicts.values()) == len(outcome.gate.rows) == 10
        assert len(list((out / "overlays").rglob("*.png"))) == 10
    else:
        assert "REFUSED" in text


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
