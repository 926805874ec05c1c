"""A station judges while a job trains on the same cores: what the bench measures of it."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from inspection.bench.retraining.beside import Scene, live
from inspection.bench.retraining.product import EXPORT, TRAIN
from inspection.hub.wire.retraining import JobState, Step
from tests.station.bundles import make_bundle
from tests.synthetic import write_mvtec_tree


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("inspection.bench.retraining.beside.WARM_PARTS", 2)
    monkeypatch.setattr("inspection.bench.retraining.beside.DEADLINE_MS", 5_000)


def test_a_station_judges_on_until_the_job_beside_it_has_ended(tmp_path: Path):
    """A whole job, as the hub starts it; latencies with and without, its steps and its memory."""
    images = write_mvtec_tree(tmp_path / "images", train_good=40, test_good=6, per_defect=2)
    for name, settings in (("train", TRAIN), ("export", EXPORT)):
        text = yaml.safe_dump(settings.model_dump(mode="json"))
        (tmp_path / f"{name}.yaml").write_text(text)
    frames = [np.full((32, 64, 3), red, np.uint8) for red in (10, 20, 30)]
    scene = Scene(
        make_bundle(tmp_path / "bundle"),
        frames,
        images,
        tmp_path / "train.yaml",
        tmp_path / "export.yaml",
        alone_parts=5,
    )
    lived = live(tmp_path, scene)
    assert (lived.job.state, len(lived.alone_ms)) == (JobState.DONE, 5)
    assert [one.step for one in lived.job.steps] == list(Step)
    assert len(lived.beside_ms) > 20
    assert lived.status.since_start["PASS"] + lived.status.since_start["FAULT"] > 20
    assert lived.peak_mb > 300
