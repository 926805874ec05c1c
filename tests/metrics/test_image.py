import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.records import Label
from inspection.metrics import image

pytestmark = pytest.mark.fast

few_scores = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(good=few_scores, defect=few_scores)
def test_auroc_equals_scikit_learn_with_ties(good, defect):
    """AUROC is the share of ordered pairs, ties half, as scikit-learn computes it."""
    expected = roc_auc_score([0] * len(good) + [1] * len(defect), good + defect)
    assert image.auroc(good, defect) == pytest.approx(expected, abs=1e-12)


def test_larger_scores_are_worse():
    """A graph that scores defects below good parts has AUROC 0, not 1."""
    assert image.auroc([3.0, 4.0], [1.0, 2.0, 2.5]) == 0.0


def test_auroc_interval_with_defaults_holds_the_value():
    """The default bootstrap gives the plain AUROC within its interval, the same for one seed."""
    rng = np.random.default_rng(1)
    good, defect = rng.normal(0, 1, 60), rng.normal(1.5, 1, 40)
    interval = image.auroc_interval(good, defect, seed=0)
    assert interval.value == image.auroc(good, defect)
    assert interval.low < interval.value < interval.high
    assert interval == image.auroc_interval(good, defect, seed=0)


def test_auroc_interval_has_the_width_of_hanley_and_mcneil():
    """The bootstrap agrees with the closed-form standard error of the AUROC."""
    rng = np.random.default_rng(2)
    good, defect = rng.exponential(1, 200), rng.exponential(4, 150)
    interval = image.auroc_interval(good, defect, seed=0)
    a = interval.value
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + 149 * (q1 - a * a) + 199 * (q2 - a * a)) / (150 * 200)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.15)


@pytest.mark.parametrize(("goods", "defects", "low"), [(30, 500, 0.884), (200, 100, 0.964)])
def test_classes_that_do_not_overlap_are_no_certainty(goods, defects, low):
    """The limit is that of as many pairs as the smaller class has parts."""
    good, defect = np.linspace(0, 1, goods), np.linspace(2, 3, defects)
    interval = image.auroc_interval(good, defect, seed=0)
    assert (interval.value, interval.high) == (1.0, 1.0)
    assert interval.low == pytest.approx(low, abs=0.001)
    turned = image.auroc_interval(defect, good, seed=0)
    assert (turned.value, turned.low) == (0.0, 0.0)
    assert turned.high == pytest.approx(1 - low, abs=0.001)


def test_the_same_scores_do_not_drop():
    """A graph compared with itself drops by exactly 0 in every draw."""
    scores = ([1.0, 2.0, 3.0], [2.5, 4.0])
    drop = image.paired_auroc_drop(reference=scores, shipped=scores, seed=0)
    assert (drop.value, drop.low, drop.high) == (0.0, 0.0, 0.0)


def test_pairing_makes_the_drop_sharper():
    """Shared noise of the parts cancels in a paired drop."""
    rng = np.random.default_rng(3)
    good, defect = rng.normal(0, 1, 80), rng.normal(1, 1, 80)
    shipped = good + rng.normal(0, 0.05, 80), defect + rng.normal(0, 0.05, 80)
    drop = image.paired_auroc_drop(reference=(good, defect), shipped=shipped, seed=0)
    alone = image.auroc_interval(good, defect, seed=0)
    assert drop.value == image.auroc(good, defect) - image.auroc(*shipped)
    assert drop.high - drop.low < 0.2 * (alone.high - alone.low)


def test_drop_refuses_other_parts():
    """A drop between graphs that judged different numbers of parts is refused."""
    with pytest.raises(InspectionError, match="reference has 2 good and 1 defective parts"):
        image.paired_auroc_drop(reference=([1, 2], [3]), shipped=([1], [3]), seed=0)


@pytest.mark.parametrize(
    ("good", "defect", "message"),
    [
        ([], [1.0], r"scores of good parts have shape \(0,\)"),
        ([1.0], [], r"scores of defect parts have shape \(0,\)"),
        ([1.0, float("nan")], [2.0], "1 of 2 scores of good parts are not finite"),
        ([1.0], [float("inf")], "1 of 1 scores of defect parts are not finite"),
        ([[1.0]], [2.0], r"scores of good parts have shape \(1, 1\)"),
    ],
    ids=["no good", "no defect", "NaN", "infinity", "two axes"],
)
@pytest.mark.parametrize(
    "measure", [image.auroc, image.average_precision, image.roc_curve, image.precision_recall_curve]
)
def test_bad_scores_are_refused(measure, good, defect, message):
    """Every measure refuses an empty class, a score that is no number and a wrong shape."""
    with pytest.raises(InspectionError, match=message):
        measure(good, defect)


def test_no_draws_are_refused():
    """A bootstrap without draws is refused."""
    with pytest.raises(InspectionError, match="draws is 0; wanted at least 1"):
        image.auroc_interval([1.0], [2.0], seed=0, draws=0)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.30850), (10, 10, 0.69150, 1.0), (5, 20, 0.08657, 0.49105)],
    ids=["none", "all", "a quarter"],
)
def test_proportion_interval_is_clopper_pearson(successes, n, low, high):
    """Rates carry the exact binomial interval of the textbooks."""
    interval = image.proportion_interval(successes, n)
    assert interval.value == successes / n
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-5)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 4), (5, 4)])
def test_impossible_proportion_is_refused(successes, n):
    """More successes than parts, or no parts, is refused."""
    with pytest.raises(InspectionError, match=f"rate of {successes} in {n} parts"):
        image.proportion_interval(successes, n)


def test_a_score_on_the_threshold_passes():
    """Recall and false rejects count scores strictly above the threshold, as `decide` does."""
    assert image.recall_at([1.0, 2.0, 3.0, 4.0], 2.0).value == 0.5
    assert image.false_reject_rate_at([1.0, 2.0], 2.0).value == 0.0


def test_recall_by_defect_is_sorted_and_complete():
    """Each defect type has its own recall, types sorted by name."""
    found = image.recall_by_defect([3.0, 1.0, 5.0], ["stain", "scratch", "stain"], 2.0)
    assert {kind: interval.value for kind, interval in found.items()} == {
        "scratch": 0.0,
        "stain": 1.0,
    }
    assert list(found) == ["scratch", "stain"]


def test_recall_by_defect_refuses_a_missing_type():
    """Scores without a defect type are refused."""
    with pytest.raises(InspectionError, match="2 scores for 1 defects"):
        image.recall_by_defect([1.0, 2.0], ["stain"], 0.5)


def test_roc_curve_runs_from_corner_to_corner():
    """The ROC curve starts where nothing is rejected and ends where everything is."""
    curve = image.roc_curve([1.0, 2.0], [2.0, 3.0])
    assert curve.false_reject_rate.tolist() == [0.0, 0.0, 0.5, 1.0]
    assert curve.recall.tolist() == [0.0, 0.5, 1.0, 1.0]
    assert curve.threshold.tolist() == [np.inf, 3.0, 2.0, 1.0]


def test_precision_recall_curve_and_its_average():
    """Precision is computed at every distinct score; the last point is the convention."""
    curve = image.precision_recall_curve([1.0, 2.5], [2.0, 3.0])
    assert curve.recall.tolist() == [1.0, 1.0, 0.5, 0.5, 0.0]
    assert curve.precision.tolist() == pytest.approx([0.5, 2 / 3, 0.5, 1.0, 1.0])
    assert curve.threshold.tolist() == [1.0, 2.0, 2.5, 3.0, np.inf]
    assert image.average_precision([1.0, 2.5], [2.0, 3.0]) == pytest.approx(5 / 6)


def test_confusion_counts_parts_and_ppm():
    """Confusion says parts, ppm of the label's parts, and ppm of a line with a given prevalence."""
    labels = [Label.GOOD] * 4 + [Label.DEFECT] * 2
    verdicts = [Verdict.PASS, Verdict.PASS, Verdict.PASS, Verdict.REVIEW, Verdict.PASS, "REJECT"]
    table = image.confusion(labels, [Verdict(verdict) for verdict in verdicts])
    assert table.count(Label.GOOD, Verdict.PASS) == 3
    assert table.count(Label.GOOD) == 4
    assert table.ppm(Label.GOOD, Verdict.REVIEW) == 250_000.0
    assert table.ppm(Label.DEFECT, Verdict.FAULT) == 0.0
    assert table.share_of_line(Label.DEFECT, Verdict.PASS, 0.001) == 500.0
    assert table.share_of_line(Label.GOOD, Verdict.REVIEW, 0.001) == 249_750.0


def test_untested_label_has_no_ppm():
    """A label without parts has no ppm rather than 0 ppm."""
    table = image.confusion([Label.GOOD], [Verdict.PASS])
    assert table.ppm(Label.DEFECT, Verdict.PASS) is None
    assert table.share_of_line(Label.DEFECT, Verdict.PASS, 0.5) is None


def test_confusion_refuses_unequal_lengths_and_an_impossible_prevalence():
    """A verdict without a label, and a prevalence above 1, are refused."""
    with pytest.raises(InspectionError, match="1 labels for 2 verdicts"):
        image.confusion([Label.GOOD], [Verdict.PASS, Verdict.PASS])
    with pytest.raises(InspectionError, match=r"prevalence is 1\.5; wanted a share"):
        image.confusion([], []).share_of_line(Label.GOOD, Verdict.PASS, 1.5)
