"""The network of our own weights, known to timm as `formulanet`.

Plain convolutions and ReLUs, which keep their ranges in INT8 and run on the whole width of a line
PC's processor. What PatchCore compares are two narrow linear layers without an activation, as in
MobileNetV2's bottlenecks: `fine`, an eighth as large as the image, and `coarse`, a sixteenth.
"""

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

NAME, LAYERS = "formulanet", ("fine", "coarse")
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
    """

    def __init__(self, num_classes: int = 0, in_chans: int = 3, **_: Any) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, COARSE
        self.stem = convolution(in_chans, STEM, side=5, stride=2)
        self.second = nn.Sequential(convolution(STEM, SECOND, stride=2), Block(SECOND))
        self.third = nn.Sequential(convolution(SECOND, THIRD, stride=2), Block(THIRD), Block(THIRD))
        self.fine = nn.Conv2d(THIRD, FINE, 1)
        self.fourth = nn.Sequential(
            convolution(FINE, FOURTH, stride=2), Block(FOURTH), Block(FOURTH)
        )
        self.coarse = nn.Conv2d(FOURTH, COARSE, 1)
        self.head = nn.Linear(COARSE, num_classes) if num_classes else nn.Identity()
        self.feature_info = [
            {"num_chs": channels, "reduction": 2**halvings, "module": module}
            for halvings, (module, channels) in enumerate(
                (("stem", STEM), ("second", SECOND), ("fine", FINE), ("coarse", COARSE)), start=1
            )
        ]

    def forward_features(self, images: Tensor) -> Tensor:
        """N×3×H×W → N×64×H/16×W/16."""
        fine = self.fine(self.third(self.second(self.stem(images))))
        return self.coarse(self.fourth(fine))  # type: ignore[no-any-return]

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


default_cfgs = generate_default_cfgs(
    {
        f"{NAME}.formulas": {
            "num_classes": 0,
            "input_size": (3, 256, 256),
            "mean": IMAGENET_DEFAULT_MEAN,
            "std": IMAGENET_DEFAULT_STD,
            "first_conv": "stem.0",
            "classifier": "head",
        }
    }
)  # timm looks for it under this name


@register_model  # type: ignore[untyped-decorator]  # timm's
def formulanet(pretrained: bool = False, **options: Any) -> nn.Module:
    """Build it as timm does."""
    return build_model_with_cfg(  # type: ignore[no-any-return]
        FormulaNet,
        NAME,
        pretrained,
        feature_cfg={"out_indices": (2, 3), "flatten_sequential": False},
        **options,
    )
