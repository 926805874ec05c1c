"""Parts of several frames through a whole station, its restart, its replay and its status."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from inspection.bench.redness import gate_of
from inspection.bundles.bundle import CARD, read_card
from inspection.bundles.seal import seal_bundle, verify_bundle, write_gate
from inspection.core.decision import Band, Verdict
from inspection.core.records import Event, parse_record, write_record
from inspection.station.frames import scoring
from inspection.station.frames.bands import card_band, promise_note
from inspection.station.recipes.opening import open_recipes
from inspection.station.recipes.recognising import Recognition
from inspection.station.recipes.thresholds import read_records
from inspection.station.replay import replay
from inspection.station.service import selftest_of, serve
from inspection.station.settings import StationConfig
from tests.command import inspection
from tests.station.bundles import make_bundle
from tests.station.events import event
from tests.station.rig import recorded
from tests.station.sources.files import encoded, put

PATTERN = r"(?P<part>\w+)-(?P<frame>\d+)"
HW = (32, 64)


@pytest.fixture(autouse=True)
def _own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INSPECTION_KEYS", str(tmp_path / "keys"))


def configure(folder: Path, **frames: object) -> StationConfig:
    """Configure a station that judges parts of three frames by redness, once."""
    (folder / "in").mkdir(exist_ok=True)
    if not (folder / "bundle").exists():
        make_bundle(folder / "bundle")
    source = {"kind": "folder", "path": folder / "in", "settle_ms": 0, "poll_ms": 1, "once": True}
    return StationConfig.model_validate(
        {
            "source": source | {"name_pattern": PATTERN},
            "frames": {"count": 3, "wait_ms": 60_000} | frames,
            "recipes": {"default": {"main": {"bundle": folder / "bundle"}}},
            "data_dir": folder / "data",
            "deadline_ms": 60_000,
            "heartbeat_ms": 50,
            "outputs": (),
        }
    )


def show(folder: Path, part: str, *reds: int) -> None:
    """Put the frames of a part into the watched folder, the last one first."""
    for number, red in reversed(list(enumerate(reds, 1))):
        path = put(folder / "in", f"{part}-{number}.png", encoded(red, HW))
        os.utime(path, (10 - number, 10 - number))


def verdicts(events: list[Event]) -> dict[str, tuple[str, int]]:
    """Give verdict and number of frames by part."""
    return {one.part_id: (str(one.verdict), len(one.frames)) for one in events}


def test_parts_of_a_folder_are_judged_once_and_counted_once(tmp_path: Path):
    """A second run judges nothing again; a part without all its frames is not PASS."""
    config = configure(tmp_path)
    show(tmp_path, "good", 51, 52, 53)
    show(tmp_path, "bad", 51, 255, 54)
    show(tmp_path, "short", 51, 57)
    status = serve(config)
    assert verdicts(recorded(config)) == {
        "good": ("PASS", 3),
        "bad": ("REJECT", 3),
        "short": ("REVIEW", 2),
    }
    assert sum(status.counts.values()) == 3
    assert sum(serve(config).since_start.values()) == 0
    assert len(recorded(config)) == 3


def test_unreadable_frame_is_its_parts_fault_and_is_tried_again(tmp_path: Path):
    """As an unreadable part is."""
    config = configure(tmp_path)
    show(tmp_path, "torn", 51, 52)
    put(tmp_path / "in", "torn-3.png", b"\x89PNG\r\n\x1a\n torn")
    serve(config)
    [found] = recorded(config)
    assert found.verdict is Verdict.FAULT
    assert "main-f3" in found.reason


def test_replay_judges_frames_again_together(tmp_path: Path):
    """Averaged maps change verdicts as a new judgement of the whole part would."""
    config = configure(tmp_path, fusion={"kind": "conveyor", "step_px": [0, 0]})
    show(tmp_path, "noisy", 51, 255, 52)  # their mean, 0.47, passes; 255 alone would not
    show(tmp_path, "bad", 200, 250, 240)
    serve(
        config.model_copy(
            update={"spool": config.spool.model_copy(update={"keep_pass_share": 1.0})}
        )
    )
    assert verdicts(recorded(config)) == {"noisy": ("PASS", 3), "bad": ("REJECT", 3)}
    found = replay(config, bundle=None, band=None)
    assert (found.changed, found.not_kept, len(found.frames)) == ((), 0, 6)
    assert [one.camera for one in found.frames[:3]] == ["main-f1", "main-f2", "main-f3"]
    np.testing.assert_allclose(
        [one.score_now for one in found.frames], [one.score_then for one in found.frames], atol=1e-6
    )
    changed = replay(config, bundle=None, band=Band(review_above=0.4, reject_above=0.45)).changed
    assert {(one.part_id, str(one.now)) for one in changed} == {("noisy", "REJECT")}
    kept = sorted((config.data_dir / "pictures" / "PASS").iterdir())
    kept[0].unlink()
    gone = replay(config, bundle=None, band=None)
    assert (gone.not_kept, {one.part_id for one in gone.frames}) == (3, {"bad"})


def calibrated(folder: Path, normals: int) -> None:
    """Give a bundle calibrate scores 0.4, 0.401 … and thresholds of 5 % on them."""
    make_bundle(folder, gated=False)
    scores = tuple(0.4 + 0.001 * n for n in range(normals))
    rank = -(-(normals + 1) * 95 // 100)
    card = read_card(folder)
    fitted = {
        "normals": normals,
        "rank": rank,
        "target": 0.05,
        "mean": (normals + 1 - rank) / (normals + 1),
    }
    band = Band(review_above=scores[rank - 1], reject_above=scores[rank - 1] + 0.1)
    write_record(
        folder / CARD,
        card.model_copy(
            update={
                "calibrate_scores": scores,
                "certificate": card.certificate.model_copy(update=fitted),
                "band": band,
            }
        ),
    )
    seal_bundle(folder)
    write_gate(folder, gate_of(verify_bundle(folder)))


def test_bundles_own_band_is_that_for_all_frames_of_a_part(tmp_path: Path):
    """It stands in force, in every event and on the page, with what it promises."""
    calibrated(tmp_path / "bundle", 99)
    config = configure(tmp_path)
    show(tmp_path, "a", 51, 52, 53)
    status = serve(config)
    [judged] = recorded(config)
    # 1 - 0.05 / 3 of 100: the 99th smallest, where a single frame's is the 95th
    assert [one.band.review_above for one in judged.frames] == pytest.approx([0.498] * 3)
    assert "3 pictures a part: false rejects at most 0.03 of good parts" in status.bundles[0].note
    single = open_recipes(config.model_copy(update={"frames": None}))
    assert single.of("default")["main"].band.review_above == pytest.approx(0.494)
    assert single.statuses()[0].note.startswith("pictures") is False


def test_too_few_normals_are_said(tmp_path: Path):
    """The station goes on with the largest score and says what that keeps."""
    calibrated(tmp_path / "bundle", 39)
    config = configure(tmp_path, count=12)
    card = read_card(tmp_path / "bundle")
    band = card_band(card, config, "default")
    assert band.review_above == card.calibrate_scores[-1]
    note = promise_note(card, config, "default", band)
    assert "at most 0.3 of good parts, not the promised 0.05" in note
    assert "239 calibrate normals" in note
    said = selftest_of(config, open_recipes(config)).notes
    assert said[-1] == f"bundle redness: {note}"
    few = config.model_copy(update={"frames": None})
    assert selftest_of(few, open_recipes(few)).notes == said[:-1]


def test_band_a_person_set_holds_as_it_stands(tmp_path: Path):
    """It is for the part's score; nothing is promised of it."""
    config = configure(tmp_path)
    own = Band(review_above=0.3, reject_above=0.4)
    recipe = config.recipes["default"]["main"].model_copy(update={"band": own})
    config = config.model_copy(update={"recipes": {"default": {"main": recipe}}})
    recipes = open_recipes(config)
    assert recipes.of("default")["main"].band == own
    assert "the band is a person's" in recipes.statuses()[0].note


def test_several_cameras_count_too(tmp_path: Path):
    """Three frames of two cameras are six pictures."""
    calibrated(tmp_path / "bundle", 199)
    config = configure(tmp_path)
    cameras = config.recipes["default"]["main"]
    config = config.model_copy(update={"recipes": {"default": {"a": cameras, "b": cameras}}})
    card = read_card(tmp_path / "bundle")
    # 0.05 / 6 of 200 is 1.67: one normal lies above
    assert card_band(card, config, "default").review_above == card.calibrate_scores[198]


def test_events_of_before_are_read(tmp_path: Path):
    """Without frame numbers and fusion."""
    old = event(1).model_dump(mode="json")
    del old["fusion"]
    for frame in old["frames"]:
        del frame["frame"]
    found = parse_record(json.dumps(old), Event, "old")
    assert found == event(1)
    assert found.frames[0].view == "main"


def test_thresholds_of_whole_parts_ask_no_detector(tmp_path: Path, monkeypatch):
    """Scores are all that counts, and a detector takes its time on every frame."""
    config = configure(tmp_path)
    asked = []
    judge = open_recipes(config).of("default")["main"]
    stage = Recognition(None, 1.0, 0.1, None)
    judges = {"main": replace(judge, recognition=stage)}
    monkeypatch.setattr(Recognition, "see", lambda *_: asked.append(1))
    monkeypatch.setattr(
        scoring, "open_recipes", lambda *_, **__: SimpleNamespace(of=lambda _: judges)
    )
    show(tmp_path, "good", 51, 52, 53)
    found = scoring.score_parts(config, tmp_path / "in", "default")
    assert (len(found.scores["main"]), asked) == (1, [])


def test_thresholds_of_whole_parts(tmp_path: Path):
    """They hold for the fused score, are signed, and a station that follows them uses them."""
    config = configure(tmp_path, fusion={"kind": "conveyor", "step_px": [0, 0]})
    good = tmp_path / "good"
    for number in range(19):
        for frame in range(3):  # fused: their mean, 50 + number
            put(good, f"p{number}-{frame + 1}.png", encoded(49 + number + frame, HW))
    put(good, "short-1.png", encoded(50, HW))
    station = tmp_path / "station.yaml"
    station.write_text(config.model_dump_json(), encoding="utf-8")
    done = inspection(
        *("thresholds", "parts", station, good, "--who", "weber", "--rate", "0.05"),
        *("--out", tmp_path / "thresholds", "--json"),
    )
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert said["fitted"]["main"]["band"]["review_above"] == pytest.approx(68 / 255, abs=1e-6)
    assert list(said["left_out"]) == ["short"]
    updates = config.updates.model_copy(update={"thresholds": tmp_path / "thresholds"})
    recipes = open_recipes(config.model_copy(update={"updates": updates}))
    read_records(config.model_copy(update={"updates": updates}), recipes)
    assert recipes.of("default")["main"].band.review_above == pytest.approx(68 / 255, abs=1e-6)
    few = inspection("thresholds", "parts", station, good, "--who", "weber", "--rate", "0.01")
    assert few.code != 0
    assert "needs at least 99" in few.err
