"""A converted segmenter made by hand: its graphs say what they were given; no torch is needed.

The masks of a real one are compared with torch's in tests/review/test_convert.py.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from inspection.bench.redness import ORIGIN
from inspection.bundles.saving import save_graph
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    BundleUnavailable,
    ConfigError,
    ImageError,
)
from inspection.core.imaging import Rgb
from inspection.core.records import PixelNorm, Weights, hash_file, write_record
from inspection.masks.grabcut import GrabCut
from inspection.masks.opening import BY_COLOURS, open_segmenter, read_card
from inspection.masks.sam import (
    BATCH,
    CARD,
    DECODER,
    DRAWN,
    ENCODER,
    FILES,
    Fit,
    SegmenterCard,
    lay_mask,
    lay_tokens,
)
from inspection.masks.segmenter import Prompt, warm_up
from tests.masks.parts import Oracle

pytestmark = pytest.mark.fast

SIDE, MASK = 32, 8
POINT, BESIDE, START, END, NO_POINT = 1, 10, 100, 1_000, 10_000  # what each label counts for


def encoder() -> openvino.Model:
    """Give the brightness of each 4×4 block above 128, and 0 where there is no image."""
    pixels = ops.parameter([1, SIDE, SIDE, 3], np.uint8, name="pixels")
    seen = ops.parameter([2], np.int32, name="seen_hw")
    grey = ops.reduce_mean(ops.convert(pixels, "f32"), np.array([3]))
    blocks = ops.reshape(grey, np.array([1, 1, MASK, 4, MASK, 4]), special_zero=False)
    bright = ops.subtract(ops.reduce_mean(blocks, np.array([3, 5])), np.float32(128))
    nothing = ops.multiply(ops.reduce_sum(ops.convert(seen, "f32"), np.array([0])), np.float32(0))
    return named(openvino.Model([ops.add(bright, nothing)], [pixels, seen]), ["feature.0"])


def decoder() -> openvino.Model:
    """Give bright blocks plus the guess, and their opposite; sum the labels, and x of points."""
    points = ops.parameter([-1, -1, 2], np.float32, name="points")
    labels = ops.parameter([-1, -1], np.int32, name="labels")
    guesses = ops.parameter([-1, 1, MASK, MASK], np.float32, name="guesses")
    guessed = ops.parameter([-1], np.bool_, name="guessed")
    feature = ops.parameter([1, 1, MASK, MASK], np.float32, name="feature.0")
    axes = np.array([1, 2, 3])
    counted = ops.multiply(guesses, ops.unsqueeze(ops.convert(guessed, "f32"), axes))
    logits = ops.add(feature, counted)
    worth = np.zeros(14, np.float32)
    worth[[9, 10, 11, 12, 13]] = NO_POINT, BESIDE, POINT, START, END
    of_label = ops.gather(ops.constant(worth), ops.add(labels, np.int32(10)), np.array(0))
    positive = ops.convert(ops.equal(labels, np.int32(1)), "f32")
    x = ops.gather(points, np.array(0), np.array(2))
    sums = [ops.reduce_sum(one, np.array([1]), keep_dims=True) for one in (of_label, x * positive)]
    both = ops.concat([logits, ops.negative(logits)], 1)
    inputs = [points, labels, guesses, guessed, feature]
    return named(openvino.Model([both, ops.concat(sums, 1)], inputs), ["logits", "sure"])


def named(model: openvino.Model, outputs: list[str]) -> openvino.Model:
    """Name inputs as their nodes and outputs as asked."""
    for port in model.inputs:
        port.get_tensor().set_names({port.get_node().get_friendly_name()})
    for port, name in zip(model.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    return model


def write_segmenter(folder: Path, kind: str = "sam") -> Path:
    """Write a folder as a conversion does; only a sam keeps an image's aspect."""
    folder.mkdir()
    keeps = kind == "sam"
    graph = encoder()
    if not keeps:
        seen = graph.get_parameters()[1]
        seen.output(0).replace(ops.constant(np.zeros(2, np.int32)).output(0))
        graph.remove_parameter(seen)
    save_graph(graph, folder / ENCODER)
    save_graph(decoder(), folder / DECODER)
    card = SegmenterCard(
        kind=kind,
        side_px=SIDE,
        mask_px=MASK,
        keeps_aspect=keeps,
        precision="fp32",
        pixels=PixelNorm(mean=(0, 0, 0), std=(1, 1, 1), grey_level=None),
        weights=Weights(name="by hand", source="folder", sha256="0" * 64),
        images_sha256="",
        key="",
        origin=ORIGIN,
        files={name: hash_file(folder / name) for name in FILES},
    )
    write_record(folder / CARD, card)
    return folder


@pytest.fixture(params=["sam", "sam2"])
def folder(request, tmp_path: Path) -> Path:
    """One that pads an image to its square, and one that stretches it."""
    return write_segmenter(tmp_path / "segmenter", request.param)


def half_bright(height: int, width: int) -> Rgb:
    """An image whose left half is bright."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = 255
    return pixels


CLICK = Prompt(positive=np.array([[3, 3]], np.float32))


@pytest.mark.parametrize("size_hw", [(24, 64), (64, 24), (16, 32), (300, 200)], ids=str)
def test_masks_have_the_size_of_the_image(folder: Path, size_hw: tuple[int, int]):
    """The padding is cut off; a bright left half is the left half of the mask."""
    pixels = half_bright(*size_hw)
    found = open_segmenter(folder).set_image(pixels).predict([CLICK])[0]
    assert found.masks.shape == (2, *size_hw)
    wrong = np.count_nonzero(found.masks[0] != (pixels[:, :, 0] > 0))
    assert wrong / found.masks[0].size < 0.05


def test_a_window_is_enlarged_like_the_whole(tmp_path: Path):
    """What is computed around positive logits only equals enlarging all of them."""
    segmenter = open_segmenter(write_segmenter(tmp_path / "segmenter", "sam2"))
    pixels = np.zeros((90, 140, 3), np.uint8)
    pixels[30:60, 40:100] = np.random.default_rng(0).integers(0, 255, (30, 60, 3))
    pixels[35:50, 50:80] = 255
    image = segmenter.set_image(pixels)
    logits = image.features["feature.0"][0, 0]
    whole = [
        cv2.resize(one, (140, 90), interpolation=cv2.INTER_LINEAR) for one in (logits, -logits)
    ]
    assert 0 < np.count_nonzero(whole[0] > 1e-3) < 90 * 140 / 2
    for mask, wanted in zip(image.predict([CLICK])[0].masks, whole, strict=True):
        clear = abs(wanted) > 1e-3
        np.testing.assert_array_equal(mask[clear], wanted[clear] > 0)


BOX = (2.0, 2.0, 20.0, 12.0)
TWO = np.array([[4, 4], [6, 8]], np.float32)
GUESS = np.where(np.arange(64) < 32, 5, -5).astype(np.float32)[None].repeat(24, 0)


@pytest.mark.parametrize(
    ("prompt", "sam", "sam2"),
    [
        (Prompt(positive=TWO), 2 * POINT + NO_POINT, 2 * POINT + NO_POINT),
        (Prompt(positive=TWO, negative=TWO[:1]), 12 + NO_POINT, 12 + NO_POINT),
        (Prompt(box=BOX), START + END, START + END + NO_POINT),
        (Prompt(box=BOX, negative=TWO[:1]), START + END + BESIDE, START + END + BESIDE + NO_POINT),
        (Prompt(mask=GUESS), 0, 2 * NO_POINT),
        (Prompt(positive=np.repeat(TWO, 10, 0)), 20 + NO_POINT, 20 + NO_POINT),
    ],
    ids=["points", "point beside", "box", "box and point", "mask alone", "twenty points"],
)
@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_a_prompt_becomes_the_tokens_the_models_know(
    tmp_path: Path, kind: str, prompt: Prompt, sam: int, sam2: int
):
    """SAM wants a point that is none where there is no box, SAM 2 always; see transformers."""
    image = open_segmenter(write_segmenter(tmp_path / "made", kind)).set_image(half_bright(24, 64))
    assert image.predict([prompt])[0].sure[0] == (sam if kind == "sam" else sam2)


@pytest.mark.parametrize(("kind", "wanted"), [("sam", 5 * 32 / 64), ("sam2", 5 * 32 / 64)])
def test_places_are_scaled_to_the_square(tmp_path: Path, kind: str, wanted: float):
    """The sum of x, 4 and 6 of 64 px, in px of a square of 32 px."""
    image = open_segmenter(write_segmenter(tmp_path / "made", kind)).set_image(half_bright(24, 64))
    assert image.predict([Prompt(positive=TWO)])[0].sure[1] == 2 * wanted


def test_a_tall_image_is_stretched_or_scaled(tmp_path: Path):
    """In 64×24 px SAM halves x, SAM 2 stretches it by 32/24."""
    for kind, scale in (("sam", 0.5), ("sam2", 32 / 24)):
        segmenter = open_segmenter(write_segmenter(tmp_path / kind, kind))
        sure = segmenter.set_image(half_bright(64, 24)).predict([Prompt(positive=TWO)])[0].sure
        assert sure[1] == pytest.approx(10 * scale)


def test_prompts_of_different_length_do_not_touch_each_other(folder: Path):
    """Batches of any size answer as each prompt alone, in order."""
    image = open_segmenter(folder).set_image(half_bright(24, 64))
    several = [
        Prompt(positive=np.full((1 + i % 12, 2), i, np.float32), mask=GUESS if i % 3 else None)
        for i in range(2 * BATCH + 3)
    ]
    for prompt, found in zip(several, image.predict(several), strict=True):
        alone = image.predict([prompt])[0]
        np.testing.assert_array_equal(found.masks, alone.masks)
        np.testing.assert_array_equal(found.sure, alone.sure)
    assert image.predict([]) == []


def test_a_mask_prompt_lies_where_the_image_does(folder: Path):
    """A guess of the left half on a grey image gives the left half."""
    grey = np.full((24, 64, 3), 128, np.uint8)
    found = open_segmenter(folder).set_image(grey).predict([Prompt(mask=GUESS)])[0]
    assert np.count_nonzero(found.masks[0] != (GUESS > 0)) / GUESS.size < 0.1


def test_box_and_clicks_are_drawn_where_they_are():
    """In the mask prompt, scaled like the image: the box, not what is beside; a guess is first."""
    fit = Fit(32, (24, 64), keeps_aspect=False)  # px of the mask prompt: a half of x, 4/3 of y
    drawn = lay_mask(Prompt(box=(2.0, 3.0, 21.0, 12.0)), fit, 32)
    inside = drawn[4:16, 1:10]
    assert (inside.min(), np.count_nonzero(drawn > 0)) == (DRAWN, inside.size)
    assert drawn[4, 10] == 0  # half of it belongs to the box
    assert (drawn[3].max(), drawn[:, 0].max(), drawn[:, 11:].max()) == (-DRAWN, -DRAWN, -DRAWN)
    clicked = lay_mask(Prompt(positive=TWO[:1], negative=TWO[1:] * 2), fit, 32)
    assert (clicked[5, 2], clicked[21, 6], clicked[20, 20]) == (DRAWN, -DRAWN, 0)
    beside = lay_mask(Prompt(positive=TWO[:1], negative=TWO[:1] + 3), fit, 32)
    assert (beside[5, 2], beside[9, 3]) == (DRAWN, -DRAWN)  # each keeps its own cell
    both = Prompt(box=BOX, mask=GUESS)
    np.testing.assert_array_equal(lay_mask(both, fit, 32), fit.mask(GUESS, 32))


@pytest.mark.parametrize("left", [10.0, 10.7, 11.4])
def test_a_thin_box_is_drawn_wherever_it_lies(left: float):
    """A crack may be thinner than a cell of the mask prompt."""
    fit = Fit(32, (24, 64), keeps_aspect=False)
    drawn = lay_mask(Prompt(box=(left, 3.0, left + 0.8, 12.0)), fit, 32)
    assert drawn.max() == DRAWN
    assert np.count_nonzero((drawn > 0).any(axis=0)) <= 2


def test_a_box_that_reaches_beyond_the_picture_is_that_within_it(folder: Path):
    image = open_segmenter(folder).set_image(half_bright(24, 64))
    beyond, within = Prompt(box=(-1e6, 2.0, 20.0, 1e6)), Prompt(box=(0.0, 2.0, 20.0, 24.0))
    one, other = image.predict([beyond, within])
    np.testing.assert_array_equal(one.masks, other.masks)
    np.testing.assert_array_equal(one.sure, other.sure)


def test_only_a_model_that_learnt_it_is_shown_drawn_prompts():
    """Others are told of no mask where there is no guess."""
    fit, asked = Fit(32, (24, 64), keeps_aspect=False), [Prompt(box=BOX), Prompt(mask=GUESS)]
    told = [lay_tokens(asked, fit, 32, "edgetam", draws=draws) for draws in (False, True)]
    assert [one["guessed"].tolist() for one in told] == [[False, True], [True, True]]
    assert [bool(one["guesses"][0].any()) for one in told] == [False, True]


def test_what_does_not_fit_is_refused(folder: Path):
    """The image as anywhere else, the prompts by the protocol's own rule."""
    segmenter = open_segmenter(folder)
    with pytest.raises(ImageError, match="float32"):
        segmenter.set_image(np.zeros((24, 64, 3), np.float32))
    image = segmenter.set_image(half_bright(24, 64))
    with pytest.raises(ConfigError, match=r"mask is 64×23 px; wanted 64×24"):
        image.predict([CLICK, Prompt(mask=GUESS[:23])])


def test_several_threads_share_one(folder: Path):
    """Images set and asked at once are answered as one after the other."""
    segmenter = open_segmenter(folder)
    images = [half_bright(24 + i, 64) for i in range(8)]
    wanted = [segmenter.set_image(image).predict([CLICK])[0].masks for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda image: segmenter.set_image(image).predict([CLICK] * 3), images)
    for answers, masks in zip(found, wanted, strict=True):
        for answer in answers:
            np.testing.assert_array_equal(answer.masks, masks)


def test_it_says_which_weights_judge(folder: Path):
    """Whoever reads a mask can find out what drew it."""
    segmenter = open_segmenter(folder)
    assert segmenter.name.endswith("fp32: by hand (folder, 000000000000)")
    assert segmenter.side_px == SIDE


def test_grabcut_has_a_name():
    """It needs nothing."""
    assert isinstance(open_segmenter(BY_COLOURS), GrabCut)


def test_a_folder_that_is_none_is_refused(tmp_path: Path):
    """Told by what is missing in it."""
    with pytest.raises(BundleError, match=r"no segmenter\.json here; wanted"):
        open_segmenter(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_every_changed_byte_is_found(folder: Path, name: str):
    """Before OpenVINO reads any of them."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleCorrupt, match=f"'{name}' is missing or was changed; remove it"):
        open_segmenter(folder)
    (folder / name).unlink()
    with pytest.raises(BundleCorrupt, match=f"'{name}' is missing or was changed; remove it"):
        read_card(folder)


def test_a_damaged_card_is_refused(folder: Path):
    """Also one that names none of the files."""
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"files": {}}))
    with pytest.raises(BundleCorrupt, match=r"'encoder\.xml' .* 'decoder\.bin'"):
        open_segmenter(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(BundleCorrupt, match="not JSON"):
        open_segmenter(folder)


def test_a_graph_openvino_cannot_read_is_told(folder: Path):
    """The bytes are those of the card, but no graph."""
    (folder / DECODER).write_text("no graph")
    write_record(folder / CARD, card_of_files(folder))
    with pytest.raises(BundleUnavailable, match=r"decoder\.xml: OpenVINO cannot load it"):
        open_segmenter(folder)


def card_of_files(folder: Path) -> SegmenterCard:
    """Give its card with the hashes of the files as they are."""
    card = SegmenterCard.model_validate_json((folder / CARD).read_text())
    return card.model_copy(update={"files": {name: hash_file(folder / name) for name in FILES}})


def test_a_warm_segmenter_was_asked_few_and_many(folder: Path):
    """What a refiner asks needs 8 tokens or 16; each is the first of its kind only once."""
    segmenter = Oracle(np.ones((64, 64), np.bool_))
    warm_up(segmenter)
    asked = segmenter.prompts
    assert len(asked) == 6
    places = {2 + len(one.positive) + len(one.negative) + 1 for one in asked}
    assert (min(places) <= 8 < max(places) <= 16, len(places)) == (True, 2)
    for real in (open_segmenter(folder), GrabCut()):
        warm_up(real)
