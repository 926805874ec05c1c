"""Cohen's kappa against scikit-learn, and where it says nothing."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from inspection.metrics.agreement import cohen_kappa


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first = rng.choice(["good", "defect", "unsure"], 50, p=[0.6, 0.3, 0.1]).tolist()
    second = [said if rng.random() < 0.7 else str(rng.choice(["good", "defect"])) for said in first]
    found = cohen_kappa(Counter(zip(first, second, strict=True)))
    assert found == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


@pytest.mark.parametrize("pairs", [{}, {("good", "good"): 7}], ids=["no pairs", "one answer only"])
def test_without_a_choice_there_is_no_kappa(pairs):
    assert cohen_kappa(pairs) is None


def test_who_always_contradicts_has_kappa_minus_one():
    assert cohen_kappa({("good", "defect"): 4, ("defect", "good"): 4}) == -1
