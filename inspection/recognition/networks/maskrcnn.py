"""Mask R-CNN (He et al., ICCV 2017) as torchvision has it, on any timm backbone."""

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from inspection.detectors.decoding import Limits
from inspection.detectors.layout import Layout
from inspection.detectors.regions import BOXES, MASKS, Regions
from inspection.recognition.networks.dense import anchor_after_anchor, anchor_sizes, listed
from inspection.recognition.networks.network import Network, Taken, TakenHead
from inspection.recognition.networks.pyramid import Pyramid
from inspection.recognition.networks.regions import SAMPLES, RegionHead
from inspection.recognition.samples import Target

RATIOS = (0.5, 1.0, 2.0)
ANCHOR = 8  # side of an anchor, strides, as torchvision's 32 px at stride 4
BOX_CELLS, MASK_CELLS = 7, 14  # of a region, each way
LEVELS = 4  # regions are cut from; the coarsest level only proposes
HIDDEN = 1024  # of the head for boxes
MASK_LAYERS = 4  # convolutions
# Parts have few defects; torchvision's 1,000 proposals, made for scenes, would cost ten times this.
PROPOSALS = Limits(least_score=1e-4, most_overlap=0.7, most=100)
BOX_ROWS, MASK_ROWS = 100, 4
# For the same reason fewer regions of a picture teach than torchvision's 512 of 2,000: a step of
# eight 320 px pictures takes a third of the time so (reports/LOG.md).
TAUGHT, PROPOSED, KEPT = 64, 1000, 500


class MaskRcnn(Network):
    """Proposes regions, then classifies them and draws their masks."""

    draws_masks = True

    def __init__(self, pyramid: Pyramid, types: int) -> None:
        super().__init__()
        names = [f"p{stride.bit_length() - 1}" for stride in pyramid.strides[:LEVELS]]
        sizes = tuple((stride * ANCHOR,) for stride in pyramid.strides)
        anchors = AnchorGenerator(sizes, (RATIOS,) * len(sizes))
        channels = pyramid.out_channels
        self.detector = MaskRCNN(
            pyramid,
            rpn_anchor_generator=anchors,
            box_head=TwoMLPHead(channels * BOX_CELLS**2, HIDDEN),
            box_predictor=FastRCNNPredictor(HIDDEN, types + 1),
            box_roi_pool=MultiScaleRoIAlign(names, BOX_CELLS, SAMPLES),
            mask_roi_pool=MultiScaleRoIAlign(names, MASK_CELLS, SAMPLES),
            mask_head=MaskRCNNHeads(channels, [channels] * MASK_LAYERS, 1),
            mask_predictor=MaskRCNNPredictor(channels, channels, types + 1),
            box_batch_size_per_image=TAUGHT,
            rpn_pre_nms_top_n_train=PROPOSED,
            rpn_post_nms_top_n_train=KEPT,
        )
        self.regions = Regions(
            first=self._proposing(),
            features=tuple(names),
            strides=pyramid.strides[:LEVELS],
            level="size",
            proposals=PROPOSALS,
            boxes=BOX_ROWS,
            masks=MASK_ROWS,
        )

    def _proposing(self) -> Layout:
        return Layout.model_validate(
            {
                "boxes": {"output": "deltas", "form": "deltas"},
                "scores": {"output": "objectness", "activation": "sigmoid"},
                "grid": {
                    "strides": self.detector.backbone.strides,
                    "offset": 0.0,
                    "anchors": anchor_sizes(self.detector.rpn.anchor_generator),
                },
                "suppressed": False,
            }
        )

    def losses(self, images: Tensor, targets: list[Target]) -> dict[str, Tensor]:
        """Give the losses of proposals, types, boxes and masks."""
        batch, levels = listed(images), self.detector.backbone(images)
        shifted = [{**one, "labels": one["labels"] + 1} for one in targets]  # 0 is the background
        proposals, proposing = self.detector.rpn(batch, levels, shifted)
        _, looking = self.detector.roi_heads(levels, proposals, batch.image_sizes, shifted)
        losses: dict[str, Tensor] = {**proposing, **looking}
        return losses

    def take_apart(self, input_hw: tuple[int, int]) -> Taken:
        """Give the graphs of proposals and features, of boxes and of masks."""
        del input_hw
        strides = self.regions.strides
        heads = {
            BOXES: TakenHead(
                RegionHead(_Boxes(self.detector), strides, BOX_CELLS), ("scores", "deltas")
            ),
            MASKS: TakenHead(RegionHead(_Masks(self.detector), strides, MASK_CELLS), ("masks",)),
        }
        layout = self.regions.found.model_copy(update={"picture": self.picture})
        names = ("deltas", "objectness", *self.regions.features)
        return Taken(_Proposals(self.detector), names, layout, self.regions, heads)


class _Proposals(nn.Module):
    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.pyramid, self.head = detector.backbone, detector.rpn.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        levels = list(self.pyramid(images).values())
        objectness, deltas = self.head(levels)
        return (
            anchor_after_anchor(deltas, 4),
            anchor_after_anchor(objectness, 1),
            *levels[:LEVELS],
        )


class _Boxes(nn.Module):
    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.head, self.predictor = detector.roi_heads.box_head, detector.roi_heads.box_predictor

    def forward(self, cut: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = self.predictor(self.head(cut))
        return scores, deltas


class _Masks(nn.Module):
    def __init__(self, detector: MaskRCNN) -> None:
        super().__init__()
        self.head, self.predictor = detector.roi_heads.mask_head, detector.roi_heads.mask_predictor

    def forward(self, cut: Tensor) -> tuple[Tensor]:
        return (self.predictor(self.head(cut))[:, 1:],)  # the first is the background's
