"""Shrinking by whole factors on OpenVINO gives the bytes of the one resize."""

import itertools
import logging

import numpy as np
import pytest

from inspection.bundles import shrink
from inspection.bundles.graph import Compiling
from inspection.bundles.shrink import Resizer
from inspection.core.imaging import resize

pytestmark = pytest.mark.fast

SIZES = [
    ((1024, 1280), (256, 256)),
    ((512, 1024), (256, 256)),
    ((768, 512), (256, 512)),
    ((480, 640), (32, 64)),
    ((1200, 1600), (240, 320)),
]


def _ready(size: tuple[int, int], wanted: tuple[int, int], mode="latency") -> Resizer:
    resizer = Resizer(Compiling(mode, threads=2))
    resizer.expect(np.zeros((*size, 3), np.uint8), *wanted)
    return resizer


@pytest.mark.parametrize("mode", ["latency", "throughput"])
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_bytes_are_those_of_the_one_resize(monkeypatch, size, wanted, mode):
    """Noise, black, white and every tie come out to the bit, without OpenCV."""
    resizer = _ready(size, wanted, mode)
    parts = [np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8) for seed in (1, 2)]
    parts += [np.full((*size, 3), grey, np.uint8) for grey in (0, 1, 128, 254, 255)]
    parts.append(_ties(size, wanted))
    expected = [resize(part, *wanted) for part in parts]
    monkeypatch.setattr(shrink, "resize", None)
    for part, right in zip(parts, expected, strict=True):
        assert np.array_equal(resizer(part, *wanted), right)


def _ties(size: tuple[int, int], wanted: tuple[int, int]) -> np.ndarray:
    """Give a part whose blocks sum to every value around a half, level after level."""
    rows, columns = size[0] // wanted[0], size[1] // wanted[1]
    part = np.zeros((*wanted, rows * columns, 3), np.uint8)
    for number, (row, column) in enumerate(itertools.product(*map(range, wanted))):
        total = (number % 510) * rows * columns // 2  # n / 2 levels
        part[row, column] = total // (rows * columns)
        part[row, column, : total % (rows * columns)] += 1
    blocks = part.reshape(*wanted, rows, columns, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks).reshape(*size, 3)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((1080, 1920), (256, 256)),
        ((480, 480), (480, 480)),
        ((100, 100), (200, 200)),
        ((512, 512), (256, 256)),
    ],
    ids=["no whole factor", "nothing to do", "larger", "by two"],
)
def test_other_sizes_go_through_opencv(size, wanted):
    """What is no mean over whole blocks is resized as ever."""
    part = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert np.array_equal(_ready(size, wanted)(part, *wanted), resize(part, *wanted))


def test_part_of_an_unexpected_size_goes_through_opencv():
    """A part of another size than the one made ready for comes out right."""
    part = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    resizer = _ready((1200, 1600), (300, 400))
    assert np.array_equal(resizer(part, 300, 400), resize(part, 300, 400))


def test_view_of_a_frame_comes_out_right():
    """An ROI cut out of a frame is no block of memory, and is shrunk all the same."""
    frame = np.random.default_rng(0).integers(0, 256, (1100, 1400, 3), np.uint8)
    part = frame[30:1054, 50:1330]
    resizer = _ready((1024, 1280), (256, 256))
    assert np.array_equal(resizer(part, 256, 256), resize(part, 256, 256))


def test_cpu_that_computes_other_bits_is_left_to_opencv(monkeypatch, caplog):
    """Where the graph gives other bytes it is not used, and the log says so."""
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(shrink, "resize", lambda _, *wanted: np.zeros((*wanted, 3), np.uint8))
        resizer = _ready((1024, 1024), (512, 256))
    part = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    assert "shrunk by OpenCV" in caplog.text
    assert np.array_equal(resizer(part, 512, 256), resize(part, 512, 256))
