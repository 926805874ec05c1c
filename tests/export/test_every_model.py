"""Every model type goes the whole way on a tiny set: train, convert, quantise or not, gate."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.bundle import open_bundle
from inspection.core.errors import TrainingError
from inspection.core.geometry import Geometry
from inspection.core.settings import (
    BackboneConfig,
    ExportConfig,
    GateLimits,
    PatchcoreConfig,
    TrainConfig,
)
from inspection.export.build import export_bundle
from inspection.export.gate import gate_bundle
from tests.synthetic import write_png

LENIENT = GateLimits(
    auroc_least=0, auroc_drop=1, score_correlation=0.8, false_reject_factor=1_000
)  # a student of one epoch knows nothing yet; the graphs must agree all the same


@dataclass(frozen=True)
class Kind:
    """How one model is made small."""

    backbone: dict[str, object] = field(default_factory=dict)
    options: dict[str, object] = field(default_factory=dict)
    size_hw: tuple[int, int] = (64, 96)
    epochs: int = 1


SMALL = {"name": "test_resnet", "layers": ("layer1", "layer2")}
VIT = {"name": "vit_small_patch14_dinov2"}
KINDS = {
    "Patchcore": Kind(SMALL),
    "Stfpm": Kind(SMALL, epochs=5),
    "Padim": Kind(SMALL, {"n_features": 20}),
    "Cfa": Kind({"name": "resnet18"}, size_hw=(64, 64)),  # Anomalib's own takes squares only
    "ReverseDistillation": Kind({"name": "resnet18"}),
    "Fastflow": Kind({"name": "resnet18"}, {"flow_steps": 1}),
    "EfficientAd": Kind(size_hw=(256, 256)),  # its autoencoder's size
    "Dinomaly": Kind(VIT, size_hw=(56, 84)),
    "Dfm": Kind({"name": "test_resnet", "layers": ("layer2",)}),
    "Dfkde": Kind({"name": "test_resnet", "layers": ("layer4",)}, {"n_pca_components": 4}),
    "Fre": Kind(
        {"name": "test_resnet", "layers": ("layer3",)}, {"input_dim": 192 * 6, "latent_dim": 16}
    ),
    "Cflow": Kind(SMALL, {"coupling_blocks": 1}),
    "Ganomaly": Kind(
        options={"batch_size": 4, "n_features": 8, "latent_vec_size": 16}, size_hw=(64, 64)
    ),
    "Draem": Kind(),
    "Supersimplenet": Kind(SMALL),
    "Uflow": Kind({"name": "resnet18"}, {"flow_steps": 1}),
    "MHPatchcore": Kind(SMALL, epochs=3),
    "Glass": Kind(SMALL),
    "AnomalyDINO": Kind(VIT, size_hw=(56, 84)),
    "L2BT": Kind(size_hw=(56, 84)),
    "Rad": Kind({"name": "vit_tiny_patch16_224"}, size_hw=(224, 224)),
    "FoundAD": Kind(size_hw=(56, 56)),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of further pictures, in one sub-folder."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (80, 90, 3), dtype=np.uint8)
        write_png(folder / "any" / f"{number}.png", noise)
    return folder


def configure(model: str, pictures: Path) -> TrainConfig:
    """Configure one model as small as it goes."""
    kind = KINDS[model]
    folders = {"EfficientAd": "imagenet_dir", "Draem": "dtd_dir"}
    options = dict(kind.options)
    if model in folders:
        options[folders[model]] = str(pictures)
    return TrainConfig(
        model=model,
        backbone=BackboneConfig(allow_random_weights=True, **kind.backbone),
        geometry=Geometry(height_px=kind.size_hw[0], width_px=kind.size_hw[1]),
        patchcore=PatchcoreConfig(bank_size=64, candidates=1_000),
        model_options=options,
        epochs=kind.epochs,
        batch_size=4,
        accelerator="cpu",
    )


@pytest.mark.usefixtures("_trainer")
@pytest.mark.parametrize("model", KINDS)
def test_model_goes_the_whole_way(
    model: str, manifest: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each model trains without network, converts, and its shipped graph agrees with FP32."""
    from inspection.training.fit import train

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    record = train(configure(model, pictures), manifest, tmp_path / "run")
    assert {weights.source for weights in record.weights} <= {"random"}
    config = ExportConfig(
        calibration_images=8, false_reject_rate=0.2, golden_frames=1, gate=LENIENT
    )
    card = export_bundle(tmp_path / "run", config, tmp_path / "bundle")
    gate = gate_bundle(tmp_path / "bundle")
    print(model, card.precision, card.graph_note, gate.score_correlation)  # noqa: T201 - for -s
    assert gate.refusals == ()
    assert card.precision.startswith(("INT8", "FP16"))
    assert all(row.score == row.score for row in gate.rows)
    assert open_bundle(tmp_path / "bundle").card.model == model


@pytest.mark.usefixtures("_trainer")
def test_model_that_gives_no_single_map_is_refused(manifest: Path, pictures: Path, tmp_path: Path):
    """GANomaly scores a non-square part in 25 pieces; nobody guesses which of them counts."""
    from inspection.training.fit import train

    config = configure("Ganomaly", pictures)
    oblong = config.model_copy(update={"geometry": Geometry(height_px=64, width_px=96)})
    with pytest.raises(TrainingError, match=r"gives \(25, 1, 1, 1\) for one part of 64×96 px"):
        train(oblong, manifest, tmp_path / "run")


@pytest.mark.usefixtures("_trainer")
def test_model_that_downloads_by_itself_says_what_it_wants(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """DSR's pretrained quantiser has no declared place: the address and the place are said."""
    from inspection.training.fit import train

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        TrainingError, match=r"vq_model.*fetch it there yourself from https://.*zip"
    ):
        train(TrainConfig(model="Dsr", accelerator="cpu"), manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()
