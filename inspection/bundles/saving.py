"""Saves graphs and arrays, and says in our words when the disk does not take them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openvino
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from inspection.core.errors import InspectionError


def save_graph(model: openvino.Model, path: Path, *, half: bool = False) -> None:
    """Write a graph as `path` (.xml) and its weights beside it (.bin).

    Args:
        model: any graph.
        path: of the .xml file, in a folder that is written whole or not at all.
        half: store float32 constants as float16.

    Raises:
        InspectionError: it cannot be written; OpenVINO never says why.
    """
    try:
        openvino.save_model(model, path, compress_to_fp16=half)
    except RuntimeError as error:
        raise _unwritten(path, error) from error


def save_arrays(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write named arrays as safetensors.

    Raises:
        InspectionError: it cannot be written.
    """
    try:
        path.write_bytes(save(dict(arrays)))  # save_file would let nobody else read it
    except (SafetensorError, OSError) as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: Exception) -> InspectionError:
    return InspectionError(f"{path.name}: cannot be written ({error}); free space or rights")
