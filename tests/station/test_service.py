import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops
from PIL import Image
from safetensors.numpy import save_file

from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.decision import Band, ScoreRule
from inspection.core.errors import BundleError, GateRefused, StationError
from inspection.core.geometry import Geometry
from inspection.core.records import (
    Card,
    Certificate,
    Event,
    GateRecord,
    Interval,
    Latency,
    Origin,
    write_record,
)
from inspection.core.settings import ExportConfig
from inspection.station.service import serve, write_signal
from tests.station.parts import configure, encoded, put, recorded
from tests.station.test_spool import event

ORIGIN = Origin(
    created_at=datetime(2025, 3, 1, tzinfo=UTC), git_revision="none", machine="test", versions={}
)


def write_graph(path: Path) -> None:
    """Write a graph whose map is the red value, 0 to 1, of each 8×8 block of a 32×64 part."""
    part = ops.parameter([1, 32, 64, 3], np.uint8)
    red = ops.gather(ops.convert(part, "f32"), np.int64([0]), np.int64(3))
    planes = ops.transpose(ops.divide(red, np.float32(255)), np.int64([0, 3, 1, 2]))
    pooled = ops.avg_pool(planes, [8, 8], [0, 0], [0, 0], [8, 8], exclude_pad=True)
    openvino.save_model(openvino.Model([pooled], [part]), path, compress_to_fp16=False)


def make_bundle(folder: Path, *, gated: bool = True, golden_red: int = 51) -> Path:
    """Seal a bundle that judges by redness, and put it to the gate."""
    (folder / "golden").mkdir(parents=True)
    write_graph(folder / "model.xml")
    Image.new("RGB", (64, 32), (golden_red, 0, 0)).save(folder / "golden" / "00.png")
    expected = np.full((4, 8), 0.2, np.float32)
    save_file({"00": expected}, folder / "golden" / "maps.safetensors")
    card = Card(
        name="redness",
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
        origin=ORIGIN,
        export=ExportConfig(),
        golden=("00",),
    )
    write_record(folder / "card.json", card)
    seal_bundle(folder)
    if gated:
        write_gate(folder, gate_of(verify_bundle(folder)))
    return folder


def gate_of(bundle_id: str) -> GateRecord:
    """Make the record of a gate that was passed."""
    sure, latency = Interval(value=1, low=1, high=1), Latency(p50_ms=1, p95_ms=1, p99_ms=1)
    return GateRecord(
        bundle_id=bundle_id,
        passed=True,
        refusals=(),
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


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_SIGNING_KEY", str(tmp_path / "signing.key"))


def test_real_bundle_judges_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A station with a gated bundle writes one JSON line per part, as it stands in the record."""
    config = configure(tmp_path, bundle=make_bundle(tmp_path / "bundle"))
    for red in (51, 153, 255):
        os.utime(put(config.source, f"{red}.png", encoded(red, (30, 70))), (red, red))
    counts = serve(config)
    assert (counts.events.passed, counts.events.review, counts.events.reject) == (1, 1, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [Event.model_validate_json(line) for line in lines] == recorded(config)
    scores = [json.loads(line)["score"] for line in lines]
    assert scores == pytest.approx([0.2, 0.6, 1.0], abs=1e-6)
    assert json.loads(lines[0])["bundle_id"] == verify_bundle(config.bundle)


def test_bundle_without_gate_judges_nothing(tmp_path: Path):
    """A bundle that never saw its gate cannot be opened, and no part gets an event."""
    config = configure(tmp_path, bundle=make_bundle(tmp_path / "bundle", gated=False))
    put(config.source, "a.png", encoded(51))
    with pytest.raises(GateRefused, match="never put to the gate"):
        serve(config)
    assert not config.data_dir.exists()


def test_cpu_that_computes_other_maps_judges_nothing(tmp_path: Path):
    """The golden frames are looked at before the first part; what differs opens no station."""
    config = configure(tmp_path, bundle=make_bundle(tmp_path / "bundle", golden_red=60))
    put(config.source, "a.png", encoded(51))
    message = r"computes 1 of 1 golden maps otherwise, by up to 17\.6% .* wanted at most 2%"
    with pytest.raises(BundleError, match=message):
        serve(config)
    assert not config.data_dir.exists()


def test_watching_station_ends_on_sigterm(tmp_path: Path):
    """A real station process signals a part that arrives later and ends cleanly on SIGTERM."""
    config = configure(tmp_path, bundle=make_bundle(tmp_path / "bundle"), once=False)
    command = (
        "import sys; from inspection.station.service import serve; "
        "from inspection.station.settings import StationConfig; "
        "print(serve(StationConfig.model_validate_json(sys.argv[1])))"
    )
    arguments = [sys.executable, "-c", command, config.model_dump_json()]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        put(config.source, "a.png", encoded(255))
        line = process.stdout.readline() if process.stdout else ""
        assert Event.model_validate_json(line).verdict == "REJECT"
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert rest.startswith("0 PASS, 0 REVIEW, 1 REJECT, 0 FAULT")


def test_gone_reader_stops_the_station(monkeypatch: pytest.MonkeyPatch):
    """When whoever reads the signals is gone the station stops and says that the event is kept."""

    class Closed:
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(StationError, match=r"event one cannot .* \(Broken pipe\); the event is re"):
        write_signal(event("one"))
