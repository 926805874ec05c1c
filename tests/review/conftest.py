"""A bundle that judges by redness, sealed once by a key of its own."""

from pathlib import Path

import pytest

from inspection.bench.redness import make_bundle
from inspection.bundles.signing import KEYS_VARIABLE


@pytest.fixture(scope="session")
def redness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; nobody changes it."""
    folder = tmp_path_factory.mktemp("redness")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEYS_VARIABLE, str(folder / "keys"))
        return make_bundle(folder / "bundle")
