"""Networks of the second stage: what they tell is read as torchvision itself reads it."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.poolers import LevelMapper

from inspection.core.errors import TrainingError
from inspection.core.origin import describe_origin
from inspection.core.records import Weights
from inspection.detectors.decoding import Limits
from inspection.detectors.detector import DetectorCard
from inspection.detectors.regions import Regions, levels
from inspection.recognition.exporting import open_graphs
from inspection.recognition.graphs import convert
from inspection.recognition.networks.building import build_network
from inspection.recognition.samples import as_target
from inspection.recognition.settings import NetworkSettings

SIDE = 128
LIMITS = Limits(least_score=0.05, most_overlap=0.5, most=100)


def build(name: str, types: int = 3, **more):
    torch.manual_seed(0)
    settings = NetworkSettings(name=name, channels=32, **more)
    network, weights = build_network(settings, types, (SIDE, SIDE))
    return network.eval(), weights


def louder(network) -> None:
    """Scale what is drawn at random at a network's birth, so that its answers differ."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            ends = ("cls_logits", "bbox_reg", "bbox_ctrness", "bbox_pred", "cls_score")
            if any(end in name for end in ends):
                value.copy_(torch.randn_like(value) * 0.2)
            elif "_head.conv" in name and value.ndim > 1:  # born too small
                value.copy_(torch.randn_like(value) * 0.08)


def detector(network, types: int = 3):
    taken = network.take_apart((SIDE, SIDE))
    card = DetectorCard(
        name="net",
        types=tuple("abc"[:types]),
        layout=taken.layout,
        regions=taken.regions,
        input_hw=(SIDE, SIDE),
        precision="fp32",
        weights=Weights(name="random", source="random", sha256="0"),
        limits=LIMITS,
        origin=describe_origin(()),
    )
    return open_graphs(convert(taken, (SIDE, SIDE)), card)


def picture() -> tuple[np.ndarray, torch.Tensor]:
    """Give a picture and what a network is given of it."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    image = torch.from_numpy(((pixels - mean) / std).astype(np.float32)).permute(2, 0, 1)[None]
    return pixels, image


def torchvisions(network, image: torch.Tensor):
    """Find with torchvision's own reading of the same network."""
    inner = network.detector
    inner.score_thresh, inner.nms_thresh, inner.topk_candidates = 0.05, 0.5, 100_000
    with torch.no_grad():
        features = inner.backbone(image)
        maps = list(features.values())
        listed = ImageList(image, [(SIDE, SIDE)])
        if hasattr(inner, "roi_heads"):
            proposals, _ = inner.rpn(listed, features)
            return inner.roi_heads(features, proposals, listed.image_sizes)[0][0]
        told, anchors = inner.head(maps), inner.anchor_generator(listed, maps)
        places = [one.shape[2] * one.shape[3] for one in maps]
        if "bbox_ctrness" not in told:
            places = [count * told["cls_logits"].shape[1] // sum(places) for count in places]
        split = {name: list(value.split(places, dim=1)) for name, value in told.items()}
        boxes = [list(anchors[0].split(places))]
        return inner.postprocess_detections(split, boxes, [(SIDE, SIDE)])[0]


def share_found(ours, theirs) -> float:
    """Give the share of one's sure boxes that the other has, same type, within 1 px."""
    sure = [
        (box, label, score)
        for box, label, score in zip(
            theirs["boxes"].numpy(), theirs["labels"].numpy(), theirs["scores"].numpy(), strict=True
        )
        if score > ours.scores.min() + 0.01 and (box[2:] - box[:2]).min() > 0
    ]
    assert len(sure) > 5
    near = [
        (np.abs(ours.boxes - box).max(axis=1) < 1)
        & (ours.types == label)
        & (np.abs(ours.scores - score) < 1e-3)
        for box, label, score in sure
    ]
    return float(np.mean([one.any() for one in near]))


@pytest.mark.parametrize("name", ["fcos", "retinanet"])
def test_boxes_are_those_that_torchvision_reads(name: str):
    network, _ = build(name, types=1)  # of several, torchvision counts each at the same place
    louder(network)
    pixels, image = picture()
    theirs = torchvisions(network, image)
    assert share_found(detector(network, types=1).find(pixels), theirs) == 1


def test_mask_rcnn_finds_what_torchvision_does():
    network, _ = build("maskrcnn")
    louder(network)
    inner = network.detector
    inner.rpn._pre_nms_top_n = {"training": 10_000, "testing": 10_000}
    inner.rpn._post_nms_top_n = {"training": 100, "testing": 100}
    inner.rpn.score_thresh = 0.0
    inner.roi_heads.score_thresh, inner.roi_heads.nms_thresh = 0.05, 0.5
    pixels, image = picture()
    theirs = torchvisions(network, image)
    theirs["labels"] -= 1
    ours = detector(network).find(pixels)
    assert ours.masks is not None
    # proposals of two levels suppress each other here and not there
    assert share_found(ours, theirs) > 0.8


def test_regions_are_cut_from_the_levels_that_torchvision_chooses():
    how = Regions.model_validate(
        {
            "first": {
                "boxes": {"output": "b", "form": "xyxy"},
                "scores": {"output": "s"},
                "suppressed": False,
            },
            "features": ["a", "b", "c", "d"],
            "strides": [4, 8, 16, 32],
            "level": "size",
        }
    )
    corner = np.random.default_rng(0).uniform(0, 400, (200, 2))
    size = np.random.default_rng(1).uniform(1, 900, (200, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    theirs = LevelMapper(2, 5)([torch.from_numpy(boxes)]).numpy()
    assert (levels(boxes, how, (1500, 1500)).argmax(axis=1) == theirs).all()


@pytest.mark.parametrize("name", ["centermask", "maskrcnn", "fcos", "retinanet"])
def test_every_network_learns_from_pictures_with_and_without_defects(name: str):
    network, weights = build(name)
    assert weights[0].source == "shipped"
    network.train()
    mask = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    mask[0, 10:25, 15:40], mask[1, 35:60, 5:20] = 1, 1
    shown = as_target(mask, torch.tensor([0, 2]))
    nothing = as_target(mask[:0], torch.zeros(0, dtype=torch.int64))
    images = torch.randn(2, 3, SIDE, SIDE)
    for targets in ([shown, nothing], [nothing, nothing]):
        losses = network.losses(images, targets)
        total = torch.stack([value.reshape(()) for value in losses.values()]).sum()
        assert torch.isfinite(total)
        network.zero_grad()
        total.backward()
    taught = [one for one in network.parameters() if one.requires_grad]
    assert all(one.grad is None or torch.isfinite(one.grad).all() for one in taught)


def test_centermask_gives_a_mask_for_each_box():
    network, _ = build("centermask")
    louder(network)
    pixels, _ = picture()
    found = detector(network).find(pixels)
    assert len(found) > 3
    assert found.masks is not None


@pytest.mark.parametrize(
    ("backbone", "early", "late"),
    [("formulanet", ("stem", "second"), "coarse"), ("mobilenetv2_100", ("conv_stem",), "blocks_6")],
)
def test_what_comes_before_stride_8_is_frozen(backbone: str, early: tuple[str, ...], late: str):
    """Also of a backbone that names its two coarsest maps only; its stride 4 is Mask R-CNN's."""
    network, _ = build("maskrcnn", backbone=backbone, allow_random_weights=True)
    body = network.detector.backbone.body
    taught = {name.replace(".", "_"): one.requires_grad for name, one in body.named_parameters()}
    for stage in early:
        own = [on for name, on in taught.items() if name.startswith(stage)]
        assert own
        assert not any(own)
    assert any(on for name, on in taught.items() if name.startswith(late))
    assert network.detector.backbone.strides[0] == 4


def test_a_backbone_without_maps_is_refused():
    with pytest.raises(TrainingError, match="name another"):
        build("fcos", backbone="vit_tiny_patch16_224", allow_random_weights=True)


def test_a_checkpoint_belongs_to_huggingface():
    with pytest.raises(ValueError, match="belongs to 'huggingface'"):
        NetworkSettings(name="fcos", checkpoint="x")
    with pytest.raises(ValueError, match="belongs to 'huggingface'"):
        NetworkSettings(name="huggingface")
