"""A feature pyramid on any timm backbone."""

from collections import OrderedDict
from typing import Any

import timm
import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from inspection.core.errors import TrainingError

STRIDES = (8, 16, 32, 64)
FROZEN = 4  # up to this stride the backbone stays as it was learnt, as torchvision's detectors do


class _Coarser(ExtraFPNBlock):  # type: ignore[misc]
    """Adds levels by convolutions of stride 2, as RetinaNet does (Lin et al., ICCV 2017)."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(count)
        )

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        del x
        for number, step in enumerate(self.steps):
            results.append(step(functional.relu(results[-1]) if number else results[-1]))
            names.append(f"further{number}")
        return results, names


class Pyramid(nn.Module):
    """Maps of one width at strides 8 to 64, or from stride 4 on.

    The backbone's first stages and its batch norms are frozen: a second stage has few pictures.

    Args:
        backbone: timm model.
        channels: of each level.
        finest: stride of the first level, 4 or 8; 8 where the backbone has no maps at 4.

    Raises:
        TrainingError: timm gives no maps of it at strides that make a pyramid.
    """

    def __init__(self, backbone: str, channels: int, finest: int = 8) -> None:
        super().__init__()
        try:
            found = timm.create_model(backbone, pretrained=False, features_only=True)
            every = tuple(range(len(found.feature_info.info)))  # some name few of theirs
            if every != tuple(found.feature_info.out_indices):
                found = timm.create_model(
                    backbone, pretrained=False, features_only=True, out_indices=every
                )
            reductions = found.feature_info.reduction()
        except (RuntimeError, AttributeError, AssertionError) as error:
            raise TrainingError(
                f"network.backbone {backbone}: timm gives no maps of it ({error}); name another"
            ) from error
        last = {reduction: i for i, reduction in enumerate(reductions)}
        self.strides = (4,) * (finest == 4 and 4 in last) + STRIDES
        chosen = [stride for stride in self.strides[:-1] if stride in last]
        if tuple(chosen) != self.strides[: len(chosen)] or len(chosen) < 2:
            raise TrainingError(
                f"network.backbone {backbone}: has maps at strides {reductions}; wanted "
                f"{self.strides[:2]} at least; name another"
            )
        places = tuple(found.feature_info.out_indices[last[stride]] for stride in chosen)
        body = timm.create_model(backbone, pretrained=True, features_only=True, out_indices=places)
        self.body = freeze_batch_norm_2d(body)
        for name in _before(found, FROZEN):
            if name in (known := dict(self.body.named_parameters())):
                known[name].requires_grad = False
        self.neck = FeaturePyramidNetwork(
            self.body.feature_info.channels(),
            channels,
            _Coarser(channels, len(self.strides) - len(chosen)),
            nn.BatchNorm2d,  # backbones' features differ in scale, which heads would have to learn
        )
        self.out_channels = channels  # as torchvision's detectors ask

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Give the levels of images (B, 3, H, W), finest first; they are named p3 and so on."""
        maps = OrderedDict((str(i), one) for i, one in enumerate(self.body(images)))
        return OrderedDict(
            (f"p{stride.bit_length() - 1}", one)
            for stride, one in zip(self.strides, self.neck(maps).values(), strict=True)
        )


def _before(body: Any, stride: int) -> set[str]:
    """Name the parameters that the maps up to this stride come from."""
    maps = zip(body.eval()(torch.zeros(1, 3, 64, 64)), body.feature_info.reduction(), strict=True)
    early = [one.sum() for one, reduction in maps if reduction <= stride]
    if early:
        torch.autograd.backward(torch.stack(early).sum())
    return {name for name, one in body.named_parameters() if one.grad is not None}
