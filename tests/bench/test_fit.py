from pathlib import Path

import pytest

from inspection.bench import fit
from inspection.bench.command import timed_command
from inspection.bench.fit import Made, Options, find_dataset
from inspection.bench.frame import BenchReport
from inspection.bench.ours import require_gate
from inspection.core.errors import ConfigError, DatasetError, InspectionError
from inspection.core.records import Interval, read_record
from inspection.synthetic.dataset import Counts
from tests.bench.libraries import quiet
from tests.station.test_service import make_bundle

pytestmark = quiet
TRAIN = """
backbone: {name: test_resnet, layers: [layer2, layer3], allow_random_weights: true}
patchcore: {bank_size: 64, candidates: 1000}
"""


def test_absent_data_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without magnetic_tile the bench ends at once and says where it looked and what to do."""
    monkeypatch.setenv("INSPECTION_DATASETS", str(tmp_path / "nowhere"))
    wanted = r"nowhere/magnetic_tile: no such folder; .* name the folder .* in INSPECTION_DATASETS"
    with pytest.raises(DatasetError, match=wanted):
        fit.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_place_of_data_sets_defaults_to_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without the variable the set is looked for beside the working directory."""
    monkeypatch.delenv("INSPECTION_DATASETS", raising=False)
    folder = tmp_path / "shared" / "datasets" / "magnetic_tile"
    folder.mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert find_dataset("magnetic_tile", tmp_path, Counts()).resolve() == folder


def test_unknown_data_set_is_refused(tmp_path: Path):
    """Only magnetic_tile and the generated products can be benched."""
    with pytest.raises(ConfigError, match="dataset: found 'bottle'; wanted magnetic_tile, plate"):
        find_dataset("bottle", tmp_path, Counts())


def test_failed_command_carries_its_last_words(tmp_path: Path):
    """A step that fails stops the bench with what the command said."""
    with pytest.raises(InspectionError, match=r"inspection dataset check .*: ended with 2: error"):
        timed_command(["dataset", "check", tmp_path / "nothing"])


def gated(tmp_path: Path, reference: float, precision: str) -> Made:
    """Make a bundle's evidence by hand: FP32 AUROC, and 0.004 lost."""
    bundle = make_bundle(tmp_path / "bundle")
    card, gate = require_gate(bundle)
    changes = {
        "reference_auroc": Interval(value=reference, low=0, high=1),
        "auroc_drop": Interval(value=0.004, low=0, high=1),
    }
    card = card.model_copy(update={"precision": precision})
    return Made(bundle, {"train": 1.0}, card, gate.model_copy(update=changes))


@pytest.mark.parametrize(
    ("reference", "precision", "found"),
    [
        pytest.param(0.9, "INT8, FP32 tail", 0.004, id="measured"),
        pytest.param(0.55, "INT8, FP32 tail", None, id="near-chance-nothing-to-lose"),
        pytest.param(0.9, "FP16", None, id="did-not-ship-as-int8"),
    ],
)
def test_stfpm_loss_counts_only_where_there_is_something_to_lose(
    tmp_path: Path, reference: float, precision: str, found: float | None
):
    """A model near chance, or one that did not become INT8, has not reached the goal."""
    goal = fit.judge_stfpm(gated(tmp_path, reference, precision), "resnet18")
    assert (goal.found, goal.reached) == (found, found is not None)
    assert f"image AUROC lost of {reference:.4f} ({precision})" in goal.what


def test_magnetic_tile_goals_are_for_magnetic_tile(tmp_path: Path):
    """The AUROC to reach is judged on the real set only; time and loss on any."""
    made = gated(tmp_path, 0.99, "INT8")
    real = fit.judge_bundle(made, real=True)
    assert [goal.wanted for goal in real] == [0.979, 0.985, 0.003, 120]
    assert [goal.reached for goal in real] == [True, True, False, True]
    assert fit.judge_bundle(made, real=False) == real[2:]


def test_main_job_is_measured_on_a_generated_set(tmp_path: Path):
    """Real commands make, gate and race a bundle; goals of magnetic_tile are left out."""
    (tmp_path / "train.yaml").write_text(TRAIN)
    (tmp_path / "export.yaml").write_text("{calibration_images: 8, false_reject_rate: 0.3}")
    options = Options(
        dataset="plate",
        counts=Counts(train_good=30, test_good=4, per_defect=1),
        train_config=tmp_path / "train.yaml",
        export_config=tmp_path / "export.yaml",
        rounds=2,
        whole_bank=False,
        stfpm=False,
    )
    path = fit.run(tmp_path / "out", options=options, work=tmp_path / "work")
    report = read_record(path, BenchReport)
    assert path.name == "fit-plate.json"
    assert (tmp_path / "work" / "bundle" / "gate.json").is_file()
    lost, seconds, *ratios = report.goals
    steps, accuracy, recall = report.tables
    assert lost.what == "image AUROC lost by INT8 against FP32"
    assert seconds.found == pytest.approx(sum(row[1] for row in steps.rows[1:4]))
    assert [row[0] for row in steps.rows] == [
        "check (not counted)",
        "train",
        "export",
        "gate",
        "train + export + gate",
    ]
    assert [goal.wanted for goal in ratios] == [10, 10]
    assert accuracy.title.startswith("Gate on test defects")
    assert len(recall.rows) == 6
    assert "RANDOM WEIGHTS" in report.notes[0]
