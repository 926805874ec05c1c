"""A graph of named inputs and outputs: stopped when its time is over, and right again after it."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bundles.graph import Compiling, NamedGraph
from inspection.core.errors import OutOfTime

SIDE, CHANNELS, LAYERS = 96, 64, 40


def heavy() -> openvino.Model:
    """Keep the mean of a picture through many convolutions, which take some tenths of a second."""
    given = ops.parameter([1, CHANNELS, SIDE, SIDE], np.float32, name="given")
    given.output(0).set_names({"given"})
    weights = np.full((CHANNELS, CHANNELS, 5, 5), 1 / (CHANNELS * 25), np.float32)
    node = given
    for _ in range(LAYERS):
        node = ops.convolution(node, ops.constant(weights), [1, 1], [2, 2], [2, 2], [1, 1])
    node.output(0).set_names({"kept"})
    return openvino.Model([ops.result(node)], [given], "heavy")


@pytest.mark.parametrize("compiling", [Compiling(threads=1), Compiling("throughput", 1)])
def test_a_graph_is_stopped_when_its_time_is_over(compiling: Compiling):
    """Long before it would have ended; then it answers as before."""
    graph = NamedGraph(heavy(), compiling)
    given = {"given": np.ones((1, CHANNELS, SIDE, SIDE), np.float32)}
    graph(given)  # the first is slower
    begun_s = time.monotonic()
    before = graph(given)["kept"]
    whole_s = time.monotonic() - begun_s
    begun_s = time.monotonic()
    with pytest.raises(OutOfTime, match=r"heavy: no answer within .* ms, it was stopped"):
        graph(given, whole_s / 20)
    assert time.monotonic() - begun_s < whole_s / 2
    np.testing.assert_array_equal(graph(given, whole_s * 100)["kept"], before)


def test_a_wait_for_a_free_copy_is_of_its_time():
    """Whoever finds every copy busy hears so, and nothing is stopped for it."""
    graph = NamedGraph(heavy(), Compiling(threads=1))
    given = {"given": np.ones((1, CHANNELS, SIDE, SIDE), np.float32)}
    before = graph(given)["kept"]
    with ThreadPoolExecutor(1) as others:
        busy = others.submit(graph, given)
        while graph._free.qsize():
            time.sleep(0.001)
        with pytest.raises(OutOfTime, match="every copy of it was busy"):
            graph(given, 0.0)
        np.testing.assert_array_equal(busy.result()["kept"], before)


def test_there_are_as_many_copies_as_threads_that_ask():
    """For throughput; for latency there is one on all threads."""
    model = heavy()
    assert NamedGraph(model, Compiling("throughput", 3)).copies == 3
    assert NamedGraph(model, Compiling(threads=3)).copies == 1
