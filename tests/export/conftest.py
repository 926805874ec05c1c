import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from tests.training.tiny import write_manifest


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Keep the hub, this machine's weights, caches and signing key out of every test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("INSPECTION_WEIGHTS", raising=False)
    monkeypatch.setenv("INSPECTION_SIGNING_KEY", str(tmp_path / "signing.key"))


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set of 6 fit, 6 calibrate and 8 test parts; read only."""
    return write_manifest(tmp_path_factory.mktemp("set"))
