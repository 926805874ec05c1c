from pathlib import Path

import numpy as np
import pytest

from inspection.bench import frames
from inspection.bench.frame import BenchReport
from inspection.bench.frames import FramesOptions, _gain, _Way
from inspection.bundles.bundle import open_bundle
from inspection.core.geometry import Roi
from inspection.core.records import read_record
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.synthetic.frames import Motion
from tests.station.bundles import make_bundle


def test_a_small_run_measures_every_way_of_judging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each motion has its table; what the station does by itself is held to its promise."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    bundle = open_bundle(make_bundle(tmp_path / "bundle"))  # redness, instead of a training
    judge = BundleJudge(bundle, Roi(), bundle.card.band)
    monkeypatch.setattr(frames, "_train", lambda *_: judge)
    monkeypatch.setattr(frames, "COUNTS", {Motion.CONVEYOR: 3})
    monkeypatch.setattr(frames, "RATE", 0.5)
    options = FramesOptions(calibrate=6, good=4, per_defect=1)
    report = read_record(frames.run(tmp_path / "out", options), BenchReport)
    assert [row[0] for row in report.tables[0].rows] == [
        "single frame",
        "worst frame, uncorrected",
        "worst frame, for 3 frames",
        "worst frame, whole parts",
        "averaged, for 3 frames",
        "averaged, whole parts",
        "averaged, step estimated, for 3 frames",
        "averaged, step estimated, whole parts",
    ]
    assert [goal.what.split(":")[0] for goal in report.goals] == ["conveyor", "conveyor"]


def test_gain_is_that_of_recall_part_by_part():
    """With an interval that holds no more than what differs."""
    single = _Way("single", 0.5, np.zeros(4), np.array([0.0, 1.0, 1.0, 0.0]))
    better = _Way("better", 0.5, np.zeros(4), np.array([1.0, 1.0, 1.0, 0.0]))
    gain = _gain(better, single)
    assert gain.value == 0.25
    assert 0 <= gain.low < 0.25 < gain.high <= 1
    assert _gain(single, single).high == 0
