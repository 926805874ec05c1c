"""Brings the files of a watched folder as parts; reads and decodes them ahead of the loop.

A file that can be seen is never passed over: it is handed in, or waits for its part's other
pictures, or its part's frame is a Fault. Within one process a file, as it stands, is handed in
once; after a restart the record's stamps say which files have their event. A path that is written
anew while the process runs is a new part, even with the same bytes: else a frozen camera that
overwrites one file would look like an idle one.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice, takewhile
from threading import Event as Flag
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from inspection.core.errors import InspectionError, SpoolFull, StationError
from inspection.core.limits import MAX_BROKEN_BYTES
from inspection.station.clock import Clock
from inspection.station.part import Fault, Frame, Intake, Part, Stamp, identify
from inspection.station.sources.decoding import AT_ONCE, Decoders
from inspection.station.sources.gather import Gathered, Gatherer
from inspection.station.sources.scan import FolderLost, FolderScan, Found, file_time
from inspection.station.sources.settings import FolderSettings

P = ParamSpec("P")
T = TypeVar("T")
READ_AHEAD = AT_ONCE  # parts decoded while one waits for room: as many in memory beside the intake
SCAN_SHARE = 4  # looking takes at most a fifth of the time
MAX_PAUSE_S = 5.0  # however long a look took: one slow look of a share must not hold up what comes
LOOK_S = 0.25  # between two looks while files are handed in: how late an arrival is noticed
RETRY_S = 1.0  # between two looks for a folder that is lost
FORGOTTEN_AT_ONCE = 200  # files in one transaction
OFFER_S = 0.2  # how late a stop is heard


class RecordedStamps(Protocol):
    """What the source asks of the record, in its own thread only."""

    def stamp_of(self, source: str) -> Stamp | None:
        """Give the stamp under which a source was judged last, or none."""
        ...

    def sources(self) -> set[str]:
        """Give every source that has a stamp."""
        ...

    def close(self) -> None:
        """Let the record go."""
        ...


class _Read(NamedTuple):
    """One camera's frame, and what stands for it in the part's identity."""

    frame: Frame
    content: str


class FolderSource:
    """The files of a folder as parts; camera and product code may stand in their names.

    Args:
        settings: the folder and how to read it.
        cameras_of: the cameras that must see each part of a product; none for an unknown product.
        recorded: opens the record's stamps.
        clock: for arrivals and for how long something stands still.
        record: of the station, which event ids belong to.
        deadline_s: from a part's arrival to its verdict, s; none waits for every picture.

    Raises:
        StationError: there is no such folder, with `once`; without, it is waited for.
    """

    def __init__(
        self,
        settings: FolderSettings,
        cameras_of: Callable[[str], tuple[str, ...]],
        recorded: Callable[[], RecordedStamps],
        clock: Clock,
        record: str = "",
        deadline_s: float | None = None,
    ) -> None:
        if settings.once and not settings.path.is_dir():
            raise StationError(
                f"source '{settings.path}' is no folder; make it, mount it or correct `source`"
            )
        self._settings, self._record = settings, record
        self._recorded = recorded
        self._clock, self._deadline_s = clock, deadline_s
        self._remembered: set[str] | None = None  # by the record; none before it was asked
        self._gatherer = Gatherer(settings, cameras_of)
        self._scan = FolderScan(settings.path, settings.suffixes, settings.settle_ms / 1000, clock)

    @property
    def vanished(self) -> int:
        """Files that were seen but removed before they could be handed in."""
        return self._scan.vanished

    @property
    def ignored(self) -> int:
        """Files of other suffixes, links and what this user may not read, in the last look."""
        return self._scan.ignored

    def run(self, intake: Intake, stop: Flag) -> None:
        """Hand in every file once, until `stop` is set or, with `once`, none waits any more.

        Raises:
            StationError: the record is damaged, no decoder comes back from its picture or, with
                `once`, the folder cannot be read.
        """
        with (
            closing(self._recorded()) as record,
            closing(Decoders(self._deadline_s, self._clock)) as self._decoders,
            ThreadPoolExecutor(READ_AHEAD, "capture") as pool,
        ):
            while not stop.is_set():
                self._decoders.require()
                pause_s = self._turn(record, pool, intake, stop)
                if self._settings.once and not self._scan.waiting and not intake.source_state:
                    return
                stop.wait(pause_s)

    def _turn(
        self, record: RecordedStamps, pool: ThreadPoolExecutor, intake: Intake, stop: Flag
    ) -> float:
        """Look once and hand in what is due; give the seconds to wait before the next turn."""
        started_s = self._clock.monotonic()
        try:
            if self._remembered is None:
                self._remembered = record.sources()
            ready = self._scan.look(record.stamp_of)
        except (FolderLost, SpoolFull) as error:
            if self._settings.once and isinstance(error, FolderLost):
                raise
            intake.source_state = f"{error}; the station goes on by itself"
            return RETRY_S
        intake.source_state = self._decoders.state
        now_s = self._clock.monotonic()
        rest_s = min(SCAN_SHARE * (now_s - started_s), MAX_PAUSE_S)
        pause_s = max(self._settings.poll_ms / 1000, rest_s)
        again_s = now_s + max(LOOK_S, pause_s)
        due = self._gatherer.due(ready, self._scan.unsettled, now_s)
        timely = takewhile(lambda _: self._clock.monotonic() < again_s, due)
        progress = False
        for gathered, part in self._read_ahead(pool, timely):
            if part is not None and self._offered(self._forgetful(part), intake, stop):
                for found in gathered.pictures.values():
                    self._scan.done(found)
                progress = True
            if stop.is_set():
                break
        return 0 if progress else pause_s

    def _forgetful(self, part: Part) -> Part:
        """Let a part take along which files the record need not know any more.

        An empty folder may be one that is not mounted.
        """
        remembered, present = self._remembered or set(), self._scan.present
        gone = (
            frozenset(islice(remembered - present, FORGOTTEN_AT_ONCE)) if present else frozenset()
        )
        self._remembered = (remembered - gone) | {source for source, _ in part.stamps}
        return replace(part, gone=tuple(gone))

    def _offered(self, part: Part, intake: Intake, stop: Flag) -> bool:
        """Wait for room in the intake; false when the station stops before there is any."""
        while not intake.offer(part, OFFER_S):
            if stop.is_set():
                return False
        return True

    def _read_ahead(
        self, pool: ThreadPoolExecutor, due: Iterable[Gathered]
    ) -> Iterator[tuple[Gathered, Part | None]]:
        """Give the parts in order; the pool reads and decodes ahead."""
        waiting: deque[tuple[Gathered, Future[Part | None]]] = deque()
        for gathered in due:
            waiting.append((gathered, pool.submit(self._part, gathered)))
            if len(waiting) > READ_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for gathered, future in waiting:
            yield gathered, future.result()

    def _part(self, gathered: Gathered) -> Part | None:
        """Read one part; none when a file is gone or changed since the look."""
        name, files = gathered.name, gathered.pictures
        arrived_s = None if self._settings.once else gathered.arrived_s
        reads = []
        for camera, found in files.items():
            read = self._read(camera, found, arrived_s, fits=not name.stranger)
            if read is None:
                return None
            reads.append(read)
        stamps = tuple(
            (read.frame.source, found.stamp)
            for read, found in zip(reads, files.values(), strict=True)
            if read.frame.sha256  # what could not be read is tried again after a restart
        )
        reads += [self._missing(camera) for camera in gathered.missing]
        return Part(
            event_id=_identify(self._record, reads),
            part_id=name.part_id,
            product=name.product,
            frames=tuple(read.frame for read in reads),
            captured_at=file_time(min(found.stamp.mtime_ns for found in files.values())),
            arrived_s=arrived_s,
            stamps=stamps,
            share=name.share,
        )

    def _read(
        self, camera: str, found: Found, arrived_s: float | None, *, fits: bool
    ) -> _Read | None:
        """Read, hash and decode one file; none when it is gone or changed since the look."""
        encoded = _attempt(self._scan.take, found)
        if encoded is None:
            return None
        if isinstance(encoded, Fault):
            unread = f"unread {found.stamp.size} {found.stamp.mtime_ns}"
            return _Read(Frame(camera, found.source, encoded), unread)
        sha256 = hashlib.sha256(encoded).hexdigest()
        if fits:
            pixels = _attempt(self._decoders.decode, encoded, found.source, arrived_s)
        else:
            pixels = Fault(
                f"file name '{found.source}' does not match '{self._settings.name_pattern}'; "
                "wanted a name that tells its part; rename the file or correct name_pattern"
            )
        content = f"{sha256} {found.stamp.mtime_ns}" if found.rewritten else sha256
        broken = isinstance(pixels, Fault) and len(encoded) > MAX_BROKEN_BYTES
        kept = None if broken else encoded  # sixteen sparse files may wait at once
        return _Read(Frame(camera, found.source, pixels, kept, sha256), content)

    def _missing(self, camera: str) -> _Read:
        fault = Fault(
            f"camera '{camera}' gave no picture; wanted it within {self._settings.together_ms} ms "
            "of the part's other pictures; check the camera and the names of its files"
        )
        return _Read(Frame(camera, "", fault), "missing")


def _identify(record: str, reads: list[_Read]) -> str:
    """Give the same id for the same contents from the same source paths of the same cameras."""
    lines = [f"{read.frame.source}\n{read.content}" for read in reads]
    if len(reads) > 1:
        lines = [f"{read.frame.camera}\n{line}" for read, line in zip(reads, lines, strict=True)]
    return identify(record, *lines)


def _attempt(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Fault:
    """Do one step on one file; whatever goes wrong is its frame's Fault."""
    try:
        return step(*args, **kwargs)
    except InspectionError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - one frame's Fault, recorded
        reason = f"{type(error).__name__}: {error}"
    return Fault(reason.encode("utf-8", "backslashreplace").decode())
