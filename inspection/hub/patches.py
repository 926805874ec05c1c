"""Finds the patch of a bundle's golden normals that is most like a suspicious one.

A bank's graph gives distances only. Cut off before its search it gives the vectors that are
compared, so the likeness shown is the one that judged.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops

from inspection.bundles.bundle import GRAPH, Bundle, open_graph
from inspection.bundles.graph import Compiling, Graph
from inspection.core.geometry import assemble, judged_area
from inspection.core.heat import Heat, heat_of_frame
from inspection.core.imaging import Rgb

POOLED = "pooled."  # export names the maps its search begins with so
PATCH_CELLS = 6  # side of what is shown: a cell's features see about as much
Vectors = NDArray[np.float32]  # (h, w, d): of each cell of a part's map


@dataclass(frozen=True)
class _Normal:
    """A golden frame's vectors, and which of them count."""

    name: str
    vectors: Vectors
    judged: NDArray[np.bool_]  # (h, w)


class Likest(NamedTuple):
    """The most alike patch among the normals."""

    patch: Rgb
    distance: float
    """Euclidean, of the vectors."""


class Patches:
    """Compares patches of parts with a bundle's golden normals; for several threads at once."""

    def __init__(self, bundle: Bundle, graph: Graph) -> None:
        self._bundle, self._graph = bundle, graph
        self._normals = [self._normal(name) for name in bundle.card.golden]

    def likest(self, pixels: Rgb, cell: tuple[int, int]) -> Likest:
        """Give the normal patch most like one of a part.

        Args:
            pixels: uint8 H×W×3 RGB, the part as it was judged.
            cell: row and column of its map.
        """
        wanted = self._vectors(pixels)[cell]
        found = [_nearest(normal, wanted) for normal in self._normals]
        best = min(range(len(found)), key=lambda place: found[place][0])
        distance, where = found[best]
        normal = self._normals[best]
        shown = self._load(normal.name)
        size_hw = shown.shape[0], shown.shape[1]
        cells = np.zeros(normal.judged.shape, np.float32)
        heat = heat_of_frame(cells, self._bundle.card.geometry, size_hw)
        return Likest(cut_patch(shown, heat, where), distance)

    def _normal(self, name: str) -> _Normal:
        vectors = self._vectors(self._load(name))
        return _Normal(name, vectors, judged_area(vectors.shape, self._bundle.card.geometry))

    def _load(self, name: str) -> Rgb:
        return self._bundle.golden_frame(name)

    def _vectors(self, pixels: Rgb) -> Vectors:
        tiles = np.stack([self._graph(tile) for tile in self._bundle.prepare(pixels)])
        count, depth, rows, columns = tiles.shape
        numbers = np.arange(count * rows * columns, dtype=np.float32)  # exact up to 2**24
        laid = assemble(
            numbers.reshape(count, rows, columns),
            self._bundle.card.geometry,
            *pixels.shape[:2],
        )
        flat = tiles.transpose(0, 2, 3, 1).reshape(-1, depth)
        return np.asarray(flat[laid.astype(np.intp)])


def open_patches(bundle: Bundle, compiling: Compiling) -> Patches | None:
    """Open what compares patches; none for a model that compares with no bank.

    Raises:
        BundleUnavailable: OpenVINO cannot load or run it now.
        ImageError: a golden frame is damaged.
    """
    model = open_graph(bundle.sealed, GRAPH)
    vectors = _before_search(model)
    return None if vectors is None else Patches(bundle, Graph(vectors, compiling))


def cut_patch(pixels: Rgb, heat: Heat, cell: tuple[int, int]) -> Rgb:
    """Cut out what a cell of a map shows and what lies around it, as far as the picture goes.

    Args:
        pixels: uint8 H×W×3 RGB.
        heat: a map laid on them.
        cell: row and column of it.
    """
    x, y = centre_xy(heat, cell)
    side = max(8, round(PATCH_CELLS * heat.cell_px))
    height, width = pixels.shape[:2]
    top = max(0, min(round(y - side / 2), height - side))
    left = max(0, min(round(x - side / 2), width - side))
    return pixels[top : top + side, left : left + side]


def centre_xy(heat: Heat, cell: tuple[int, int]) -> tuple[float, float]:
    """Give the middle of what a cell, row and column, shows, px of the frame."""
    row, column = cell
    x0, y0, x1, y1 = heat.px((column, row, column + 1, row + 1))
    return (x0 + x1) / 2, (y0 + y1) / 2


def _before_search(model: openvino.Model) -> openvino.Model | None:
    """Cut a bank's graph off before its search; none of a graph that has no bank.

    The lengths of a query are the first thing the search takes of all its layers, weighted,
    centred and brought to the map's size.
    """
    operations = model.get_ordered_ops()
    names = (name for one in operations for port in one.outputs() for name in port.get_names())
    if not any(name.startswith(POOLED) for name in names):
        return None
    size = list(model.output(0).shape)  # (1, 1, h, w)
    layers = [
        one.input_value(0)
        for one in operations
        if one.get_type_name() == "ReduceL2" and list(one.output(0).shape) == size
    ]
    joined = ops.concat(layers, 1) if len(layers) > 1 else layers[0]
    return openvino.Model([ops.result(joined)], model.get_parameters(), "patches")


def _nearest(normal: _Normal, wanted: NDArray[np.float32]) -> tuple[float, tuple[int, int]]:
    """Give the least distance of a normal's judged cells to a vector (d,), and where it is."""
    distances = np.linalg.norm(normal.vectors - wanted, axis=2)
    distances[~normal.judged] = np.inf
    row, column = divmod(int(np.argmin(distances)), distances.shape[1])
    return float(distances[row, column]), (row, column)
