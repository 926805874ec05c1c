"""Pictures that INT8's ranges come from are read from files one by one."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from inspection.bench.tiny_sam import make_tiny_sam
from inspection.core.errors import ConfigError, ImageError
from inspection.review.checkpoint import Checkpoint, load_checkpoint
from inspection.review.convert import _samples, convert_segmenter
from tests.review.desk import part, save

SIZE_HW = 600, 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights."""
    made = tmp_path_factory.mktemp("sam") / "checkpoint"
    make_tiny_sam("sam", made, steps=1)
    return made


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    """The same, loaded."""
    return load_checkpoint(str(folder))


def test_files_give_what_their_pixels_give(checkpoint: Checkpoint, tmp_path: Path):
    """So that a conversion is found again by either."""
    pixels = [part((20, 30, 90, 80)), part((5, 5, 9, 9))]
    paths = [save(tmp_path / f"{i}.png", one) for i, one in enumerate(pixels)]
    for read, given in zip(_samples(checkpoint, paths), _samples(checkpoint, pixels), strict=True):
        assert read.keys() == given.keys()
        assert all(np.array_equal(read[name], given[name]) for name in given)


def test_one_picture_is_in_memory_at_a_time(checkpoint: Checkpoint, tmp_path: Path):
    """300 of 12 Mpx would take 11 GB."""
    paths = [save(tmp_path / f"{i}.png", part(size_hw=SIZE_HW)) for i in range(12)]
    one = SIZE_HW[0] * SIZE_HW[1] * 3
    tracemalloc.start()
    try:
        samples = _samples(checkpoint, paths)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(samples) == 12
    assert peak < 6 * one  # decoding holds a picture some times over


def test_a_file_that_is_no_picture_is_refused(folder: Path, tmp_path: Path):
    """By its name, and nothing is converted; no files at all are refused before anything loads."""
    with pytest.raises(ImageError, match=r"gone\.png: cannot be read"):
        convert_segmenter(str(folder), tmp_path / "cache", [tmp_path / "gone.png"])
    with pytest.raises(ConfigError, match="no images; INT8 wants some"):
        convert_segmenter("nowhere", tmp_path / "cache", ())
    assert not (tmp_path / "cache").exists()
