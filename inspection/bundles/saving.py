"""Saves graphs and arrays, and says in our words when the disk does not take them."""

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from inspection.core.errors import InspectionError
from inspection.core.limits import MAX_GRAPH_BYTES, read_file

NUMBERED = re.compile(r"[A-Z][A-Za-z0-9]*_\d+(?!\d)")  # a name OpenVINO gave, by type and number


def save_graph(model: openvino.Model, path: Path, *, half: bool = False) -> None:
    """Write a graph as `path` (.xml) and its weights beside it (.bin).

    The same graph gives the same bytes, whatever this process made before.

    Args:
        model: any graph; its nodes without names of their own are numbered anew.
        path: of the .xml file, in a folder that is written whole or not at all.
        half: store float32 constants as float16.

    Raises:
        InspectionError: it cannot be written; OpenVINO never says why.
    """
    _number_anew(model)
    try:
        openvino.save_model(model, path, compress_to_fp16=half)
    except RuntimeError as error:
        raise _unwritten(path, error) from error


def _number_anew(model: openvino.Model) -> None:
    """Number nodes in their order; OpenVINO counts all that a process ever made."""
    model.set_friendly_name("graph")
    numbers: dict[str, str] = {}
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if found := NUMBERED.match(name):
            kind, _, _ = found[0].rpartition("_")
            number = numbers.setdefault(found[0], f"{kind}_{len(numbers)}")
            node.set_friendly_name(number + name[found.end() :])


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
    """Read a file that `save_arrays` wrote, as `parse_arrays` does.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no .npz, or damaged.
    """
    try:
        return parse_arrays(read_file(path, MAX_GRAPH_BYTES, follow=True))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def parse_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Read the bytes of what `save_arrays` wrote; nothing is unpickled, nothing inflated.

    Raises:
        ValueError: it is no .npz, damaged, or compressed, which `save_arrays` never does.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as stored:
            if any(one.compress_type != zipfile.ZIP_STORED for one in stored.infolist()):
                raise ValueError("its arrays are compressed; expected them as they are")
            return {Path(name).stem: _array(stored, name) for name in stored.namelist()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(str(error)) from error


def _array(stored: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with stored.open(name) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _unwritten(path: Path, error: Exception) -> InspectionError:
    return InspectionError(f"{path.name}: cannot be written ({error}); free space or rights")
