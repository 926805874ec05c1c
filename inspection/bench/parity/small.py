"""How each Anomalib image model is made small enough to be tried in a minute on two cores.

Where a model takes a timm name it gets our own backbone, whose weights come along, or else a small
network with random weights; widths and depths shrink, the operations stay those of the model. A
model that stands here with nothing, or not at all, is tried as Anomalib builds it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anomalib.models
import torch
from anomalib.models.components import AnomalibModule
from anomalib.models.image.dsr.torch_model import DsrModel
from anomalib.utils.path import get_pretrained_weights_dir

from inspection.core.geometry import Geometry
from inspection.core.records import Weights
from inspection.core.settings import BackboneConfig, PatchcoreConfig, TrainConfig
from inspection.training.weights import hash_state

FURTHER = {"EfficientAd": "imagenet_dir", "Draem": "dtd_dir", "Glass": "anomaly_source_path"}
"""Options that name a folder of further pictures: they get generated ones of other products."""
Prepare = Callable[[], Weights]


@dataclass(frozen=True)
class Small:
    """What is not Anomalib's own about a model that is tried."""

    backbone: dict[str, object] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    side_px: int = 128
    """Height and width of the input; many models take squares only, and these are whole patches."""
    epochs: int = 3
    prepare: Prepare | None = None
    """Leaves random weights where the model looks for a file that no hub gives here."""


def random_quantiser() -> Weights:
    """Leave a random vector quantiser where DSR looks for its pretrained one."""
    torch.manual_seed(0)
    state = DsrModel().discrete_latent_model.state_dict()
    path = get_pretrained_weights_dir() / "dsr" / "vq_model_pretrained_128_4096.pckl"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return Weights(name=path.name, source="random", sha256=hash_state(state))


OURS: dict[str, object] = {"name": "formulanet", "layers": ("fine", "coarse")}
COARSE: dict[str, object] = {"name": "formulanet", "layers": ("coarse",)}
RESNET: dict[str, object] = {"name": "resnet18"}  # where Anomalib knows a few names only
DINO: dict[str, object] = {"name": "vit_small_patch14_dinov2"}
DINO_PX = 140  # ten patches of 14
SMALL = {
    "AnomalyDINO": Small(DINO, side_px=DINO_PX, epochs=1),
    "Cfa": Small(RESNET),
    "Cflow": Small(OURS, {"coupling_blocks": 2}),
    "Csflow": Small(options={"cross_conv_hidden_channels": 64, "n_coupling_blocks": 1}),
    "Dfkde": Small(COARSE, {"n_pca_components": 8}, epochs=1),
    "Dfm": Small(COARSE, epochs=1),
    "Dinomaly": Small(DINO, side_px=DINO_PX),
    "Draem": Small(side_px=64, epochs=1),
    "Dsr": Small(side_px=64, epochs=1, prepare=random_quantiser),
    "EfficientAd": Small(side_px=256, epochs=1),  # its autoencoder's size
    "Fastflow": Small(RESNET, {"flow_steps": 2}),
    "FoundAD": Small(side_px=56, epochs=1),
    "Fre": Small(COARSE, {"pooling_kernel_size": 2, "input_dim": 64 * 16, "latent_dim": 64}),
    "Ganomaly": Small(options={"batch_size": 8, "n_features": 16, "latent_vec_size": 32}),
    "GeneralAD": Small({**DINO, "layers": ("12",)}, {"hidden_dim": 256}, side_px=DINO_PX),
    "Glass": Small(OURS, {"pretrain_embed_dim": 128, "target_embed_dim": 128, "step": 2}, epochs=1),
    "InpFormer": Small(DINO, side_px=84, epochs=1),
    "L2BT": Small(side_px=DINO_PX),
    "MHPatchcore": Small(OURS),
    "Padim": Small(OURS, {"n_features": 64}, epochs=1),
    "Patchcore": Small(OURS, side_px=256, epochs=1),
    "Patchflow": Small({"name": "tf_efficientnet_b5"}, {"flow_hidden_dim": 64}),
    "Rad": Small({"name": "vit_tiny_patch16_224"}, side_px=224, epochs=1),
    "ReverseDistillation": Small(RESNET),
    "Stfpm": Small(OURS, epochs=15),
    "SuperADD": Small({"name": "vit_small_patch16_dinov3"}, {"patch_size": 128}),
    "Supersimplenet": Small(OURS),
    "Uflow": Small(RESNET, {"flow_steps": 1}),
    "UniNet": Small(
        options={"student_backbone": "resnet50", "teacher_backbone": "resnet50"},
        side_px=64,
        epochs=1,
    ),
    "WinClip": Small(
        {"name": "ViT-B-16-plus-240"},
        {"class_name": "metal plate", "k_shot": 4},
        side_px=240,
        epochs=1,
    ),
}


def image_models() -> tuple[str, ...]:
    """Name every image model that the installed Anomalib exports, sorted."""
    return tuple(
        sorted(
            kind.__name__
            for kind in vars(anomalib.models).values()
            if inspect.isclass(kind)
            and issubclass(kind, AnomalibModule)
            and kind.__module__.startswith("anomalib.models.image.")
        )
    )


def small_config(model: str, pictures: Path) -> TrainConfig:
    """Configure the short training of a model.

    Args:
        model: its class name.
        pictures: folder of further pictures, in sub-folders, for those that learn from such.
    """
    small = SMALL.get(model, Small())
    options = dict(small.options)
    if model in FURTHER:
        options[FURTHER[model]] = str(pictures)
    return TrainConfig.model_validate(
        {
            "model": model,
            "backbone": BackboneConfig.model_validate(
                {"allow_random_weights": True, **small.backbone}
            ),
            "geometry": Geometry(height_px=small.side_px, width_px=small.side_px),
            "patchcore": PatchcoreConfig(bank_size=1_024, candidates=8_192),
            "model_options": options,
            "epochs": small.epochs,
            "batch_size": 8,
            "accelerator": "cpu",
        }
    )
