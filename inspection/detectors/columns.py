"""Finds declared columns in a graph's outputs; says which output is unlike its layout."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspection.bundles.graph import Tensors
from inspection.core.errors import BundleError
from inspection.detectors.detections import Floats
from inspection.detectors.layout import Activation, Columns


def columns(outputs: Tensors, where: Columns) -> Floats:
    """Give the declared columns, float32 (candidates, columns).

    Raises:
        BundleError: the output is missing, of another shape, or no number.
    """
    names = (where.output,) if isinstance(where.output, str) else where.output
    rows = np.concatenate([_rows(output(outputs, name), name, where.along) for name in names])
    taken = rows[:, where.first : where.end]
    wanted = 1 if where.end is None or where.end * where.first < 0 else where.end - where.first
    if taken.shape[1] < max(wanted, -where.first, 1):
        raise unlike(
            where.output,
            rows.shape,
            f"columns from {where.first} to {'the last' if where.end is None else where.end}",
        )
    require_numbers(", ".join(names), taken)  # an infinite logit would be as good as none
    return activated(taken.astype(np.float32), where.activation)


def output(outputs: Tensors, name: str) -> NDArray[Any]:
    """Give an output by its name or its number.

    Raises:
        BundleError: the graph has none of it.
    """
    if name in outputs:
        return outputs[name]
    if name.isdecimal() and int(name) < len(outputs):
        return list(outputs.values())[int(name)]
    raise BundleError(
        f"output '{name}': not in the graph, which has {', '.join(map(repr, outputs))}; name one "
        "of these in the layout"
    )


def require_numbers(name: str, values: NDArray[Any]) -> None:
    """Refuse what compared to any limit would be nothing found.

    Raises:
        BundleError: a value is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise BundleError(f"output '{name}' is no number; look at the graph and the part")


def unlike(name: object, shape: tuple[int, ...], wanted: str) -> BundleError:
    """Give the error about an output of another shape than its layout declares."""
    return BundleError(f"output '{name}' is {shape}; wanted {wanted}; mend the layout")


def activated(values: Floats, activation: Activation) -> Floats:
    """Take the sigmoid, or the softmax over the last axis; or leave values as they are."""
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), np.float32)
    if activation == "softmax":
        raised = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)
    return values


def _rows(values: NDArray[Any], name: str, along: str) -> NDArray[Any]:
    if along == "list":
        return values.reshape(-1, 1)
    if values.ndim > 2 and len(values) != 1:
        raise unlike(name, values.shape, "a batch of one picture")
    if along == "rows" and values.ndim > 1:
        return values.reshape(-1, values.shape[-1])
    if along == "columns" and values.ndim in (2, 3):
        return values.reshape(values.shape[-2:]).T
    if along == "maps" and values.ndim == 4:  # (1, columns, height, width)
        return values.reshape(values.shape[1], -1).T
    raise unlike(name, values.shape, f"candidates along {along}")
