"""Keeps threshold records: applied to stations, taken back, listed with who judges by them.

A record is signed with the hub's key and never changes. Taking one back is a new record that brings
the band before it; what is in force is the newest record that covers a station's frames. A bundle
with the scores of another may take over its bands: each is a new record that names the other's.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, select

from inspection.bundles.thresholds import ThresholdRecord
from inspection.core.decision import Band
from inspection.core.errors import ConfigError
from inspection.core.records import Card, parse_record
from inspection.hub.challengers import POLICY
from inspection.hub.hub import Hub
from inspection.hub.precedence import ByHand, before, by_hand, meets, of_line, set_by_hand_since
from inspection.hub.refusals import NotThere, Standing
from inspection.hub.tables import (
    bundles,
    stations,
    threshold_records,
)
from inspection.hub.threshold_rows import (
    LISTED,
    Kept,
    add_record,
    after_all,
    lock_line,
    read_active,
    read_kept,
)
from inspection.hub.wire.message import Answer
from inspection.hub.wire.thresholds import NewThresholds, Revert, ThresholdRow
from inspection.station.state import BundleStatus

MOST_WORDS = 1_000  # of a comment


class _Said(Answer):
    """What of a station's status matters here."""

    bundles: tuple[BundleStatus, ...] = ()


def list_thresholds(hub: Hub, line: str) -> tuple[ThresholdRow, ...]:
    """Give the records of a line, the newest first, at most 500."""
    with hub.database.reading() as connection:
        kept = read_kept(connection, line)
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
    equals it is the older, for the newer is tried. If its band was taken over from another bundle,
    the record that set it there is given.
    """
    return of_line(read_kept(connection, line), read_active(connection, line), bundle_id, product)


def read_by_hand(connection: Connection, line: str, bundle_id: str, product: str) -> ByHand:
    """Say on which stations a person's band is in force, be it for one camera only."""
    return by_hand(read_kept(connection, line), read_active(connection, line), bundle_id, product)


def times_set(
    connection: Connection, line: str, bundle_id: str, product: str
) -> tuple[datetime, ...]:
    """Give when thresholds of a bundle were set for a product, or for all; the newest first."""
    return tuple(
        one.record.when
        for one in read_kept(connection, line)
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
        ConfigError: a station is none of the line's, or retired; the band lies beyond the limits
            of the bundle's card.
        Standing: the record seen in force is no longer that, or a person set a band for any of
            these frames, be it one camera's, after `asked_at`.
    """
    with hub.database.writing() as connection:
        sha256 = write_thresholds(connection, hub, line, new, Signers(who), asked_at)
    hub.news.ring()
    return read_row(hub, line, sha256)


class Signers(NamedTuple):
    """Who sets thresholds, and who approved of them where that takes a second person."""

    who: str
    approved_by: str | None = None


def write_thresholds(
    connection: Connection,
    hub: Hub,
    line: str,
    new: NewThresholds,
    signers: Signers,
    asked_at: datetime | None = None,
) -> str:
    """Do what `apply_thresholds` does, in a transaction; give the record's sha256."""
    wanted, scope = frozenset(new.stations), (new.bundle_id, new.product, new.camera)
    kept = require_applicable(connection, line, new)
    if asked_at is not None:
        _require_no_hand(kept, new, asked_at)
    record = ThresholdRecord(
        bundle_id=new.bundle_id,
        product=new.product,
        camera=new.camera,
        band=new.band,
        who=signers.who,
        approved_by=signers.approved_by,
        when=after_all(kept, hub.now()),
        why=new.comment,
        previous=before(kept, scope, wanted),
    )
    _require_within(record, read_card(connection, new.bundle_id), four_eyes=hub.config.four_eyes)
    return add_record(connection, line, record, wanted)


def require_applicable(connection: Connection, line: str, new: NewThresholds) -> list[Kept]:
    """Refuse thresholds for stations or bundles that are not there, or that others set meanwhile.

    Returns:
        The records of the line, the newest first.

    Raises:
        NotThere, ConfigError, Standing: as for `apply_thresholds`.
    """
    _require_stations(connection, line, frozenset(new.stations))
    read_card(connection, new.bundle_id)
    kept = read_kept(connection, line)
    scope = new.bundle_id, new.product, new.camera
    newest = next((one for one in kept if one.record.covers(*scope)), None)
    if new.previous != (None if newest is None else newest.sha256):
        raise Standing(_changed(line, newest))
    return kept


def _require_within(record: ThresholdRecord, card: Card, *, four_eyes: bool) -> None:
    if refusal := record.refusal(card, four_eyes=four_eyes):
        raise ConfigError(f"{refusal}: propose them")


def carry_thresholds(hub: Hub, line: str, champion_id: str, bundle_id: str) -> int:
    """Hold a bundle against the bands that another with the same scores has on a line.

    What was carried stays carried, so that the same again changes nothing; a band that was set for
    the bundle itself since, be it for one camera, stays, too.

    Returns:
        How many records were made.
    """
    with hub.database.reading() as connection:
        if not _to_carry(connection, line, champion_id, bundle_id):
            return 0
    with hub.database.writing() as connection:
        lock_line(connection, line)
        found = _to_carry(connection, line, champion_id, bundle_id)
        for one, wanted in found:
            kept, by = read_kept(connection, line), one.origin
            words = f"as of bundle {by.bundle_id[:12]}, whose scores it has, by {by.who}: {by.why}"
            changed = {
                "bundle_id": bundle_id,
                "who": POLICY,
                "when": after_all(kept, hub.now()),
                "why": words[:MOST_WORDS],
                "previous": before(
                    kept, (bundle_id, one.record.product, one.record.camera), wanted
                ),
            }
            record = one.record.model_copy(update=changed)
            add_record(connection, line, record, wanted, carries=one.sha256)
    hub.news.ring()
    return len(found)


def _to_carry(
    connection: Connection, line: str, champion_id: str, bundle_id: str
) -> list[tuple[Kept, frozenset[str]]]:
    """Give what a bundle has still to take over, the oldest first, and for which stations."""
    kept, active = read_kept(connection, line), read_active(connection, line)
    mine = [one for one in kept if one.record.bundle_id == bundle_id]
    carried = {one.carries for one in mine}
    found = (
        (one, (one.live & active) - _set_since(mine, one.record))
        for one in reversed(kept)
        if one.record.bundle_id == champion_id and one.sha256 not in carried
    )
    return [(one, wanted) for one, wanted in found if wanted]


def _set_since(mine: Sequence[Kept], record: ThresholdRecord) -> frozenset[str]:
    """Give the stations for which somebody set a bundle's own band since, of any of its frames."""
    newer = (
        one.stations
        for one in mine
        if one.carries is None
        and one.record.when > record.when
        and meets(one.record.product, record.product)
        and meets(one.record.camera, record.camera)
    )
    return frozenset[str]().union(*newer)


def revert_thresholds(hub: Hub, line: str, revert: Revert, who: str) -> ThresholdRow:
    """Bring back the band before a record, or the card's, where the record is in force.

    Where its stations or products had different bands before, all get the newest of these.

    Raises:
        NotThere: the line has no such record.
        Standing: it is in force nowhere any more.
        ConfigError: the band before lies beyond the limits of the bundle's card.
    """
    with hub.database.writing() as connection:
        lock_line(connection, line)
        kept = read_kept(connection, line)
        found = next((one for one in kept if one.sha256 == revert.sha256), None)
        if found is None:
            raise NotThere(
                f"threshold record '{revert.sha256}': not among the last {LISTED} of line '{line}'"
            )
        wanted = found.live & read_active(connection, line)
        if not wanted:
            raise Standing(
                f"threshold record '{revert.sha256}': in force on no station any more; take back "
                "the one that is, or apply its band anew"
            )
        record = found.record.model_copy(
            update={
                "band": _band_before(connection, found.origin),
                "who": who,
                "approved_by": None,
                "when": after_all(kept, hub.now()),
                "why": revert.comment,
                "previous": found.sha256,
            }
        )
        card = read_card(connection, record.bundle_id)
        _require_within(record, card, four_eyes=hub.config.four_eyes)
        sha256 = add_record(connection, line, record, wanted, reverts=found.sha256)
    hub.news.ring()
    return read_row(hub, line, sha256)


def read_row(hub: Hub, line: str, sha256: str) -> ThresholdRow:
    """Give one of the records that `list_thresholds` gives."""
    return next(row for row in list_thresholds(hub, line) if row.sha256 == sha256)


def _require_stations(connection: Connection, line: str, wanted: frozenset[str]) -> None:
    lock_line(connection, line)
    active = read_active(connection, line)
    if strange := sorted(wanted - active):
        raise ConfigError(
            f"stations {', '.join(strange)}: not in service on line '{line}'; wanted some of "
            f"{', '.join(sorted(active)) or 'none'}"
        )


def _band_before(connection: Connection, record: ThresholdRecord) -> Band:
    if record.previous is None:
        return read_card(connection, record.bundle_id).band
    text = connection.execute(
        select(threshold_records.c.text).where(threshold_records.c.sha256 == record.previous)
    ).scalar_one()
    return parse_record(text, ThresholdRecord, f"threshold record {record.previous}").band


def _require_no_hand(kept: Sequence[Kept], new: NewThresholds, asked_at: datetime) -> None:
    if (hand := set_by_hand_since(kept, new.bundle_id, new.product, asked_at)) is not None:
        raise Standing(
            f"thresholds were set by hand meanwhile, by {hand.who}; ask again to fit them anew"
        )


def _changed(line: str, newest: Kept | None) -> str:
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


def _row(kept: Kept, said: dict[str, _Said]) -> ThresholdRow:
    record = kept.record
    return ThresholdRow(
        sha256=kept.sha256,
        bundle_id=record.bundle_id,
        product=record.product,
        camera=record.camera,
        band=record.band,
        who=record.who,
        approved_by=record.approved_by,
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
