"""Gathers what the threads of a station know of themselves into one snapshot."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from threading import Lock

import numpy as np

from inspection.core.decision import Verdict
from inspection.core.known import Recognised
from inspection.core.records import Event
from inspection.station.clock import Clock
from inspection.station.settings import MB, StationConfig
from inspection.station.state import (
    BundleStatus,
    ChallengerStatus,
    Latencies,
    OutputStatus,
    SelftestStatus,
    StationState,
    StationStatus,
)

LATE_FRAMES = "late frames"
"""Counter of frames that came after the event of their part."""
LAST_SHOWN = 10
LATENCIES = 1_000  # parts the percentiles are of
HANGS_AFTER_S = 5.0  # beyond the deadline, for a slow disk


@dataclass(frozen=True)
class Surroundings:
    """What the snapshot takes from elsewhere, as it is now."""

    waiting: int = 0
    source: str = ""
    outputs: tuple[OutputStatus, ...] = ()
    bundles: tuple[BundleStatus, ...] = ()
    challengers: tuple[ChallengerStatus, ...] = ()
    selftest: SelftestStatus | None = None
    disk_bytes: int = 0


class Health:
    """State, counters and times of one run; for several threads."""

    def __init__(
        self, config: StationConfig, counters: Mapping[str, int], latest: list[Event], clock: Clock
    ) -> None:
        """Begin with what earlier runs recorded.

        Args:
            config: the station's configuration.
            counters: those of the record: events of each verdict, and what was dropped.
            latest: the last events, newest first.
            clock: for the snapshot's times, and to see that the loop turns.
        """
        self._config, self._clock = config, clock
        self._lock = Lock()
        self._started_at = clock.now()
        self._state, self._reason = StationState.STARTING, "opens its bundles and tests itself"
        self._blocked = self._failing = ""
        self._counters = Counter(counters)
        self._since_start: Counter[Verdict] = Counter()
        self._last = deque(map(_without_masks, latest), maxlen=LAST_SHOWN)
        self.sequence = latest[0].sequence if latest else 0
        """Of the last event; 0 before the first."""
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self._late = 0
        self._known = 0
        self._beat = 0
        self._ticked_s = clock.monotonic()

    def turn(self, state: StationState, reason: str = "") -> None:
        """Change the state."""
        with self._lock:
            self._state, self._reason = state, reason
        self.tick()

    def end(self, reason: str) -> None:
        """Say that the station ends, and why; the first reason stands."""
        if self._state is not StationState.STOPPED:
            self.turn(StationState.STOPPED, reason)

    def block(self, reason: str) -> None:
        """Say why no event can be made durable; empty when it can be again."""
        self._blocked = reason

    def fail(self, reason: str) -> None:
        """Say why the bundle could not judge the last part; empty when it could."""
        self._failing = reason

    def tick(self) -> None:
        """Say that the loop lives."""
        self._ticked_s = self._clock.monotonic()

    @property
    def hangs(self) -> bool:
        """Whether the loop has not said for long that it lives; no verdict comes from it."""
        silent_s = self._clock.monotonic() - self._ticked_s
        return silent_s > self._config.deadline_ms / 1000 + HANGS_AFTER_S

    def judged(self, event: Event) -> None:
        """Take one event that became durable."""
        with self._lock:
            self._counters[event.verdict] += 1
            self._since_start[event.verdict] += 1
            self.sequence = event.sequence
            self._last.appendleft(_without_masks(event))
            self._latencies_ms.append(event.latency_ms)
            self._late += event.latency_ms > self._config.deadline_ms

    def again(self) -> None:
        """Count a part that was handed in again and had its event."""
        self._known += 1

    def drop(self, name: str, by: int = 1) -> None:
        """Count what the byte budget or the disk took, or came late."""
        with self._lock:
            self._counters[name] += by

    def beat(self, surroundings: Surroundings) -> StationStatus:
        """Count one heartbeat and give the snapshot."""
        with self._lock:
            self._beat += 1
            state, reason = self._shown(surroundings)
            return StationStatus(
                line=self._config.line,
                station=self._config.station,
                state=state,
                reason=reason,
                beat=self._beat,
                at=self._clock.now(),
                started_at=self._started_at,
                version=version("inspection"),
                deadline_ms=self._config.deadline_ms,
                counts={verdict: self._counters[verdict] for verdict in Verdict},
                since_start={verdict: self._since_start[verdict] for verdict in Verdict},
                sequence=self.sequence,
                last=tuple(self._last),
                latency=self._latency(),
                waiting=surroundings.waiting,
                known=self._known,
                late=self._late,
                source=surroundings.source,
                outputs=surroundings.outputs,
                bundles=surroundings.bundles,
                challengers=surroundings.challengers,
                selftest=surroundings.selftest,
                disk_bytes=surroundings.disk_bytes,
                budget_bytes=self._config.spool.budget_mb * MB,
                dropped={
                    k: n for k, n in self._counters.items() if k not in {*Verdict, LATE_FRAMES}
                },
                late_frames=self._counters[LATE_FRAMES],
            )

    def _shown(self, surroundings: Surroundings) -> tuple[StationState, str]:
        if self._state is not StationState.READY:
            return self._state, self._reason
        if self._blocked or self.hangs:
            return StationState.BLOCKED, self._blocked or "the loop hangs; restart the station"
        if surroundings.source or self._failing:
            return StationState.IMPAIRED, surroundings.source or self._failing
        return self._state, self._reason

    def _latency(self) -> Latencies | None:
        if not self._latencies_ms:
            return None
        p50, p99 = np.percentile(self._latencies_ms, (50, 99))
        return Latencies(parts=len(self._latencies_ms), p50_ms=float(p50), p99_ms=float(p99))


def _without_masks(event: Event) -> Event:
    """Leave out what fills most of an event and nobody reads from a snapshot."""
    if not any(frame.recognised for frame in event.frames):
        return event
    frames = (
        frame.model_copy(update={"recognised": frame.recognised and _plain(frame.recognised)})
        for frame in event.frames
    )
    return event.model_copy(update={"frames": tuple(frames)})


def _plain(recognised: Recognised) -> Recognised:
    found = (one.model_copy(update={"mask": None}) for one in recognised.found)
    return recognised.model_copy(update={"found": tuple(found)})
