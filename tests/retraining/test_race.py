"""Bundles timed side by side: in turn, often enough, with an interval."""

from collections.abc import Callable

import numpy as np
import pytest

from inspection.retraining import race as module
from inspection.retraining.race import race, ratio, took

pytestmark = pytest.mark.fast


class Noted:
    """Stands for a bundle: notes that it was asked, and for what."""

    def __init__(self, note: Callable[[object], None]) -> None:
        self.judge = note


def test_each_bundle_has_its_turns_and_each_round_begins_with_the_next(monkeypatch):
    """What else the machine does meets all alike; the first part of a turn is not timed."""
    monkeypatch.setattr(module, "TURNS", 2)
    monkeypatch.setattr(module, "PARTS", 2)
    times: list[int] = []
    monkeypatch.setattr(module, "took", lambda times_ms: times.append(len(times_ms)))
    asked: list[tuple[str, int]] = []

    def noted(name: str) -> Noted:
        return Noted(lambda pixels: asked.append((name, int(pixels[0, 0, 0]))))

    parts = [np.full((2, 3, 3), value, np.uint8) for value in (5, 6, 7)]
    race({name: noted(name) for name in "ab"}, parts)
    assert asked == [
        *((name, part) for name in "ab" for part in (7, 5, 6)),
        *((name, part) for name in "ba" for part in (6, 7, 5)),
    ]
    assert times == [4, 4]


def test_a_median_comes_with_the_order_statistics_that_surely_hold_it():
    """Of 200 those number 86 and 115, by the binomial distribution; what is slow moves neither."""
    times_ms = np.arange(1.0, 201)
    times_ms[-1] = 1e6
    found = took(np.random.default_rng(0).permutation(times_ms))
    assert (found.p50_ms.value, found.p50_ms.low, found.p50_ms.high) == (100.5, 86, 115)
    assert found.p95_ms == pytest.approx(190.05)


def test_a_ratio_is_paired_turn_by_turn_so_a_slow_machine_does_not_move_it():
    """Whatever slows a turn slows both; one slow part moves no median."""
    rng = np.random.default_rng(0)
    slowed = rng.uniform(1, 10, (20, 1))
    one, other = np.full((20, 10), 2.0) * slowed, np.full((20, 10), 4.0) * slowed
    one[:, 0] *= 100
    found = ratio(one, other)
    assert (found.low, found.value, found.high) == (0.5, 0.5, 0.5)
    noisy = ratio(one * rng.uniform(0.9, 1.1, (20, 1)), other)
    assert noisy.low < noisy.value < noisy.high
