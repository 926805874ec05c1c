"""Sealed detectors by hand: cells of 16 px that are green are pores, blue ones are cracks."""

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops

from inspection.bench.redness import ORIGIN
from inspection.bundles.seal import seal_bundle
from inspection.core.records import Weights, write_record
from inspection.detectors.decoding import Limits
from inspection.detectors.detector import CARD, GRAPH, PIXELS, DetectorCard
from inspection.detectors.layout import Layout

HEIGHT_PX, WIDTH_PX, CELL_PX = 64, 128, 16
TYPES = ("pore", "crack")
LEAST_SCORE = 0.25
PLAIN = {"boxes": {"output": "boxes", "form": "xyxy"}, "scores": {"output": "scores"}}
DRAWN = PLAIN | {"masks": {"output": "masks", "kind": "roi", "activation": "none"}}


def model(*, masks: bool) -> openvino.Model:
    """Score each cell of a 64×128 input by the mean of its green, and of its blue, 0 to 1."""
    part = ops.parameter([1, HEIGHT_PX, WIDTH_PX, 3], np.uint8)
    part.output(0).set_names({PIXELS})
    colours = ops.gather(ops.convert(part, "f32"), np.array([1, 2]), np.array(3))
    planes = ops.transpose(ops.multiply(colours, np.float32(1 / 255)), np.array([0, 3, 1, 2]))
    cell = [CELL_PX, CELL_PX]
    pooled = ops.avg_pool(planes, cell, [0, 0], [0, 0], cell, exclude_pad=True)
    rows = ops.transpose(pooled, np.array([0, 2, 3, 1]))
    listed = ops.reshape(rows, np.array([1, -1, 2]), special_zero=False)
    y, x = np.mgrid[: HEIGHT_PX // CELL_PX, : WIDTH_PX // CELL_PX].reshape(2, -1)
    corners = np.stack([x, y, x + 1, y + 1], axis=1).astype(np.float32) * CELL_PX
    nothing = ops.multiply(ops.reduce_mean(planes, np.array([0, 1, 2, 3])), np.float32(0))
    outputs = {"boxes": ops.add(ops.constant(corners[None]), nothing), "scores": listed}
    if masks:
        full = np.ones((len(corners), 8, 8), np.float32)
        outputs["masks"] = ops.add(ops.constant(full), nothing)
    for name, node in outputs.items():
        node.output(0).set_names({name})
    return openvino.Model([ops.result(one) for one in outputs.values()], [part], "cells")


def make_detector(folder: Path, *, masks: bool = True, least_score: float = LEAST_SCORE) -> Path:
    """Seal a detector of green and blue cells, with or without masks."""
    folder.mkdir(parents=True)
    openvino.save_model(model(masks=masks), folder / GRAPH, compress_to_fp16=False)
    card = DetectorCard(
        name="cells",
        types=TYPES,
        layout=Layout.model_validate({**(DRAWN if masks else PLAIN), "suppressed": False}),
        input_hw=(HEIGHT_PX, WIDTH_PX),
        precision="fp32",
        weights=Weights(name="by hand", source="file", sha256="0" * 64),
        limits=Limits(least_score=least_score),
        parity=None,
        origin=ORIGIN,
    )
    write_record(folder / CARD, card)
    seal_bundle(folder)
    return folder
