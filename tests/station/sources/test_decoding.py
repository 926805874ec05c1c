"""FAULT comes at the deadline whatever a decoder does, and a decoder that never comes back ends."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event as Flag

import numpy as np
import pytest

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import decode_image
from inspection.core.limits import MAX_BROKEN_BYTES
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.part import Intake, Part
from inspection.station.sources import decoding
from inspection.station.sources.decoding import LOST_S, MAX_LEFT, Decoders
from inspection.station.sources.folder import FolderSource
from inspection.station.sources.settings import FolderSettings
from tests.fakes import StillClock
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

pytestmark = pytest.mark.fast

LATE = "not decoded within the deadline; lighten the machine's load, send smaller pictures or raise"
BUSY = f"{MAX_LEFT} pictures are still being decoded beyond their deadline; look at what the camera"


@pytest.fixture(name="stuck")
def _stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Flag]:
    """Give a flag until which no picture whose name begins with `stuck` is decoded."""
    back = Flag()

    def decode(content: bytes, name: str) -> np.ndarray:
        if name.startswith("stuck"):
            back.wait()
        return decode_image(content, name)

    monkeypatch.setattr(decoding, "decode_image", decode)
    yield back
    back.set()


def leave_all_behind(decoders: Decoders) -> None:
    """Leave as many threads behind as may be."""
    for number in range(MAX_LEFT):
        with pytest.raises(ImageError, match=rf"^stuck {number}: {LATE}"):
            decoders.decode(encoded(1), f"stuck {number}", None)


def test_decoder_is_left_behind_at_the_deadline(stuck: Flag):
    """A picture whose decoder does not come back is given up; those after it are decoded."""
    with closing(Decoders(0.05, SYSTEM_CLOCK)) as decoders:
        with pytest.raises(ImageError, match=f"^stuck: {LATE}"):
            decoders.decode(encoded(1), "stuck", None)
        assert not stuck.is_set()
        assert decoders.state == ""
    with closing(Decoders(60, SYSTEM_CLOCK)) as decoders:
        assert decoders.decode(encoded(7), "next", None)[0, 0, 0] == 7


def test_deadline_counts_from_the_parts_arrival(stuck: Flag):
    """A picture that waited has less time left, and one that waited too long none."""
    clock = StillClock()
    with closing(Decoders(600, clock)) as decoders:
        arrived_s = clock.monotonic()
        clock.advance(599.9)
        with pytest.raises(ImageError, match=LATE):
            decoders.decode(encoded(1), "stuck", arrived_s)
        clock.advance(0.1)
        with pytest.raises(ImageError, match=r"^a: waited beyond the deadline before it could"):
            decoders.decode(encoded(1), "a", arrived_s)


def test_without_a_free_decoder_pictures_are_given_up_at_once(stuck: Flag):
    """No picture waits for threads that were left behind; when they come back, all is well."""
    with closing(Decoders(0.02, SYSTEM_CLOCK)) as quick:
        leave_all_behind(quick)
        quick._deadline_s = None  # now whoever waited would wait for ever
        with pytest.raises(ImageError, match=f"^a: not decoded: {BUSY}"):
            quick.decode(encoded(1), "a", None)
        stuck.set()
        eventually(lambda: quick.state == "")
        assert quick.decode(encoded(9), "a", None)[0, 0, 0] == 9
        quick.require()


def test_decoders_that_never_come_back_end_the_station(stuck: Flag):
    """A new process has new threads; one that is merely slow is waited for."""
    clock = StillClock()
    with closing(Decoders(0.02, clock)) as decoders:
        leave_all_behind(decoders)
        clock.advance(LOST_S)
        decoders.require()
        clock.advance(0.1)
        with pytest.raises(StationError, match=f"{MAX_LEFT} decoders have not come back"):
            decoders.require()


def watching(folder: Path, deadline_s: float, clock: Clock = SYSTEM_CLOCK, **how) -> FolderSource:
    """Watch a folder for a station with a deadline."""
    values = {"path": folder, "settle_ms": 0, "poll_ms": 1} | how
    settings, nothing = FolderSettings.model_validate(values), RecordedNothing()
    return FolderSource(settings, lambda _: ("main",), lambda: nothing, clock, "", deadline_s)


def handed_in(folder: Path, deadline_s: float) -> list[Part]:
    """Run once over a folder."""
    intake = Intake(100)
    watching(folder, deadline_s, once=True).run(intake, Flag())
    return drained(intake)


def test_part_of_a_stuck_decoder_is_handed_in_with_its_bytes(tmp_path: Path, stuck: Flag):
    """Its FAULT has hash and stamp, so that no later process takes the file up again."""
    put(tmp_path, "stuck.png", encoded(1))
    put(tmp_path, "well.png", encoded(2))
    late, well = sorted(handed_in(tmp_path, 0.1), key=lambda part: part.part_id)
    assert not stuck.is_set()
    assert reason(late).startswith(f"stuck.png: {LATE}")
    assert (late.frames[0].encoded, len(late.stamps)) == (encoded(1), 1)
    assert red(well) == 2


def test_station_says_that_no_decoder_is_free_and_ends(tmp_path: Path, stuck: Flag):
    """Its state says so, parts are faults at once, and in the end a person is called."""
    clock, intake = StillClock(), Intake(100)
    with running(watching(tmp_path, 0.05, clock), intake) as raised:
        for number in range(MAX_LEFT):
            put(tmp_path, f"stuck {number}.png", encoded(number))
            assert LATE in reason(next_part(intake))
        put(tmp_path, "well.png", encoded(9))
        assert BUSY in reason(next_part(intake))
        assert intake.source_state.startswith(BUSY)
        clock.advance(LOST_S + 1)
        eventually(lambda: raised)
    (error,) = raised
    assert isinstance(error, StationError)
    assert "decoders have not come back" in str(error)


def test_large_file_that_is_no_picture_is_not_kept(tmp_path: Path):
    """A sparse file of many megabytes is a fault, and takes no memory while its part waits."""
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(MAX_BROKEN_BYTES + 1)
    (tmp_path / "b.png").write_bytes(b"x")
    large, small = sorted(handed_in(tmp_path, 60), key=lambda part: part.part_id)
    assert "not an image file" in reason(large)
    assert (large.frames[0].encoded, len(large.frames[0].sha256)) == (None, 64)
    assert small.frames[0].encoded == b"x"


def test_only_plain_files_of_the_folder_are_read(tmp_path: Path):
    """Folders, FIFOs and links with the name of a picture are passed over; none holds anybody up.

    A link may lead to whatever this user may read.
    """
    watched = tmp_path / "in"
    (watched / "folder.png").mkdir(parents=True)
    os.mkfifo(watched / "fifo.png")
    (tmp_path / "outside.png").write_bytes(encoded(1))
    (watched / "link.png").symlink_to(tmp_path / "outside.png")
    put(watched, "well.png", encoded(3))
    assert [part.part_id for part in handed_in(watched, 60)] == ["well"]


@pytest.mark.parametrize(
    "other", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/passwd")]
)
def test_file_replaced_since_the_look_is_not_read(tmp_path: Path, other):
    """What stands in a file's place when it is to be read is no part, and is not waited for."""
    source = watching(tmp_path, 60, once=True)
    path = put(tmp_path, "a.png", encoded(1))
    (found,) = source._scan.look(lambda _: None)
    path.unlink()
    other(path)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(source._scan.take, found).result(20) is None
