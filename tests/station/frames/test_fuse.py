"""Several frames of one part, through the real loop, record and picture keeper."""

from pathlib import Path
from threading import Event as Flag

import cv2
import numpy as np
import pytest

from inspection.core.decision import Judgement, ScoreRule, Verdict, judge_map
from inspection.core.errors import StationError
from inspection.core.geometry import Geometry
from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.intake import FramesIntake, bring
from inspection.station.health import Surroundings
from inspection.station.judge import Accepted, Seen
from inspection.station.part import Fault, Frame, Intake, Part, Share
from tests.fakes import StillClock, TableJudges, TableScorer
from tests.station.rig import Rig, configure, part, pixels, recorded

pytestmark = pytest.mark.fast
CELL = 8  # px of the frame


class CellJudge(TableScorer):
    """Gives the mean red level of each 8×8 px as a map, over 255; REVIEW above 0.5."""

    bundle_id = "cells"
    rule = ScoreRule(smooth_sigma=0)
    geometry = Geometry()

    def judge(self, tiles: np.ndarray, part_hw: tuple[int, int]) -> Judgement:
        """Average cells."""
        red = tiles[0, ..., 0].astype(np.float32)
        cells = red.reshape(red.shape[0] // CELL, CELL, red.shape[1] // CELL, CELL).mean((1, 3))
        return judge_map(
            cells / 255, band=self.band, rule=self.rule, geometry=self.geometry, part_hw=part_hw
        )


def settings(folder: Path, fusion: dict | None = None, count: int = 3, **changes):
    """Configure a station whose parts have some frames."""
    frames = {"count": count, "wait_ms": 1_000, "fusion": fusion or {"kind": "views"}}
    source = {"kind": "push", "token_file": "push.token"}
    return configure(folder, frames=frames | changes, source=source, web={"port": 8090})


def run(
    config, *shots: Part, judge: TableScorer | None = None, stopped: bool = False
) -> list[Event]:
    """Hand frames in as a source does and judge what comes of them."""
    rig = Rig(config, TableJudges(default={"main": judge or TableScorer()}))
    rig.intake = FramesIntake(config.queue_parts, config.frames, SYSTEM_CLOCK)

    class Once:
        def run(self, intake: Intake, stop: Flag) -> None:
            for one in shots:
                intake.put(one)

    stop = Flag()
    if stopped:
        stop.set()
    bring(Once(), rig.intake, stop)
    rig.run()
    return rig.signalled


def shot(name: str, number: int, shown: int | np.ndarray | Fault, **changes) -> Part:
    """Make one frame of a part."""
    seen = pixels(shown) if isinstance(shown, int) else shown
    frame = Frame("main", "POST /frames", seen)
    values = {"event_id": f"{name}-{number}", "share": Share(number), "frames": (frame,)}
    return part(name, 0, **(values | changes))


def spotted(rows: int, spots: list[tuple[int, int, int]], width: int = 64) -> np.ndarray:
    """Make a grey picture with 8×8 px spots at (cell down, cell across, level)."""
    seen = np.full((rows * CELL, width, 3), 40, np.uint8)
    for down, across, level in spots:
        seen[down * CELL : (down + 1) * CELL, across * CELL : (across + 1) * CELL] = level
    return seen


def test_part_of_several_views_is_what_its_worst_frame_is(tmp_path: Path):
    """One event with every frame, its number, its score and its own pictures; counted once."""
    config = settings(tmp_path)
    [event] = run(config, shot("a", 1, 40), shot("a", 3, 30), shot("a", 2, 255))
    assert (event.verdict, event.part_id, event.reason) == (Verdict.REJECT, "a", "")
    assert [(one.view, one.frame, str(one.verdict)) for one in event.frames] == [
        ("main-f1", 1, "PASS"),
        ("main-f2", 2, "REJECT"),
        ("main-f3", 3, "PASS"),
    ]
    assert event.deciding.frame == 2
    assert (event.fusion.kind, event.fusion.frames, event.fusion.wanted) == ("views", 3, 3)
    assert [(one.frames, one.peak) for one in event.fusion.defects] == [((2,), 1.0)]
    kept = {path.name for path in (config.data_dir / "pictures" / "REJECT").iterdir()}
    assert kept == {
        *(f"0000000001-main-f{n}.png" for n in (1, 2, 3)),
        "0000000001-main-f2-overlay.png",
    }
    assert recorded(config) == [event]


def test_part_that_lacks_frames_is_never_pass(tmp_path: Path):
    """It is REVIEW with the reason, REJECT where what came shows a defect."""
    events = run(settings(tmp_path), shot("a", 1, 40), shot("b", 1, 255), stopped=True)
    assert [str(event.verdict) for event in events] == ["REVIEW", "REJECT"]
    assert all("frames 1 of 3" in event.reason for event in events)
    assert events[0].fusion.lacking == "frames 1 of 3; the station was stopped"


def test_frame_nobody_could_read_makes_its_part_fault(tmp_path: Path):
    """As every frame without a judgement does, unless another shows a defect."""
    torn = Fault("torn file")
    events = run(
        settings(tmp_path),
        *(shot("a", 1, 40), shot("a", 2, torn), shot("a", 3, 41)),
        *(shot("b", 1, 255), shot("b", 2, torn), shot("b", 3, 42)),
    )
    assert [str(event.verdict) for event in events] == ["FAULT", "REJECT"]
    assert events[0].reason == "main-f2: torn file"


def test_stuck_camera_is_seen_within_a_part(tmp_path: Path):
    """A turntable whose camera sends the same bytes again does not show another side."""
    judge = TableScorer()
    judge.guards = None
    [event] = run(settings(tmp_path, count=2), shot("a", 1, 40), shot("a", 2, 40), judge=judge)
    assert event.verdict is Verdict.FAULT
    assert "same bytes" in event.reason


def test_camera_that_brought_no_frame_of_one_number_is_its_fault(tmp_path: Path):
    """Each camera must see each frame."""
    config = settings(tmp_path, count=2)
    rig = Rig(config, TableJudges(default={"main": TableScorer(), "side": TableScorer()}))
    both = tuple(Frame(name, "x", pixels(40), number=1) for name in ("main", "side"))
    rig.run([part("a", 0, frames=(*both, Frame("main", "x", pixels(41), number=2)))])
    [event] = rig.signalled
    assert event.verdict is Verdict.FAULT
    [failed] = [one for one in event.frames if one.verdict is Verdict.FAULT]
    assert failed.view == "side-f2"


def test_defect_across_the_seam_of_two_tiles_is_one(tmp_path: Path):
    """With the area it has in the large picture."""
    large = spotted(10, [(row, 3, 250) for row in range(3, 8)])
    tiles = {"kind": "tiles", "step_px": [0, 4 * CELL]}
    config = settings(tmp_path, tiles, count=2)
    shots = [shot("a", 1, large[: 6 * CELL]), shot("a", 2, large[4 * CELL :])]
    [event] = run(config, *shots, judge=CellJudge())
    assert event.verdict is Verdict.REJECT
    [defect] = event.fusion.defects
    assert (defect.frames, defect.area_px) == ((1, 2), 5 * CELL * CELL)
    assert defect.box_px == (3 * CELL, 3 * CELL, 4 * CELL, 8 * CELL)
    assert event.fusion.offsets_px == {"main": ((1, 0.0, 0.0), (2, 0.0, 32.0))}


def test_conveyor_averages_what_several_frames_see(tmp_path: Path):
    """A speck of noise in one frame is averaged away; a defect that all see stays."""
    step = {"kind": "conveyor", "step_px": [0, 2 * CELL]}
    surface = spotted(12, [(6, 2, 230)])
    frames = [surface[2 * n * CELL : (2 * n + 8) * CELL].copy() for n in range(3)]
    for number, frame in enumerate(frames):
        frame[..., 1] = number  # not the same bytes
    [defective] = run(
        settings(tmp_path / "d", step),
        *(shot("a", n + 1, f) for n, f in enumerate(frames)),
        judge=CellJudge(),
    )
    assert defective.verdict is Verdict.REJECT
    assert defective.fusion.defects[0].frames == (1, 2, 3)
    noisy = [spotted(8, []) for _ in range(3)]
    noisy[1][4 * CELL : 5 * CELL, :CELL, 0] = 230
    for number, frame in enumerate(noisy):
        frame[..., 1] = number
    shots = [shot("a", n + 1, f) for n, f in enumerate(noisy)]
    [good] = run(settings(tmp_path / "g", step), *shots, judge=CellJudge())
    assert good.verdict is Verdict.PASS
    assert max(one.score for one in good.frames) == pytest.approx(
        (40 * 2 + 230) / 3 / 255, abs=1e-3
    )
    [views] = run(settings(tmp_path / "v"), *shots, judge=CellJudge())
    assert views.verdict is Verdict.REJECT


def texture(seed: int) -> np.ndarray:
    """Make a mottled surface of 25 × 8 cells, levels below 100."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.integers(0, 255, (200, 64)).astype(np.float32), (0, 0), 2)
    return np.repeat(np.clip(noise - 77, 0, 100)[..., None], 3, axis=2).astype(np.uint8)


def test_conveyor_finds_its_own_step(tmp_path: Path):
    """By what neighbouring frames have in common; the offsets stand in the event."""
    surface = texture(1)
    shots = [shot("a", n + 1, surface[16 * n : 16 * n + 64]) for n in range(3)]
    [event] = run(settings(tmp_path, {"kind": "conveyor"}), *shots, judge=CellJudge())
    assert event.verdict is Verdict.PASS
    places = event.fusion.offsets_px["main"]
    np.testing.assert_allclose(places, [(1, 0, 0), (2, 0, 16), (3, 0, 32)], atol=1.5)


def test_frame_of_another_surface_is_judged_alone_and_its_part_never_pass(tmp_path: Path):
    """What cannot be registered is not averaged with what it does not show."""
    surface = texture(1)
    shots = [
        shot("a", 1, surface[:64]),
        shot("a", 2, surface[16:80]),
        shot("a", 3, texture(2)[:64]),
    ]
    [event] = run(settings(tmp_path, {"kind": "conveyor"}), *shots, judge=CellJudge())
    assert event.verdict is Verdict.REVIEW
    assert "frames 3 were judged alone" in event.reason


def test_frames_that_cannot_be_fused_are_fault(tmp_path: Path):
    """Whatever goes wrong with that never passes a part, nor ends the station."""
    far = {"kind": "tiles", "step_px": [10**6, 10**6]}
    [event] = run(
        settings(tmp_path, far, count=2),
        *(shot("a", n, spotted(8, [(0, 0, n)])) for n in (1, 2)),
        judge=CellJudge(),
    )
    assert event.verdict is Verdict.FAULT
    assert "mend the offsets" in event.reason
    sizes = {"kind": "tiles", "step_px": [0, 8]}
    shots = [shot("a", 1, spotted(8, [])), shot("a", 2, spotted(9, []))]
    [event] = run(settings(tmp_path / "s", sizes, count=2), *shots, judge=CellJudge())
    assert event.verdict is Verdict.REVIEW
    assert "several sizes" in event.reason


def test_late_frame_is_kept_counted_and_answered_with_the_verdict(tmp_path: Path):
    """It changes no verdict and is not lost."""
    config = settings(tmp_path)
    clock = StillClock()
    rig = Rig(config, TableJudges())
    rig.intake = FramesIntake(config.queue_parts, config.frames, clock)
    assert not rig.intake.put(shot("a", 1, 40))
    clock.advance(2)
    rig.run()
    answered = []
    again = Rig(config, TableJudges())
    again.intake = rig.intake
    assert rig.intake.put(shot("a", 2, 255, answer=answered.append))
    again.run()
    [event] = recorded(config)
    assert answered == [event]
    assert event.verdict is Verdict.REVIEW
    kept = config.data_dir / "pictures" / "REVIEW" / "0000000001-main-f2-late.png"
    assert kept.is_file()


def test_late_frame_in_the_queue_of_a_loop_that_fails_is_counted_once(tmp_path: Path):
    """It and a twin are answered with their part's event, and its picture is kept."""
    config = settings(tmp_path, open_parts=1)
    clock = StillClock()
    rig = Rig(config)
    rig.intake = FramesIntake(config.queue_parts, config.frames, clock)
    rig.intake.put(shot("a", 1, 40))
    clock.advance(2)
    rig.run()
    again = Rig(config)
    again.intake = rig.intake
    again.judges.judged = lambda event: (_ for _ in ()).throw(StationError("broken"))
    answered = []
    rig.intake.put(shot("b", 1, 41))
    rig.intake.put(shot("c", 1, 42))  # lets b go, on which the loop fails
    rig.intake.put(shot("a", 2, 255, answer=answered.append))
    rig.intake.put(shot("a", 1, 40, answer=answered.append))
    with pytest.raises(StationError, match="broken"):
        again.run()
    first = recorded(config)[0]
    assert answered == [first, first]
    assert [one.part_id for one in again.signalled] == ["b"]
    assert sum(again.health.beat(Surroundings()).since_start.values()) == 1
    kept = config.data_dir / "pictures" / "REVIEW" / "0000000001-main-f2-late.png"
    assert kept.is_file()


def test_part_in_hand_is_fault_when_the_loop_fails(tmp_path: Path, monkeypatch):
    """With all its frames, once."""
    config = settings(tmp_path, count=2)
    rig = Rig(config)
    rig.judges.judged = lambda event: (_ for _ in ()).throw(StationError("broken"))
    rig.intake = FramesIntake(config.queue_parts, config.frames, SYSTEM_CLOCK)
    for number in (1, 2):
        rig.intake.put(shot("a", number, 40 + number))
        rig.intake.put(shot("b", number, 40 + number))
    with pytest.raises(StationError, match="broken"):
        rig.run()
    assert [(one.part_id, len(one.frames)) for one in recorded(config)] == [("a", 2), ("b", 2)]
    assert recorded(config)[1].verdict is Verdict.FAULT


class Accepting(CellJudge):
    """Accepts whatever a frame shows."""

    def accept(self, cut: np.ndarray, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Say so."""
        return Accepted(Verdict.PASS, "accepted by 'small'", relieved=Verdict.PASS)


def test_accepted_piece_of_a_defect_across_frames_is_not_accepted(tmp_path: Path):
    """Its rules measured a piece; a defect within one frame stays accepted."""
    tiles = {"kind": "tiles", "step_px": [0, 4 * CELL]}
    across = spotted(10, [(row, 3, 250) for row in range(3, 8)])
    within = spotted(10, [(1, 3, 250)])
    for large, wanted in ((across, Verdict.REVIEW), (within, Verdict.PASS)):
        config = settings(tmp_path / wanted, tiles, count=2)
        shots = [shot("a", 1, large[: 6 * CELL]), shot("a", 2, large[4 * CELL :].copy())]
        shots[1].frames[0].pixels[..., 1] = 7
        [event] = run(config, *shots, judge=Accepting())
        assert event.verdict is wanted
        assert ("measured on one" in event.reason) is (wanted is Verdict.REVIEW)
