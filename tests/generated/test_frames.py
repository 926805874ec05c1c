from pathlib import Path

import cv2
import numpy as np
import pytest

from inspection.core.errors import DatasetError
from inspection.data.check import check_dataset
from inspection.data.split import SplitRule
from inspection.synthetic.dataset import Counts, Product, make_dataset
from inspection.synthetic.flaws import Flaw
from inspection.synthetic.frames import Motion, Motions, make_framed

CONVEYOR = Motions(Motion.CONVEYOR, 4)


def test_frames_of_a_conveyor_show_the_same_surface_where_they_say():
    """What two frames have in common differs by the noise of two exposures only."""
    part = make_framed(CONVEYOR, Product.FABRIC, "a", None)
    (right, down), first, second = part.offsets_px[1], part.frames[0], part.frames[1]
    common = first[down:, right:].astype(float) - second[: first.shape[0] - down, :-right]
    assert right > 0
    assert common.std() == pytest.approx(CONVEYOR.noise * np.sqrt(2), rel=0.1)
    assert not any(part.shown)


def test_tiles_cover_the_part_and_overlap():
    """Masks lie where the frames do: pieced together they are one defect's."""
    motions = Motions(Motion.TILES, 4)
    part = make_framed(motions, Product.PLATE, "b", Flaw.SCRATCH)
    height, width = motions.size_hw
    whole = np.zeros((320, 448), np.uint8)
    seen = np.zeros((320, 448), np.uint8)
    for mask, (right, down) in zip(part.masks, part.offsets_px, strict=True):
        whole[down : down + height, right : right + width] |= mask.astype(np.uint8)
        seen[down : down + height, right : right + width] += 1
    assert seen.min() == 1
    assert seen.max() == 4
    assert cv2.countNonZero(whole) >= 20


def test_defect_lies_on_one_side_of_a_turntable():
    """The other sides are other surfaces, and good."""
    part = make_framed(Motions(Motion.TURNTABLE, 3), Product.PLATE, "c", Flaw.STAIN)
    assert sum(part.shown) == 1
    assert not np.array_equal(part.frames[0], part.frames[1])


def test_set_of_frames_keeps_parts_together(tmp_path: Path):
    """Frames without the defect are good ones; a part's frames stand in one split."""
    counts = Counts(train_good=6, test_good=2, per_defect=1)
    motions = Motions(Motion.TURNTABLE, 2)
    made = make_dataset(tmp_path / "set", Product.PLATE, 0, counts, motions)
    assert len(list((made / "train/good").iterdir())) == 12
    assert len(list((made / "test/scratch").iterdir())) == 1
    assert len(list((made / "test/good").glob("scratch-000_*.png"))) == 1
    report = check_dataset(made, rule=SplitRule(group="(.*)_", calibrate_share=0.3))
    splits = {entry.group: set() for entry in report.manifest.entries}
    for entry in report.manifest.entries:
        splits[entry.group].add(entry.split)
    assert all(len(found) == 1 for found in splits.values())
    assert len(splits) == 6 + 2 + len(Flaw)


@pytest.mark.parametrize(("motion", "count"), [(Motion.TILES, 3), (Motion.CONVEYOR, 1)])
def test_motion_that_cannot_be_is_refused(motion: Motion, count: int):
    """With what was wanted."""
    with pytest.raises(DatasetError, match="wanted 2 or more, and 4 tiles"):
        Motions(motion, count)
