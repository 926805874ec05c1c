import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():  # timm and Anomalib warn of their own imports
    warnings.simplefilter("ignore")
    import anomalib.models  # noqa: F401

from inspection.export.build import export_bundle
from inspection.export.gate import gate_bundle
from tests.alone import _alone  # noqa: F401 - a fixture
from tests.training.tiny import EXPORT, tiny_config, write_manifest


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch):
    """Time few runs: these tests look at verdicts, the bench at milliseconds."""
    monkeypatch.setattr("inspection.export.evidence.TIMED_RUNS", 10)
    monkeypatch.setattr("inspection.export.evidence.WARM_RUNS", 2)


@pytest.fixture(scope="session")
def _trainer():
    """Load the trainer's libraries, which warn of their own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anomalib.models  # noqa: F401


@pytest.fixture(scope="package")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set of 8 fit, 9 calibrate and 12 test parts; read only."""
    folder = tmp_path_factory.mktemp("set")
    return write_manifest(folder, fit=8, calibrate=9, test_good=6, per_defect=3)


@pytest.fixture(scope="package")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory, _trainer: None) -> Path:
    """A PatchCore run with a bank of 96 vectors on a small ResNet; read only."""
    from inspection.training.fit import train

    out = tmp_path_factory.mktemp("export") / "run"
    train(tiny_config(), manifest, out)
    return out


@pytest.fixture(scope="package")
def bundle(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An INT8 bundle of that run, put to its gate; read only."""
    out = tmp_path_factory.mktemp("bundles") / "int8"
    export_bundle(run, EXPORT, out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inspection.export.evidence.TIMED_RUNS", 10)
        patch.setattr("inspection.export.evidence.WARM_RUNS", 2)
        gate_bundle(out)
    return out
