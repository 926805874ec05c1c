"""Shrinks parts by whole factors on the graph's own processor threads.

OpenCV's area interpolation of three channels is scalar code and costs more than half as much as a
small model. By whole factors it is a mean over blocks, which is a convolution of integers, and
OpenVINO has a fast one; the result is the same to the bit.
"""

import logging

import numpy as np
import openvino
from openvino import opset13 as ops

from inspection.bundles.graph import Compiling, Graph
from inspection.core.errors import BundleError
from inspection.core.imaging import Rgb, resize

logger = logging.getLogger(__name__)

SizeHw = tuple[int, int]
LEAST_PX = 200_000  # below this OpenCV is done before a graph would have begun


LEFT_TO_OPENCV = {None, (1, 1), (2, 2)}  # fast there by 2 × 2, and rounded otherwise


class Resizer:
    """Resizes as `imaging.resize` does, faster where it was told of the sizes before.

    Args:
        compiling: how the graph it works for is compiled.
    """

    def __init__(self, compiling: Compiling) -> None:
        self._compiling = compiling
        self._blocks: dict[tuple[SizeHw, SizeHw], Graph] = {}

    def __call__(self, pixels: Rgb, height_px: int, width_px: int) -> Rgb:
        """Resize uint8 H×W×3 RGB; see `imaging.resize`."""
        size, wanted = (pixels.shape[0], pixels.shape[1]), (height_px, width_px)
        graph = self._blocks.get((size, wanted))
        if graph is None:
            return resize(pixels, height_px, width_px)
        blocks = np.ascontiguousarray(pixels).reshape(size[0], width_px, -1)
        return np.asarray(graph(blocks), np.uint8)

    def expect(self, pixels: Rgb, height_px: int, width_px: int) -> Rgb:
        """Resize as a call would, and make ready for more parts of this size."""
        size, wanted = (pixels.shape[0], pixels.shape[1]), (height_px, width_px)
        if size[0] * size[1] >= LEAST_PX and _factors(size, wanted) not in LEFT_TO_OPENCV:
            try:
                self._blocks[size, wanted] = Graph(block_means(size, wanted), self._compiling)
            except BundleError as error:
                logger.warning("parts are shrunk by OpenCV", extra={"reason": str(error)})
            else:
                self._require_same(size, wanted)
        return resize(pixels, height_px, width_px)

    def _require_same(self, size: SizeHw, wanted: SizeHw) -> None:
        """Do without it on a CPU where it is not the one resize to the bit."""
        noise = np.resize(np.random.default_rng(0).integers(0, 256, 65_521, np.uint8), (*size, 3))
        if not np.array_equal(self(noise, *wanted), resize(noise, *wanted)):
            logger.warning("parts are shrunk by OpenCV", extra={"reason": "other bits"})
            del self._blocks[size, wanted]


def _factors(size: SizeHw, wanted: SizeHw) -> tuple[int, int] | None:
    """Give the whole factors down and across; none when they are not whole."""
    if size[0] % wanted[0] or size[1] % wanted[1]:
        return None
    return size[0] // wanted[0], size[1] // wanted[1]


def block_means(size: SizeHw, wanted: SizeHw) -> openvino.Model:
    """Describe the mean over blocks, rounded half to even, as a convolution OpenVINO runs in INT8.

    The pixels of a row that fall into one of the result are channels, so memory is read as it lies.

    Args:
        size: height and width of the part, px; multiples of those wanted.
        wanted: height and width of the result, px.

    Returns:
        A model from uint8 (1, H, w, W / w · 3) to uint8 (1, h, w, 3).
    """
    rows, columns = size[0] // wanted[0], size[1] // wanted[1]
    taken = ops.parameter([1, size[0], wanted[1], columns * 3], openvino.Type.u8)
    levels = _levels(ops.transpose(ops.convert(taken, openvino.Type.f32), [0, 3, 1, 2]))
    ones = np.zeros((3, columns, 3, rows, 1), np.int8)
    for channel in range(3):
        ones[channel, :, channel] = 1
    kernel = ops.multiply(
        ops.convert(ops.constant(ones.reshape(3, columns * 3, rows, 1)), openvino.Type.f32),
        ops.constant(np.full((3, 1, 1, 1), 1 / (rows * columns), np.float32)),
    )
    means = _levels(ops.convolution(levels, kernel, [rows, 1], [0, 0], [0, 0], [1, 1]))
    given = ops.convert(ops.transpose(means, [0, 2, 3, 1]), openvino.Type.u8)
    return openvino.Model([given], [taken], "block_means")


def _levels(values: openvino.Node) -> openvino.Node:
    """Say that values are grey levels, which rounds them and lets OpenVINO compute in INT8."""
    low, high = np.float32(0), np.float32(255)
    return ops.fake_quantize(values, low, high, low, high, 256)
