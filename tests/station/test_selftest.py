"""The start-of-shift check: what it wants, what it lists, and that nothing hides a failure."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from inspection.bundles.bundle import Golden
from inspection.core.decision import Judgement, Verdict
from inspection.core.errors import BundleCorrupt, ConfigError
from inspection.core.guards import Range, learn, measure
from inspection.core.records import read_record, write_record
from inspection.station.judge import Accepted, Seen
from inspection.station.selftest import Examined, SelftestRecord, selftest
from inspection.station.settings import GuardSettings
from tests.fakes import StillClock, TableScorer
from tests.synthetic import write_png

pytestmark = pytest.mark.fast

GUARDS = GuardSettings()
HW = (12, 20)
GOOD, DOUBTFUL, BAD = 50, 160, 250  # red values: below 0.5, below 0.8, above


def picture(red: int, hw: tuple[int, int] = HW) -> np.ndarray:
    """A part of one red value beside a checkered half."""
    part = np.full((*hw, 3), red, np.uint8)
    part[::2, hw[1] // 2 :] = 255 - red
    return part


def golden_parts(folder: Path, good: Mapping[str, int], defect: Mapping[str, int]) -> Path:
    """Write golden parts by their name and red value."""
    for kind, parts in (("good", good), ("defect", defect)):
        for name, red in parts.items():
            write_png(folder / kind / f"{name}.png", picture(red))
    return folder


def examined(parts: Path | None = None, judge: TableScorer | None = None, *differences: float):
    """A camera whose golden frames differ by so much."""
    golden = tuple(Golden(f"{i:02d}", value) for i, value in enumerate(differences or (0.001,)))
    return Examined("bolt", "top", judge or TableScorer(), lambda: golden, parts)


def check(one: Examined, guards: GuardSettings = GUARDS) -> SelftestRecord:
    """Run the check at the time that stands still."""
    return selftest([one], guards, StillClock())


def test_golden_frames_that_are_reproduced_pass():
    """Up to 2 % of the map's largest value."""
    record = check(examined(None, None, 0.0, 0.02))
    assert record.passed
    assert [one.name for one in record.checks] == [
        "bolt/top golden frame 00",
        "bolt/top golden frame 01",
    ]
    assert record.checked_at == StillClock().now()


def test_one_golden_frame_that_differs_refuses_the_shift():
    """The others do not outvote it; the text says found, wanted and remedy."""
    record = check(examined(None, None, 0.001, 0.021))
    assert not record.passed
    assert str(record) == (
        "self-test FAILED: 1 of 2 checks; no part is released\n"
        "WRONG  bolt/top golden frame 01: map differs by 2.10% of its largest value; wanted at "
        "most 2%; use a CPU with VNNI, or export with precision fp16\n"
        "note   bolt/top: bundle table-scorer has no guard limits; export it again to have them\n"
        "ok     bolt/top golden frame 00: map differs by 0.10% of its largest value"
    )


def test_damaged_golden_frames_are_a_failed_check():
    """What the bundle says of itself stands in the list; the parts are judged all the same."""

    def damaged():
        raise BundleCorrupt("golden: no selftest (gone); copy the bundle again")

    record = check(Examined("bolt", "top", TableScorer(), damaged, None))
    assert not record.passed
    assert record.failed[0].found == "golden: no selftest (gone); copy the bundle again"


def test_parts_judged_as_known_pass(tmp_path: Path):
    """Good parts PASS, defects are REVIEW or REJECT."""
    folder = golden_parts(tmp_path, {"a": GOOD, "b": 0}, {"c": DOUBTFUL, "d": BAD})
    record = check(examined(folder))
    assert record.passed
    assert [one.found for one in record.checks[1:]] == ["PASS", "PASS", "REVIEW", "REJECT"]
    assert str(record).startswith("self-test passed: 5 checks\nnote   bolt/top: bundle")


def test_guards_without_limits_are_noted():
    """What is configured but cannot look is said; where it is off there is nothing to say."""
    without = GuardSettings(size="off", exposure="off", focus="off", missing="off")
    assert check(examined()).notes == (
        "bolt/top: bundle table-scorer has no guard limits; export it again to have them",
    )
    assert check(examined(), without).notes == ()
    assert check(examined(judge=GuardedScorer())).notes == ()


WRONG = {
    "good part in doubt": ({"a": DOUBTFUL}, {"b": BAD}, "REVIEW", "PASS"),
    "good part rejected": ({"a": BAD}, {"b": BAD}, "REJECT", "PASS"),
    "defect that escapes": ({"a": GOOD}, {"b": GOOD}, "PASS", "REVIEW or REJECT"),
    "defect without a score": ({"a": GOOD}, {"b": 77}, "FAULT", "REVIEW or REJECT"),
}


@pytest.mark.parametrize(("good", "defect", "found", "wanted"), WRONG.values(), ids=WRONG)
def test_a_part_judged_otherwise_fails(tmp_path: Path, good, defect, found, wanted):
    """One is enough, and it is named by its file."""
    folder = golden_parts(tmp_path, good, defect)
    record = check(examined(folder, TableScorer({77: math.nan})))
    (failed,) = record.failed
    assert (failed.found, failed.wanted, failed.bundle_id) == (found, wanted, "table-scorer")
    assert failed.name.startswith(f"bolt/top {tmp_path}")


class Ruled(TableScorer):
    """Has accept rules that say the same of every REJECT, or fail."""

    def __init__(self, outcome: Accepted | Exception) -> None:
        super().__init__()
        self.outcome = outcome

    def accept(self, cut: np.ndarray, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Give the outcome."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


PASSED = Accepted(Verdict.PASS, "accepted by 'specks'")
DOUBTED = Accepted(Verdict.REVIEW, "accepted by 'specks'")


def test_a_defect_that_an_accept_rule_lets_pass_fails(tmp_path: Path):
    """Its score alone would find it, but the station would release it; the rule is named."""
    folder = golden_parts(tmp_path, {"a": GOOD}, {"b": BAD, "c": DOUBTFUL})
    record = check(examined(folder, Ruled(PASSED)))
    (failed,) = record.failed
    assert failed.name == f"bolt/top {folder / 'defect' / 'b.png'}"
    assert (failed.found, failed.wanted) == ("PASS, accepted by 'specks'", "REVIEW or REJECT")
    assert failed.remedy.startswith("look at the picture, the light, thresholds and accept rules")


KEPT = {
    "review by a rule": (DOUBTED, "REVIEW, accepted by 'specks'"),
    "no rule fits": (Accepted(Verdict.REJECT), "REJECT"),
    "rules fail": (ConfigError("no box"), "REJECT, accept rules not applied: no box"),
    "a bug": (IndexError("box"), "REJECT, accept rules not applied: IndexError: box"),
}


@pytest.mark.parametrize(("outcome", "found"), KEPT.values(), ids=KEPT)
def test_a_defect_that_accept_rules_hold_back_passes(tmp_path: Path, outcome, found: str):
    """It is judged as a part of the line is; what came of the rules stands in the list."""
    folder = golden_parts(tmp_path, {"a": GOOD}, {"b": BAD})
    record = check(examined(folder, Ruled(outcome)))
    assert record.passed
    assert record.checks[-1].found == found


def test_a_good_part_that_an_accept_rule_lets_pass_passes(tmp_path: Path):
    """A known good part with a speck is what the rule is for; a REVIEW of it is no PASS."""
    folder = golden_parts(tmp_path, {"a": BAD}, {"b": DOUBTFUL})
    assert check(examined(folder, Ruled(PASSED))).passed
    (failed,) = check(examined(folder, Ruled(DOUBTED))).failed
    assert (failed.found, failed.wanted) == ("REVIEW, accepted by 'specks'", "PASS")


@pytest.mark.parametrize("kind", ["good", "defect"])
@pytest.mark.parametrize("state", ["missing", "empty", "hidden files only"])
def test_golden_parts_that_are_not_there_fail(tmp_path: Path, kind: str, state: str):
    """A folder named in the recipe must hold pictures; nothing to check is no pass."""
    folder = golden_parts(tmp_path, {"a": GOOD}, {"b": BAD})
    for path in (folder / kind).iterdir():
        path.unlink()
    if state == "missing":
        (folder / kind).rmdir()
    if state == "hidden files only":
        (folder / kind / ".a.png.partial").write_bytes(b"")
    (failed,) = check(examined(folder)).failed
    found = "cannot be read (No such file or directory)" if state == "missing" else "no pictures"
    assert (failed.name, failed.found) == (f"bolt/top {folder / kind}", found)
    assert failed.wanted == f"pictures of parts known to be {kind}"


def test_a_file_that_is_no_picture_fails(tmp_path: Path):
    """It may be the one part that mattered."""
    folder = golden_parts(tmp_path, {"a": GOOD}, {"b": BAD})
    (folder / "defect" / "notes.txt").write_text("worst part of May")
    (failed,) = check(examined(folder)).failed
    assert failed.found == (
        f"not judged ({folder / 'defect' / 'notes.txt'}: not an image file; wanted PNG, JPEG, BMP "
        "or TIFF)"
    )


class GuardedScorer(TableScorer):
    """Knows what its frames look like: the good picture, in this size only."""

    guards = learn([measure(picture(GOOD)[None])], [HW])


def test_a_guard_that_complains_of_a_good_part_fails(tmp_path: Path):
    """Such a guard would stop the line all day; a defect may look like anything."""
    folder = golden_parts(tmp_path, {"a": GOOD}, {"b": BAD})
    write_png(folder / "good" / "large.png", picture(GOOD, (24, 40)))
    record = check(examined(folder, GuardedScorer()))
    (failed,) = record.failed
    assert failed.name == f"bolt/top {folder / 'good' / 'large.png'}"
    assert failed.found.startswith("guard size: frame is 24 × 40 px; wanted 12 × 20 as")


def test_a_guard_that_is_off_is_not_asked(tmp_path: Path):
    """The station would not ask it either."""
    folder = golden_parts(tmp_path, {"a": GOOD}, {"b": BAD})
    judge = GuardedScorer()
    judge.guards = judge.guards.model_copy(update={"width_px": Range(least=30, most=40)})
    off = GUARDS.model_copy(update={"size": "off"})
    assert not check(examined(folder, judge)).passed
    assert check(examined(folder, judge), off).passed


class CroppingScorer(TableScorer):
    """Judges the right half of the camera's frame only."""

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Give the right half."""
        return pixels[:, pixels.shape[1] // 2 :]


def test_golden_parts_are_cut_as_the_recipe_says(tmp_path: Path):
    """They are pictures as the camera takes them: red 250 left, 5 right."""
    folder = golden_parts(tmp_path, {"a": BAD}, {"b": GOOD})
    record = check(examined(folder, CroppingScorer({5: 0.1, 205: 0.9})))
    assert [one.found for one in record.checks[1:]] == [Verdict.PASS, Verdict.REJECT]


def test_every_camera_of_every_recipe_is_checked():
    """Two cameras, one of which fails: the station as a whole fails."""
    sound, wrong = (
        examined(),
        Examined("bolt", "side", TableScorer(), lambda: (Golden("00", 1),), None),
    )
    record = selftest([sound, wrong], GUARDS, StillClock())
    assert [one.name for one in record.failed] == ["bolt/side golden frame 00"]
    assert len(record.checks) == 2


def test_the_record_reads_back_from_json(tmp_path: Path):
    """It is kept and shown later."""
    record = check(examined(None, None, 0.5))
    write_record(tmp_path / "selftest.json", record)
    again = read_record(tmp_path / "selftest.json", SelftestRecord)
    assert again == record
    assert not again.passed


def test_nothing_examined_is_no_pass():
    """A station without a recipe cannot have passed."""
    with pytest.raises(ValueError, match="at least 1 item"):
        selftest([], GUARDS)
