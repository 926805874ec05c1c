"""What Lightning is fed: the station's own tiles, normalised as in the exported graph."""

from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

from inspection.core.parts import FitTiles
from inspection.core.records import read_manifest
from inspection.training.frames import GREY_LEVEL, FitData, InputNorm
from tests.training.tiny import GEOMETRY

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RNG = np.random.default_rng(0)
FRAMES = {
    "noise": RNG.integers(0, 256, (1, 24, 40, 3), dtype=np.uint8),
    "black": np.zeros((1, 24, 40, 3), np.uint8),
    "all one": np.ones((1, 24, 40, 3), np.uint8),
    "white": np.full((1, 24, 40, 3), 255, np.uint8),
}


@pytest.fixture(scope="module")
def tiles(manifest: Path) -> FitTiles:
    """The fit tiles of the generated set."""
    return FitTiles(read_manifest(manifest), GEOMETRY)


def wanted(pixels: np.ndarray, *, per_image: bool) -> np.ndarray:
    """The rule in float64: scale the light, divide by 255, subtract the mean, divide by std."""
    image = pixels.astype(np.float64)
    if per_image:
        image *= GREY_LEVEL / (image.mean((1, 2, 3), keepdims=True) + 1)
    return ((image / 255 - MEAN) / STD).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("per_image", [False, True], ids=["fixed", "per image"])
@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.filterwarnings("ignore:`torch.jit.trace")
def test_graph_normalises_as_training_does(name: str, *, per_image: bool):
    """The exported graph, torch and the rule written out agree on every kind of frame."""
    norm = InputNorm(MEAN, STD, per_image=per_image)
    pixels = FRAMES[name]
    torch_side = norm(torch.from_numpy(pixels)).numpy()
    graph = openvino.convert_model(norm, example_input=torch.from_numpy(pixels))
    graph_side = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels)
    rule = wanted(pixels, per_image=per_image)
    np.testing.assert_allclose(torch_side, rule, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(graph_side[0], rule, rtol=1e-5, atol=1e-5)


def test_per_image_light_does_not_depend_on_the_batch():
    """Adding a bright frame to a batch does not change what a dark one becomes."""
    norm = InputNorm(MEAN, STD, per_image=True)
    dark, bright = (torch.full((1, 8, 12, 3), level, dtype=torch.uint8) for level in (20, 240))
    alone = norm(dark)
    assert torch.equal(norm(torch.cat([dark, bright]))[:1], alone)


def test_per_image_gives_dark_and_bright_frames_one_level():
    """The same part at half the light looks the same to the backbone."""
    norm = InputNorm(MEAN, STD, per_image=True)
    part = torch.from_numpy(FRAMES["noise"])
    torch.testing.assert_close(norm(part // 2 * 2), norm(part // 2), rtol=0, atol=0.05)


def test_batches_hold_the_prepared_tiles_normalised(tiles: FitTiles):
    """Training sees exactly what `prepare` gives the station, in order, with its number."""
    data = FitData(
        tiles, InputNorm(MEAN, STD, per_image=False), batch_size=4, seed=0, shuffle=False
    )
    batches = list(data.train_dataloader())
    assert [len(batch.image) for batch in batches] == [4, 2]
    assert [name for batch in batches for name in batch.image_path] == [str(n) for n in range(6)]
    images = torch.cat([batch.image for batch in batches]).numpy()
    pixels = np.stack([tiles[number] for number in range(6)])
    np.testing.assert_allclose(images, wanted(pixels, per_image=False), rtol=1e-5, atol=1e-5)


def test_every_part_of_the_fit_split_is_normal(tiles: FitTiles):
    """No label but good ever reaches a model."""
    data = FitData(
        tiles, InputNorm(MEAN, STD, per_image=False), batch_size=6, seed=0, shuffle=False
    )
    assert next(iter(data.train_dataloader())).gt_label.tolist() == [False] * 6


def order(tiles: FitTiles, seed: int) -> list[str]:
    """The order in which a shuffling loader gives the tiles in its first pass."""
    norm = InputNorm(MEAN, STD, per_image=False)
    data = FitData(tiles, norm, batch_size=1, seed=seed, shuffle=True)
    return [batch.image_path[0] for batch in data.train_dataloader()]


def test_shuffled_order_follows_the_seed(tiles: FitTiles):
    """The same seed gives the same order, another seed another, every tile once."""
    assert order(tiles, 3) == order(tiles, 3)
    assert len({tuple(order(tiles, seed)) for seed in range(5)}) > 1
    assert sorted(order(tiles, 3)) == [str(number) for number in range(6)]


def test_validation_reads_the_fit_split_in_order(tiles: FitTiles):
    """EfficientAD's quantiles come from normals of the fit split; no other split is touched."""
    norm = InputNorm(MEAN, STD, per_image=False)
    data = FitData(tiles, norm, batch_size=2, seed=0, shuffle=True)
    names = [name for batch in data.val_dataloader() for name in batch.image_path]
    assert names == [str(number) for number in range(6)]
