import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import ClassVar

import cv2
import numpy as np
import pytest

from inspection.core.decision import Verdict
from inspection.core.errors import FrameRejected, ImageError, SpoolFull, StationError
from inspection.core.guards import GuardLimits, learn, measure
from inspection.core.records import Event
from inspection.station import loop
from inspection.station.health import Surroundings
from inspection.station.look import same_bytes
from inspection.station.loop import Line
from inspection.station.part import Fault, Frame, Intake, Stamp
from inspection.station.spool import Spool, SpoolReader
from inspection.station.state import StationState
from tests.fakes import StillClock, TableJudges, TableScorer
from tests.station.rig import Rig, configure, part, pixels, recorded
from tests.station.sources.files import encoded

pytestmark = pytest.mark.fast


def judges(table: dict[int, float | Exception] | None = None, takes_s: float = 0) -> TableJudges:
    """Make judges of one product and one camera."""
    return TableJudges(default={"main": TableScorer(table, takes_s)})


def verdicts(events: list[Event]) -> list[str]:
    """Give the verdicts in order."""
    return [str(event.verdict) for event in events]


def test_each_part_gets_its_event_and_its_signal(tmp_path: Path):
    """Events are recorded and signalled in the order of arrival, numbered without gaps."""
    rig = Rig(configure(tmp_path))
    status = rig.run([part("a", 40), part("b", 150), part("c", 255), part("d", Fault("torn"))])
    assert verdicts(rig.signalled) == ["PASS", "REVIEW", "REJECT", "FAULT"]
    assert [event.sequence for event in rig.signalled] == [1, 2, 3, 4]
    assert recorded(rig.config) == rig.signalled == rig.judges.events
    assert (sum(status.since_start.values()), status.known) == (4, 0)


def test_event_says_everything(tmp_path: Path):
    """An event carries what was judged, by what, when and how long it took."""
    rig = Rig(configure(tmp_path, line="paint", station="west"))
    frame = Frame("main", "sub/a.png", pixels(150), encoded(150), "ab" * 32)
    rig.run([part("a", 0, product="default", frames=(frame,))])
    [event] = recorded(rig.config)
    assert (event.event_id, event.part_id, event.product) == ("id-a", "a", "default")
    assert (event.line, event.station, event.reason) == ("paint", "west", "")
    [seen] = event.frames
    assert (seen.camera, seen.source, seen.source_sha256) == ("main", "sub/a.png", "ab" * 32)
    assert (seen.bundle_id, seen.band) == ("table-scorer", TableScorer.band)
    assert seen.score == pytest.approx(150 / 255)
    assert seen.image == "0000000001-main.png"
    assert seen.overlay == "0000000001-main-overlay.png"
    assert 0 < event.latency_ms < 60_000
    assert event.captured_at < event.judged_at


def test_signal_follows_the_durable_event(tmp_path: Path):
    """Whoever hears of an event finds it in the record, read by another connection."""
    rig = Rig(configure(tmp_path))
    found = []

    def signal(event: Event) -> None:
        with SpoolReader(rig.config.data_dir) as record:
            found.append(record.find(event.event_id) == event)

    rig.signal = signal
    rig.run([part("a", 40), part("b", 255)])
    assert found == [True, True]


def test_part_handed_in_again_keeps_its_first_event(tmp_path: Path):
    """Its bytes are not judged again, it is answered, and its new stamp is remembered."""
    config = configure(tmp_path)
    first = Rig(config)
    first.run([part("a", 40)])
    answers: list[Event] = []
    again = Rig(config)
    stamps = (("a.png", Stamp(1, 2, 3)),)
    status = again.run([part("a", 255, stamps=stamps, answer=answers.append)])
    assert (sum(status.since_start.values()), status.known) == (0, 1)
    assert answers == recorded(config) == first.signalled
    assert again.signalled == []
    with SpoolReader(config.data_dir) as record:
        assert record.stamp_of("a.png") == Stamp(1, 2, 3)


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_twin_in_the_queue_is_judged_once(tmp_path: Path, mode: str):
    """A request repeated while the first is in work gets the same event."""
    answers: list[Event] = []
    rig = Rig(configure(tmp_path, inference={"mode": mode}))
    twins = [part("a", 40, answer=answers.append) for _ in range(3)]
    status = rig.run([*twins, part("b", 40)])
    assert (sum(status.since_start.values()), status.known) == (2, 2)
    assert {answer.sequence for answer in answers} == {1}


def test_several_cameras_make_one_verdict(tmp_path: Path):
    """The worst frame decides; a defect one camera saw stands above what another could not see."""
    cameras = {"top": TableScorer(), "side": TableScorer()}
    rig = Rig(configure(tmp_path), TableJudges(default=cameras))
    seen = {
        "both good": (10, 20),
        "side doubtful": (10, 150),
        "top bad": (250, 20),
        "side blind": (10, Fault("dark")),
        "bad and blind": (250, Fault("dark")),
    }
    parts = []
    for name, (top, side) in seen.items():
        side = side if isinstance(side, Fault) else pixels(side)
        frames = (Frame("top", "t", pixels(top)), Frame("side", "s", side))
        parts.append(part(name, 0, frames=frames))
    guards = {"frozen": "off"}
    rig.config = rig.config.model_copy(
        update={"guards": rig.config.guards.model_copy(update=guards)}
    )
    rig.run(parts)
    assert verdicts(rig.signalled) == ["PASS", "REVIEW", "REJECT", "FAULT", "REJECT"]
    assert [event.deciding.camera for event in rig.signalled] == [
        "side",
        "side",
        "top",
        "side",
        "top",
    ]
    assert rig.signalled[4].reason == "side: dark"


def test_camera_that_brings_nothing_is_a_fault(tmp_path: Path):
    """A part is never judged by half; a camera nobody knows is a fault as well."""
    cameras = {"top": TableScorer(), "side": TableScorer()}
    rig = Rig(configure(tmp_path), TableJudges(default=cameras))
    strange = (
        Frame("top", "t", pixels(1)),
        Frame("side", "s", pixels(2)),
        Frame("x", "x", pixels(3)),
    )
    rig.run(
        [part("half", 0, frames=(Frame("top", "t", pixels(10)),)), part("odd", 0, frames=strange)]
    )
    assert verdicts(rig.signalled) == ["FAULT", "FAULT"]
    assert "camera 'side' brought no frame" in rig.signalled[0].reason
    assert "camera 'x' has no recipe" in rig.signalled[1].reason


def test_unknown_product_is_a_fault(tmp_path: Path):
    """A product code without recipe says so and stops nothing."""
    rig = Rig(configure(tmp_path))
    rig.run([part("a", 40, product="4711"), part("b", 41)])
    assert verdicts(rig.signalled) == ["FAULT", "PASS"]
    assert "product '4711' has no recipe" in rig.signalled[0].reason


@pytest.mark.parametrize(
    "error",
    [
        FrameRejected("a: too dark"),
        ImageError("a: torn"),
        MemoryError(),
        RuntimeError("infer request failed"),
        ZeroDivisionError("division by zero"),
        RuntimeError("\udcff is no text"),
    ],
    ids=str,
)
def test_whatever_the_judge_raises_is_a_fault_of_one_part(tmp_path: Path, error: Exception):
    """The part is FAULT with the reason, the next is judged."""
    rig = Rig(configure(tmp_path), judges({40: error}))
    rig.run([part("a", 40), part("b", 41)])
    assert verdicts(rig.signalled) == ["FAULT", "PASS"]
    assert rig.signalled[0].reason
    assert rig.signalled[0].frames[0].bundle_id == "table-scorer"


def test_map_that_is_no_number_is_a_fault(tmp_path: Path):
    """NaN in the map is never a PASS."""
    rig = Rig(configure(tmp_path), judges({40: float("nan")}))
    rig.run([part("a", 40)])
    assert verdicts(rig.signalled) == ["FAULT"]
    assert rig.signalled[0].reason.startswith("score is nan; expected a finite number")


def test_judge_that_lies_about_nan_is_a_fault(tmp_path: Path):
    """A judge that says PASS of a score that is no number is not believed."""

    class Liar(TableScorer):
        def judge(self, tiles, part_hw):
            return replace(super().judge(tiles, part_hw), score=float("nan"))

    rig = Rig(configure(tmp_path), TableJudges(default={"main": Liar()}))
    rig.run([part("a", 40)])
    assert verdicts(rig.signalled) == ["FAULT"]


def test_a_second_stage_leaves_the_frames_behind_it_their_time(tmp_path: Path):
    """As much as its own took until then: a frame without a score would make the part FAULT."""
    scorer = TableScorer(takes_s=0.2)
    cameras = ("main", "side", "top")
    recipe = TableJudges(default=dict.fromkeys(cameras, scorer))
    rig = Rig(configure(tmp_path, deadline_ms=10_000), recipe)
    frames = tuple(Frame(name, f"camera {name}", pixels(150)) for name in cameras)
    rig.run([part("a", 0, frames=frames)])
    assert len(scorer.left_s) == 3
    assert scorer.left_s[0] <= 10 - 3 * 0.2
    assert scorer.left_s[2] <= 10 - 3 * 0.2


@pytest.mark.parametrize(("deadline_ms", "verdict"), [(10, "FAULT"), (60_000, "REJECT")])
def test_late_verdict_is_a_fault(tmp_path: Path, deadline_ms: int, verdict: str):
    """A verdict after the deadline is FAULT; its reason still says what it was."""

    class Slow(TableScorer):
        def judge(self, tiles, part_hw):
            clock.advance(0.02)
            return super().judge(tiles, part_hw)

    clock = StillClock()
    config = configure(tmp_path, deadline_ms=deadline_ms)
    rig = Rig(config, TableJudges(default={"main": Slow()}), clock)
    rig.run([part("a", 255)])
    [event] = rig.signalled
    assert event.verdict == verdict
    assert event.latency_ms == pytest.approx(20)
    if verdict == "FAULT":  # the loop may have waited no longer for the score
        said = r"(REJECT \(score 1\)|FAULT) came after 20 ms; wanted within 10 ms"
        assert re.match(said, event.reason)


def test_judge_that_hangs_does_not_hold_the_verdict(tmp_path: Path):
    """At the deadline the part is FAULT, whether the judge ever comes back or not."""
    rig = Rig(configure(tmp_path, deadline_ms=50), judges(takes_s=0.6))
    started = time.monotonic()
    rig.run([part("a", 40)])
    assert time.monotonic() - started < 0.5
    assert verdicts(rig.signalled) == ["FAULT"]
    assert rig.signalled[0].reason.startswith("FAULT came after")
    assert "no score within 50 ms" in rig.signalled[0].reason
    time.sleep(0.6)


def test_part_that_waited_too_long_is_not_judged(tmp_path: Path):
    """Judging it would only make the next ones late; it gets its FAULT at once."""
    clock = StillClock()
    rig = Rig(configure(tmp_path, deadline_ms=100), clock=clock)
    rig.run([part("old", 40, arrived_s=clock.seconds - 0.2), part("new", 41, arrived_s=100.0)])
    assert verdicts(rig.signalled) == ["FAULT", "PASS"]
    assert rig.judges.recipes["default"]["main"].judged == [41]


def test_full_queue_is_a_fault_not_a_loss(tmp_path: Path):
    """Parts beyond the queue's limit get an event with the reason."""
    rig = Rig(configure(tmp_path, queue_parts=2))
    for number in range(5):
        rig.intake.put(part(str(number), 40 + number))
    assert len(rig.intake) == 5
    rig.run()
    assert verdicts(rig.signalled) == ["PASS", "PASS", "FAULT", "FAULT", "FAULT"]
    assert rig.signalled[2].reason.startswith("2 parts are waiting already; wanted room for it")


def test_source_that_can_wait_waits_for_room():
    """A file lies safely in its folder: nothing is given up for want of room."""
    intake = Intake(1)
    assert intake.offer(part("a", 1), 0)
    assert not intake.offer(part("b", 2), 0.01)
    waiting = Thread(target=intake.offer, args=(part("c", 3), 5))
    waiting.start()
    first = intake.take(1)
    waiting.join()
    second = intake.take(1)
    assert [one.part_id for one in (first, second) if one] == ["a", "c"]
    assert intake.take(0) is None


def test_clock_set_back_changes_no_order_and_no_latency(tmp_path: Path):
    """The wall clock jumps back between parts; the record does not notice."""

    class ClockTurner(TableScorer):
        def judge(self, tiles, part_hw):
            clock.set_back(3600)
            clock.seconds += 0.01
            return super().judge(tiles, part_hw)

    clock = StillClock()
    rig = Rig(configure(tmp_path), TableJudges(default={"main": ClockTurner()}), clock)
    rig.run([part(str(second), second) for second in (1, 2, 3)])
    events = recorded(rig.config)
    assert [event.part_id for event in events] == ["1", "2", "3"]
    assert events[0].judged_at > events[1].judged_at > events[2].judged_at
    assert [event.latency_ms for event in events] == [pytest.approx(10)] * 3


def test_bundle_that_fails_in_a_row_ends_the_station(tmp_path: Path):
    """A new process may do better; every part it took in is recorded and signalled."""
    config = configure(tmp_path, faults_in_a_row=3)
    rig = Rig(config, judges({number: MemoryError() for number in range(9)}))
    with pytest.raises(StationError, match=r"failed on 3 parts in a row, the last '2': MemoryErr"):
        rig.run([part(str(number), number) for number in range(5)])
    assert recorded(config) == rig.signalled
    assert len(rig.signalled) == 5


def test_faults_that_are_not_the_bundles_end_nothing(tmp_path: Path):
    """A camera that gives nothing comes right by itself; a good part between ends a row."""
    config = configure(tmp_path, faults_in_a_row=2)
    blind = Rig(config)
    blind.run([part(f"blind {number}", Fault("stalled")) for number in range(5)])
    assert verdicts(blind.signalled) == ["FAULT"] * 5
    mixed = Rig(config, judges({1: MemoryError(), 3: MemoryError()}))
    mixed.run([part(str(number), number) for number in (1, 2, 3)])
    assert verdicts(mixed.signalled) == ["FAULT", "PASS", "FAULT"]


@pytest.mark.parametrize(
    ("guarded", "verdict"), [("FAULT", "FAULT"), ("REVIEW", "REVIEW"), ("off", "PASS")]
)
@pytest.mark.parametrize("raw", [True, False])
def test_frozen_camera_shows(tmp_path: Path, guarded: str, verdict: str, raw: bool):
    """The same bytes twice from one camera: outcome as configured; another frame ends it."""
    rig = Rig(configure(tmp_path, guards={"frozen": guarded}))
    shown = [
        Frame("main", "x", pixels(red), None if raw else encoded(red), "" if raw else f"{red:064}")
        for red in (40, 40, 41)
    ]
    rig.run([part(str(n), 0, frames=(frame,)) for n, frame in enumerate(shown)])
    assert verdicts(rig.signalled) == ["PASS", verdict, "PASS"]
    if guarded != "off":
        assert rig.signalled[1].reason.startswith("the same bytes as the camera's last frame")


@pytest.mark.parametrize(
    ("guarded", "red", "verdict"),
    [
        ("FAULT", 10, "FAULT"),
        ("REVIEW", 10, "REVIEW"),
        ("off", 10, "PASS"),
        ("REVIEW", 250, "REJECT"),
    ],
)
def test_guard_leads_to_what_is_configured(tmp_path: Path, guarded: str, red: int, verdict: str):
    """REVIEW raises a PASS to REVIEW and leaves a REJECT; FAULT is not judged at all."""
    normal = np.full((1, 12, 20, 3), 120, np.uint8)
    normal[:, ::2] = 125
    scorer = TableScorer()
    scorer.guards = learn([measure(normal)] * 30, [(12, 20)] * 30)
    others = dict.fromkeys(("focus", "missing", "size"), "off")
    config = configure(tmp_path, guards={"exposure": guarded, **others})
    rig = Rig(config, TableJudges(default={"main": scorer}))
    rig.run([part("dark", red)])
    assert verdicts(rig.signalled) == [verdict]
    assert bool(rig.signalled[0].reason) == (guarded != "off")
    assert (rig.signalled[0].frames[0].score is None) == (guarded == "FAULT")


def limits(grey: int) -> GuardLimits:
    """Give the limits learnt from frames of about one grey level."""
    normal = np.full((1, 12, 20, 3), grey, np.uint8)
    normal[:, ::2] += 5
    return learn([measure(normal)] * 30, [(12, 20)] * 30)


@pytest.mark.parametrize(
    ("before", "repeated", "blamed"),
    [(18, False, True), (None, False, True), (120, False, False), (18, True, False)],
    ids=["its own limits", "limits are new", "both complain", "frozen camera"],
)
def test_fault_by_a_new_bundles_own_limits_is_the_bundles(
    tmp_path: Path, before: int | None, repeated: bool, blamed: bool
):
    """What only the limits of the bundle on trial make FAULT counts against it, nothing else."""
    scorer, predecessor = TableScorer(), TableScorer()
    scorer.guards = limits(120)
    predecessor.guards = None if before is None else limits(before)
    scorer.predecessor = predecessor
    guarded = dict.fromkeys(("focus", "missing", "size"), "off") | {"exposure": "FAULT"}
    rig = Rig(configure(tmp_path, guards=guarded), TableJudges(default={"main": scorer}))
    rig.run([part(str(number), 20) for number in range(2 if repeated else 1)])
    last = rig.signalled[-1]
    assert last.verdict is Verdict.FAULT
    assert bool(last.frames[0].bundle_id) is blamed
    assert ("the bundle before this one had let it through" in last.reason) is blamed
    assert scorer.judged == []


def test_part_in_hand_gets_its_event_when_the_loop_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever ends the loop, and wherever, each part it took has one event and one signal."""
    for number, place in enumerate(("_begin", "_record", "_keep_pictures", "_watch_faults")):
        rig = Rig(configure(tmp_path / place))
        works, fails = getattr(Line, place), [False, True]

        def flaky(self: Line, *args: object, works=works, fails=fails) -> object:
            if fails and fails.pop(0):
                raise StationError("no memory")
            return works(self, *args)

        monkeypatch.setattr(Line, place, flaky)
        with pytest.raises(StationError, match="no memory"):
            rig.run([part(f"{number}-{name}", 40) for name in "abc"])
        monkeypatch.setattr(Line, place, works)
        assert [event.part_id[-1] for event in recorded(rig.config)] == ["a", "b", "c"]
        assert [event.part_id[-1] for event in rig.signalled] == ["a", "b", "c"]


def test_comparison_that_fails_is_one_parts_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Out of memory while a frame is held against the last one: FAULT, and the line goes on."""
    fails = [False, True]

    def flaky(before: Frame | None, now: Frame) -> bool:
        if fails and fails.pop(0):
            raise MemoryError("Unable to allocate 3.75 MiB")
        return same_bytes(before, now)

    monkeypatch.setattr(loop, "same_bytes", flaky)
    rig = Rig(configure(tmp_path))
    rig.run([part("a", 40), part("b", 41), part("c", 42)])
    assert verdicts(rig.signalled) == ["PASS", "FAULT", "PASS"]
    assert "Unable to allocate" in rig.signalled[1].reason


def test_overlay_and_frame_are_kept(tmp_path: Path):
    """A REJECT keeps its frame lossless and an overlay with the suspicious cell in colour."""
    rig = Rig(configure(tmp_path))
    rig.run([part("good", 40), part("bad", 255)])
    folder = rig.config.data_dir / "pictures"
    assert sorted(path.name for path in folder.rglob("*.png")) == [
        "0000000002-main-overlay.png",
        "0000000002-main.png",
    ]
    frame = cv2.imread(str(folder / "REJECT" / "0000000002-main.png"))
    assert np.array_equal(frame, pixels(255))
    overlay = cv2.imread(str(folder / "REJECT" / "0000000002-main-overlay.png")).astype(int)
    assert np.abs(overlay[:, :, 2] - overlay[:, :, 0]).max() > 50


def test_kept_file_is_as_captured(tmp_path: Path):
    """Not one byte of a file changes, a torn one's neither."""
    rig = Rig(configure(tmp_path))
    jpeg, torn = encoded(255, kind="JPEG"), b"\xff\xd8\xff torn"
    rig.run(
        [
            part("bad", 0, frames=(Frame("main", "bad.jpg", pixels(255), jpeg, "1"),)),
            part("torn", 0, frames=(Frame("main", "torn.jpg", Fault("torn"), torn, "2"),)),
            part("text", 0, frames=(Frame("main", "text.jpg", Fault("text"), b"text", "3"),)),
        ]
    )
    folder = rig.config.data_dir / "pictures"
    assert (folder / "REJECT" / "0000000001-main.jpg").read_bytes() == jpeg
    assert (folder / "FAULT" / "0000000002-main.jpg").read_bytes() == torn
    assert (folder / "FAULT" / "0000000003-main.bin").read_bytes() == b"text"


def test_verdict_that_became_durable_too_late_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A slow fsync counts: nobody hears a PASS after the deadline, and the record says FAULT."""

    class SlowSpool(Spool):
        def append(self, event: Event, *about: Sequence[object]) -> None:
            """Take longer than the deadline."""
            super().append(event, *about)
            clock.advance(2)

    clock = StillClock()
    monkeypatch.setattr("tests.station.rig.Spool", SlowSpool)
    rig = Rig(configure(tmp_path, deadline_ms=1_000), clock=clock)
    rig.run([part("a", 40)])
    assert verdicts(rig.signalled) == ["FAULT"]
    assert rig.signalled[0].reason.startswith("PASS (score 0.156863) came after 2000 ms")
    assert recorded(rig.config) == rig.signalled
    status = rig.health.beat(Surroundings())
    assert (status.late, status.counts[Verdict.PASS]) == (1, 0)


def test_what_an_ending_station_has_taken_in_gets_its_event(tmp_path: Path):
    """Camera parts in work or in the queue are FAULT; files are left to the next process."""
    config = configure(tmp_path, faults_in_a_row=1)
    rig = Rig(config, judges({1: MemoryError()}))
    stamps = (("c.png", Stamp(1, 2, 3)),)
    parts = [part("a", 1), part("b", 2), part("c", 3, stamps=stamps), part("d", 4)]
    with pytest.raises(StationError, match="failed on 1 parts in a row"):
        rig.run(parts)
    events = recorded(config)
    assert [event.part_id for event in events] == ["a", "b", "d"]
    assert verdicts(events) == ["FAULT"] * 3
    assert events == rig.signalled
    assert events[1].reason.startswith("the station ended: the bundle failed on 1 parts in a row")


class FlakySpool(Spool):
    """A record whose disk is full for some writes."""

    fails: ClassVar[list[bool]] = []
    reached = False

    def append(self, event: Event, *about: Sequence[object]) -> None:
        """Write, or refuse to, or write and say that it did not."""
        if self.fails and self.fails.pop(0):
            if self.reached:
                super().append(event, *about)
            raise SpoolFull("events.sqlite: disk is full")
        super().append(event, *about)


@pytest.mark.parametrize("reached", [False, True], ids=["not written", "written all the same"])
def test_full_disk_holds_the_verdict_back_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: bool
):
    """No verdict leaves while it cannot be recorded; when it can, each leaves once, in order."""
    monkeypatch.setattr(loop, "RETRY_S", 0.01)
    monkeypatch.setattr("tests.station.rig.Spool", FlakySpool)
    monkeypatch.setattr(FlakySpool, "fails", [True, not reached, not reached, False])
    monkeypatch.setattr(FlakySpool, "reached", reached)
    rig = Rig(configure(tmp_path))
    blocked = []
    block = rig.health.block
    monkeypatch.setattr(rig.health, "block", lambda reason: (blocked.append(reason), block(reason)))
    rig.run([part("a", 40), part("b", 255)])
    assert recorded(rig.config) == rig.signalled
    assert [event.part_id for event in rig.signalled] == ["a", "b"]
    assert blocked[0] == "events.sqlite: disk is full; the station goes on by itself"
    assert blocked[-1] == ""


def test_blocked_station_that_is_stopped_tries_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A technician frees the disk and restarts the service: the verdicts are there."""
    monkeypatch.setattr("tests.station.rig.Spool", FlakySpool)
    monkeypatch.setattr(FlakySpool, "fails", [True])
    rig = Rig(configure(tmp_path))
    monkeypatch.setattr(rig.health, "block", lambda reason: reason and rig.stop.set())
    rig.run([part("a", 40), part("b", 255)])
    assert verdicts(recorded(rig.config)) == verdicts(rig.signalled) == ["PASS", "REJECT"]


def test_blocked_station_that_is_stopped_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The part in work has no event and no signal; a file would be judged again."""
    monkeypatch.setattr(loop, "RETRY_S", 0.01)
    monkeypatch.setattr("tests.station.rig.Spool", FlakySpool)
    monkeypatch.setattr(FlakySpool, "fails", [True] * 1000)
    rig = Rig(configure(tmp_path))
    Thread(target=lambda: (time.sleep(0.05), rig.stop.set())).start()
    with pytest.raises(SpoolFull, match="disk is full"):
        rig.run([part("a", 40)])
    assert rig.signalled == recorded(rig.config) == []


@pytest.mark.parametrize("what", ["find", "remember"])
def test_disk_that_refuses_to_be_read_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    """Looking a part up, or remembering its stamp, may fail like a write; nothing is lost."""
    config = configure(tmp_path)
    Rig(config).run([part("a", 40)])
    monkeypatch.setattr(loop, "RETRY_S", 0.01)
    works, fails = getattr(Spool, what), [True, True]

    def flaky(self: Spool, *args: object) -> object:
        if fails:
            fails.pop()
            raise SpoolFull("events.sqlite: disk I/O error")
        return works(self, *args)

    monkeypatch.setattr(Spool, what, flaky)
    answers: list[Event] = []
    again = part("a", 40, stamps=(("a.png", Stamp(1, 2, 3)),), answer=answers.append)
    rig = Rig(config)
    rig.run([again, part("b", 40)])
    assert [event.part_id for event in recorded(config)] == ["a", "b"]
    assert [event.part_id for event in answers] == ["a"]
    assert fails == []


def test_health_hears_of_everything(tmp_path: Path):
    """The snapshot counts this run and all before it, and shows the last parts newest first."""
    rig = Rig(configure(tmp_path))
    rig.health.turn(StationState.READY)
    rig.run([part("a", 40), part("b", 255)])
    status = rig.health.beat(Surroundings(waiting=3))
    assert status.counts == status.since_start
    assert (status.counts[Verdict.PASS], status.counts[Verdict.REJECT]) == (1, 1)
    assert [event.part_id for event in status.last] == ["b", "a"]
    assert (status.sequence, status.waiting, status.late, status.beat) == (2, 3, 0, 2)
    assert status.latency is not None
    assert status.latency.parts == 2


def test_throughput_keeps_the_order(tmp_path: Path):
    """Several parts are in work at once; events stand in the order of arrival."""

    class Uneven(TableScorer):
        def judge(self, tiles, part_hw):
            time.sleep(0.02 if tiles[0, 0, 0, 0] % 2 else 0)
            return super().judge(tiles, part_hw)

    config = configure(tmp_path, inference={"mode": "throughput", "threads": 3})
    rig = Rig(config, TableJudges(default={"main": Uneven()}))
    rig.run([part(str(number), number) for number in range(20)])
    assert [event.part_id for event in recorded(config)] == [str(number) for number in range(20)]


def test_loop_goes_on_until_the_source_ends(tmp_path: Path):
    """A part that comes while the loop is idle is judged; the end is seen when all is done."""
    rig = Rig(configure(tmp_path))
    ended = Flag()

    def feed() -> None:
        time.sleep(0.1)
        rig.intake.put(part("late comer", 40))
        ended.set()

    feeder = Thread(target=feed)
    feeder.start()
    rig.run()
    feeder.join()
    rig.run()
    assert [event.part_id for event in rig.signalled] == ["late comer"]


def test_golden_frames_are_judged_again_and_a_wrong_one_ends_the_station(tmp_path: Path):
    """An idle line looks every ten seconds, a busy one every minute; no verdict follows a fault."""

    class WornJudges(TableJudges):
        checks = 0

        def check_golden(self) -> str:
            self.checks += 1
            return "golden frame '00' is off" if self.checks == 2 else ""

    clock, checks = StillClock(), []
    rig = Rig(configure(tmp_path), judges=WornJudges(), clock=clock)

    def ended() -> bool:
        clock.advance(6)
        checks.append(rig.judges.checks)
        return False

    rig.ended = ended
    with pytest.raises(StationError, match="golden frame '00' is off; start the station again"):
        rig.run()
    assert checks == [0, 0, 1, 1]
