"""The bench of the second stage: how it divides parts, and how it judges numbers."""

from pathlib import Path

import numpy as np
from PIL import Image

from inspection.bench.recognise.parts import label_settings
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
