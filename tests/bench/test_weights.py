"""The bench of the weights that ship: what is asked, and when a goal is reached."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspection.bench import weights
from inspection.bench.boxes import (
    LEAST_IOU,
    Fits,
    Outlined,
    boxes_of,
    judge_outlines,
    outline_parts,
    outlines,
)
from inspection.bench.frame import BenchReport, Race, Ratio
from inspection.bench.weights import (
    LEAST_GENERATED,
    Judged,
    Options,
    judge_backbone,
    run,
)
from inspection.core.errors import ConfigError, DatasetError
from inspection.core.records import read_record
from inspection.core.settings import ExportConfig
from inspection.data.check import check_dataset
from inspection.masks.grabcut import GrabCut
from inspection.synthetic.dataset import Counts, Product, make_dataset
from inspection.training.weights import FOLDER_VARIABLE

TRAIN = """
backbone: {name: formulanet, layers: [fine, coarse]}
geometry: {height_px: 96, width_px: 128}
patchcore: {bank_size: 64, candidates: 2000}
accelerator: cpu
"""
COUNTS = Counts(train_good=24, test_good=4, per_defect=2)


def outlined(*ious: float) -> Outlined:
    """Outlines of one kind that fit so well."""
    kinds = ("scratch",) * len(ious)
    return Outlined(kinds, ious, "hand", Fits(kinds, ious), 0)


@pytest.mark.fast
def test_each_piece_of_a_mask_has_its_box():
    mask = np.zeros((10, 12), np.bool_)
    mask[1:3, 2:6] = mask[7, 8] = mask[8, 9] = True  # the two pixels touch at a corner
    assert sorted(boxes_of(mask)) == [(2, 1, 6, 3), (8, 7, 10, 9)]


@pytest.mark.fast
def test_outlines_are_held_against_the_goal_and_against_grabcut():
    fit, beyond = judge_outlines("tile", outlined(0.72, 0.62), outlined(0.5, 0.6))
    assert (fit.wanted, fit.found, fit.reached) == (LEAST_IOU, pytest.approx(0.67), True)
    assert (beyond.found, beyond.reached) == (pytest.approx(0.12), True)
    fit, beyond = judge_outlines("tile", outlined(0.5), outlined(0.45))
    assert (fit.reached, beyond.reached) == (False, False)


def test_every_masked_defect_is_asked_about(tmp_path: Path):
    root = make_dataset(tmp_path / "plate", Product.PLATE, 0, COUNTS)
    manifest = check_dataset(root).manifest
    found = outline_parts(manifest, GrabCut())
    assert len(found.ious) == sum(entry.mask is not None for entry in manifest.entries)
    assert set(found.by_kind) == set(found.kinds)
    table = outlines("plate", found)
    assert [row[0] for row in table.rows] == ["GrabCut (OpenCV, no weights)", "the filled boxes"]
    assert 0 < found.filled.mean < 1
    good = manifest.model_copy(
        update={"entries": tuple(one for one in manifest.entries if one.mask is None)}
    )
    with pytest.raises(DatasetError, match="no defect of its test split has a mask"):
        outline_parts(good, GrabCut())


def test_a_run_writes_its_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a small product, from the weights that ship; without ImageNet's nothing is raced."""
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/train.yaml").write_text(TRAIN)
    (tmp_path / "configs/train-imagenet.yaml").write_text("backbone: {name: mobilenetv2_100}\n")
    monkeypatch.setattr(
        weights, "FEW_EXPORT", ExportConfig(false_reject_rate=0.3, calibration_images=8)
    )
    monkeypatch.chdir(tmp_path)
    options = Options(datasets=("plate",), counts=COUNTS, rounds=3)
    run(tmp_path, options=options)
    report = read_record(tmp_path / "weights-plate.json", BenchReport)
    goals = {goal.what: goal for goal in report.goals}
    assert goals["plate: image AUROC INT8"].wanted == LEAST_GENERATED
    assert goals["ImageNet MobileNetV2's time over formulanet's"].found is None
    assert "formulanet.formulas.safetensors (shipped" in report.notes[0]
    accuracy, fits, curve, taught = report.tables
    assert (len(curve.rows) > 1, len(taught.rows) > 1) == (True, True)
    assert [row[0].split(":")[0] for row in fits.rows] == [
        "edgetam int8",
        "GrabCut (OpenCV, no weights)",
        "the filled boxes",
    ]
    assert [row[:2] for row in accuracy.rows] == [("plate", "formulanet")]


def test_other_weights_are_not_measured_as_those_that_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The folder that ImageNet's lie in comes before the package."""
    (tmp_path / "formulanet.safetensors").write_bytes(b"")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match="holds weights of formulanet; wanted none"):
        run(tmp_path)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("dataset", "auroc", "reached"),
    [("magnetic_tile", 0.92, True), ("magnetic_tile", 0.91, False), ("plate", 0.98, False)],
)
def test_our_backbone_is_held_against_the_goal_of_its_set(
    dataset: str, auroc: float, reached: bool
):
    """Real parts ask less than generated ones; ImageNet's are shown and held against nothing."""
    judged = [
        Judged(dataset, name, SimpleNamespace(gate=SimpleNamespace(auroc=SimpleNamespace(value=v))))
        for name, v in (("formulanet", auroc), ("ImageNet MobileNetV2", 0.1))
    ]
    slower = Ratio(fast="formulanet", slow="ImageNet MobileNetV2", median=1.2, p05=1.1, p95=1.3)
    race = Race(name="race", rounds=3, lanes=(), ratios=(slower,))
    accuracy, speed = judge_backbone(judged, race)
    assert (accuracy.found, accuracy.reached) == (auroc, reached)
    assert (speed.found, speed.reached) == (1.2, True)
