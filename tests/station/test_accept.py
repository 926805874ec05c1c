"""Accept rules at the station: what becomes of a REJECT, what is recorded, and what cannot be."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag

import numpy as np
import pytest

from inspection.bundles.bundle import CARD, open_bundle
from inspection.bundles.overlay import encode_picture
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.config import parse_config
from inspection.core.decision import AcceptRule, Defect, Defects, DefectSize, Judgement, Verdict
from inspection.core.errors import BundleError, ConfigError, InspectionError
from inspection.core.geometry import Roi
from inspection.core.imaging import Rgb
from inspection.core.records import Event, FrameRecord, parse_record
from inspection.masks.grabcut import GrabCut, GrabCutImage
from inspection.masks.refine import Refiner
from inspection.masks.segmenter import Candidates, Prompt
from inspection.masks.settings import RefineSettings
from inspection.station.judge import Accepted, Seen
from inspection.station.look import FROZEN, look_at
from inspection.station.recipes.bundle_judge import Acceptance, BundleJudge
from inspection.station.recipes.opening import open_recipes, open_tested
from inspection.station.replay import replay
from inspection.station.service import serve
from inspection.station.settings import CameraRecipe, GuardSettings, StationConfig
from tests.command import inspection
from tests.fakes import TableJudges, TableScorer
from tests.station.bundles import gate_of, make_bundle
from tests.station.events import event
from tests.station.rig import Rig, configure, part, pixels, recorded
from tests.station.sources.files import put

# What is trusted is tested elsewhere; colours find exactly what is drawn here.
GUARDS_OFF = {"growth": 100.0, "agreement": 0.0, "cover": 0.0, "contrast": 0.0}
TRUSTING = {"segmenter": "grabcut", **GUARDS_OFF}
SPECKS = {"name": "specks", "area_below": 1.0, "then": "PASS"}
SPECK = (32, 16, 48, 32)  # x0, y0, x1, y1: one cell of the map of a 64×128 frame, 0.64 mm²
STAIN = (80, 16, 96, 48)  # two cells, 1.28 mm²
EVERYWHERE = [*((x, 16, x + 16, 32) for x in range(0, 128, 32)), (0, 48, 16, 64)]
MEASURED = Defects(
    found=(
        Defect(
            size=DefectSize(area_px=9, length_px=3, width_px=3, x_px=5, y_px=5),
            peak=1,
            trusted=True,
        ),
    )
)


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


class Ruled(TableScorer):
    """A scorer whose product has accept rules with a known outcome, or that fail."""

    def __init__(self, outcome: Accepted | Exception, hold: Flag | None = None) -> None:
        super().__init__()
        self.outcome, self.hold, self.asked = outcome, hold, 0

    def accept(self, cut: Rgb, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Give the outcome, when there is nothing to wait for any more."""
        self.asked += 1
        if self.hold is not None:
            self.hold.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class Confused:
    """A segmenter that refuses every prompt."""

    name = "confused"
    side_px = None

    def set_image(self, pixels: Rgb) -> "Confused":
        """Take any image."""
        return self

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Refuse."""
        raise ConfigError("prompt: found nothing to ask; wanted a box")


class Uncertain(GrabCut):
    """A segmenter whose outlines are always empty, so that none is trusted."""

    def set_image(self, pixels: Rgb) -> "GrabCutImage":
        """Take any image."""
        return UncertainImage(pixels)


class UncertainImage(GrabCutImage):
    """What it says of one."""

    def predict(self, prompts: Sequence[Prompt]) -> list[Candidates]:
        """Find nothing."""
        none = np.zeros((1, *self.pixels.shape[:2]), np.bool_)
        return [Candidates(none, np.ones(1, np.float32)) for _ in prompts]


def frame(*defects: tuple[int, int, int, int]) -> Rgb:
    """Draw red defects on a dark 64×128 frame."""
    drawn = np.full((64, 128, 3), 20, np.uint8)
    for x0, y0, x1, y1 in defects:
        drawn[y0:y1, x0:x1] = 255, 60, 40
    return drawn


def ruled(folder: Path, *rules: dict[str, object], **changes: object) -> StationConfig:
    """Configure a station whose product has accept rules, at 0.05 mm per px."""
    if not (folder / "bundle").exists():
        make_bundle(folder / "bundle")
    (folder / "in").mkdir(exist_ok=True)
    recipe = {"bundle": folder / "bundle", "mm_per_px": 0.05, "accept": rules, "refine": TRUSTING}
    return configure(folder, recipes={"default": {"main": recipe | changes}})


def judged(config: StationConfig, **parts: Rgb) -> dict[str, Event]:
    """Run a station over these frames and give the event of each."""
    for name, shown in parts.items():
        put(config.source.path, f"{name}.png", encode_picture(shown))
    serve(config)
    return {one.part_id: one for one in recorded(config)}


def look(judge: TableScorer, red: int = 255, **guards: str):
    """Look at a frame of one grey value, the same bytes as the one before."""
    return look_at(pixels(red), judge, GuardSettings(**{"frozen": "off"} | guards), lambda: True)


def test_reject_is_what_its_accept_rules_say():
    """Verdict, reason and sizes are theirs; score and band stay what they were."""
    found = look(Ruled(Accepted(Verdict.PASS, "accepted by 'specks'", MEASURED)))
    assert (found.verdict, found.reason) == (Verdict.PASS, "accepted by 'specks'")
    assert (found.score, found.defects) == (1.0, MEASURED)
    assert found.judgement is not None
    assert (found.judgement.verdict, found.judgement.band.reject_above) == (Verdict.REJECT, 0.8)


@pytest.mark.parametrize("red", [51, 153])
def test_only_a_reject_is_measured(red: int):
    """PASS and REVIEW cost nothing more, and stay."""
    judge = Ruled(Accepted(Verdict.PASS, "accepted by 'specks'"))
    found = look(judge, red)
    assert (found.verdict, judge.asked) == (look(TableScorer(), red).verdict, 0)
    assert (found.reason, found.defects) == ("", None)


def test_unsound_map_is_not_measured():
    """A score that is no number is FAULT before any rule is asked."""
    judge = Ruled(Accepted(Verdict.PASS))
    judge.table[255] = float("nan")
    assert (look(judge).verdict, judge.asked) == (Verdict.FAULT, 0)


def test_guard_counts_beside_the_rules():
    """The worst of both stands, with both reasons; what a guard makes FAULT is not measured."""
    judge = Ruled(Accepted(Verdict.PASS, "accepted by 'specks'", MEASURED))
    found = look(judge, frozen="REVIEW")
    assert found.verdict is Verdict.REVIEW
    assert found.reason == f"{FROZEN}; accepted by 'specks'"
    assert (look(judge, frozen="FAULT").verdict, judge.asked) == (Verdict.FAULT, 1)


FAILURES = {
    "refused": (ConfigError("prompt: no box"), "prompt: no box"),
    "no memory": (MemoryError(), "MemoryError: "),
    "a bug": (IndexError("list index"), "IndexError: list index"),
}


@pytest.mark.parametrize(("error", "words"), FAILURES.values(), ids=FAILURES)
def test_failed_measurement_leaves_the_reject(error: Exception, words: str):
    """Neither PASS nor FAULT: the score is sound, and the reason is said."""
    found = look(Ruled(error))
    assert (found.verdict, found.score, found.defects) == (Verdict.REJECT, 1.0, None)
    assert found.reason == f"accept rules not applied: {words}"


def test_measurement_beyond_the_deadline_is_a_fault(tmp_path: Path):
    """The deadline holds for the whole part; the line does not wait for a segmenter."""
    hold = Flag()
    judge = Ruled(Accepted(Verdict.PASS, "accepted by 'specks'"), hold)
    rig = Rig(configure(tmp_path, deadline_ms=50), TableJudges(default={"main": judge}))
    rig.signal = lambda _: hold.set()
    rig.run([part("a", 255)])
    (found,) = recorded(rig.config)
    assert (found.verdict, judge.asked) == (Verdict.FAULT, 1)
    assert "no score within 50 ms" in found.reason


def test_event_tells_the_rule_and_the_sizes(tmp_path: Path):
    """A speck passes by its rule's name; its score lies above the band as before."""
    events = judged(ruled(tmp_path, SPECKS), speck=frame(SPECK))
    speck = events["speck"]
    assert (speck.verdict, speck.reason) == (Verdict.PASS, "accepted by 'specks'")
    (shown,) = speck.frames
    assert (shown.verdict, shown.reason) == (speck.verdict, speck.reason)
    assert shown.score is not None
    assert shown.band is not None
    assert shown.score > shown.band.reject_above
    assert shown.defects is not None
    (one,) = shown.defects.found
    assert (one.trusted, shown.defects.uncounted, shown.defects.mm_per_px) == (True, 0, 0.05)
    assert shown.defects.segmenter == "GrabCut (OpenCV, no weights)"
    assert one.size.area_px == pytest.approx(256, rel=0.15)
    assert (one.size.x_px, one.size.y_px) == (pytest.approx(40, abs=2), pytest.approx(24, abs=2))


def test_rules_by_the_segmenter_that_ships(tmp_path: Path):
    """What it outlines is accepted; what it is not believed on is for a person to see."""
    (speck,) = judged(ruled(tmp_path, SPECKS, refine={}), speck=frame(SPECK)).values()
    (one,) = speck.frames[0].defects.found
    assert "(shipped, " in speck.frames[0].defects.segmenter
    assert speck.verdict is (Verdict.PASS if one.trusted else Verdict.REVIEW)


def test_event_of_what_stays_a_reject_tells_the_sizes(tmp_path: Path):
    """Whoever writes a rule sees what it would have to accept."""
    events = judged(ruled(tmp_path, SPECKS), stain=frame(STAIN), both=frame(SPECK, STAIN))
    assert {one.verdict for one in events.values()} == {Verdict.REJECT}
    assert {one.reason for one in events.values()} == {""}
    counts = {name: len(one.frames[0].defects.found) for name, one in events.items()}
    assert counts == {"stain": 1, "both": 2}


def test_more_defects_than_the_budget_stay_a_reject(tmp_path: Path):
    """What was not measured is counted, and nothing accepts it."""
    config = ruled(tmp_path, SPECKS, refine=TRUSTING | {"most_defects": 3})
    (found,) = judged(config, many=frame(*EVERYWHERE)).values()
    (shown,) = found.frames
    assert found.verdict is Verdict.REJECT
    assert (len(shown.defects.found), shown.defects.uncounted) == (3, 2)


def test_most_of_a_rule_counts_per_frame(tmp_path: Path):
    """Two specks are let through, five are not."""
    config = ruled(tmp_path, SPECKS | {"most": 2, "then": "REVIEW"})
    events = judged(config, two=frame(*EVERYWHERE[:2]), five=frame(*EVERYWHERE))
    verdicts = {name: str(one.verdict) for name, one in events.items()}
    assert verdicts == {"two": "REVIEW", "five": "REJECT"}


def test_station_without_rules_measures_nothing(tmp_path: Path):
    """All defaults: a REJECT stays one, and no defect is told of."""
    (found,) = judged(ruled(tmp_path), speck=frame(SPECK)).values()
    assert (found.verdict, found.reason, found.frames[0].defects) == (Verdict.REJECT, "", None)


@pytest.mark.parametrize(("rules", "loaded"), [((), False), ((SPECKS,), True)])
def test_station_without_rules_loads_no_segmenter(tmp_path: Path, rules, loaded: bool):
    """Its start and its memory are what they were."""
    config = ruled(tmp_path, *rules)
    (tmp_path / "station.json").write_text(config.model_dump_json())
    script = (
        "import sys\nfrom pathlib import Path\nimport inspection.station.service\n"
        "from inspection.station.recipes.opening import open_recipes\n"
        "from inspection.station.settings import StationConfig\n"
        "text = Path(sys.argv[1]).read_text()\n"
        "open_recipes(StationConfig.model_validate_json(text))\n"
        "print('inspection.masks.refine' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "station.json")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(loaded)]


def test_replay_decides_the_same(tmp_path: Path):
    """A kept frame is measured again and becomes the same; without rules it is a REJECT again."""
    config = ruled(tmp_path, SPECKS)
    spool = config.spool.model_copy(update={"keep_images": tuple(Verdict)})
    config = config.model_copy(update={"spool": spool})
    judged(config, speck=frame(SPECK), stain=frame(STAIN))
    found = replay(config, bundle=None, band=None)
    assert [(one.part_id, one.now) for one in found.frames] == [
        ("speck", Verdict.PASS),
        ("stain", Verdict.REJECT),
    ]
    assert (found.changed, found.frames[0].reason) == ((), "accepted by 'specks'")
    (now,) = replay(ruled(tmp_path), bundle=None, band=None).changed
    assert (now.part_id, now.now) == ("speck", Verdict.REJECT)


def test_replay_with_another_bundle_keeps_the_rules(tmp_path: Path):
    """They are the product's, not the bundle's."""
    config = ruled(tmp_path, SPECKS | {"then": "REVIEW"})
    judged(config, speck=frame(SPECK))
    other = make_bundle(tmp_path / "other", name="other")
    (again,) = replay(config, bundle=other, band=None).frames
    assert (again.now, again.reason) == (Verdict.REVIEW, "accepted by 'specks'")


def bundle_judge(folder: Path, segmenter, roi: Roi | None = None) -> BundleJudge:
    """Let a bundle judge whose specks are measured by a segmenter."""
    bundle = open_bundle(make_bundle(folder / "bundle"))
    rules = (AcceptRule.model_validate(SPECKS),)
    acceptance = Acceptance(rules, Refiner(segmenter, RefineSettings(**TRUSTING)), 0.05)
    return BundleJudge(bundle, roi or Roi(), bundle.card.band, acceptance)


def test_failed_segmenter_leaves_the_reject(tmp_path: Path):
    """Its own words are the reason."""
    found = look_at(frame(SPECK), bundle_judge(tmp_path, Confused()), GuardSettings())
    assert (found.verdict, found.defects) == (Verdict.REJECT, None)
    assert found.reason == ("accept rules not applied: prompt: found nothing to ask; wanted a box")


def test_outline_nobody_trusts_is_a_review(tmp_path: Path):
    """The coarse mask of a speck fits the rule, and a person has to see it."""
    judge = bundle_judge(tmp_path, Uncertain())
    judge = replace(
        judge,
        acceptance=replace(
            judge.acceptance, rules=(AcceptRule(name="few", most=1, then=Verdict.PASS),)
        ),
    )
    found = look_at(frame(SPECK), judge, GuardSettings())
    assert found.verdict is Verdict.REVIEW
    assert found.reason == "'few' would accept it, but 1 of 1 outlines are coarse"
    (one,) = found.defects.found
    assert (one.trusted, bool(one.reason)) == (False, True)


def test_what_a_recipe_cuts_is_measured(tmp_path: Path):
    """Sizes are px of the camera's frame, places px of what was cut out of it."""
    judge = bundle_judge(tmp_path, GrabCut(), Roi(top=0.5))
    shown = np.concatenate((frame(STAIN), frame(SPECK)))
    found = look_at(shown, judge, GuardSettings())
    assert found.verdict is Verdict.PASS
    (one,) = found.defects.found
    assert one.size.area_px == pytest.approx(256, rel=0.15)
    assert one.size.y_px == pytest.approx(24, abs=2)


def test_rules_stay_when_the_bundle_changes(tmp_path: Path):
    """A bundle that follows, and the one that may return, share what was opened at the start."""
    config = ruled(tmp_path, SPECKS)
    recipes = open_recipes(config)
    at_start = recipes.of("default")["main"].acceptance
    newer = make_bundle(tmp_path / "newer", gain=0.9, day=1)
    recipes.swap("redness", open_tested(newer, config))
    judge = recipes.of("default")["main"]
    assert judge.predecessor is not None
    assert at_start is not None
    assert judge.acceptance is judge.predecessor.acceptance is at_start
    assert at_start.mm_per_px == 0.05


def test_recipes_share_a_segmenter_not_their_rules(tmp_path: Path):
    """One segmenter is open for all that name the same; a camera without rules has none."""
    make_bundle(tmp_path / "bundle")
    one = {"bundle": tmp_path / "bundle", "mm_per_px": 0.05, "accept": [SPECKS]}
    other = one | {"mm_per_px": 0.1, "refine": {"most_defects": 2}}
    plain = {"bundle": tmp_path / "bundle"}
    recipes = {"ring": {"top": one, "side": other}, "plate": {"top": plain}}
    opened = open_recipes(configure(tmp_path, recipes=recipes))
    top, side = (opened.of("ring")[camera].acceptance for camera in ("top", "side"))
    assert opened.of("plate")["top"].acceptance is None
    assert top is not None
    assert side is not None
    assert top.refiner.segmenter is side.refiner.segmenter
    assert side.refiner.settings.most_defects == 2 != top.refiner.settings.most_defects
    assert (top.mm_per_px, side.mm_per_px) == (0.05, 0.1)


def test_broken_segmenter_is_an_error_at_the_start(tmp_path: Path):
    """Not at the first REJECT; the start-of-shift check says it, too."""
    (tmp_path / "empty").mkdir()
    config = ruled(tmp_path, SPECKS, refine={"segmenter": tmp_path / "empty"})
    with pytest.raises(InspectionError, match="empty"):
        serve(config)
    (tmp_path / "station.yaml").write_text(config.model_dump_json())
    tested = inspection("station", "selftest", tmp_path / "station.yaml")
    assert tested.code != 0
    assert str(tmp_path / "empty") in tested.err


def make_older(folder: Path) -> Path:
    """Make a bundle whose card says nothing of its map's place, as before it was measured."""
    make_bundle(folder, gated=False)
    card = json.loads((folder / CARD).read_text())
    del card["geometry"]["map_shift"]
    (folder / CARD).write_text(json.dumps(card))
    seal_bundle(folder)
    write_gate(folder, gate_of(verify_bundle(folder)))
    return folder


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give the reasons of the warnings that opening left."""
    logged = (one for one in caplog.records if one.name.endswith("recipes.opening"))
    return [one.reason for one in logged if one.levelname == "WARNING"]


def test_bundle_from_before_its_place_was_measured_is_warned_of(tmp_path: Path, caplog):
    """Once, though two cameras measure by it; its outlines may lie beside the defects."""
    older = make_older(tmp_path / "bundle")
    recipe = {"bundle": older, "mm_per_px": 0.05, "accept": [SPECKS]}
    open_recipes(configure(tmp_path, recipes={"ring": {"top": recipe, "side": recipe}}))
    assert warned(caplog) == [
        f"{older}: made before its map's place was measured, so outlines may lie beside defects; "
        "export it again"
    ]


@pytest.mark.parametrize(("older", "rules"), [(True, ()), (False, (SPECKS,))])
def test_bundle_is_not_warned_of_for_nothing(tmp_path: Path, caplog, older: bool, rules):
    """Without rules no outline is measured; a bundle exported today says where its map lies."""
    if older:
        make_older(tmp_path / "bundle")
    open_recipes(ruled(tmp_path, *rules))
    assert warned(caplog) == []


def test_golden_defect_that_a_rule_lets_pass_ends_the_start(tmp_path: Path):
    """A rule that lets go what must be found is found before the first part, not by a customer."""
    golden = tmp_path / "golden"
    put(golden / "good", "good.png", encode_picture(frame()))
    put(golden / "defect", "stain.png", encode_picture(frame(STAIN)))
    put(golden / "defect", "speck.png", encode_picture(frame(SPECK)))
    with pytest.raises(BundleError) as ended:
        serve(ruled(tmp_path, SPECKS, golden_parts=golden))
    assert str(ended.value) == (
        f"WRONG  default/main {golden / 'defect' / 'speck.png'}: PASS, accepted by 'specks'; "
        "wanted REVIEW or REJECT; look at the picture, the light, thresholds and accept rules; no "
        "part before that"
    )


def test_segmenter_nobody_needs_is_not_opened(tmp_path: Path):
    """Without rules a folder of it may be missing."""
    config = ruled(tmp_path, refine={"segmenter": tmp_path / "nowhere"})
    assert open_recipes(config).of("default")["main"].acceptance is None


MM = """recipes:
  default:
    main:
      accept:
        - {name: specks, area_below: 0.2}
        - {name: three scratches, shape: long, most: 3, then: REVIEW}
        - {name: thin, width_below: 0.1}
"""


def test_bounds_in_mm_without_a_scale_are_refused_when_read():
    """All of them, with the line of their recipe; counting needs no scale."""
    message = (
        "station.yaml:3: recipes.default.main: Value error, accept rules 'specks', 'thin' have "
        "bounds in mm, but mm_per_px is not known; set mm_per_px, or their unit to px"
    )
    with pytest.raises(ConfigError) as refused:
        parse_config(MM, StationConfig, "station.yaml")
    assert str(refused.value) == message
    scaled = MM.replace("      accept:", "      mm_per_px: 0.05\n      accept:")
    recipe = parse_config(scaled, StationConfig, "station.yaml").recipes["default"]["main"]
    assert [rule.name for rule in recipe.accept] == ["specks", "three scratches", "thin"]
    assert recipe.accept[1].then is Verdict.REVIEW


@pytest.mark.parametrize("mm_per_px", [0, -0.05, float("nan")])
def test_scale_is_a_size(mm_per_px: float):
    """Nothing is measured with a scale of no size."""
    with pytest.raises(ValueError, match="mm_per_px"):
        CameraRecipe(mm_per_px=mm_per_px)


def test_example_of_the_documentation_is_one():
    """The rules shown in docs/station.md load as they stand."""
    page = (Path(__file__).parents[2] / "docs/station.md").read_text()
    (example,) = (
        block
        for block in re.findall(r"```yaml\n(.*?)```", page, re.S)
        if "three scratches" in block
    )
    recipe = parse_config(example, StationConfig, "station.md").recipes["default"]["main"]
    assert [(rule.name, rule.most) for rule in recipe.accept] == [
        ("specks", None),
        ("three scratches", 3),
    ]


def test_rules_are_off_by_default():
    """A recipe as it stands in configs/station.yaml has none."""
    recipe = CameraRecipe()
    assert (recipe.accept, recipe.mm_per_px, recipe.refine.segmenter) == ((), None, None)


def test_record_without_defects_can_be_read():
    """Events from before there were accept rules, and from after."""
    now = event(1)
    older = json.loads(now.model_dump_json())
    del older["frames"][0]["defects"]
    assert parse_record(json.dumps(older), Event, "event") == now
    shown = now.frames[0].model_copy(update={"defects": MEASURED})
    assert FrameRecord.model_validate_json(shown.model_dump_json()) == shown
