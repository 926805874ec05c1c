"""WinCLIP is built of a declared CLIP, gives Anomalib's own numbers, and says what it lacks."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

with warnings.catch_warnings():  # open_clip warns of its own imports
    warnings.simplefilter("ignore")
    import open_clip  # noqa: F401

from inspection.bundles.graph import Graph
from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.records import hash_file, read_manifest
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.export.build import read_features
from inspection.training.clip import CLIP, CONFIG, STATE
from inspection.training.fit import train
from inspection.training.models import build_model, input_norm, resolve_config
from inspection.training.weights import WeightsLog
from tests.bench.libraries import quiet
from tests.training.tiny_clip import winclip_config, write_clip

pytestmark = quiet


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP's folder; read only."""
    return write_clip(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.mark.parametrize("shots", [0, 2])
def test_the_graph_gives_anomalibs_numbers_and_holds_no_text(shots, clip, manifest, tmp_path):
    """Zero-shot and few-shot; what was embedded once is constant; the record names the weights."""
    config = winclip_config(clip, shots)
    record = train(config, manifest, tmp_path / "run")
    assert [(one.name, one.source) for one in record.weights] == [("tiny", "file")]
    assert record.weights[0].sha256 == hash_file(clip / STATE)
    graph = Graph(read_features(tmp_path / "run"))
    tiles = FitTiles(read_manifest(manifest), config.geometry)
    model = build_model(config, tiles).model.eval()
    image = input_norm(config)(torch.from_numpy(tiles[3][None].copy())).contiguous()
    with torch.no_grad():
        whole, windows, patches = model.encode_image(image)
        text = model.text_embeddings
        likeness = torch.nn.functional.cosine_similarity(whole, text) / model.temperature
        wanted = model._compute_zero_shot_scores(likeness.softmax(0)[1:], windows)
        if shots:
            few = model._compute_few_shot_scores(patches, windows)
            wanted = (wanted + few) / 2
    found = graph(tiles[3])[0]
    assert found.shape == (4, 4)
    assert torch.allclose(torch.from_numpy(found), wanted[0], atol=1e-4)
    assert 0 < found.min() < found.max() < 1
    file = tmp_path / "run" / "graph.bin"
    assert file.stat().st_size < (clip / STATE).stat().st_size / 4  # the words' table is large


def test_another_word_for_the_part_is_another_model(clip, manifest, tmp_path):
    """The sentences are judged by, so their word stands in the graph's constants."""
    maps = []
    for name in ("plate", "bottle"):
        config = winclip_config(clip, 0)
        options = {**config.model_options, "class_name": name}
        train(config.model_copy(update={"model_options": options}), manifest, tmp_path / name)
        tiles = FitTiles(read_manifest(manifest), config.geometry)
        maps.append(Graph(read_features(tmp_path / name))(tiles[0]))
    assert abs(maps[0] - maps[1]).max() > 1e-6


def test_a_folder_named_after_the_network_is_found(clip, manifest, tmp_path, monkeypatch):
    """In INSPECTION_WEIGHTS, as every model's weights."""
    (tmp_path / CLIP).symlink_to(clip)
    monkeypatch.setenv("INSPECTION_WEIGHTS", str(tmp_path))
    record = train(winclip_config(None), manifest, tmp_path / "run")
    assert [(one.name, one.source) for one in record.weights] == [(CLIP, "folder")]


def test_the_paper_s_network_is_the_default():
    """Whoever names none gets it, not a backbone of PatchCore."""
    assert resolve_config(TrainConfig(model="winclip")).backbone.name == CLIP


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": None}, f"{CLIP}: no CLIP found; looked at backbone.weights"),
        ({"name": "ViT-Z", "weights": None}, "ViT-Z: no CLIP found"),
        ({"name": "ViT-Z", "allow": True, "weights": None}, "'ViT-Z' is no network of open_clip"),
        ({"side_px": 96}, "geometry: found 96×96 px; .* sees 64×64 px"),
        ({"shots": 99}, "k_shot: found 99 for 6 tiles of fit parts; wanted 0 to 6"),
        ({"option": "few_shot_source"}, "few_shot_source: has its own place"),
        ({"option": "kshot"}, "WinClip does not take kshot; it takes class_name, k_shot"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_told(change, message, clip, manifest, tmp_path):
    """Before anything is written."""
    weights = change.get("weights", str(clip))
    backbone = BackboneConfig(
        name=change.get("name", CLIP),
        weights=weights,
        allow_random_weights=change.get("allow", False),
    )
    config = winclip_config(clip, change.get("shots", 2), change.get("side_px", 64))
    options = dict(config.model_options)
    if "option" in change:
        options[change["option"]] = "1"
    config = config.model_copy(update={"backbone": backbone, "model_options": options})
    with pytest.raises(TrainingError, match=message):
        train(config, manifest, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", ["config", "truncated", "other"])
def test_a_damaged_clip_is_refused_with_its_file(how, clip, manifest, tmp_path):
    """Not half-loaded."""
    broken = write_clip(tmp_path / "broken")
    if how == "config":
        (broken / CONFIG).write_text("{}")
    elif how == "truncated":
        (broken / STATE).write_bytes((clip / STATE).read_bytes()[:5_000])
    else:
        state = load_file(broken / STATE)
        del state["visual.proj"]
        save_file(state, broken / STATE)
    message = CONFIG if how == "config" else STATE
    with pytest.raises(TrainingError, match=message):
        train(winclip_config(broken), manifest, tmp_path / "run")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (("preprocess_cfg",), {"mean": [0.5, 0.5, 0.5]}, r"preprocess_cfg\.mean is \[0\.5"),
        (("preprocess_cfg",), {"std": [0.5, 0.5, 0.5]}, r"preprocess_cfg\.std is \[0\.5"),
        (("preprocess_cfg",), {"std": 3}, "cannot be read"),
        (("model_cfg", "text_cfg"), {"hf_tokenizer_name": "other"}, "hf_tokenizer_name is 'other'"),
        (("model_cfg", "text_cfg"), {"context_length": 64}, "context_length is 64; wanted 77"),
    ],
)
def test_a_clip_that_sees_or_reads_otherwise_is_refused(part, change, message, manifest, tmp_path):
    """Its scores would be silently wrong."""
    other = write_clip(tmp_path / "other")
    config = json.loads((other / CONFIG).read_text())
    place = config
    for key in part:
        place = place[key]
    place |= change
    (other / CONFIG).write_text(json.dumps(config))
    with pytest.raises(TrainingError, match=message):
        train(winclip_config(other), manifest, tmp_path / "run")


def test_a_clip_that_says_it_sees_as_the_graph_is_taken(clip, manifest, tmp_path):
    """Hubs write CLIP's own mean and deviation."""
    same = write_clip(tmp_path / "same")
    config = json.loads((same / CONFIG).read_text())
    config["preprocess_cfg"] = {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    }
    (same / CONFIG).write_text(json.dumps(config))
    settings = winclip_config(same)
    build_model(settings, FitTiles(read_manifest(manifest), settings.geometry))


def test_a_network_without_a_transformer_is_refused(clip, manifest, tmp_path):
    """WinCLIP's windows are made of patches."""
    other = write_clip(tmp_path / "resnet")
    config = json.loads((other / CONFIG).read_text())
    config["model_cfg"]["vision_cfg"] |= {"layers": [1, 1, 1, 1], "patch_size": None}
    (other / CONFIG).write_text(json.dumps(config))
    with pytest.raises(TrainingError, match="wanted a vision transformer of open_clip"):
        train(winclip_config(other), manifest, tmp_path / "run")


def test_random_weights_only_when_allowed_and_said(manifest, tmp_path, clip, monkeypatch):
    """The log of weights says it loudly, as of any model."""
    from inspection.training import clip as module

    network = json.loads((clip / CONFIG).read_text())["model_cfg"]
    monkeypatch.setattr(module.open_clip, "get_model_config", lambda _name: network)
    config = winclip_config(None)
    backbone = BackboneConfig(name=CLIP, allow_random_weights=True)
    log = WeightsLog(backbone)
    tiles = FitTiles(read_manifest(manifest), config.geometry)
    build_model(config.model_copy(update={"backbone": backbone}), tiles, log)
    assert "RANDOM WEIGHTS" in str(log.loaded[0])
