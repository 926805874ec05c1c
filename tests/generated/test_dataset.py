"""Generated sets: same seed same bytes, exact masks, whole or nothing."""

import hashlib
import re
import time

import numpy as np
import pytest

from inspection.core.errors import InspectionError
from inspection.core.imaging import load_image, load_mask
from inspection.data.check import check_dataset
from inspection.synthetic.dataset import (
    VISIBLE_LEVELS,
    Counts,
    Product,
    make_dataset,
    make_defective,
    make_good,
)
from inspection.synthetic.flaws import Flaw
from inspection.synthetic.scene import SIZE_HW, Seeds
from tests.synthetic import write_mvtec_tree

EVERY_PRODUCT = pytest.mark.parametrize("product", Product)
SMALL = Counts(train_good=2, test_good=1, per_defect=1)


def _hashes(root):
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.png"))
    }


@EVERY_PRODUCT
def test_same_key_same_pixels(product):
    """A part repeats pixel for pixel, and another key gives another part."""
    assert np.array_equal(make_good(product, "a"), make_good(product, "a"))
    assert not np.array_equal(make_good(product, "a"), make_good(product, "b"))


def test_same_seed_same_bytes(tmp_path):
    """Two sets of one seed are the same byte for byte, and another seed differs in every image."""
    first = _hashes(make_dataset(tmp_path / "first", Product.PLATE, 5, SMALL))
    again = _hashes(make_dataset(tmp_path / "again", Product.PLATE, 5, SMALL))
    other = _hashes(make_dataset(tmp_path / "other", Product.PLATE, 6, SMALL))
    assert first == again
    assert set(first) == set(other)
    assert not set(first.values()) & set(other.values())


def test_more_images_leave_the_others_as_they_were(tmp_path):
    """An image depends on its own path, not on how many stand beside it."""
    two, three = (Counts(train_good=count, test_good=count - 2, per_defect=0) for count in (2, 3))
    few = _hashes(make_dataset(tmp_path / "few", Product.FABRIC, 0, two))
    many = _hashes(make_dataset(tmp_path / "many", Product.FABRIC, 0, three))
    assert few.items() <= many.items()
    assert (len(few), len(many)) == (2, 4)


def test_set_lies_in_the_mvtec_layout(tmp_path):
    """A set has train/good, test/good, six defect types and one mask for each defect."""
    root = make_dataset(tmp_path / "set", Product.PLATE, 0, SMALL)
    assert sorted(_hashes(root)) == sorted(
        ["train/good/000.png", "train/good/001.png", "test/good/000.png"]
        + [f"test/{flaw}/000.png" for flaw in Flaw]
        + [f"ground_truth/{flaw}/000_mask.png" for flaw in Flaw]
    )
    assert [str(flaw) for flaw in Flaw] == [
        "scratch", "dent", "stain", "missing", "foreign", "misprint",
    ]  # fmt: skip
    assert load_image(root / "train/good/000.png").shape == (320, 448, 3)
    assert load_mask(root / "ground_truth/dent/000_mask.png").shape == (320, 448)


@EVERY_PRODUCT
@pytest.mark.parametrize("flaw", Flaw)
def test_mask_is_where_the_part_differs(product, flaw):
    """Outside the mask a defective part equals the good one; the mask holds what is visible."""
    pixels, mask = make_defective(product, "a part", flaw)
    good = make_good(product, "a part")
    steps = np.abs(pixels.astype(int) - good).max(axis=2)
    assert (mask.dtype, mask.shape) == (np.bool_, SIZE_HW)
    assert not steps[~mask].any()
    assert 20 <= np.count_nonzero(mask) < 0.2 * mask.size
    assert (steps[mask] >= VISIBLE_LEVELS).mean() > 0.5


def test_streams_of_random_numbers_do_not_touch():
    """A named stream gives the same numbers whatever other streams were drawn from."""
    seeds = Seeds("key")
    alone = seeds.of("screw").random(3)
    seeds.of("boss").random(100)
    assert np.array_equal(seeds.of("screw").random(3), alone)
    assert not np.array_equal(seeds.of("boss").random(3), alone)
    assert not np.array_equal(Seeds("other").of("screw").random(3), alone)


@pytest.mark.fast
def test_folder_with_files_is_refused(tmp_path):
    """A set never mixes with what is there already."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.png").write_bytes(b"mine")
    with pytest.raises(InspectionError, match="exists already"):
        make_dataset(tmp_path / "set", Product.PLATE, 0, SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "mine.png"]


def test_empty_folder_is_filled(tmp_path):
    """An existing empty folder may be named."""
    (tmp_path / "set").mkdir()
    make_dataset(
        tmp_path / "set", Product.BOARD, 0, Counts(train_good=1, test_good=0, per_defect=0)
    )
    assert set(_hashes(tmp_path / "set")) == {"train/good/000.png"}


@pytest.mark.fast
def test_refused_folder_leaves_nothing(tmp_path):
    """Where no folder can be made nothing half-written is left."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InspectionError, match="cannot be written"):
        make_dataset(tmp_path / "file" / "set", Product.PLATE, 0, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.fast
@pytest.mark.parametrize("field", ["train_good", "test_good", "per_defect"])
def test_negative_counts_are_refused(field):
    """A count is never below what makes sense."""
    with pytest.raises(ValueError, match=field):
        Counts.model_validate({field: -1})


def test_default_counts():
    """By default a set has 120 + 40 good parts and 8 of each defect."""
    counts = Counts()
    assert (counts.train_good, counts.test_good, counts.per_defect) == (120, 40, 8)


@EVERY_PRODUCT
def test_generated_set_is_sound(tmp_path, product):
    """The project's own check finds nothing wrong with a generated set but its size."""
    counts = Counts(train_good=18, test_good=3, per_defect=1)
    root = make_dataset(tmp_path / "set", product, 1, counts)
    report = check_dataset(root, false_reject_rate=0.45)
    assert [problem.message for problem in report.problems] == []
    assert [note.message for note in report.notes] == []


def test_small_tree_for_tests_is_quick_and_sound(tmp_path):
    """The tests' own tree takes under a second, repeats, and passes the check."""
    started = time.perf_counter()
    root = write_mvtec_tree(tmp_path / "one", 3)
    assert time.perf_counter() - started < 1
    assert _hashes(root) == _hashes(write_mvtec_tree(tmp_path / "two", 3))
    assert _hashes(root) != _hashes(write_mvtec_tree(tmp_path / "three", 4))
    problems = [problem.message for problem in check_dataset(root).problems]
    assert len(problems) == 1
    assert re.match(r"calibrate holds \d good parts; wanted 99 ", problems[0])
