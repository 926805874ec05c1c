"""One small line for all end-to-end tests: set, manifest, run and gated bundle, by commands."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from tests.command import done
from tests.end_to_end.settings import EXPORT, PATCHCORE
from tests.synthetic import write_mvtec_tree


@dataclass(frozen=True)
class Line:
    """Where everything of the small line stands; read only."""

    images: Path
    manifest: Path
    train_config: Path
    export_config: Path
    run: Path
    bundle: Path


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the hub, this machine's weights and its signing key out of the tests."""
    key = tmp_path_factory.mktemp("key") / "keys"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
        patch.setitem(os.environ, "INSPECTION_KEYS", str(key))
        patch.delenv("INSPECTION_WEIGHTS", raising=False)
        yield


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 good parts to learn from, 8 good and 12 defective ones to test, with masks."""
    folder = tmp_path_factory.mktemp("parts") / "set"
    return write_mvtec_tree(folder, train_good=30, test_good=8, per_defect=6)


@pytest.fixture(scope="session")
def manifest(images: Path) -> Path:
    """The manifest `dataset check` writes of them."""
    out = images.parent / "manifest.json"
    shares = ("--calibrate-share", 0.3, "--false-reject-rate", 0.2)
    done("dataset", "check", images, "--out", out, *shares)
    return out


@pytest.fixture(scope="session")
def line(tmp_path_factory: pytest.TempPathFactory, manifest: Path, alone: None) -> Line:
    """Train, export and gate a small PatchCore by the command line."""
    folder = tmp_path_factory.mktemp("line")
    train_config, export_config = folder / "train.yaml", folder / "export.yaml"
    train_config.write_text(PATCHCORE)
    export_config.write_text(EXPORT)
    run, bundle = folder / "run", folder / "bundle"
    done("train", train_config, "--data", manifest, "--out", run)
    done("export", run, "--out", bundle, "--config", export_config)
    done("gate", bundle)
    return Line(manifest.parent / "set", manifest, train_config, export_config, run, bundle)
