"""Writes OpenVINO's INT8 marks as ONNX's: a quantiser becomes QuantizeLinear, DequantizeLinear.

Levels and scales stay the very same. A quantiser that ONNX has no pair for, of another number of
levels or another range behind it, is written as the arithmetic it stands for.
"""

import numpy as np
from numpy.typing import NDArray

from inspection.portability.operation import Operation

LEVELS = 256
ROUND_OFF = 0.01  # of a level, by which a zero point may miss a whole number
Floats = NDArray[np.float32]


def fake_quantize(operation: Operation) -> list[str]:
    """Translate FakeQuantize: round to one of n levels between low and high."""
    low, high, low_out, high_out = (operation.array(number) for number in (1, 2, 3, 4))
    levels = operation.attributes["levels"]
    same = np.array_equal(low, low_out) and np.array_equal(high, high_out)
    if levels == LEVELS and same and low.size == high.size:
        marked = _pair(operation, low.astype(np.float64), high.astype(np.float64))
        if marked is not None:
            return [marked]
    return [_arithmetic(operation, levels)]


def _pair(operation: Operation, low: NDArray[np.float64], high: NDArray[np.float64]) -> str | None:
    """Write a quantiser over 256 levels whose zero is one of them, as that of any network is."""
    axes = [axis for axis, side in enumerate(low.shape) if side > 1]
    scale = (high - low) / (LEVELS - 1)
    if len(axes) > 1 or not (scale > 0).all():
        return None
    zero = -low / scale
    if np.abs(zero - np.round(zero)).max() > ROUND_OFF or not ((zero > -1) & (zero < 256)).all():
        return None
    signed = bool((np.round(zero) == LEVELS // 2).all())
    points = np.round(zero) - (LEVELS // 2 if signed else 0)
    shape = (-1,) if axes else ()
    writer, axis = operation.writer, axes[0] if axes else 0
    if axes:
        axis += len(operation.shape(0)) - low.ndim
    parameters = [
        writer.constant(scale.astype(np.float32).reshape(shape)),
        writer.constant(points.astype(np.int8 if signed else np.uint8).reshape(shape)),
    ]
    levels = operation.add("QuantizeLinear", [operation.name(0), *parameters], {"axis": axis})
    return operation.add("DequantizeLinear", [levels, *parameters], {"axis": axis})


def _arithmetic(operation: Operation, levels: int) -> str:
    """Write round((clip(x) - low) / (high - low) · (n - 1)) / (n - 1) · (high' - low') + low'."""
    low, high, low_out, high_out = (
        operation.array(number).astype(np.float32) for number in (1, 2, 3, 4)
    )
    steps = np.float32(levels - 1)
    constant, add = operation.writer.constant, operation.add
    above = add("Max", [operation.name(0), constant(low)])
    clipped = add("Min", [above, constant(high)])
    shifted = add("Sub", [clipped, constant(low)])
    rounded = add("Round", [add("Mul", [shifted, constant(steps / (high - low))])])
    scaled = add("Mul", [rounded, constant((high_out - low_out) / steps)])
    return add("Add", [scaled, constant(low_out)])
