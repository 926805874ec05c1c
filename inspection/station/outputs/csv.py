"""Appends each event as one line to a CSV file, exactly once, whenever the process is killed."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from inspection.core.known import words_of_types
from inspection.core.records import Event
from inspection.core.tables import csv_cell, csv_lines
from inspection.station.outputs.output import OutputDown
from inspection.station.outputs.settings import ActionSettings, CsvSettings
from inspection.station.state import StationStatus

COLUMNS = (
    "sequence",
    "event_id",
    "judged_at",
    "line",
    "station",
    "part_id",
    "product",
    "verdict",
    "action",
    "score",
    "reason",
    "latency_ms",
    "bundle_id",
    "types",
)
OLDER = len(COLUMNS) - 1  # columns of a file that a program without `types` began
TAIL_BYTES = 1_000_000  # some thousand lines; a kill leaves far fewer without acknowledgement


class CsvOutput:
    """One CSV file, UTF-8: a header and a line per event, with line ends nowhere else.

    An event is acknowledged when its line is on the disk. What is delivered again after a kill is
    known by its event_id in the last lines of the file, and a line that was torn is cut off.
    Score and bundle are those of the frame that decided; no text is a formula for a spreadsheet.
    Somebody may move or remove the file at any time: the next event begins a new one.
    """

    batch = 100
    from_start = True

    def __init__(self, settings: CsvSettings, actions: ActionSettings) -> None:
        self.name = settings.name
        self._path = settings.path
        self._actions = actions
        self._file: _EventFile | None = None

    def connect(self) -> None:
        """Open the file, or begin it, and bring its end in order.

        Raises:
            OutputDown: it cannot be written, or is another kind of file.
        """
        self._reopen()

    def deliver(self, events: Sequence[Event]) -> int:
        """Append the events the file does not have yet; on the disk when it returns.

        Raises:
            OutputDown: the disk is full or fails; the file keeps whole lines only.
        """
        file = self._file
        if file is None or file.has_moved():
            file = self._reopen()
        new = [event for event in events if csv_cell(event.event_id) not in file.written]
        lines = csv_lines(self._row(event)[: file.columns] for event in new)
        try:
            file.append(lines.encode())
        except OSError as error:
            raise self._refusal(error) from error
        return len(events)

    def beat(self, status: StationStatus) -> None:
        """Do nothing: the file holds events only."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopen(self) -> "_EventFile":
        self.close()
        try:
            self._file = file = _EventFile(self._path)
        except OSError as error:
            raise self._refusal(error) from error
        return file

    def _row(self, event: Event) -> tuple[object, ...]:
        deciding = event.deciding
        return (
            event.sequence,
            event.event_id,
            event.judged_at.isoformat(),
            event.line,
            event.station,
            event.part_id,
            event.product,
            event.verdict.value,
            self._actions.of(event.verdict).value,
            deciding.score,
            event.reason,
            event.latency_ms,
            deciding.bundle_id,
            words_of_types(frame.recognised for frame in event.frames),
        )

    def _refusal(self, error: OSError) -> OutputDown:
        return OutputDown(
            f"{self._path}: cannot be written ({error.strerror}); free the disk or give this user "
            "the right to write; the events wait in the record"
        )


class _EventFile:
    """The open file; unbuffered, so that nothing is written later than it is said to be."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = io.FileIO(path, "a+")
        try:
            self.columns = self._require_header()
            """How many the file has; it keeps those it began with."""
            self.written = self._repair()
            """event_ids of the last lines, as found."""
        except BaseException:
            self._file.close()
            raise

    def has_moved(self) -> bool:
        """Say whether the path leads to another file by now, or somebody emptied this one."""
        ours = os.fstat(self._file.fileno())
        try:
            found = self._path.stat()
        except OSError:
            return True
        return not os.path.samestat(ours, found) or ours.st_size == 0

    def append(self, content: bytes) -> None:
        """Write to the disk, whole or not at all."""
        before = os.fstat(self._file.fileno()).st_size
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(before)
            raise

    def close(self) -> None:
        """Let the file go."""
        self._file.close()

    def _require_header(self) -> int:
        """Begin a new file, or one torn in its header; refuse one that is not ours."""
        header = csv_lines([COLUMNS]).encode()
        self._file.seek(0)
        beginning = self._file.read(len(header)) or b""
        if beginning == header:
            return len(COLUMNS)
        if beginning.startswith(csv_lines([COLUMNS[:OLDER]]).encode()):
            return OLDER
        if not header.startswith(beginning):
            raise OutputDown(
                f"{self._path}: begins with {beginning[:40]!r}; wanted the header "
                f"'{COLUMNS[0]},{COLUMNS[1]},…'; name another file or move this one away"
            )
        self._file.truncate(0)
        self.append(header)
        folder = os.open(self._path.parent, os.O_RDONLY)
        os.fsync(folder)  # the new name is durable, too
        os.close(folder)
        return len(COLUMNS)

    def _repair(self) -> frozenset[str]:
        """Cut a torn last line off, and give the event_ids of the last lines."""
        start = max(0, os.fstat(self._file.fileno()).st_size - TAIL_BYTES)
        self._file.seek(start)
        tail = self._file.readall() or b""
        whole = tail[: tail.rfind(b"\n") + 1]
        if len(whole) < len(tail):
            self._file.truncate(start + len(whole))
        lines = whole.decode("utf-8", "replace").split("\n")
        return frozenset(row[1] for row in csv.reader(lines) if len(row) > 1)
