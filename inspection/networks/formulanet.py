"""The network of our own weights, known to timm as `formulanet`.

Plain convolutions and ReLUs, which keep their ranges in INT8 and run on the whole width of a line
PC's processor. What PatchCore compares are two narrow linear layers without an activation, as in
MobileNetV2's bottlenecks: `fine`, an eighth as large as the image, and `coarse`, a sixteenth.

`formulanet_050` has half of the channels in between, and as many in what is compared. No weights of
it ship: `inspection compress` prunes those of `formulanet` to it and distils a champion into them.
"""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

NAME, LAYERS = "formulanet", ("fine", "coarse")
HALF = f"{NAME}_050"
STEM, SECOND, THIRD, FOURTH = 32, 32, 64, 128  # channels after each halving
FINE, COARSE = 32, 64  # channels of what is compared


class Block(nn.Module):
    """Two 3×3 convolutions around which the input is carried."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, planes: Tensor) -> Tensor:
        """N×C×H×W → the same."""
        return self.act(planes + self.second(self.first(planes)))  # type: ignore[no-any-return]


class FormulaNet(nn.Module):
    """A residual network of 16 convolutions that ends where PatchCore and STFPM stop.

    Args:
        num_classes: of the classifier on top; 0 has none, and the features are averaged.
        in_chans: of the images.
        width: share of the channels between the images and what is compared.
    """

    def __init__(
        self, num_classes: int = 0, in_chans: int = 3, width: float = 1.0, **_: Any
    ) -> None:
        super().__init__()
        stem, second, third, fourth = (int(one * width) for one in (STEM, SECOND, THIRD, FOURTH))
        self.num_classes, self.num_features = num_classes, COARSE
        self.stem = convolution(in_chans, stem, side=5, stride=2)
        self.second = nn.Sequential(convolution(stem, second, stride=2), Block(second))
        self.third = nn.Sequential(convolution(second, third, stride=2), Block(third), Block(third))
        self.fine = nn.Conv2d(third, FINE, 1)
        self.fourth = nn.Sequential(
            convolution(FINE, fourth, stride=2), Block(fourth), Block(fourth)
        )
        self.coarse = nn.Conv2d(fourth, COARSE, 1)
        self.head = nn.Linear(COARSE, num_classes) if num_classes else nn.Identity()
        self.feature_info = [
            {"num_chs": channels, "reduction": 2**halvings, "module": module}
            for halvings, (module, channels) in enumerate(
                (("stem", stem), ("second", second), ("fine", FINE), ("coarse", COARSE)), start=1
            )
        ]

    def forward_features(self, images: Tensor) -> Tensor:
        """N×3×H×W → N×64×H/16×W/16."""
        return self.compared(images)[1]

    def compared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give what PatchCore compares of N×3×H×W: fine, N×32×H/8×W/8, and coarse."""
        fine = self.fine(self.third(self.second(self.stem(images))))
        return fine, self.coarse(self.fourth(fine))

    def forward(self, images: Tensor) -> Tensor:
        """N×3×H×W → N×classes, or N×64 without a classifier."""
        return self.head(self.forward_features(images).mean((2, 3)))  # type: ignore[no-any-return]


def convolution(inputs: int, outputs: int, *, side: int = 3, stride: int = 1) -> nn.Sequential:
    """Give a convolution with its normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


_CONFIG = {
    "num_classes": 0,
    "input_size": (3, 256, 256),
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
    "first_conv": "stem.0",
    "classifier": "head",
}
# timm looks for it under this name
default_cfgs = generate_default_cfgs({f"{NAME}.formulas": _CONFIG, f"{HALF}.untrained": _CONFIG})


@register_model  # type: ignore[untyped-decorator]  # timm's
def formulanet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build it as timm does."""
    return _build(NAME, pretrained=pretrained, **options)


@register_model  # type: ignore[untyped-decorator]  # timm's
def formulanet_050(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build the one of half the width as timm does."""
    return _build(HALF, pretrained=pretrained, width=0.5, **options)


def _build(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
    return build_model_with_cfg(  # type: ignore[no-any-return]
        FormulaNet,
        name,
        pretrained,
        feature_cfg={"out_indices": (2, 3), "flatten_sequential": False},
        **options,
    )
