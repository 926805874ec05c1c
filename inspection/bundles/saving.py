"""Saves graphs and arrays, and says in our words when the disk does not take them."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

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
    """Write named arrays as .npz; the same arrays give the same bytes.

    Raises:
        InspectionError: it cannot be written.
    """
    try:
        with zipfile.ZipFile(path, "w") as stored:
            for name, array in arrays.items():
                with stored.open(f"{name}.npy", "w") as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
    except OSError as error:
        raise _unwritten(path, error) from error


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `save_arrays` wrote; nothing is unpickled.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no .npz, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as stored:
            return {Path(name).stem: _array(stored, name) for name in stored.namelist()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def _array(stored: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with stored.open(name) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _unwritten(path: Path, error: Exception) -> InspectionError:
    return InspectionError(f"{path.name}: cannot be written ({error}); free space or rights")
