"""When a challenger may follow: shown to be not worse, on the golden and on recent parts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from inspection.bench.redness import HEIGHT_PX, WIDTH_PX, make_bundle
from inspection.bundles.bundle import read_card
from inspection.core.decision import Band, Verdict, decide
from inspection.core.errors import DatasetError
from inspection.core.records import Label, Manifest, ManifestEntry, Split, hash_file
from inspection.metrics.paired import difference_limit
from inspection.retraining.bands import Bands
from inspection.retraining.compare import (
    ESCAPES_MARGIN,
    FALSE_REJECTS_MARGIN,
    compare,
    compare_judged,
    conclude,
    mcnemar,
    take_together,
)
from inspection.retraining.samples import Judged, Line, Sample, at_one_rate

BAND = Band(review_above=0.5, reject_above=0.8)
DEFECTIVE = np.arange(225) >= 150


def judged(scores) -> Judged:
    scores = np.asarray(scores, np.float64)
    return Judged(scores, tuple(decide(score, BAND) for score in scores))


def scores(seed: int = 0, *, good: float = 0.3, bad: float = 0.7, noise: float = 0.08):
    rng = np.random.default_rng(seed)
    return np.where(DEFECTIVE, bad, good) + rng.normal(0, noise, len(DEFECTIVE))


def sample(champion, challenger, defective=DEFECTIVE, names: str = "golden") -> Sample:
    """Give what was said of pictures so named, each another one."""
    each = tuple(f"{names} {number}" for number in range(len(defective)))
    return Sample(each, defective, judged(champion), judged(challenger))


KEPT, BROKEN = Line(promised=0.05), Line(promised=0.05, by_threshold=True)


def concluded(champion, challenger, recent=None, line=KEPT):
    return conclude(sample(champion, challenger), recent, line)


def counted(goods: int, defects: int, *, escapes=(0, 0), rejects=(0, 0), names="golden") -> Sample:
    """Give so many parts that separate well, of which only one bundle each judges some wrongly."""
    defective = np.arange(goods + defects) >= goods
    first, second = (np.where(defective, 0.9, 0.1) for _ in range(2))
    first[-escapes[0] or len(first) :] = 0.45
    second[goods : goods + escapes[1]] = 0.45
    first[: rejects[0]] = second[rejects[0] : sum(rejects)] = 0.55
    return sample(first, second, defective, names)


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
    worse[:50], worse[150:160], worse[224] = 0.6, 0.1, np.nan
    found = concluded(scores(), worse).frozen
    assert (found.goods, found.defects) == (150, 75)
    assert found.challenger_false_rejects == 50 + (scores()[50:150] > 0.5).sum()
    assert found.challenger_escapes == 10 + (scores()[160:224] <= 0.5).sum()
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
    assert (found.worse, found.not_worse, found.better) == (True, False, False)
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
    found = conclude(sample(first, second, few), None, KEPT)
    assert (found.frozen.difference.value, found.worse, found.not_worse) == (0, False, False)
    assert "5 real defects are too few to tell, wanted 59 at least" in found.words
    assert "5 good parts are too few to tell, wanted 74 at least" in found.words
    assert found.words.count("A person decides.") == 1


@pytest.mark.parametrize(
    ("frozen", "recent", "not_worse", "said"),
    [
        (counted(74, 59), None, True, "It is not worse"),
        (counted(73, 59), None, False, "73 good parts are too few"),
        (counted(200, 58), None, False, "58 real defects are too few"),
        (counted(200, 100, escapes=(0, 4)), None, False, "more of 100 real defects may escape"),
        (counted(200, 400, escapes=(0, 4)), None, True, "It is not worse"),
        (counted(200, 400, escapes=(0, 5)), None, False, "it lets 5 defects pass, the other 0"),
        (counted(100, 100, rejects=(1, 4)), None, False, "of 100 good parts may be rejected"),
        (counted(200, 100, escapes=(1, 1), rejects=(2, 2)), None, True, "It is not worse"),
        (counted(74, 30), counted(10, 30, names="recent"), True, "It is not worse"),
        (counted(74, 30), counted(74, 30), False, "30 real defects are too few"),
    ],
)
def test_silence_is_no_proof(frozen, recent, not_worse, said):
    """Four more escapes are not sure, and yet no proof; each picture counts once."""
    found = conclude(frozen, recent, BROKEN)
    assert (found.not_worse, found.worse) == (not_worse, said.startswith("it lets"))
    assert said in found.words


def test_generated_defects_show_nothing_of_escapes():
    """With no name of their own they are left out."""
    made = counted(100, 100)
    made = replace(made, names=tuple("" if bad else name for bad, name in _named(made)))
    found = conclude(made, None, KEPT)
    assert "0 real defects are too few to tell" in found.words
    assert (found.together.goods, found.together.more_escapes) == (100, 1)
    both = take_together(made, counted(50, 60, names="recent"), BROKEN)
    assert (both.goods, both.defects) == (100, 60)


def _named(made: Sample) -> list[tuple[bool, str]]:
    return list(zip(made.defective.tolist(), made.names, strict=True))


@pytest.mark.parametrize("others", [0.0, 0.01, 0.03])
@pytest.mark.parametrize(
    ("parts", "margin"), [(100, ESCAPES_MARGIN), (300, ESCAPES_MARGIN), (200, FALSE_REJECTS_MARGIN)]
)
def test_of_as_much_worse_as_the_margin_one_in_twenty_gets_through_at_most(parts, margin, others):
    """Whatever share of parts each alone judges wrongly besides; exact, from the trinomial."""
    assert let_through(parts, margin, (margin + others, others)) <= 0.05


def test_an_equal_one_mostly_gets_through():
    """At 100 defects and 200 good parts, of which each alone lets pass or rejects 1 %, or 0.5 %."""
    defects = let_through(100, ESCAPES_MARGIN, (0.01, 0.01))
    goods = let_through(200, FALSE_REJECTS_MARGIN, (0.005, 0.005))
    assert defects * goods > 0.75


def let_through(parts: int, margin: float, shares: tuple[float, float]) -> float:
    """Give the chance that the limit lies below a margin, of shares that only one marks."""
    most = parts // 5
    more, fewer = np.mgrid[: most + 1, : most + 1].reshape(2, -1)
    counts = np.stack([more, fewer, parts - more - fewer], axis=1)
    chances = stats.multinomial.pmf(counts, parts, [*shares, 1 - sum(shares)])
    below = [difference_limit(int(one), int(two), parts) < margin for one, two, _ in counts]
    return float(chances[below].sum())


def test_better_on_recent_parts_and_worse_on_golden_ones_is_worse():
    recent = sample(scores(good=0.55, bad=0.95), scores(), names="recent")
    found = concluded(scores(), scores(bad=0.35), recent)
    assert (found.not_worse, found.better) == (False, False)
    assert concluded(scores(), scores(), recent, BROKEN).better
    assert not concluded(scores(), scores(), recent).better, "people look at what it held"


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
    found = compare(None, tmp_path, empty, empty, Bands())
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
    champion, challenger, manifest = pair_with_set(tmp_path)
    nothing = manifest.model_copy(update={"entries": ()})
    found = compare(champion, challenger, manifest, nothing, Bands())
    assert (found.worse, found.not_worse, found.recent) == (True, False, None)
    assert (found.frozen.champion_false_rejects, found.frozen.challenger_false_rejects) == (0, 20)
    assert found.frozen.difference.value == 0
    assert "Too few reviewed parts" in found.words
    twice = compare(champion, challenger, manifest, manifest, Bands())
    assert (twice.recent, twice.together) == (found.frozen, found.together)
    assert Verdict.FAULT not in judged([0.1]).verdicts
    assert replace(judged([np.nan]), verdicts=(Verdict.FAULT,)).right(np.array([True])) == [False]


def test_each_is_judged_by_the_band_in_force(tmp_path):
    """Held against a band as much higher, the more sensitive one rejects no more."""
    champion, challenger, manifest = pair_with_set(tmp_path)
    nothing = manifest.model_copy(update={"entries": ()})
    own = read_card(challenger).band
    band = Band(review_above=own.review_above * 2.5, reject_above=own.reject_above * 2.5)
    found = compare(champion, challenger, manifest, nothing, Bands(challenger=band)).frozen
    assert (found.champion_false_rejects, found.challenger_false_rejects) == (0, 0)
    strict = Band(review_above=0.0, reject_above=own.reject_above)
    found = compare(champion, challenger, manifest, nothing, Bands(champion=strict)).frozen
    assert (found.champion_false_rejects, found.challenger_false_rejects) == (20, 20)


def test_without_a_good_golden_part_the_remedy_is_said(tmp_path):
    champion, challenger, manifest = pair_with_set(tmp_path)
    outdated = [
        one.model_copy(update={"split": Split.CALIBRATE, "outdated": True})
        for one in manifest.entries
        if one.label is Label.GOOD
    ]
    for entries in ((), tuple(outdated)):
        golden = manifest.model_copy(update={"entries": entries})
        with pytest.raises(DatasetError, match=r"none of them good; wanted .* then ask again"):
            compare(champion, challenger, golden, manifest, Bands())


def pair_with_set(folder: Path) -> tuple[Path, Path, Manifest]:
    """Give two bundles, the second 2.5 times as sensitive, and 20 good parts and 20 defects."""
    champion = make_bundle(folder / "champion")
    challenger = make_bundle(folder / "challenger", gain=2.5)
    goods = [picture(folder, red, Label.GOOD) for red in range(60, 100, 2)]
    bad = [picture(folder, red, Label.DEFECT) for red in range(210, 250, 2)]
    return (
        champion,
        challenger,
        Manifest(root=str(folder), layout="plain", entries=(*goods, *bad)),
    )


def test_a_champion_that_rejects_everything_is_no_bar_for_escapes():
    """New material: the old bundle lets nothing pass, good or bad; the new one knows it again."""
    usable = scores(seed=1)
    usable[-4:] = 0.45  # escapes
    blind = 5 + scores(seed=2, good=0.5, bad=0.6)
    verdict = concluded(blind, usable)
    assert verdict.not_worse, verdict.words
    assert verdict.better


def test_at_the_same_overkill_a_champion_that_ranks_better_stays():
    sharp = 5 + scores(seed=3, good=0.1, bad=0.9)  # its threshold is lost, its ranks are not
    poor = scores(seed=4, good=0.3, bad=0.6)
    verdict = concluded(sharp, poor)
    assert verdict.worse
    assert "defects pass" in verdict.words


def test_that_people_looked_at_what_the_champion_held_is_no_proof_against_it():
    """Its promise kept: 1 % of many parts were held, all of them reviewed, and few that passed."""
    golden = counted(200, 150)
    recent = counted(120, 60, escapes=(0, 12), rejects=(100, 0), names="recent")
    assert conclude(golden, recent, KEPT).worse, "12 more escapes"


def test_what_a_person_chose_to_hold_is_a_bar_for_escapes():
    """Strict thresholds set by hand break no promise: whoever lets more defects pass is worse."""
    strict = 0.6 + scores(seed=2, good=0, bad=0) / 100  # holds all, as somebody wants it
    loose = scores(seed=1)
    loose[-12:] = 0.45
    assert "defects pass" in concluded(strict, loose, line=replace(KEPT, by_hand=True)).words
    assert "defects pass" not in concluded(strict, loose).words


def test_defects_that_only_a_guard_of_the_champion_catches_count():
    """Unless its guards hold surely more good parts than it promises."""
    defective = np.arange(250) >= 150
    ranked = np.where(defective, 0.45, 0.1)  # all would pass by their score
    names = tuple(map(str, range(250)))
    challenger = judged(ranked)
    held = np.where(defective, 0.6, 0.1)  # a guard holds them
    champion = replace(
        judged(held), scores=ranked, by_score=tuple(decide(one, BAND) for one in ranked)
    )
    both = Sample(names, defective, champion, challenger)
    assert compare_judged(both, KEPT).more_escapes
    assert not compare_judged(both, Line(promised=0.05, by_guard=True)).more_escapes


@pytest.mark.parametrize("blind", ["champion", "challenger"])
def test_a_bundle_that_is_fault_on_everything_is_compared_all_the_same(blind):
    """Pictures of another size, say: it decides nothing rightly, and has no AUROC."""
    faults = Judged(np.full(225, np.nan), (Verdict.FAULT,) * 225)
    both = replace(sample(scores(), scores(seed=1)), **{blind: faults})
    found = conclude(both, None, KEPT)
    assert found.frozen.difference is None
    assert found.worse is (blind == "challenger")


def test_recent_good_parts_bound_no_false_rejects():
    """They are those the champion held, so they can speak for a challenger only."""
    golden = counted(100, 100, rejects=(0, 8))
    recent = counted(300, 100, rejects=(300, 0), names="recent")
    alone, both = take_together(golden, None, BROKEN), take_together(golden, recent, BROKEN)
    assert both.more_false_rejects == alone.more_false_rejects > FALSE_REJECTS_MARGIN


def test_of_another_material_both_are_compared_at_one_rate_of_false_rejects():
    """The challenger ranks the golden parts alike; its threshold lies at twice the height."""
    values = scores()
    same = sample(values, values)
    higher = Band(review_above=0.65, reject_above=0.9)
    moved = replace(
        same, challenger=Judged(values, tuple(decide(value, higher) for value in values))
    )
    assert "it lets" in conclude(moved, None, KEPT).words
    fair = conclude(moved, None, replace(KEPT, is_new=True))
    assert (fair.not_worse, fair.worse) == (True, False), fair.words
    assert fair.frozen.challenger_escapes == fair.frozen.champion_escapes


def test_of_another_material_what_ranks_worse_is_worse():
    blunt = np.random.default_rng(1).permutation(scores())
    found = conclude(sample(scores(), blunt), None, replace(KEPT, is_new=True))
    assert found.worse


def test_at_one_rate_overkill_stays_overkill():
    """What holds more good parts than the champion is not let off."""
    values = scores()
    lower = sample(values, values + 0.2)
    assert at_one_rate(lower) == lower


def test_at_one_rate_a_threshold_far_above_all_good_parts_counts_no_more():
    values = np.where(DEFECTIVE, 0.9, 0.1)
    found = at_one_rate(replace(sample(values, values), challenger=judged(values / 3)))
    assert (found.challenger.passed() == ~DEFECTIVE).all()


def test_of_another_material_margins_are_twice_as_wide():
    golden = counted(200, 100, escapes=(0, 4))
    assert "more of 100 real defects may escape" in conclude(golden, None, KEPT).words
    assert conclude(golden, None, replace(KEPT, is_new=True)).not_worse


def test_who_holds_every_third_good_part_is_no_bar_for_who_holds_a_few_more():
    """Half of what it surely holds beyond its promise is the margin; escapes have theirs."""
    golden = counted(150, 100, rejects=(2, 8))
    assert "may be rejected" in conclude(golden, None, BROKEN).words
    assert conclude(golden, None, replace(BROKEN, held=0.18)).not_worse
    assert not conclude(golden, None, replace(KEPT, held=0.18)).not_worse
    assert not conclude(golden, None, replace(BROKEN, held=0.06)).not_worse
    lax = counted(150, 100, rejects=(2, 8), escapes=(0, 6))
    assert conclude(lax, None, replace(BROKEN, held=0.18)).worse
