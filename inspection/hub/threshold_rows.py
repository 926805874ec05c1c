"""The rows of threshold records: written once, read with where each of them is in force."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select

from inspection.bundles.thresholds import ThresholdRecord, sign_thresholds
from inspection.core.records import parse_record
from inspection.hub.audit import note
from inspection.hub.tables import MICROSECOND, stations, threshold_records, threshold_stations

LISTED = 500  # records of a line, the newest; older ones stay in the table


@dataclass(frozen=True)
class Kept:
    """A record of the line with the stations it was made for."""

    sha256: str
    record: ThresholdRecord
    reverts: str | None
    carries: str | None
    stations: frozenset[str]
    live: frozenset[str]
    """Stations on which no newer record covers all of its frames."""
    origin: ThresholdRecord
    """Itself, or the record of another bundle whose band it took over."""


def read_kept(connection: Connection, line: str) -> list[Kept]:
    """Read the records of a line, at most 500, the newest first."""
    rows = connection.execute(
        select(threshold_records)
        .where(threshold_records.c.line == line)
        .order_by(threshold_records.c.when.desc(), threshold_records.c.id.desc())
        .limit(LISTED)
    ).all()
    wanted = {row.sha256 for row in rows}
    names: dict[str, set[str]] = {sha256: set() for sha256 in wanted}
    for sha256, station in connection.execute(
        select(threshold_stations.c.sha256, threshold_stations.c.station)
        .join(threshold_records, threshold_records.c.sha256 == threshold_stations.c.sha256)
        .where(threshold_records.c.line == line)
    ):
        if sha256 in wanted:
            names[sha256].add(station)
    kept: list[Kept] = []
    for row in rows:
        kept.append(_kept(row, frozenset(names[row.sha256]), kept))
    known = {one.sha256: one for one in kept}
    return [replace(one, origin=_origin(one, known)) for one in kept]


def _origin(one: Kept, known: Mapping[str, Kept]) -> ThresholdRecord:
    """Give the record whose band was taken over, be it by way of several bundles."""
    while (source := known.get(one.carries or "")) is not None:
        one = source
    return one.record


def _kept(row: Row[tuple[object, ...]], names: frozenset[str], newer: Sequence[Kept]) -> Kept:
    record = parse_record(row.text, ThresholdRecord, f"threshold record {row.sha256}")
    scope = record.bundle_id, record.product, record.camera
    replaced = frozenset[str]().union(*(o.stations for o in newer if o.record.covers(*scope)))
    live = names - replaced
    return Kept(row.sha256, record, row.reverts, row.carries, names, live, record)


def read_active(connection: Connection, line: str) -> frozenset[str]:
    """Give the stations in service on a line."""
    found = select(stations.c.station).where(
        stations.c.line == line, stations.c.retired_at.is_(None)
    )
    return frozenset(connection.execute(found).scalars())


def add_record(
    connection: Connection,
    line: str,
    record: ThresholdRecord,
    names: Iterable[str],
    *,
    reverts: str | None = None,
    carries: str | None = None,
) -> str:
    """Sign and keep a record for some stations, and note it; give the hash of its text."""
    signed = sign_thresholds(record)
    connection.execute(
        insert(threshold_records).values(
            sha256=signed.sha256,
            line=line,
            bundle_id=record.bundle_id,
            text=signed.signed.text,
            signature=signed.signed.signature.model_dump_json(),
            when=record.when,
            reverts=reverts,
            carries=carries,
        )
    )
    ordered = sorted(names)
    connection.execute(
        insert(threshold_stations),
        [{"sha256": signed.sha256, "station": station} for station in ordered],
    )
    note(
        connection,
        record.when,
        record.who,
        f"thresholds {'revert' if reverts else 'carry' if carries else 'apply'}",
        f"{line}: {', '.join(ordered)}",
        sha256=signed.sha256,
        bundle_id=record.bundle_id,
        product=record.product,
        camera=record.camera,
        review_above=record.band.review_above,
        reject_above=record.band.reject_above,
        why=record.why,
        previous=record.previous,
    )
    return signed.sha256


def lock_line(connection: Connection, line: str) -> None:
    """Let one person at a time set thresholds of a line; SQLite has one writer anyhow."""
    connection.execute(
        select(stations.c.station)
        .where(stations.c.line == line)
        .order_by(stations.c.station)
        .with_for_update()
    )


def after_all(kept: Sequence[Kept], now: datetime) -> datetime:
    """Give a time later than the newest record, or it would not be in force."""
    return max(now, kept[0].record.when + MICROSECOND) if kept else now
