import csv
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inspection.core.decision import Verdict
from inspection.station.outputs import csv as csv_module
from inspection.station.outputs.csv import COLUMNS, CsvOutput
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import Action, ActionSettings, CsvSettings
from tests.station.events import event, named
from tests.station.outputs.status import status

pytestmark = pytest.mark.fast


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name the file, in a folder that does not exist yet."""
    return tmp_path / "shift" / "events.csv"


@pytest.fixture
def output(path: Path) -> Iterator[CsvOutput]:
    """Open an output on the file, and close it after the test."""
    output = CsvOutput(CsvSettings(kind="csv", path=path), ActionSettings(review=Action.HOLD))
    output.connect()
    yield output
    output.close()


def rows(path: Path) -> list[dict[str, str]]:
    """Read the file as anybody would."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def sequences(path: Path) -> list[int]:
    """Read which events the file has."""
    return [int(row["sequence"]) for row in rows(path)]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Refuse every byte of a file beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_each_event_is_a_line_under_the_header(output: CsvOutput, path: Path):
    """All columns, in their order; a FAULT has no score."""
    reviewed = event(1, Verdict.REVIEW, latency_ms=12.25)
    assert output.deliver([reviewed, event(2, Verdict.FAULT)]) == 2
    output.beat(status())
    first, second = rows(path)
    assert tuple(first) == COLUMNS
    assert first == {
        "sequence": "1",
        "event_id": reviewed.event_id,
        "judged_at": "2025-03-01T06:00:00+00:00",
        "line": "line-1",
        "station": "station-1",
        "part_id": "part-1",
        "product": "default",
        "verdict": "REVIEW",
        "action": "hold",
        "score": "0.25",
        "reason": "",
        "latency_ms": "12.25",
        "bundle_id": "bundle",
        "types": "",
    }
    assert (second["verdict"], second["action"], second["score"]) == ("FAULT", "reject", "")


def test_named_objects_are_counted_by_type(output: CsvOutput, path: Path):
    """The most first."""
    output.deliver([named(1, Verdict.REJECT, ("pore", 0.9), ("crack", 0.8), ("pore", 0.6))])
    assert rows(path)[0]["types"] == "pore: 2, crack: 1"


def test_a_file_of_an_older_program_keeps_its_columns(output: CsvOutput, path: Path):
    """Its lines go on under the header it has."""
    older = ",".join(COLUMNS[:-1]) + "\n"
    output.close()
    path.write_text(older)
    output.connect()
    output.deliver([named(1, Verdict.REJECT, ("pore", 0.9))])
    assert path.read_text().startswith(older)
    assert (tuple(rows(path)[0]), rows(path)[0]["bundle_id"]) == (COLUMNS[:-1], "bundle")


def test_texts_come_back_and_never_break_a_line(output: CsvOutput, path: Path):
    """Commas, quotes and umlauts survive; line ends become blanks, so that lines are events."""
    output.deliver([event(1, part_id='Bügel "a", 5\nmm', reason="dark\r\nand blurred")])
    assert rows(path)[0]["part_id"] == 'Bügel "a", 5 mm'
    assert rows(path)[0]["reason"] == "dark  and blurred"
    assert path.read_bytes().count(b"\n") == 2


def test_no_text_is_a_formula_for_a_spreadsheet(output: CsvOutput, path: Path):
    """What a part, product or reason is called is not evaluated; a negative score is a number."""
    frame = event(1).frames[0].model_copy(update={"score": -0.25})
    texts = {"part_id": "=HYPERLINK(1)", "product": "＠SUM(A1)", "reason": "\t+1+1"}
    output.deliver([event(1, frames=(frame,), **texts)])
    (row,) = rows(path)
    assert row["score"] == "-0.25"
    assert {name: row[name] for name in texts} == {
        "part_id": "'=HYPERLINK(1)",
        "product": "'＠SUM(A1)",
        "reason": "' +1+1",
    }


@pytest.mark.parametrize("event_id", ["=1", "-a", "a\nb", "'=1", "12"])
def test_an_event_of_an_odd_id_is_written_once(output: CsvOutput, path: Path, event_id: str):
    """What was delivered before is known by its event_id, whatever that looks like in the file."""
    odd = event(1, event_id=event_id)
    output.deliver([odd])
    output.connect()
    output.deliver([odd, event(2)])
    assert sequences(path) == [1, 2]


def test_a_restart_goes_on_in_the_same_file(output: CsvOutput, path: Path):
    """One header, whatever the number of connections."""
    output.deliver([event(1)])
    output.connect()
    output.deliver([event(2)])
    assert sequences(path) == [1, 2]


@pytest.mark.parametrize("torn", [1, 30, 100], ids=["its line end", "some of it", "most of it"])
def test_an_event_is_written_once_after_a_kill(output: CsvOutput, path: Path, torn: int):
    """What was written but not acknowledged is known; the line that was torn is written anew."""
    output.deliver([event(1), event(2), event(3)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-torn])
    output.connect()
    assert output.deliver([event(2), event(3), event(4)]) == 3
    assert sequences(path) == [1, 2, 3, 4]
    assert path.read_bytes().startswith(whole)


def test_a_header_that_was_torn_is_written_anew(output: CsvOutput, path: Path):
    """A kill within the first write leaves a file that goes on as a new one."""
    output.close()
    path.write_bytes(path.read_bytes()[:20])
    output.connect()
    output.deliver([event(1)])
    assert sequences(path) == [1]


def test_events_of_another_record_are_not_taken_for_written(output: CsvOutput, path: Path):
    """A station set up anew counts from 1 again; what decides is the event_id."""
    output.deliver([event(number) for number in range(1, 9)])
    output.connect()
    output.deliver([event(1, event_id="of the new record")])
    assert sequences(path)[-2:] == [8, 1]


def test_only_the_end_of_a_long_file_is_read(
    output: CsvOutput, path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file of years opens as fast as a new one, and its last lines are known."""
    output.deliver([event(number) for number in range(1, 100)])
    monkeypatch.setattr(csv_module, "TAIL_BYTES", 500)
    output.connect()
    output.deliver([event(98), event(99), event(100)])
    assert sequences(path) == list(range(1, 101))


def test_a_full_disk_leaves_whole_lines_and_nothing_is_lost(output: CsvOutput, path: Path):
    """A batch the disk has no room for is taken back, and written when there is."""
    output.deliver([event(1)])
    before = path.read_bytes()
    batch = [event(number) for number in range(2, 20)]
    refusal = pytest.raises(OutputDown, match=r"events\.csv: cannot be written .*; free the disk")
    with disk_of(len(before) + 200), refusal:
        output.deliver(batch)
    assert path.read_bytes() == before
    output.connect()
    assert output.deliver(batch) == 18
    assert sequences(path) == list(range(1, 20))


def test_a_full_disk_at_the_start_is_waited_out(output: CsvOutput, path: Path):
    """Not even the header fits: down; then the file begins with it."""
    output.close()
    path.unlink()
    with disk_of(10), pytest.raises(OutputDown, match="free the disk"):
        output.connect()
    output.connect()
    output.deliver([event(1)])
    assert sequences(path) == [1]


@pytest.mark.parametrize("how", ["removed", "renamed", "emptied", "folder removed"])
def test_a_file_somebody_takes_away_is_begun_anew(output: CsvOutput, path: Path, how: str):
    """The next event opens a new file with header; a renamed one keeps what it has."""
    output.deliver([event(1)])
    if how == "renamed":
        path.rename(path.with_suffix(".old"))
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
    if how == "folder removed":
        path.parent.rmdir()
    output.deliver([event(2)])
    assert sequences(path) == [2]
    if how == "renamed":
        assert sequences(path.with_suffix(".old")) == [1]


def test_a_file_that_is_not_ours_is_left_alone(output: CsvOutput, path: Path):
    """Another kind of file is refused by name, and keeps its bytes."""
    path.write_bytes(b"date;temperature\n2025-03-01;2")
    with pytest.raises(OutputDown, match=r"begins with b'date;temp.*wanted the header 'sequence,"):
        output.connect()
    assert path.read_bytes() == b"date;temperature\n2025-03-01;2"


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path):
    """What cannot be opened is down with the system's words."""
    output = CsvOutput(CsvSettings(kind="csv", path=tmp_path), ActionSettings())
    with pytest.raises(OutputDown, match=r"cannot be written \(Is a directory\)"):
        output.connect()
