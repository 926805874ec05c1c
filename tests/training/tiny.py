"""Tiny sets and configurations for the tests of training and export."""

from collections.abc import Sequence
from pathlib import Path

from inspection.core.geometry import Geometry
from inspection.core.records import (
    Label,
    Manifest,
    ManifestEntry,
    PixelNorm,
    Split,
    hash_file,
    write_record,
)
from inspection.core.settings import BackboneConfig, ExportConfig, PatchcoreConfig, TrainConfig
from tests.synthetic import write_mvtec_tree

SIZE_HW = (72, 96)
BACKBONE = BackboneConfig(
    name="test_resnet", layers=("layer1", "layer2"), allow_random_weights=True
)
GEOMETRY = Geometry(height_px=64, width_px=96)
PLAIN = PixelNorm(mean=(0, 0, 0), std=(255, 255, 255), grey_level=None)
IMAGENET = PixelNorm(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), grey_level=None)
EXPORT = ExportConfig(
    calibration_images=8, search_dimensions=0, false_reject_rate=0.2, golden_frames=2
)


def write_manifest(
    folder: Path, *, fit: int = 6, calibrate: int = 6, test_good: int = 4, per_defect: int = 2
) -> Path:
    """Write a generated set below a folder, and its manifest beside the images; give the manifest.

    The first `fit` of train/good are for fit, the others for calibrate.
    """
    root = write_mvtec_tree(
        folder / "images",
        train_good=fit + calibrate,
        test_good=test_good,
        per_defect=per_defect,
        size_hw=SIZE_HW,
    )
    paths = sorted(path for kind in ("train", "test") for path in (root / kind).rglob("*.png"))
    entries = tuple(_entry(root, path, fit) for path in paths)
    manifest = Manifest(root=str(root), layout="mvtec", entries=entries)
    write_record(folder / "manifest.json", manifest)
    return folder / "manifest.json"


def _entry(root: Path, path: Path, fit: int) -> ManifestEntry:
    kind, folder = path.parts[-3:-1]
    split = Split.TEST
    if kind == "train":
        split = Split.FIT if int(path.stem) < fit else Split.CALIBRATE
    good = folder == "good"
    return ManifestEntry(
        path=path.relative_to(root).as_posix(),
        sha256=hash_file(path),
        height_px=SIZE_HW[0],
        width_px=SIZE_HW[1],
        mode="RGB",
        label=Label.GOOD if good else Label.DEFECT,
        defect=None if good else folder,
        mask=None if good else f"ground_truth/{folder}/{path.stem}_mask.png",
        group=path.relative_to(root).as_posix(),
        split=split,
    )


def tiny_config(
    *,
    seed: int = 0,
    bank_size: int = 96,
    geometry: Geometry = GEOMETRY,
    layer_weights: Sequence[float] | None = None,
    backbone: BackboneConfig = BACKBONE,
) -> TrainConfig:
    """Give a PatchCore that fits in a second or two: 16×24 cells of 80 features."""
    return TrainConfig(
        backbone=backbone,
        geometry=geometry,
        patchcore=PatchcoreConfig(
            bank_size=bank_size,
            candidates=1_000,
            layer_weights=tuple(layer_weights) if layer_weights else None,
        ),
        batch_size=4,
        seed=seed,
        accelerator="cpu",
    )
