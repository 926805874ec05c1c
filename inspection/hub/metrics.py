"""Says requests and stations in Prometheus' text format."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from anyio import CapacityLimiter, to_thread
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import select
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspection.core.errors import HubError
from inspection.hub.hub import Hub
from inspection.hub.monitors import list_alarms
from inspection.hub.standing import station_rows

CONTENT_TYPE = CONTENT_TYPE_LATEST
BOUNDS_S = (0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

logger = logging.getLogger(__name__)

RECENT_S = 1.0  # so long an answer is given again
T = TypeVar("T")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Recent(Generic[T]):
    """The last answer of a function, asked again after a second, in a thread of its own.

    However often strangers ask, the database is asked once a second, and no request waits for a
    thread that strangers hold.

    Args:
        ask: the function.
    """

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask, self._asking, self._thread = ask, asyncio.Lock(), CapacityLimiter(1)
        self._asked_s = -math.inf
        self._answer: T | None = None
        self._failure = ""

    async def __call__(self) -> T:
        """Give the answer.

        Raises:
            HubError: the database does not answer, or holds what cannot be read.
        """
        async with self._asking:
            if time.monotonic() - self._asked_s > RECENT_S:
                self._failure = ""
                try:
                    self._answer = await to_thread.run_sync(self._ask, limiter=self._thread)
                except HubError as error:
                    self._failure = str(error)
                except ValueError:
                    logger.exception("metrics cannot be read")
                    self._failure = "metrics cannot be read from the database; see the hub's log"
                self._asked_s = time.monotonic()
            if self._failure:
                raise HubError(self._failure)
            return cast("T", self._answer)


class Metrics:
    """The metrics of one hub, in a registry of their own; for several threads."""

    def __init__(self, hub: Hub) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "inspection_hub_request_seconds",
            "Requests by route and status, from their first byte to the answer's last",
            ["method", "route", "status"],
            registry=self._registry,
            buckets=BOUNDS_S,
        )
        self._registry.register(_Stations(hub))
        self._registry.register(_Alarms(hub))
        self._hub = hub
        self.is_up = Recent(self._query)
        """Answers while the database does."""
        self.text = Recent(self._write)
        """All metrics, of CONTENT_TYPE."""

    def observe(self, scope: Scope, status: int, took_s: float) -> None:
        """Take one answered request; its path as a route only, or every id were a series."""
        route = getattr(scope.get("route"), "path", "none")
        method = (
            scope["method"] if scope["method"] in METHODS else "other"
        )  # a client may make up any
        self._requests.labels(method, route, status).observe(took_s)

    def _query(self) -> bool:
        with self._hub.database.reading() as connection:
            connection.execute(select(1))
        return True

    def _write(self) -> bytes:
        return generate_latest(self._registry)


class Measured:
    """ASGI middleware that tells the metrics of every request.

    Args:
        app: what answers.
        metrics: that are told.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500  # what the server makes of an error nobody took

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            self._metrics.observe(scope, status, time.perf_counter() - began)


class _Stations(Collector):
    """Reads the stations whenever it is asked."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def describe(self) -> list[Metric]:
        """Give nothing: the registry need not ask the database just to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give how every station stands that is not retired."""
        with self._hub.database.reading() as connection:
            rows = station_rows(connection, self._hub, {})
        up = _gauge("up", "1 while it says something")
        behind = _gauge("behind_events", "Events it has and the hub has not")
        skew = _gauge("clock_skew_seconds", "Its clock minus the hub's")
        for row in rows:
            if row.retired_at is not None:
                continue
            labels = [row.line, row.station]
            up.add_metric(labels, not row.silent)
            if row.status is not None and row.behind is not None and row.skew_s is not None:
                behind.add_metric(labels, row.behind)
                skew.add_metric(labels, row.skew_s)
        yield from (up, behind, skew)


class _Alarms(Collector):
    """Reads the alarms that stand whenever it is asked."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def describe(self) -> list[Metric]:
        """Give nothing, as for stations."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give 1 for every cause whose alarm stands."""
        labels = ["line", "product", "station", "camera", "cause"]
        about = "1 while something stands that has moved"
        standing = GaugeMetricFamily("inspection_drift_alarm", about, labels=labels)
        known = list_alarms(self._hub, None, standing=True)
        for place in sorted({tuple(getattr(one, name) for name in labels) for one in known}):
            standing.add_metric(list(place), 1)
        yield standing


def _gauge(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(
        f"inspection_hub_station_{name}", documentation, labels=["line", "station"]
    )
