"""Translates operations that move values: shapes, slices, gathering, padding, resizing."""

from collections.abc import Mapping

import numpy as np

from inspection.portability.operation import Operation, Translate

ROUND_OFF, ABOVE = 1e-3, 1 + 1e-6  # cells; a factor
SCATTERED = {"none": "none", "sum": "add", "prod": "mul"}
RESIZED = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear", "cubic": "cubic"}
COORDINATES = {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"}
NEAREST = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}


def _reshape(operation: Operation) -> list[str]:
    return [operation.reshaped(operation.name(0), operation.given_shape)]


def _transpose(operation: Operation) -> list[str]:
    order = operation.integers(1) or [*range(len(operation.shape(0)))][::-1]
    return [operation.add("Transpose", [operation.name(0)], {"perm": order})]


def _concat(operation: Operation) -> list[str]:
    return [operation.add("Concat", operation.names(), {"axis": operation.attributes["axis"]})]


def _split(operation: Operation) -> list[str]:
    """Split evenly or not: what each output holds is known."""
    axis = operation.integers(1)[0] % len(operation.shape(0))
    sizes = [port.get_shape()[axis] for port in operation.node.outputs()]
    lengths = operation.writer.constant(np.array(sizes, np.int64))
    given = [operation.name(0), lengths]
    return operation.writer.add("Split", given, {"axis": axis}, outputs=len(sizes))


def _slice(operation: Operation) -> list[str]:
    start, stop, step = (operation.integers(number) for number in (1, 2, 3))
    axes = operation.integers(4) if operation.inputs > 4 else [*range(len(start))]
    return [_sliced(operation, start, stop, step, axes)]


def _sliced(
    operation: Operation, start: list[int], stop: list[int], step: list[int], axes: list[int]
) -> str:
    parameters = [
        operation.writer.constant(np.array(one, np.int64)) for one in (start, stop, axes, step)
    ]
    return operation.add("Slice", [operation.name(0), *parameters])


def _strided_slice(operation: Operation) -> list[str]:
    """Cut as Python's slices do, whose masks leave an end open, drop an axis or add one."""
    given, rank = operation.attributes, len(operation.shape(0))
    if any(given.get("ellipsis_mask") or ()):
        raise operation.refused("has an ellipsis; wanted every axis")
    start, stop = operation.integers(1), operation.integers(2)
    step = operation.integers(3) if operation.inputs > 3 else [1] * len(start)
    new, shrunk, open_start, open_stop = (
        [*(given.get(name) or ()), *[0] * len(start)]
        for name in ("new_axis_mask", "shrink_axis_mask", "begin_mask", "end_mask")
    )
    far, cuts, axis = np.iinfo(np.int64).max, [], 0
    for number, stride in enumerate(step):
        if new[number] or axis >= rank:
            continue
        first, last = start[number], stop[number]
        if shrunk[number]:
            cuts.append((first, first + 1 or far, 1, axis))
        else:
            begin = (0 if stride > 0 else far) if open_start[number] else first
            end = (far if stride > 0 else -far) if open_stop[number] else last
            cuts.append((begin, end, stride, axis))
        axis += 1
    if not cuts:  # new axes only
        return [operation.reshaped(operation.name(0), operation.given_shape)]
    starts, stops, steps, axes = (list(values) for values in zip(*cuts, strict=True))
    cut = _sliced(operation, starts, stops, steps, axes)
    return [operation.reshaped(cut, operation.given_shape)]


def _gather(operation: Operation) -> list[str]:
    if operation.attributes.get("batch_dims", 0):
        raise operation.refused("gathers by batches; ONNX's Gather knows none")
    axis = operation.integers(2)[0]
    return [operation.add("Gather", [operation.name(0), operation.name(1)], {"axis": axis})]


def _gather_elements(operation: Operation) -> list[str]:
    axis = {"axis": int(operation.attributes["axis"])}
    return [operation.add("GatherElements", operation.names(), axis)]


def _gather_nd(operation: Operation) -> list[str]:
    places = operation.add("Cast", [operation.name(1)], {"to": 7})  # int64, which ONNX wants
    batches = {"batch_dims": int(operation.attributes.get("batch_dims", 0))}
    return [operation.add("GatherND", [operation.name(0), places], batches)]


def _scatter_elements(operation: Operation) -> list[str]:
    settings = {"axis": operation.integers(3)[0], **_reduction(operation)}
    given = [operation.name(number) for number in (0, 1, 2)]
    return [operation.add("ScatterElements", given, settings)]


def _scatter_nd(operation: Operation) -> list[str]:
    places = operation.add("Cast", [operation.name(1)], {"to": 7})
    given = [operation.name(0), places, operation.name(2)]
    return [operation.add("ScatterND", given, _reduction(operation))]


def _reduction(operation: Operation) -> dict[str, str]:
    given = operation.attributes
    how = str(given.get("reduction", "none")).lower()
    if how not in SCATTERED or (how != "none" and not given.get("use_init_val", True)):
        raise operation.refused(f"reduces by {how}; wanted none, or sum or prod onto what is there")
    return {} if how == "none" else {"reduction": SCATTERED[how]}


def _pad(operation: Operation) -> list[str]:
    mode = str(operation.attributes["pad_mode"]).lower()
    if mode not in {"constant", "edge", "reflect"}:
        raise operation.refused(f"pads by {mode}; wanted constant, edge or reflect")
    pads = operation.writer.constant(
        np.array(operation.integers(1) + operation.integers(2), np.int64)
    )
    given = [operation.name(0), pads]
    if mode == "constant" and operation.inputs > 3:
        given.append(operation.name(3))
    return [operation.add("Pad", given, {"mode": mode})]


def _tile(operation: Operation) -> list[str]:
    repeats, rank = operation.integers(1), len(operation.given_shape)
    given = operation.reshaped(
        operation.name(0), (1,) * (rank - len(operation.shape(0))) + operation.shape(0)
    )
    often = [1] * (rank - len(repeats)) + repeats
    return [operation.add("Tile", [given, operation.writer.constant(np.array(often, np.int64))])]


def _broadcast(operation: Operation) -> list[str]:
    given, shape = operation.name(0), operation.given_shape
    if str(operation.attributes["mode"]).lower().endswith("explicit"):
        mapped, sides = operation.integers(2), [1] * len(shape)
        for axis, side in zip(mapped, operation.shape(0), strict=True):
            sides[axis] = side
        given = operation.reshaped(given, sides)
    return [operation.add("Expand", [given, operation.writer.constant(np.array(shape, np.int64))])]


def _interpolate(operation: Operation) -> list[str]:
    given = operation.attributes
    mode, place = str(given["mode"]).lower(), str(given["coordinate_transformation_mode"]).lower()
    padded = [*(given.get("pads_begin") or ()), *(given.get("pads_end") or ())]
    if mode not in RESIZED or place not in COORDINATES or given.get("antialias") or any(padded):
        smooth = "with antialiasing" if given.get("antialias") else "without antialiasing"
        raise operation.refused(f"resizes by {mode}, {place}, {smooth}; ONNX has no such Resize")
    settings = {"mode": RESIZED[mode], "coordinate_transformation_mode": place}
    if mode == "nearest":
        settings["nearest_mode"] = str(given["nearest_mode"]).lower()
        if settings["nearest_mode"] not in NEAREST:
            raise operation.refused(f"rounds by {given['nearest_mode']}")
    if mode == "cubic":
        settings["cubic_coeff_a"] = given["cube_coeff"]
    sizes, scales = operation.writer.constant(np.array(operation.given_shape, np.int64)), ""
    if str(given["shape_calculation_mode"]).lower().endswith("scales"):
        factors = _scales(operation)
        before, after = np.array(operation.shape(0)), np.array(operation.given_shape)
        whole = np.abs(factors * before - after) < ROUND_OFF
        if not whole.all():  # sizes would say other factors
            nudged = whole & (before != after)  # ONNX rounds down
            factors[nudged] = (after * ABOVE)[nudged] / before[nudged]
            sizes, scales = "", operation.writer.constant(factors)
    return [operation.add("Resize", [operation.name(0), "", scales, sizes], settings)]


def _scales(operation: Operation) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Give the factor of every axis, as the graph has it and not as it comes out rounded."""
    latest = operation.node.get_type_info().version_id == "opset11"
    numbers, axes_at = (1, 2) if latest else (2, 3)
    factors, scales = operation.array(numbers), np.ones(len(operation.given_shape), np.float32)
    axes = operation.integers(axes_at) if operation.inputs > axes_at else [*range(scales.size)]
    scales[axes] = factors
    return scales


SHAPES: Mapping[str, Translate] = {
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), _reshape),
    **dict.fromkeys(("Split", "VariadicSplit"), _split),
    "Broadcast": _broadcast,
    "Concat": _concat,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Interpolate": _interpolate,
    "Pad": _pad,
    "ScatterElementsUpdate": _scatter_elements,
    "ScatterNDUpdate": _scatter_nd,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "Transpose": _transpose,
}
