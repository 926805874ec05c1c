"""Does work in a process of its own, which gives all its memory back."""

import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

from inspection.core.errors import TrainingError
from inspection.retraining.faults import told


def do_alone(work: Callable[[], object], what: str) -> None:
    """Do work in a fresh process and wait for it.

    Args:
        work: can be pickled; what it returns is dropped.
        what: it is, for errors.

    Raises:
        InspectionError: as the work does.
        TrainingError: it raised an error of a library, or its process died.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would take locks along
    quiet = partial(warnings.simplefilter, "ignore")  # libraries warn of their own imports
    with told(what), ProcessPoolExecutor(1, spawn, quiet) as alone:
        try:
            alone.submit(_drop, work).result()
        except BrokenProcessPool as error:
            raise TrainingError(
                f"{what}: its process died; most likely memory was short; take a smaller bank, "
                "input or batch"
            ) from error


def _drop(work: Callable[[], object]) -> None:
    work()
