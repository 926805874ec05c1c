"""Keeps threshold records: applied to stations, taken back, listed with who judges by them.

A record is signed with the hub's key and never changes. Taking one back is a new record that brings
the band before it; what is in force is the newest record that covers a station's frames.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select

from inspection.bundles.thresholds import ThresholdRecord, sign_thresholds
from inspection.core.decision import Band
from inspection.core.errors import ConfigError
from inspection.core.records import Card, parse_record
from inspection.hub.audit import note
from inspection.hub.hub import Hub
from inspection.hub.precedence import ByHand, before, by_hand, of_line, set_by_hand_since
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import (
    MICROSECOND,
    bundles,
    stations,
    threshold_records,
    threshold_stations,
)
from inspection.hub.wire.message import Answer
from inspection.hub.wire.thresholds import NewThresholds, Revert, ThresholdRow
from inspection.station.state import BundleStatus

LISTED = 500  # records of a line, the newest; older ones stay in the table


class _Said(Answer):
    """What of a station's status matters here."""

    bundles: tuple[BundleStatus, ...] = ()


@dataclass(frozen=True)
class _Kept:
    """A record of the line with the stations it was made for."""

    sha256: str
    record: ThresholdRecord
    reverts: str | None
    stations: frozenset[str]
    live: frozenset[str]
    """Stations on which no newer record covers all of its frames."""


def list_thresholds(hub: Hub, line: str) -> tuple[ThresholdRow, ...]:
    """Give the records of a line, the newest first, at most 500."""
    with hub.database.reading() as connection:
        kept = _read(connection, line)
        said = _read_statuses(connection, line)
    return tuple(_row(one, said) for one in kept)


def band_in_force(
    connection: Connection, line: str, bundle_id: str, product: str | None = None
) -> Band | None:
    """Give the band of `record_in_force`; none was set."""
    record = record_in_force(connection, line, bundle_id, product)
    return None if record is None else record.band


def record_in_force(
    connection: Connection, line: str, bundle_id: str, product: str | None = None
) -> ThresholdRecord | None:
    """Give the newest record of the band that most stations of a line have; none: the card's.

    It is for all cameras, and for all products or for that one; where none is named, for any. Of
    equals it is the older, for the newer is tried.
    """
    return of_line(_read(connection, line), _read_active(connection, line), bundle_id, product)


def read_by_hand(connection: Connection, line: str, bundle_id: str, product: str) -> ByHand:
    """Say on which stations a person's band is in force, be it for one camera only."""
    return by_hand(_read(connection, line), _read_active(connection, line), bundle_id, product)


def read_kept(connection: Connection, line: str) -> Sequence[_Kept]:
    """Give the last records of a line, the newest first."""
    return _read(connection, line)


def times_set(
    connection: Connection, line: str, bundle_id: str, product: str
) -> tuple[datetime, ...]:
    """Give when thresholds of a bundle were set for a product, or for all; the newest first."""
    return tuple(
        one.record.when
        for one in _read(connection, line)
        if one.record.bundle_id == bundle_id and one.record.product in {None, product}
    )


def read_card(connection: Connection, bundle_id: str) -> Card:
    """Give a bundle's card.

    Raises:
        NotThere: the hub has no such bundle.
    """
    text = connection.execute(
        select(bundles.c.card).where(bundles.c.bundle_id == bundle_id)
    ).scalar_one_or_none()
    if text is None:
        raise NotThere(f"bundle '{bundle_id}': not on this hub; list them with GET /v1/bundles")
    return Card.model_validate_json(text)


def apply_thresholds(
    hub: Hub, line: str, new: NewThresholds, who: str, *, asked_at: datetime | None = None
) -> ThresholdRow:
    """Apply a band to stations of a line, as a new signed record.

    `new.previous` is the newest record for all these frames, of all products and cameras it may be.

    Raises:
        NotThere: the hub has no such bundle.
        ConfigError: a station is none of the line's, or retired.
        Standing: the record seen in force is no longer that, or a person set a band for any of
            these frames, be it one camera's, after `asked_at`.
    """
    wanted, scope = frozenset(new.stations), (new.bundle_id, new.product, new.camera)
    with hub.database.writing() as connection:
        _require_stations(connection, line, wanted)
        read_card(connection, new.bundle_id)
        kept = _read(connection, line)
        newest = next((one for one in kept if one.record.covers(*scope)), None)
        if new.previous != (None if newest is None else newest.sha256):
            raise Standing(_changed(line, newest))
        if asked_at is not None:
            _require_no_hand(kept, new, asked_at)
        record = ThresholdRecord(
            bundle_id=new.bundle_id,
            product=new.product,
            camera=new.camera,
            band=new.band,
            who=who,
            when=_after(kept, hub.now()),
            why=new.comment,
            previous=before(kept, scope, wanted),
        )
        sha256 = _add(connection, line, record, wanted)
    hub.news.ring()
    return _one(hub, line, sha256)


def revert_thresholds(hub: Hub, line: str, revert: Revert, who: str) -> ThresholdRow:
    """Bring back the band before a record, or the card's, where the record is in force.

    Where its stations or products had different bands before, all get the newest of these.

    Raises:
        NotThere: the line has no such record.
        Standing: it is in force nowhere any more.
    """
    with hub.database.writing() as connection:
        _lock(connection, line)
        kept = _read(connection, line)
        found = next((one for one in kept if one.sha256 == revert.sha256), None)
        if found is None:
            raise NotThere(
                f"threshold record '{revert.sha256}': not among the last {LISTED} of line '{line}'"
            )
        wanted = found.live & _read_active(connection, line)
        if not wanted:
            raise Standing(
                f"threshold record '{revert.sha256}': in force on no station any more; take back "
                "the one that is, or apply its band anew"
            )
        record = found.record.model_copy(
            update={
                "band": _band_before(connection, found.record),
                "who": who,
                "when": _after(kept, hub.now()),
                "why": revert.comment,
                "previous": found.sha256,
            }
        )
        sha256 = _add(connection, line, record, wanted, reverts=found.sha256)
    hub.news.ring()
    return _one(hub, line, sha256)


def _one(hub: Hub, line: str, sha256: str) -> ThresholdRow:
    return next(row for row in list_thresholds(hub, line) if row.sha256 == sha256)


def _add(
    connection: Connection,
    line: str,
    record: ThresholdRecord,
    names: Iterable[str],
    reverts: str | None = None,
) -> str:
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
        "thresholds revert" if reverts else "thresholds apply",
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


def _lock(connection: Connection, line: str) -> None:
    """Let one person at a time set thresholds of a line; SQLite has one writer anyhow."""
    connection.execute(
        select(stations.c.station)
        .where(stations.c.line == line)
        .order_by(stations.c.station)
        .with_for_update()
    )


def _require_stations(connection: Connection, line: str, wanted: frozenset[str]) -> None:
    _lock(connection, line)
    active = _read_active(connection, line)
    if strange := sorted(wanted - active):
        raise ConfigError(
            f"stations {', '.join(strange)}: not in service on line '{line}'; wanted some of "
            f"{', '.join(sorted(active)) or 'none'}"
        )


def _read_active(connection: Connection, line: str) -> frozenset[str]:
    found = select(stations.c.station).where(
        stations.c.line == line, stations.c.retired_at.is_(None)
    )
    return frozenset(connection.execute(found).scalars())


def _band_before(connection: Connection, record: ThresholdRecord) -> Band:
    if record.previous is None:
        return read_card(connection, record.bundle_id).band
    text = connection.execute(
        select(threshold_records.c.text).where(threshold_records.c.sha256 == record.previous)
    ).scalar_one()
    return parse_record(text, ThresholdRecord, f"threshold record {record.previous}").band


def _read(connection: Connection, line: str) -> list[_Kept]:
    """Read the line's records, the newest first."""
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
    kept: list[_Kept] = []
    for row in rows:
        kept.append(_kept(row, frozenset(names[row.sha256]), kept))
    return kept


def _kept(row: Row[tuple[object, ...]], names: frozenset[str], newer: Sequence[_Kept]) -> _Kept:
    record = parse_record(row.text, ThresholdRecord, f"threshold record {row.sha256}")
    scope = record.bundle_id, record.product, record.camera
    replaced = frozenset[str]().union(*(o.stations for o in newer if o.record.covers(*scope)))
    return _Kept(row.sha256, record, row.reverts, names, names - replaced)


def _require_no_hand(kept: Sequence[_Kept], new: NewThresholds, asked_at: datetime) -> None:
    if (hand := set_by_hand_since(kept, new.bundle_id, new.product, asked_at)) is not None:
        raise Standing(
            f"thresholds were set by hand meanwhile, by {hand.who}; ask again to fit them anew"
        )


def _after(kept: Sequence[_Kept], now: datetime) -> datetime:
    """Give a time later than the newest record, or it would not be in force."""
    return max(now, kept[0].record.when + MICROSECOND) if kept else now


def _changed(line: str, newest: _Kept | None) -> str:
    by, name = ("", "none") if newest is None else (f" by {newest.record.who}", newest.sha256)
    return (
        f"line '{line}': thresholds were set{by} meanwhile; the newest record is {name}; look at "
        "it, then apply yours again"
    )


def _read_statuses(connection: Connection, line: str) -> dict[str, _Said]:
    rows = connection.execute(
        select(stations.c.station, stations.c.status).where(
            stations.c.line == line, stations.c.status.is_not(None)
        )
    )
    return {station: _Said.model_validate_json(status) for station, status in rows}


def _row(kept: _Kept, said: dict[str, _Said]) -> ThresholdRow:
    record = kept.record
    return ThresholdRow(
        sha256=kept.sha256,
        bundle_id=record.bundle_id,
        product=record.product,
        camera=record.camera,
        band=record.band,
        who=record.who,
        when=record.when,
        why=record.why,
        reverts=kept.reverts,
        in_force=bool(kept.live),
        stations=tuple(sorted(kept.stations)),
        used_by=tuple(
            station
            for station in sorted(kept.stations & said.keys())
            if any(_judges_by(one, record) for one in said[station].bundles)
        ),
    )


def _judges_by(said: BundleStatus, record: ThresholdRecord) -> bool:
    band = Band(review_above=said.review_above, reject_above=said.reject_above)
    return record.covers(said.bundle_id, said.product, said.camera) and band == record.band
