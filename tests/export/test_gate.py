"""The gate: paired evidence on the test split, a signed record, refusal of what cannot judge."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bundles.bundle import open_bundle, read_card
from inspection.bundles.graph import openvino_core
from inspection.bundles.seal import read_gate, seal_bundle, verify_bundle
from inspection.core.decision import Verdict
from inspection.core.errors import BundleCorrupt, BundleError, DatasetError, GateRefused
from inspection.core.records import Label, Manifest, Split, read_manifest, write_record
from inspection.core.settings import GateLimits
from inspection.export.build import export_bundle
from inspection.export.evidence import Correlation
from inspection.export.gate import gate_bundle
from tests.training.tiny import EXPORT


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the good bundle that a test may spoil."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def reseal(folder: Path) -> None:
    """Seal a changed bundle again, as whoever made it would have."""
    for name in ("SHA256SUMS", "signature.json", "gate.json"):
        (folder / name).unlink(missing_ok=True)
    seal_bundle(folder)


def change_graph(folder: Path, name: str, change: Callable[[openvino.Output], object]) -> None:
    """Replace the score map of one of a bundle's graphs by something made of it."""
    model = openvino_core().read_model(folder / name)
    source = model.output("score_map").get_node().input_value(0)
    source.get_tensor().set_names(set())
    changed = change(source)
    changed.output(0).get_tensor().set_names({"score_map"})
    model = openvino.Model([ops.result(changed)], model.get_parameters(), "changed")
    openvino.save_model(model, folder / f"new-{name}", compress_to_fp16=False)
    del model
    for suffix in (".xml", ".bin"):
        new = (folder / f"new-{name}").with_suffix(suffix)
        new.replace((folder / name).with_suffix(suffix))


def test_good_bundle_passes_and_opens(bundle: Path):
    """Every feature map, the map and the scores agree with FP32, so a station may open it."""
    record = read_gate(bundle, verify_bundle(bundle))
    assert record.refusals == ()
    assert record.passed
    assert set(record.feature_correlations) == {
        "feature.layer1",
        "feature.layer2",
        "pooled.layer1",
        "pooled.layer2",
    }
    assert min(record.feature_correlations.values()) > 0.999
    assert record.score_correlation > 0.99
    assert open_bundle(bundle).gate == record


def test_record_holds_every_test_part_as_both_graphs_scored_it(bundle: Path, manifest: Path):
    """One row per part of the test split, in order; the shipped score is the station's."""
    from inspection.core.parts import load_part

    record = read_gate(bundle, verify_bundle(bundle))
    data = read_manifest(manifest)
    test = data.of(Split.TEST)
    assert record.evidence == "test defects"
    assert record.test_manifest_sha256 == data.sha256
    assert [(row.path, row.label, row.defect) for row in record.rows] == [
        (entry.path, entry.label, entry.defect) for entry in test
    ]
    opened = open_bundle(bundle)
    for row, entry in zip(record.rows, test, strict=True):
        judged = opened.judge(load_part(data, entry))
        assert (row.score, row.verdict) == (pytest.approx(judged.score, rel=1e-5), judged.verdict)
        assert row.reference_score == pytest.approx(row.score, rel=0.05)


def test_numbers_of_the_record_follow_from_its_rows(bundle: Path):
    """Recall and false rejects are counts of the rows above the band."""
    record = read_gate(bundle, verify_bundle(bundle))
    card = read_card(bundle)
    above = {label: [r.score > card.band.review_above for r in record.rows if r.label is label]
             for label in Label}  # fmt: skip
    assert record.recall.value == np.mean(above[Label.DEFECT])
    assert record.false_reject_rate.value == np.mean(above[Label.GOOD])
    assert set(record.recall_by_defect) == {"scratch", "stain"}
    assert record.recall.low <= record.recall.value <= record.recall.high
    assert all(row.verdict is not Verdict.FAULT for row in record.rows)
    assert record.aupro is not None
    assert record.pixel_auroc is not None
    assert record.reference_aupro is not None


def test_gate_measures_the_same_twice(copy: Path, bundle: Path):
    """But for time, the evidence is determined."""
    first = read_gate(bundle, verify_bundle(bundle))
    second = gate_bundle(copy)
    free = {"latency", "reference_latency", "origin"}
    assert second.model_dump(exclude=free) == first.model_dump(exclude=free)


def test_latency_has_its_percentiles_in_order(bundle: Path):
    """Half of the runs are at most as slow as nearly all of them."""
    record = read_gate(bundle, verify_bundle(bundle))
    for latency in (record.latency, record.reference_latency):
        assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms


def test_record_is_bound_to_its_bundle(bundle: Path, run: Path, tmp_path: Path):
    """A passed record copied beside another bundle opens nothing."""
    export_bundle(run, EXPORT.model_copy(update={"precision": "fp32"}), tmp_path / "other")
    shutil.copy(bundle / "gate.json", tmp_path / "other" / "gate.json")
    with pytest.raises(BundleCorrupt, match=r"belongs to bundle .*; run inspection gate again"):
        open_bundle(tmp_path / "other")


def test_edited_record_is_refused(copy: Path):
    """A refusal cannot be turned into a pass with an editor."""
    path = copy / "gate.json"
    path.write_text(path.read_text().replace("test defects", "TEST defects"))
    with pytest.raises(BundleCorrupt, match="signature does not fit"):
        open_bundle(copy)


def test_damaged_bundle_is_not_even_measured(copy: Path):
    """One changed byte stops the gate before any number."""
    with (copy / "model.bin").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleCorrupt, match=r"'model.bin' was changed"):
        gate_bundle(copy)


def test_folder_that_is_no_bundle_is_refused(tmp_path: Path):
    """The error says what was wanted."""
    with pytest.raises(BundleError, match="no SHA256SUMS here; wanted a bundle"):
        gate_bundle(tmp_path)


def test_refused_bundle_stays_closed_and_says_why(copy: Path, run: Path, tmp_path: Path):
    """Limits nobody can reach are refused; only a desk may open such a bundle."""
    limits = GateLimits(feature_correlation=1.0, map_correlation=1.0)
    config = EXPORT.model_copy(update={"gate": limits})
    export_bundle(run, config, tmp_path / "strict")
    record = gate_bundle(tmp_path / "strict")
    assert not record.passed
    assert len(record.refusals) >= 5
    with pytest.raises(GateRefused, match=r"the gate refused it .*feature map feature.layer1"):
        open_bundle(tmp_path / "strict")
    assert open_bundle(tmp_path / "strict", allow_refused=True).gate == record


NOT_NUMBERS = {"NaN": np.nan, "infinity": np.inf}


@pytest.mark.parametrize("value", NOT_NUMBERS.values(), ids=NOT_NUMBERS)
@pytest.mark.parametrize("name", ["model.xml", "reference.xml"])
def test_maps_that_are_no_numbers_are_refused_and_an_older_pass_is_taken_away(
    copy: Path, name: str, value: float
):
    """A graph without a score for a part never keeps or gets a record that opens it."""
    change_graph(copy, name, lambda source: ops.multiply(source, np.float32(value)))
    passed = (copy / "gate.json").read_bytes()
    reseal(copy)
    (copy / "gate.json").write_bytes(passed)
    with pytest.raises(GateRefused, match="12 of 12 test parts have no finite score; train again"):
        gate_bundle(copy)
    assert not (copy / "gate.json").exists()


def test_map_upside_down_is_refused(copy: Path):
    """A graph whose scores fall where they should rise is caught by every comparison."""
    change_graph(copy, "model.xml", lambda source: ops.subtract(np.float32(1.0), source))
    reseal(copy)
    record = gate_bundle(copy)
    assert not record.passed
    assert record.map_correlation < -0.9
    said = " ".join(record.refusals)
    assert "score maps correlate" in said
    assert "scores correlate" in said
    assert "image AUROC" in said


def test_constant_map_is_refused(copy: Path):
    """A graph that says the same of every part correlates with nothing."""
    change_graph(copy, "model.xml", lambda source: ops.multiply(source, np.float32(0)))
    reseal(copy)
    record = gate_bundle(copy)
    assert (record.map_correlation, record.score_correlation) == (0.0, 0.0)
    assert not record.passed


def test_feature_that_cannot_be_found_counts_as_wrong(copy: Path):
    """A shipped graph without the named features proves nothing of them."""
    model = openvino_core().read_model(copy / "model.xml")
    for node in model.get_ordered_ops():
        for port in node.outputs():
            names = port.get_tensor().get_names()
            port.get_tensor().set_names({n for n in names if not n.startswith("pooled.layer2")})
    openvino.save_model(model, copy / "new.xml", compress_to_fp16=False)
    del model
    for suffix in ("xml", "bin"):
        (copy / f"new.{suffix}").replace(copy / f"model.{suffix}")
    reseal(copy)
    record = gate_bundle(copy)
    assert record.feature_correlations["pooled.layer2"] == 0.0
    assert any("pooled.layer2" in text for text in record.refusals)


def described(manifest: Path, folder: Path, keep: Callable[..., bool]) -> Path:
    """Describe only some of the test images."""
    data = read_manifest(manifest)
    entries = tuple(entry for entry in data.entries if keep(entry))
    write_record(folder / "some.json", Manifest(root=data.root, layout="mvtec", entries=entries))
    return folder / "some.json"


def test_set_without_defects_is_judged_on_generated_ones_and_says_so(
    copy: Path, manifest: Path, tmp_path: Path
):
    """Every held-out normal is judged as it is and once more with a generated defect."""
    goods = described(manifest, tmp_path, lambda entry: entry.label is Label.GOOD)
    record = gate_bundle(copy, goods)
    assert record.evidence == "generated defects"
    assert [row.label for row in record.rows] == [Label.GOOD] * 6 + [Label.DEFECT] * 6
    assert record.goods is Split.TEST
    kinds = [row.defect for row in record.rows if row.label is Label.DEFECT]
    assert kinds == ["generated perlin", "generated cut_paste"] * 3
    assert set(record.recall_by_defect) == set(kinds)
    assert len({row.path for row in record.rows}) == 6
    assert all(row.path.startswith("test/good/") for row in record.rows)


def test_set_without_a_test_split_takes_the_calibrate_normals(
    copy: Path, manifest: Path, tmp_path: Path
):
    """The fit split is never judged, whatever else is missing."""
    held_out = described(manifest, tmp_path, lambda entry: entry.split is not Split.TEST)
    record = gate_bundle(copy, held_out)
    data = read_manifest(manifest)
    assert record.evidence == "generated defects"
    assert {row.path for row in record.rows} == {e.path for e in data.of(Split.CALIBRATE)}
    assert record.goods is Split.CALIBRATE
    assert record.false_reject_rate is None  # they set the threshold


def test_defects_without_a_good_test_part_are_held_against_calibrate(
    copy: Path, manifest: Path, tmp_path: Path
):
    """A handful of defects is evidence, though every good part was needed to learn from."""
    some = described(
        manifest, tmp_path, lambda e: e.split is not Split.TEST or e.label is Label.DEFECT
    )
    record = gate_bundle(copy, some)
    assert (record.evidence, record.goods) == ("test defects", Split.CALIBRATE)
    assert record.false_reject_rate is None
    assert {row.label for row in record.rows} == {Label.GOOD, Label.DEFECT}


@pytest.mark.parametrize("split", [Split.FIT, Split.CALIBRATE])
def test_parts_the_bundle_has_learnt_from_are_no_test(
    copy: Path, manifest: Path, tmp_path: Path, split: Split
):
    """A manifest that calls a fit or calibrate part a test part is refused before any judging."""
    data = read_manifest(manifest)
    learnt = [entry for entry in data.entries if entry.split is split][:2]
    entries = tuple(
        entry.model_copy(update={"split": Split.TEST}) if entry in learnt else entry
        for entry in data.entries
    )
    write_record(tmp_path / "m.json", data.model_copy(update={"entries": entries}))
    with pytest.raises(DatasetError, match="2 of the parts to judge are images the bundle was fit"):
        gate_bundle(copy, tmp_path / "m.json")


def test_fit_parts_of_a_bundle_do_not_stand_in_for_good_test_parts(
    copy: Path, manifest: Path, tmp_path: Path
):
    """A manifest divided anew may call them calibrate; the bank still knows them by heart."""
    data = read_manifest(manifest)
    entries = tuple(
        entry.model_copy(update={"split": Split.CALIBRATE})
        for entry in data.entries
        if entry.split is Split.FIT
    )
    write_record(tmp_path / "m.json", data.model_copy(update={"entries": entries}))
    with pytest.raises(DatasetError, match="8 of the parts to judge are images the bundle was fit"):
        gate_bundle(copy, tmp_path / "m.json")


def test_refusal_on_generated_defects_says_so(run: Path, manifest: Path, tmp_path: Path):
    """Numbers on made-up defects never pass for numbers on real ones."""
    config = EXPORT.model_copy(update={"gate": GateLimits(map_correlation=1.0)})
    export_bundle(run, config, tmp_path / "bundle")
    goods = described(manifest, tmp_path, lambda entry: entry.label is Label.GOOD)
    record = gate_bundle(tmp_path / "bundle", goods)
    maps = [text for text in record.refusals if text.startswith("score maps")]
    assert [text.endswith("below 1.0 on generated defects") for text in maps] == [True]


def test_changed_test_image_stops_the_gate(copy: Path, manifest: Path, tmp_path: Path):
    """Evidence is measured on the manifest's own bytes or not at all; the old record stays."""
    data = read_manifest(manifest)
    spoilt = data.of(Split.TEST)[2].model_copy(update={"sha256": "0" * 64})
    entries = tuple(spoilt if e.path == spoilt.path else e for e in data.entries)
    write_record(tmp_path / "spoilt.json", data.model_copy(update={"entries": entries}))
    before = (copy / "gate.json").read_bytes()
    with pytest.raises(DatasetError, match="the manifest says 000000000000"):
        gate_bundle(copy, tmp_path / "spoilt.json")
    assert (copy / "gate.json").read_bytes() == before


def test_correlation_gathered_in_pieces_is_pearsons():
    """Part by part or all at once, the number is numpy's."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(5, 40)) + 1_000
    second = first + rng.normal(size=(5, 40))
    gathered = Correlation()
    for a, b in zip(first, second, strict=True):
        gathered.add(a, b)
    assert gathered.value == pytest.approx(np.corrcoef(first.ravel(), second.ravel())[0, 1])


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, -np.inf])
def test_correlation_with_what_is_no_number_is_nothing(spoilt: float):
    """One NaN or infinity anywhere fails the comparison."""
    values = np.arange(6.0)
    gathered = Correlation()
    gathered.add(values, values)
    gathered.add(np.array([spoilt]), np.array([1.0]))
    assert gathered.value == 0.0


def test_correlation_of_a_constant_is_nothing():
    """A dead feature map passes no gate."""
    gathered = Correlation()
    gathered.add(np.full(9, 3.0), np.arange(9.0))
    assert gathered.value == 0.0
