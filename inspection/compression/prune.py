"""Prunes the channels of `formulanet` to those of its narrower form.

Li et al., "Pruning Filters for Efficient ConvNets" (2017): the filters with the smallest sums of
absolute weights go, here each weighed by what its normalisation makes of it. Channels that blocks
carry around their convolutions go together. What is compared keeps all its channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from inspection.networks.formulanet import FormulaNet

State = dict[str, Tensor]
OF_NORMALISATION = ("weight", "bias", "running_mean", "running_var")
EPSILON = 1e-5  # of torch's normalisation


class Group(NamedTuple):
    """Channels that stay or go together."""

    made_by: tuple[str, ...]
    """Convolutions `NAME.0` with their normalisations `NAME.1`."""
    read_by: tuple[str, ...]
    """Convolutions."""


GROUPS = (
    Group(("stem",), ("second.0.0",)),
    Group(("second.1.first",), ("second.1.second.0",)),
    Group(("second.0", "second.1.second"), ("second.1.first.0", "third.0.0")),
    *(
        group
        for stage, last in (("third", "fine"), ("fourth", "coarse"))
        for group in (
            Group((f"{stage}.1.first",), (f"{stage}.1.second.0",)),
            Group((f"{stage}.2.first",), (f"{stage}.2.second.0",)),
            Group(
                (f"{stage}.0", f"{stage}.1.second", f"{stage}.2.second"),
                (f"{stage}.1.first.0", f"{stage}.2.first.0", last),
            ),
        )
    ),
)


def prune(wide: FormulaNet, narrow: FormulaNet) -> None:
    """Give a narrower network the strongest channels of a wider one.

    Args:
        wide: unchanged.
        narrow: takes the weights; as many channels of each group stay as it has.
    """
    state, shapes = dict(wide.state_dict()), narrow.state_dict()
    for group in GROUPS:
        count = len(shapes[f"{group.made_by[0]}.0.weight"])
        kept = _strongest(state, group, count)
        for name in group.made_by:
            state[f"{name}.0.weight"] = state[f"{name}.0.weight"][kept]
            for one in OF_NORMALISATION:
                state[f"{name}.1.{one}"] = state[f"{name}.1.{one}"][kept]
        for name in group.read_by:
            state[f"{name}.weight"] = state[f"{name}.weight"][:, kept]
    narrow.load_state_dict(state)


def _strongest(state: State, group: Group, count: int) -> Tensor:
    """Give the numbers of the `count` strongest channels of a group, ascending."""
    strengths = [
        state[f"{name}.0.weight"].abs().sum((1, 2, 3))
        * state[f"{name}.1.weight"].abs()
        / (state[f"{name}.1.running_var"] + EPSILON).sqrt()
        for name in group.made_by
    ]
    return torch.stack(strengths).sum(0).topk(count).indices.sort().values
