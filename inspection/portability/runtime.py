"""Runs an ONNX model in ONNX Runtime on the CPU; the one place that knows it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from inspection.core.errors import BundleError

PROVIDER = "CPUExecutionProvider"
ERRORS = (  # each an Exception of its own
    *(native.EPFail, native.Fail, native.InvalidArgument, native.InvalidGraph),
    *(native.InvalidProtobuf, native.NoSuchFile, native.NotImplemented, native.RuntimeException),
)
ERRORS_ONLY = 3  # of its log levels; warnings are about what it optimises


class OnnxGraph:
    """A loaded model of one input; the first run is the slowest.

    Args:
        path: of the model.
        threads: to use; 0 leaves it to ONNX Runtime.

    Raises:
        BundleError: ONNX Runtime cannot load it.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[PROVIDER])
        except ERRORS as error:
            raise BundleError(f"{path}: ONNX Runtime cannot load it ({error})") from error
        self._path, self._input = path, self._session.get_inputs()[0].name

    def __call__(self, one: NDArray[np.uint8]) -> NDArray[Any]:
        """Give the first output for one input (h, w, 3), without the batch's axis.

        Raises:
            BundleError: ONNX Runtime cannot run it.
        """
        try:
            outputs = self._session.run(None, {self._input: one[None]})
        except ERRORS as error:
            raise BundleError(f"{self._path}: ONNX Runtime cannot run it ({error})") from error
        return np.asarray(outputs[0][0])
