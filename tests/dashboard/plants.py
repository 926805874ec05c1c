"""A small plant as the hub answers it: stations, an overview, accounts, the audit log."""

from datetime import timedelta

from inspection.core.decision import Verdict
from inspection.hub.wire.line import Drift, HourCount, LineOverview, Need, Overview, StationRow
from inspection.hub.wire.message import Rate
from inspection.hub.wire.people import AuditEntry, Role, Token
from inspection.metrics.causes import Cause
from inspection.station.state import (
    BundleStatus,
    Latencies,
    OutputStatus,
    StationState,
    StationStatus,
)
from tests.dashboard.drawn import AT, BUNDLE

TOKEN = Token(id=1, created_at=AT, created_by="admin-1", used_at=AT, revoked_at=None)


def status(station: str = "station-1", **more) -> StationStatus:
    """What a station says of itself while all is well."""
    counts = {Verdict.PASS: 95, Verdict.REVIEW: 3, Verdict.REJECT: 1, Verdict.FAULT: 1}
    values = {
        "line": "line-1",
        "station": station,
        "state": StationState.READY,
        "reason": "",
        "beat": 7,
        "at": AT,
        "started_at": AT - timedelta(hours=2),
        "version": "0.1.0",
        "deadline_ms": 1000,
        "counts": counts,
        "since_start": counts,
        "sequence": 100,
        "last": (),
        "latency": Latencies(parts=100, p50_ms=70.0, p99_ms=90.0),
        "waiting": 0,
        "late": 0,
        "source": "",
        "outputs": (OutputStatus(name="hub", up=True, waiting=0, reason=""),),
        "bundles": (
            BundleStatus(
                product="default",
                camera="main",
                name="plate",
                bundle_id=BUNDLE,
                review_above=2.0,
                reject_above=4.0,
                since=AT,
                trial=False,
                note="",
            ),
        ),
        "disk_bytes": 1_000_000,
        "budget_bytes": 10_000_000,
        "dropped": {},
    }
    return StationStatus(**values | more)


def station(name: str = "station-1", **more) -> StationRow:
    """One station as the hub knows it."""
    values = {
        "station": name,
        "line": "line-1",
        "enrolled_at": AT,
        "retired_at": None,
        "seen_at": AT,
        "silent": False,
        "skew_s": 0.1,
        "skewed": False,
        "behind": 0,
        "copied_at": None,
        "status": status(name),
        "tokens": (TOKEN,),
    }
    return StationRow(**values | more)


def overview(*needs: Need, **more) -> Overview:
    """One line with one station, an hour of parts, and drift."""
    rates = {
        Verdict.REJECT: Rate(count=1, of=100, value=0.01, low=0.002, high=0.054),
        Verdict.REVIEW: Rate(count=3, of=100, value=0.03, low=0.01, high=0.085),
    }
    values = {
        "line": "line-1",
        "stations": (station(),),
        "hours": (HourCount(hour=AT, station="station-1", verdict=Verdict.PASS, parts=95),),
        "parts": 100,
        "rates": rates,
        "defects": {"scratch": 4},
        "late": 2,
        "latency_mean_ms": 71.0,
        "latency_most_ms": 93.0,
        "deadline_ms": 1000,
        "drift": (
            Drift(bundle_id=BUNDLE, lit=True, cause=Cause.SCORE, shift=2.5, note="drifts up"),
        ),
        "waiting": 12,
    }
    return Overview(at=AT, span_h=24, lines=(LineOverview(**values | more),), needs=needs)


def entry(number: int, action: str, subject: str, **detail) -> AuditEntry:
    """One entry of the audit log."""
    return AuditEntry(
        id=number,
        at=AT,
        actor=f"{Role.ADMIN}-1",
        action=action,
        subject=subject,
        detail=detail,
        previous="0" * 64,
        sha256="1" * 64,
    )
