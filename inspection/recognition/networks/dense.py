"""Networks that tell types and boxes at every place of a pyramid: torchvision's FCOS, RetinaNet."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList

from inspection.detectors.layout import Layout
from inspection.recognition.networks.network import IMAGENET_PICTURE, Network, Taken
from inspection.recognition.networks.pyramid import Pyramid
from inspection.recognition.samples import Target

RATIOS = (0.5, 1.0, 2.0)  # of RetinaNet's anchors, height over width
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
ANCHOR = 4  # side of RetinaNet's smallest anchor, strides


def listed(images: Tensor) -> ImageList:
    """Give a batch as torchvision's detectors take it."""
    return ImageList(images, [(images.shape[2], images.shape[3])] * len(images))


def anchor_sizes(generator: AnchorGenerator) -> list[list[tuple[float, float]]]:
    """Give width and height of each level's anchors, px, in torchvision's order."""
    return [
        [(float(x1 - x0), float(y1 - y0)) for x0, y0, x1, y1 in level.tolist()]
        for level in generator.cell_anchors
    ]


def anchor_after_anchor(maps: Sequence[Tensor], columns: int) -> Tensor:
    """Bring maps (1, A · columns, H, W) to (1, places, columns), each level's anchors in turn."""
    return torch.cat(
        [
            one.view(1, -1, columns, *one.shape[2:]).flatten(3).transpose(2, 3).flatten(1, 2)
            for one in maps
        ],
        1,
    )


class Fcos(Network):
    """FCOS (Tian et al., ICCV 2019) as torchvision has it.

    Args:
        pyramid: whose levels it sees.
        types: how many there are to tell.
        head: in place of torchvision's own.
    """

    def __init__(self, pyramid: Pyramid, types: int, head: FCOSHead | None = None) -> None:
        super().__init__()
        sizes = tuple((stride,) for stride in pyramid.strides)
        anchors = AnchorGenerator(sizes, ((1.0,),) * len(sizes))
        self.detector = FCOS(pyramid, types, anchor_generator=anchors, head=head)

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give the losses of types, boxes and centreness."""
        return self._losses(images, list(self.detector.backbone(images).values()), targets)

    def _losses(
        self, images: Tensor, levels: list[Tensor], targets: list[Target]
    ) -> dict[str, Tensor]:
        told = self.detector.head(levels)
        anchors = self.detector.anchor_generator(listed(images), levels)
        places = [level.shape[2] * level.shape[3] for level in levels]
        losses: dict[str, Tensor] = self.detector.compute_loss(targets, told, anchors, places)
        return losses

    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give one graph of boxes, types and centreness."""
        del input_hw
        return Taken(_FcosOutputs(self.detector), FCOS_OUTPUTS, fcos_layout(self.detector))


FCOS_OUTPUTS = ("boxes", "scores", "centreness")


def fcos_layout(detector: FCOS) -> Layout:
    """Say how the outputs of FCOS are read."""
    return Layout.model_validate(
        {
            "picture": IMAGENET_PICTURE,
            "boxes": {"output": "boxes", "form": "ltrb"},
            "scores": {"output": "scores", "activation": "sigmoid"},
            "objectness": {"output": "centreness", "activation": "sigmoid"},
            "geometric": True,
            "grid": {"strides": detector.backbone.strides, "offset": 0.0},
            "suppressed": False,
        }
    )


class _FcosOutputs(nn.Module):
    def __init__(self, detector: FCOS) -> None:
        super().__init__()
        self.pyramid, self.head = detector.backbone, detector.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        told = self.head(list(self.pyramid(images).values()))
        return told["bbox_regression"], told["cls_logits"], told["bbox_ctrness"]


class Retina(Network):
    """RetinaNet with its focal loss (Lin et al., ICCV 2017) as torchvision has it."""

    def __init__(self, pyramid: Pyramid, types: int) -> None:
        super().__init__()
        sizes = tuple(
            tuple(round(stride * ANCHOR * octave) for octave in OCTAVES)
            for stride in pyramid.strides
        )
        anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        self.detector = RetinaNet(pyramid, types, anchor_generator=anchors)

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give the losses of types and boxes."""
        levels = list(self.detector.backbone(images).values())
        anchors = self.detector.anchor_generator(listed(images), levels)
        losses: dict[str, Tensor] = self.detector.compute_loss(
            targets, self.detector.head(levels), anchors
        )
        return losses

    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give one graph of types, and of deltas from anchors."""
        del input_hw
        strides = self.detector.backbone.strides
        layout = {
            "picture": self.picture,
            "boxes": {"output": "deltas", "form": "deltas"},
            "scores": {"output": "scores", "activation": "sigmoid"},
            "grid": {
                "strides": strides,
                "offset": 0.0,
                "anchors": anchor_sizes(self.detector.anchor_generator),
            },
            "suppressed": False,
        }
        return Taken(
            _RetinaOutputs(self.detector), ("deltas", "scores"), Layout.model_validate(layout)
        )


class _RetinaOutputs(nn.Module):
    def __init__(self, detector: RetinaNet) -> None:
        super().__init__()
        self.pyramid, self.head = detector.backbone, detector.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        levels = list(self.pyramid(images).values())
        typed, boxed = self.head.classification_head, self.head.regression_head
        scores = [typed.cls_logits(typed.conv(level)) for level in levels]
        deltas = [boxed.bbox_reg(boxed.conv(level)) for level in levels]
        return anchor_after_anchor(deltas, 4), anchor_after_anchor(scores, typed.num_classes)
