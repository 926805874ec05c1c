"""Engines race on the same graphs; scores are compared, and what is absent is named."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bench.engines.graphs import make_graphs
from inspection.bench.engines.race import Entry, race
from inspection.bench.engines.suite import (
    BASE,
    CASES,
    Options,
    _agreement,
    _entries,
    _goals,
    choose_cases,
    race_case,
)
from inspection.bench.ours import make_manifest
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.geometry import Geometry
from inspection.core.settings import PatchcoreConfig, TrainConfig
from inspection.portability.translate import to_onnx
from inspection.synthetic.dataset import Counts, Product
from tests.bench.libraries import quiet
from tests.training.tiny import BACKBONE

pytestmark = quiet
HERE = "No module named 'deepsparse'"
GEOMETRY = Geometry(height_px=64, width_px=96)
TINY = TrainConfig(
    backbone=BACKBONE,
    geometry=GEOMETRY,
    patchcore=PatchcoreConfig(bank_size=128, candidates=2_000),
    batch_size=4,
    accelerator="cpu",
)


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """A graph that brightens grey levels, for two engines that are here and one that is not."""
    given = ops.parameter([1, 8, 12, 3], np.uint8)
    given.output(0).get_tensor().set_names({"pixels"})
    mean = ops.reduce_mean(ops.convert(given, np.float32), np.array([3]), keep_dims=False)
    end = ops.unsqueeze(ops.multiply(mean, np.float32(2)), np.array([1]))
    end.output(0).get_tensor().set_names({"score_map"})
    model = openvino.Model([ops.result(end)], [given], "graph")
    openvino.save_model(model, tmp_path / "graph.xml", compress_to_fp16=False)
    (tmp_path / "graph.onnx").write_bytes(to_onnx(model).SerializeToString())
    return [
        Entry("OpenVINO FP32", "openvino", tmp_path / "graph.xml"),
        Entry("ONNX Runtime FP32", "onnxruntime", tmp_path / "graph.onnx"),
        Entry("DeepSparse FP32", "deepsparse", tmp_path / "graph.onnx"),
    ]


def test_engines_judge_the_same_pictures_and_absent_ones_are_named(
    entries: list[Entry], tmp_path: Path
):
    """Every engine that is here gives the maps of all pictures and its times."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
    ran = race(entries, pictures, tmp_path, threads=1, rounds=4)
    assert ran.absent == {"DeepSparse FP32": f"not installed ({HERE})"}
    assert ran.times.names == tuple(ran.maps) == ("OpenVINO FP32", "ONNX Runtime FP32")
    assert ran.times.times_ms.shape == (2, 4)
    assert (ran.times.times_ms > 0).all()
    for maps in ran.maps.values():
        np.testing.assert_allclose(maps, pictures.mean(3) * 2, rtol=1e-6)
    assert all(version[0].isdigit() for version in ran.versions.values())


def test_engine_that_cannot_load_a_graph_says_why(entries: list[Entry], tmp_path: Path):
    """A graph it does not take is no reason to lose the others."""
    (tmp_path / "graph.onnx").write_bytes(b"no model")
    pictures = np.zeros((1, 8, 12, 3), np.uint8)
    ran = race(entries[:2], pictures, tmp_path, threads=1, rounds=1)
    assert [*ran.maps] == ["OpenVINO FP32"]
    assert "ended with 1: " in ran.absent["ONNX Runtime FP32"]
    assert "Protobuf parsing failed" in ran.absent["ONNX Runtime FP32"]


def test_race_without_any_engine_is_refused(entries: list[Entry], tmp_path: Path):
    """Nothing is reported of nothing."""
    with pytest.raises(InspectionError, match="race of 0 lanes"):
        race(entries[2:], np.zeros((1, 8, 12, 3), np.uint8), tmp_path, threads=1, rounds=1)


def test_model_is_the_same_in_every_engine(tmp_path: Path):
    """OpenVINO, ONNX Runtime and torch give one score to a part; INT8 nearly so."""
    parts = Counts(train_good=8, test_good=4, per_defect=1)
    manifest = make_manifest(tmp_path, Product.PLATE, parts)
    options = Options(rounds=2, parts=parts)
    raced = race_case("tiny", TINY, manifest, options, threads=1)
    lanes = [lane.name for lane in raced.race.lanes]
    assert lanes == [*BASE.values(), "ONNX Runtime INT8", "ONNX Runtime FP32", "torch FP32"]
    assert sorted(raced.absent) == ["DeepSparse FP32", "DeepSparse INT8"]
    assert {ratio.fast for ratio in raced.race.ratios} == {*BASE.values()}
    largest = {row[1]: row[5] for row in raced.rows}
    assert largest["OpenVINO FP32"] == 0
    assert largest["ONNX Runtime FP32"] < 1e-4
    assert largest["torch FP32"] < 2e-3
    assert 0 < largest["OpenVINO INT8"] < 0.2
    reached = {goal.what: goal.reached for goal in raced.goals}
    assert reached["tiny: scores of ONNX Runtime FP32 with OpenVINO FP32"]
    assert reached["tiny: scores of torch FP32 with OpenVINO FP32"]


def test_map_model_races_as_its_trained_module(tmp_path: Path):
    """STFPM's student is nowhere but in the module: that is what torch runs."""
    parts = Counts(train_good=8, test_good=2, per_defect=1)
    manifest = make_manifest(tmp_path, Product.PLATE, parts)
    config = TINY.model_copy(update={"model": "Stfpm", "epochs": 1})
    made = make_graphs(config, manifest, tmp_path / "made")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    entries = [one for one in _entries(made, "python") if one.name.endswith("FP32")][:3]
    ran = race(entries, pictures, tmp_path, threads=1, rounds=1)
    assert [*ran.maps] == ["OpenVINO FP32", "ONNX Runtime FP32", "torch FP32"]
    for name in ("ONNX Runtime FP32", "torch FP32"):
        np.testing.assert_allclose(ran.maps[name], ran.maps["OpenVINO FP32"], atol=1e-5)


def test_engines_are_held_against_openvino_of_their_precision():
    """A lane far from it misses its goal; OpenVINO's own lanes have none."""
    scores = {
        "OpenVINO INT8": np.array([1.0, 2.0, 3.0]),
        "OpenVINO FP32": np.array([1.0, 2.0, 4.0]),
        "ONNX Runtime INT8": np.array([1.0, 2.0, 3.0]),
        "torch FP32": np.array([4.0, 2.0, 1.0]),
    }
    found = {lane: _agreement(lane, scores) for lane in scores}
    assert found["ONNX Runtime INT8"] == (pytest.approx(1), 0, "OpenVINO INT8")
    assert found["OpenVINO INT8"][1:] == (0.25, "OpenVINO FP32")
    assert found["torch FP32"][1:] == (0.75, "OpenVINO FP32")
    assert [(goal.what, goal.reached) for goal in _goals("tiny", found)] == [
        ("tiny: scores of ONNX Runtime INT8 with OpenVINO INT8", True),
        ("tiny: scores of torch FP32 with OpenVINO FP32", False),
    ]


def test_cases_are_chosen_by_name():
    """All by default, none by a wrong name."""
    assert [*choose_cases(())] == [*CASES] == ["patchcore", "stfpm"]
    assert [*choose_cases(("stfpm",))] == ["stfpm"]
    assert CASES["stfpm"].backbone.model_fields_set >= {"name", "layers"}, (
        "Anomalib's own otherwise"
    )
    with pytest.raises(ConfigError, match="only: found padim; wanted some of patchcore, stfpm"):
        choose_cases(("padim",))
