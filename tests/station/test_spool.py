import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.core.errors import SpoolFull, StationError
from inspection.core.records import Event
from inspection.station.part import Stamp
from inspection.station.schema import MIGRATIONS
from inspection.station.spool import EVENTS_DROPPED, DeskReader, Spool, SpoolReader
from tests.station.events import event

pytestmark = pytest.mark.fast

STAMP = Stamp(123, 1_700_000_000_123_456_789, 1_700_000_000_987_654_321)
STAMPS = (("sub/a.png", STAMP),)


def fill(spool: Spool, count: int) -> list[Event]:
    """Append events one to `count`."""
    events = [event(number) for number in range(1, count + 1)]
    for one in events:
        spool.append(one)
    return events


def fill_up(spool: Spool) -> None:
    """Append events until there is no room; fail when there always is."""
    while spool.next_sequence < 100:
        spool.append(event(spool.next_sequence))


def test_event_comes_back_whole(tmp_path: Path):
    """Every field of an event, and the stamp of its file, survive closing and opening."""
    with Spool(tmp_path) as spool:
        spool.append(event(1), STAMPS)
    with Spool(tmp_path) as spool:
        assert spool.after(0) == [event(1)]
        assert spool.find(event(1).event_id) == event(1)
        assert spool.find("other") is None
        assert spool.stamp_of("sub/a.png") == STAMP
        assert spool.stamp_of("b.png") is None
        assert spool.next_sequence == 2


def test_every_commit_is_synced(tmp_path: Path):
    """The database runs in WAL mode with synchronous=FULL, so that a commit is on the disk."""
    with Spool(tmp_path) as spool:
        database = spool._database
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_order_is_of_writing_not_of_the_wall_clock(tmp_path: Path):
    """Events stay in the order they were judged although the wall clock was set back."""
    with Spool(tmp_path) as spool:
        for number, minute in [(1, 30), (2, 10), (3, 20)]:
            spool.append(event(number, minute=minute))
        assert [found.sequence for found in spool.after(0)] == [1, 2, 3]
        assert [found.sequence for found in spool.after(1, 1)] == [2]
        assert [found.sequence for found in spool.latest(2)] == [3, 2]


@pytest.mark.parametrize("second", [event(1), event(1).model_copy(update={"sequence": 2})])
def test_second_event_of_one_identity_is_refused_whole(tmp_path: Path, second: Event):
    """A repeated sequence or event_id is refused, and nothing of its transaction stays."""
    with Spool(tmp_path) as spool:
        spool.append(event(1))
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            spool.append(second, STAMPS)
        assert spool.after(0) == [event(1)]
        assert spool.counts()[Verdict.PASS] == 1
        assert spool.stamp_of("sub/a.png") is None
        spool.append(event(2))


def test_stamps_of_files_that_are_gone_are_forgotten(tmp_path: Path):
    """They go in the transaction of the event that takes them along; the others stay."""
    with Spool(tmp_path) as spool:
        spool.append(event(1), STAMPS)
        spool.append(event(2), [("b.png", Stamp(4, 5, 6))], gone=["sub/a.png", "never.png"])
        assert spool.sources() == {"b.png"}
        spool.remember([("c.png", Stamp(7, 8, 9))], gone=["b.png"])
        assert spool.sources() == {"c.png"}


def test_verdicts_are_counted(tmp_path: Path):
    """Counts name all four verdicts, zeros too."""
    with Spool(tmp_path) as spool:
        for number, verdict in enumerate([Verdict.FAULT, Verdict.PASS, Verdict.FAULT], 1):
            spool.append(event(number, verdict))
        wanted = {Verdict.PASS: 1, Verdict.REVIEW: 0, Verdict.REJECT: 0, Verdict.FAULT: 2}
        assert spool.counts() == wanted


def test_newer_stamp_replaces_the_older(tmp_path: Path):
    """A touched file is remembered under its new stamp, without an event."""
    with Spool(tmp_path) as spool:
        spool.append(event(1), STAMPS)
        spool.remember((("sub/a.png", Stamp(1, 2, 3)),))
        assert spool.stamp_of("sub/a.png") == Stamp(1, 2, 3)
        assert spool.last_sequence() == 1


def test_places_and_counters_become_durable_with_the_next_event(tmp_path: Path):
    """What other threads note costs no transaction of its own."""
    with Spool(tmp_path) as spool, SpoolReader(tmp_path) as reader:
        fill(spool, 2)
        spool.acknowledge("mqtt", 1)
        spool.acknowledge("mqtt", 2)
        spool.acknowledge("csv", 1)
        spool.count("pictures of PASS")
        assert reader.delivered() == {}
        spool.append(event(3))
        assert reader.delivered() == {"mqtt": 2, "csv": 1}
        assert reader.counters()["pictures of PASS"] == 1
        spool.acknowledge("csv", 3)
        spool.flush()
        assert reader.delivered() == {"mqtt": 2, "csv": 3}


def test_what_could_not_be_written_is_written_with_the_next(tmp_path: Path):
    """A refused transaction keeps the places and counters it would have taken along."""
    with Spool(tmp_path) as spool, SpoolReader(tmp_path) as reader:
        spool.append(event(1))
        spool.acknowledge("csv", 1)
        spool.count("pictures of PASS", 2)
        with pytest.raises(sqlite3.IntegrityError):
            spool.append(event(1))
        spool.flush()
        assert reader.delivered() == {"csv": 1}
        assert reader.counters()["pictures of PASS"] == 2


def test_only_events_everybody_has_are_forgotten(tmp_path: Path):
    """The oldest go first, never one a destination still wants, never the last one; counted."""
    with Spool(tmp_path) as spool:
        fill(spool, 10)
        spool.acknowledge("csv", 10)
        spool.acknowledge("mqtt", 4)
        assert spool.forget(("csv", "mqtt", "hub"), 100) == 0
        assert spool.forget(("csv", "mqtt"), 3) == 3
        assert spool.forget(("csv", "mqtt"), 100) == 1
        assert spool.forget(("csv",), 100) == 5
        assert [found.sequence for found in spool.after(0)] == [10]
        spool.append(event(11))
        assert spool.forget((), 100) == 1, "without outputs nobody waits for an event"
        assert spool.counters()[EVENTS_DROPPED] == 10
        assert spool.counts()[Verdict.PASS] == 11
    with Spool(tmp_path) as spool:
        assert spool.next_sequence == 12


def test_event_is_amended_with_its_counter(tmp_path: Path):
    """A verdict that became durable too late is FAULT before anybody heard of it."""
    with Spool(tmp_path) as spool:
        fill(spool, 2)
        late = event(2, Verdict.FAULT)
        spool.amend(late)
        assert spool.after(0) == [event(1), late]
        assert (spool.counts()[Verdict.PASS], spool.counts()[Verdict.FAULT]) == (1, 1)
        assert spool.next_sequence == 3


def test_freed_room_is_used_again(tmp_path: Path):
    """Forgotten events make room that counts as free."""
    with Spool(tmp_path) as spool:
        fill(spool, 300)
        spool.acknowledge("csv", 300)
        before = spool.used_bytes()
        spool.forget(("csv",), 300)
        assert spool.used_bytes() < before / 3


def test_full_disk_refuses_and_goes_on(tmp_path: Path):
    """An event that cannot be written is SpoolFull; with room again the same connection goes on."""
    with Spool(tmp_path) as spool:
        fill(spool, 5)
        pages = spool._database.execute("PRAGMA page_count").fetchone()[0]
        spool._database.execute(f"PRAGMA max_page_count = {pages}")
        refusal = pytest.raises(SpoolFull, match=r"database or disk is full.*, close other writers")
        with refusal:
            fill_up(spool)
        kept = spool.last_sequence()
        spool._database.execute("PRAGMA max_page_count = 100000")
        spool.append(event(kept + 1))
        assert [found.sequence for found in spool.after(0)] == list(range(1, kept + 2))


@pytest.mark.parametrize("tail", [b"\0" * 700, b"\xa5" * 5000], ids=["zeros", "garbage"])
def test_torn_last_write_is_no_event(tmp_path: Path, tail: bytes):
    """What a power cut left behind the last commit is not read; all before it is there."""
    with Spool(tmp_path) as spool:
        events = fill(spool, 5)
        wal = (tmp_path / "events.sqlite-wal").read_bytes()
        database = (tmp_path / "events.sqlite").read_bytes()
    again = tmp_path / "again"
    again.mkdir()
    (again / "events.sqlite").write_bytes(database)
    (again / "events.sqlite-wal").write_bytes(wal + tail)
    with Spool(again) as spool:
        assert spool.after(0) == events
        spool.append(event(6))


def test_reopened_record_is_the_same(tmp_path: Path):
    """Connecting anew keeps the lock, the events and the sequence."""
    with Spool(tmp_path) as spool:
        fill(spool, 2)
        spool.reopen()
        spool.append(event(3))
        with pytest.raises(StationError, match="another station process"):
            Spool(tmp_path)
        assert spool.last_sequence() == 3


def test_second_process_is_refused(tmp_path: Path):
    """Two stations cannot write one data_dir; when the first ends the folder is free."""
    refusal = pytest.raises(StationError, match="another station process is using it; stop that")
    with Spool(tmp_path), refusal:
        Spool(tmp_path)
    with Spool(tmp_path) as spool:
        assert spool.last_sequence() == 0


@pytest.mark.parametrize("size", [40, 8192], ids=["shorter than a header", "longer"])
@pytest.mark.parametrize("opened", [Spool, SpoolReader])
def test_damaged_database_is_named_with_its_remedy(
    tmp_path: Path, size: int, opened: Callable[[Path], SpoolReader]
):
    """A file that is no database is refused by name, with what to do, and stays as it is."""
    path = tmp_path / "events.sqlite"
    path.write_bytes(b"garbage!" * (size // 8))
    refusal = pytest.raises(StationError, match=r"events\.sqlite: .* damaged \(.*\.recover")
    with refusal, opened(tmp_path) as spool:
        spool.counts()
    assert path.stat().st_size == size


def test_damaged_page_is_named_when_it_is_met(tmp_path: Path):
    """Damage in the middle of the database is reported as such, not as an empty disk."""
    with Spool(tmp_path) as spool:
        fill(spool, 200)
    path = tmp_path / "events.sqlite"
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = b"\xa5" * (len(content) - 3 * 4096)
    path.write_bytes(content)
    refusal = pytest.raises(StationError, match=r"events\.sqlite: the event database is damaged")
    with refusal, Spool(tmp_path) as spool:
        spool.after(0)


def test_newer_schema_is_refused(tmp_path: Path):
    """A database of a newer program is refused and not touched."""
    Spool(tmp_path).close()
    with sqlite3.connect(tmp_path / "events.sqlite") as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StationError, match=r"schema 2 is newer than this program \(1\); update"):
        Spool(tmp_path)


@pytest.mark.parametrize("empty", [False, True], ids=["no file", "empty file"])
def test_reader_makes_no_record(tmp_path: Path, empty: bool):
    """Before the first run there is none; that is said, and nothing is made."""
    if empty:
        (tmp_path / "events.sqlite").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StationError, match=r"events\.sqlite: found no record yet; .* station run"):
        DeskReader(tmp_path)
    refusal = pytest.raises(SpoolFull, match=r"events\.sqlite: cannot be read")
    with refusal, SpoolReader(tmp_path) as reader:
        reader.counts()
    assert sorted(tmp_path.iterdir()) == before


def test_reader_changes_nothing(tmp_path: Path):
    """Its connection refuses to write, so that no reader can take the record from the station."""
    with Spool(tmp_path) as spool, SpoolReader(tmp_path) as reader:
        fill(spool, 1)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._database.execute("DELETE FROM events")


def test_reader_that_may_not_read_is_told(tmp_path: Path):
    """What cannot be opened is no event that could not be recorded."""
    (tmp_path / "events.sqlite").mkdir()
    with pytest.raises(SpoolFull, match=r"events\.sqlite: cannot be read .*this user may read it"):
        SpoolReader(tmp_path)


def test_record_at_rest_is_read_as_it_lies(tmp_path: Path):
    """A desk needs no right to write there, and leaves no file of its user in the station's way."""
    data_dir = tmp_path / "50% of #1?"
    with Spool(data_dir) as spool:
        events = fill(spool, 3)
    before = sorted(data_dir.iterdir())
    data_dir.chmod(0o555)
    with DeskReader(data_dir) as reader:
        assert reader.after(0) == events
        assert sorted(data_dir.iterdir()) == before
    assert sorted(data_dir.iterdir()) == before
    data_dir.chmod(0o755)
    with Spool(data_dir) as spool:
        spool.append(event(4))
        with DeskReader(data_dir) as reader:
            assert reader.last_sequence() == 4


def test_desk_reads_what_a_killed_station_left(tmp_path: Path):
    """Events that only stand in the write-ahead log are read, too."""
    with Spool(tmp_path / "data") as spool:
        events = fill(spool, 5)
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
    with DeskReader(tmp_path / "killed") as reader:
        assert reader.after(0) == events


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    """A data_dir where a file stands is refused by name."""
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(StationError, match=r"data_dir '.*/data' cannot be used \(File exists\)"):
        Spool(tmp_path / "data")
