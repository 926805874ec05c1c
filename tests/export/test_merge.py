"""A coreset takes in new vectors: what is far enters, within the budget, in greedy order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.export.merge import merge

pytestmark = pytest.mark.fast


def column(*values):
    """Vectors of one number."""
    return np.array(values, np.float32)[:, None]


def test_what_is_far_from_all_enters_before_what_is_near():
    """Old 0, 10, 5 in greedy order; 30 is worth most, 7 displaces nothing but fills the budget."""
    assert merge(column(0, 10, 5), column(30, 7), 5).tolist() == [0, 3, 1, 2, 4]


def test_a_full_bank_gives_up_what_covers_least():
    """5 lies 5 from those before it, 30 lies 20: within three, 30 takes the place of 5."""
    assert merge(column(0, 10, 5), column(30, 7), 3).tolist() == [0, 3, 1]


def test_what_is_covered_already_never_enters():
    """Equal vectors stay out, also of one another, whatever room there is."""
    assert merge(column(0, 10), column(10, 0, 4, 4), 9).tolist() == [0, 1, 4]


def test_of_nothing_new_the_old_stays_as_it_was():
    """No candidates, no change."""
    assert merge(column(0, 10, 5), np.empty((0, 1), np.float32), 3).tolist() == [0, 1, 2]


def test_an_empty_bank_is_filled_anew():
    """All vectors may have left with their pictures."""
    chosen = merge(np.empty((0, 1), np.float32), column(3, 3, 9), 5)
    assert sorted(column(3, 3, 9)[chosen, 0]) == [3, 9]


@given(st.integers(0, 2**32 - 1), st.integers(1, 42))
def test_the_budget_is_used_and_no_row_stands_twice(seed, budget):
    """As many as there is room for, and the first of the old stays the first."""
    rng = np.random.default_rng(seed)
    old, new = (rng.normal(size=(count, 3)).astype(np.float32) for count in (12, 30))
    rows = merge(old, new, budget)
    assert len(set(rows.tolist())) == len(rows) == budget
    assert rows[0] == 0


@given(st.integers(0, 2**32 - 1))
def test_what_is_left_out_is_covered(seed):
    """A candidate outside lies nearer to the chosen ones than the least of the entered did."""
    rng = np.random.default_rng(seed)
    old, new = (rng.normal(size=(count, 3)).astype(np.float32) for count in (12, 30))
    rows = merge(old, new, 24)
    entered = [row - 12 for row in rows.tolist() if row >= 12]
    known = np.concatenate([old, new[entered]])
    outside = np.delete(new, entered, axis=0)
    reach = np.linalg.norm(outside[:, None] - known, axis=2).min(1)
    last = np.linalg.norm(new[entered[-1]] - np.concatenate([old, new[entered[:-1]]]), axis=1).min()
    assert reach.max() <= last * (1 + 1e-4)
