"""Seals small bundles that judge by redness, for the station's tests; no trainer needed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops
from PIL import Image
from safetensors.numpy import save_file

from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.decision import Band, ScoreRule
from inspection.core.geometry import Geometry
from inspection.core.records import (
    Card,
    Certificate,
    GateRecord,
    Interval,
    Latency,
    Origin,
    write_record,
)
from inspection.core.settings import ExportConfig

ORIGIN = Origin(
    created_at=datetime(2025, 3, 1, tzinfo=UTC), git_revision="none", machine="test", versions={}
)


def write_graph(path: Path, gain: float = 1) -> None:
    """Write a graph whose map is the red value, 0 to 1, of each 8×8 block of a 32×64 part."""
    part = ops.parameter([1, 32, 64, 3], np.uint8)
    red = ops.gather(ops.convert(part, "f32"), np.int64([0]), np.int64(3))
    planes = ops.transpose(ops.multiply(red, np.float32(gain / 255)), np.int64([0, 3, 1, 2]))
    pooled = ops.avg_pool(planes, [8, 8], [0, 0], [0, 0], [8, 8], exclude_pad=True)
    openvino.save_model(openvino.Model([pooled], [part]), path, compress_to_fp16=False)


def make_bundle(
    folder: Path,
    *,
    gated: bool = True,
    golden_red: int = 51,
    gain: float = 1,
    day: int = 0,
    name: str = "redness",
) -> Path:
    """Seal a bundle that judges by redness times `gain`, made on that day, and gate it."""
    (folder / "golden").mkdir(parents=True)
    write_graph(folder / "model.xml", gain)
    Image.new("RGB", (64, 32), (golden_red, 0, 0)).save(folder / "golden" / "00.png")
    expected = np.full((4, 8), 0.2 * gain, np.float32)
    save_file({"00": expected}, folder / "golden" / "maps.safetensors")
    created_at = ORIGIN.created_at + timedelta(days=day)
    card = Card(
        name=name,
        run_sha256="0" * 64,
        manifest_sha256="0" * 64,
        model="redness",
        precision="fp32",
        graph_note="by hand",
        geometry=Geometry(height_px=32, width_px=64),
        score=ScoreRule(smooth_sigma=0),
        band=Band(review_above=0.5, reject_above=0.8),
        certificate=Certificate(normals=99, rank=99, target=0.01, mean=0.01, bound95=0.03),
        calibrate_scores=(0.1, 0.2),
        weights=(),
        origin=ORIGIN.model_copy(update={"created_at": created_at}),
        export=ExportConfig(),
        golden=("00",),
    )
    write_record(folder / "card.json", card)
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
