import hashlib
import math
import os
import struct
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

import cv2
import numpy as np
import pytest
from PIL import Image

from inspection.core.decision import Judgement
from inspection.core.errors import StationError
from inspection.core.imaging import Rgb, load_image
from inspection.core.records import Event
from inspection.station import loop
from inspection.station.loop import run_station
from inspection.station.spool import Spool, VerdictCounts
from tests.fakes import RecordingOutputs, StillClock, TableScorer
from tests.station.parts import configure, encoded, ignore, put, recorded, run

pytestmark = pytest.mark.fast


def test_each_part_gets_its_event_and_its_signal(tmp_path: Path):
    """With the default scorer every file is judged once, recorded, then signalled in that order."""
    config = configure(tmp_path)
    for red in (40, 140, 230):
        os.utime(put(config.source, f"{red}.png", encoded(red)), (red, red))
    outputs = RecordingOutputs()
    counts = run(config, emit=outputs)
    assert list(outputs.verdicts.items()) == [
        ("40.png", "PASS"),
        ("140.png", "REVIEW"),
        ("230.png", "REJECT"),
    ]
    assert recorded(config) == outputs.events
    assert str(counts) == (
        "1 PASS, 1 REVIEW, 1 REJECT, 0 FAULT · 0 known, 0 vanished, 0 ignored files, "
        "0 overlays lost"
    )


def test_event_says_everything(tmp_path: Path):
    """An event carries identity, origin, thresholds, times and the raw score of its part."""
    config = configure(tmp_path, line="press 4", station="outlet")
    content = encoded(204)
    os.utime(put(config.source, "shift 1/part.7.png", content), (1_000, 1_000))
    clock = StillClock()
    sha256 = hashlib.sha256(content).hexdigest()
    outputs = RecordingOutputs()
    run(config, TableScorer({204: 0.75}), outputs, clock)
    event_id = hashlib.sha256(f"shift 1/part.7.png\n{sha256}".encode()).hexdigest()[:32]
    assert outputs.events == [
        Event(
            event_id=event_id,
            part_id="part.7",
            line="press 4",
            station="outlet",
            bundle_id="table-scorer",
            verdict="REVIEW",
            score=0.75,
            band=TableScorer.band,
            reason="",
            source="shift 1/part.7.png",
            source_sha256=sha256,
            captured_at=datetime(1970, 1, 1, 0, 16, 40, tzinfo=UTC),
            judged_at=clock.wall,
            latency_ms=0,
            overlay=f"{event_id}.png",
        )
    ]


def test_signal_follows_the_durable_event(tmp_path: Path):
    """When a signal leaves, its event can already be read from the database by anybody."""
    config = configure(tmp_path)
    put(config.source, "a.png", encoded(40))
    found = []

    def emit(event: Event) -> None:
        command = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]))"
        arguments = [str(config.data_dir / "events.sqlite"), "SELECT event_id FROM events"]
        shown = subprocess.run(
            [sys.executable, "-c", command, *arguments], capture_output=True, text=True, check=True
        )
        found.append(event.event_id in shown.stdout)

    run(config, emit=emit)
    assert found == [True]


def test_second_run_judges_nothing_again(tmp_path: Path):
    """A restarted station reads no file that it judged; a touched one is read, not judged."""
    config = configure(tmp_path)
    for name in ("a.png", "b.png"):
        put(config.source, name, encoded(40))
    run(config)
    judge = TableScorer()
    assert run(config, judge).known == 0
    os.utime(config.source / "a.png", (7, 7))
    assert run(config, judge).known == 1
    assert run(config, judge).known == 0
    assert judge.judged == []
    assert len(recorded(config)) == 2


def test_same_bytes_under_another_name_are_another_part(tmp_path: Path):
    """Identity is path and bytes: a copy is a part of its own."""
    config = configure(tmp_path)
    for name in ("a.png", "sub/a.png"):
        put(config.source, name, encoded(40))
    run(config)
    events = recorded(config)
    assert len({event.event_id for event in events}) == 2
    assert len({event.source_sha256 for event in events}) == 1


def test_new_bytes_under_the_same_path_are_a_new_part(tmp_path: Path):
    """A path that is written again is judged again; its old bytes, come back, are known."""
    config = configure(tmp_path)
    put(config.source, "a.png", encoded(40))
    run(config)
    put(config.source, "a.png", encoded(230))
    run(config)
    put(config.source, "a.png", encoded(40))
    assert run(config).known == 1
    assert [str(event.verdict) for event in recorded(config)] == ["PASS", "REJECT"]


def test_old_bytes_that_fault_are_not_taken_for_the_new(tmp_path: Path):
    """A truncated file that is completed later has a FAULT first and a verdict then."""
    config = configure(tmp_path)
    whole = encoded(40, kind="JPEG")
    put(config.source, "a.jpg", whole[: len(whole) // 2])
    run(config)
    put(config.source, "a.jpg", whole)
    run(config)
    assert [str(event.verdict) for event in recorded(config)] == ["FAULT", "PASS"]


def huge_png() -> bytes:
    """Make a sound PNG header that promises 20,000×20,000 px."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    rest = encoded(0)[33:]
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + rest


UNREADABLE = {
    "truncated JPEG": ("a.jpg", encoded(40, (80, 60), "JPEG")[:-20], "cannot be decoded"),
    "text": ("a.png", b"good part, I swear\n", "not an image file"),
    "empty": ("a.png", b"", "file is empty"),
    "1×1": ("a.png", encoded(40, (1, 1)), "image is 1×1 px; wanted sides from 8"),
    "20,000×20,000": ("a.png", huge_png(), "at most 80,000,000 pixels"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_picture_is_a_fault(tmp_path: Path, kind: str):
    """What is no readable part is FAULT with the reason and without a score, once."""
    name, content, reason = UNREADABLE[kind]
    config = configure(tmp_path)
    put(config.source, name, content)
    put(config.source, "good.png", encoded(40))
    run(config)
    run(config)
    fault, good = sorted(recorded(config), key=lambda event: event.source)
    assert (str(fault.verdict), fault.score, fault.overlay) == ("FAULT", None, None)
    assert fault.source_sha256 == hashlib.sha256(content).hexdigest()
    assert reason in fault.reason
    assert str(good.verdict) == "PASS"


def test_file_that_cannot_be_read_is_a_fault_until_it_can(tmp_path: Path):
    """A file the system refuses to hand out is FAULT once, and judged when it can be read."""
    config = configure(tmp_path)
    path = put(config.source, "a.png", encoded(40))
    take = loop.FolderSource.take

    class Locked(loop.FolderSource):
        def take(self, found):
            raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "FolderSource", Locked)
        run(config)
        run(config)
    assert Locked.take is not take
    (fault,) = recorded(config)
    assert (str(fault.verdict), fault.source_sha256) == ("FAULT", "")
    assert fault.reason == "PermissionError: [Errno 13] Permission denied"
    path.chmod(0o600)
    run(config)
    assert [str(event.verdict) for event in recorded(config)] == ["FAULT", "PASS"]


def test_black_frame_is_judged_like_any(tmp_path: Path):
    """An all-black frame is no fault by itself; its score decides."""
    config = configure(tmp_path)
    put(config.source, "a.png", encoded(0))
    outputs = RecordingOutputs()
    run(config, TableScorer({0: 0.9}), outputs)
    assert outputs.verdicts == {"a.png": "REJECT"}


def test_map_that_is_no_number_is_a_fault(tmp_path: Path):
    """NaN in the score map is FAULT, never PASS."""
    config = configure(tmp_path)
    put(config.source, "a.png", encoded(40))
    outputs = RecordingOutputs()
    run(config, TableScorer({40: math.nan}), outputs)
    (event,) = outputs.events
    assert (str(event.verdict), event.score) == ("FAULT", None)
    assert event.reason.startswith("score is nan; wanted a finite number")


def test_judge_that_lies_about_nan_is_a_fault(tmp_path: Path):
    """A PASS whose score is no number cannot become an event; the part is FAULT."""

    class Liar(TableScorer):
        def judge(self, pixels: Rgb) -> Judgement:
            judgement = super().judge(pixels)
            return Judgement(judgement.verdict, math.inf, self.band, (), judgement.score_map)

    config = configure(tmp_path)
    put(config.source, "a.png", encoded(40))
    outputs = RecordingOutputs()
    run(config, Liar(), outputs)
    assert outputs.verdicts == {"a.png": "FAULT"}


@pytest.mark.parametrize(
    "error", [RuntimeError("queue is gone"), MemoryError(), ValueError("\udcff")], ids=type
)
def test_whatever_the_judge_raises_is_a_fault_of_one_part(tmp_path: Path, error: Exception):
    """An exception of the judge is the FAULT of its part; the next part is judged."""
    config = configure(tmp_path)
    for red in (40, 50):
        os.utime(put(config.source, f"{red}.png", encoded(red)), (red, red))
    outputs = RecordingOutputs()
    run(config, TableScorer({40: error}), outputs)
    assert outputs.verdicts == {"40.png": "FAULT", "50.png": "PASS"}
    assert outputs.events[0].reason.startswith(f"{type(error).__name__}: ")


class SlowScorer(TableScorer):
    """Takes 0.3 s of a still clock for every part."""

    def __init__(self, clock: StillClock) -> None:
        super().__init__()
        self.clock = clock

    def judge(self, pixels: Rgb) -> Judgement:
        """Judge after 0.3 s."""
        self.clock.advance(0.3)
        return super().judge(pixels)


@pytest.mark.parametrize(("deadline_ms", "verdict"), [(299, "FAULT"), (301, "PASS")])
def test_late_verdict_is_a_fault(tmp_path: Path, deadline_ms: int, verdict: str):
    """A verdict after the deadline is FAULT and says what it would have been and how late."""
    config = configure(tmp_path, deadline_ms=deadline_ms)
    put(config.source, "a.png", encoded(51))
    clock = StillClock()
    outputs = RecordingOutputs()
    run(config, SlowScorer(clock), outputs, clock)
    (event,) = outputs.events
    assert str(event.verdict) == verdict
    assert event.latency_ms == pytest.approx(300)
    if verdict == "FAULT":
        assert event.score is None
        assert event.reason.startswith(
            "PASS (score 0.2) came after 300 ms; wanted within 299 ms; lighten"
        )


def test_waiting_in_a_backlog_is_not_lateness(tmp_path: Path):
    """Parts that wait for the part before them are not late: only their own time counts."""
    config = configure(tmp_path, deadline_ms=301)
    for number in range(6):
        put(config.source, f"{number}.png", encoded(number))
    clock = StillClock()
    outputs = RecordingOutputs()
    run(config, SlowScorer(clock), outputs, clock)
    assert set(outputs.verdicts.values()) == {"PASS"}
    assert [event.latency_ms for event in outputs.events] == [pytest.approx(300)] * 6


def test_clock_set_back_changes_no_order_and_no_latency(tmp_path: Path):
    """A wall clock that jumps back is recorded as it is; order and latency do not notice."""

    class ClockTurner(TableScorer):
        def judge(self, pixels: Rgb) -> Judgement:
            clock.set_back(3600)
            clock.seconds += 0.01
            return super().judge(pixels)

    config = configure(tmp_path)
    clock = StillClock()
    for second in (1, 2, 3):
        os.utime(put(config.source, f"{second}.png", encoded(second)), (second, second))
    run(config, ClockTurner(), clock=clock)
    events = recorded(config)
    assert [event.part_id for event in events] == ["1", "2", "3"]
    assert events[0].judged_at > events[1].judged_at > events[2].judged_at
    assert all(event.latency_ms >= 0 for event in events)


def test_faults_in_a_row_stop_the_station(tmp_path: Path):
    """The station stops at the limit, with the last reason; every event until then is recorded."""
    config = configure(tmp_path, faults_in_a_row=3)
    for number in range(5):
        os.utime(put(config.source, f"{number}.png", b"no picture"), (number, number))
    outputs = RecordingOutputs()
    with pytest.raises(
        StationError, match=r"3 parts in a row could not be judged, the last '2\.png': 2\.png: not"
    ):
        run(config, emit=outputs)
    assert recorded(config) == outputs.events
    assert len(outputs.events) == 3


def test_a_good_part_between_ends_the_row(tmp_path: Path):
    """Only faults that follow each other count."""
    config = configure(tmp_path, faults_in_a_row=2)
    for number, content in enumerate([b"no", encoded(40), b"no", encoded(40), b"no"]):
        os.utime(put(config.source, f"{number}.png", content), (number, number))
    assert run(config).events == VerdictCounts(passed=2, fault=3)


def test_overlay_shows_the_region(tmp_path: Path):
    """REVIEW and REJECT parts get a PNG named by the event, with the suspicious cell in colour."""
    config = configure(tmp_path)
    put(config.source, "good.png", encoded(40))
    put(config.source, "bad.png", encoded(230, (120, 200)))
    run(config)
    by_part = {event.part_id: event for event in recorded(config)}
    assert by_part["good"].overlay is None
    (path,) = (config.data_dir / "overlays").iterdir()
    assert path.name == by_part["bad"].overlay == f"{by_part['bad'].event_id}.png"
    picture = load_image(path)
    coloured = np.ptp(picture[-288:].astype(int), axis=2) > 60
    rows, columns = np.nonzero(coloured)
    assert 72 - 40 < rows.min() < rows.max() < 144 + 40
    assert 160 - 45 < columns.min() < columns.max() < 240 + 45


def test_overlay_lists_the_verdicts_that_get_one(tmp_path: Path):
    """overlay_for decides which verdicts get a picture."""
    config = configure(tmp_path, overlay_for=["PASS"])
    for red in (40, 230):
        put(config.source, f"{red}.png", encoded(red))
    run(config)
    assert {event.part_id: bool(event.overlay) for event in recorded(config)} == {
        "40": True,
        "230": False,
    }


def test_orphan_overlay_is_overwritten(tmp_path: Path):
    """A picture left by a killed run is replaced when its part is judged again."""
    config = configure(tmp_path)
    put(config.source, "bad.png", encoded(230))
    run(config)
    (path,) = (config.data_dir / "overlays").iterdir()
    content = path.read_bytes()
    path.write_bytes(b"half")
    (config.data_dir / "events.sqlite").unlink()
    run(config)
    assert path.read_bytes() == content


def test_verdict_stands_without_its_picture(tmp_path: Path):
    """An overlay that cannot be written is counted; the verdict is recorded without it."""
    config = configure(tmp_path)
    put(config.source, "bad.png", encoded(230))
    config.data_dir.mkdir()
    (config.data_dir / "overlays").write_bytes(b"a file where the folder should be")
    assert run(config).overlays_lost == 1
    (event,) = recorded(config)
    assert (str(event.verdict), event.overlay) == ("REJECT", None)


def test_watching_goes_on_until_stopped(tmp_path: Path):
    """Without `once` files that come later are judged; the stop flag ends it between two parts."""
    config = configure(tmp_path, once=False)
    stop = Flag()
    put(config.source, "0.png", encoded(0))

    def feed(event: Event) -> None:
        number = int(event.part_id)
        if number == 3:
            stop.set()
        put(config.source, f"{number + 1}.png", encoded(number + 1))

    run_station(config, TableScorer(), feed, stop)
    assert [event.part_id for event in recorded(config)] == ["0", "1", "2", "3"]


def test_stopped_station_leaves_the_rest_for_later(tmp_path: Path):
    """A part that was read ahead when the station stopped is judged by the next run."""
    config = configure(tmp_path)
    for number in range(6):
        os.utime(put(config.source, f"{number}.png", encoded(number)), (number, number))
    stop = Flag()
    run_station(config, TableScorer(), lambda event: stop.set(), stop)
    assert len(recorded(config)) == 1
    run(config)
    assert [event.part_id for event in recorded(config)] == list("012345")


def test_lost_signal_stops_the_station_with_its_event_kept(tmp_path: Path):
    """When a signal cannot leave the error flies; the event is durable and not judged twice."""
    config = configure(tmp_path)
    put(config.source, "a.png", encoded(40))

    def broken(event: Event) -> None:
        raise StationError("stdout is closed")

    with pytest.raises(StationError, match="stdout is closed"):
        run(config, emit=broken)
    judge = TableScorer()
    run(config, judge)
    assert (judge.judged, len(recorded(config))) == ([], 1)


def test_growing_file_is_judged_whole(tmp_path: Path):
    """A file that still grows is judged once, when it is whole, and never as truncated."""
    config = configure(tmp_path, settle_ms=50)
    content = encoded(40, (80, 60), "JPEG")
    path = config.source / "a.jpg"
    pieces = [content[start : start + 50] for start in range(0, len(content), 50)]

    class GrowingClock(StillClock):
        """At every look at the clock 10 ms have gone and a piece was written."""

        def monotonic(self) -> float:
            self.advance(0.01)
            with path.open("ab") as stream:
                stream.write(pieces.pop(0) if pieces else b"")
            return super().monotonic()

    outputs = RecordingOutputs()
    run(config, TableScorer(), outputs, GrowingClock())
    assert (outputs.verdicts, pieces) == ({"a.jpg": "PASS"}, [])
    assert outputs.events[0].source_sha256 == hashlib.sha256(content).hexdigest()


def test_impossible_file_time_does_not_lose_the_part(tmp_path: Path):
    """A modification time before 1970 is recorded as its start; the part is judged."""
    config = configure(tmp_path)
    os.utime(put(config.source, "a.png", encoded(40)), (-1_000_000, -1_000_000))
    run(config)
    (event,) = recorded(config)
    assert (str(event.verdict), event.captured_at) == ("PASS", datetime(1970, 1, 1, tzinfo=UTC))


def test_real_camera_sizes_are_overlaid_in_time(tmp_path: Path):
    """A 4000×3000 part is judged and its overlay written at a size a screen shows."""
    config = configure(tmp_path)
    rough = np.random.default_rng(0).integers(200, 255, (30, 40, 3), np.uint8)
    rough[0, 0] = 230
    large = cv2.resize(rough, (4000, 3000), interpolation=cv2.INTER_NEAREST)
    Image.fromarray(large).save(config.source / "large.jpg")
    run(config, TableScorer(dict.fromkeys(range(200, 256), 0.9)))
    (event,) = recorded(config)
    assert str(event.verdict) == "REJECT"
    assert max(load_image(config.data_dir / "overlays" / str(event.overlay)).shape) == 1280


def test_station_is_refused_while_another_runs(tmp_path: Path):
    """Two stations on one data_dir are refused before anything is judged."""
    config = configure(tmp_path)
    put(config.source, "a.png", encoded(40))
    with Spool(config.data_dir), pytest.raises(StationError, match="another station process"):
        run(config, emit=ignore)
    assert recorded(config) == []
