"""First convolutions on the camera's own numbers, against the same arithmetic in float."""

import numpy as np
import openvino
import pytest
from openvino import Node
from openvino import opset13 as ops

from inspection.bundles.graph import compile_graph
from inspection.core.imaging import Rgb
from inspection.core.records import PixelNorm
from inspection.export.stem import first_convolutions, integer_stems, normalise
from tests.training.tiny import IMAGENET, PLAIN

pytestmark = pytest.mark.fast

GREY = IMAGENET.model_copy(update={"grey_level": 110.0})
EVEN = PixelNorm(mean=(100, 100, 100), std=(50, 60, 70), grey_level=None)
HEIGHT, WIDTH = 24, 32


def draw_tile(seed: int = 0, low: int = 0, high: int = 256) -> Rgb:
    """Draw noise, uint8 (H, W, 3)."""
    return np.random.default_rng(seed).integers(low, high, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def normalised(pixels: Node, norm: PixelNorm) -> Node:
    """Normalise in the graph, as training's InputNorm does; float32 (1, 3, H, W)."""
    image = ops.convert(pixels, np.float32)
    if norm.grey_level:
        level = ops.reduce_mean(image, np.array([1, 2, 3]), keep_dims=True)
        image = ops.multiply(image, ops.divide(np.float32(110), ops.add(level, np.float32(1))))
    mean, std = (np.array(value, np.float32).reshape(1, 1, 1, 3) for value in (norm.mean, norm.std))
    return ops.transpose(ops.divide(ops.subtract(image, mean), std), np.array([0, 3, 1, 2]))


def network(norm: PixelNorm, kernels: list[np.ndarray], stride: int = 2) -> openvino.Model:
    """Convolutions beside each other on the normalised pixels, each an output."""
    pixels = ops.parameter([1, HEIGHT, WIDTH, 3], np.uint8)
    source = normalised(pixels, norm)
    results = []
    for kernel in kernels:
        pad = [kernel.shape[2] // 2, kernel.shape[3] // 2]
        stem = ops.convolution(
            source, kernel.astype(np.float32), [stride, stride], pad, pad, [1, 1]
        )
        results.append(ops.result(stem))
    return openvino.Model(results, [pixels], "stems")


def draw_kernel(side: int = 3, channels: int = 8, seed: int = 1) -> np.ndarray:
    """Draw a kernel (o, 3, side, side)."""
    return np.random.default_rng(seed).normal(0, 0.2, (channels, 3, side, side))


def outputs(model: openvino.Model, tile: Rgb) -> list[np.ndarray]:
    """Run a graph on one tile."""
    return list(compile_graph(model)(tile[None]).values())


def types(model: openvino.Model) -> list[str]:
    """Types of the nodes in order."""
    return [node.get_type_name() for node in model.get_ordered_ops()]


@pytest.mark.parametrize("norm", [PLAIN, IMAGENET, GREY], ids=["plain", "imagenet", "grey"])
@pytest.mark.parametrize("side", [1, 3, 7])
def test_integer_stem_gives_what_the_float_one_gives(norm: PixelNorm, side: int):
    """All that is lost is the rounding of the kernel, inside the image and at its borders."""
    model, tile = network(norm, [draw_kernel(side)]), draw_tile()
    small = integer_stems(model, norm, tile)
    assert types(small).count("FakeQuantize") == 1
    wanted, found = outputs(model, tile)[0], outputs(small, tile)[0]
    assert found.shape == wanted.shape
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.999
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_kernel_of_integers_loses_nothing():
    """Where the kernel needs no rounding, nothing differs; borders neither, at one mean level."""
    kernel = np.random.default_rng(2).integers(-127, 128, (4, 3, 3, 3)) / 127
    kernel[:, 0, 0, 0] = 1  # so that the scale is exact
    kernel *= np.array(EVEN.std).reshape(1, 3, 1, 1)
    model, tile = network(EVEN, [kernel]), draw_tile(3)
    wanted, found = outputs(model, tile)[0], outputs(integer_stems(model, EVEN, tile), tile)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3 * np.abs(wanted).max())


def test_grey_level_follows_each_image():
    """Made from a bright tile, the graph judges a dark one with the dark one's own gain."""
    model = network(GREY, [draw_kernel()])
    small = integer_stems(model, GREY, draw_tile(high=256, low=128))
    dark = draw_tile(5, high=40)
    wanted, found = outputs(model, dark)[0], outputs(small, dark)[0]
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


def test_black_image_is_judged():
    """A gain of 110 stays a number; it magnifies the rounding of the padding, inside nothing."""
    model, black = network(GREY, [draw_kernel()]), np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    found = outputs(integer_stems(model, GREY, draw_tile()), black)[0]
    wanted = outputs(model, black)[0]
    np.testing.assert_allclose(found, wanted, atol=0.3)
    np.testing.assert_allclose(found[..., 1:-1, 1:-1], wanted[..., 1:-1, 1:-1], atol=0.05)


def test_teacher_and_student_each_get_theirs():
    """Every first convolution is replaced, and each keeps its own kernel."""
    model, tile = network(IMAGENET, [draw_kernel(), draw_kernel(7, 4, seed=9)]), draw_tile()
    small = integer_stems(model, IMAGENET, tile)
    assert types(small).count("FakeQuantize") == 2
    for wanted, found in zip(outputs(model, tile), outputs(small, tile), strict=True):
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.999


def test_original_is_unchanged():
    """Another graph is given; the float one still is one."""
    model = network(IMAGENET, [draw_kernel()])
    integer_stems(model, IMAGENET, draw_tile())
    assert "FakeQuantize" not in types(model)


def test_convolution_that_reads_anything_else_stays_float():
    """A model that normalises again, or a wrong record, keeps its float stem."""
    model, tile = network(IMAGENET, [draw_kernel()]), draw_tile()
    assert types(integer_stems(model, PLAIN, tile)) == types(model)


def test_dilated_convolution_stays_float():
    """Only plain convolutions are understood."""
    pixels = ops.parameter([1, HEIGHT, WIDTH, 3], np.uint8)
    kernel = draw_kernel().astype(np.float32)
    stem = ops.convolution(normalised(pixels, PLAIN), kernel, [1, 1], [2, 2], [2, 2], [2, 2])
    model = openvino.Model([ops.result(stem)], [pixels], "dilated")
    assert types(integer_stems(model, PLAIN, draw_tile())) == types(model)


def test_only_the_first_of_a_chain_is_a_first_convolution():
    """What reads another convolution is none."""
    model = network(PLAIN, [draw_kernel()], stride=1)
    behind = ops.convolution(
        model.get_results()[0].input_value(0),
        np.ones((2, 8, 1, 1), np.float32), [1, 1], [0, 0], [0, 0], [1, 1],
    )  # fmt: skip
    chain = openvino.Model([ops.result(behind)], model.get_parameters(), "chain")
    assert [node.get_output_shape(0)[1] for node in first_convolutions(chain)] == [8]


@pytest.mark.parametrize("norm", [IMAGENET, GREY], ids=["fixed", "per image"])
def test_normalisation_in_numpy_is_the_graphs(norm: PixelNorm):
    """What a stem's source is compared with."""
    pixels = ops.parameter([1, HEIGHT, WIDTH, 3], np.uint8)
    graph = openvino.Model([ops.result(normalised(pixels, norm))], [pixels], "norm")
    tile = draw_tile(4)
    np.testing.assert_allclose(normalise(tile, norm), outputs(graph, tile)[0], atol=1e-4)
