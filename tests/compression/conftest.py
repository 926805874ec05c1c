import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from inspection.training.fit import train
from tests.alone import _alone  # noqa: F401 - a fixture
from tests.training.tiny import tiny_config, write_manifest


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PatchCore run with a bank of 96 vectors on a small ResNet; read only."""
    folder = tmp_path_factory.mktemp("champion")
    manifest = write_manifest(folder / "set", fit=8, calibrate=9, test_good=6, per_defect=3)
    train(tiny_config(layer_weights=(0.5, 1.0)), manifest, folder / "run")
    return folder / "run"
