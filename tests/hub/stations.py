"""Statuses of stations for tests, as stations say them."""

from datetime import UTC, datetime

from inspection.station.state import StationState, StationStatus


def status(**changes) -> StationStatus:
    """Give a status of a station that works."""
    now = datetime.now(UTC)
    values = {
        "line": "line-1",
        "station": "station-1",
        "state": StationState.READY,
        "reason": "",
        "beat": 1,
        "at": now,
        "started_at": now,
        "version": "1",
        "deadline_ms": 100,
        "counts": {},
        "since_start": {},
        "sequence": 0,
        "last": (),
        "latency": None,
        "waiting": 0,
        "late": 0,
        "source": "",
        "outputs": (),
        "bundles": (),
        "disk_bytes": 0,
        "budget_bytes": 1,
        "dropped": {},
    }
    return StationStatus(**values | changes)
