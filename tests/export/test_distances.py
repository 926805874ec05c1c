"""Distances by one product of matrices against the same by their definition."""

import numpy as np
import pytest

from inspection.export.distances import ROWS, squares, to_nearest

pytestmark = pytest.mark.fast


def vectors(count: int, depth: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, depth)).astype(np.float32)


@pytest.mark.parametrize("count", [1, ROWS, ROWS + 1])
def test_it_is_the_least_of_all_distances(count):
    some, others = vectors(count, 8, 0), vectors(50, 8, 1)
    wanted = np.square(some[:, None] - others).sum(2).min(1)
    assert np.allclose(to_nearest(some, others), wanted, atol=1e-5)


def test_nothing_is_infinitely_far():
    assert np.isinf(to_nearest(vectors(3, 8, 0), vectors(0, 8, 1))).all()
    assert to_nearest(vectors(0, 8, 0), vectors(3, 8, 1)).shape == (0,)


def test_projections_take_the_lengths_of_what_they_project():
    some, others = vectors(9, 8, 0), vectors(5, 8, 1)
    lengths = squares(some), squares(others)
    wanted = (lengths[0][:, None] + lengths[1] - 2 * some[:, :3] @ others[:, :3].T).min(1)
    found = to_nearest(some[:, :3], others[:, :3], lengths)
    assert np.allclose(found, np.maximum(wanted, 0), atol=1e-5)


def test_a_distance_is_never_below_nothing():
    same = vectors(200, 64, 0) * 100
    assert (to_nearest(same, same) >= 0).all()
