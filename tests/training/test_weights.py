"""Backbone weights: found in the declared order, refused when they do not fit, always recorded."""

import socket
import time
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from inspection.core.errors import TrainingError
from inspection.core.records import Weights, hash_file
from inspection.core.settings import BackboneConfig
from inspection.training import weights
from inspection.training.weights import declared_weights, find_weights, hub_reachable, reachable

NAME = "mobilenetv2_050"
STEM = "conv_stem.weight"


def write_weights(path: Path, name: str = NAME, seed: int = 1, value: float | None = None) -> Path:
    """Write the state of a model born from a seed; `value` fills its first convolution."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    state = timm.create_model(name, pretrained=False).state_dict()
    if value is not None:
        state[STEM] = torch.full_like(state[STEM], value)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


def build(
    backbone: BackboneConfig, name: str = NAME, *, features_only: bool = True
) -> tuple[nn.Module, Weights]:
    """Build one pretrained model as Anomalib would; give it with its record."""
    with declared_weights(backbone) as log:
        model = timm.create_model(name, pretrained=True, features_only=features_only)
    (record,) = log.loaded
    return model, record


def stem_value(model: nn.Module) -> float:
    """Give the mean of the first convolution, which tells files apart."""
    return float(model.state_dict()[STEM].mean())


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch):
    """The hub's name does not resolve, though nobody said so beforehand."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_declared_order_is_file_folder_shipped_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each place is asked only when none before it has the weights; the record says which had."""
    file = write_weights(tmp_path / "mine.safetensors", value=1)
    folder = write_weights(tmp_path / "folder" / f"{NAME}.safetensors", value=2)
    shipped = write_weights(tmp_path / "shipped" / f"{NAME}.lamb_in1k.safetensors", value=3)
    monkeypatch.setattr(weights, "BACKBONE", shipped.parent)
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(folder.parent))
    backbone = BackboneConfig(name=NAME, weights=str(file), allow_random_weights=True)
    found = [build(backbone)]
    backbone = backbone.model_copy(update={"weights": None})
    found.append(build(backbone))
    folder.unlink()
    found.append(build(backbone))
    shipped.unlink()
    found.append(build(backbone))
    assert [record.source for _, record in found] == ["file", "folder", "shipped", "random"]
    assert [stem_value(model) for model, _ in found[:3]] == [1.0, 2.0, 3.0]


def test_record_names_the_file_and_its_hash(tmp_path: Path):
    """Which bytes judged can be proved later."""
    path = write_weights(tmp_path / "mine.safetensors")
    _, record = build(BackboneConfig(name=NAME, weights=str(path)))
    assert record == Weights(name="mine.safetensors", source="file", sha256=hash_file(path))
    assert "RANDOM" not in str(record)


def test_every_tensor_of_the_file_is_in_the_model(tmp_path: Path):
    """Loading is whole: batch norms and the deepest layer included."""
    path = write_weights(tmp_path / "mine.safetensors", seed=9)
    model, _ = build(BackboneConfig(name=NAME, weights=str(path)))
    stored = load_file(path)
    state = model.state_dict()
    assert len(state) > 200
    assert all(torch.equal(value, stored[key]) for key, value in state.items())


def test_hub_cache_is_used_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was downloaded once is used again on a PC that has lost its network."""
    cached = write_weights(tmp_path / "model.safetensors", value=4)
    monkeypatch.setattr(weights, "try_to_load_from_cache", lambda *_: str(cached))
    model, record = build(BackboneConfig(name=NAME))
    assert (record.source, stem_value(model)) == ("hub", 4.0)


def test_two_fitting_files_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody guesses which of two files was meant."""
    for tag in ("first", "second"):
        write_weights(tmp_path / f"{NAME}.{tag}.safetensors")
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    both = f"{NAME}.first.safetensors, {NAME}.second.safetensors all fit '{NAME}'"
    with pytest.raises(TrainingError, match=both):
        build(BackboneConfig(name=NAME))


def test_exact_name_wins_over_tagged_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file with the very name that was asked for is no ambiguity."""
    for stem in (NAME, f"{NAME}.other"):
        (tmp_path / f"{stem}.safetensors").touch()
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    assert find_weights(NAME, None) == (tmp_path / f"{NAME}.safetensors", "folder")


def test_another_tag_than_asked_for_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Weights of another training of the same model are other weights."""
    (tmp_path / f"{NAME}.mine.safetensors").touch()
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    assert find_weights(f"{NAME}.lamb_in1k", None) is None


def test_name_that_only_begins_alike_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """resnet10t.safetensors is no file for resnet10."""
    (tmp_path / "resnet10t.safetensors").touch()
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    assert find_weights("resnet10", None) is None


def test_missing_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A misspelt INSPECTION_WEIGHTS does not silently lead to the hub or to random weights."""
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path / "gone"))
    with pytest.raises(TrainingError, match=r"INSPECTION_WEIGHTS: .*gone is no folder"):
        build(BackboneConfig(name=NAME, allow_random_weights=True))


@pytest.mark.parametrize("name", ["missing.safetensors", "weights.pth"])
def test_configured_file_must_be_safetensors_and_exist(tmp_path: Path, name: str):
    """A named file is never replaced by another source, and nothing is unpickled."""
    if name.endswith("pth"):
        (tmp_path / name).touch()
    backbone = BackboneConfig(name=NAME, weights=str(tmp_path / name), allow_random_weights=True)
    with pytest.raises(TrainingError, match="is no safetensors file; name one or leave it out"):
        build(backbone)


def test_file_for_another_model_is_refused_naming_tensors(tmp_path: Path):
    """A file that lacks the model's tensors is refused with some of their names."""
    path = write_weights(tmp_path / "other.safetensors", "test_resnet.r160_in1k")
    backbone = BackboneConfig(name=NAME, weights=str(path))
    with pytest.raises(TrainingError, match=r"other.safetensors: .*tensors \(.*name the file"):
        build(backbone)


def test_file_of_a_wider_model_is_refused_naming_a_tensor(tmp_path: Path):
    """Equal names with other shapes are refused too."""
    path = write_weights(tmp_path / "wide.safetensors", "mobilenetv2_100")
    with pytest.raises(TrainingError, match=r"wide.safetensors: .*(?s:.*)size mismatch for conv_s"):
        build(BackboneConfig(name=NAME, weights=str(path)))


def test_file_of_a_deeper_model_is_refused_naming_what_is_too_much(tmp_path: Path):
    """ResNet34 holds every tensor of ResNet18 and more: its weights mean nothing there."""
    path = write_weights(tmp_path / "deep.safetensors", "resnet34")
    with pytest.raises(TrainingError, match=r"another model, with \d+ tensors \(layer1\.2\.conv1"):
        build(BackboneConfig(name="resnet18", weights=str(path)), "resnet18")


@pytest.mark.parametrize("dropped", ["blocks.5", "bn1.running_mean"])
def test_file_that_lacks_some_tensors_is_refused(tmp_path: Path, dropped: str):
    """One missing block, or one batch norm's statistics, is enough."""
    path = write_weights(tmp_path / "partial.safetensors")
    state = {k: v for k, v in load_file(path).items() if not k.startswith(dropped)}
    save_file(state, path)
    with pytest.raises(TrainingError, match=rf"has no weights for \d+ tensors \({dropped}"):
        build(BackboneConfig(name=NAME, weights=str(path)))


def test_file_without_the_classifier_is_taken(tmp_path: Path):
    """Feature extractors need no classifier; files without one are common."""
    path = write_weights(tmp_path / "headless.safetensors", value=6)
    state = {k: v for k, v in load_file(path).items() if not k.startswith("classifier")}
    save_file(state, path)
    model, _ = build(BackboneConfig(name=NAME, weights=str(path)))
    assert stem_value(model) == 6.0


def test_file_with_foreign_names_is_refused(tmp_path: Path):
    """Tensors under names the model does not know would leave it random without a word."""
    path = write_weights(tmp_path / "wrapped.safetensors")
    save_file({f"model.{key}": value for key, value in load_file(path).items()}, path)
    with pytest.raises(TrainingError, match=r"wrapped.safetensors: has no weights for \d+ tensors"):
        build(BackboneConfig(name=NAME, weights=str(path)))


def test_damaged_file_is_refused(tmp_path: Path):
    """A truncated safetensors file is one clear error."""
    path = write_weights(tmp_path / "cut.safetensors")
    path.write_bytes(path.read_bytes()[:4_000])
    with pytest.raises(TrainingError, match=f"cut.safetensors: cannot be loaded into {NAME}"):
        build(BackboneConfig(name=NAME, weights=str(path)))


def test_random_weights_are_refused_unless_allowed():
    """Without a flag nothing random ever judges, and the error lists every remedy."""
    wanted = rf"{NAME}: no weights found.*put {NAME}.safetensors into a folder.*allow_random"
    with pytest.raises(TrainingError, match=wanted):
        build(BackboneConfig(name=NAME))


def test_allowed_random_weights_say_so_loudly(caplog: pytest.LogCaptureFixture):
    """The flag is answered by a warning, and the record says what verdicts are worth."""
    _, record = build(BackboneConfig(name=NAME, allow_random_weights=True))
    assert record.source == "random"
    assert "RANDOM WEIGHTS, verdicts mean nothing" in str(record)
    assert [line.levelname for line in caplog.records] == ["WARNING"]


def test_random_weights_have_the_hash_of_their_state():
    """Two random states have two hashes, the same seed the same."""
    backbone = BackboneConfig(name=NAME, allow_random_weights=True)
    hashes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        hashes.append(build(backbone)[1].sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.usefixtures("_offline")
def test_unreachable_hub_is_said_within_seconds_with_the_remedy():
    """The hub's client would retry for a minute; we ask once and say what to do."""
    started = time.perf_counter()
    with pytest.raises(TrainingError, match=r"the hub \(not reachable\); put .* INSPECTION_WEIGHT"):
        build(BackboneConfig(name=NAME))
    assert time.perf_counter() - started < 15


@pytest.mark.usefixtures("_offline")
def test_proxy_is_what_must_answer(monkeypatch: pytest.MonkeyPatch):
    """Behind a proxy the hub's name need not resolve here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_reachable()
    assert not hub_reachable()


def test_host_that_takes_no_connection_is_unreachable():
    """A name that resolves is not enough: a firewall may stand in between."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert reachable(url)
    assert not reachable(url)


def test_misspelt_backbone_is_refused_with_a_suggestion():
    """An unknown name is not a matter of missing weights."""
    backbone = BackboneConfig(name="mobilenetv2_50", allow_random_weights=True)
    with pytest.raises(TrainingError, match="is no timm model; did you mean 'mobilenetv2_050'"):
        build(backbone, "mobilenetv2_50")


def test_configured_file_is_only_for_the_configured_backbone(tmp_path: Path):
    """Another model built on the way does not take the file, and an unused file is refused."""
    path = write_weights(tmp_path / "mine.safetensors")
    backbone = BackboneConfig(name=NAME, weights=str(path), allow_random_weights=True)
    with declared_weights(backbone) as log:
        timm.create_model("test_resnet", pretrained=True)
    assert [record.source for record in log.loaded] == ["random"]
    with pytest.raises(TrainingError, match=f"mine.safetensors was not used; .* no {NAME}"):
        log.require_file_used()


def test_same_weights_loaded_twice_are_recorded_once(tmp_path: Path):
    """A teacher and a student of one file are one entry."""
    path = write_weights(tmp_path / "mine.safetensors")
    with declared_weights(BackboneConfig(name=NAME, weights=str(path))) as log:
        for _ in range(2):
            timm.create_model(NAME, pretrained=True, features_only=True)
    assert len(log.loaded) == 1


def test_models_asked_for_without_weights_stay_so():
    """A student begins at random by design; nothing is recorded for it."""
    with declared_weights(BackboneConfig(name=NAME)) as log:
        timm.create_model(NAME, pretrained=False)
    assert log.loaded == []


def test_libraries_are_given_back_after_an_error():
    """Both libraries are themselves again, whatever happened inside."""
    create, fetch = timm.create_model, torchvision.models.WeightsEnum.get_state_dict
    with pytest.raises(TrainingError), declared_weights(BackboneConfig(name=NAME)):
        timm.create_model(NAME, pretrained=True)
    assert timm.create_model is create
    assert torchvision.models.WeightsEnum.get_state_dict is fetch


def vision_resnet(backbone: BackboneConfig) -> tuple[nn.Module, Weights]:
    """Build one pretrained torchvision model as CFA would; give it with its record."""
    with declared_weights(backbone) as log:
        model = torchvision.models.resnet18(weights="DEFAULT")
    (record,) = log.loaded
    return model, record


@pytest.fixture
def _no_torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.mark.usefixtures("_no_torch_cache")
def test_torchvision_takes_its_weights_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """CFA and UniNet build torchvision models; the same order holds there."""
    path = tmp_path / "resnet18.mine.safetensors"
    state = torchvision.models.resnet18().state_dict()
    state["conv1.weight"].fill_(2.0)
    save_file(state, path)
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    model, record = vision_resnet(BackboneConfig(name="resnet18"))
    assert float(model.conv1.weight.detach().mean()) == 2.0
    assert (record.source, record.sha256) == ("folder", hash_file(path))


@pytest.mark.usefixtures("_no_torch_cache")
def test_torchvision_file_of_another_model_is_refused_naming_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A deeper network's file is not taken for this one."""
    save_file(torchvision.models.resnet34().state_dict(), tmp_path / "resnet18.safetensors")
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    with pytest.raises(TrainingError, match=r"torchvision's resnet18 in \d+ tensors \(layer1\.2"):
        vision_resnet(BackboneConfig(name="resnet18"))


@pytest.mark.usefixtures("_no_torch_cache")
def test_torchvision_is_random_only_when_allowed():
    """Its builders too refuse, or say loudly that they are random."""
    with pytest.raises(TrainingError, match="resnet18: no weights found"):
        vision_resnet(BackboneConfig(name="resnet18"))
    _, record = vision_resnet(BackboneConfig(name="resnet18", allow_random_weights=True))
    assert record.source == "random"
