"""Splits follow the hash of the group: they do not move when files are added."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspection.core.errors import DatasetError
from inspection.core.records import Label, Manifest, ManifestEntry, Split
from inspection.data.split import SplitRule, choose_split, group_of, place_of, split_manifest

pytestmark = pytest.mark.fast

NAMES = st.lists(st.text("abc012_-", min_size=1, max_size=8), unique=True, max_size=30)


def _entry(path, *, label=Label.GOOD, split=Split.FIT):
    return ManifestEntry(
        path=path,
        sha256="0" * 64,
        height_px=48,
        width_px=64,
        mode="RGB",
        label=label,
        defect=None if label is Label.GOOD else "scratch",
        group=path,
        split=split,
    )


def _plain(*paths, defects=()):
    entries = [_entry(path) for path in paths]
    entries += [_entry(path, label=Label.DEFECT, split=Split.TEST) for path in defects]
    return Manifest(root=".", layout="plain", entries=tuple(entries))


def _mvtec(train=(), test=(), defects=()):
    entries = [_entry(path) for path in train]
    entries += [_entry(path, split=Split.TEST) for path in test]
    entries += [_entry(path, label=Label.DEFECT, split=Split.TEST) for path in defects]
    return Manifest(root=".", layout="mvtec", entries=tuple(entries))


def _splits(manifest):
    return {entry.path: entry.split for entry in manifest.entries}


@given(names=NAMES, added=NAMES)
def test_adding_files_never_moves_others(names, added):
    """Each good part keeps its split, whatever stands beside it and in whatever order."""
    rule = SplitRule(calibrate_share=0.3, test_share=0.3)
    before = _splits(split_manifest(_plain(*(f"good/{name}.png" for name in names)), rule))
    everything = sorted({*names, *added}, reverse=True)
    after = _splits(split_manifest(_plain(*(f"good/{name}.png" for name in everything)), rule))
    assert before.items() <= after.items()


@given(groups=st.lists(st.text("ab01", min_size=1, max_size=4), min_size=1, max_size=40))
def test_one_group_never_stands_in_two_splits(groups):
    """Images that share what the pattern finds share their split."""
    paths = [f"good/{group}_{index}.png" for index, group in enumerate(groups)]
    rule = SplitRule(group=r"^([ab01]+)_", calibrate_share=0.4, test_share=0.3)
    of_group = {}
    for entry in split_manifest(_plain(*paths), rule).entries:
        of_group.setdefault(entry.group, set()).add(entry.split)
    assert set(of_group) == set(groups)
    assert {len(splits) for splits in of_group.values()} == {1}


def test_shares_are_kept_over_many_parts():
    """Of 2,000 plain parts about 15 % calibrate and 20 % test."""
    paths = [f"good/{index:04d}.png" for index in range(2000)]
    counts = Counter(_splits(split_manifest(_plain(*paths), SplitRule())).values())
    assert counts[Split.CALIBRATE] == pytest.approx(300, abs=50)
    assert counts[Split.TEST] == pytest.approx(400, abs=50)
    assert sum(counts.values()) == 2000


def test_place_of_a_group_is_fixed_forever():
    """The place comes from sha256 alone; a change here would move every user's split."""
    assert place_of("train/good/000") == pytest.approx(0.36774295, abs=1e-8)
    assert place_of("") == pytest.approx(0.88941599, abs=1e-8)


@pytest.mark.parametrize(
    ("tested", "place", "split"),
    [
        pytest.param(False, 0.05, Split.CALIBRATE, id="low place calibrates"),
        pytest.param(False, 0.95, Split.FIT, id="high place fits where test is fixed"),
        pytest.param(True, 0.95, Split.TEST, id="high place tests where it is free"),
        pytest.param(True, 0.5, Split.FIT, id="the middle fits"),
        pytest.param(True, 0.05, Split.CALIBRATE, id="low place calibrates where test is free"),
    ],
)
def test_place_decides_the_split(tested, place, split):
    """Calibrate takes the low end, test the high end, so neither moves the other."""
    group = next(name for name in map(str, range(1000)) if abs(place_of(name) - place) < 0.03)
    assert choose_split(group, SplitRule(), tested=tested) is split


def test_train_is_divided_and_test_stays():
    """Where a layout has train and test, only train goods become fit and calibrate."""
    manifest = _mvtec(
        [f"train/good/{index:03d}.png" for index in range(200)],
        [f"test/good/{index:03d}.png" for index in range(20)],
        ["test/scratch/000.png"],
    )
    splits = _splits(split_manifest(manifest, SplitRule()))
    assert {splits[f"test/good/{index:03d}.png"] for index in range(20)} == {Split.TEST}
    assert splits["test/scratch/000.png"] is Split.TEST
    train = Counter(split for path, split in splits.items() if path.startswith("train/"))
    assert set(train) == {Split.FIT, Split.CALIBRATE}
    assert train[Split.CALIBRATE] == pytest.approx(30, abs=12)


def test_splitting_twice_changes_nothing():
    """A manifest that was split stands still under the same rule."""
    manifest = _plain(*(f"good/{index}.png" for index in range(50)), defects=["bad/0.png"])
    once = split_manifest(manifest, SplitRule())
    assert split_manifest(once, SplitRule()) == once


def test_good_part_follows_the_defect_of_its_group_into_test():
    """A plain part photographed good and bad is tested, never learnt."""
    manifest = _plain("good/p1_a.png", "good/p2_a.png", defects=["bad/p1_b.png"])
    splits = _splits(split_manifest(manifest, SplitRule(group="^(p[0-9])", test_share=0)))
    assert splits["good/p1_a.png"] is Split.TEST
    assert splits["good/p2_a.png"] is not Split.TEST


def test_groups_across_train_and_test_are_refused_all_at_once():
    """A group that the layout has on both sides is named, with a file of each."""
    manifest = _mvtec(
        ["train/good/a_1.png", "train/good/b_1.png", "train/good/c_1.png"],
        ["test/good/a_2.png"],
        ["test/scratch/b_2.png"],
    )
    with pytest.raises(DatasetError) as caught:
        split_manifest(manifest, SplitRule(group="^[abc]"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(
        "train/good/a_1.png: group 'a' stands in train and in test (test/good/a_2.png)"
    )
    assert lines[1].startswith("train/good/b_1.png: group 'b'")


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        pytest.param(None, "good/line1/P17_cam2", id="the path without suffix"),
        pytest.param(r"^P\d+", "P17", id="the whole match"),
        pytest.param(r"^P(\d+)_", "17", id="group one"),
        pytest.param(r"(?:cam)(\d)", "2", id="anywhere in the name"),
    ],
)
def test_group_is_what_the_pattern_finds_in_the_name(pattern, group):
    """The pattern sees the file name only; without one each image is its own group."""
    assert group_of("good/line1/P17_cam2.png", pattern) == group


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        pytest.param("good/x.png", r"^P\d+", id="no match"),
        pytest.param("good/P.png", r"^P(\d+)?", id="group one did not take part"),
        pytest.param("good/P.png", r"^(Q*)", id="empty match"),
        pytest.param("P1/x.png", r"P\d", id="the folder does not count"),
    ],
)
def test_name_without_group_is_refused(path, pattern):
    """A part whose group is unknown could leak, so it is not guessed."""
    with pytest.raises(DatasetError, match=re.escape(f"{path}: group pattern '{pattern}' finds")):
        group_of(path, pattern)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"calibrate_share": 0.6, "test_share": 0.4}, "leave something to fit", id="1"),
        pytest.param({"calibrate_share": 0.0}, "calibrate_share", id="no calibrate"),
        pytest.param({"group": "("}, "is no regular expression", id="broken pattern"),
        pytest.param({"test_sahre": 0.1}, "test_sahre", id="misspelt"),
    ],
)
def test_impossible_rules_are_refused(values, message):
    """A rule that leaves a split empty, or cannot be understood, is refused at once."""
    with pytest.raises(ValueError, match=message):
        SplitRule.model_validate(values)
