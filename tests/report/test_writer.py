import shutil

import cv2
import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bundles.bundle import GOLDEN, MAPS, open_bundle
from inspection.bundles.saving import save_arrays
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.decision import Band
from inspection.core.errors import BundleCorrupt, ConfigError, DatasetError, InspectionError
from inspection.core.gate import GateRow
from inspection.core.geometry import Geometry
from inspection.core.imaging import load_image
from inspection.core.records import (
    Label,
    Manifest,
    ManifestEntry,
    Split,
    hash_file,
    read_manifest,
    write_record,
)
from inspection.metrics.calibration import conformal_threshold
from inspection.report.edge import ProbeRequest, measure_edge
from inspection.report.writer import Effort, write_report

QUICK = Effort(robustness_frames=3, timed_parts=4)
HEIGHT, WIDTH = 40, 60


def write_part(path, seed, spot):
    """A grey non-square part; a defect is a bright spot."""
    pixels = np.random.default_rng(seed).integers(90, 110, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    if spot:
        pixels[10:22, 20:36] = 240
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def write_graph(path):
    """A graph whose map is the mean level of 8×8 px cells: uint8 1×32×64×3 in, 1×1×4×8 out."""
    tile = ops.parameter([1, 32, 64, 3], np.uint8)
    levels = ops.transpose(ops.convert(tile, "f32"), np.array([0, 3, 1, 2]))
    grey = ops.reduce_mean(levels, np.array([1]), keep_dims=True)
    cells = ops.avg_pool(grey, [8, 8], [0, 0], [0, 0], [8, 8], exclude_pad=True)
    openvino.save_model(openvino.Model([cells], [tile]), path, compress_to_fp16=False)


@pytest.fixture
def plant(tmp_path, monkeypatch, make_card, make_gate):
    """A folder with test images, their manifest, and a sealed bundle that passed its gate."""
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))
    entries = []
    for index in range(8):
        defect = index >= 4
        path = f"test/{'spot' if defect else 'good'}/{index}.png"
        write_part(tmp_path / "set" / path, index, defect)
        mask = None
        if defect:
            mask = f"ground_truth/spot/{index}.png"
            drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
            drawn[10:22, 20:36] = 255
            (tmp_path / "set/ground_truth/spot").mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set" / mask), drawn)
        entries.append(
            ManifestEntry(
                path=path,
                sha256=hash_file(tmp_path / "set" / path),
                height_px=HEIGHT,
                width_px=WIDTH,
                mode="RGB",
                label=Label.DEFECT if defect else Label.GOOD,
                defect="spot" if defect else None,
                mask=mask,
                group=str(index),
                split="test",
            )
        )
    manifest = Manifest(root="set", layout="mvtec", entries=tuple(entries))
    write_record(tmp_path / "manifest.json", manifest)
    folder = tmp_path / "bundle"
    (folder / "golden").mkdir(parents=True)
    write_graph(folder / "model.xml")
    scores = tuple(np.linspace(98, 103, 190).tolist())
    card = make_card().model_copy(
        update={
            "geometry": Geometry(height_px=32, width_px=64),
            "band": Band(review_above=conformal_threshold(scores, 0.02)[0], reject_above=110.0),
            "calibrate_scores": scores,
            "golden": ("0",),
        }
    )
    write_record(folder / "card.json", card)
    shutil.copy(tmp_path / "set/test/good/0.png", folder / "golden" / "0.png")
    save_arrays({"0": np.zeros((4, 8), np.float32)}, folder / GOLDEN / MAPS)
    seal_bundle(folder)
    write_gate(folder, judged_gate(folder, tmp_path / "set", manifest, make_gate(card)))
    return tmp_path


def judged_gate(folder, root, manifest, gate):
    """The gate's record with the rows this bundle gives on the manifest's test split."""
    bundle = open_bundle(folder, allow_refused=True)
    rows = []
    for entry in manifest.entries:
        judgement = bundle.judge(load_image(root / entry.path))
        rows.append(
            GateRow(
                path=entry.path,
                label=entry.label,
                defect=entry.defect,
                score=judgement.score,
                reference_score=judgement.score + 0.1,
                verdict=judgement.verdict,
            )
        )
    changes = {
        "bundle_id": bundle.bundle_id,
        "test_manifest_sha256": manifest.sha256,
        "rows": tuple(rows),
        "recall_by_defect": {"spot": gate.recall},
    }
    return gate.model_copy(update=changes)


def test_report_of_a_real_bundle(plant):
    """A bundle and its manifest become one page with pictures, timings and disturbed frames."""
    out = plant / "pages" / "report.html"
    written = write_report(plant / "bundle", out, manifest=plant / "manifest.json", effort=QUICK)
    page = out.read_text(encoding="utf-8")
    assert written == out
    assert page.count("data:image/jpeg") == 2 * 8
    assert "test/spot/4.png" in page
    assert "4 parts judged one after the other in a fresh process" in page
    assert "The same 3 good and 3 defective frames" in page
    assert "Not measured" not in page
    assert "http" not in page
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_report_without_manifest_times_golden_frames(plant):
    """By default, without a manifest, golden frames are timed and no case is shown."""
    page = write_report(plant / "bundle", plant / "report.html").read_text(encoding="utf-8")
    assert page.count("Not measured: no manifest was named") == 2
    assert "200 parts judged one after the other" in page


def test_the_report_leaves_the_bundle_sealed(plant):
    """Reporting changes no byte of the bundle, and a page within it is refused."""
    before = verify_bundle(plant / "bundle")
    write_report(plant / "bundle", plant / "report.html", effort=Effort(0, 0))
    assert verify_bundle(plant / "bundle") == before
    with pytest.raises(ConfigError, match=r"lies within the bundle .* would break its seal"):
        write_report(plant / "bundle", plant / "bundle" / "pages" / "report.html")


@pytest.mark.parametrize("split", [Split.TEST, Split.CALIBRATE])
def test_generated_defects_are_drawn_and_disturbed_too(plant, split):
    """Good parts alone: the page shows them and the defects that were put onto them."""
    manifest = read_manifest(plant / "manifest.json")
    goods = [entry for entry in manifest.entries if entry.label is Label.GOOD]
    goods = tuple(
        entry.model_copy(update={"split": split}) for entry in goods if entry.split is Split.TEST
    )
    alone = manifest.model_copy(update={"entries": goods})
    write_record(plant / "goods.json", alone)
    gate = open_bundle(plant / "bundle").gate
    rows = [row for row in gate.rows if row.label is Label.GOOD]
    made = {"label": Label.DEFECT, "defect": "generated perlin"}
    changes = {
        "evidence": "generated defects",
        "goods": split,
        "test_manifest_sha256": alone.sha256,
        "false_reject_rate": gate.false_reject_rate if split is Split.TEST else None,
        "rows": (*rows, *(row.model_copy(update=made) for row in rows)),
    }
    write_gate(plant / "bundle", gate.model_copy(update=changes))
    out = write_report(
        plant / "bundle",
        plant / "report.html",
        manifest=plant / "goods.json",
        effort=Effort(robustness_frames=3, timed_parts=4),
    )
    page = out.read_text(encoding="utf-8")
    assert "The same 3 good and 3 defective frames <span" in page
    assert page.count("data:image/jpeg") == 2 * 2 * len(rows)
    assert ("set the threshold" in page) == (split is Split.CALIBRATE)


def test_another_manifest_is_refused(plant):
    """A manifest that is not the gate's would show other parts than were judged; it is refused."""
    manifest = plant / "manifest.json"
    text = manifest.read_text(encoding="utf-8").replace('"group": "0"', '"group": "zero"')
    manifest.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"the gate read .*; name the manifest of the gate"):
        write_report(plant / "bundle", plant / "report.html", manifest=manifest)
    assert not (plant / "report.html").exists()


def test_a_changed_image_is_refused(plant):
    """A test image with other bytes than the manifest's is refused, and no page is left."""
    write_part(plant / "set/test/good/1.png", 99, spot=True)
    with pytest.raises(DatasetError, match=r"good/1\.png: sha256 is"):
        write_report(
            plant / "bundle",
            plant / "report.html",
            manifest=plant / "manifest.json",
            effort=Effort(timed_parts=0),
        )
    assert not (plant / "report.html").exists()


def test_a_changed_bundle_is_refused(plant):
    """A bundle with one byte changed is not reported on."""
    (plant / "bundle" / "model.xml").write_text("<net/>", encoding="utf-8")
    with pytest.raises(BundleCorrupt, match=r"'model\.xml' was changed"):
        write_report(plant / "bundle", plant / "report.html")


def test_edge_is_measured_in_a_fresh_process(plant):
    """The fresh process gives ordered latencies and a peak of memory below that of a trainer."""
    request = ProbeRequest(
        bundle=str(plant / "bundle"), images=(str(plant / "set/test/good/0.png"),), parts=20
    )
    edge = measure_edge(request)
    assert edge.parts == 20
    assert 0 < edge.p50_ms <= edge.p95_ms <= edge.p99_ms
    assert 20 < edge.peak_ram_mib < 300
    assert edge.parts_per_s <= 1000 / edge.p50_ms * 2


def test_the_probe_tells_why_it_failed(plant):
    """A refusal in the fresh process reaches the caller with its reason."""
    request = ProbeRequest(bundle=str(plant / "gone"), images=(str(plant / "set/test/good/0.png"),))
    with pytest.raises(InspectionError, match=r"ended with 1: .*gone: no SHA256SUMS here"):
        measure_edge(request)
