"""Times bundles against each other on this CPU, so that what else it does meets all alike."""

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.stats import binom

from inspection.bundles.bundle import Bundle
from inspection.core.config import Settings
from inspection.core.imaging import Rgb
from inspection.core.progress import follow
from inspection.core.records import Interval

# 200 parts each: the 95th percentile has ten slower ones, the 99th none to speak of
TURNS, PARTS = 20, 10  # of each bundle, of each turn; as on a line, a bundle is not always cold
SURE = 0.95


class Took(Settings):
    """How long a bundle takes for a whole part, resizing included."""

    p50_ms: Interval = Field(description="the median, with its exact interval by order statistics")
    p95_ms: float


def race(bundles: Mapping[str, Bundle], parts: Sequence[Rgb]) -> dict[str, Took]:
    """Let bundles judge a few parts in turn and sum up what each took.

    Args:
        bundles: opened, by name.
        parts: uint8 H×W×3 RGB, at least one; taken round and round.
    """
    return {name: took(times.ravel()) for name, times in time_in_turn(bundles, parts).items()}


def time_in_turn(
    bundles: Mapping[str, Bundle], parts: Sequence[Rgb]
) -> dict[str, NDArray[np.float64]]:
    """Let bundles judge a few parts in turn, TURNS times over; each round begins with the next.

    Args:
        bundles: opened, by name.
        parts: uint8 H×W×3 RGB, at least one; taken round and round.

    Returns:
        Milliseconds of each, (TURNS, PARTS); every turn asked all about the same parts.
    """
    names = list(bundles)
    times_ms = {name: np.empty((TURNS, PARTS)) for name in names}
    for turn in follow(range(TURNS), "timing"):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            for place in range(-1, PARTS):
                pixels = parts[(turn * PARTS + place) % len(parts)]
                began_s = perf_counter()
                bundles[name].judge(pixels)
                if place >= 0:  # one before is not timed: another was just asked
                    times_ms[name][turn, place] = (perf_counter() - began_s) * 1e3
    return times_ms


def ratio(one: NDArray[np.float64], other: NDArray[np.float64]) -> Interval:
    """Give the time of one bundle over that of another, paired turn by turn.

    Args:
        one: of `time_in_turn`, (turns, parts).
        other: of the same turns.
    """
    return _median(np.median(one, axis=1) / np.median(other, axis=1))


def took(times_ms: NDArray[np.float64]) -> Took:
    """Sum up the times of at least 20 parts, (n,), ms."""
    return Took(p50_ms=_median(times_ms), p95_ms=float(np.percentile(times_ms, 95)))


def _median(values: NDArray[np.float64]) -> Interval:
    """Give the median of (n,) with its exact interval by order statistics."""
    ordered, count = np.sort(values), len(values)
    low, high = (int(one) for one in binom.ppf(((1 - SURE) / 2, (1 + SURE) / 2), count, 0.5))
    return Interval(
        value=float(np.median(ordered)),
        low=float(ordered[max(low - 1, 0)]),
        high=float(ordered[min(high, count - 1)]),
    )
