"""Judges pictures for thin clients: by the scorer, guards and band a station would judge by.

Every answer is a durable event. What cannot be judged is one with FAULT, never an answer without
a verdict.
"""

import hashlib
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from inspection.bundles.bundle import Bundle
from inspection.bundles.thresholds import SignedRecord, ThresholdRecord, newest
from inspection.core.decision import Band
from inspection.core.errors import ConfigError, ImageError
from inspection.core.geometry import Roi
from inspection.core.imaging import decode_image
from inspection.core.records import Event, FrameRecord, hash_json, parse_record
from inspection.hub.events import event_detail
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, parse_event, store_event
from inspection.hub.models import in_force
from inspection.hub.pictures import SentPicture, keep_picture, require_picture
from inspection.hub.pulls import thresholds
from inspection.hub.refusals import Foreign
from inspection.hub.tables import events, stations
from inspection.hub.wire.line import EventDetail
from inspection.station.look import Look, fault, look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings
from inspection.station.sources.settings import CAMERA

SOURCE = "POST /v1/lines/LINE/judge"


@dataclass(frozen=True)
class PartPicture:
    """A picture of a part, as a thin client brings it."""

    line: str
    product: str
    part_id: str
    content: bytes

    def event_id(self, station: str) -> str:
        """Give the id of its event: the same picture of the same part is judged once."""
        return hash_json([station, self.product, self.part_id, self.sha256])

    @property
    def sha256(self) -> str:
        """Hash of the picture's bytes."""
        return hashlib.sha256(self.content).hexdigest()


def judge(hub: Hub, sender: Sender, brought: PartPicture) -> EventDetail:
    """Judge a picture of a part by the bundle chosen for its line.

    Returns:
        Its event, durable with its picture; the first one, when it was judged before.

    Raises:
        Foreign: the line is not the sender's.
        NoPicture, TooLarge: as for `require_picture`.
        ConfigError: no bundle of the line is the one for the product.
        HubError, BundleError: the bundle cannot be opened.
    """
    came_s, came_at = time.monotonic(), hub.now()
    if brought.line != sender.line:
        raise Foreign(f"line '{brought.line}': station '{sender.station}' is of '{sender.line}'")
    kind = require_picture(hub, brought.content, "picture").kind
    event_id = brought.event_id(sender.station)
    with hub.database.reading() as connection:
        event = _find(connection, event_id)
    if event is None:
        look = _look(hub, sender, brought)
        judged = _Judged(sender, brought, look, f".{kind.rpartition('/')[2]}", came_at)
        event = _store(hub, judged, came_s)
    name = event.frames[0].image or ""
    keep_picture(hub, sender, SentPicture(event_id, name, brought.content, brought.sha256))
    return event_detail(hub, event_id, f"station {sender.station}")


def _find(connection: Connection, event_id: str) -> Event | None:
    wanted = select(events.c.record).where(events.c.event_id == event_id)
    record = connection.execute(wanted).scalar_one_or_none()
    return None if record is None else parse_event(record)


def _look(hub: Hub, sender: Sender, brought: PartPicture) -> Look:
    """Look at the picture as a station without ROI looks at a frame."""
    bundle = hub.opened.bundle(_chosen(hub, brought.line, brought.product))
    judge = BundleJudge(bundle, Roi(), _band(hub, bundle, sender.station, brought.product))
    with hub.opened.room:
        try:
            pixels = decode_image(brought.content, "picture")
        except ImageError as error:
            return fault(str(error))
        return look_at(pixels, judge, GuardSettings())


def _chosen(hub: Hub, line: str, product: str) -> str:
    """Give the id of the bundle for a product: the one of its name, else the only one."""
    with hub.database.reading() as connection:
        rows = connection.execute(in_force(line)).all()
    ids: dict[str, str] = {row.name: row.bundle_id for row in rows}
    if product in ids:
        return ids[product]
    if len(ids) == 1:
        return next(iter(ids.values()))
    found = f"bundles {', '.join(sorted(ids))} are" if ids else "no bundle is"
    raise ConfigError(
        f"line '{line}': {found} chosen, none for product '{product}'; choose a bundle of that "
        "name, or one only"
    )


def _band(hub: Hub, bundle: Bundle, station: str, product: str) -> Band:
    """Give the band in force: of the newest record for the station's frames, else the card's."""
    name = f"threshold record for station '{station}'"
    records = [
        SignedRecord(parse_record(one.text, ThresholdRecord, name), one)
        for one in thresholds(hub, station)
    ]
    last = newest(one for one in records if one.record.covers(bundle.bundle_id, product, CAMERA))
    return last.record.band if last else bundle.card.band


@dataclass(frozen=True)
class _Judged:
    """A judged picture that has no event yet."""

    sender: Sender
    brought: PartPicture
    look: Look
    suffix: str
    came_at: datetime

    def event(self, sequence: int, judged_at: datetime, latency_ms: float) -> Event:
        """Describe it as a station describes a part of one frame."""
        look, brought = self.look, self.brought
        frame = FrameRecord(
            camera=CAMERA,
            source=SOURCE,
            source_sha256=brought.sha256,
            bundle_id=look.judge.bundle_id if look.judge else "",
            band=look.judgement.band if look.judgement else None,
            verdict=look.verdict,
            score=look.score,
            reason=look.reason,
            image=f"{sequence:010d}-{CAMERA}{self.suffix}",
        )
        return Event(
            event_id=brought.event_id(self.sender.station),
            sequence=sequence,
            part_id=brought.part_id,
            product=brought.product,
            line=brought.line,
            station=self.sender.station,
            verdict=look.verdict,
            reason=look.reason,
            frames=(frame,),
            captured_at=self.came_at,
            judged_at=judged_at,
            latency_ms=latency_ms,
        )


def _store(hub: Hub, judged: _Judged, came_s: float) -> Event:
    """Store the event under the station's next number, unless somebody else was first."""
    station, event_id = judged.sender.station, judged.brought.event_id(judged.sender.station)
    last = select(stations.c.last_sequence).where(stations.c.station == station).with_for_update()
    with hub.database.writing() as connection:
        sequence = connection.execute(last).scalar_one() + 1
        earlier = _find(connection, event_id)
        if earlier is not None:
            return earlier
        latency_ms = (time.monotonic() - came_s) * 1000
        event = judged.event(sequence, hub.now(), latency_ms)
        store_event(connection, hub, event)
        return event
