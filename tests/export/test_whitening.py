"""The output `embedding`: whitened on normals, beside a score map that stays what it was."""

from pathlib import Path

import numpy as np
import openvino
import pytest

from inspection.bundles.bundle import GRAPH, REFERENCE, open_bundle
from inspection.bundles.graph import Graph, compile_graph, openvino_core
from inspection.core.image_statistics import EMBEDDING_MOST
from inspection.core.parts import FitTiles, load_part
from inspection.core.records import Split, read_manifest
from inspection.export.maps import score_only
from inspection.export.whitening import OUTPUT, add_whitened, whitening
from tests.export.test_quantize import small_network
from tests.training.tiny import GEOMETRY

COUNT = 24


class Noise:
    """Stands for fit tiles: parts of so many tiles, 16×24 px, each of another grey and grain."""

    def __init__(self, per_part: int = 1, level: float | None = None) -> None:
        self.geometry = GEOMETRY.model_copy(update={"tile_columns": per_part})
        self.level = level

    def __len__(self) -> int:
        return COUNT * self.geometry.tiles

    def __getitem__(self, number: int):
        rng = np.random.default_rng(number)
        if self.level is not None:
            return np.full((16, 24, 3), self.level, np.uint8)
        return rng.normal(rng.uniform(80, 160), 25, (16, 24, 3)).clip(0, 255).astype(np.uint8)


def with_features() -> openvino.Model:
    """A graph that gives its score map and knows two feature maps."""
    return score_only(small_network(with_features=True))


def seen(graph: Graph, tiles: Noise) -> np.ndarray:
    """Give the mean embedding of each part; (parts, k)."""
    found = np.array([graph.outputs(tiles[number])[1] for number in range(len(tiles))])
    return found.reshape(COUNT, tiles.geometry.tiles, -1).mean(axis=1)


@pytest.mark.parametrize("per_part", [1, 2], ids=["one tile", "two tiles"])
def test_normals_are_standard_normal(per_part: int):
    """Mean 0 and deviation 1 along every direction, and no two directions tell the same."""
    tiles = Noise(per_part)
    model = add_whitened(with_features(), tiles)
    assert [output.any_name for output in model.outputs] == ["score_map", OUTPUT]
    found = seen(Graph(model), tiles)
    assert found.shape == (COUNT, COUNT // 8)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(COUNT // 8), atol=2e-2)


def test_the_score_map_stays_to_the_last_bit():
    """What judges does not know of what is recorded beside it."""
    before, after = compile_graph(with_features()), Graph(add_whitened(with_features(), Noise()))
    tile = Noise()[99]
    assert np.array_equal(before(tile[None])[0][0], after(tile))


def test_directions_are_those_of_most_variation():
    """At most 16, the widest first, each scaled to deviation 1; what does not vary has none."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(400, 30)) * np.geomspace(100, 1, 30)
    centred = wide - wide.mean(axis=0)
    directions = whitening(centred)
    assert directions.shape == (30, EMBEDDING_MOST)
    np.testing.assert_allclose((centred @ directions).std(axis=0), 1, rtol=1e-6)
    assert [int(np.abs(one).argmax()) for one in directions.T[:4]] == [0, 1, 2, 3]
    flat = np.zeros((400, 30))
    flat[:, 7] = np.linspace(-1, 1, 400)
    assert whitening(flat).shape == (30, 1)


UNSUMMED = {
    "no feature map": lambda: (score_only(small_network(with_features=False)), Noise()),
    "normals that are all alike": lambda: (with_features(), Noise(level=90)),
    "features that are not finite": lambda: (broken(), Noise()),
}


def broken() -> openvino.Model:
    """A graph whose weights are not finite."""
    model = with_features()
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            kernel = node.input_value(1).get_node()
            bad = openvino.opset13.constant(np.full(kernel.get_output_shape(0), np.inf, np.float32))
            kernel.output(0).replace(bad.output(0))
    return model


@pytest.mark.parametrize("made", UNSUMMED.values(), ids=UNSUMMED)
def test_a_graph_that_cannot_be_summed_up_stays_as_it_is(made):
    """Then there is no embedding, rather than one that says nothing."""
    model, tiles = made()
    assert add_whitened(model, tiles) is model


def test_a_bundle_judges_as_before_and_says_its_embedding(bundle: Path, manifest: Path):
    """An exported PatchCore has one; fit normals lie within it as normals do."""
    opened, known = open_bundle(bundle), read_manifest(manifest)
    shipped = openvino_core().read_model(bundle / GRAPH)
    assert [output.any_name for output in shipped.outputs] == ["score_map", OUTPUT]
    assert len(openvino_core().read_model(bundle / REFERENCE).outputs) == 1
    fit = known.of(Split.FIT)
    judged = [opened.judge(load_part(known, entry)) for entry in fit]
    embeddings = np.array([judgement.embedding for judgement in judged])
    assert embeddings.shape == (len(fit), 1)  # eight normals tell no more
    assert embeddings.mean() == pytest.approx(0, abs=0.05)
    assert embeddings.std() == pytest.approx(1, abs=0.05)
    tiles = FitTiles(known, opened.card.geometry)
    np.testing.assert_array_equal(judged[0].score_map, Graph(score_only(shipped))(tiles[0])[0])


def test_the_card_knows_what_the_calibrate_normals_look_like(bundle: Path, manifest: Path):
    """Of each statistic mean and deviation over all of them."""
    found = open_bundle(bundle).card.statistics
    assert found.normals == len(read_manifest(manifest).of(Split.CALIBRATE))
    assert 0 < found.light.mean < 255
    assert found.light.deviation > 0
