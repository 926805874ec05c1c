"""A small real bundle, sealed by a key of its own: its graph gives the grey level of each cell."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops
from PIL import Image

from inspection.bundles.bundle import CARD, GOLDEN, GRAPH, MAPS, map_part
from inspection.bundles.graph import Graph
from inspection.bundles.saving import save_arrays
from inspection.bundles.seal import SIGNATURE, SUMS, seal_bundle, verify_bundle, write_gate
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.core.decision import Band, ScoreRule
from inspection.core.gate import GateRecord, Latency
from inspection.core.geometry import Geometry
from inspection.core.records import Card, Certificate, Interval, Origin, Weights, write_record
from inspection.core.settings import ExportConfig

GEOMETRY = Geometry(height_px=32, width_px=48, tile_columns=2)
ORIGIN = Origin(
    created_at=datetime(2025, 3, 1, tzinfo=UTC),
    git_revision="unknown",
    machine="Some Processor, 2 cores",
    versions={},
)
GOLDEN_HW = (60, 130)


def grey_graph(height: int, width: int, cell: int = 8) -> openvino.Model:
    """uint8 1×H×W×3 → float32 1×1×h×w: mean grey of each cell, [0, 1]."""
    pixels = ops.parameter([1, height, width, 3], openvino.Type.u8, "pixels")
    grey = ops.reduce_mean(ops.convert(pixels, np.float32), [3], keep_dims=False)
    planes = ops.reshape(grey, np.array([1, 1, height, width]), special_zero=False)
    pooled = ops.avg_pool(planes, [cell, cell], [0, 0], [0, 0], [cell, cell], exclude_pad=True)
    return openvino.Model([ops.multiply(pooled, np.float32(1 / 255))], [pixels], "grey")


def make_card(**changes: object) -> Card:
    """REVIEW above 0.5, REJECT above 0.8, two golden frames."""
    values = {
        "name": "grey parts",
        "run_sha256": "a1" * 32,
        "manifest_sha256": "b2" * 32,
        "model": "grey",
        "precision": "FP32",
        "graph_note": "made for a test",
        "geometry": GEOMETRY,
        "score": ScoreRule(smooth_sigma=0),
        "band": Band(review_above=0.5, reject_above=0.8),
        "certificate": Certificate(normals=99, rank=99, target=0.01, mean=0.01, bound95=0.03),
        "calibrate_scores": (0.0, 0.1, 0.5),
        "weights": (Weights(name="none", source="file", sha256="c3" * 32),),
        "origin": ORIGIN,
        "export": ExportConfig(),
        "golden": ("00", "01"),
    }
    return Card.model_validate(values | changes)


def make_gate(bundle_id: str, **changes: object) -> GateRecord:
    """A gate's record that passed."""
    sure = Interval(value=1, low=1, high=1)
    latency = Latency(p50_ms=1, p95_ms=1, p99_ms=1)
    values = {
        "bundle_id": bundle_id,
        "passed": True,
        "refusals": (),
        "evidence": "test defects",
        "goods": "test",
        "test_manifest_sha256": "b2" * 32,
        "feature_correlations": {},
        "map_correlation": 1,
        "score_correlation": 1,
        "verdict_flips": 0,
        "auroc": sure,
        "reference_auroc": sure,
        "auroc_drop": sure,
        "aupro": None,
        "pixel_auroc": None,
        "recall": sure,
        "recall_by_defect": {},
        "false_reject_rate": sure,
        "latency": latency,
        "reference_latency": latency,
        "origin": ORIGIN,
        "rows": (),
    }
    return GateRecord.model_validate(values | changes)


def seal_again(folder: Path) -> None:
    """Seal a changed bundle anew, as an attacker with this key or a faulty export would."""
    (folder / SUMS).unlink(missing_ok=True)
    (folder / SIGNATURE).unlink(missing_ok=True)
    seal_bundle(folder)


def pass_gate(folder: Path) -> None:
    """Let a bundle have passed its gate."""
    write_gate(folder, make_gate(verify_bundle(folder)))


def bright(hw: tuple[int, int] = (64, 96), level: int = 255) -> np.ndarray:
    """A black part with one bright square of 32 px in its lower right corner."""
    part = np.zeros((*hw, 3), np.uint8)
    part[-32:, -32:] = level
    return part


@pytest.fixture(scope="session")
def _sealed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed") / "bundle"
    (folder / GOLDEN).mkdir(parents=True)
    openvino.save_model(grey_graph(32, 48), folder / GRAPH, compress_to_fp16=False)
    graph, maps = Graph(folder / GRAPH), {}
    for seed, name in enumerate(make_card().golden):
        part = np.random.default_rng(seed).integers(0, 200, (*GOLDEN_HW, 3)).astype(np.uint8)
        Image.fromarray(part).save(folder / GOLDEN / f"{name}.png")
        maps[name] = map_part(graph, part, GEOMETRY)
    save_arrays(maps, folder / GOLDEN / MAPS)
    write_record(folder / CARD, make_card())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEYS_VARIABLE, str(folder.parent / "keys"))
        seal_bundle(folder)
        pass_gate(folder)
    return folder


@pytest.fixture
def bundle(_sealed_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed bundle that passed its gate, to be spoilt; its key is this machine's."""
    monkeypatch.setenv(KEYS_VARIABLE, str(_sealed_once.parent / "keys"))
    return shutil.copytree(_sealed_once, tmp_path / "bundles" / "grey")
