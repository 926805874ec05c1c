"""Where a map's cells lie is measured, not assumed."""

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bundles.graph import Graph
from inspection.core.geometry import Geometry, Roi
from inspection.export.place import measure_shift

CELL_PX = 8


def darkness(shift_px: int = 0) -> Graph:
    """A graph whose map says how dark each 8×8 block is, looked at too far up and left."""
    part = ops.parameter([1, 64, 64, 3], np.uint8)
    grey = ops.reduce_mean(ops.convert(part, "f32"), np.array([3]), keep_dims=True)
    planes = ops.transpose(ops.subtract(np.float32(255), grey), np.array([0, 3, 1, 2]))
    begin, end = np.array([0, 0, shift_px, shift_px]), np.zeros(4, np.int64)
    padded = ops.pad(planes, begin, end, "edge")
    window = ops.slice(padded, [0, 0], [64, 64], [1, 1], [2, 3])
    cell = [CELL_PX, CELL_PX]
    pooled = ops.avg_pool(window, cell, [0, 0], [0, 0], cell, exclude_pad=True)
    return Graph(openvino.Model([pooled], [part]))


def parts(count=20, size_hw=(128, 96)):
    rng = np.random.default_rng(0)
    return [rng.integers(140, 160, (*size_hw, 3), np.uint8) for _ in range(count)]


@pytest.mark.parametrize("shift_px", [0, 4, 12])
@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(height_px=64, width_px=64),
        Geometry(height_px=64, width_px=64, tile_rows=2, tile_columns=2, tile_overlap=0.0),
        Geometry(height_px=64, width_px=64, roi=Roi(top=0.25, left=0.1)),
        Geometry(height_px=64, width_px=64, exclude=(((0.4, 0), (1, 0), (1, 1), (0.4, 1)),)),
        Geometry(height_px=64, width_px=64, include=(((0, 0), (0.3, 0), (0.3, 1), (0, 1)),)),
    ],
)
def test_a_shift_of_the_graph_is_found(geometry, shift_px):
    down, across = measure_shift(darkness(shift_px), parts(), geometry)
    assert down == pytest.approx(shift_px / CELL_PX, abs=0.3)
    assert across == pytest.approx(shift_px / CELL_PX, abs=0.3)


def test_a_shift_that_was_measured_before_changes_nothing():
    geometry = Geometry(height_px=64, width_px=64)
    shifted = geometry.model_copy(update={"map_shift": (1.5, 1.5)})
    graph = darkness(4)
    assert measure_shift(graph, parts(), shifted) == measure_shift(graph, parts(), geometry)


def test_maps_that_answer_anywhere_shift_nothing_and_say_so(caplog):
    rng = np.random.default_rng(0)

    def anywhere(_tile):
        return rng.random((1, 8, 8), np.float32) ** 20

    assert measure_shift(anywhere, parts(), Geometry(height_px=64, width_px=64)) == (0, 0)
    assert "look at overlays" in caplog.text


def test_too_few_answers_shift_nothing():
    assert measure_shift(darkness(12), parts(7), Geometry(height_px=64, width_px=64)) == (0, 0)
