"""How far two shares of the same parts may differ: a limit that holds, and never claims zero."""

import numpy as np
import pytest

from inspection.core.errors import InspectionError
from inspection.metrics.image import proportion_interval
from inspection.metrics.paired import difference_interval, difference_limit, parts_needed


def test_no_discordant_part_is_no_proof_of_no_difference():
    """The rule of three: 0 of 100 leaves 3 %."""
    assert difference_limit(0, 0, 100) == pytest.approx(1 - 0.05**0.01)
    assert difference_limit(0, 0, 0) == 1.0
    assert difference_limit(3, 0, 3) == 1.0


def test_the_least_parts_are_those_that_just_show_it():
    for margin in (0.02, 0.04, 0.05, 0.5):
        needed = parts_needed(margin)
        assert difference_limit(0, 0, needed) < margin <= difference_limit(0, 0, needed - 1)


def test_parts_on_one_side_only_are_bound_exactly():
    """Then the difference is a share, and its limit the one of Clopper and Pearson."""
    counts = range(5)
    limits = [difference_limit(count, 0, 80) for count in counts]
    assert limits == sorted(limits)
    assert all(
        limit < proportion_interval(count, 80).high  # of two sides, so with half the risk
        for count, limit in zip(counts, limits, strict=True)
    )


@pytest.mark.parametrize("parts", [40, 100, 400])
@pytest.mark.parametrize("shares", [(0.05, 0.0), (0.06, 0.01), (0.15, 0.1), (0.02, 0.02)])
def test_the_limit_holds_in_95_of_100_samples(parts, shares):
    more, fewer = shares
    rng = np.random.default_rng(parts)
    drawn = rng.multinomial(parts, [more, fewer, 1 - more - fewer], 2000)
    known: dict[tuple[int, int], float] = {}
    for one in {(int(one), int(two)) for one, two, _ in drawn}:
        known[one] = difference_limit(*one, parts)
    held = np.mean([known[int(one), int(two)] >= more - fewer for one, two, _ in drawn])
    assert held >= 0.94  # 0.95 less twice the error of 2,000 samples


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5)])
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(InspectionError, match="discordant of 5 parts; wanted no more"):
        difference_limit(*counts)


def test_the_interval_is_the_two_limits_at_half_the_risk_each():
    """Turned round it is its own mirror; with one side only it is that share's."""
    found, mirrored = difference_interval(5, 1, 100), difference_interval(1, 5, 100)
    assert (found.value, mirrored.value) == (0.04, -0.04)
    assert (found.low, found.high) == (-mirrored.high, -mirrored.low)
    assert found.low < 0 < difference_limit(5, 1, 100) < found.high
    one_sided = difference_interval(4, 0, 100)
    assert one_sided.high == pytest.approx(proportion_interval(4, 100).high)
