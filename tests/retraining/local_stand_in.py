"""What stands in for the steps in a process of their own: does what a file in the folder says."""

import logging
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import cv2

from inspection.core.errors import DatasetError
from inspection.core.progress import follow
from inspection.hub.wire.retraining import Step
from inspection.retraining import local

logger = logging.getLogger("inspection.stand_in")


def serve_stand_in(orders: Connection, threads: int | None) -> None:
    """Serve as the program does, but for the steps."""
    local.perform = stand_in
    local.serve(orders, threads)


def stand_in(step: Step, folder: Path) -> None:
    """Do what `do` says."""
    match (folder / "do").read_text():
        case "count":
            list(follow(range(3), "counting"))
            logger.info("counted all")
        case "fail":
            raise DatasetError("no pictures here")
        case "break":
            raise RuntimeError("no such kernel")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "eat":
            eaten = b"1" * 900_000_000
            time.sleep(600)
            del eaten
        case "sleep":
            (folder / "begun").write_text(str(os.getpid()))
            time.sleep(600)
        case "look":
            said = os.getpid(), os.sched_getscheduler(0), cv2.getNumThreads()
            adjusted = Path("/proc/self/oom_score_adj").read_text().strip()
            (folder / step).write_text(" ".join(map(str, (*said, adjusted))))
