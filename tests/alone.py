"""The fixture of packages whose tests train or export: no hub, no weights of this machine."""

import pytest


@pytest.fixture(autouse=True, scope="package")
def _alone(tmp_path_factory: pytest.TempPathFactory):
    """Keep the hub, this machine's weights and its signing key out of every test."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        environment.delenv("INSPECTION_WEIGHTS", raising=False)
        key = tmp_path_factory.mktemp("key") / "keys"
        environment.setenv("INSPECTION_KEYS", str(key))
        yield
