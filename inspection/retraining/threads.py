"""Holds this process to a number of processor threads, whichever of our libraries computes."""

import os
import sys

import cv2

from inspection.bundles.graph import openvino_core

READ_WHEN_LOADED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def limit_threads(count: int) -> None:
    """Let torch, OpenVINO, OpenCV and numpy use `count` threads from now on.

    NNCF reads calibration pictures with an OpenVINO of its own, on all processors that the process
    may use; only taskset or a container holds it back.
    """
    os.environ.update(dict.fromkeys(READ_WHEN_LOADED, str(count)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    cv2.setNumThreads(count)
    openvino_core().set_property("CPU", {"INFERENCE_NUM_THREADS": count})
