"""CenterMask (Lee and Park, CVPR 2020; its second version): FCOS that draws a mask in each box.

Ours, since no kept package has it. A box's features are cut from the level that its share of the
input asks for, the mask branch looks where a spatial attention points, and a further branch says
how well each mask lies. Three things differ from the paper, for few labels and weak processors:
masks are learnt on labelled boxes that are moved at random, so that an early batch without good
boxes teaches as much as a later one; one mask serves all types; and the towers are two convolutions
with a batch norm for each level, which an INT8 graph folds away.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.fcos import FCOSHead
from torchvision.ops import box_iou, clip_boxes_to_image, roi_align

from inspection.detectors.regions import MASKS, Regions
from inspection.detectors.regions import levels as choose_levels
from inspection.recognition.networks.dense import (
    FCOS_OUTPUTS,
    Fcos,
    fcos_layout,
)
from inspection.recognition.networks.network import Taken, TakenHead
from inspection.recognition.networks.pyramid import Pyramid
from inspection.recognition.networks.regions import RegionHead, cut_regions
from inspection.recognition.samples import Target

TOWER = 2  # convolutions, as CenterMask-Lite
REGION = 14  # cells of a region, each way; its mask has twice as many
MASK_LEVELS = 3  # P3 to P5, as the paper
MOVED = 4  # boxes that each labelled one becomes while masks are learnt
MOVE, GROWTH = 0.1, 0.2  # of a box's sides, standard deviation and most
LEAST_IOU = 0.5  # of a moved box with its own
MOST_REGIONS = 64  # of a batch
ROWS = 4  # regions of the head's graph; most defective parts have fewer


class LevelTower(nn.Module):
    """Convolutions that all levels share, with a batch norm for each level."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(TOWER)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(TOWER * levels))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Give every level (B, C, H, W) anew."""
        told = list(levels)
        for number, step in enumerate(self.steps):
            norms = self.norms[number * len(told) : (number + 1) * len(told)]
            told = [
                functional.relu(norm(step(level))) for level, norm in zip(told, norms, strict=True)
            ]
        return told


class LightHead(FCOSHead):  # type: ignore[misc]
    """FCOS's head with lighter towers; what it tells and how it is judged is torchvision's."""

    def __init__(self, channels: int, types: int, levels: int) -> None:
        super().__init__(channels, 1, types, num_convs=0)
        self.typing, self.boxing = LevelTower(channels, levels), LevelTower(channels, levels)

    def forward(self, x: list[Tensor]) -> dict[str, Tensor]:
        """Tell types, distances to the sides and centreness at every place."""
        boxes, centreness = self.regression_head(self.boxing(x))
        return {
            "cls_logits": self.classification_head(self.typing(x)),
            "bbox_regression": boxes,
            "bbox_ctrness": centreness,
        }


class Attention(nn.Module):
    """Spatial attention: maximum and mean over the channels say where to look."""

    def __init__(self) -> None:
        super().__init__()
        self.where = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, cut: Tensor) -> Tensor:
        """Weigh regions (n, C, h, w)."""
        seen = torch.cat([cut.amax(1, keepdim=True), cut.mean(1, keepdim=True)], 1)
        return cut * torch.sigmoid(self.where(seen))


class MaskHead(nn.Module):
    """Draws a mask in a region, and says how well it lies."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Sequential(*_convolutions(channels, channels))
        self.attention = Attention()
        self.grow = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.draw = nn.Conv2d(channels, 1, 1)
        self.rate = nn.Sequential(
            *_convolutions(channels + 1, channels // 2),
            nn.Conv2d(channels // 2, channels // 2, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(channels // 2 * (REGION // 2) ** 2, 128),
            nn.ReLU(),
            nn.Linear(128, 1),
        )

    def forward(self, cut: Tensor) -> tuple[Tensor, Tensor]:
        """Draw masks (n, 1, 28, 28), logits, in regions (n, C, 14, 14); say their IoU (n, 1)."""
        grown = functional.relu(self.grow(self.attention(self.before(cut))))
        drawn = self.draw(grown)
        seen = functional.max_pool2d(torch.sigmoid(drawn.detach()), 2)
        return drawn, self.rate(torch.cat([cut, seen], 1))


def _convolutions(before: int, channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
    ]


class CenterMask(Fcos):
    """FCOS with a mask in each box."""

    draws_masks = True

    def __init__(self, pyramid: Pyramid, types: int) -> None:
        head = LightHead(pyramid.out_channels, types, len(pyramid.strides))
        super().__init__(pyramid, types, head)
        self.masks = MaskHead(pyramid.out_channels)
        for module in self.masks.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        names = tuple(f"p{stride.bit_length() - 1}" for stride in pyramid.strides[:MASK_LEVELS])
        self.regions = Regions(
            first=fcos_layout(self.detector),
            features=names,
            strides=pyramid.strides[:MASK_LEVELS],
            level="share",
            masks=ROWS,
            rated=True,
        )

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give the losses of types, boxes, centreness, masks and their ratings."""
        levels = list(self.detector.backbone(images).values())
        input_hw = images.shape[2], images.shape[3]
        return self._losses(images, levels, targets) | self._mask_losses(levels, targets, input_hw)

    def _mask_losses(
        self, levels: list[Tensor], targets: list[Target], input_hw: tuple[int, int]
    ) -> dict[str, Tensor]:
        regions, owners = _moved(targets, input_hw)
        if not len(regions):
            nothing = sum(parameter.sum() for parameter in self.masks.parameters()) * 0.0
            return {"masks": torch.as_tensor(nothing), "rating": torch.as_tensor(nothing)}
        chosen = torch.from_numpy(
            choose_levels(regions[:, 1:].cpu().numpy(), self.regions, input_hw)
        ).to(regions)
        cut = cut_regions(levels[:MASK_LEVELS], self.regions.strides, regions, chosen, REGION)
        wanted = _wanted(targets, owners, regions)
        told, rated = self.masks(cut)
        drawn = told[:, 0]
        with torch.no_grad():
            seen, true = drawn > 0, wanted > 0.5
            lies = (seen & true).sum((1, 2)) / (seen | true).sum((1, 2)).clamp(min=1)
        return {
            "masks": functional.binary_cross_entropy_with_logits(drawn, wanted),
            "rating": functional.mse_loss(rated[:, 0], lies),
        }

    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give the graph of boxes, types and features, and the one of masks."""
        del input_hw
        head = RegionHead(self.masks, self.regions.strides, REGION)
        return Taken(
            _Outputs(self),
            (*FCOS_OUTPUTS, *self.regions.features),
            self.regions.found.model_copy(update={"picture": self.picture}),
            self.regions,
            {MASKS: TakenHead(head, ("masks", "rating"))},
        )


class _Outputs(nn.Module):
    def __init__(self, network: CenterMask) -> None:
        super().__init__()
        self.pyramid, self.head = network.detector.backbone, network.detector.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        levels = list(self.pyramid(images).values())
        told = self.head(levels)
        boxes, scores = told["bbox_regression"], told["cls_logits"]
        return boxes, scores, told["bbox_ctrness"], *levels[:MASK_LEVELS]


def _moved(targets: Sequence[Target], input_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Move labelled boxes at random; give regions (n, 5) and whose each is, over all pictures."""
    regions, owners, before = [], [], 0
    for picture, target in enumerate(targets):
        own = target["boxes"].repeat(MOVED, 1)
        numbers = torch.arange(len(target["boxes"]), device=own.device).repeat(MOVED)
        sizes = (own[:, 2:] - own[:, :2]).repeat(1, 2)
        limit = sizes * GROWTH
        moved = own + (torch.randn_like(own) * MOVE * sizes).clamp(-limit, limit)
        moved[: len(target["boxes"])] = target["boxes"]
        moved = clip_boxes_to_image(moved, input_hw)
        good = box_iou(moved, target["boxes"])[torch.arange(len(own)), numbers] >= LEAST_IOU
        numbered = torch.cat([torch.full_like(moved[:, :1], picture), moved], 1)
        regions.append(numbered[good])
        owners.append(numbers[good] + before)
        before += len(target["boxes"])
    all_regions, all_owners = torch.cat(regions), torch.cat(owners)
    kept = torch.randperm(len(all_regions))[:MOST_REGIONS]
    return all_regions[kept], all_owners[kept]


def _wanted(targets: Sequence[Target], owners: Tensor, regions: Tensor) -> Tensor:
    """Cut the labelled masks as the regions are, (n, 28, 28) of 0 or 1."""
    masks = torch.cat([one["masks"] for one in targets])[owners, None].to(regions)
    numbers = torch.arange(len(owners), device=regions.device, dtype=regions.dtype)[:, None]
    cut = roi_align(masks, torch.cat([numbers, regions[:, 1:]], 1), 2 * REGION, aligned=True)
    wanted: Tensor = (cut[:, 0] > 0.5).to(regions)
    return wanted
