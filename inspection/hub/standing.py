"""Says how each station stands: seen when, how far its clock is off, what the hub lacks of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from inspection.hub.hub import Hub
from inspection.hub.tables import stations
from inspection.hub.wire.line import StationRow
from inspection.hub.wire.people import Token
from inspection.station.state import StationStatus

SILENT_S = 15.0  # three heartbeats of a station's default


def station_rows(
    connection: Connection, hub: Hub, tokens: Mapping[str, tuple[Token, ...]]
) -> tuple[StationRow, ...]:
    """Give every station as it said last, by line and name.

    Args:
        connection: to read by.
        hub: whose clock and limits hold.
        tokens: of each station, for those who may see them.
    """
    found = connection.execute(select(stations).order_by(stations.c.line, stations.c.station))
    now = hub.now()
    return tuple(
        _station_row(row, now, hub.config.limits.skew_s, tokens.get(row.station, ()))
        for row in found
    )


def _station_row(
    row: Row[Any], now: datetime, skew_most_s: float, tokens: tuple[Token, ...]
) -> StationRow:
    status = (
        None
        if row.status is None
        else StationStatus.model_validate_json(row.status, extra="ignore")
    )
    return StationRow(
        station=row.station,
        line=row.line,
        enrolled_at=row.enrolled_at,
        retired_at=row.retired_at,
        copied_at=row.copied_at,
        seen_at=row.seen_at,
        silent=row.seen_at is None or (now - row.seen_at).total_seconds() > SILENT_S,
        skew_s=row.skew_s,
        skewed=row.skew_s is not None and abs(row.skew_s) > skew_most_s,
        behind=None if status is None else max(0, status.sequence - row.last_sequence),
        status=status,
        tokens=tokens,
    )
