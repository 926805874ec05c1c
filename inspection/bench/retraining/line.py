"""A simulated line: judges generated parts as a station does, and sends the hub what it found."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from inspection.bench.retraining.parts import Condition, Drawn
from inspection.bundles.bundle import Bundle
from inspection.bundles.overlay import encode_picture
from inspection.core.decision import Band, Verdict
from inspection.core.draw import is_drawn
from inspection.core.geometry import Roi
from inspection.core.imaging import Rgb, load_image
from inspection.core.records import Event, FrameRecord, hash_json
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.pulls import offers
from inspection.hub.thresholds import band_in_force
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings

LINE, PRODUCT, CAMERA, NAME = "line-1", "plate", "main", "plate"
STATIONS = ("station-1", "station-2")
WHOLE = Roi()


@dataclass(frozen=True)
class Judged:
    """One part as the line judged it."""

    event_id: str
    at: datetime
    defect: str | None
    verdict: Verdict
    bundle_id: str


@dataclass
class SimulatedLine:
    """Two stations that take turns."""

    hub: Hub
    truth: dict[str, str | None] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def judge(self, parts: Sequence[Drawn], condition: Condition, begin: datetime) -> None:
        """Judge the parts of one hour, evenly spread over it."""
        pace = timedelta(hours=1) / max(len(parts), 1)
        for turn, station in enumerate(STATIONS):
            bundle = self._bundle(station)
            band = self._band(bundle)
            for number in range(turn, len(parts), len(STATIONS)):
                pixels = condition.apply(load_image(parts[number].path))
                self._one(station, (bundle, band), pixels, parts[number], begin + number * pace)

    def _bundle(self, station: str) -> Bundle:
        champion = [one for one in offers(self.hub, LINE, station) if one.role == "champion"]
        return self.hub.opened.bundle(champion[0].bundle_id)

    def _band(self, bundle: Bundle) -> Band:
        with self.hub.database.reading() as connection:
            set_band = band_in_force(connection, LINE, bundle.bundle_id)
        return set_band or bundle.card.band

    def _one(
        self,
        station: str,
        judge: tuple[Bundle, Band],
        pixels: Rgb,
        part: Drawn,
        at: datetime,
    ) -> None:
        bundle, band = judge
        look = look_at(pixels, BundleJudge(bundle, WHOLE, band), GuardSettings())
        sequence = self.counts[station] = self.counts.get(station, 0) + 1
        event_id = hash_json([station, sequence])[:32]
        frame = FrameRecord(
            camera=CAMERA,
            source=part.path.name,
            source_sha256="",
            bundle_id=bundle.bundle_id,
            band=band,
            verdict=look.verdict,
            score=look.score,
            reason=look.reason,
            image=f"{event_id}.png",
            statistics=look.statistics,
        )
        event = Event(
            event_id=event_id,
            sequence=sequence,
            part_id=f"{station} {sequence}",
            product=PRODUCT,
            line=LINE,
            station=station,
            verdict=frame.verdict,
            reason=look.reason,
            frames=(frame,),
            captured_at=at,
            judged_at=at,
            latency_ms=10.0,
        )
        self.truth[event_id] = part.defect
        self.judged.append(Judged(event_id, at, part.defect, event.verdict, bundle.bundle_id))
        self._send(station, event, pixels)

    def _send(self, station: str, event: Event, pixels: Rgb) -> None:
        sender = Sender(station, LINE)
        body = json.dumps([event.model_dump(mode="json") | {"action": "none"}]).encode()
        store_events(self.hub, sender, body)
        drawn = is_drawn(event.event_id, "pass", self.hub.config.review.pass_share)
        if event.verdict is Verdict.PASS and not drawn:
            return
        picture = encode_picture(pixels)
        sha256 = hashlib.sha256(picture).hexdigest()
        keep_picture(
            self.hub, sender, SentPicture(event.event_id, f"{event.event_id}.png", picture, sha256)
        )
