"""Recipes: who judges what with which band; swaps, trials and restarts."""

import gc
import shutil
import weakref
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inspection.bundles import graph
from inspection.bundles.seal import verify_bundle
from inspection.bundles.signing import KEYS_VARIABLE
from inspection.bundles.thresholds import SignedRecord, ThresholdRecord, sign_thresholds
from inspection.cli.main import FAULT, SAID_NO, explain
from inspection.core.decision import Band, Verdict
from inspection.core.errors import (
    BundleError,
    FrameRejected,
    GateRefused,
    InspectionError,
    StationError,
)
from inspection.core.guards import Guard
from inspection.core.records import Event
from inspection.station.recipes.opening import open_recipes, open_tested
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.standing import COPIES, STANDINGS
from inspection.station.settings import GuardSettings, StationConfig
from tests.fakes import StillClock
from tests.station.bundles import make_bundle
from tests.station.events import event

pytestmark = pytest.mark.fast

STRICT = Band(review_above=0.1, reject_above=0.15)


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(KEYS_VARIABLE, str(tmp_path / "keys"))


def configure(folder: Path, recipes: dict | None = None, **updates: object) -> StationConfig:
    """Configure a station whose product 'default' the bundle of `folder` judges."""
    recipes = recipes or {"default": {"main": {"bundle": folder / "bundle"}}}
    values = {"data_dir": folder / "data", "recipes": recipes, "updates": updates, "outputs": []}
    return StationConfig.model_validate({**values, "guards": dict.fromkeys(Guard, "off")})


def score(recipes: Recipes, red: int = 51, product: str = "default", camera: str = "main") -> float:
    """Judge a uniform non-square frame as the loop does."""
    judge = recipes.of(product)[camera]
    cut = judge.cut(np.full((70, 100, 3), red, np.uint8))
    return round(judge.judge(judge.prepare(cut), cut.shape[:2]).score, 4)


def copied(config: StationConfig, bundle: Path) -> Path:
    """Put a bundle where the station keeps its own copies."""
    return shutil.copytree(bundle, config.data_dir / COPIES / verify_bundle(bundle))


def swapped(folder: Path, **updates: object) -> tuple[StationConfig, Recipes]:
    """Open a station whose bundle of gain 1 was followed by one of gain 2, on trial."""
    make_bundle(folder / "bundle")
    config = configure(folder, **updates)
    recipes = open_recipes(config)
    copy = copied(config, make_bundle(folder / "newer", gain=2, day=1))
    recipes.swap("redness", open_tested(copy, config))
    return config, recipes


def seen(recipes: Recipes, number: int = 1, verdict: Verdict = Verdict.PASS) -> Event:
    """Make the event of a part that the bundle in force looked at."""
    one = event(number, verdict)
    (frame,) = one.frames
    bundle_id = recipes.of("default")["main"].bundle_id
    return one.model_copy(update={"frames": (frame.model_copy(update={"bundle_id": bundle_id}),)})


def record(bundle_id: str, band: Band, minute: int = 0, **scope: str) -> SignedRecord:
    """Sign thresholds for a bundle."""
    when = datetime(2025, 3, 1, 6, minute, tzinfo=UTC)
    return sign_thresholds(
        ThresholdRecord(bundle_id=bundle_id, band=band, who="w", why="y", when=when, **scope)
    )


def test_bundle_judges_what_its_recipe_cuts(tmp_path: Path):
    """A recipe's ROI is cut out of the camera's frame, without a copy, before the bundle's own."""
    roi = {"top": 0.5, "left": 0.25}
    make_bundle(tmp_path / "bundle")
    config = configure(tmp_path, {"plate": {"top": {"bundle": tmp_path / "bundle", "roi": roi}}})
    judge = open_recipes(config).of("plate")["top"]
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[20:, 20:] = 255
    cut = judge.cut(frame)
    assert (cut.shape, cut.base is frame) == ((20, 60, 3), True)
    judgement = judge.judge(judge.prepare(cut), (20, 60))
    assert (judgement.verdict, judgement.score) == (Verdict.REJECT, pytest.approx(1))
    assert judge.bundle_id == verify_bundle(tmp_path / "bundle")
    assert (judge.guards, judge.rule.smooth_sigma, judge.geometry.width_px) == (None, 0, 64)


def test_unknown_product_names_the_known_ones(tmp_path: Path):
    """A product without recipe is one part's refusal, with the codes there are."""
    make_bundle(tmp_path / "bundle")
    one = {"main": {"bundle": tmp_path / "bundle"}}
    recipes = open_recipes(configure(tmp_path, {"ring": one, "plate": one}))
    message = "product 'disc': no recipe has this code; wanted one of plate, ring; add it"
    with pytest.raises(FrameRejected, match=message):
        recipes.of("disc")


def test_recipes_of_one_bundle_share_it_open(tmp_path: Path):
    """The same folder, or a copy of it, is opened once however many recipes name it."""
    bundle = make_bundle(tmp_path / "bundle")
    copy = shutil.copytree(bundle, tmp_path / "copy")
    cameras = {"top": {"bundle": bundle}, "side": {"bundle": copy}}
    recipes = open_recipes(configure(tmp_path, {"plate": cameras, "ring": cameras}))
    judges = [*recipes.of("plate").values(), *recipes.of("ring").values()]
    assert len({id(judge.bundle) for judge in judges}) == 1
    assert [(s.product, s.camera) for s in recipes.statuses()] == [
        ("plate", "top"),
        ("plate", "side"),
        ("ring", "top"),
        ("ring", "side"),
    ]


def test_different_bundles_of_one_name_are_refused(tmp_path: Path):
    """An update could not tell them apart, so the station says so at its start."""
    paths = make_bundle(tmp_path / "a"), make_bundle(tmp_path / "b", gain=2)
    cameras = {"top": {"bundle": paths[0]}, "side": {"bundle": paths[1]}}
    with pytest.raises(BundleError, match=r"a, .*b: different bundles of one name, 'redness'"):
        open_recipes(configure(tmp_path, {"plate": cameras}))


def test_bundles_of_several_names_judge_side_by_side(tmp_path: Path):
    """Each camera has its own bundle; a swap of one leaves the other."""
    one, two = make_bundle(tmp_path / "a"), make_bundle(tmp_path / "b", gain=2, name="other")
    cameras = {"top": {"bundle": one}, "side": {"bundle": two}}
    config = configure(tmp_path, {"plate": cameras})
    recipes = open_recipes(config)
    recipes.swap("other", open_tested(make_bundle(tmp_path / "c", gain=3, name="other"), config))
    found = [score(recipes, product="plate", camera=camera) for camera in ("top", "side")]
    assert found == [0.2, 0.6]


NOT_OPENED = {
    "never gated": ({"gated": False}, GateRefused, "never put to the gate"),
    "another CPU": (
        {"golden_red": 60},
        BundleError,
        r"computes 1 of 1 golden maps otherwise, by up to 17\.6% .* wanted at most 2%; use a CPU",
    ),
}


@pytest.mark.parametrize(("made", "kind", "message"), NOT_OPENED.values(), ids=NOT_OPENED)
def test_bundle_that_may_not_judge_opens_no_station(tmp_path: Path, made, kind, message):
    """Without a bundle that may judge the station does not start, and leaves no data."""
    make_bundle(tmp_path / "bundle", **made)
    with pytest.raises(kind, match=message):
        open_recipes(configure(tmp_path))
    assert not (tmp_path / "data").exists()


def test_folder_without_bundle_is_named(tmp_path: Path):
    """A recipe that names no bundle says what is missing where."""
    with pytest.raises(BundleError, match="bundle: no SHA256SUMS here; wanted a bundle made by"):
        open_recipes(configure(tmp_path))


def test_signed_record_goes_before_recipe_and_recipe_before_card(tmp_path: Path):
    """The band in force is that of the record, else of the recipe, else of the card."""
    bundle = make_bundle(tmp_path / "bundle")
    of_recipe, of_record = STRICT, Band(review_above=0.2, reject_above=0.3)
    cameras = {
        "top": {"bundle": bundle, "band": of_recipe.model_dump()},
        "side": {"bundle": bundle},
    }
    recipes = open_recipes(configure(tmp_path, {"plate": cameras}))
    judges = recipes.of("plate")
    assert (judges["top"].band, judges["side"].band.review_above) == (of_recipe, 0.5)
    recipes.set_records([record(judges["top"].bundle_id, of_record, camera="top")], "")
    judges = recipes.of("plate")
    assert (judges["top"].band, judges["side"].band.review_above) == (of_record, 0.5)
    assert recipes.statuses()[0].reject_above == 0.3


def test_newest_record_is_in_force_and_others_do_not_count(tmp_path: Path):
    """Of the records that cover a camera the newest counts, in whatever order they are read."""
    make_bundle(tmp_path / "bundle")
    recipes = open_recipes(configure(tmp_path))
    bundle_id = recipes.of("default")["main"].bundle_id
    records = [
        record(bundle_id, Band(review_above=0.3, reject_above=0.4), 2),
        record(bundle_id, STRICT, 1),
        record(bundle_id, STRICT, 3, product="ring"),
        record("ab" * 32, STRICT, 4),
    ]
    recipes.set_records(records, "one more was damaged")
    assert recipes.of("default")["main"].band.review_above == 0.3
    assert recipes.statuses()[0].note == "one more was damaged"


def test_swap_is_seen_between_two_parts_only(tmp_path: Path):
    """A part that has its judges keeps them; the next part has the new ones."""
    make_bundle(tmp_path / "bundle")
    config = configure(tmp_path)
    recipes = open_recipes(config)
    part = recipes.of("default")
    recipes.swap("redness", open_tested(make_bundle(tmp_path / "newer", gain=2, day=1), config))
    frame = np.full((32, 64, 3), 51, np.uint8)
    assert part["main"].judge(part["main"].prepare(frame), (32, 64)).score == pytest.approx(0.2)
    assert score(recipes) == 0.4
    (status,) = recipes.statuses()
    assert (status.bundle_id, status.trial) == (verify_bundle(tmp_path / "newer"), True)
    assert status.note == f"followed {verify_bundle(tmp_path / 'bundle')[:12]}"


def test_band_of_a_recipe_is_for_the_bundle_it_names(tmp_path: Path):
    """Scores of two bundles have nothing in common: a newer one comes with its own band."""
    recipe = {"bundle": make_bundle(tmp_path / "bundle"), "band": STRICT.model_dump()}
    config = configure(tmp_path, {"default": {"main": recipe}})
    recipes = open_recipes(config)
    recipes.swap("redness", open_tested(make_bundle(tmp_path / "newer", gain=2, day=1), config))
    assert recipes.of("default")["main"].band == Band(review_above=0.5, reject_above=0.8)


def test_swap_that_cannot_be_made_durable_does_not_happen(tmp_path: Path):
    """What would not survive a restart never judges: the one before goes on."""
    make_bundle(tmp_path / "bundle")
    config = configure(tmp_path)
    recipes = open_recipes(config)
    config.data_dir.write_text("no folder")
    with pytest.raises(InspectionError, match=r"recipes\.json: cannot be written"):
        recipes.swap("redness", open_tested(make_bundle(tmp_path / "newer", gain=2), config))
    assert (score(recipes), recipes.statuses()[0].trial) == (0.2, False)


def test_bundle_that_fails_on_trial_goes_at_once_and_for_good(tmp_path: Path):
    """At the third FAULT the previous judges the very next part, and the new one never again."""
    config, recipes = swapped(tmp_path, trial_faults=3)
    new_id = recipes.of("default")["main"].bundle_id
    for number in range(1, 4):
        assert score(recipes) == 0.4
        recipes.judged(seen(recipes, number, Verdict.FAULT))
    assert (score(recipes), recipes.refused(new_id)) == (0.2, True)
    (status,) = recipes.statuses()
    assert (status.trial, status.note) == (
        False,
        f"{new_id[:12]} refused: 3 of 3 parts on trial were FAULT, the last 'part-3': dark",
    )
    recipes.settle()
    again = open_recipes(config)
    assert (score(again), again.refused(new_id)) == (0.2, True)
    assert again.statuses() == recipes.statuses()


LATE = {"verdict": Verdict.FAULT, "reason": "came after 2000 ms"}


@pytest.mark.parametrize(
    ("verdict", "changes", "faults"),
    [
        (Verdict.FAULT, {}, 1),
        (Verdict.PASS, LATE, 0),
        (Verdict.REVIEW, {}, 0),
        (Verdict.REJECT, {}, 0),
    ],
    ids=["not judged", "late", "review", "reject"],
)
def test_trial_counts_what_the_bundle_could_not_judge(tmp_path: Path, verdict, changes, faults):
    """A frame it gave no score of counts; a part held up after that, by a full disk say, never."""
    _, recipes = swapped(tmp_path)
    recipes.judged(seen(recipes, verdict=verdict).model_copy(update=changes))
    trial = recipes.in_force()["redness"].trial
    assert (trial.parts, trial.faults) == (1, faults)


def test_trial_leaves_out_parts_the_bundle_never_saw(tmp_path: Path):
    """A guard's FAULT and parts of other bundles are no evidence for or against it."""
    _, recipes = swapped(tmp_path)
    guarded = seen(recipes, verdict=Verdict.FAULT)
    (frame,) = guarded.frames
    nobody = guarded.model_copy(update={"frames": (frame.model_copy(update={"bundle_id": ""}),)})
    recipes.judged(nobody)
    recipes.judged(event(2, Verdict.FAULT))
    assert recipes.in_force()["redness"].trial.parts == 0


def test_fault_of_another_camera_is_not_the_bundles(tmp_path: Path):
    """Where a part has several frames, only those of the bundle on trial count against it."""
    _, recipes = swapped(tmp_path)
    good, other = seen(recipes), event(1, Verdict.FAULT)
    recipes.judged(other.model_copy(update={"frames": good.frames + other.frames}))
    trial = recipes.in_force()["redness"].trial
    assert (trial.parts, trial.faults) == (1, 0)


def test_trial_ends_after_its_parts_and_frees_the_previous(tmp_path: Path):
    """A bundle that judged its parts stays; the one before leaves the memory, not the disk."""
    _, recipes = swapped(tmp_path, trial_parts=4, trial_faults=2)
    previous = recipes.in_force()["redness"].trial.previous
    gone, previous_id = weakref.ref(previous), previous.bundle_id
    del previous
    for number, verdict in enumerate([Verdict.PASS, Verdict.FAULT, Verdict.PASS, Verdict.REJECT]):
        recipes.judged(seen(recipes, number + 1, verdict))
    recipes.settle()
    gc.collect()
    assert (gone(), score(recipes), recipes.kept() >= {previous_id}) == (None, 0.4, True)
    (status,) = recipes.statuses()
    assert (status.trial, status.note) == (False, "stays after 4 parts on trial, 1 of them FAULT")
    for number in range(5, 9):
        recipes.judged(seen(recipes, number, Verdict.FAULT))
    assert score(recipes) == 0.4


def test_restart_keeps_the_swapped_bundle_and_its_trial(tmp_path: Path):
    """What was in force is in force again, since then, and can still return to the previous."""
    config, recipes = swapped(tmp_path, trial_faults=1)
    again = open_recipes(config, StillClock())
    assert (score(again), again.statuses()) == (0.4, recipes.statuses())
    again.judged(seen(again, verdict=Verdict.FAULT))
    assert score(again) == 0.2


def test_trial_goes_on_after_a_restart(tmp_path: Path):
    """A station that is restarted each shift comes to the end of a trial, good or bad."""
    config, recipes = swapped(tmp_path, trial_parts=5, trial_faults=2)
    new_id = recipes.of("default")["main"].bundle_id
    for number, verdict in enumerate([Verdict.FAULT, Verdict.PASS, Verdict.PASS], start=1):
        recipes.judged(seen(recipes, number, verdict))
        recipes.settle()
        recipes = open_recipes(config)
    trial = recipes.in_force()["redness"].trial
    assert (trial.parts, trial.faults) == (3, 1)
    recipes.judged(seen(recipes, 4, Verdict.FAULT))
    assert (score(recipes), recipes.refused(new_id)) == (0.2, True)
    assert "2 of 4 parts on trial were FAULT, the last 'part-4'" in recipes.statuses()[0].note


PASSING = {
    "memory short": ("graph.compile_graph", RuntimeError("bad allocation"), "bad allocation"),
    "golden maps not read": ("bundle.parse_arrays", OSError(5, "Input/output error"), "Input/out"),
    "seal not read": ("bundle.open_sealed", OSError(5, "Input/output error"), "Input/output"),
}


@pytest.mark.parametrize(("name", "error", "found"), PASSING.values(), ids=PASSING)
def test_passing_disturbance_at_a_start_says_that_another_may_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, found: str
):
    """Exit code 3 lets systemd try again; 1, a bundle refused, would leave the line standing."""
    make_bundle(tmp_path / "bundle")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"inspection.bundles.{name}", fail)
    with pytest.raises(StationError, match=found) as raised:
        open_recipes(configure(tmp_path))
    assert explain(raised.value)[0] == FAULT


def test_bundle_refused_at_a_start_is_no_matter_for_another_start(tmp_path: Path):
    """What a person has to mend keeps its exit code, whatever else went wrong."""
    make_bundle(tmp_path / "bundle", golden_red=60)
    with pytest.raises(BundleError, match="golden maps otherwise") as raised:
        open_recipes(configure(tmp_path))
    assert explain(raised.value)[0] == SAID_NO


def test_bundle_that_waits_is_kept_until_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The copy of what could not be opened for want of memory is not cleared away."""
    config, recipes = swapped(tmp_path)
    new_id, whole = recipes.of("default")["main"].bundle_id, graph.compile_graph
    fails = iter([RuntimeError("bad allocation")])

    def compile_graph(*arguments: object) -> object:
        for error in fails:
            raise error
        return whole(*arguments)

    monkeypatch.setattr(graph, "compile_graph", compile_graph)
    again = open_recipes(config)
    assert (score(again), new_id in again.kept()) == (0.2, True)
    again.refuse("redness", new_id, "for good")
    assert new_id not in again.kept()


def test_restart_after_the_trial_opens_one_bundle(tmp_path: Path):
    """A bundle that passed its trial judges after a restart without one."""
    config, recipes = swapped(tmp_path, trial_parts=1)
    recipes.judged(seen(recipes))
    recipes.settle()
    again = open_recipes(config)
    assert (score(again), again.in_force()["redness"].trial) == (0.4, None)
    assert again.kept() == recipes.kept()


def test_configured_bundle_that_is_newer_still_judges(tmp_path: Path):
    """Whoever configures a newer bundle than the last update gets it."""
    config, _ = swapped(tmp_path)
    shutil.rmtree(tmp_path / "bundle")
    make_bundle(tmp_path / "bundle", gain=3, day=2)
    assert score(open_recipes(config)) == 0.6


def known(folder: Path, good: int, defect: int) -> Path:
    """Write golden parts of one red value each."""
    for label, red in (("good", good), ("defect", defect)):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 40), (red, 0, 0)).save(folder / label / "a.png")
    return folder


def with_golden_parts(config: StationConfig, parts: Path) -> StationConfig:
    """Give the only recipe golden parts."""
    recipe = config.recipes["default"]["main"].model_copy(update={"golden_parts": parts})
    return config.model_copy(update={"recipes": {"default": {"main": recipe}}})


def test_update_that_fails_the_check_at_a_start_gives_way(tmp_path: Path):
    """The station starts with the bundle before; the new one is refused, and why is kept."""
    config, recipes = swapped(tmp_path)
    new_id = recipes.of("default")["main"].bundle_id
    config = with_golden_parts(config, known(tmp_path / "known", good=100, defect=250))
    again = open_recipes(config)
    assert (score(again), again.refused(new_id)) == (0.2, True)
    assert "a.png: REVIEW; wanted PASS" in again.statuses()[0].note
    again.settle()
    assert open_recipes(config).refused(new_id)


def test_update_stays_where_the_bundle_before_fails_too(tmp_path: Path):
    """Golden parts that are gone are no fault of the new bundle: the service says it and ends."""
    config, recipes = swapped(tmp_path)
    new_id = recipes.of("default")["main"].bundle_id
    again = open_recipes(with_golden_parts(config, tmp_path / "gone"))
    assert (score(again), again.refused(new_id)) == (0.4, False)


def test_bundle_without_guard_limits_says_so(tmp_path: Path):
    """Guards are configured, but nothing of them exists: the page names the remedy."""
    make_bundle(tmp_path / "bundle")
    config = configure(tmp_path)
    assert open_recipes(config).statuses()[0].note == ""
    recipes = open_recipes(config.model_copy(update={"guards": GuardSettings()}))
    assert recipes.statuses()[0].note == "has no guard limits; export it again to have them"


def test_copy_that_was_damaged_gives_way_to_the_bundle_before(tmp_path: Path):
    """A station whose disk spoilt the copy starts with the previous bundle and says why."""
    config, recipes = swapped(tmp_path)
    copy = config.data_dir / COPIES / recipes.of("default")["main"].bundle_id
    with (copy / "model.bin").open("ab") as stream:
        stream.write(b"x")
    again = open_recipes(config)
    assert score(again) == 0.2
    assert "'model.bin' was changed; copy the bundle again" in again.statuses()[0].note


@pytest.mark.parametrize("text", ["", "{", '{"bundles": 3}', '{"schema_version": 99}'])
def test_damaged_standings_let_the_configured_bundle_judge(tmp_path: Path, text, caplog):
    """Without knowing what was in force, the configured bundle judges and the log says it."""
    config, _ = swapped(tmp_path)
    (config.data_dir / STANDINGS).write_text(text)
    assert score(open_recipes(config)) == 0.2
    assert "the configured bundles judge" in caplog.text
