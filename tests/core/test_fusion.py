import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.core.errors import ConfigError
from inspection.core.fusion import Joined, Laid, find_defects, lay

pytestmark = pytest.mark.fast
SHAPE = (6, 9)


def laid(cells: np.ndarray, right: float = 0, down: float = 0) -> Laid:
    """Lay a map all of which is judged."""
    return Laid(cells.astype(np.float32), np.ones(cells.shape, np.bool_), (right, down))


def blob(*cells: tuple[int, int], value: float = 9.0) -> np.ndarray:
    """Make a map of ones with some cells of another value, (row, column)."""
    made = np.ones(SHAPE, np.float32)
    for cell in cells:
        made[cell] = value
    return made


def defects(joined: Joined, numbers: tuple[int, ...], **changes):
    """Find the defects above 2 with cells of 10 px down and 20 px across."""
    values = {"pitch_px": (10.0, 20.0), "shift": (0.0, 0.0), "camera": "main"}
    return find_defects(joined, 2.0, numbers=numbers, **(values | changes))


def test_defect_across_a_seam_is_one_with_its_whole_area():
    """Two tiles that overlap by two rows see a defect of 7 cells in pieces; it is one."""
    whole = np.ones((10, 9), np.float32)
    whole[2:9, 4] = 9
    joined = lay([laid(whole[:6]), laid(whole[4:], down=4)], "max")
    np.testing.assert_array_equal(joined.cells, whole)
    [found] = defects(joined, (1, 2))
    assert (found.frames, found.area_px, found.box_px) == ((1, 2), 7 * 200, (80, 20, 100, 90))
    assert found.peak == joined.score == 9


def test_defect_in_one_frame_is_not_another_frames():
    """Each defect names the frames that see it."""
    tiles = [laid(blob((1, 1))), laid(blob((3, 8), value=7), right=9)]
    found = defects(lay(tiles, "max"), (1, 2))
    assert [(one.frames, one.peak) for one in found] == [((1,), 9.0), ((2,), 7.0)]
    assert found[1].box_px == (340, 30, 360, 40)


def test_mean_takes_what_both_see_and_leaves_what_one_sees():
    """Cells that one frame sees keep their value."""
    joined = lay([laid(blob()), laid(blob() * 3, down=2)], "mean")
    np.testing.assert_allclose(joined.cells[:, 0], [1, 1, 2, 2, 2, 2, 3, 3])
    assert joined.scores == (2, 3)


def test_mean_of_moved_noise_is_quieter_and_finds_the_same_place():
    """A surface is seen eight times, half a cell on each time: its defect stays, noise goes."""
    rng = np.random.default_rng(3)
    surface = np.zeros((40, 9))
    surface[18:21, 3:6] = 4

    def seen(down: float) -> Laid:
        rows = np.arange(16) + down
        low = np.floor(rows).astype(int)
        part = surface[low] * (1 - (rows - low))[:, None] + surface[low + 1] * (rows - low)[:, None]
        return laid(part + rng.normal(0, 1, part.shape), down=down)

    frames = [seen(8 + 0.5 * number) for number in range(8)]
    joined = lay(frames, "mean")
    row, column = np.unravel_index(joined.cells.argmax(), joined.cells.shape)
    assert (row + joined.origin[1], column) in {(r, c) for r in (18, 19, 20) for c in (3, 4, 5)}
    quiet = np.abs(joined.cells[4:8])  # rows 12 to 15, which all or most frames see
    assert quiet.std() < 0.6 * np.abs(frames[0].cells[:3]).std()


@given(
    st.lists(st.tuples(st.floats(-7, 7), st.floats(-7, 7)), min_size=1, max_size=5),
    st.sampled_from(["max", "mean"]),
    st.integers(0, 10**6),
)
def test_part_never_scores_above_its_worst_frame(offsets, overlap, seed):
    """So a threshold that holds for N frames holds for what is made of them."""
    rng = np.random.default_rng(seed)
    frames = [
        Laid(rng.normal(5, 2, SHAPE).astype(np.float32), rng.random(SHAPE) > 0.2, (right, down))
        for right, down in offsets
    ]
    own = [float(one.cells.max(where=one.judged, initial=-np.inf)) for one in frames]
    joined = lay(frames, overlap)
    assert joined.score <= max(own) + 1e-4
    assert joined.score == pytest.approx(float(joined.cells.max()), abs=1e-5)
    if overlap == "max":
        assert joined.scores == tuple(own)


def test_cells_that_are_not_judged_have_no_say():
    """An excluded area hides nothing of another frame and marks nothing itself."""
    judged = np.ones(SHAPE, np.bool_)
    judged[2, 3] = False
    hidden = Laid(blob((2, 3), value=50), judged)
    for overlap in ("max", "mean"):
        assert lay([hidden, laid(blob((2, 3), value=4))], overlap).cells[2, 3] == 4
        assert lay([hidden], overlap).score == 1
        assert lay([hidden], overlap).cells[2, 3] == -np.inf


def test_map_that_lies_beside_what_it_shows_gives_boxes_where_that_is():
    """The bundle's measured shift is taken off."""
    [found] = defects(lay([laid(blob((2, 3)))], "max"), (1,), shift=(1.0, 0.5))
    assert found.box_px == (50, 10, 70, 20)


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ([], "one or more"),
        ([laid(blob()), laid(np.ones((6, 8)))], "of the same"),
        ([laid(blob()), laid(blob(), right=1e7, down=1e7)], "step"),
    ],
)
def test_what_makes_no_part_is_refused(frames: list[Laid], match: str):
    """With the cause."""
    with pytest.raises(ConfigError, match=match):
        lay(frames, "mean")
