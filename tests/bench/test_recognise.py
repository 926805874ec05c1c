"""The bench of the second stage: how it divides parts, and how it judges numbers."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bench.recognise.parts import label_settings
from inspection.bench.recognise.suite import gains_of
from inspection.metrics.either import Parts
from inspection.recognition.checking import gather
from tests.recognition.parts import draw_part, draw_set


def whole_set(folder: Path, count: int) -> Path:
    """Draw a set that has tested good parts, too."""
    root = draw_set(folder, count)
    rng = np.random.default_rng(9)
    (root / "test/good").mkdir()
    for number in range(count):
        Image.fromarray(draw_part(rng, None)[0]).save(root / f"test/good/{number:03d}.png")
    return root


def test_tested_good_parts_judge_only(tmp_path: Path):
    labels = gather(label_settings(whole_set(tmp_path / "set", 6), tmp_path))
    assert not labels.problems
    tested = [one for one in labels.pictures if one.name.startswith("test/good")]
    assert len(tested) == 6
    assert {one.side for one in tested} == {"test"}
    assert not any(one.defects for one in tested)
    assert {one.side for one in labels.pictures if one.defects} == {"train", "test"}


def test_usual_parts_are_not_looked_at_and_that_is_told():
    """Good parts the network would hold score low; of two defects that score low one is too low."""
    good = Parts(np.linspace(0, 10, 200), np.where(np.arange(200) < 150, 0.95, 0.1))
    bad = Parts(np.array([20.0, 9.8, 4.0]), np.array([0.9, 0.9, 0.9]))
    seen = Parts(np.append(good.scores, bad.scores), np.append(good.known, bad.known))
    defective = np.arange(203) >= 200
    rows = gains_of("net", seen, defective, tuple(np.linspace(0, 10, 50)), 0.3)
    told = {(one.above, one.gain.rate): one for one in rows}
    assert list(dict.fromkeys(above for above, _ in told)) == [0, 0.5, 0.75, 0.9]
    every, few = told[0, 0.05], told[0.9, 0.05]
    assert (every.network, every.looked, every.unlooked) == ("net", 1, 0)
    assert few.looked == pytest.approx(0.1, abs=0.02)
    assert few.unlooked == 1
    assert every.gain.either == every.gain.alone == pytest.approx(2 / 3)
    assert every.gain.level > 0.95, "what holds three of four good parts does not count"
    assert few.gain.level == pytest.approx(0.3)
    assert told[0.9, 0.01].gain.gain.value == pytest.approx(1 / 3), "9.8 lies below the threshold"
