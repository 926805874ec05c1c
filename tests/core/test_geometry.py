"""From a part to tiles and back: what lies somewhere on the part lies there on the map."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspection.core.geometry import (
    Geometry,
    Roi,
    assemble,
    content_size,
    judged_area,
    judged_tile_cells,
    prepare,
    roi_px,
)
from inspection.core.imaging import resize

pytestmark = pytest.mark.fast

CELL_PX = 4  # of the model's input, as a stand-in model pools
LEFT_TOP = ((0.0, 0.0), (0.37, 0.0), (0.37, 0.43), (0.0, 0.43))
ROIS = (
    Roi(),
    Roi(top=0.25, left=0.125),
    Roi(top=0.1, bottom=0.83, left=0.31, right=0.9),
)

geometries = st.builds(
    Geometry,
    height_px=st.sampled_from([32, 48, 64]),
    width_px=st.sampled_from([32, 40, 96]),
    aspect=st.sampled_from(["stretch", "pad"]),
    tile_rows=st.integers(1, 3),
    tile_columns=st.integers(1, 4),
    tile_overlap=st.sampled_from([0.0, 0.125, 0.3, 0.5]),
    roi=st.sampled_from(ROIS),
)
parts_hw = st.tuples(st.integers(48, 160), st.integers(48, 240)).filter(lambda hw: hw[0] != hw[1])


def _pooled(tiles):
    """Stand in for a model: the mean of each cell of 4×4 px, float32 (tiles, h, w)."""
    count, height, width, _ = tiles.shape
    cells = tiles.reshape(count, height // CELL_PX, CELL_PX, width // CELL_PX, CELL_PX, 3)
    return cells.mean(axis=(2, 4, 5)).astype(np.float32)


def _map_of(part, geometry):
    return assemble(_pooled(prepare(part, geometry)), geometry, *part.shape[:2])


@given(geometry=geometries, hw=parts_hw, place=st.tuples(st.floats(0.05, 0.95), st.floats(0, 1)))
@settings(max_examples=200, deadline=None)
def test_bright_spot_comes_back_where_it_was(geometry, hw, place):
    """Through ROI, tiles, overlap, padding and resize a spot's place is right to 1.5 cells."""
    top, left, bottom, right = roi_px(geometry.roi, *hw)
    y = top + place[0] * (bottom - top - 1)
    x = left + (0.05 + 0.9 * place[1]) * (right - left - 1)
    radius = max(hw) / 16
    part = np.zeros((*hw, 3), np.uint8)
    rows, columns = np.ogrid[: hw[0], : hw[1]]
    part[(abs(rows - y) <= radius) & (abs(columns - x) <= radius)] = 255
    found = _map_of(part, geometry)
    row, column = np.unravel_index(found.argmax(), found.shape)
    cell_h, cell_w = (bottom - top) / found.shape[0], (right - left) / found.shape[1]
    assert abs(top + (row + 0.5) * cell_h - y) <= radius + 1.5 * cell_h
    assert abs(left + (column + 0.5) * cell_w - x) <= radius + 1.5 * cell_w


@given(geometry=geometries, hw=parts_hw)
@settings(max_examples=100, deadline=None)
def test_every_part_gives_the_same_number_of_inputs_of_the_models_size(geometry, hw):
    """Tiles are rows × columns of them, height before width, uint8, whatever the part's size."""
    tiles = prepare(np.zeros((*hw, 3), np.uint8), geometry)
    assert tiles.shape == (geometry.tiles, geometry.height_px, geometry.width_px, 3)
    assert tiles.dtype == np.uint8


@given(geometry=geometries, hw=parts_hw)
@settings(max_examples=100, deadline=None)
def test_no_pixel_of_the_roi_is_left_out_of_the_tiles(geometry, hw):
    """A part of one colour gives a map of that colour: no gap between tiles, none at an edge."""
    found = _map_of(np.full((*hw, 3), 77, np.uint8), geometry)
    assert (found == 77).all()


@given(geometry=geometries, hw=parts_hw, place=st.floats(0, 1), down=st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_row_and_column_of_the_roi_is_in_some_tile(geometry, hw, place, down):
    """A single bright line of one px anywhere in the ROI reaches the model."""
    top, left, bottom, right = roi_px(geometry.roi, *hw)
    part = np.zeros((*hw, 3), np.uint8)
    if down:
        part[:, left + int(place * (right - left - 1))] = 255
    else:
        part[top + int(place * (bottom - top - 1))] = 255
    kept_aspect = geometry.model_copy(update={"aspect": "pad"})
    assert prepare(part, kept_aspect).any()


@given(geometry=geometries, hw=parts_hw)
@settings(max_examples=100, deadline=None)
def test_cells_judged_per_tile_are_those_judged_on_the_map(geometry, hw):
    """What the bank learns and what the score reads agree but for cells on a polygon's edge."""
    rows, columns = geometry.height_px // CELL_PX, geometry.width_px // CELL_PX
    outside = geometry.model_copy(update={"exclude": (LEFT_TOP,)})
    cells = judged_tile_cells(outside, rows, columns, hw)
    assert cells.shape == (geometry.tiles, rows, columns)
    joined = assemble(cells.astype(np.float32), geometry, *hw)
    roi, (height, width) = geometry.roi, joined.shape
    cell_h, cell_w = (roi.bottom - roi.top) / height, (roi.right - roi.left) / width
    y = (roi.top + (np.arange(height) + 0.5) * cell_h)[:, None]
    x = (roi.left + (np.arange(width) + 0.5) * cell_w)[None, :]
    right, bottom = LEFT_TOP[2]
    clearly_in = (y > bottom + 1.5 * cell_h) | (x > right + 1.5 * cell_w)
    clearly_out = (y < bottom - 1.5 * cell_h) & (x < right - 1.5 * cell_w)
    assert joined[clearly_in].all()
    assert not joined[clearly_out].any()
    assert judged_area(joined.shape, outside)[clearly_in].all()
    assert not judged_area(joined.shape, outside)[clearly_out].any()


def test_untiled_cells_agree_exactly():
    """Without tiles, padding or rounding both functions judge the very same cells."""
    geometry = Geometry(
        roi=ROIS[1], include=(((0.1, 0.2), (0.9, 0.3), (0.7, 0.95)),), exclude=(LEFT_TOP,)
    )
    cells = judged_tile_cells(geometry, 32, 32, (64, 96))
    assert np.array_equal(cells[0], judged_area((32, 32), geometry))
    assert 0 < cells.sum() < cells.size


def test_include_and_exclude_polygons_are_fractions_of_the_whole_part():
    """The x axis runs along the width and y down the height, also within a ROI."""
    geometry = Geometry(include=(((0, 0), (0.5, 0), (0.5, 1), (0, 1)),), exclude=(LEFT_TOP,))
    judged = judged_area((10, 20), geometry)
    assert np.array_equal(np.flatnonzero(judged.any(axis=0)), range(10))
    assert not judged[:4, :7].any()
    assert judged[4:, :10].all()
    lower = geometry.model_copy(update={"roi": Roi(top=0.5)})
    assert np.array_equal(judged_area((5, 20), lower), judged[5:])


def test_padding_is_never_judged():
    """Cells that only show mirrored padding enter neither the bank nor the map."""
    geometry = Geometry(height_px=64, width_px=64, aspect="pad")
    assert content_size(50, 100, 64, 64) == (32, 64)
    cells = judged_tile_cells(geometry, 16, 16, (50, 100))
    assert cells[0, :8].all()
    assert not cells[0, 8:].any()
    maps = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    assert np.array_equal(assemble(maps, geometry, 50, 100), maps[0, :8])


def test_padding_mirrors_the_part():
    """Padding continues the part by mirror, so that its border is no edge to the model."""
    part = np.random.default_rng(0).integers(0, 256, (32, 64, 3)).astype(np.uint8)
    (tile,) = prepare(part, Geometry(height_px=48, width_px=64, aspect="pad"))
    assert np.array_equal(tile[:32], part)
    assert np.array_equal(tile[32:], part[30:14:-1])


def test_swapped_height_and_width_are_seen():
    """A map assembled for a part with its sides swapped has another shape."""
    geometry = Geometry(height_px=64, width_px=64, aspect="pad")
    maps = np.zeros((1, 16, 16), np.float32)
    assert assemble(maps, geometry, 60, 120).shape == (8, 16)
    assert assemble(maps, geometry, 120, 60).shape == (16, 8)


def test_tiles_come_row_by_row_and_overlap():
    """Two rows of three tiles, half overlapping: the order and the pixels are known exactly."""
    part = np.zeros((48, 64, 3), np.uint8)
    part[..., 0], part[..., 1] = np.arange(48)[:, None], np.arange(64)
    geometry = Geometry(height_px=32, width_px=32, tile_rows=2, tile_columns=3, tile_overlap=0.5)
    tiles = prepare(part, geometry)
    corners = [tuple(int(value) for value in tile[0, 0, :2]) for tile in tiles]
    assert corners == [(0, 0), (0, 16), (0, 32), (16, 0), (16, 16), (16, 32)]


def test_overlapping_tiles_keep_the_larger_value():
    """Where tiles overlap the worse of both is kept, so that no tile hides another's defect."""
    geometry = Geometry(height_px=32, width_px=32, tile_columns=2, tile_overlap=0.5)
    maps = np.zeros((2, 4, 4), np.float32)
    maps[0, 1, 3], maps[1, 1, 1] = 2, 5  # the same cell of the map, seen by both
    maps[1, 2, 0] = 7
    maps[0, 3, 2], maps[1, 3, 0] = 9, 1
    joined = assemble(maps, geometry, 40, 90)
    assert joined.shape == (4, 6)
    assert (joined[1, 3], joined[2, 2], joined[3, 2], joined.sum()) == (5, 7, 9, 21)


def test_scores_below_zero_survive_tiles_and_excluded_areas():
    """A model with negative scores is judged alike: no tile and no exclusion lifts it to zero."""
    geometry = Geometry(tile_columns=2, tile_overlap=0.5, exclude=(LEFT_TOP,))
    maps = np.full((2, 4, 4), -3, np.float32)
    maps[1, 3, 3] = -1
    joined = assemble(maps, geometry, 40, 90)
    assert joined[3, 5] == -1
    assert sorted(np.unique(joined).tolist()) == [-3, -1]


def test_excluded_cells_are_zero_and_forget_what_they_held():
    """An excluded cell is 0 whatever the model said there, NaN included; a judged NaN stays."""
    geometry = Geometry(exclude=(LEFT_TOP,))
    maps = np.ones((1, 10, 20), np.float32)
    maps[0, 1, 1] = np.nan
    assert np.array_equal(assemble(maps, geometry, 40, 90) == 0, ~judged_area((10, 20), geometry))
    maps[0, 9, 9] = np.nan
    assert np.isnan(assemble(maps, geometry, 40, 90)[9, 9])


def test_part_without_any_judged_cell_gives_an_empty_map_of_zeros():
    """Excluding the whole part leaves zeros, not an error; the score then is a FAULT."""
    geometry = Geometry(exclude=(((0, 0), (1, 0), (1, 1), (0, 1)),))
    maps = np.full((1, 4, 6), -5, np.float32)
    assert np.array_equal(assemble(maps, geometry, 40, 90), np.zeros((4, 6), np.float32))


@pytest.mark.parametrize(
    ("roi", "expected"),
    [
        (Roi(), (0, 0, 60, 101)),
        (Roi(top=0.5, right=0.5), (30, 0, 60, 51)),
        (Roi(top=0.999, left=0.999), (59, 100, 60, 101)),
        (Roi(bottom=0.001, right=0.001), (0, 0, 1, 1)),
    ],
    ids=["whole", "quarter", "last pixel", "first pixel"],
)
def test_roi_is_rounded_outwards_and_never_empty(roi, expected):
    """The ROI in px holds every pixel it touches, at least one."""
    assert roi_px(roi, 60, 101) == expected


@pytest.mark.parametrize(
    "hw",
    [
        (40, 150),
        (20, 24),
        (20, 150),
    ],
    ids=["both sides shrink", "both sides grow", "one side grows"],
)
def test_no_column_is_lost_by_resizing(hw):
    """A scratch of one px is seen by the model wherever it runs."""
    for column in range(hw[1]):
        part = np.zeros((*hw, 3), np.uint8)
        part[:, column] = 255
        assert resize(part, 32, 32).any()


@pytest.mark.parametrize("threads", [1, 2])
def test_resize_does_not_depend_on_threads(threads):
    """The same pixels give the same bytes with one thread and with two."""
    part = np.random.default_rng(0).integers(0, 256, (301, 457, 3)).astype(np.uint8)
    before = cv2.getNumThreads()
    expected = resize(part, 64, 96)
    try:
        cv2.setNumThreads(threads)
        assert np.array_equal(resize(part.copy(), 64, 96), expected)
    finally:
        cv2.setNumThreads(before)


def test_all_defaults_stretch_the_whole_part_to_256():
    """Geometry() is one 256×256 tile of the whole part."""
    part = np.random.default_rng(0).integers(0, 256, (100, 180, 3)).astype(np.uint8)
    (tile,) = prepare(part, Geometry())
    expected = cv2.resize(part, (256, 256), interpolation=cv2.INTER_AREA)
    assert np.array_equal(tile, expected)
    assert judged_area((32, 32), Geometry()).all()
