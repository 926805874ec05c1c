import os
import shutil
from pathlib import Path

import pytest

from inspection.core.errors import FrameRejected, StationError
from inspection.station.part import Stamp
from inspection.station.sources import scan as scan_module
from inspection.station.sources.scan import FolderLost, FolderScan, Found, file_time
from tests.fakes import StillClock
from tests.station.sources.files import put

pytestmark = pytest.mark.fast


def never(source: str) -> Stamp | None:
    """Know no file."""
    return None


def watch(folder: Path, clock: StillClock, settle_s: float = 0) -> FolderScan:
    """Watch PNG and JPEG files."""
    return FolderScan(folder, (".png", ".jpg"), settle_s, clock)


def names(found: list[Found]) -> list[str]:
    """Give the sources."""
    return [file.source for file in found]


def test_oldest_comes_first_then_by_name(tmp_path: Path):
    """Files come by modification time, those of one time by name, sub-folders included."""
    for name, seconds in [("b.png", 50), ("a.png", 50), ("late.png", 90), ("sub/z.JPG", 10)]:
        os.utime(put(tmp_path, name, b"x"), (seconds, seconds))
    scanned = names(watch(tmp_path, StillClock()).look(never))
    assert scanned == ["sub/z.JPG", "a.png", "b.png", "late.png"]


def test_unfinished_hidden_and_other_files_are_left(tmp_path: Path):
    """Hidden names, .partial, .tmp and other suffixes are no parts; only the last are counted."""
    for name in [".a.png", "b.png.partial", "c.tmp", ".d/e.png", "notes.txt", "g.png"]:
        put(tmp_path, name, b"x")
    scan = watch(tmp_path, StillClock())
    assert names(scan.look(never)) == ["g.png"]
    assert scan.ignored == 1


def test_growing_file_waits_until_it_stands_still(tmp_path: Path):
    """A file is ready when size and times did not change for the settle time, not before."""
    clock = StillClock()
    scan = watch(tmp_path, clock, settle_s=0.2)
    path = put(tmp_path, "a.png", b"one")
    assert scan.look(never) == []
    clock.advance(0.15)
    with path.open("ab") as stream:
        stream.write(b"two")
    assert scan.look(never) == []
    clock.advance(0.15)
    assert scan.look(never) == []
    clock.advance(0.05)
    (found,) = scan.look(never)
    assert scan.take(found) == b"onetwo"


def test_an_old_looking_file_is_watched_all_the_same(tmp_path: Path):
    """An old modification time does not prove a file whole: the server's clock may be behind."""
    os.utime(put(tmp_path, "a.png", b"x"), (1, 1))
    assert watch(tmp_path, StillClock(), settle_s=0.2).look(never) == []


def test_file_changed_since_the_scan_is_not_taken(tmp_path: Path):
    """Bytes that are not those the scan saw are left for the next scan."""
    scan = watch(tmp_path, StillClock())
    put(tmp_path, "a.png", b"one")
    (found,) = scan.look(never)
    put(tmp_path, "a.png", b"other")
    assert scan.take(found) is None
    (again,) = scan.look(never)
    assert scan.take(again) == b"other"


def test_copy_that_keeps_its_times_is_seen_as_changed(tmp_path: Path):
    """Another picture of the same size and modification time is found by its change time."""
    scan = watch(tmp_path, StillClock())
    os.utime(put(tmp_path, "a.png", b"one"), (5, 5))
    (found,) = scan.look(never)
    scan.done(found)
    assert scan.look(never) == []
    other = put(tmp_path, ".other", b"two")
    os.utime(other, (5, 5))
    shutil.copy2(other, tmp_path / "a.png")
    (again,) = scan.look(never)
    assert scan.take(again) == b"two"


def test_vanished_file_is_counted_once(tmp_path: Path):
    """A file removed before it was judged is counted; one removed afterwards is not."""
    scan = watch(tmp_path, StillClock())
    paths = [put(tmp_path, name, b"x") for name in ("a.png", "b.png")]
    first, second = scan.look(never)
    scan.done(first)
    for path in paths:
        path.unlink()
    assert scan.take(second) is None
    assert scan.look(never) == []
    scan.look(never)
    assert (scan.vanished, scan.waiting) == (1, 0)


def test_recorded_stamp_spares_the_reading(tmp_path: Path):
    """A file that stands unchanged under its recorded stamp is not ready, and is asked for once."""
    asked = []
    path = put(tmp_path, "a.png", b"x")
    status = path.stat()

    def recorded(source: str) -> Stamp:
        asked.append(source)
        return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    scan = watch(tmp_path, StillClock())
    assert scan.look(recorded) == []
    assert scan.look(recorded) == []
    assert asked == ["a.png"]


def test_name_that_is_no_text_is_escaped(tmp_path: Path):
    """A file name with bytes that are no UTF-8 gets a readable source and can be read."""
    put(tmp_path, os.fsdecode(b"a\xff.png"), b"x")
    scan = watch(tmp_path, StillClock())
    (found,) = scan.look(never)
    assert found.source == r"a\xff.png"
    assert scan.take(found) == b"x"


def test_linked_folder_does_not_lead_in_circles(tmp_path: Path):
    """Links to folders are not followed; links to files are parts."""
    put(tmp_path, "sub/a.png", b"x")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "b.png").symlink_to(tmp_path / "sub" / "a.png")
    assert sorted(names(watch(tmp_path, StillClock()).look(never))) == ["b.png", "sub/a.png"]


def test_monstrous_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file larger than any part is refused by its size."""
    monkeypatch.setattr(scan_module, "MAX_BYTES", 4)
    put(tmp_path, "a.png", b"12345")
    scan = watch(tmp_path, StillClock())
    (found,) = scan.look(never)
    with pytest.raises(FrameRejected, match=r"a\.png: file has 5 bytes; wanted at most 4; check"):
        scan.take(found)


def test_missing_folder_is_refused(tmp_path: Path):
    """A source that is no folder is refused by name."""
    with pytest.raises(StationError, match=r"'.*/gone' is no folder; make it"):
        watch(tmp_path / "gone", StillClock())


def test_folder_lost_while_watching_is_loud(tmp_path: Path):
    """An unmounted source is an error, never an empty folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    scan = watch(folder, StillClock())
    folder.rmdir()
    with pytest.raises(FolderLost, match=r"'.*/in' cannot be read \(No such file.*mount it"):
        scan.look(never)


def test_arrival_is_when_a_file_was_first_seen(tmp_path: Path):
    """A file arrives when it is first seen, however long it grows; those of the start never did."""
    clock = StillClock()
    put(tmp_path, "before.png", b"x")
    scan = watch(tmp_path, clock, settle_s=0.2)
    scan.look(never)
    clock.advance(1)
    seen_s = clock.seconds
    path = put(tmp_path, "after.png", b"x")
    scan.look(never)
    assert scan.unsettled == ("after.png",)
    clock.advance(0.1)
    path.write_bytes(b"xy")
    scan.look(never)
    clock.advance(0.2)
    arrivals = {found.source: found.arrived_s for found in scan.look(never)}
    assert arrivals == {"before.png": None, "after.png": seen_s}


@pytest.mark.parametrize(
    ("mtime_ns", "year"), [(-5, 1970), (1_700_000_000_000_000_000, 2023), (10**21, 9999)]
)
def test_impossible_times_are_bounded(mtime_ns: int, year: int):
    """A file system's nonsense is still a time."""
    assert file_time(mtime_ns).year == year
