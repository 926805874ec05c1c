"""Networks of transformers: loaded from a folder, taught, converted, and read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    DetrConfig,
    DetrForObjectDetection,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    ResNetConfig,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
    SwinConfig,
)

from inspection.core.errors import ConfigError, TrainingError
from inspection.recognition.networks.building import build_network
from inspection.recognition.samples import as_target
from inspection.recognition.settings import NetworkSettings
from tests.recognition.test_networks import detector

SIDE, TYPES = 128, 3
RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1, 1, 1, 1]}
SMALL = {
    "d_model": 32,
    "decoder_layers": 2,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_queries": 12,
}


def detr() -> DetrForObjectDetection:
    backbone = ResNetConfig(**RESNET, layer_type="basic", out_features=["stage4"])
    return DetrForObjectDetection(DetrConfig(backbone_config=backbone, **SMALL))


def rt_detr() -> RTDetrV2ForObjectDetection:
    stages = ["stage2", "stage3", "stage4"]
    backbone = RTDetrResNetConfig(**RESNET, layer_type="basic", out_features=stages)
    config = RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[32, 64, 128],
        decoder_in_channels=[32, 32, 32],
        num_denoising=4,
        decoder_n_points=2,
        **SMALL,
    )
    return RTDetrV2ForObjectDetection(config)


def mask2former() -> Mask2FormerForUniversalSegmentation:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = SwinConfig(
        embed_dim=8, depths=[1] * 4, num_heads=[1] * 4, window_size=4, out_features=stages
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=32,
        num_queries=12,
        train_num_points=64,
    )
    return Mask2FormerForUniversalSegmentation(config)


def load(folder: Path):
    torch.manual_seed(0)
    settings = NetworkSettings(name="huggingface", checkpoint=str(folder))
    return build_network(settings, TYPES, (SIDE, SIDE))


@pytest.fixture(scope="module", params=[detr, rt_detr, mask2former])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A network that was born at random and saved."""
    torch.manual_seed(0)
    model = request.param()
    for module in model.modules():  # as they are born, features vanish and all queries tie
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    loaded, (weights,) = load(folder)
    assert weights.source == "folder"
    return loaded


@pytest.mark.parametrize("wrong", ["absent", "of another shape"])
def test_weights_that_would_begin_at_random_are_refused(wrong: str, tmp_path: Path):
    """A bare backbone, or other names: transformers itself only warns."""
    detr().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    name = next(one for one in weights if "encoder.layers.0" in one and one.endswith("weight"))
    kept = weights.pop(name)
    if wrong == "of another shape":
        weights[name] = kept[: len(kept) // 2].clone()
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(TrainingError, match=r"1 of the network's weights are not in its files"):
        load(tmp_path)


def test_a_model_of_a_folder_learns(network):
    mask = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    mask[0, 20:50, 30:80], mask[1, 70:120, 10:40] = 1, 1
    shown = as_target(mask, torch.tensor([0, 2]))
    nothing = as_target(mask[:0], torch.zeros(0, dtype=torch.int64))
    network.train()
    losses = network.losses(torch.randn(2, 3, SIDE, SIDE), [shown, nothing])
    total = torch.stack(list(losses.values())).sum()
    total.backward()
    assert torch.isfinite(total)


def test_a_model_of_a_folder_is_read(network):
    found, told = _seen(network.eval())
    if network.draws_masks:
        scores = told.class_queries_logits.softmax(-1)[0, :, :-1]
        assert len({int(mask.sum()) for mask in found.masks or ()}) > 1
    else:
        logits = told.logits[0]
        last = logits.shape[-1] == TYPES + 1
        scores = logits.softmax(-1)[:, :-1] if last else logits.sigmoid()
        centre, size = told.pred_boxes[0].split(2, dim=1)
        wanted = torch.cat([centre - size / 2, centre + size / 2], 1).clamp(0, 1) * SIDE
        sure = scores.max(1).values >= scores.max() - 0.01  # untaught, many are as sure
        away = np.abs(wanted[sure].numpy() - found.boxes[0]).max(axis=1)
        assert away.min() < 0.5
    assert found.scores[0] == pytest.approx(float(scores.max()), abs=0.01)


def _seen(network):
    """Give what the converted network finds on a picture, and what the model itself tells."""
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    mean, std = np.array(network.picture.mean), np.array(network.picture.std)
    image = torch.from_numpy(((pixels - mean) / std).astype(np.float32)).permute(2, 0, 1)
    with torch.no_grad():
        told = network.model(pixel_values=image[None])
    return detector(network).find(pixels), told


def test_a_model_that_finds_nothing_is_refused(tmp_path: Path):
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="is a 'bert'; wanted one that finds objects"):
        load(tmp_path)


def test_an_unknown_name_says_how_to_bring_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="no such folder"):
        load(Path("nobody/has-this"))
