"""What a backbone learns to compute of a picture: the filter bank's answers in few numbers."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import hadamard
from torch import Tensor

EVENED = 0.5  # 0 leaves variances as they are, 1 makes them equal (reports/LOG.md, 2026-11-23)
FLOOR = 0.01  # of the mean variance: what varies less is not raised further


@dataclass(frozen=True)
class Directions:
    """Turns vectors into fewer numbers, and evens out how much they vary."""

    mean: Tensor
    """C."""
    turn: Tensor
    """C×D."""

    def __call__(self, planes: Tensor) -> Tensor:
        """N×C×H×W → N×D×H×W."""
        centred = planes - self.mean[:, None, None]
        return torch.einsum("nchw,cd->ndhw", centred, self.turn)


def fit_directions(planes: Tensor, count: int, power: float = EVENED) -> Directions:
    """Learn the principal directions of the vectors of all places, even them out and mix them.

    What varies most on procedural pictures is contrast, which says little of a defect; with all
    variances alike PatchCore finds most on real parts, but noise weighs as much as anything. So
    each deviation is taken to the power 1 - `power`. Mixed by a Hadamard matrix all numbers vary
    alike, so that eight bits suit each; as it only turns, distances stay.

    Args:
        planes: N×C×H×W.
        count: of directions, a power of 2 and at most C.
        power: how far variances are evened out; 0 keeps the distances of the vectors.
    """
    vectors = planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1]).double()
    variances, axes = torch.linalg.eigh(torch.cov(vectors.T))  # ascending
    variances, axes = variances.flip(0)[:count], axes.flip(1)[:, :count]
    evened = axes / (variances + FLOOR * variances.mean()) ** (power / 2)
    mix = torch.from_numpy(hadamard(count) / np.sqrt(count))
    return Directions(vectors.mean(0).float(), (evened @ mix).float())
