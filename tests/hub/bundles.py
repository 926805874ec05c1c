"""Bundles and parts for the hub's tests: a bundle with a bank, as PatchCore exports it."""

import io
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops
from PIL import Image

from inspection.bench.redness import (
    CELL_PX,
    HEIGHT_PX,
    WIDTH_PX,
    gate_of,
    make_bundle,
)
from inspection.bundles.bundle import GOLDEN, GRAPH
from inspection.bundles.saving import save_graph
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.imaging import Rgb
from inspection.export.graph import Search, add_embedding, add_search

WEIGHT = 2.0
GREENS = tuple(range(10, 250, 30))  # of the golden frame's stripes, one per column of cells


def golden_part() -> Rgb:
    """Give a normal: stripes of green, each a cell wide."""
    part = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    part[:, :, 1] = np.repeat(np.array(GREENS, np.uint8), CELL_PX)
    return part


def spoilt_part(row: int, column: int, like: int) -> Rgb:
    """Give the normal with one cell that is red, and else like the stripe of another column."""
    part = golden_part()
    cell = np.s_[row * CELL_PX : (row + 1) * CELL_PX, column * CELL_PX : (column + 1) * CELL_PX]
    part[cell] = (255, GREENS[like], 0)
    return part


def make_bank_bundle(folder: Path, name: str = "bank") -> Path:
    """Seal a bundle that compares colours of 8×8 cells, times 2, with those of its golden frame."""
    make_bundle(folder, gated=False, name=name)
    embedding = add_embedding(_colours(), _SEARCH)
    bank = np.zeros((len(GREENS), 6), np.float32)
    bank[:, 1] = np.array(GREENS) / 255 * WEIGHT
    save_graph(add_search(embedding, bank, _SEARCH), folder / GRAPH)
    Image.fromarray(golden_part()).save(folder / GOLDEN / "00.png")
    seal_bundle(folder)
    write_gate(folder, gate_of(verify_bundle(folder)))
    return folder


def encode(pixels: Rgb, kind: str = "PNG") -> bytes:
    """Encode uint8 RGB or grey."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def red_part(red: int) -> bytes:
    """Give the PNG of a part whose score by redness is `red` / 255."""
    return encode(np.full((HEIGHT_PX, WIDTH_PX, 3), (red, 0, 0), np.uint8))


_SEARCH = Search(pool=1, layer_weights=(WEIGHT, 0.0), coarse=0, dimensions=0, refine=1, int8=False)


def _colours() -> openvino.Model:
    """Give a graph of two layers: mean colours of cells, 0 to 1, and of four of them."""
    part = ops.parameter([1, HEIGHT_PX, WIDTH_PX, 3], np.uint8, name="pixels")
    scaled = ops.multiply(ops.convert(part, "f32"), np.float32(1 / 255))
    planes = ops.transpose(scaled, np.array([0, 3, 1, 2]))
    outputs = []
    for name, side in (("feature.fine", CELL_PX), ("feature.coarse", 2 * CELL_PX)):
        cell = [side, side]
        pooled = ops.avg_pool(planes, cell, [0, 0], [0, 0], cell, exclude_pad=True)
        pooled.output(0).get_tensor().set_names({name})
        outputs.append(ops.result(pooled))
    return openvino.Model(outputs, [part], "features")
