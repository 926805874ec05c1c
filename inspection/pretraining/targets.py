"""What a backbone learns to compute of a picture: the filter bank's energies, decorrelated."""

from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 0.01  # of the mean variance: directions of less are noise, which whitening would enlarge


@dataclass(frozen=True)
class Whitening:
    """Turns vectors so that their directions are independent, and as long as each other."""

    mean: Tensor
    """C."""
    turn: Tensor
    """C×D; D directions, those of largest variance first."""

    def __call__(self, planes: Tensor) -> Tensor:
        """N×C×H×W → N×D×H×W."""
        centred = planes - self.mean[:, None, None]
        return torch.einsum("nchw,cd->ndhw", centred, self.turn)


def fit_whitening(planes: Tensor, directions: int) -> Whitening:
    """Learn to whiten from the vectors of all places.

    Args:
        planes: N×C×H×W.
        directions: that are kept, at most C.
    """
    vectors = planes.permute(0, 2, 3, 1).reshape(-1, planes.shape[1]).double()
    variances, axes = torch.linalg.eigh(torch.cov(vectors.T))  # ascending
    lengths = (variances + FLOOR * variances.mean()).clamp_min(1e-9).rsqrt()
    turn = (axes * lengths).flip(1)[:, :directions]
    return Whitening(vectors.mean(0).float(), turn.float())
