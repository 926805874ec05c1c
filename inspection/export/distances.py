"""Distances from many vectors to the nearest of many others, by one product of matrices.

|b|² − 2ab of all pairs is the product of (a, 1) and (−2b, |b|²), so the memory of all pairs is gone
through once and not five times.
"""

import numpy as np
from numpy.typing import NDArray

from inspection.export.graph import Vectors

Squares = NDArray[np.float32]  # (n,)
ROWS = 1024  # of a product


def squares(vectors: Vectors) -> Squares:
    """Give the squared length of each of (n, d)."""
    return np.asarray(np.square(vectors).sum(1))


def to_nearest(
    vectors: Vectors, others: Vectors, lengths: tuple[Squares, Squares] | None = None
) -> Squares:
    """Give the squared distance of each of (m, d) to the nearest of (n, d); infinite to none.

    Args:
        vectors: float32 (m, d).
        others: float32 (n, d).
        lengths: squared, of both; none takes their own. Projections take those of what they are
            projections of.
    """
    own, theirs = lengths or (squares(vectors), squares(others))
    if not len(others):
        return np.full(len(vectors), np.inf, np.float32)
    rows = np.concatenate([vectors, np.ones((len(vectors), 1), np.float32)], 1)
    columns = np.concatenate([-2 * others, theirs[:, None]], 1).T
    least = [(rows[start : start + ROWS] @ columns).min(1) for start in range(0, len(rows), ROWS)]
    found = np.concatenate([np.empty(0, np.float32), *least])
    return np.asarray(np.maximum(found + own, 0))
