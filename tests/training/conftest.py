import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from tests.training.tiny import write_manifest


@pytest.fixture(autouse=True, scope="package")
def _alone(tmp_path_factory: pytest.TempPathFactory):
    """Keep the hub, this machine's weights and its signing key out of every test."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        environment.delenv("INSPECTION_WEIGHTS", raising=False)
        key = tmp_path_factory.mktemp("key") / "signing.key"
        environment.setenv("INSPECTION_SIGNING_KEY", str(key))
        yield


@pytest.fixture(scope="package")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set of 6 fit, 6 calibrate and 8 test parts; read only."""
    return write_manifest(tmp_path_factory.mktemp("set"))
