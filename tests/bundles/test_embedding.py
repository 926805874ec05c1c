"""A graph's second output goes with its judgement; a graph without one judges as ever."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bundles.bundle import GRAPH, open_bundle
from inspection.bundles.saving import save_graph
from tests.bundles.conftest import GEOMETRY, bright, grey_graph, pass_gate, seal_again

pytestmark = pytest.mark.fast


def with_embedding() -> openvino.Model:
    """The grey graph with a second output: mean and largest grey of the tile, (1, 2)."""
    model = grey_graph(GEOMETRY.height_px, GEOMETRY.width_px)
    grey = model.get_results()[0].input_value(0)
    both = [
        one(grey, np.array([1, 2, 3]), keep_dims=False) for one in (ops.reduce_mean, ops.reduce_max)
    ]
    embedding = ops.concat([ops.unsqueeze(one, np.int64(1)) for one in both], 1)
    return openvino.Model([*model.get_results(), ops.result(embedding)], model.get_parameters())


def test_embedding_is_the_mean_over_the_tiles(bundle: Path):
    """The part is black but for a square, which lies in the right one of its two tiles."""
    plain = open_bundle(bundle).judge(bright())
    (bundle / GRAPH).unlink()
    (bundle / GRAPH).with_suffix(".bin").unlink()
    save_graph(with_embedding(), bundle / GRAPH)
    (bundle / "gate.json").unlink()
    seal_again(bundle)
    pass_gate(bundle)
    opened = open_bundle(bundle)
    judgement = opened.judge(bright())
    per_tile = opened.prepare(bright()).mean(axis=(1, 2, 3)) / 255
    assert judgement.embedding == pytest.approx((per_tile.mean(), 0.5), abs=2e-3)
    assert np.array_equal(judgement.score_map, plain.score_map)
    assert (judgement.verdict, judgement.score) == (plain.verdict, plain.score)
    assert all(golden.reproduced for golden in opened.golden)


def test_older_bundle_has_no_embedding(bundle: Path):
    """One output is a score map and nothing else."""
    assert open_bundle(bundle).judge(bright()).embedding is None
