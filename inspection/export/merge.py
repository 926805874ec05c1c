"""Merges new vectors into a coreset within its budget: the one that was there is not chosen anew.

Merge and reduce (Har-Peled and Mazumdar, "On Coresets for k-Means and k-Median Clustering", 2004):
a coreset of what is known and one of what is new are joined and the whole is reduced. K-center
greedy leaves its centers in the order of their worth: each at a distance to those before it, which
falls. So the new ones are chosen greedily, farthest first, beside the old; then both are laid into
one another by that distance, and what stands behind the budget goes.
"""

import numpy as np
from numpy.typing import NDArray

from inspection.export.distances import ROWS, Squares, squares, to_nearest
from inspection.export.graph import Vectors


def merge(old: Vectors, new: Vectors, budget: int) -> NDArray[np.int64]:
    """Choose which vectors of an old coreset and of new candidates form the new coreset.

    Args:
        old: float32 (n, d), in the order that k-center greedy chose them; may be empty.
        new: float32 (m, d), candidates; may be empty.
        budget: most vectors to choose, at least 1.

    Returns:
        int64 (≤ budget,) distinct row numbers of `old` and `new` one below the other, those first
        that lie farthest from all before them. A candidate equal to a vector chosen already never
        enters.
    """
    centre = (old if len(old) else new).mean(0)  # smaller numbers lose less in the product
    old, new = old - centre, new - centre
    falling = _to_earlier(old)
    entering, distances = _enter(new, to_nearest(new, old), np.sort(falling)[::-1], budget)
    order = np.argsort(-np.concatenate([falling, distances]), kind="stable")[:budget]
    return np.concatenate([np.arange(len(old)), len(old) + entering])[order]


def _enter(
    new: Vectors, nearest: Squares, falling: Squares, budget: int
) -> tuple[NDArray[np.int64], Squares]:
    """Choose candidates greedily as long as each is worth more than the old vector it displaces.

    Args:
        new: float32 (m, d).
        nearest: squared distance of each to the old coreset.
        falling: worth of the old vectors, descending.
        budget: most vectors, old and new.

    Returns:
        Their row numbers and worth, squared distances, in the order they were chosen.
    """
    least = falling[budget - 1] if budget <= len(falling) else 0.0
    rows = np.flatnonzero(nearest > least)
    nearest, vectors = nearest[rows], new[rows]
    lengths = squares(vectors)
    entering: list[int] = []
    worth: list[float] = []
    while rows.size and len(entering) < budget:
        pick = int(nearest.argmax())
        place = budget - 1 - len(entering)
        displaced = falling[place] if place < len(falling) else 0.0
        if nearest[pick] <= displaced:
            break
        entering.append(int(rows[pick]))
        worth.append(float(nearest[pick]))
        distance = lengths - 2 * (vectors @ vectors[pick]) + lengths[pick]
        nearest = np.minimum(nearest, np.maximum(distance, 0))
        nearest[pick] = 0  # never twice, whatever rounding says of its distance to itself
    return np.array(entering, np.int64), np.array(worth, np.float32)


def _to_earlier(vectors: Vectors) -> Squares:
    """Give the squared distance of each of (n, d) to the nearest before it; infinite of the first.

    That is its worth in the order of k-center greedy.
    """
    found = np.empty(len(vectors), np.float32)
    lengths = squares(vectors)
    later = np.triu(np.ones((ROWS, ROWS), np.bool_))
    for start in range(0, len(vectors), ROWS):
        rows = vectors[start : start + ROWS]
        own = lengths[start : start + ROWS]
        beside = own[:, None] + own - 2 * rows @ rows.T
        beside[later[: len(rows), : len(rows)]] = np.inf
        before = to_nearest(rows, vectors[:start], (own, lengths[:start]))
        found[start : start + ROWS] = np.minimum(before, np.maximum(beside.min(1), 0))
    return found
