"""Checkpoints and their conversion: OpenVINO answers as torch does, once per weights and images."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import (
    EdgeTamConfig,
    EdgeTamModel,
    Sam2ImageProcessor,
    Sam2Processor,
    SamImageProcessor,
    SamProcessor,
)

from inspection.bench.tiny_sam import SIDE_PX, compare, draw_cases, make_tiny_sam
from inspection.core.errors import BundleCorrupt, ConfigError, ImageError, InspectionError
from inspection.core.imaging import Rgb, resize
from inspection.masks.opening import open_segmenter, read_card
from inspection.masks.sam import CARD, DECODER, FILES, SamImage
from inspection.masks.segmenter import Candidates, Prompt
from inspection.review.checkpoint import load_checkpoint, save_checkpoint
from inspection.review.convert import Encoder, convert_segmenter

STEPS = 200  # enough for masks that mean something, not for good ones
KINDS = ("sam", "sam2")


@dataclass(frozen=True)
class Made:
    """A small trained checkpoint and its conversion to INT8."""

    checkpoint: str
    cache: Path
    images: list[Rgb]
    folder: Path


@pytest.fixture(params=KINDS, scope="module")
def made(request, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Trained, converted, and left as they are by every test."""
    work = tmp_path_factory.mktemp(request.param)
    make_tiny_sam(request.param, work / "checkpoint", STEPS)
    checkpoint, images = str(work / "checkpoint"), [case.pixels for case in draw_cases(24, 2)]
    folder = convert_segmenter(checkpoint, work / "cache", images)
    return Made(checkpoint, work / "cache", images, folder)


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Path:
    """A copy of the checkpoint to damage."""
    return Path(shutil.copytree(made.checkpoint, tmp_path / "copy"))


def test_int8_masks_are_those_of_torch(made: Made):
    """Mean IoU of 0.97 on parts that neither training nor calibration saw."""
    found = compare(made.checkpoint, made.folder, draw_cases(40, 1))
    assert found.iou_torch >= 0.97
    assert found.same_best >= 0.8
    assert found.iou_truth_torch >= 0.35
    assert found.prompts == 40


BOX = (20.5, 10.0, 70.0, 60.25)
GUESS = np.where(np.hypot(*np.ogrid[-30:60, -50:90]) < 20, 4, -4).astype(np.float32)
PROMPTS = (
    Prompt(box=BOX),
    Prompt(positive=np.array([[50.0, 30.0]], np.float32)),
    Prompt(
        positive=np.array([[50, 30], [60, 40]], np.float32), negative=np.ones((1, 2), np.float32)
    ),
    Prompt(box=BOX, positive=np.array([[40.0, 20.0]], np.float32)),
    Prompt(mask=GUESS),
    Prompt(box=BOX, mask=GUESS),
)
NAMES = ("box", "point", "points", "box and point", "mask", "box and mask")


@pytest.fixture(scope="module")
def part() -> Rgb:
    """A part that is not square."""
    return resize(draw_cases(1, 3)[0].pixels, 90, 140)


@pytest.fixture(scope="module")
def answered(made: Made, part: Rgb) -> tuple[SamImage, list[Candidates]]:
    """All prompts asked at once."""
    image = open_segmenter(made.folder).set_image(part)
    return image, image.predict(PROMPTS)


def processor_of(kind: str) -> SamProcessor | Sam2Processor:
    """Give transformers' own processor for the small models."""
    square = {"height": SIDE_PX, "width": SIDE_PX}
    if kind == "sam":
        longest = {"longest_edge": SIDE_PX}
        return SamProcessor(SamImageProcessor(size=longest, pad_size=square))
    return Sam2Processor(Sam2ImageProcessor(size=square))


@pytest.mark.parametrize("number", range(len(PROMPTS)), ids=NAMES)
@torch.no_grad()
def test_the_decoder_answers_each_prompt_as_transformers_does(
    made: Made, part: Rgb, answered: tuple[SamImage, list[Candidates]], number: int
):
    """From the same features; places, masks and padding by transformers' own processor.

    Masks of several prompts, padded to one batch, equal those of one prompt without padding.
    """
    image, found = answered
    prompt, checkpoint = PROMPTS[number], load_checkpoint(made.checkpoint)
    processor = processor_of(checkpoint.kind)
    asked = {}
    if len(prompt.positive):
        places = np.concatenate([prompt.positive, prompt.negative]).tolist()
        asked["input_points"] = [[places]]
        asked["input_labels"] = [[[1] * len(prompt.positive) + [0] * len(prompt.negative)]]
    if prompt.box:
        asked["input_boxes"] = [[list(prompt.box)]]
    given = processor(images=part, return_tensors="pt", **asked)
    inputs = {
        name: given[name].float() for name in ("input_points", "input_boxes") if name in given
    }
    if "input_labels" in given:
        inputs["input_labels"] = given["input_labels"]
    if prompt.mask is not None:
        guess = image.fit.mask(prompt.mask, checkpoint.mask_px)
        inputs["input_masks"] = torch.from_numpy(guess)[None, None]
    features = [torch.from_numpy(one) for one in image.features.values()]
    embedding = features[0] if checkpoint.kind == "sam" else features
    wanted = checkpoint.model(image_embeddings=embedding, **inputs)
    sizes = [given[key] for key in ("original_sizes", "reshaped_input_sizes") if key in given]
    masks = processor.post_process_masks(wanted.pred_masks, *sizes)[0][0].numpy()
    assert found[number].masks.shape == masks.shape == (3, 90, 140)
    np.testing.assert_allclose(found[number].sure, wanted.iou_scores[0, 0], atol=1e-4)
    assert np.count_nonzero(found[number].masks != masks) <= masks.size / 1e4


@torch.no_grad()
def test_the_encoder_sees_what_transformers_processor_gives(made: Made):
    """Normalised alike, and 0 where SAM pads; the image has the right size already."""
    checkpoint = load_checkpoint(made.checkpoint)
    size_hw = (96, SIDE_PX) if checkpoint.kind == "sam" else (SIDE_PX, SIDE_PX)
    image = resize(made.images[0], *size_hw)
    pixels = processor_of(checkpoint.kind)(images=image, return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(checkpoint.normalised(image), pixels, atol=1e-5)
    inputs = checkpoint.fit(size_hw).inputs(image)
    ours = Encoder(checkpoint)(*(torch.from_numpy(one) for one in inputs.values()))
    wanted = checkpoint.model.get_image_embeddings(pixels)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    for feature, other in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(feature, other, atol=1e-4)


def test_int8_features_are_near_those_of_torch(
    made: Made, part: Rgb, answered: tuple[SamImage, list[Candidates]]
):
    """Of a part that is padded or stretched, each feature map for itself."""
    checkpoint = load_checkpoint(made.checkpoint)
    wanted = checkpoint.model.get_image_embeddings(checkpoint.normalised(part))
    wanted = wanted if isinstance(wanted, list) else [wanted]
    for feature, other in zip(answered[0].features.values(), wanted, strict=True):
        assert np.corrcoef(feature.ravel(), other.numpy().ravel())[0, 1] > 0.98


def test_the_encoder_is_int8_and_the_decoder_is_not(made: Made):
    """Else the numbers above would be those of float32."""
    text = (made.folder / "encoder.xml").read_text()
    assert text.count("FakeQuantize") > 10
    assert 'element_type="i8"' in text
    assert "FakeQuantize" not in (made.folder / DECODER).read_text()


def test_the_same_is_converted_once(made: Made, monkeypatch: pytest.MonkeyPatch):
    """A second call converts and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in made.cache.rglob("*")}
    monkeypatch.setattr(openvino, "convert_model", None)
    assert convert_segmenter(made.checkpoint, made.cache, made.images) == made.folder
    assert {path: path.stat().st_mtime_ns for path in made.cache.rglob("*")} == before


class Interrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C."""


def interrupt(*_: object, **__: object) -> None:
    """Stand in for OpenVINO's converter."""
    raise Interrupted


@pytest.mark.parametrize("change", ["images", "weights", "precision", "config"])
def test_anything_else_is_converted_anew(
    made: Made, copied: Path, change: str, monkeypatch: pytest.MonkeyPatch
):
    """Other images, weights, precision or configuration; not another place of the same weights."""
    monkeypatch.setattr(openvino, "convert_model", interrupt)
    assert convert_segmenter(str(copied), made.cache, made.images) == made.folder
    images, precision = made.images, "int8"
    if change == "images":
        images = images[1:]
    elif change == "precision":
        precision = "fp32"
    elif change == "config":
        config = json.loads((copied / "config.json").read_text())
        config["mask_decoder_config"]["num_attention_heads"] = 2
        (copied / "config.json").write_text(json.dumps(config))
    else:
        tensors = load_file(copied / "model.safetensors")
        tensors["mask_decoder.iou_token.weight"] += 1
        save_file(tensors, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(Interrupted):
        convert_segmenter(str(copied), made.cache, images, precision)


def test_an_interrupted_conversion_leaves_nothing(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not even a hidden folder."""
    monkeypatch.setattr(openvino, "convert_model", interrupt)
    with pytest.raises(Interrupted):
        convert_segmenter(made.checkpoint, tmp_path / "cache", made.images)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_conversion_is_not_taken_for_done(made: Made, tmp_path: Path):
    """Its bytes are checked before it is said to be there."""
    cache = Path(shutil.copytree(made.cache, tmp_path / "cache"))
    (cache / made.folder.name / DECODER).write_text("")
    with pytest.raises(BundleCorrupt, match=r"'decoder\.xml' is missing or was changed; remove"):
        convert_segmenter(made.checkpoint, cache, made.images)


def test_a_conversion_says_what_it_is(made: Made):
    """Weights, versions and hashes, and no path of the machine it was made on."""
    card = read_card(made.folder)
    assert card.weights.name == "checkpoint"
    assert card.weights.sha256 == load_checkpoint(made.checkpoint).sha256
    assert {"nncf", "openvino", "torch", "transformers"} <= card.origin.versions.keys()
    assert sorted(path.name for path in made.folder.iterdir()) == sorted([CARD, *FILES])
    assert str(made.cache.parent) not in (made.folder / CARD).read_text()


def test_int8_needs_images(made: Made):
    """And those as everywhere, before anything is loaded."""
    with pytest.raises(ConfigError, match="no images; INT8 wants some"):
        convert_segmenter(made.checkpoint, made.cache, [])
    with pytest.raises(ImageError, match="image 1 to calibrate on: image is float64"):
        convert_segmenter("nowhere", made.cache, [made.images[0], np.zeros((90, 140, 3))])


def test_edgetam_fits_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """With weights that mean nothing: its float32 graphs give torch's masks; stdout stays empty."""
    torch.manual_seed(0)
    timm = {
        "model_type": "timm_wrapper",
        "architecture": "resnet10t",
        "do_pooling": False,
        "num_classes": 2,
        "label_names": ["a", "b"],
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [1, 2, 3, 4]},
        "initializer_range": 0.1,
    }
    vision = {
        "backbone_config": timm,
        "backbone_channel_list": [512, 256, 128, 64],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": 32,
        "initializer_range": 0.1,
    }
    head = {"hidden_size": 32, "num_attention_heads": 4, "mlp_dim": 64, "iou_head_hidden_dim": 32}
    config = EdgeTamConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE_PX, "patch_size": 16},
        mask_decoder_config=head,
        initializer_range=0.1,
    )
    EdgeTamModel(config).save_pretrained(tmp_path / "edgetam")
    capfd.readouterr()
    folder = convert_segmenter(str(tmp_path / "edgetam"), tmp_path / "cache", [], "fp32")
    assert capfd.readouterr().out == ""
    assert compare(str(tmp_path / "edgetam"), folder, draw_cases(4, 1)).iou_torch > 0.999


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(box=(30, 20, 90, 70)),
        Prompt(positive=np.float32([[60, 45]]), negative=np.float32([[10, 10]])),
        Prompt(box=(30, 20, 90, 70), mask=np.full((96, 128), 2, np.float32)),
    ],
    ids=["box", "clicks", "guess"],
)
@torch.no_grad()
def test_ours_draws_its_prompts_on_openvino_too(tmp_path: Path, prompt: Prompt):
    """Asked for by its word, converted, it answers as torch does."""
    ours = load_checkpoint("shipped")
    assert (ours.draws_prompts, ours.source) == (True, "shipped")
    pixels = draw_cases(1, 1)[0].pixels[:96, :128]
    embedding = ours.model.get_image_embeddings(ours.normalised(pixels))
    logits, sure = ours.answer(embedding, prompt, (96, 128))
    converted = open_segmenter(convert_segmenter("shipped", tmp_path, [], "fp32"))
    found = converted.set_image(pixels).predict([prompt])[0]
    np.testing.assert_allclose(found.sure, sure, atol=1e-3)
    assert np.mean(found.masks != (logits > 0).numpy()) < 1e-3


def test_what_is_saved_of_ours_still_draws_its_prompts(tmp_path: Path):
    """As after tuning."""
    save_checkpoint(load_checkpoint("shipped"), tmp_path / "saved")
    assert load_checkpoint(str(tmp_path / "saved")).draws_prompts


def test_a_model_that_is_no_sam_is_refused(tmp_path: Path):
    """Told by its model_type."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="model_type is 'bert'; wanted sam, sam2, sam2_video"):
        load_checkpoint(str(tmp_path))


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path):
    """As is one whose configuration is damaged."""
    with pytest.raises(ConfigError, match=r"no config\.json with a model_type here"):
        load_checkpoint(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InspectionError, match=r"config\.json: damaged .*; download it again"):
        load_checkpoint(str(tmp_path))


def test_nothing_is_unpickled(copied: Path):
    """A folder with pickled weights only is refused with what to do."""
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"only pytorch_model\.bin, which would run code; wanted"):
        load_checkpoint(str(copied))
    (copied / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match=r"no whole weights; wanted model\.safetensors"):
        load_checkpoint(str(copied))


def test_damaged_weights_are_refused(copied: Path):
    """Cut short, or without a tensor, which transformers would fill at random."""
    path = copied / "model.safetensors"
    tensors = load_file(path)
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(InspectionError, match=r"1 tensors are missing \(mask_decoder\.iou_token"):
        load_checkpoint(str(copied))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InspectionError, match=r"cannot be loaded .*; download it again"):
        load_checkpoint(str(copied))


def test_shards_are_one_checkpoint(made: Made, copied: Path):
    """Weights in several files give the same model; a lost file is missed."""
    model = load_checkpoint(made.checkpoint).model
    (copied / "model.safetensors").unlink()
    model.save_pretrained(copied, max_shard_size="300KB")
    assert len(list(copied.glob("model-*.safetensors"))) > 1
    sharded = load_checkpoint(str(copied)).model.state_dict()
    assert all(torch.equal(sharded[name], value) for name, value in model.state_dict().items())
    next(copied.glob("model-*.safetensors")).unlink()
    with pytest.raises(ConfigError, match="no whole weights"):
        load_checkpoint(str(copied))


def test_pixels_are_normalised_as_the_checkpoint_says(made: Made, copied: Path):
    """ImageNet's numbers where it says nothing."""
    assert load_checkpoint(made.checkpoint).pixels.mean == (123.675, 116.28, 103.53)
    own = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}
    (copied / "preprocessor_config.json").write_text(json.dumps(own))
    (copied / "processor_config.json").write_text(json.dumps({"processor_class": "SamProcessor"}))
    assert load_checkpoint(str(copied)).pixels.mean == pytest.approx((127.5, 102, 76.5))
    nested = {"image_processor": {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}}
    (copied / "processor_config.json").write_text(json.dumps(nested))
    assert load_checkpoint(str(copied)).pixels.std == (255, 255, 255)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "owner/absent",
            r"owner/absent: .* run: hf download owner/absent --local-dir FOLDER; copy",
        ),
        ("a/b/c", "a/b/c: neither a folder nor a name of the hub"),
    ],
)
def test_a_name_without_network_says_what_to_fetch(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Which repository, and where to put it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=said):
        load_checkpoint(name)
