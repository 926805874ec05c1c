"""A bundle becomes an ONNX model with a card, whole and agreeing, or nothing at all."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.bundles.saving import load_arrays
from inspection.bundles.seal import verify_bundle
from inspection.cli.main import SAID_NO, WRONG_USE, explain
from inspection.core.decision import Band
from inspection.core.errors import BundleCorrupt, BundleError, ImageError
from inspection.core.records import Split, hash_file, read_manifest, read_record
from inspection.portability import exporting, parity
from inspection.portability.exporting import CARD, MODEL, SAMPLES, OnnxCard, Wish, export_onnx
from inspection.portability.parity import Limits
from inspection.portability.runtime import OnnxGraph
from tests.command import inspection


@pytest.fixture(scope="module")
def opened(bundle: Path) -> Bundle:
    """The bundle, open."""
    return open_bundle(bundle, allow_refused=True)


@pytest.fixture(scope="module")
def pictures(manifest: Path) -> tuple[Path, ...]:
    """Every test part."""
    known = read_manifest(manifest)
    return tuple(Path(known.root) / entry.path for entry in known.of(Split.TEST))


@pytest.fixture(scope="module")
def exported(
    opened: Bundle, pictures: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The INT8 graph as ONNX; read only."""
    out = tmp_path_factory.mktemp("onnx") / "tile"
    export_onnx(opened, out, Wish(pictures=pictures))
    return out


def test_card_says_what_the_model_is(exported: Path, opened: Bundle):
    """Whoever gets the folder knows bundle, precision, input, outputs, thresholds and parity."""
    card, model = read_record(exported / CARD, OnnxCard), onnx.load(exported / MODEL)
    assert (card.name, card.bundle_id) == ("tile", opened.bundle_id)
    assert (card.graph, card.precision) == ("the graph that ships", opened.card.precision)
    assert (card.band, card.geometry) == (opened.card.band, opened.card.geometry)
    assert [(p.name, p.dtype, p.shape) for p in card.inputs] == [
        ("pixels", "uint8", (1, 64, 96, 3))
    ]
    assert (card.outputs[0].name, card.outputs[0].shape) == ("score_map", (1, 1, 16, 24))
    assert all(port.meaning for port in (*card.inputs, *card.outputs))
    assert [port.name for port in model.graph.output] == [port.name for port in card.outputs]
    assert model.opset_import[0].version == card.opset
    assert card.sha256 == hash_file(exported / MODEL)
    assert card.origin.versions["onnxruntime"] != "absent"


def test_int8_weights_are_int8_in_the_file(exported: Path):
    """The model is as small as the bundle's and marks what is INT8 as ONNX does."""
    model = onnx.load(exported / MODEL)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    products = {"Conv", "MatMul"}
    (largest, *_) = sorted(
        (onnx.numpy_helper.to_array(one) for one in model.graph.initializer), key=np.size
    )[::-1]
    assert kinds & products
    assert largest.dtype == np.int8


def test_parity_is_of_the_golden_frames_and_the_given_pictures(
    exported: Path, pictures: tuple[Path, ...], opened: Bundle
):
    """The numbers are there, and small; verdicts differ at most where a threshold is near."""
    card = read_record(exported / CARD, OnnxCard)
    found = card.parity
    assert found.generated == len(opened.card.golden) == 2
    assert found.pictures == 2 * 2 + len(pictures) == 16
    assert found.compared_with == "graph that ships"
    assert 0 < found.mean_map_difference < found.largest_map_difference < 0.5
    assert 0 < found.largest_score_difference <= found.limits.score_difference == 0.05
    assert found.verdicts_agree == found.verdicts_as_bundle
    assert found.verdicts_agree + len(found.near_a_threshold) == found.pictures


def test_pictures_far_from_normal_are_compared_too(opened: Bundle):
    """Without any picture named, half are golden frames with a defect, and score as such."""
    pictures = exporting._pictures(opened, ())
    scores = {name: opened.judge(pixels).score for name, pixels in pictures}
    good, bad = (
        [scores[name] for name in scores if name.endswith("generated defect") is broken]
        for broken in (False, True)
    )
    assert len(good) == len(bad) == len(opened.card.golden)
    assert max(bad) > max(good)


def test_samples_let_another_runtime_check_itself(exported: Path):
    """Prepared inputs and their maps lie beside the model."""
    samples, runtime = load_arrays(exported / SAMPLES), OnnxGraph(exported / MODEL)
    assert samples["pixels"].shape == (2, 64, 96, 3)
    assert samples["pixels"].dtype == np.uint8
    again = np.stack([runtime(tile) for tile in samples["pixels"]])
    assert np.array_equal(again, samples["score_map"])


def test_folder_is_sealed(exported: Path, tmp_path: Path):
    """A byte that changes is noticed, as in a bundle."""
    verify_bundle(exported)
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in exported.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / MODEL).write_bytes(b"another")
    with pytest.raises(BundleCorrupt, match=MODEL):
        verify_bundle(copy)


def test_fp32_is_the_reference_and_says_so(opened: Bundle, tmp_path: Path):
    """The FP32 graph agrees with the bundle's own FP32 reference to the last digits."""
    card = export_onnx(opened, tmp_path / "fp32", Wish(precision="fp32"))
    assert (card.precision, card.graph) == ("FP32", "its FP32 reference")
    assert card.parity.compared_with == "FP32 reference"
    assert card.parity.largest_map_difference < 1e-4
    assert card.parity.verdicts_agree == card.parity.pictures == 4
    kinds = {node.op_type for node in onnx.load(tmp_path / "fp32" / MODEL).graph.node}
    assert not {"QuantizeLinear", "DequantizeLinear"} & kinds


def test_parity_that_fails_is_refused_and_leaves_nothing(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both numbers are said, and no folder is left, not even a hidden one."""
    nothing = Limits(map_difference=0, score_difference=0)
    monkeypatch.setattr(parity, "INT8_LIMITS", nothing)
    with pytest.raises(
        BundleError, match=r"differs .* on 4 pictures: the mean difference of maps .* scores is"
    ):
        export_onnx(opened, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_no_numbers_are_no_parity(opened: Bundle, exported: Path, tmp_path: Path):
    """A model that gives NaN is refused, though no difference to it can be taken."""
    model = onnx.load(exported / MODEL)
    last = next(node for node in model.graph.node if node.output[0] == "score_map")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(np.nan), "nan"))
    last.CopyFrom(onnx.helper.make_node("Add", [last.input[0], "nan"], ["score_map"]))
    path = tmp_path / MODEL
    onnx.save(model, path)
    part = np.zeros((72, 96, 3), np.uint8)
    with pytest.raises(BundleError, match="mean difference of maps is 1 of the largest value"):
        parity.compare(opened, path, [("black", part)], reference=False)


@pytest.mark.parametrize(
    ("wanted", "found", "otherwise"),
    [(0.99, 1.01, False), (0.90, 1.01, True), (1.02, 0.99, False), (1.5, 0.5, True), (5, 9, False)],
)
def test_a_verdict_may_differ_only_near_a_threshold(wanted: float, found: float, otherwise: bool):
    """However small both scores are beside those of large defects."""
    nothing = np.zeros((1, 1), np.float32)
    one = parity._Compared("part", nothing, nothing, wanted, found, wanted)
    band = Band(review_above=1.0, reject_above=2.0)
    assert parity._decided_otherwise(one, band, parity.INT8_LIMITS) == otherwise


def test_model_that_onnx_itself_refuses_is_refused(
    opened: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its checker's error stands in ours, and nothing is left."""
    monkeypatch.setattr(exporting, "to_onnx", lambda _graph: onnx.ModelProto(ir_version=8))
    with pytest.raises(BundleError, match="breaks ONNX's own rules"):
        export_onnx(opened, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_picture_that_cannot_be_read_is_refused(opened: Bundle, tmp_path: Path):
    """Nothing is compared with what is no picture, and nothing is left."""
    wrong = tmp_path / "wrong.png"
    wrong.write_text("no picture")
    with pytest.raises(ImageError, match=r"wrong\.png"):
        export_onnx(opened, tmp_path / "out", Wish(pictures=(wrong,)))
    assert list(tmp_path.iterdir()) == [wrong]


def test_file_that_is_no_model_is_refused(tmp_path: Path):
    """ONNX Runtime's own error stands in ours."""
    (tmp_path / MODEL).write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"model.onnx: ONNX Runtime cannot load it"):
        OnnxGraph(tmp_path / MODEL)


def test_command_exports_and_prints(bundle: Path, pictures: tuple[Path, ...], tmp_path: Path):
    """One command from bundle to ONNX; it says in words what came out."""
    out = tmp_path / "onnx"
    done = inspection(
        "bundle", "export", bundle, pictures[0], "--to", "onnx", "--out", out, "--allow-refused"
    )
    assert done.code == 0, done.err
    assert (
        "parity      5 pictures (2 with generated defects), by ONNX Runtime and the graph"
        in done.out
    )
    assert "takes       pixels: uint8 1×64×96×3" in done.out
    again = inspection("bundle", "export", bundle, "--to", "onnx", "--out", out, "--allow-refused")
    assert again.code == WRONG_USE
    assert "exists already" in again.err


def test_refused_bundle_is_not_exported_unasked(bundle: Path, tmp_path: Path):
    """What no station opens leaves the house only when a person says so."""
    (gate := tmp_path / "bundle").mkdir()
    for path in bundle.rglob("*"):
        if path.is_file() and path.name != "gate.json":
            (gate / path.relative_to(bundle)).parent.mkdir(exist_ok=True)
            (gate / path.relative_to(bundle)).write_bytes(path.read_bytes())
    done = inspection("bundle", "export", gate, "--to", "onnx", "--out", tmp_path / "out")
    assert done.code == SAID_NO
    assert "was never put to the gate" in done.err
    assert not (tmp_path / "out").exists()


def test_missing_extra_is_named():
    """Without onnx or ONNX Runtime the command says what to install."""
    for name in ("onnx", "onnxruntime"):
        code, said = explain(ModuleNotFoundError(name=name), "bundle")
        assert code == WRONG_USE
        assert said.endswith('pip install "inspection[onnx]"')


def test_neither_torch_nor_the_trainer_is_loaded():
    """A bundle is exported where nothing can train."""
    code = (
        "import sys, inspection.portability.exporting; "
        "print({'torch', 'nncf', 'anomalib', 'sklearn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
