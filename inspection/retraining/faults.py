"""Puts into words what nobody foresaw, so that it ends one job, once, and people read why.

What is left of a step that raised a library's own error is not tried again: only a worker that is
lost is no word on the step.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from inspection.core.errors import InspectionError, TrainingError

logger = logging.getLogger(__name__)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Raise whatever is not ours as a TrainingError that says of what it is.

    Args:
        what: is done in the block, and where.
    """
    try:
        yield
    except InspectionError:
        raise
    except Exception as error:
        logger.exception("a fault of the program")
        raise TrainingError(
            f"{what}: {type(error).__name__}: {error}; no fault of the data that we know of; look "
            "at the log of the process, mend it, and ask again"
        ) from error
