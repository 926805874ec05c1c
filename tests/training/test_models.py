"""Any Anomalib image model by name: what is refused, and what it is built with."""

from pathlib import Path

import pytest
from anomalib.models import Patchcore

from inspection.core.errors import TrainingError
from inspection.core.parts import FitTiles
from inspection.core.records import read_manifest
from inspection.core.settings import BackboneConfig, TrainConfig
from inspection.training.models import build_model, input_norm, model_class, resolve_config
from inspection.training.options import constructor_options
from inspection.training.weights import declared_weights
from tests.training.tiny import GEOMETRY, tiny_config


@pytest.fixture(scope="module")
def tiles(manifest: Path) -> FitTiles:
    """The fit tiles of the generated set."""
    return FitTiles(read_manifest(manifest), GEOMETRY)


def config(model: str, *, options: dict | None = None, **backbone: object) -> TrainConfig:
    """Configure a model with random weights."""
    return TrainConfig(
        model=model,
        backbone=BackboneConfig(allow_random_weights=True, **backbone),
        geometry=GEOMETRY,
        model_options=options or {},
    )


def build(settings: TrainConfig, tiles: FitTiles):
    """Build as `train` does."""
    with declared_weights(settings.backbone) as log:
        return build_model(settings, tiles, log)


def test_letter_case_of_a_model_does_not_matter():
    """Patchcore and PatchCore are Patchcore."""
    assert model_class("PatchCore") is model_class("patchcore") is Patchcore


def test_unknown_model_is_refused_with_a_suggestion_and_the_list():
    """A misspelt name is answered by the near one."""
    with pytest.raises(TrainingError, match=r"'Pachcore' is no .*did you mean 'Patchcore'.*Stfpm"):
        model_class("Pachcore")


def test_unknown_option_is_refused_with_those_the_model_takes(tiles: FitTiles):
    """No option is dropped silently."""
    with pytest.raises(TrainingError, match=r"Padim does not take n_feature; it takes n_features"):
        build(config("Padim", options={"n_feature": 20}), tiles)


def test_patchcore_takes_no_model_options(tiles: FitTiles):
    """Its settings have their own place; Anomalib's neighbour count would do nothing."""
    settings = tiny_config().model_copy(update={"model_options": {"num_neighbors": 3}})
    with pytest.raises(
        TrainingError, match=r"Patchcore takes none here, found num_neighbors; .* patchcore"
    ):
        build(settings, tiles)


@pytest.mark.parametrize("key", ["backbone", "layers"])
def test_backbone_has_one_place(tiles: FitTiles, key: str):
    """The same thing cannot be said twice, so it cannot be said differently."""
    with pytest.raises(TrainingError, match=rf"model_options.{key}: has its own place; set backb"):
        build(config("Padim", options={key: "resnet18"}), tiles)


@pytest.mark.parametrize("key", ["pre_processor", "post_processor", "evaluator", "visualizer"])
def test_what_stands_outside_the_graph_cannot_be_switched_on(tiles: FitTiles, key: str):
    """Thresholds, resizing and metrics of Anomalib stay off."""
    with pytest.raises(TrainingError, match=f"Padim does not take {key}"):
        build(config("Padim", options={key: True}), tiles)


@pytest.mark.parametrize(
    ("layers", "complaint"),
    [
        (("blocks.1", "blocks.77"), r"mobilenetv2_050 has no blocks.77; it has blocks.0, blocks.1"),
        (("blocks.2", "blocks.1"), r"found blocks.2, blocks.1; wanted .* finest first"),
        (("blocks.1", "blocks.1"), r"found blocks.1, blocks.1; wanted each once"),
    ],
    ids=["misspelt", "turned round", "twice"],
)
@pytest.mark.parametrize("model", ["Patchcore", "Stfpm"])
def test_layers_are_refused_that_anomalib_would_drop_or_mistake(
    tiles: FitTiles, model: str, layers: tuple[str, ...], complaint: str
):
    """Anomalib drops an unknown layer with a warning and names turned ones after each other."""
    with pytest.raises(TrainingError, match=rf"backbone.layers: {complaint}"):
        build(config(model, name="mobilenetv2_050", layers=layers), tiles)


def test_layer_weights_must_be_as_many_as_layers(tiles: FitTiles):
    """Pairing by position is checked before anything is fitted."""
    with pytest.raises(TrainingError, match="layer_weights: found 3 for 2 layers; wanted one each"):
        build(tiny_config(layer_weights=(1, 1, 1)), tiles)


def test_backbone_is_refused_where_a_model_takes_none(tiles: FitTiles):
    """A backbone nobody uses would be a dead setting."""
    with pytest.raises(TrainingError, match=r"backbone.name: Ganomaly takes no backbone"):
        build(config("Ganomaly", name="resnet18"), tiles)


def test_model_with_one_layer_refuses_two(tiles: FitTiles):
    """DFM looks at one layer."""
    with pytest.raises(TrainingError, match=r"found layer1, layer2; Dfm takes one layer"):
        build(config("Dfm", name="resnet10t", layers=("layer1", "layer2")), tiles)


def test_blocks_that_a_model_counts_are_numbers():
    """GeneralAD counts its blocks: they stand where layers do, and what is no number is refused."""
    kind = model_class("GeneralAD")
    chosen = config("GeneralAD", name="vit_tiny_patch16_224", layers=("6", "12"))
    assert constructor_options(chosen, kind)["layers"] == [6, 12]
    named = config("GeneralAD", name="vit_tiny_patch16_224", layers=("blocks.6",))
    with pytest.raises(TrainingError, match=r"found blocks\.6; wanted numbers of blocks.*\(24,\)"):
        constructor_options(named, kind)


def test_own_backbone_of_a_model_is_written_into_the_configuration():
    """What the configuration leaves open is Anomalib's default, and the record will say so."""
    resolved = resolve_config(TrainConfig(model="Stfpm")).backbone
    assert (resolved.name, resolved.layers) == ("resnet18", ("layer1", "layer2", "layer3"))


def test_chosen_backbone_stays():
    """What the configuration says wins over the model's default."""
    chosen = config("Stfpm", name="resnet10t", layers=("layer1", "layer2"))
    assert resolve_config(chosen) == chosen


def test_resolved_configuration_builds_the_same_model_again():
    """A run's record read back from JSON is already resolved."""
    for model in ("Stfpm", "Padim", "Dfm", "Ganomaly", "Patchcore"):
        once = resolve_config(TrainConfig(model=model))
        again = TrainConfig.model_validate_json(once.model_dump_json())
        assert resolve_config(again) == once


def test_default_configuration_is_patchcore_on_our_backbone():
    """The default call needs no file."""
    resolved = resolve_config(TrainConfig())
    assert (resolved.model, resolved.backbone.name) == ("Patchcore", "formulanet")
    assert model_class(resolved.model) is Patchcore


@pytest.mark.parametrize(
    ("model", "mean"),
    [("Patchcore", (0.485, 0.456, 0.406)), ("EfficientAd", (0.0, 0.0, 0.0))],
    ids=["ImageNet's", "none: the model does it itself"],
)
def test_normalisation_is_the_one_the_model_was_designed_for(model: str, mean: tuple[float, ...]):
    """Each model's own mean stands in the graph, in grey levels."""
    norm = input_norm(TrainConfig(model=model))
    assert norm.mean.tolist() == pytest.approx([255 * value for value in mean])


def test_models_that_ask_for_the_input_size_get_the_geometry(tiles: FitTiles):
    """FastFlow's flows are built for the non-square input, and no pre-processor stays behind."""
    model = build(config("Fastflow", name="resnet18", options={"flow_steps": 1}), tiles)
    assert model.pre_processor is None
    assert [tuple(norm.normalized_shape) for norm in model.model.norms] == [
        (64, 16, 24),
        (128, 8, 12),
        (256, 4, 6),
    ]


@pytest.mark.parametrize(
    ("model", "key", "what"),
    [("EfficientAd", "imagenet_dir", "imagenette2.tgz"), ("Draem", "dtd_dir", "vgg/data/dtd")],
)
def test_missing_folder_of_further_pictures_says_what_to_download(
    tiles: FitTiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    key: str,
    what: str,
):
    """Anomalib would download gigabytes into the working folder; we say what to put where."""
    monkeypatch.chdir(tmp_path)
    wanted = rf"model_options.{key}: is missing; {model} learns from .*{what}.* name the folder"
    with pytest.raises(TrainingError, match=wanted):
        build(config(model), tiles)
    assert list(tmp_path.iterdir()) == []


def test_empty_folder_of_further_pictures_is_refused(tiles: FitTiles, tmp_path: Path):
    """A folder left by an interrupted download is no source of pictures."""
    with pytest.raises(TrainingError, match=r"imagenet_dir: .* is no folder with pictures"):
        build(config("EfficientAd", options={"imagenet_dir": str(tmp_path)}), tiles)


def test_missing_teacher_says_what_to_download(
    tiles: FitTiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """EfficientAD's teacher is looked for in the declared places; random only when allowed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures" / "any").mkdir(parents=True)
    settings = config("EfficientAd", options={"imagenet_dir": str(tmp_path / "pictures")})
    assert type(build(settings, tiles)).__name__ == "LocalEfficientAd"
    backbone = settings.backbone.model_copy(update={"allow_random_weights": False})
    wanted = r"no teacher found; unpack .*efficientad_pretrained_weights.zip.*pretrained_teacher_s"
    with pytest.raises(TrainingError, match=wanted):
        build(settings.model_copy(update={"backbone": backbone}), tiles)
