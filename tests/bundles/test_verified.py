"""What was verified is what judges, whatever happens to the files afterwards."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inspection.bundles import seal
from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, MAPS, open_bundle, open_graph
from inspection.bundles.graph import Graph
from inspection.bundles.judging import judge_files
from inspection.bundles.seal import open_sealed
from inspection.core.decision import Band, Verdict, decide, score_floor
from inspection.core.errors import BundleCorrupt, BundleError, BundleUnavailable
from tests.bundles.conftest import bright

pytestmark = pytest.mark.fast
WEIGHTS = "model.bin"


def overwrite(path: Path) -> None:
    """Write zeros over a file in place, as large as it is."""
    with path.open("r+b") as stream:
        stream.write(b"\0" * path.stat().st_size)


def truncate(path: Path) -> None:
    """Leave an empty file."""
    os.truncate(path, 0)


def replace(path: Path) -> None:
    """Put another file in its place."""
    path.unlink()
    path.write_bytes(b"another")


CHANGES = pytest.mark.parametrize("change", [overwrite, truncate, replace])


@CHANGES
def test_open_bundle_judges_as_before_its_files_changed(bundle: Path, change: Callable):
    """Scores and golden maps are the same to the bit, and the process lives."""
    opened = open_bundle(bundle)
    before, golden = opened.judge(bright()), opened.selftest()
    for path in (bundle / WEIGHTS, bundle / GRAPH, bundle / CARD, bundle / GOLDEN / MAPS):
        change(path)
    after = opened.judge(bright())
    assert np.array_equal(after.score_map, before.score_map)
    assert after.verdict is before.verdict
    assert opened.selftest() == golden


@CHANGES
@pytest.mark.parametrize("name", [WEIGHTS, GRAPH, CARD])
def test_file_changed_between_verifying_and_reading_is_refused(
    bundle: Path, change: Callable, name: str
):
    """Nobody slips another file in after the sums were checked."""
    sealed = open_sealed(bundle)
    change(bundle / name)
    with pytest.raises(BundleCorrupt, match=f"'{name}' was changed since it was verified"):
        sealed.read(name)


def test_graph_read_from_its_path_is_no_map_of_the_file(bundle: Path):
    """Desk tools that read a graph by its path hold a copy, too."""
    graph = Graph(bundle / GRAPH)
    tile = np.full((32, 48, 3), 100, np.uint8)
    before = graph(tile)
    overwrite(bundle / WEIGHTS)
    assert np.array_equal(graph(tile), before)


def test_memory_that_changed_shows_in_the_golden_frames(bundle: Path):
    """A check later on judges with the graph, and does not remember what it found before."""
    opened, other = open_bundle(bundle), open_bundle(bundle)
    assert opened.check("00").reproduced
    tiles, size_hw, expected = opened._golden_inputs["00"]
    opened._golden_inputs["00"] = 255 - tiles, size_hw, expected
    assert not opened.check("00").reproduced
    assert other.check("00").reproduced


@pytest.mark.parametrize("name", [CARD, "SHA256SUMS", "signature.json", "gate.json", WEIGHTS])
def test_fifo_in_a_bundle_is_refused_and_not_waited_for(bundle: Path, name: str):
    """Opening a FIFO would hang a station beyond SIGTERM."""
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleError):
        open_bundle(bundle)


@pytest.mark.parametrize("name", [CARD, "SHA256SUMS", "signature.json", "gate.json"])
def test_sparse_file_in_a_bundle_is_refused_unread(bundle: Path, name: str):
    """1.5 GB of nothing took 3.25 GB of memory."""
    with (bundle / name).open("wb") as stream:
        stream.truncate(1_500_000_000)
    with pytest.raises(BundleError):
        open_bundle(bundle)


def test_file_of_a_bundle_that_the_disk_refuses_may_be_read_later(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
):
    """What cannot be read now is not called corrupt."""

    def refuse(path: Path, _max_bytes: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    sealed = open_sealed(bundle)
    monkeypatch.setattr(seal, "read_file", refuse)
    with pytest.raises(BundleUnavailable, match=r"'model\.bin' cannot be read"):
        sealed.read(WEIGHTS)


def test_graph_of_a_verified_folder_is_what_its_path_gives(bundle: Path):
    """Reading from bytes computes the same as reading from the file."""
    tile = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)
    by_bytes = Graph(open_graph(open_sealed(bundle), GRAPH))(tile)
    assert np.array_equal(by_bytes, Graph(bundle / GRAPH)(tile))


@pytest.mark.parametrize(
    ("scores", "floor"),
    [
        ((), -np.inf),
        ((4.0, 4.0, 4.0), 2.0),
        ((2.0, 4.0, 9.0), 0.25),
        ((3.0, 4.0, 5.0), 3 * 0.75**3),
        ((0.0, 0.1, 0.2), -1.0),
        ((-1.0, -1.0, -1.0), -11.0),
    ],
    ids=["none", "all the same", "wide", "narrow", "from zero", "below zero"],
)
def test_floor_lies_far_below_every_calibrate_score(scores: tuple[float, ...], floor: float):
    """It follows the spread of the scores, in ratios where they are distances."""
    assert score_floor(scores) == pytest.approx(floor)


def test_score_below_the_floor_is_a_fault():
    """A graph that finds nothing at all is broken; the floor itself is believed."""
    band = Band(review_above=3, reject_above=4)
    assert decide(0.0, band, floor=0.5) is Verdict.FAULT
    assert decide(0.5, band, floor=0.5) is Verdict.PASS


def test_part_below_the_floor_is_a_fault_of_its_file(bundle: Path, tmp_path: Path):
    """Judged at a desk it says so, too."""
    from PIL import Image

    opened = open_bundle(bundle)
    opened._floor = 0.1
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "black.png")
    (judged,) = judge_files(opened, [tmp_path / "black.png"])
    assert judged.verdict is Verdict.FAULT
    assert "score is 0; expected a finite number of at least 0.1" in judged.reason
