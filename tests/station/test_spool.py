import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inspection.core.decision import Band, Verdict
from inspection.core.errors import StationError
from inspection.core.records import Event
from inspection.station.source import Stamp
from inspection.station.spool import MIGRATIONS, Spool, VerdictCounts

pytestmark = pytest.mark.fast

STAMP = Stamp(123, 1_700_000_000_123_456_789, 1_700_000_000_987_654_321)


def event(event_id: str, verdict: Verdict = Verdict.PASS, minute: int = 0) -> Event:
    """Make an event of part a.png."""
    return Event(
        event_id=event_id,
        part_id="a",
        line="line-1",
        station="station-1",
        bundle_id="bundle",
        verdict=verdict,
        score=None if verdict is Verdict.FAULT else 0.25,
        band=Band(review_above=0.5, reject_above=0.8),
        reason="dark" if verdict is Verdict.FAULT else "",
        source="sub/a.png",
        source_sha256="0" * 64,
        captured_at=datetime(2025, 3, 1, 6, minute, tzinfo=UTC),
        judged_at=datetime(2025, 3, 1, 6, minute, tzinfo=UTC),
        latency_ms=3.5,
        overlay=None,
    )


def test_event_comes_back_whole(tmp_path: Path):
    """Every field of an event, and the stamp of its file, survive closing and opening."""
    with Spool(tmp_path) as spool:
        spool.append(event("one"), STAMP)
    with Spool(tmp_path) as spool:
        assert list(spool.events()) == [event("one")]
        assert spool.stamp_of("sub/a.png") == STAMP
        assert (spool.has("one"), spool.has("two")) == (True, False)
        assert spool.stamp_of("b.png") is None


def test_every_commit_is_synced(tmp_path: Path):
    """The database runs in WAL mode with synchronous=FULL, so that a commit is on the disk."""
    with Spool(tmp_path) as spool:
        database = spool._database
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_order_is_of_writing_not_of_the_wall_clock(tmp_path: Path):
    """Events stay in the order they were judged although the wall clock was set back."""
    with Spool(tmp_path) as spool:
        for event_id, minute in [("first", 30), ("second", 10), ("third", 20)]:
            spool.append(event(event_id, minute=minute), None)
        assert [found.event_id for found in spool.events()] == ["first", "second", "third"]


def test_second_event_of_one_identity_is_refused_whole(tmp_path: Path):
    """A repeated event_id is refused, and nothing of its transaction stays."""
    with Spool(tmp_path) as spool:
        spool.append(event("one"), None)
        with pytest.raises(sqlite3.IntegrityError, match="event_id"):
            spool.append(event("one", Verdict.REJECT), STAMP)
        assert list(spool.events()) == [event("one")]
        assert spool.stamp_of("sub/a.png") is None
        spool.append(event("two"), None)


def test_verdicts_are_counted(tmp_path: Path):
    """Counts name all four verdicts, zeros too."""
    with Spool(tmp_path) as spool:
        for number, verdict in enumerate([Verdict.FAULT, Verdict.PASS, Verdict.FAULT]):
            spool.append(event(str(number), verdict), None)
        counts = spool.counts()
    assert counts == VerdictCounts(passed=1, review=0, reject=0, fault=2)
    assert counts.total == 3
    assert str(counts) == "1 PASS, 0 REVIEW, 0 REJECT, 2 FAULT"


def test_newer_stamp_replaces_the_older(tmp_path: Path):
    """A touched file is remembered under its new stamp, without an event."""
    with Spool(tmp_path) as spool:
        spool.append(event("one"), STAMP)
        spool.remember("sub/a.png", Stamp(1, 2, 3))
        assert spool.stamp_of("sub/a.png") == Stamp(1, 2, 3)
        assert spool.counts().total == 1


def test_second_process_is_refused(tmp_path: Path):
    """Two stations cannot write one data_dir; when the first ends the folder is free."""
    refusal = pytest.raises(StationError, match="another station process is using it; stop that")
    with Spool(tmp_path), refusal:
        Spool(tmp_path)
    with Spool(tmp_path) as spool:
        assert spool.counts() == VerdictCounts()


@pytest.mark.parametrize("size", [40, 8192], ids=["shorter than a header", "longer"])
def test_damaged_database_is_named_with_its_remedy(tmp_path: Path, size: int):
    """A file that is no database is refused by name, with what to do, and stays as it is."""
    path = tmp_path / "events.sqlite"
    path.write_bytes(b"garbage!" * (size // 8))
    with pytest.raises(StationError, match=r"events\.sqlite: .* damaged \(.*\.recover"):
        Spool(tmp_path)
    assert path.stat().st_size == size


def test_damaged_page_is_named_when_it_is_met(tmp_path: Path):
    """Damage in the middle of the database is reported as such, not as an empty disk."""
    with Spool(tmp_path) as spool:
        for number in range(200):
            spool.append(event(f"{number:032d}"), None)
    path = tmp_path / "events.sqlite"
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = b"\xa5" * (len(content) - 3 * 4096)
    path.write_bytes(content)
    refusal = pytest.raises(StationError, match=r"events\.sqlite: the event database is damaged")
    with refusal, Spool(tmp_path) as spool:
        list(spool.events())


def test_newer_schema_is_refused(tmp_path: Path):
    """A database of a newer program is refused and not touched."""
    Spool(tmp_path).close()
    with sqlite3.connect(tmp_path / "events.sqlite") as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    database.close()
    with pytest.raises(StationError, match=r"schema 2 is newer than this program \(1\); update"):
        Spool(tmp_path)


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    """A data_dir where a file stands is refused by name."""
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(StationError, match=r"data_dir '.*/data' cannot be used \(File exists\)"):
        Spool(tmp_path / "data")
