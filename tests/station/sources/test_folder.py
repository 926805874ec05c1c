import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

import pytest

from inspection.core.errors import SpoolFull, StationError
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.part import Fault, Intake, Part, Stamp
from inspection.station.sources import decoding
from inspection.station.sources import folder as folder_module
from inspection.station.sources.folder import FolderSource
from inspection.station.sources.scan import FolderScan
from inspection.station.sources.settings import FolderSettings
from tests.station.sources.files import (
    RecordedNothing,
    drained,
    encoded,
    eventually,
    next_part,
    put,
    reason,
    red,
    running,
)

TWO_CAMERAS = r"(?P<part>\d+)-(?P<camera>\w+)"


def source(
    folder: Path,
    record: RecordedNothing | None = None,
    cameras: tuple[str, ...] = ("main",),
    clock: Clock = SYSTEM_CLOCK,
    **changes: object,
) -> FolderSource:
    """Watch a folder whose files are whole at first sight; product `default` has cameras."""
    values = {"path": folder, "settle_ms": 0, "poll_ms": 1, "once": True}
    settings = FolderSettings.model_validate(values | changes)
    known = {"default": cameras}
    opened = record or RecordedNothing()
    return FolderSource(settings, lambda product: known.get(product, ()), lambda: opened, clock)


def handed_in(folder: Path, record: RecordedNothing | None = None, **changes: object) -> list[Part]:
    """Run once over a folder."""
    intake = Intake(1_000)
    source(folder, record, **changes).run(intake, Flag())
    return drained(intake)


@pytest.mark.fast
def test_part_says_everything(tmp_path: Path):
    """A part carries identity, pixels, bytes, times and stamps of its file."""
    content = encoded(204)
    path = put(tmp_path, "shift 1/part.7.png", content)
    os.utime(path, (1_000, 1_000))
    (part,) = handed_in(tmp_path)
    sha256 = hashlib.sha256(content).hexdigest()
    assert (
        part.event_id == hashlib.sha256(f"\nshift 1/part.7.png\n{sha256}".encode()).hexdigest()[:32]
    )
    assert (part.part_id, part.product, part.arrived_s) == ("part.7", "default", None)
    assert part.captured_at == datetime(1970, 1, 1, 0, 16, 40, tzinfo=UTC)
    (frame,) = part.frames
    assert (frame.camera, frame.source) == ("main", "shift 1/part.7.png")
    assert (frame.encoded, frame.sha256) == (content, sha256)
    assert frame.pixels.shape == (12, 20, 3)
    assert red(part) == 204
    ((name, stamp),) = part.stamps
    assert (name, stamp.size, stamp.mtime_ns) == (frame.source, len(content), 10**12)


@pytest.mark.fast
def test_recorded_files_are_not_handed_in_again(tmp_path: Path):
    """After a restart a file under its recorded stamp is left, and a touched one comes again."""
    record = RecordedNothing()
    for name in ("a.png", "b.png"):
        put(tmp_path, name, encoded(40))
    first = handed_in(tmp_path, record)
    for part in first:
        record.note(part)
    assert handed_in(tmp_path, record) == []
    os.utime(tmp_path / "a.png", (7, 7))
    (again,) = handed_in(tmp_path, record)
    assert again.event_id in {part.event_id for part in first}
    assert record.closed == 3


@pytest.mark.fast
def test_unreadable_picture_is_a_fault_with_its_stamp(tmp_path: Path):
    """Bytes that are no picture are handed in once: their content is known."""
    put(tmp_path, "a.png", b"good part, I swear\n")
    (part,) = handed_in(tmp_path)
    assert "not an image file" in reason(part)
    assert part.frames[0].encoded == b"good part, I swear\n"
    assert len(part.stamps) == 1


@pytest.mark.fast
def test_file_that_cannot_be_read_is_a_fault_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file the system does not hand out leaves no stamp, so a restart tries it again."""
    put(tmp_path, "a.png", encoded(40))

    def locked(scan, found):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(FolderScan, "take", locked)
        (first,), (second,) = handed_in(tmp_path), handed_in(tmp_path)
    assert reason(first) == "PermissionError: [Errno 13] Permission denied"
    assert (first.stamps, first.event_id) == ((), second.event_id)
    (whole,) = handed_in(tmp_path)
    assert whole.event_id != first.event_id


@pytest.mark.fast
def test_name_that_tells_no_part_is_a_fault(tmp_path: Path):
    """A file name that does not match is judged as its own part, FAULT, with its bytes kept."""
    put(tmp_path, "what is this.png", encoded(40))
    (part,) = handed_in(tmp_path, name_pattern=TWO_CAMERAS)
    assert (part.part_id, part.frames[0].camera) == ("what is this", "main")
    assert "'what is this.png' does not match '(?P<part>" in reason(part)
    assert part.frames[0].sha256
    assert part.stamps[0][0] == "what is this.png"


@pytest.mark.fast
def test_several_cameras_make_one_part(tmp_path: Path):
    """The pictures of one part come together, under an identity of all of them."""
    for name, value in [("7-right.png", 30), ("7-left.png", 20), ("8-left.png", 20)]:
        put(tmp_path, name, encoded(value))
    cameras = ("left", "right")
    eight, seven = sorted(
        handed_in(tmp_path, cameras=cameras, name_pattern=TWO_CAMERAS, together_ms=1),
        key=lambda part: part.part_id,
        reverse=True,
    )
    assert [red(seven, at) for at in (0, 1)] == [20, 30]
    assert [frame.camera for frame in seven.frames] == ["left", "right"]
    assert len(seven.stamps) == 2
    text = "\n".join(f"{frame.camera}\n{frame.source}\n{frame.sha256}" for frame in seven.frames)
    assert seven.event_id == hashlib.sha256(f"\n{text}".encode()).hexdigest()[:32]
    assert reason(eight, 1).startswith("camera 'right' gave no picture; wanted it within 1 ms")
    assert [name for name, _ in eight.stamps] == ["8-left.png"]


@pytest.mark.fast
def test_growing_folder_of_once_is_judged_to_its_end(tmp_path: Path):
    """`once` ends when everything that lay there is handed in, unsettled files included."""
    put(tmp_path, "a.png", encoded(40))
    assert len(handed_in(tmp_path, settle_ms=20)) == 1


@pytest.mark.fast
def test_missing_folder_is_seen_at_once(tmp_path: Path):
    """A typo in the folder's name ends a single run before it starts."""
    with pytest.raises(StationError, match="is no folder; make it, mount it or correct `source`"):
        source(tmp_path / "gone")


@pytest.mark.fast
def test_folder_lost_once_is_an_error(tmp_path: Path):
    """A single run over a folder that cannot be read does not wait for it."""
    folder = tmp_path / "in"
    folder.mkdir()
    watched = source(folder)
    folder.rmdir()
    with pytest.raises(StationError, match="mount it"):
        watched.run(Intake(1), Flag())


def test_lost_folder_is_told_and_comes_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An unmounted folder is the source's state while it lasts; its parts come when it is back."""
    monkeypatch.setattr(folder_module, "RETRY_S", 0.01)
    folder = tmp_path / "in"
    folder.mkdir()
    intake = Intake(10)
    with running(source(folder, once=False), intake) as raised:
        put(folder, "a.png", encoded(1))
        assert red(next_part(intake)) == 1
        folder.rename(tmp_path / "away")
        eventually(lambda: "is no folder; make it, mount it" in intake.source_state)
        put(tmp_path / "away", "b.png", encoded(2))
        (tmp_path / "away").rename(folder)
        reds = [red(next_part(intake))]
        if reds == [1]:  # seen gone before the folder was: the record would know it, this one not
            reds = [red(next_part(intake))]
        assert reds == [2]
        eventually(lambda: intake.source_state == "")
    assert raised == []


def test_folder_that_is_mounted_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After a power cut the station may be up before its share; what lies there has no deadline."""
    monkeypatch.setattr(folder_module, "RETRY_S", 0.01)
    folder = tmp_path / "in"
    intake = Intake(10)
    with running(source(folder, once=False), intake) as raised:
        eventually(lambda: "in' is no folder; make it, mount it" in intake.source_state)
        put(tmp_path / "share", "a.png", encoded(1))
        (tmp_path / "share").rename(folder)
        part = next_part(intake)
        assert (red(part), part.arrived_s) == (1, None)
        eventually(lambda: intake.source_state == "")
    assert raised == []


@pytest.mark.parametrize("once", [False, True])
def test_record_on_a_full_disk_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool
):
    """The source waits as the loop does while the record gives nothing; no file is passed over."""
    monkeypatch.setattr(folder_module, "RETRY_S", 0.01)

    class Full(RecordedNothing):
        full = True

        def stamp_of(self, source):
            if self.full:
                raise SpoolFull("disk is full")
            return super().stamp_of(source)

    record, intake = Full(), Intake(10)
    put(tmp_path, "a.png", encoded(1))
    with running(source(tmp_path, record, once=once), intake) as raised:
        eventually(lambda: "disk is full; the station goes on by itself" in intake.source_state)
        record.full = False
        assert red(next_part(intake)) == 1
    assert (raised, intake.source_state) == ([], "")


def test_frozen_camera_that_overwrites_one_file_is_seen(tmp_path: Path):
    """Each writing of one path is a part, the same bytes too: the loop's guard says they froze."""
    intake, content = Intake(10), encoded(1)
    with running(source(tmp_path, once=False), intake):
        parts = []
        for _ in range(3):
            put(tmp_path, "current.png", content)
            parts.append(next_part(intake))
        (tmp_path / "current.png").chmod(0o600)
        again = next_part(intake)
    assert len({part.event_id for part in parts}) == 3
    assert {part.frames[0].sha256 for part in parts} == {hashlib.sha256(content).hexdigest()}
    assert again.event_id == parts[-1].event_id  # nobody wrote it: its event is there


def test_deadline_runs_from_the_arrival_of_new_files_only(tmp_path: Path):
    """Files of the start have no arrival; later ones have the time they were first seen."""
    put(tmp_path, "before.png", encoded(1))
    intake = Intake(10)
    before_s = SYSTEM_CLOCK.monotonic()
    with running(source(tmp_path, once=False), intake):
        assert next_part(intake).arrived_s is None
        put(tmp_path, "after.png", encoded(2))
        part = next_part(intake)
        assert before_s <= part.arrived_s <= SYSTEM_CLOCK.monotonic()


def test_pictures_in_memory_stay_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While the loop stands, no more is decoded than the intake's limit and the few ahead."""
    decoded = []

    def count(encoded_bytes, name):
        decoded.append(name)
        return Fault(name)

    monkeypatch.setattr(decoding, "decode_image", count)
    for number in range(20):
        put(tmp_path, f"{number}.png", encoded(number))
    intake = Intake(3)
    most = 3 + 1 + folder_module.READ_AHEAD
    with running(source(tmp_path, once=False), intake):
        eventually(lambda: len(decoded) == most)
        for taken in range(1, 21):
            next_part(intake)
            assert len(decoded) <= most + taken
    assert sorted(decoded) == sorted(f"{number}.png" for number in range(20))


def test_stop_is_heard_while_the_intake_is_full(tmp_path: Path):
    """A station that stops is not held up by parts that find no room; they come after a restart."""
    for number in range(4):
        put(tmp_path, f"{number}.png", encoded(number))
    intake = Intake(1)
    with running(source(tmp_path, once=False), intake):
        eventually(lambda: len(intake) == 1)
    assert len(drained(intake)) == 1


def test_same_path_with_new_bytes_is_another_part(tmp_path: Path):
    """A path written again, while the station runs, is handed in again, and once each time."""
    intake = Intake(10)
    with running(source(tmp_path, once=False), intake):
        ids = set()
        for value in (1, 2, 3):
            put(tmp_path, "a.png", encoded(value))
            part = next_part(intake)
            assert red(part) == value
            ids.add(part.event_id)
    assert len(ids) == 3
    assert drained(intake) == []


def test_trouble_with_the_record_ends_the_run_loudly(tmp_path: Path):
    """What is nobody's FAULT comes out of the source, never a folder that looks empty."""

    class Broken(RecordedNothing):
        def stamp_of(self, source):
            raise StationError("record is damaged")

    put(tmp_path, "a.png", encoded(1))
    record = Broken()
    with pytest.raises(StationError, match="record is damaged"):
        handed_in(tmp_path, record)
    assert record.closed == 1


def test_record_is_told_which_of_its_files_are_gone(tmp_path: Path):
    """Files removed while the station was off or ran go with the next part; those there stay."""
    record, intake = RecordedNothing(), Intake(10)
    record.stamps = {"old.png": Stamp(1, 2, 3)}
    put(tmp_path, "a.png", encoded(1))
    with running(source(tmp_path, record, once=False), intake):
        first = next_part(intake)
        (tmp_path / "a.png").unlink()
        put(tmp_path, "b.png", encoded(2))
        second = next_part(intake)
        put(tmp_path, "c.png", encoded(3))
        third = next_part(intake)
    assert [first.gone, second.gone, third.gone] == [("old.png",), ("a.png",), ()]


def test_folder_whose_files_all_left_forgets_nothing_yet(tmp_path: Path):
    """Nothing is there to say that the folder is the right one; the next file says it."""
    record, intake = RecordedNothing(), Intake(10)
    put(tmp_path, "a.png", encoded(1))
    with running(source(tmp_path, record, once=False), intake):
        record.note(next_part(intake))
    (tmp_path / "a.png").unlink()
    assert handed_in(tmp_path, record) == []
    put(tmp_path, "b.png", encoded(2))
    (part,) = handed_in(tmp_path, record)
    assert part.gone == ("a.png",)
