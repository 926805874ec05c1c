import os
import shutil
from pathlib import Path

import pytest

from inspection.core.errors import FrameRejected, StationError
from inspection.station import source as source_module
from inspection.station.source import FolderSource, Found, Stamp
from tests.fakes import StillClock
from tests.station.parts import put

pytestmark = pytest.mark.fast


def never(source: str) -> Stamp | None:
    """Know no file."""
    return None


def watch(folder: Path, clock: StillClock, settle_s: float = 0) -> FolderSource:
    """Watch PNG and JPEG files."""
    return FolderSource(folder, (".png", ".jpg"), settle_s, clock)


def names(found: list[Found]) -> list[str]:
    """Give the sources."""
    return [file.source for file in found]


def test_oldest_comes_first_then_by_name(tmp_path: Path):
    """Files come by modification time, those of one time by name, sub-folders included."""
    for name, seconds in [("b.png", 50), ("a.png", 50), ("late.png", 90), ("sub/z.JPG", 10)]:
        os.utime(put(tmp_path, name, b"x"), (seconds, seconds))
    scanned = names(watch(tmp_path, StillClock()).scan(never))
    assert scanned == ["sub/z.JPG", "a.png", "b.png", "late.png"]


def test_unfinished_hidden_and_other_files_are_left(tmp_path: Path):
    """Hidden names, .partial, .tmp and other suffixes are no parts; only the last are counted."""
    for name in [".a.png", "b.png.partial", "c.tmp", ".d/e.png", "notes.txt", "g.png"]:
        put(tmp_path, name, b"x")
    source = watch(tmp_path, StillClock())
    assert names(source.scan(never)) == ["g.png"]
    assert source.ignored == 1


def test_growing_file_waits_until_it_stands_still(tmp_path: Path):
    """A file is ready when size and times did not change for the settle time, not before."""
    clock = StillClock()
    source = watch(tmp_path, clock, settle_s=0.2)
    path = put(tmp_path, "a.png", b"one")
    assert source.scan(never) == []
    clock.advance(0.15)
    with path.open("ab") as stream:
        stream.write(b"two")
    assert source.scan(never) == []
    clock.advance(0.15)
    assert source.scan(never) == []
    clock.advance(0.05)
    (found,) = source.scan(never)
    assert source.take(found) == b"onetwo"


def test_an_old_looking_file_is_watched_all_the_same(tmp_path: Path):
    """An old modification time does not prove a file whole: the server's clock may be behind."""
    os.utime(put(tmp_path, "a.png", b"x"), (1, 1))
    assert watch(tmp_path, StillClock(), settle_s=0.2).scan(never) == []


def test_file_changed_since_the_scan_is_not_taken(tmp_path: Path):
    """Bytes that are not those the scan saw are left for the next scan."""
    source = watch(tmp_path, StillClock())
    put(tmp_path, "a.png", b"one")
    (found,) = source.scan(never)
    put(tmp_path, "a.png", b"other")
    assert source.take(found) is None
    (again,) = source.scan(never)
    assert source.take(again) == b"other"


def test_copy_that_keeps_its_times_is_seen_as_changed(tmp_path: Path):
    """Another picture of the same size and modification time is found by its change time."""
    source = watch(tmp_path, StillClock())
    os.utime(put(tmp_path, "a.png", b"one"), (5, 5))
    (found,) = source.scan(never)
    source.done(found)
    assert source.scan(never) == []
    other = put(tmp_path, ".other", b"two")
    os.utime(other, (5, 5))
    shutil.copy2(other, tmp_path / "a.png")
    (again,) = source.scan(never)
    assert source.take(again) == b"two"


def test_vanished_file_is_counted_once(tmp_path: Path):
    """A file removed before it was judged is counted; one removed afterwards is not."""
    source = watch(tmp_path, StillClock())
    paths = [put(tmp_path, name, b"x") for name in ("a.png", "b.png")]
    first, second = source.scan(never)
    source.done(first)
    for path in paths:
        path.unlink()
    assert source.take(second) is None
    assert source.scan(never) == []
    source.scan(never)
    assert (source.vanished, source.waiting) == (1, 0)


def test_recorded_stamp_spares_the_reading(tmp_path: Path):
    """A file that stands unchanged under its recorded stamp is not ready, and is asked for once."""
    asked = []
    path = put(tmp_path, "a.png", b"x")
    status = path.stat()

    def recorded(source: str) -> Stamp:
        asked.append(source)
        return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    source = watch(tmp_path, StillClock())
    assert source.scan(recorded) == []
    assert source.scan(recorded) == []
    assert asked == ["a.png"]


def test_name_that_is_no_text_is_escaped(tmp_path: Path):
    """A file name with bytes that are no UTF-8 gets a readable source and can be read."""
    put(tmp_path, os.fsdecode(b"a\xff.png"), b"x")
    source = watch(tmp_path, StillClock())
    (found,) = source.scan(never)
    assert found.source == r"a\xff.png"
    assert source.take(found) == b"x"


def test_linked_folder_does_not_lead_in_circles(tmp_path: Path):
    """Links to folders are not followed; links to files are parts."""
    put(tmp_path, "sub/a.png", b"x")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "b.png").symlink_to(tmp_path / "sub" / "a.png")
    assert sorted(names(watch(tmp_path, StillClock()).scan(never))) == ["b.png", "sub/a.png"]


def test_monstrous_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file larger than any part is refused by its size."""
    monkeypatch.setattr(source_module, "MAX_BYTES", 4)
    put(tmp_path, "a.png", b"12345")
    source = watch(tmp_path, StillClock())
    (found,) = source.scan(never)
    with pytest.raises(FrameRejected, match=r"a\.png: file has 5 bytes; wanted at most 4; check"):
        source.take(found)


def test_missing_folder_is_refused(tmp_path: Path):
    """A source that is no folder is refused by name."""
    with pytest.raises(StationError, match=r"'.*/gone' is no folder; make it"):
        watch(tmp_path / "gone", StillClock())


def test_folder_lost_while_watching_is_loud(tmp_path: Path):
    """An unmounted source is an error, never an empty folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    source = watch(folder, StillClock())
    folder.rmdir()
    with pytest.raises(StationError, match=r"'.*/in' cannot be read \(No such file.*mount it"):
        source.scan(never)
