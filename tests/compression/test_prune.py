"""Channels that say nothing can go without anything being lost."""

import torch

from inspection.compression.prune import GROUPS, prune
from inspection.networks.formulanet import FormulaNet


def test_channels_that_say_nothing_go_and_nothing_is_lost():
    """A wide network of which half of each group is silent computes the same when it is pruned."""
    torch.manual_seed(0)
    wide, narrow = FormulaNet().eval(), FormulaNet(width=0.5).eval()
    state = wide.state_dict()
    rng = torch.Generator().manual_seed(1)
    for group in GROUPS:
        channels = len(state[f"{group.made_by[0]}.0.weight"])
        silent = torch.randperm(channels, generator=rng)[: channels // 2]
        for name in group.made_by:
            state[f"{name}.1.weight"][silent] = 0
            state[f"{name}.1.bias"][silent] = 0
    wide.load_state_dict(state)
    images = torch.randn(2, 3, 64, 48, generator=rng)
    with torch.no_grad():
        different = [one.abs().max().item() for one in narrow.compared(images)]
        prune(wide, narrow)
        for found, wanted in zip(narrow.compared(images), wide.compared(images), strict=True):
            assert torch.allclose(found, wanted, atol=1e-4)
    assert min(different) > 0
    assert sum(one.numel() for one in narrow.parameters()) < 0.4 * sum(
        one.numel() for one in wide.parameters()
    )
