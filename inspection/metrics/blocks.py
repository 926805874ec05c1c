"""Sums the parts of a line up by block, the unit in which drift is looked for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REFERENCE_PARTS, REFERENCE_BLOCKS = 500, 24  # a day at least, whatever its pace


@dataclass(frozen=True)
class Blocks:
    """Blocks of parts, the oldest first.

    Attributes:
        counts: float64 (blocks,), parts of each.
        means: float64 (blocks, columns): light, focus, across, down, texture, score and the
            directions of the embedding; NaN where nothing was measured.
        variances: float64 (blocks, columns), within each block.
    """

    counts: Floats
    means: Floats
    variances: Floats

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return int(self.counts.sum())

    def __getitem__(self, place: slice | NDArray[np.intp]) -> "Blocks":
        return Blocks(self.counts[place], self.means[place], self.variances[place])


def gather(values: Floats, numbers: NDArray[np.intp]) -> Blocks:
    """Sum parts up by block.

    Args:
        values: float64 (parts, columns), as in `Blocks.means`; a NaN is left out of its block.
        numbers: (parts,), which block each belongs to; ascending.
    """
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    if not starts.size:
        return Blocks(np.empty(0), values[:0], values[:0])
    counts = np.diff(np.append(starts, len(numbers))).astype(np.float64)
    known = np.isfinite(values)
    measured = np.add.reduceat(known.astype(np.float64), starts, axis=0)
    held = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):  # of nothing there is no mean
        means = np.add.reduceat(held, starts, axis=0) / measured
        away = np.where(known, values - np.repeat(means, counts.astype(int), axis=0), 0.0)
        variances = np.add.reduceat(away**2, starts, axis=0) / measured
    return Blocks(counts, means, variances)


def reference_blocks(counts: Floats) -> int | None:
    """Say how many of the first blocks are the reference; none while it is still gathered."""
    enough = np.flatnonzero(np.cumsum(counts) >= REFERENCE_PARTS)
    if not enough.size or len(counts) < REFERENCE_BLOCKS:
        return None
    return max(int(enough[0]) + 1, REFERENCE_BLOCKS)


def trailing_blocks(counts: Floats, parts: int, blocks: int) -> int | None:
    """Say how many of the last blocks hold so many parts; none where there are too few."""
    enough = np.flatnonzero(np.cumsum(counts[::-1]) >= parts)
    if not enough.size or len(counts) < blocks:
        return None
    return max(int(enough[0]) + 1, blocks)
