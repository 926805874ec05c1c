"""When what changes on the simulated line, and how it looks at any moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from inspection.bench.retraining.parts import Batch, Condition

BEGIN = datetime(2100, 3, 1, 6, tzinfo=UTC)  # a Monday, later than any bundle is made
DAYS, OPEN_H = 30, 16  # two shifts a day
HOUR = timedelta(hours=1)
DIMS_ON, DIMS_FOR, DIMS_BY = 8, 2, 0.2  # day, days it takes, share of the light
BATCH_ON, SMEAR_ON = 15, 22  # days
SMEAR = 0.8


def condition_at(at: datetime, cleaned_at: datetime | None) -> Condition:
    """Say how the line looks; what has begun stays, but for a lens that was cleaned."""
    day = (at - BEGIN) / timedelta(days=1)
    smeared = day >= SMEAR_ON and cleaned_at is None
    return Condition(
        light=DIMS_BY * float(np.clip((day - DIMS_ON) / DIMS_FOR, 0, 1)),
        batch=Batch.COARSE if day >= BATCH_ON else Batch.USUAL,
        smear=SMEAR if smeared else 0.0,
    )


def hours(days: int) -> Iterator[datetime]:
    """Give the beginning of every hour the line works."""
    for day in range(days):
        for hour in range(OPEN_H):
            yield BEGIN + timedelta(days=day, hours=hour)
