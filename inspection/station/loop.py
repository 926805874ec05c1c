"""The core loop of a station: capture → score → decide → overlay → durable event → signal.

Each file of the watched folder gets exactly one event, whenever the process is killed: the event
is one SQLite transaction, made durable before its signal, and a file without an event is judged
again. Whatever goes wrong with one part is its FAULT; what endangers the record stops the station.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from threading import Event as Flag
from typing import ParamSpec, Protocol, TypeVar

from inspection.bundles.overlay import draw_overlay, write_picture
from inspection.core.decision import Band, Judgement, ScoreRule, Verdict
from inspection.core.errors import FrameRejected, InspectionError, StationError
from inspection.core.geometry import Geometry
from inspection.core.imaging import Rgb, decode_image
from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.settings import StationConfig
from inspection.station.source import FolderSource, Found
from inspection.station.spool import Spool, VerdictCounts

logger = logging.getLogger(__name__)

Emit = Callable[[Event], None]
P = ParamSpec("P")
T = TypeVar("T")
LAST_SECOND = 253_402_300_799  # of the year 9999
READ_AHEAD = 2  # parts decoded while one is judged: as many frames in memory
SCAN_SHARE = 4  # the folder is looked at during at most a fifth of idle time


class Judge(Protocol):
    """What the loop asks of whatever judges: a bundle, or a double in tests."""

    @property
    def bundle_id(self) -> str:
        """Which bundle judges now."""
        ...

    @property
    def band(self) -> Band:
        """The thresholds in force now."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Where on the part the map lies."""
        ...

    @property
    def rule(self) -> ScoreRule:
        """How a map becomes a score."""
        ...

    def judge(self, pixels: Rgb) -> Judgement:
        """Judge one part, uint8 H×W×3 RGB."""
        ...


@dataclass(frozen=True)
class StationCounts:
    """What one run of the station did."""

    events: VerdictCounts
    known: int
    """Files read again, for instance after a touch, whose bytes had their event already."""
    vanished: int
    """Files removed by somebody else before they could be judged."""
    ignored: int
    """Files of other suffixes in the folder at the last scan."""
    overlays_lost: int
    """Overlay pictures that could not be written; their verdicts stand."""

    def __str__(self) -> str:
        """Say all counts, zeros too."""
        return (
            f"{self.events} · {self.known} known, {self.vanished} vanished, {self.ignored} ignored "
            f"files, {self.overlays_lost} overlays lost"
        )


@dataclass(frozen=True)
class Fault:
    """Why a step on one part could not be done."""

    reason: str


@dataclass(frozen=True)
class Capture:
    """One part as taken from the folder: which bytes, and its pixels or why there are none."""

    found: Found
    sha256: str  # empty when the bytes could not be read
    pixels: Rgb | Fault

    @property
    def event_id(self) -> str:
        """The same for the same bytes from the same source path."""
        _, _, stamp = self.found
        content = self.sha256 or f"unread {stamp.size} {stamp.mtime_ns}"
        return hashlib.sha256(f"{self.found.source}\n{content}".encode()).hexdigest()[:32]


def run_station(
    config: StationConfig, judge: Judge, emit: Emit, stop: Flag, clock: Clock = SYSTEM_CLOCK
) -> StationCounts:
    """Judge every file of the watched folder once, until `stop` is set or, with `once`, all are.

    Args:
        config: the station's configuration.
        judge: what turns pixels into a judgement.
        emit: gets each event after it is durable, in order, at most once: of a process killed
            between the two the event stands in the record and its signal is not sent again.
        stop: ends the run between two parts.
        clock: wall clock for records, monotonic clock for durations.

    Raises:
        SpoolFull: an event cannot be made durable; its verdict was not emitted.
        StationError: the folder cannot be read, another process has data_dir, the database is
            damaged, or too many parts in a row were FAULT.
    """
    source = FolderSource(config.source, config.suffixes, config.settle_ms / 1000, clock)
    with Spool(config.data_dir) as spool, ThreadPoolExecutor(READ_AHEAD, "capture") as pool:
        line = _Line(config, judge, spool, emit, clock)
        while not stop.is_set():
            started = clock.monotonic()
            ready = source.scan(spool.stamp_of)
            pause = max(config.poll_ms / 1000, SCAN_SHARE * (clock.monotonic() - started))
            progress = False
            for captured in _read_ahead(pool, source, ready):
                if stop.is_set():
                    break
                turned_at = clock.monotonic()
                found, capture = captured()
                if capture is not None:
                    line.finish(capture, turned_at)
                    source.done(found)
                    progress = True
            if config.once and not source.waiting:
                break
            if not progress:
                stop.wait(pause)
        return line.counts(source)


def _read_ahead(
    pool: ThreadPoolExecutor, source: FolderSource, ready: Iterable[Found]
) -> Iterator[Callable[[], tuple[Found, Capture | None]]]:
    """Give for each part, in order, what waits for it; the pool decodes ahead of the loop."""
    waiting: deque[Future[tuple[Found, Capture | None]]] = deque()
    for found in ready:
        waiting.append(pool.submit(_capture, found, source))
        if len(waiting) > READ_AHEAD:
            yield waiting.popleft().result
    for future in waiting:
        yield future.result


def _capture(found: Found, source: FolderSource) -> tuple[Found, Capture | None]:
    """Read, hash and decode one file; none when it is gone or changed since the scan."""
    encoded = _attempt(source.take, found)
    if encoded is None:
        return found, None
    if isinstance(encoded, Fault):
        return found, Capture(found, "", encoded)
    sha256 = hashlib.sha256(encoded).hexdigest()
    return found, Capture(found, sha256, _attempt(decode_image, encoded, found.source))


def _attempt(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Fault:
    """Do one step on one part; whatever goes wrong is why the part is FAULT."""
    try:
        return step(*args, **kwargs)
    except InspectionError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - one part's FAULT, recorded
        reason = f"{type(error).__name__}: {error}"
    return Fault(reason.encode("utf-8", "backslashreplace").decode())


class _Line:
    """What one run keeps between two parts: the record, the tally and the faults in a row."""

    def __init__(
        self, config: StationConfig, judge: Judge, spool: Spool, emit: Emit, clock: Clock
    ) -> None:
        self._config = config
        self._judge = judge
        self._spool = spool
        self._emit = emit
        self._clock = clock
        self._events = VerdictCounts()
        self._known = 0
        self._overlays_lost = 0
        self._faults_in_a_row = 0
        self._turned_at = 0.0  # monotonic seconds when the loop turned to the part in work

    def counts(self, source: FolderSource) -> StationCounts:
        """Say what was done so far."""
        return StationCounts(
            self._events, self._known, source.vanished, source.ignored, self._overlays_lost
        )

    def finish(self, capture: Capture, turned_at: float) -> None:
        """Judge one part unless it has its event, make the event durable, then emit it."""
        self._turned_at = turned_at
        stamp = capture.found.stamp if capture.sha256 else None
        if self._spool.has(capture.event_id):
            self._known += 1
            if stamp is not None:
                self._spool.remember(capture.found.source, stamp)
            return
        event = self._judged(capture)
        self._spool.append(event, stamp)
        self._events = self._events.plus(event.verdict)
        self._emit(event)
        self._watch_faults(event)

    def _judged(self, capture: Capture) -> Event:
        pixels = capture.pixels
        outcome = pixels if isinstance(pixels, Fault) else _attempt(self._verdict, capture, pixels)
        if isinstance(outcome, Fault):
            return self._event(capture, Verdict.FAULT, reason=outcome.reason)
        return outcome

    def _verdict(self, capture: Capture, pixels: Rgb) -> Event:
        """Score, decide, draw; a verdict that comes too late or without a score is FAULT."""
        judgement = self._judge.judge(pixels)
        verdict, score = judgement.verdict, judgement.score
        if verdict is Verdict.FAULT:
            raise FrameRejected(
                f"score is {score}; wanted a finite number; the score map is unsound, check the "
                "bundle with 'inspection bundle verify'"
            )
        overlay = self._overlay(capture, pixels, judgement)
        latency_ms = self._latency_ms()
        if latency_ms > self._config.deadline_ms:
            reason = (
                f"{verdict} (score {score:.6g}) came after {latency_ms:.0f} ms; wanted within "
                f"{self._config.deadline_ms} ms; lighten the machine's load or raise deadline_ms"
            )
            return self._event(capture, Verdict.FAULT, reason=reason, overlay=overlay)
        return self._event(capture, verdict, score=score, overlay=overlay)

    def _overlay(self, capture: Capture, pixels: Rgb, judgement: Judgement) -> str | None:
        """Write the overlay picture if this verdict gets one, and give its file name."""
        if judgement.verdict not in self._config.overlay_for:
            return None
        name = f"{capture.event_id}.png"
        picture = draw_overlay(pixels, judgement, self._judge.geometry, self._judge.rule)
        try:
            write_picture(self._config.data_dir / "overlays" / name, picture)
        except OSError as error:  # a verdict is worth more than its picture
            self._overlays_lost += 1
            logger.warning("overlay lost", extra={"overlay": name, "reason": str(error)})
            return None
        return name

    def _event(
        self,
        capture: Capture,
        verdict: Verdict,
        *,
        score: float | None = None,
        reason: str = "",
        overlay: str | None = None,
    ) -> Event:
        source, _, stamp = capture.found
        seconds = min(max(stamp.mtime_ns / 1e9, 0), LAST_SECOND)
        return Event(
            event_id=capture.event_id,
            part_id=PurePosixPath(source).stem,
            line=self._config.line,
            station=self._config.station,
            bundle_id=self._judge.bundle_id,
            verdict=verdict,
            score=score,
            band=self._judge.band,
            reason=reason,
            source=source,
            source_sha256=capture.sha256,
            captured_at=datetime.fromtimestamp(seconds, UTC),
            judged_at=self._clock.now(),
            latency_ms=self._latency_ms(),
            overlay=overlay,
        )

    def _latency_ms(self) -> float:
        return (self._clock.monotonic() - self._turned_at) * 1000

    def _watch_faults(self, event: Event) -> None:
        """Stop the station when it cannot judge any more, whatever the cause."""
        if event.verdict is not Verdict.FAULT:
            self._faults_in_a_row = 0
            return
        self._faults_in_a_row += 1
        logger.error("part not judged", extra={"part_id": event.part_id, "reason": event.reason})
        if self._faults_in_a_row >= self._config.faults_in_a_row:
            raise StationError(
                f"{self._faults_in_a_row} parts in a row could not be judged, the last "
                f"'{event.source}': {event.reason}; mend the cause, then start the station again"
            )
