"""What a training of our own weights says after each pass, in its log and in its record."""

import logging
from typing import TypeVar

from pydantic import Field

from inspection.core.records import Record

logger = logging.getLogger(__name__)


class Pass(Record):
    """One pass over the pictures; further fields say how well the held out ones went."""

    epoch: int
    seconds: float = Field(description="since training began")

    @property
    def found(self) -> dict[str, float]:
        """How well they went, by name."""
        return self.model_dump(exclude=set(Pass.model_fields), exclude_none=True)


P = TypeVar("P", bound=Pass)


def tell(lap: P) -> P:
    """Log a pass, and give it back."""
    found = ", ".join(f"{name} {value:.3f}" for name, value in lap.found.items())
    logger.info("pass %d, %.0f s: %s", lap.epoch, lap.seconds, found)
    return lap
