"""Which reviewed good parts are fitted, which calibrate, and which set the thresholds."""

import pytest

from inspection.core.records import Label, ManifestEntry, Split
from inspection.metrics.calibration import normals_needed
from inspection.retraining.divide import divide, for_guards, is_held_back, outdate, reviews_needed

pytestmark = pytest.mark.fast


def entries(begin: int, end: int) -> list[ManifestEntry]:
    """Give good parts that are not held back."""
    made = [
        ManifestEntry(
            path=f"{number}.png",
            sha256=f"{number:064}",
            height_px=8,
            width_px=8,
            mode="RGB",
            label=Label.GOOD,
            group=f"part {number}",
            split=Split.TEST,
        )
        for number in range(begin, end)
    ]
    return [one for one in made if not is_held_back(one)]


def divided(old: int, new: int, rate: float) -> tuple[list[ManifestEntry], set[str]]:
    parts = entries(old, old + new)
    return divide([*entries(0, old), *parts], {one.sha256 for one in parts}, rate)


@pytest.mark.parametrize(("new", "are_enough"), [(0, False), (20, False), (80, True), (800, True)])
def test_parts_of_since_a_change_set_thresholds_when_they_suffice(new, are_enough):
    learnt, fresh = divided(200, new, 0.05)
    assert (len(fresh) >= normals_needed(0.05)) is bool(fresh) is are_enough
    calibrate = {one.sha256 for one in learnt if one.split is Split.CALIBRATE}
    assert fresh <= calibrate
    assert min(fresh, default="9") >= f"{200:064}"
    marked = outdate(learnt, fresh)
    outdated = {one.sha256 for one in marked if one.outdated}
    assert outdated == (calibrate - fresh if fresh else set())


def test_more_of_them_calibrate_only_while_they_are_few():
    few, _ = divided(0, 60, 0.05)
    many, _ = divided(0, 2000, 0.05)

    def share(parts: list[ManifestEntry]) -> float:
        return sum(one.split is Split.CALIBRATE for one in parts) / len(parts)

    assert share(few) > 0.4  # of those not held back, which are four in five
    assert share(many) == pytest.approx(0.15 / 0.8, abs=0.03)


def test_without_a_change_all_of_calibrate_sets_thresholds():
    learnt, fresh = divided(300, 0, 0.05)
    assert not fresh
    assert outdate(learnt, fresh) == learnt


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 59), (0.01, 273)])
def test_so_many_reviews_nearly_always_suffice(rate, needed):
    assert reviews_needed(rate) == needed


def test_for_guards_nothing_enters_fit_and_nothing_new_sets_thresholds():
    fit, threshold, old, new = entries(0, 10)[:4]
    known = {
        fit.sha256: fit.model_copy(update={"split": Split.FIT}),
        threshold.sha256: threshold.model_copy(update={"split": Split.CALIBRATE}),
        old.sha256: old.model_copy(update={"split": Split.CALIBRATE, "outdated": True}),
    }
    placed = for_guards([fit, threshold, old, new], known)
    assert [(one.split, one.outdated) for one in placed] == [
        (Split.FIT, False),
        (Split.CALIBRATE, False),
        (Split.CALIBRATE, True),
        (Split.CALIBRATE, True),
    ]
