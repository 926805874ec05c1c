"""Says the station's snapshot and its latencies in Prometheus' text format."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import numpy as np
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inspection.core.decision import Verdict
from inspection.core.image_statistics import STATISTICS, Reference
from inspection.core.records import Event, FrameRecord
from inspection.station.state import BundleStatus, StationState, StationStatus

CONTENT_TYPE = CONTENT_TYPE_LATEST
OF_DEADLINE = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Bounds of the latency's buckets; the one at 1 divides parts in time from late ones."""
PASSED = 100  # parts the image statistics are the mean of
IMAGE = f"Mean over the last {PASSED} measured parts that passed; score: the raw score"
SHIFT = (
    "The same less the mean of the calibrate normals, in their standard deviations; embedding: "
    "the length of its mean, sqrt(sum(mean_i ** 2)) over its directions i, in each of which the "
    "fit normals have mean 0 and deviation 1; without drift about sqrt(directions / parts)"
)


class Metrics:
    """The metrics of one station, in a registry of their own; for several threads.

    Args:
        status: the station's last snapshot.
        silent_s: seconds for which its heartbeat has stood still.
        deadline_ms: from a part's arrival to its verdict.
    """

    def __init__(
        self,
        status: Callable[[], StationStatus],
        silent_s: Callable[[], float],
        deadline_ms: int,
    ) -> None:
        self._registry = CollectorRegistry()
        self._latency = Histogram(
            "inspection_latency_seconds",
            "From a part's arrival to its verdict",
            registry=self._registry,
            buckets=[share * deadline_ms / 1000 for share in OF_DEADLINE],
        )
        self._looks = Counter(
            "inspection_second_stage",
            "Frames that a second stage is for, by how it ended; skipped ones it did not look at",
            ["status"],
            registry=self._registry,
        )
        self._known = Counter(
            "inspection_known_defects",
            "Objects the second stage named",
            ["product", "type"],
            registry=self._registry,
        )
        self._registry.register(_Snapshot(status, silent_s))
        self._images = _Images(status)
        self._registry.register(self._images)

    def observe(self, event: Event) -> None:
        """Take the latency of one event, and what its frames look like if it passed."""
        self._latency.observe(event.latency_ms / 1000)
        self._images.take(event)
        for recognised in (frame.recognised for frame in event.frames):
            if recognised is not None:
                self._looks.labels(recognised.status).inc()
                for type_, count in recognised.counts.items():
                    self._known.labels(event.product, type_).inc(count)

    def text(self) -> bytes:
        """Give all metrics as they stand now, of CONTENT_TYPE."""
        return generate_latest(self._registry)


class _Snapshot(Collector):
    """Turns one snapshot into metrics whenever it is asked."""

    def __init__(self, status: Callable[[], StationStatus], silent_s: Callable[[], float]) -> None:
        self._status, self._silent_s = status, silent_s

    def describe(self) -> list[Metric]:
        """Give nothing: the registry need not take a snapshot just to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give every metric of one snapshot."""
        status = self._status()
        yield from _station(status, self._silent_s())
        yield from _outputs(status)
        yield from _bundles(status)
        yield from _late_frames(status)
        yield from _disk(status)


class _Images(Collector):
    """Says what the parts that passed of late look like, camera by camera; for several threads."""

    def __init__(self, status: Callable[[], StationStatus]) -> None:
        self._status, self._lock = status, Lock()
        self._passed: dict[tuple[str, str], deque[FrameRecord]] = defaultdict(
            lambda: deque(maxlen=PASSED)
        )

    def describe(self) -> list[Metric]:
        """Give nothing, as before the first part."""
        return []

    def take(self, event: Event) -> None:
        """Take the frames of a part, if it passed: defects look like nothing in particular."""
        if event.verdict is not Verdict.PASS:
            return
        with self._lock:
            for frame in event.frames:
                if frame.statistics is None:
                    continue
                passed = self._passed[event.product, frame.camera]
                if passed and passed[-1].bundle_id != frame.bundle_id:
                    passed.clear()  # scores and embeddings of two bundles have no mean
                passed.append(frame)

    def collect(self) -> Iterator[Metric]:
        """Give the mean of each statistic and of the score, and how far they and features lie."""
        with self._lock:
            passed = {where: tuple(found) for where, found in self._passed.items()}
        judging = {(one.product, one.camera, one.bundle_id): one for one in self._status().bundles}
        labels = ["product", "camera", "statistic"]
        mean = GaugeMetricFamily("inspection_image", IMAGE, labels=labels)
        shift = GaugeMetricFamily("inspection_image_shift", SHIFT, labels=labels)
        for where, found in passed.items():
            references = _references(judging.get((*where, found[-1].bundle_id)))
            for name, value in _means(found):
                mean.add_metric([*where, name], value)
                reference = references.get(name)
                if reference is not None and reference.deviation > 0:
                    shift.add_metric([*where, name], (value - reference.mean) / reference.deviation)
            if (away := _away(found)) is not None:
                shift.add_metric([*where, "embedding"], away)
        yield from (mean, shift)


def _means(frames: Sequence[FrameRecord]) -> Iterator[tuple[str, float]]:
    for name in STATISTICS:
        yield name, float(np.mean([getattr(one.statistics, name) for one in frames]))
    scores = [one.score for one in frames if one.score is not None]
    if scores:
        yield "score", float(np.mean(scores))


def _references(bundle: BundleStatus | None) -> dict[str, Reference | None]:
    """Give what each mean is held against; none of a bundle that judges no more."""
    if bundle is None:
        return {}
    images = {name: getattr(bundle.statistics, name, None) for name in STATISTICS}
    return images | {"score": bundle.scores}


def _away(frames: Sequence[FrameRecord]) -> float | None:
    """Give the length of the mean embedding; none of a bundle without features.

    The fit normals have mean 0 and deviation 1 in each direction, so it is how far the features
    have moved, in standard deviations, whatever the direction: sqrt(sum(mean_i ** 2)). Of n parts
    without drift and k directions it is about sqrt(k / n), 0.4 of 100 parts and 16 directions.
    """
    rows = [one.statistics.embedding for one in frames if one.statistics is not None]
    known = [row for row in rows if row is not None]
    return float(np.linalg.norm(np.mean(known, axis=0))) if known else None


def _station(status: StationStatus, silent_s: float) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "inspection_station_info", "Always 1", labels=["line", "station", "version"]
    )
    info.add_metric([status.line, status.station, status.version], 1)
    yield info
    state = GaugeMetricFamily(
        "inspection_state", "1 for the state the station is in, 0 for the others", labels=["state"]
    )
    for one in StationState:
        state.add_metric([one], one is status.state)
    yield state
    yield _gauge(
        "start_time_seconds", "When the station started, Unix time", status.started_at.timestamp()
    )
    yield _counter("heartbeats", "Heartbeats since the start", status.beat)
    yield _gauge("heartbeat_age_seconds", "Since the last heartbeat", silent_s)
    events = CounterMetricFamily("inspection_events", "Events since the start", labels=["verdict"])
    for verdict, count in status.since_start.items():
        events.add_metric([verdict], count)
    yield events
    yield _counter("late_parts", "Parts that were FAULT because they came too late", status.late)
    yield _gauge("queue_parts", "Parts that wait to be judged", status.waiting)
    yield _gauge("source_up", "1 while the source brings parts", not status.source)


def _outputs(status: StationStatus) -> Iterator[Metric]:
    up = GaugeMetricFamily("inspection_output_up", "1 while connected", labels=["output"])
    waiting = GaugeMetricFamily(
        "inspection_output_waiting_events", "Events not acknowledged yet", labels=["output"]
    )
    for output in status.outputs:
        up.add_metric([output.name], output.up)
        waiting.add_metric([output.name], output.waiting)
    yield from (up, waiting)


def _bundles(status: StationStatus) -> Iterator[Metric]:
    names = ["product", "camera"]
    info = GaugeMetricFamily(
        "inspection_bundle_info", "1 for the bundle in force", labels=[*names, "name", "bundle_id"]
    )
    trial = GaugeMetricFamily("inspection_bundle_trial", "1 while on trial", labels=names)
    override = GaugeMetricFamily(
        "inspection_threshold_override",
        "1 while thresholds lie beyond the limits of the bundle's card",
        labels=names,
    )
    limit = GaugeMetricFamily(
        "inspection_threshold",
        "Raw score above which a frame gets the verdict",
        labels=[*names, "verdict"],
    )
    for bundle in status.bundles:
        where = [bundle.product, bundle.camera]
        info.add_metric([*where, bundle.name, bundle.bundle_id], 1)
        trial.add_metric(where, bundle.trial)
        override.add_metric(where, bool(bundle.override))
        limit.add_metric([*where, "REVIEW"], bundle.review_above)
        limit.add_metric([*where, "REJECT"], bundle.reject_above)
    yield from (info, trial, limit, override)


def _late_frames(status: StationStatus) -> Iterator[Metric]:
    yield _counter("late_frames", "Came after the verdict on their part", status.late_frames)


def _disk(status: StationStatus) -> Iterator[Metric]:
    yield _gauge("disk_bytes", "Of the record and the pictures", status.disk_bytes)
    yield _gauge("disk_budget_bytes", "Most of them", status.budget_bytes)
    dropped = CounterMetricFamily(
        "inspection_dropped", "What the byte budget or a full disk took", labels=["what"]
    )
    for what, count in status.dropped.items():
        dropped.add_metric([what], count)
    yield dropped


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"inspection_{name}", documentation, value)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(f"inspection_{name}", documentation, value)
