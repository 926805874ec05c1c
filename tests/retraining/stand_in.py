"""A stand-in of the steps for workers: does what files in the job's folder say."""

import os
import signal
import time
from pathlib import Path

import cv2
from distributed import get_worker

from inspection.bundles.graph import openvino_core
from inspection.core.errors import DatasetError, InspectionError
from inspection.core.progress import follow
from inspection.hub.wire.retraining import Step


def perform(step: Step, folder: Path) -> None:
    """Die as often as `deaths` says, fail as files say, else say where it was done, and how."""
    deaths = folder / "deaths"
    left = int(deaths.read_text()) if deaths.exists() else 0
    if left:
        deaths.write_text(str(left - 1))
        os.kill(os.getpid(), signal.SIGKILL)
    if (folder / "fails").exists():
        raise DatasetError(f"{folder}: no pictures")
    if (folder / "breaks").exists():
        raise RuntimeError("no such kernel")
    if (folder / "slow").exists():
        (folder / "begun").touch()
        time.sleep(float((folder / "slow").read_text()))
    if (folder / "counted").exists():
        _count(int((folder / "counted").read_text()), folder / "ended")
    threads = cv2.getNumThreads(), openvino_core().get_property("CPU", "INFERENCE_NUM_THREADS")
    (folder / step).write_text(f"{get_worker().name} {threads}")


def _count(items: int, ended: Path) -> None:
    """Take items in turn, 20 a second, and leave why that ended."""
    try:
        for _ in follow(range(items), "counting"):
            time.sleep(0.05)
    except InspectionError as error:
        ended.write_text(str(error))
        raise


def perform_alone(step: Step, folder: Path) -> None:
    """Fail when another step of this process is under way."""
    (folder.parent / str(os.getpid())).mkdir()
    time.sleep(0.05)
    (folder.parent / str(os.getpid())).rmdir()
