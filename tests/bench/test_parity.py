"""Every image model has a row: measured, or with the reason why not."""

import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import anomalib.models.image
import numpy as np
import onnx
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bench.frame import Ratio
from inspection.bench.parity import one, suite
from inspection.bench.parity.one import Measured, Outcome, measure
from inspection.bench.parity.small import FURTHER, SMALL, image_models, small_config
from inspection.bench.parity.suite import Options, choose_models, make_trial, tables, try_model
from inspection.core.errors import BundleError, ConfigError, TrainingError
from inspection.core.records import Interval, Weights, read_manifest
from inspection.core.settings import TrainConfig
from inspection.synthetic.dataset import Counts
from tests.bench.libraries import quiet

pytestmark = quiet
TINY = Options(parts=Counts(train_good=10, test_good=6, per_defect=1), rounds=2, limit_s=60)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set with further pictures; read only."""
    folder = tmp_path_factory.mktemp("trial")
    make_trial(folder, TINY.parts)
    return folder


def measured(**changes: object) -> Measured:
    """Give what was measured of some model."""
    values = {
        "input_px": (128, 128),
        "weights": (Weights(name="formulanet", source="shipped", sha256="0" * 64),),
        "fit_s": 2.0,
        "auroc": 0.9,
        "auroc_drop": Interval(value=0.01, low=-0.02, high=0.03),
        "score_correlation": 0.95,
        "map_correlation": 0.97,
        "fp32_ms": 6.0,
        "int8_ms": 2.0,
        "speed": Ratio(fast="INT8", slow="FP32", median=3.0, p05=2.5, p95=3.5),
        "onnx": 1.0,
    }
    return Measured.model_validate(values | changes)


def test_onnx_runtime_that_fails_while_it_judges_costs_only_the_second_opinion(trial, monkeypatch):
    """What was measured of INT8 is kept; the reason stands beside it."""

    class Failing:
        def __init__(self, _path):
            pass

        def __call__(self, _tile):
            raise BundleError("model.onnx: ONNX Runtime cannot run it (no memory)")

    manifest = read_manifest(trial / one.MANIFEST)
    monkeypatch.setattr(one, "OnnxGraph", Failing)
    monkeypatch.setattr(one, "to_onnx", lambda _graph: onnx.ModelProto())
    given = ops.parameter([1, 128, 128, 3], np.uint8, name="pixels")
    graph = openvino.Model([ops.result(given)], [given], "graph")
    record = SimpleNamespace(config=TrainConfig())
    found = one._second_opinion(graph, np.zeros(1), record, manifest)
    assert found == (None, "model.onnx: ONNX Runtime cannot run it (no memory)")


def test_every_exported_image_model_is_tried():
    """What the installed Anomalib exports as an image model is in the list, and nothing else."""
    assert set(image_models()) == set(anomalib.models.image.__all__)
    assert "AiVad" not in image_models()
    assert SMALL.keys() | FURTHER.keys() <= set(image_models())


@pytest.mark.parametrize("model", image_models())
def test_every_model_has_a_small_configuration(model: str, tmp_path: Path):
    """Known or not, it can be configured, with random weights allowed."""
    config = small_config(model, tmp_path)
    assert config.model == model
    assert config.backbone.allow_random_weights


def test_chosen_models_are_tried_alone():
    """Some by name, none by a wrong name."""
    assert choose_models(("Stfpm", "Padim")) == ("Padim", "Stfpm")
    with pytest.raises(ConfigError, match="only: found Pachcore; wanted some of AnomalyDINO, "):
        choose_models(("Pachcore",))


def test_score_is_kept_within_the_limits_of_a_gate():
    """At the limit it is kept; beyond either it is not, and the row says which."""
    assert measured().lost == ""
    drop = Interval(value=0.011, low=0, high=0.02)
    lost = measured(auroc_drop=drop, score_correlation=0.949).lost
    assert lost == "scores correlate below 0.95 and AUROC drops by more than 0.01"


def test_every_outcome_has_its_row():
    """Those that keep their score first, the fastest of them foremost; failures with reasons."""
    slow = measured(speed=Ratio(fast="INT8", slow="FP32", median=1.5, p05=1, p95=2))
    outcomes = [
        Outcome(model="Slow", measured=slow),
        Outcome(
            model="Lost",
            measured=measured(score_correlation=0.5, onnx=None, onnx_reason="Odd: none"),
        ),
        Outcome(model="Fast", measured=measured()),
        Outcome(model="Broken", reason="TrainingError: no\n  hub" + "!" * 1_000),
    ]
    done, failed = tables(outcomes)
    assert [row[0] for row in done.rows] == ["Fast", "Slow", "Lost"]
    assert done.rows[0][1] == "keeps its score"
    assert done.rows[2][1] == "**no**: scores correlate below 0.95"
    assert "formulanet (shipped)" in done.rows[0]
    assert "Odd: none" in done.rows[2]
    ((model, reason),) = failed.rows
    assert model == "Broken"
    assert str(reason).startswith("TrainingError: no hub!!!")
    assert len(str(reason)) < 310


def test_reason_names_no_path_of_this_machine():
    """Evidence is read elsewhere."""
    paths = f"{Path.home()}/x, {tempfile.gettempdir()}/y and {sys.prefix}/z"
    outcome = Outcome(model="Broken", reason=f"{paths} are missing")
    ((_, reason),) = tables([outcome])[1].rows
    assert reason == "…/x, …/y and …/z are missing"


def test_model_is_trained_exported_and_measured(trial: Path):
    """The whole way on a few parts: both graphs judge them, and are raced."""
    found = measure("Padim", trial, rounds=2)
    assert [weights.source for weights in found.weights] == ["shipped"]
    assert 0.5 <= found.score_correlation <= 1
    assert 0 <= found.auroc <= 1
    assert found.speed.median > 0
    assert found.onnx == pytest.approx(1, abs=1e-4)
    assert found.input_px == (128, 128)


def test_model_that_cannot_be_trained_is_refused_with_its_reason(trial: Path):
    """A model that Anomalib exports and cannot train says so."""
    with pytest.raises(TrainingError, match=r"VlmAd: fitting failed: No `training_step\(\)`"):
        measure("VlmAd", trial, rounds=2)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import time; time.sleep(60)", "took longer than 0.5 s"),
        ("import os; os.kill(os.getpid(), 11)", "its process ended with -11: nothing was said"),
        (
            "print('going on'); raise ValueError('no such thing'); print('never')",
            "its process ended with 1: ValueError: no such thing",
        ),
    ],
    ids=["hangs", "is killed", "raises"],
)
def test_process_that_fails_costs_its_own_row_only(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever a model does, the outcome is there and says why."""
    monkeypatch.setattr(suite, "ONE", [sys.executable, "-c", program])
    limit_s = 0.5 if "sleep" in program else 30
    outcome = try_model("Padim", tmp_path, Options(limit_s=limit_s))
    assert outcome.measured is None
    assert outcome.model == "Padim"
    assert outcome.reason == reason
    assert list(tmp_path.iterdir()) == []
