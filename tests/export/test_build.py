"""From a run to a sealed bundle: whole, named by its precision, or refused."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openvino
import pytest

from inspection.bundles.bundle import open_bundle, read_card
from inspection.bundles.graph import openvino_core
from inspection.bundles.saving import load_arrays
from inspection.bundles.seal import verify_bundle
from inspection.core.decision import Verdict
from inspection.core.errors import (
    CalibrationMissing,
    DatasetError,
    GateRefused,
    InspectionError,
    TrainingError,
)
from inspection.core.origin import dated
from inspection.core.records import (
    Card,
    RunRecord,
    Split,
    hash_file,
    read_manifest,
    read_record,
    write_record,
)
from inspection.core.settings import ExportConfig
from inspection.export.build import calibrate_graphs, export_bundle, export_graphs, read_run
from tests.training.tiny import EXPORT

FILES = {
    "SHA256SUMS",
    "bank.npz",
    "card.json",
    "golden/00-defect.png",
    "golden/00.png",
    "golden/01-defect.png",
    "golden/01.png",
    "golden/maps.npz",
    "manifest.json",
    "model.bin",
    "model.xml",
    "reference.bin",
    "reference.xml",
    "signature.json",
}


def files_of(folder: Path) -> set[str]:
    """Every file below a folder, by its path there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_bundle_is_complete_and_sealed(bundle: Path):
    """IR, card, golden frames, manifest, sums, signature and the gate's record; nothing else."""
    assert files_of(bundle) == FILES | {"gate.json"}
    assert verify_bundle(bundle) == hash_file(bundle / "SHA256SUMS")


def test_card_says_what_the_bundle_is(bundle: Path, run: Path, manifest: Path):
    """The card names run, data, weights, precision, promise and the scores behind it."""
    card, record = read_card(bundle), read_record(run / "run.json", RunRecord)
    assert (card.name, card.model) == ("int8", "Patchcore")
    assert card.run_sha256 == record.sha256
    assert card.manifest_sha256 == read_manifest(manifest).sha256
    assert card.weights == record.weights
    assert card.export == EXPORT
    assert card.precision == "INT8 backbone and search, FP32 terms"
    assert card.graph_note == "bank of 96 vectors"
    assert (card.certificate.normals, card.certificate.target) == (9, 0.2)
    assert card.band.review_above == card.calibrate_scores[card.certificate.rank - 1]
    assert list(card.calibrate_scores) == sorted(card.calibrate_scores)


def test_the_same_run_gives_the_same_bundle_in_one_go_or_in_two(run: Path, tmp_path: Path):
    """Whatever the process made before, and whenever: only the date is fixed."""
    with dated(datetime(2026, 5, 1, tzinfo=UTC)):
        card = export_bundle(run, EXPORT, tmp_path / "whole" / "plate")
        for _ in range(37):
            openvino.opset13.relu(np.zeros(3, np.float32))
        export_graphs(run, EXPORT, tmp_path / "graphs")
        halves = tmp_path / "halves"
        other = calibrate_graphs(run, tmp_path / "graphs", EXPORT, halves, "plate")
    assert card == other
    assert card.origin.created_at == datetime(2026, 5, 1, tzinfo=UTC)
    assert verify_bundle(tmp_path / "whole" / "plate") == verify_bundle(halves)


def test_a_run_is_known_by_what_it_learnt_not_by_when(run: Path):
    record = read_record(run / "run.json", RunRecord)
    later = record.origin.model_copy(update={"created_at": datetime(2027, 1, 1, tzinfo=UTC)})
    again = record.model_copy(update={"duration_s": 99.0, "origin": later})
    assert again.sha256 == record.sha256
    assert record.model_copy(update={"manifest_sha256": "0" * 64}).sha256 != record.sha256


def test_thresholds_are_those_of_the_shipped_graph(bundle: Path, manifest: Path):
    """Judging the calibrate parts with the bundle gives the very scores on its card."""
    from inspection.core.parts import load_part

    opened = open_bundle(bundle, allow_refused=True)
    data = read_manifest(manifest)
    scores = [opened.judge(load_part(data, entry)).score for entry in data.of(Split.CALIBRATE)]
    assert sorted(scores) == pytest.approx(list(opened.card.calibrate_scores), rel=1e-6)


def test_golden_frames_reproduce_their_maps(bundle: Path):
    """On the CPU that made the bundle, the self-test finds no difference."""
    results = open_bundle(bundle, allow_refused=True).selftest()
    assert [result.name for result in results] == ["00", "01", "00-defect", "01-defect"]
    assert max(result.difference for result in results) < 1e-6
    expected = load_arrays(bundle / "golden" / "maps.npz")
    assert {value.shape for value in expected.values()} == {(16, 24)}


def test_shipped_graph_is_static_batch_one_uint8(bundle: Path):
    """The station hands over one uint8 part and gets one raw map."""
    model = openvino_core().read_model(bundle / "model.xml")
    assert list(model.input(0).shape) == [1, 64, 96, 3]
    assert model.input(0).element_type == openvino.Type.u8
    assert list(model.output(0).shape) == [1, 1, 16, 24]


@pytest.fixture(scope="module")
def float_cards(
    run: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Card]]:
    """Bundles of the other two precisions with their cards."""
    folder = tmp_path_factory.mktemp("floats")
    made = {}
    for precision in ("fp16", "fp32"):
        config = EXPORT.model_copy(update={"precision": precision})
        made[precision] = (folder / precision, export_bundle(run, config, folder / precision))
    return made


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_other_precisions_are_named_so(precision: str, float_cards):
    """Nothing that is not INT8 says INT8."""
    _, card = float_cards[precision]
    assert card.precision == precision.upper()
    assert "INT8" not in card.precision + card.graph_note


def test_half_precision_halves_what_is_stored(float_cards, bundle: Path):
    """FP16 weighs half of FP32, INT8 less than FP16."""
    fp16, fp32 = ((float_cards[name][0] / "model.bin").stat().st_size for name in ("fp16", "fp32"))
    assert fp16 == pytest.approx(fp32 / 2, rel=0.05)
    assert (bundle / "model.bin").stat().st_size < fp16


def test_float_graph_is_its_own_reference(float_cards):
    """An FP32 bundle and its reference give the same maps to the last digits."""
    folder, card = float_cards["fp32"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    core = openvino_core()
    maps = [
        core.compile_model(folder / name, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)[0]
        for name in ("model.xml", "reference.xml")
    ]
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-4)
    assert card.graph_note == "bank of 96 vectors"


def test_two_stages_are_described_on_the_card(run: Path, tmp_path: Path):
    """How many vectors in how many dimensions every patch sees, and how the rest is corrected."""
    changes = {"coarse_bank": 32, "search_dimensions": 1_000, "refine_patches": 40}
    note = export_bundle(run, EXPORT.model_copy(update=changes), tmp_path / "bundle").graph_note
    assert note.startswith(
        "bank of 96 vectors; every patch against 32 of them in 40 of 80 dimensions, corrected by "
    )
    assert note.endswith("; the worst 40 against all in all")


def test_bundle_that_never_saw_the_gate_cannot_be_opened(float_cards):
    """Sealed is not judged."""
    with pytest.raises(GateRefused, match="was never put to the gate; run inspection gate"):
        open_bundle(float_cards["fp32"][0])


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.mark.parametrize("name", ["graph.bin", "graph.xml", "bank.npz", "manifest.json"])
def test_run_with_a_changed_file_is_refused(run_copy: Path, name: str):
    """One byte more in any file of the run is found before anything is made of it."""
    with (run_copy / name).open("ab") as stream:
        stream.write(b" ")
    wanted = rf"{name}: is missing or differs from run.json; train again"
    with pytest.raises(TrainingError, match=wanted):
        export_bundle(run_copy, EXPORT, run_copy.parent / "bundle")
    assert not (run_copy.parent / "bundle").exists()


def test_run_with_a_missing_file_is_refused(run_copy: Path):
    """A file that is gone is named."""
    (run_copy / "bank.npz").unlink()
    with pytest.raises(TrainingError, match=r"bank.npz: is missing or differs"):
        read_run(run_copy)


def test_folder_without_a_record_is_no_run(tmp_path: Path):
    """An unfinished or foreign folder is said to be none."""
    with pytest.raises(TrainingError, match="no finished run here"):
        read_run(tmp_path)


def test_run_of_a_newer_version_is_refused(run_copy: Path):
    """A record this program cannot know is not guessed at."""
    path = run_copy / "run.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(TrainingError, match="of schema 99"):
        read_run(run_copy)


def rewritten(run: Path, keep) -> None:
    """Keep only some entries in a run's manifest, as if it had been trained so."""
    manifest = read_manifest(run / "manifest.json")
    entries = tuple(entry for entry in manifest.entries if keep(entry))
    write_record(run / "manifest.json", manifest.model_copy(update={"entries": entries}))
    record = read_record(run / "run.json", RunRecord)
    files = record.files | {"manifest.json": hash_file(run / "manifest.json")}
    write_record(run / "run.json", record.model_copy(update={"files": files}))


def test_run_without_calibrate_normals_is_refused(run_copy: Path):
    """Without held-out normals no threshold can be fitted, and none is invented."""
    rewritten(run_copy, lambda entry: entry.split is not Split.CALIBRATE)
    with pytest.raises(DatasetError, match="split 'calibrate' is empty"):
        export_bundle(run_copy, EXPORT, run_copy.parent / "bundle")


def test_impossible_promise_is_refused_and_leaves_nothing(run: Path, tmp_path: Path):
    """Nine normals cannot promise one false reject in a hundred; the error says how many can."""
    config = ExportConfig(calibration_images=8, precision="fp32")
    with pytest.raises(CalibrationMissing, match=r"has 9 normals; .* 0.01 needs at least 99"):
        export_bundle(run, config, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_changed_calibrate_image_is_refused_and_leaves_nothing(run_copy: Path):
    """Thresholds are fitted on the manifest's own bytes or not at all."""
    manifest = read_manifest(run_copy / "manifest.json")
    entry = manifest.of(Split.CALIBRATE)[3].model_copy(update={"sha256": "0" * 64})
    rewritten(run_copy, lambda one: one.path != entry.path)
    manifest = read_manifest(run_copy / "manifest.json")
    write_record(
        run_copy / "manifest.json",
        manifest.model_copy(update={"entries": (*manifest.entries, entry)}),
    )
    rewritten(run_copy, lambda one: True)
    with pytest.raises(DatasetError, match="the manifest says 000000000000"):
        export_bundle(
            run_copy, EXPORT.model_copy(update={"precision": "fp32"}), run_copy.parent / "bundle"
        )
    assert {path.name for path in run_copy.parent.iterdir()} == {"run"}


def test_existing_folder_is_never_overwritten(run: Path, bundle: Path):
    """A bundle that exists stays as it is."""
    before = verify_bundle(bundle)
    with pytest.raises(InspectionError, match="exists already; name a new folder or remove it"):
        export_bundle(run, EXPORT, bundle)
    assert verify_bundle(bundle) == before


def test_same_run_gives_the_same_graph_and_thresholds(run: Path, bundle: Path, tmp_path: Path):
    """Exporting twice gives the same weights, band and golden maps."""
    card = export_bundle(run, EXPORT, tmp_path / "int8")
    first = read_card(bundle)
    assert card.band == first.band
    assert card.calibrate_scores == first.calibrate_scores
    names = ("model.bin", "reference.bin", "golden/maps.npz")
    assert [hash_file(tmp_path / "int8" / name) for name in names] == [
        hash_file(bundle / name) for name in names
    ]


def test_golden_defects_are_part_of_every_bundle(bundle: Path):
    """Each is REJECT by the bundle's own thresholds, and bounds those that one person may set."""
    opened = open_bundle(bundle, allow_refused=True)
    defects = opened.card.golden_defects
    assert set(defects) == {"00-defect", "01-defect"}
    for name, score in defects.items():
        judgement = opened.judge(opened.golden_frame(name))
        assert judgement.verdict is Verdict.REJECT
        assert judgement.score == pytest.approx(score, rel=1e-6)
    assert opened.card.threshold_limits.high < max(
        min(defects.values()), opened.card.band.review_above * (1 + 1e-9)
    )
