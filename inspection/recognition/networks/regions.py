"""Cuts regions out of a pyramid, for heads that look again, in training and in a static graph."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

SAMPLES = 2  # of each axis in a cell, as torchvision's detectors take


def cut_regions(
    features: Sequence[Tensor],
    strides: Sequence[int],
    regions: Tensor,
    levels: Tensor,
    side: int,
) -> Tensor:
    """Cut every region out of the level chosen for it.

    Args:
        features: levels (B, C, H, W).
        strides: of these, px of the input.
        regions: (n, 5), number of the picture and x0 y0 x1 y1 px of the input.
        levels: (n, levels), 1 at the level to cut from.
        side: cells of what is cut, each way.

    Returns:
        (n, C, side, side).
    """
    cut = [
        roi_align(level, regions, side, 1 / stride, SAMPLES) * levels[:, i, None, None, None]
        for i, (level, stride) in enumerate(zip(features, strides, strict=True))
    ]
    return torch.stack(cut).sum(0)


class RegionHead(nn.Module):
    """A head as a graph: takes the levels, regions (rows, 4) and their levels (rows, L)."""

    def __init__(self, head: nn.Module, strides: Sequence[int], side: int) -> None:
        super().__init__()
        self.head, self.strides, self.side = head, tuple(strides), side

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Give what the head makes of each region."""
        *features, regions, levels = inputs
        numbered = torch.cat([torch.zeros_like(regions[:, :1]), regions], 1)
        told: tuple[Tensor, ...] = self.head(
            cut_regions(features, self.strides, numbered, levels, self.side)
        )
        return told
