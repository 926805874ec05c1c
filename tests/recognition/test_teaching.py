"""From labels to a sealed detector: trained, exported, judged, and used."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from nncf.torch.quantization.extensions import QuantizedFunctionsCPU
from nncf.torch.quantization.reference import ReferenceQuantizedFunctions

from inspection.core.errors import DatasetError, GateRefused, TrainingError
from inspection.core.imaging import load_image
from inspection.detectors.detector import open_detector
from inspection.recognition import exporting
from inspection.recognition.aware import quantise_aware
from inspection.recognition.exporting import export_recogniser
from inspection.recognition.learning import Learner
from inspection.recognition.networks.dense import Fcos
from inspection.recognition.networks.network import IMAGENET_PICTURE
from inspection.recognition.settings import RecogniseConfig
from inspection.recognition.teaching import NETWORK, train_recogniser
from tests.command import inspection
from tests.recognition.parts import draw_set
from tests.recognition.test_labels import write_coco

SETTINGS = """
labels: {{sources: [{{path: {parts}}}]}}
network: {{name: {name}, channels: 32}}
input_hw: [128, 128]
epochs: {epochs}
batch_size: 4
learning_rate: 0.002
"""


@pytest.fixture(autouse=True)
def _own_key(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path_factory.mktemp("key") / "key"))
    monkeypatch.delenv("INSPECTION_WEIGHTS", raising=False)


def config(parts: Path, name: str = "fcos", epochs: int = 1) -> RecogniseConfig:
    return RecogniseConfig.model_validate(
        {
            "labels": {"sources": [{"path": str(parts)}]},
            "network": {"name": name, "channels": 32},
            "input_hw": [128, 128],
            "epochs": epochs,
            "batch_size": 4,
        }
    )


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_set(tmp_path_factory.mktemp("parts") / "set", 12)


@pytest.fixture(scope="module")
def run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt next to nothing."""
    out = tmp_path_factory.mktemp("run") / "run"
    train_recogniser(config(parts), out)
    return out


def test_the_commands_make_a_detector_that_names_and_outlines(parts: Path, tmp_path: Path):
    """CenterMask learns two plain types in a few passes; in INT8 it finds what it did before."""
    settings = tmp_path / "recognise.yaml"
    settings.write_text(SETTINGS.format(parts=parts, name="centermask", epochs=14))
    said = inspection("recognise", "train", str(settings), "--out", str(tmp_path / "run"))
    assert said.code == 0, said.err
    assert "formulanet" in said.out
    assert "(shipped" in said.out
    detector = tmp_path / "detector"
    said = inspection(
        *("recognise", "export", str(tmp_path / "run"), "--out", str(detector), "--json")
    )
    assert said.code == 0, said.err
    card = json.loads(said.out)
    assert card["precision"] == "int8"
    assert card["scores"]["box_ap50"] > 0.7
    assert card["scores"]["mask_ap50"] > 0.6
    assert card["scores"]["type_accuracy"] > 0.8
    assert {path.name for path in detector.glob("*.xml")} == {"detector.xml", "masks.xml"}
    opened = open_detector(detector)
    found = opened.find(load_image(parts / "test/hole/000.png"))
    assert [opened.card.types[kind] for kind in found.types] == ["hole"]
    said = inspection("recognise", "export", str(tmp_path / "run"), "--out", str(detector))
    assert "exists already" in said.err


def test_a_training_done_again_gives_the_same(parts: Path, run: Path, tmp_path: Path):
    train_recogniser(config(parts), tmp_path / "again")
    assert (tmp_path / "again" / NETWORK).read_bytes() == (run / NETWORK).read_bytes()


def test_labels_that_changed_since_are_refused(run: Path, tmp_path: Path):
    """Else a part that taught might judge."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    record = json.loads((copy / "recogniser.json").read_text())
    other = draw_set(tmp_path / "set", 12, seed=3)
    record["config"]["labels"]["sources"][0]["path"] = str(other)
    (copy / "recogniser.json").write_text(json.dumps(record))
    with pytest.raises(DatasetError, match="labels have changed since the training"):
        export_recogniser(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_run_is_refused(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / NETWORK).write_bytes(b"")
    with pytest.raises(TrainingError, match="differs from its record"):
        export_recogniser(copy, tmp_path / "out")
    with pytest.raises(TrainingError, match="wanted a folder of inspection recognise train"):
        export_recogniser(tmp_path, tmp_path / "out")


def test_unsound_labels_are_not_learnt(parts: Path, tmp_path: Path):
    wrong = config(parts).model_dump()
    wrong["labels"]["types"] = ["hole"]
    with pytest.raises(DatasetError, match="12 problems; mend them"):
        train_recogniser(RecogniseConfig.model_validate(wrong), tmp_path / "run")


def test_boxes_alone_teach_no_masks(parts: Path, tmp_path: Path):
    boxed = write_coco(tmp_path / "coco", {"bbox": [3, 3, 9, 9]})
    for name, told in (
        ("centermask", "with a box only, first a.png, and centermask draws masks"),
        ("fcos", ""),
    ):
        mixed = config(parts, name).model_dump()
        mixed["labels"]["sources"] += ({"path": str(boxed), "side": "train"},)
        out = tmp_path / name
        if told:
            with pytest.raises(TrainingError, match=told):
                train_recogniser(RecogniseConfig.model_validate(mixed), out)
        else:
            assert train_recogniser(RecogniseConfig.model_validate(mixed), out).types == (
                "hole",
                "pore",
                "scratch",
            )


@pytest.fixture
def _no_compiler(monkeypatch: pytest.MonkeyPatch):
    """NNCF would compile its operations for a minute; torch's own give the same."""
    monkeypatch.setattr(QuantizedFunctionsCPU, "_loaded_namespace", ReferenceQuantizedFunctions)


@pytest.mark.usefixtures("_no_compiler")
def test_int8_that_loses_too_much_is_trained_again_and_then_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both ways are judged; none is made when neither is good enough."""
    tried = []

    def lost(plain, small):
        tried.append((plain, small))
        return 0.5

    monkeypatch.setattr(exporting, "lost", lost)
    with pytest.raises(GateRefused, match=r"after training, .* in training\); wanted at most 0.01"):
        export_recogniser(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len({id(small) for _, small in tried}) == 2


@pytest.mark.usefixtures("_no_compiler")
def test_int8_that_loses_too_much_is_trained_again_and_then_sealed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What training for it gave is what stands in the folder, and opens."""
    answers = iter((0.5, 0.0))
    monkeypatch.setattr(exporting, "lost", lambda *_: next(answers))
    card = export_recogniser(run, tmp_path / "out")
    assert (card.quantised, card.precision) == ("in training", "int8")
    assert open_detector(tmp_path / "out").card == card


@pytest.mark.parametrize("steps", range(1, 13))
def test_a_learning_rate_rises_and_falls_in_any_number_of_steps(steps: int):
    class Nothing(torch.nn.Module):
        picture = IMAGENET_PICTURE

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

    made = Learner(Nothing(), 1e-3, steps).configure_optimizers()
    rates = []
    for _ in range(steps):
        rates += made["lr_scheduler"]["scheduler"].get_last_lr()
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert max(rates) <= 1e-3


def test_a_training_that_diverges_says_so(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Fcos, "losses", lambda *_: {"types": torch.tensor(float("nan"))})
    with pytest.raises(TrainingError, match="loss of types is no number in pass 1; name a smaller"):
        train_recogniser(config(parts), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Both(torch.nn.Module):
    """A network with two outputs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()]
        layers += [torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1)]
        self.network = torch.nn.Sequential(*layers)

    def forward(self, images):
        """Give maps and their means."""
        told = self.network(images)
        return told, told.mean((2, 3))


@pytest.mark.usefixtures("_no_compiler")
def test_training_for_int8_brings_it_nearer_to_what_float_tells():
    plain = Both().eval()
    before = [one.clone() for one in plain.parameters()]
    images = [torch.randn(3, 16, 16) * (1 + 4 * (i % 4 == 0)) for i in range(16)]

    def away(small) -> float:
        shown = torch.stack(images)
        with torch.no_grad():
            pairs = zip(small(shown), plain(shown), strict=True)
            return sum(float((a - b).square().mean() / b.var()) for a, b in pairs)

    at_once, trained = (quantise_aware(plain, images, epochs) for epochs in (0, 20))
    assert 0 < away(trained) < 0.9 * away(at_once)
    assert all(torch.equal(a, b) for a, b in zip(before, plain.parameters(), strict=True))
