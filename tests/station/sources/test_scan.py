import errno
import os
import shutil
from pathlib import Path

import pytest

from inspection.core.errors import FrameRejected
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


def test_links_are_neither_parts_nor_ways(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A link may lead to any file of this user, or to itself: ignored, and said once."""
    put(tmp_path, "sub/a.png", b"x")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "b.png").symlink_to(tmp_path / "sub" / "a.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "nowhere.png").symlink_to("gone")
    scan = watch(tmp_path, StillClock())
    for _ in range(3):
        assert names(scan.look(never)) == ["sub/a.png"]
    assert scan.ignored == 4
    assert [record.message for record in caplog.records] == ["skipped in the folder"] * 4
    assert {Path(record.path).name for record in caplog.records} == {
        "up",
        "b.png",
        "loop.png",
        "nowhere.png",
    }


def test_file_turned_link_is_not_read(tmp_path: Path):
    """A link put in a file's place between look and reading leads nowhere, either."""
    secret = put(tmp_path, ".secret", b"secret")
    path = put(tmp_path, "a.png", b"x")
    scan = watch(tmp_path, StillClock())
    (found,) = scan.look(never)
    path.unlink()
    path.symlink_to(secret)
    assert scan.take(found) is None


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let the system refuse to list the folder of a name."""
    listing = os.scandir

    def scandir(path: str):
        if Path(path).name == name:
            raise OSError(number, os.strerror(number), path)
        return listing(path)

    monkeypatch.setattr(scan_module.os, "scandir", scandir)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP])
def test_forbidden_sub_folder_blinds_nobody(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    number: int,
):
    """The lost+found of a mounted disk is nobody's to read; the parts beside it are judged."""
    (tmp_path / "lost+found").mkdir()
    put(tmp_path, "a.png", b"x")
    refusing(monkeypatch, "lost+found", number)
    scan = watch(tmp_path, StillClock())
    for _ in range(3):
        assert names(scan.look(never)) == ["a.png"]
    (record,) = caplog.records
    assert record.path.endswith("lost+found")


def test_forbidden_root_is_loud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A watched folder this user may list but not search shows names only: no part is seen."""
    put(tmp_path, "a.png", b"x")

    def forbidden(status: os.stat_result) -> Stamp:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(scan_module, "_stamp", forbidden)
    monkeypatch.setattr(scan_module.os, "access", lambda path, mode: False)
    with pytest.raises(FolderLost, match=r"cannot be read \(Permission denied\)"):
        watch(tmp_path, StillClock()).look(never)


def test_dying_share_is_a_lost_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A share that lists but fails on its files or sub-folders may come back: waited for."""
    put(tmp_path, "a.png", b"x")
    put(tmp_path, "sub/b.png", b"x")
    scan = watch(tmp_path, StillClock())

    def dying(status: os.stat_result) -> Stamp:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(scan_module, "_stamp", dying)
        with pytest.raises(FolderLost, match=r"a\.png' cannot be read \(Input/output error\)"):
            scan.look(never)
    with monkeypatch.context() as patch:
        refusing(patch, "sub", errno.EHOSTDOWN)
        with pytest.raises(FolderLost, match="sub' cannot be read"):
            scan.look(never)
    assert sorted(names(scan.look(never))) == ["a.png", "sub/b.png"]


def test_rewritten_file_is_told_from_a_changed_inode(tmp_path: Path):
    """A later modification time is a new writing; chmod and link change the ctime only."""
    scan = watch(tmp_path, StillClock())
    path = put(tmp_path, "a.png", b"x")
    (found,) = scan.look(never)
    assert not found.rewritten
    scan.done(found)
    path.chmod(0o600)
    (found,) = scan.look(never)
    assert not found.rewritten
    scan.done(found)
    os.utime(path, (5, 5))
    (found,) = scan.look(never)
    assert found.rewritten
    scan.done(found)
    path.chmod(0o644)
    (found,) = scan.look(never)
    assert found.rewritten  # still what the second writing left, so still its identity


def test_file_gone_and_back_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever takes pictures away hides no frozen camera; only so many gone names are known."""
    monkeypatch.setattr(scan_module, "GONE_KNOWN", 1)
    scan = watch(tmp_path, StillClock())
    for name in ("a.png", "b.png"):
        os.utime(put(tmp_path, name, b"x"), (5, 5))
    for found in scan.look(never):
        scan.done(found)
    for name in ("a.png", "b.png"):
        (tmp_path / name).unlink()
    assert scan.look(never) == []
    for name in ("a.png", "b.png"):
        os.utime(put(tmp_path, name, b"x"), (6, 6))
    assert [found.rewritten for found in scan.look(never)] == [False, True]


def test_monstrous_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file larger than any part is refused by its size."""
    monkeypatch.setattr(scan_module, "MAX_PICTURE_BYTES", 4)
    put(tmp_path, "a.png", b"12345")
    scan = watch(tmp_path, StillClock())
    (found,) = scan.look(never)
    with pytest.raises(FrameRejected, match=r"a\.png: file has 5 bytes; wanted at most 4; check"):
        scan.take(found)


def test_missing_folder_is_lost_by_name(tmp_path: Path):
    """A source that is no folder, or a file, may become one: its name and the remedy are said."""
    put(tmp_path, "file", b"x")
    for name in ("gone", "file"):
        with pytest.raises(FolderLost, match=rf"'.*/{name}' is no folder; make it, mount it or"):
            watch(tmp_path / name, StillClock()).look(never)


def test_folder_lost_while_watching_is_loud(tmp_path: Path):
    """An unmounted source is an error, never an empty folder."""
    folder = tmp_path / "in"
    folder.mkdir()
    scan = watch(folder, StillClock())
    folder.rmdir()
    with pytest.raises(FolderLost, match=r"'.*/in' is no folder; make it, mount it or"):
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
