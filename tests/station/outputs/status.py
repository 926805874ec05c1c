"""Makes a station's status, for the tests of heartbeats."""

from datetime import UTC, datetime

from inspection.core.decision import Verdict
from inspection.station.state import StationState, StationStatus


def status(state: StationState = StationState.READY, beat: int = 1, **changes) -> StationStatus:
    """Make the status of a station that has judged nothing yet."""
    now = datetime(2025, 3, 1, 6, 30, tzinfo=UTC)
    values = {
        "line": "line-1",
        "station": "station-1",
        "state": state,
        "reason": "" if state is StationState.READY else "camera unplugged",
        "beat": beat,
        "at": now,
        "started_at": now,
        "version": "0.1.0",
        "deadline_ms": 1000,
        "counts": dict.fromkeys(Verdict, 0),
        "since_start": dict.fromkeys(Verdict, 0),
        "sequence": 0,
        "last": (),
        "latency": None,
        "waiting": 0,
        "late": 0,
        "source": "",
        "outputs": (),
        "bundles": (),
        "disk_bytes": 0,
        "budget_bytes": 16_000_000,
        "dropped": {},
    }
    return StationStatus.model_validate(values | changes)
