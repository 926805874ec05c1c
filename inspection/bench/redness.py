"""Makes bundles and parts by hand: a bundle judges by redness, so no trainer is needed.

What is measured with them is the station: such a graph takes microseconds, yet everything about the
bundle is real, its seal, gate record, golden frame and OpenVINO.
"""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops
from PIL import Image

from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, MAPS
from inspection.bundles.saving import save_arrays
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.decision import Band, ScoreRule
from inspection.core.gate import GateRecord, Latency
from inspection.core.geometry import Geometry
from inspection.core.imaging import Rgb
from inspection.core.records import Card, Certificate, Interval, Origin, write_record
from inspection.core.settings import ExportConfig

ORIGIN = Origin(
    created_at=datetime(2025, 3, 1, tzinfo=UTC), git_revision="none", machine="none", versions={}
)
BAND = Band(review_above=0.5, reject_above=0.8)
HEIGHT_PX, WIDTH_PX, CELL_PX = 32, 64, 8
GOLDEN_RED = 51


def write_graph(path: Path, gain: float = 1) -> None:
    """Write a graph whose map is the red value, 0 to 1, of each 8×8 block of a 32×64 part."""
    part = ops.parameter([1, HEIGHT_PX, WIDTH_PX, 3], np.uint8)
    red = ops.gather(ops.convert(part, "f32"), np.array([0]), np.array(3))
    planes = ops.transpose(red, np.array([0, 3, 1, 2]))
    cell = [CELL_PX, CELL_PX]
    pooled = ops.avg_pool(planes, cell, [0, 0], [0, 0], cell, exclude_pad=True)
    # One weight for each cell: of so many OpenVINO makes no copy of its own.
    weights = np.full((1, 1, HEIGHT_PX // CELL_PX, WIDTH_PX // CELL_PX), gain / 255, np.float32)
    scores = ops.multiply(pooled, ops.constant(weights))
    openvino.save_model(openvino.Model([scores], [part]), path, compress_to_fp16=False)


def make_bundle(
    folder: Path,
    *,
    gated: bool = True,
    golden_red: int = GOLDEN_RED,
    gain: float = 1,
    day: int = 0,
    name: str = "redness",
) -> Path:
    """Seal a bundle that judges by redness times `gain`, made on that day, and gate it.

    Args:
        folder: where it goes.
        gated: put it to its gate, which it passes.
        golden_red: red value of the golden frame, 0 to 255; only 51 gives the map that is expected.
        gain: what the score is multiplied by.
        day: days after the first one, for a newer bundle.
        name: stands on its card.
    """
    golden = folder / GOLDEN
    golden.mkdir(parents=True)
    write_graph(folder / GRAPH, gain)
    Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (golden_red, 0, 0)).save(golden / "00.png")
    map_hw = HEIGHT_PX // CELL_PX, WIDTH_PX // CELL_PX
    expected = np.full(map_hw, GOLDEN_RED / 255 * gain, np.float32)
    save_arrays({"00": expected}, golden / MAPS)
    created_at = ORIGIN.created_at + timedelta(days=day)
    card = Card(
        name=name,
        run_sha256="0" * 64,
        manifest_sha256="0" * 64,
        model="redness",
        precision="fp32",
        graph_note="by hand",
        geometry=Geometry(height_px=HEIGHT_PX, width_px=WIDTH_PX),
        score=ScoreRule(smooth_sigma=0),
        band=BAND,
        certificate=Certificate(normals=99, rank=99, target=0.01, mean=0.01, bound95=0.03),
        calibrate_scores=(0.0, 0.1, 0.5),
        weights=(),
        origin=ORIGIN.model_copy(update={"created_at": created_at}),
        export=ExportConfig(),
        golden=("00",),
    )
    write_record(folder / CARD, card)
    seal_bundle(folder)
    if gated:
        write_gate(folder, gate_of(verify_bundle(folder)))
    return folder


def gate_of(bundle_id: str, *, passed: bool = True) -> GateRecord:
    """Make the record of a gate that was passed, or not."""
    sure, latency = Interval(value=1, low=1, high=1), Latency(p50_ms=1, p95_ms=1, p99_ms=1)
    return GateRecord(
        bundle_id=bundle_id,
        passed=passed,
        refusals=() if passed else ("recall 0.2 [0.1, 0.3]; wanted at least 0.9",),
        evidence="test defects",
        goods="test",
        test_manifest_sha256="0" * 64,
        feature_correlations={},
        map_correlation=1,
        score_correlation=1,
        verdict_flips=0,
        auroc=sure,
        reference_auroc=sure,
        auroc_drop=sure,
        aupro=None,
        pixel_auroc=None,
        recall=sure,
        recall_by_defect={},
        false_reject_rate=sure,
        latency=latency,
        reference_latency=latency,
        origin=ORIGIN,
        rows=(),
    )


def make_part(number: int) -> Rgb:
    """Give the uint8 (32, 64, 3) pixels of a part; all verdicts come in turn, none is alike."""
    colour = (number * 37 % 256, number // 256 % 256, number // 65_536 % 256)
    return np.broadcast_to(np.array(colour, np.uint8), (HEIGHT_PX, WIDTH_PX, 3)).copy()


def encode_part(number: int) -> tuple[str, bytes]:
    """Give the file name of a part and its bytes, JPEG and PNG in turn."""
    kind, suffix = ("JPEG", ".jpg") if number % 2 else ("PNG", ".png")
    stream = io.BytesIO()
    Image.fromarray(make_part(number)).save(stream, kind, quality=95)
    return f"{number:07d}{suffix}", stream.getvalue()
