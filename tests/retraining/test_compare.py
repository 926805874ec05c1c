"""When a challenger may follow: shown to be not worse, on the golden and on recent parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bench.redness import HEIGHT_PX, WIDTH_PX, make_bundle
from inspection.core.decision import Band, Verdict, decide
from inspection.core.records import Label, Manifest, ManifestEntry, Split, hash_file
from inspection.retraining.compare import (
    Judged,
    compare,
    compare_judged,
    conclude,
    mcnemar,
)

BAND = Band(review_above=0.5, reject_above=0.8)
DEFECTIVE = np.arange(200) >= 150


def judged(scores) -> Judged:
    scores = np.asarray(scores, np.float64)
    return Judged(scores, tuple(decide(score, BAND) for score in scores))


def scores(seed: int = 0, *, good: float = 0.3, bad: float = 0.7, noise: float = 0.08):
    rng = np.random.default_rng(seed)
    return np.where(DEFECTIVE, bad, good) + rng.normal(0, noise, len(DEFECTIVE))


def concluded(champion, challenger, recent=None):
    return conclude(compare_judged(DEFECTIVE, judged(champion), judged(challenger)), recent)


@pytest.mark.parametrize(
    ("first", "second", "alternative", "p_value"),
    [
        ("1111", "1111", "two-sided", 1.0),
        ("0000", "1111", "two-sided", 2 / 2**4),
        ("0000", "1111", "greater", 1 / 2**4),
        ("1111", "0000", "greater", 1.0),
        ("0011", "1100", "two-sided", 1.0),
    ],
)
def test_mcnemar_counts_the_parts_on_which_two_differ(first, second, alternative, p_value):
    marks = (np.array([one == "1" for one in word]) for word in (first, second))
    assert mcnemar(*marks, alternative) == pytest.approx(p_value)


def test_the_same_bundle_again_is_not_worse_and_not_better():
    found = concluded(scores(), scores())
    assert (found.not_worse, found.better) == (True, False)
    assert found.words.startswith("It is not worse; nothing shows that it is better.")
    assert found.frozen.difference.value == 0


def test_what_the_line_would_feel_is_counted():
    """50 of the goods and 10 of the defects are judged wrongly; a FAULT is never right."""
    worse = scores()
    worse[:50], worse[150:160], worse[199] = 0.6, 0.1, np.nan
    found = concluded(scores(), worse).frozen
    assert (found.goods, found.defects) == (150, 50)
    assert found.challenger_false_rejects == 50 + (scores()[50:150] > 0.5).sum()
    assert found.challenger_escapes == 10 + (scores()[160:199] <= 0.5).sum()
    assert found.p_value < 1e-6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bad": 0.35}, "its AUROC differs by -"),
        ({"bad": 0.45, "good": 0.05}, "defects pass, the other"),
        ({"good": 0.55, "bad": 0.95}, "it decides more parts wrongly"),
    ],
    ids=["separates worse", "lets defects pass", "rejects good parts"],
)
def test_a_worse_one_is_found_out(changed, said):
    found = concluded(scores(), scores(**changed))
    assert (found.not_worse, found.better) == (False, False)
    assert said in found.words


def test_one_that_decides_more_rightly_is_better():
    found = concluded(scores(good=0.55, bad=0.95), scores())
    assert (found.not_worse, found.better) == (True, True)
    assert "It is better on the golden parts" in found.words


def test_too_few_parts_to_tell_are_a_no():
    """Of ten parts two bundles judge other ones well: the same AUROC, and nothing is shown."""
    few = np.arange(10) >= 5
    first = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.3, 0.4, 0.5, 0.6, 0.7])
    second = np.concatenate([first[4::-1], first[:4:-1]])
    found = conclude(compare_judged(few, judged(first), judged(second)), None)
    assert (found.frozen.difference.value, found.not_worse) == (0, False)


def test_better_on_recent_parts_and_worse_on_golden_ones_is_worse():
    recent = compare_judged(DEFECTIVE, judged(scores(good=0.55, bad=0.95)), judged(scores()))
    found = concluded(scores(), scores(bad=0.35), recent)
    assert (found.not_worse, found.better) == (False, False)
    assert concluded(scores(), scores(), recent).better


def test_a_worse_challenger_seldom_passes_and_an_equal_one_mostly_does():
    """Of 12 seeds: noise that costs 0.04 of AUROC never passes; as much noise as before mostly."""
    worse = equal = 0
    for seed in range(12):
        part = np.random.default_rng(seed).normal(0, 0.12, len(DEFECTIVE))
        own = scores(seed, noise=0.01)
        worse += concluded(own + part, scores(seed + 100, noise=0.14) + part).not_worse
        equal += concluded(own + part, scores(seed + 100, noise=0.01) + part).not_worse
    assert worse == 0
    assert equal >= 11


def test_without_a_champion_there_is_nothing_to_compare(tmp_path):
    empty = Manifest(root=".", layout="plain", entries=())
    found = compare(None, tmp_path, empty, empty)
    assert (found.better, found.not_worse, found.frozen) == (True, True, None)


def picture(root: Path, red: int, label: Label) -> ManifestEntry:
    path = root / f"{red}.png"
    Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (red, 0, 0)).save(path)
    return ManifestEntry(
        path=path.name,
        sha256=hash_file(path),
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        mode="RGB",
        label=label,
        group=path.stem,
        split=Split.TEST,
    )


def test_two_bundles_judge_the_same_pictures(tmp_path):
    """A challenger twice as sensitive rejects good parts that the champion passed."""
    champion = make_bundle(tmp_path / "champion")
    challenger = make_bundle(tmp_path / "challenger", gain=2.5)
    goods = [picture(tmp_path, red, Label.GOOD) for red in range(60, 100, 2)]
    bad = [picture(tmp_path, red, Label.DEFECT) for red in range(210, 250, 2)]
    manifest = Manifest(root=str(tmp_path), layout="plain", entries=(*goods, *bad))
    nothing = manifest.model_copy(update={"entries": ()})
    found = compare(champion, challenger, manifest, nothing)
    assert (found.not_worse, found.recent) == (False, None)
    assert (found.frozen.champion_false_rejects, found.frozen.challenger_false_rejects) == (0, 20)
    assert found.frozen.difference.value == 0
    assert "Too few reviewed parts" in found.words
    assert compare(champion, challenger, manifest, manifest).recent == found.frozen
    assert Verdict.FAULT not in judged([0.1]).verdicts
    assert replace(judged([np.nan]), verdicts=(Verdict.FAULT,)).right(np.array([True])) == [False]
