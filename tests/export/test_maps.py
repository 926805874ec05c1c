"""Models that give their map themselves: INT8 where the scores survive it, FP16 where not."""

import re
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import Node
from openvino import opset13 as ops

from inspection.bundles.graph import openvino_core
from inspection.core.decision import ScoreRule
from inspection.core.imaging import Rgb
from inspection.core.parts import FitTiles
from inspection.core.records import Interval, read_manifest
from inspection.core.settings import BackboneConfig, ExportConfig, GateLimits, TrainConfig
from inspection.export.maps import compare, map_graphs, score_only
from inspection.export.quantize import quantise
from tests.export.test_quantize import small_network
from tests.synthetic import make_part
from tests.training.tiny import GEOMETRY, IMAGENET, PLAIN

RULE = ScoreRule(smooth_sigma=1.0)


@pytest.fixture(scope="module")
def tiles() -> list[Rgb]:
    """Sixteen flat grey tiles with a little noise, on which any defect stands out."""
    rng = np.random.default_rng(0)
    return [rng.normal(128, 3, (64, 96, 3)).astype(np.uint8) for _ in range(16)]


@pytest.fixture(scope="module")
def plates(manifest: Path) -> list[Rgb]:
    """The fit tiles of the generated set."""
    fit = FitTiles(read_manifest(manifest), GEOMETRY)
    return [fit[number] for number in range(len(fit))]


def network(*, factor: float = 1.0, power: float = 1.0) -> openvino.Model:
    """A small network whose map is how far brightness lies from the part's, bent at its end."""
    model = small_network(with_features=True)
    tail = model.output("score_map").get_node().input_value(0)
    level = ops.reduce_sum(tail, np.array([1]), keep_dims=True)  # (1, 1, h, w)
    mean = ops.reduce_mean(level, np.array([2, 3]), keep_dims=True)
    unusual = ops.abs(ops.subtract(level, mean))
    bent = ops.power(ops.multiply(unusual, np.float32(factor)), np.float32(power))
    tail.get_tensor().set_names(set())
    result = ops.result(bent)
    bent.output(0).get_tensor().set_names({"score_map"})
    others = [r for r in model.get_results() if "feature" in r.input_value(0).get_any_name()]
    network_ = openvino.Model([result, *others], model.get_parameters(), "network")
    network_.reshape([1, 64, 96, 3])
    return network_


def has_int8(model: openvino.Model) -> bool:
    """Say whether anything in a graph is quantised."""
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ordered_ops())


def test_int8_is_kept_where_the_scores_survive(tiles: list[Rgb]):
    """The precision says what is INT8, the note with which numbers it was kept."""
    limits = GateLimits(score_correlation=0.7, map_correlation=0.7, auroc_drop=0.1)
    graphs = map_graphs(network(), PLAIN, ExportConfig(gate=limits), tiles, RULE)
    assert graphs.precision == "INT8, FP32 tail"
    assert has_int8(graphs.shipped)
    assert not has_int8(graphs.reference)
    assert graphs.note.startswith("INT8 scores on fit and generated defects correlate with FP32 by")


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_configured_precision_is_not_argued_with(tiles: list[Rgb], precision: str):
    """Nothing is quantised, and the card says what was asked for."""
    graphs = map_graphs(network(), PLAIN, ExportConfig(precision=precision), tiles, RULE)
    assert (graphs.precision, graphs.note) == (precision.upper(), "as configured")
    assert not has_int8(graphs.shipped)


LIMITS = ("score_correlation", "map_correlation", "feature_correlation")


@pytest.mark.parametrize("limit", LIMITS)
def test_graph_that_misses_a_limit_ships_as_fp16_with_the_numbers(tiles: list[Rgb], limit: str):
    """What the gate would refuse in INT8 is not sent to it in INT8."""
    loose = dict.fromkeys(LIMITS, 0.7) | {"auroc_drop": 0.1}
    config = ExportConfig(gate=GateLimits(**(loose | {limit: 1.0})))
    graphs = map_graphs(network(), PLAIN, config, tiles, RULE)
    assert graphs.precision == "FP16"
    assert not has_int8(graphs.shipped)
    assert graphs.note.endswith("below the gate's limits, so shipped as FP16")
    found = [float(text) for text in re.findall(r"by (\d\.\d+)", graphs.note)]
    assert len(found) == 3
    assert all(0.7 < value <= 1 for value in found)


def test_map_that_is_no_number_is_never_called_int8(tiles: list[Rgb]):
    """A NaN compares with nothing; calibration then refuses the graph whatever its precision."""
    graphs = map_graphs(network(factor=float("nan")), PLAIN, ExportConfig(), tiles, RULE)
    assert graphs.precision == "FP16"
    assert "correlate with FP32 by 0.0000" in graphs.note


def test_constant_map_is_never_called_int8(tiles: list[Rgb]):
    """Scores that never change prove nothing."""
    graphs = map_graphs(network(factor=0.0), PLAIN, ExportConfig(), tiles, RULE)
    assert graphs.precision == "FP16"


def test_graph_compared_with_itself_loses_nothing(tiles: list[Rgb]):
    """The comparison's zero point."""
    found = compare(network(), network(), tiles, RULE)
    assert found.score_correlation == pytest.approx(1.0)
    assert found.feature_correlation == pytest.approx(1.0)
    assert found.auroc_drop == Interval(value=0, low=0, high=0)


def test_scores_are_those_of_the_rule(tiles: list[Rgb]):
    """The map is smoothed before its largest value is taken, as for the verdict.

    A graph with one wild cell per part agrees well enough once smoothed over the whole map.
    """
    wild = network(power=3.0)
    sharp = compare(wild, network(), tiles, ScoreRule(smooth_sigma=0)).score_correlation
    even = compare(wild, network(), tiles, ScoreRule(smooth_sigma=8)).score_correlation
    assert sharp != even


def test_score_only_keeps_nothing_but_the_map():
    """A station needs no feature outputs, and the original keeps them."""
    model = network()
    lean = score_only(model)
    assert [output.any_name for output in lean.outputs] == ["score_map"]
    assert len(model.outputs) == 3


@pytest.fixture(scope="module")
def stfpm(
    manifest: Path, tmp_path_factory: pytest.TempPathFactory, _trainer: None
) -> openvino.Model:
    """A student fitted for some epochs to a random teacher."""
    from inspection.training.fit import train

    out = tmp_path_factory.mktemp("stfpm") / "run"
    backbone = BackboneConfig(
        name="test_resnet", layers=("layer1", "layer2", "layer3"), allow_random_weights=True
    )
    config = TrainConfig(
        model="Stfpm",
        backbone=backbone,
        geometry=GEOMETRY,
        epochs=10,
        batch_size=4,
        accelerator="cpu",
    )
    train(config, manifest, out)
    return openvino_core().read_model(out / "graph.xml")


def readers(node: Node) -> set[str]:
    """Types of the nodes that read a node."""
    return {port.get_node().get_type_name() for port in node.output(0).get_target_inputs()}


def test_tail_of_stfpm_stays_float(stfpm: openvino.Model, plates: list[Rgb]):
    """Of two unit vectors' cosine nothing is quantised: INT8 ends in the two networks."""
    small = quantise(stfpm, IMAGENET, plates)
    quantised = [n for n in small.get_ordered_ops() if n.get_type_name() == "FakeQuantize"]
    assert len(quantised) > 20
    activations = [
        n for n in quantised if n.input_value(0).get_node().get_type_name() != "Constant"
    ]
    read = set().union(*(readers(node) for node in activations))
    assert "Convolution" in read
    assert not read & {
        "ReduceSum",
        "ReduceL2",
        "Divide",
        "Sqrt",
        "Interpolate",
        "Multiply",
        "Maximum",
        "MatMul",
    }


def test_int8_stfpm_judges_as_fp32_does(stfpm: openvino.Model, plates: list[Rgb]):
    """On forty parts and as many generated defects the AUROC moves by two hundredths at most."""
    parts = [make_part(np.random.default_rng([7, number]), (64, 96)) for number in range(40)]
    found = compare(quantise(stfpm, IMAGENET, plates), stfpm, parts, RULE)
    assert found.score_correlation > 0.95
    assert abs(found.auroc_drop.value) <= 0.02
    assert found.feature_correlation > 0.99
