"""A simulated line: parts by the hour, hours that are alike, days that differ, and its alarms."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from inspection.hub.blocks import BLOCK_READ, HOUR, form_blocks
from inspection.metrics.blocks import Blocks, Floats, gather, reference_blocks
from inspection.metrics.causes import Cause
from inspection.metrics.drift import Reading, read_causes
from inspection.metrics.naming import name_causes

DAY_H, SHIFT_H = 24, 8
MEMORY = 0.7  # correlation of one hour with the next
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
KEPT_BLOCKS = 250  # after the reference, as hub.blocks reads them


@dataclass(frozen=True)
class Wobble:
    """How a line without drift varies, in deviations of its parts, each column on its own."""

    hours: float = 0.3
    """Of a process with memory, by the hour."""
    days: float = 0.2
    shifts: float = 0.1
    """Of each of three shifts from their mean, the same every day."""

    def times(self, factor: float) -> "Wobble":
        """Give a line that varies so many times as much."""
        return Wobble(self.hours * factor, self.days * factor, self.shifts * factor)

    def draw(self, rng: np.random.Generator, hours: int, columns: int) -> Floats:
        """Draw how far each hour lies out, float64 (hours, columns)."""
        steps = rng.standard_normal((hours, columns)) * np.sqrt(1 - MEMORY**2)
        slow = signal.lfilter([1.0], [1.0, -MEMORY], steps, axis=0)
        days = rng.standard_normal((hours // DAY_H + 1, columns))[np.arange(hours) // DAY_H]
        shifts = rng.standard_normal((3, columns))[np.arange(hours) % DAY_H // SHIFT_H]
        return np.asarray(self.hours * slow + self.days * days + self.shifts * shifts)


class Run(NamedTuple):
    """The parts of one run of a line, by block.

    Attributes:
        values: float64 (parts, columns).
        numbers: (parts,), each one's block.
        ends_h: (blocks,), when each ends, hours since the beginning.
    """

    values: Floats
    numbers: NDArray[np.intp]
    ends_h: NDArray[np.int_]


class Alarm(NamedTuple):
    """One alarm, when it was raised and when it says that it began, hours since the beginning."""

    cause: Cause
    at_h: int
    since_h: int


def run_line(
    rng: np.random.Generator,
    pool: Floats,
    hours: int,
    per_hour: float,
    *,
    wobble: Wobble,
    drifted: tuple[int, Floats] | None = None,
) -> Run:
    """Draw the parts of a line.

    Args:
        rng: decides.
        pool: of parts to draw from, float64 (parts, columns).
        hours: to run.
        per_hour: parts on average.
        wobble: how it varies.
        drifted: from which hour on parts come from another pool.
    """
    counts = rng.poisson(per_hour, hours)
    blocks = form_blocks((BEGIN + hour * HOUR, int(count)) for hour, count in enumerate(counts))
    ends = np.array([(block.end - BEGIN) // HOUR for block in blocks], np.int_)
    hour = np.repeat(np.arange(hours), counts)
    values = pool[rng.integers(len(pool), size=hour.size)]
    if drifted is not None:
        late = hour >= drifted[0]
        values[late] = drifted[1][rng.integers(len(drifted[1]), size=np.count_nonzero(late))]
    values += wobble.draw(rng, hours, pool.shape[1])[hour] * pool.std(axis=0)
    numbers = np.searchsorted(ends, hour, side="right")
    place = np.arange(hour.size) - np.searchsorted(numbers, numbers)  # within its block
    parts = np.bincount(numbers)[numbers]
    first = place * BLOCK_READ // parts != (place - 1) * BLOCK_READ // parts  # of each 25th
    read = first & (numbers < len(ends))
    return Run(values[read], numbers[read], ends)


def watch(run: Run, places: int = 1) -> Iterator[Alarm]:
    """Look whenever a block is complete; give the alarms as they are raised.

    Args:
        run: of one place.
        places: of its line, which share the budget.
    """
    blocks = gather(run.values, run.numbers)
    size = reference_blocks(blocks.counts)
    if size is None:
        return
    reference, standing = blocks[:size], dict[Cause, int]()  # and the block each began with
    for now in range(size + 1, len(blocks) + 1):
        first = max(size, now - KEPT_BLOCKS)
        stood = {cause: max(0, block - first) for cause, block in standing.items()}
        readings = read_causes(reference, blocks[first:now], places, stood)
        for cause in [one for one in standing if _settled(readings.get(one))]:
            del standing[cause]
        for finding in name_causes(readings, standing):
            if finding.cause not in standing:
                standing[finding.cause] = first + finding.reading.since
                began = run.ends_h[max(0, first + finding.reading.since - 1)]
                yield Alarm(finding.cause, int(run.ends_h[now - 1]), int(began))


def standardise(run: Run) -> tuple[Floats, Blocks]:
    """Give all parts in deviations of the reference's, and their blocks likewise."""
    size = reference_blocks(gather(run.values, run.numbers).counts) or 1
    first = run.values[run.numbers < size]
    scaled = (run.values - first.mean(axis=0)) / first.std(axis=0)
    return scaled, gather(scaled, run.numbers)


def _settled(reading: Reading | None) -> bool:
    return reading is not None and reading.settled
