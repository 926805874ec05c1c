"""Graphs race in processes of their own."""

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bench import lane
from inspection.bench.lane import Competitor, race_graphs
from inspection.core.errors import InspectionError

IMAGE = np.ones((1, 64, 64), np.float32)


def products(count: int) -> openvino.Model:
    """A graph that multiplies its input with itself so many times."""
    source = ops.parameter(IMAGE.shape, np.float32)
    product = source
    for _ in range(count):
        product = ops.matmul(product, source, transpose_a=False, transpose_b=False)
    return openvino.Model([ops.result(product)], [source], "products")


def test_more_work_takes_longer():
    """Every lane says its own milliseconds; 200 products take longer than one."""
    competitors = {
        "short": Competitor(products(1), IMAGE),
        "long": Competitor(products(200), IMAGE, pinned=False),
    }
    times = race_graphs(competitors, rounds=5)
    assert times.names == ("short", "long")
    assert (times.times_ms > 0).all()
    assert np.median(times.of("long")) > np.median(times.of("short"))


def test_process_that_ends_is_named(monkeypatch: pytest.MonkeyPatch):
    """A lane that cannot be opened is an error of the race, not a time."""
    monkeypatch.setattr(lane, "LANE", [*lane.LANE[:1], "-c", "pass"])
    with pytest.raises(InspectionError, match="a lane of the race ended"):
        race_graphs({"short": Competitor(products(1), IMAGE)}, rounds=1)
