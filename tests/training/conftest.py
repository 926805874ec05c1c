import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from tests.alone import _alone  # noqa: F401 - a fixture
from tests.training.tiny import write_manifest


@pytest.fixture(scope="package")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set of 6 fit, 6 calibrate and 8 test parts; read only."""
    return write_manifest(tmp_path_factory.mktemp("set"))
