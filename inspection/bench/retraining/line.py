"""A simulated line: judges generated parts as a station does, and sends the hub what it found."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from inspection.bench.retraining.parts import Condition, Drawn
from inspection.bundles.bundle import Bundle
from inspection.bundles.overlay import encode_picture
from inspection.bundles.signing import Deployment
from inspection.core.decision import Verdict
from inspection.core.draw import is_drawn
from inspection.core.geometry import Roi
from inspection.core.imaging import Rgb, load_image
from inspection.core.records import Event, FrameRecord, hash_json
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, keep_status, store_events
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.pulls import offers
from inspection.hub.shadows import take_shadows
from inspection.hub.thresholds import band_in_force
from inspection.hub.wire.retraining import Shadow
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings
from inspection.station.state import BundleStatus, StationState, StationStatus

LINE, PRODUCT, CAMERA, NAME = "line-1", "plate", "main", "plate"
STATION = "station-1"
SENDER = Sender(STATION, LINE)
WHOLE = Roi()
LATENCY_MS = 10.0  # of every part: time is not what is simulated
DEADLINE_MS = 100


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
    """A line of one station."""

    hub: Hub
    truth: dict[str, str | None] = field(default_factory=dict)
    judged: list[Judged] = field(default_factory=list)
    count: int = 0

    def judge(self, parts: Sequence[Drawn], condition: Condition, begin: datetime) -> None:
        """Judge the parts of one hour, evenly spread over it."""
        pace = timedelta(hours=1) / max(len(parts), 1)
        judges = self._judges()
        seen: list[tuple[Event, Rgb]] = []
        said: list[Shadow] = []
        for number, part in enumerate(parts):
            pixels = condition.apply(_picture(part.path))
            event = self._one(judges["champion"], pixels, part, begin + number * pace)
            seen.append((event, pixels))
            if "challenger" in judges:
                said.append(_shadow(event, judges["challenger"], pixels))
        self._send(seen, said)

    def report(self, now: datetime) -> None:
        """Let the hub hear from the station, as its heartbeat does."""
        status = _status(self._judges()["champion"], self.count, now)
        keep_status(self.hub, SENDER, status.model_dump_json().encode())

    def _judges(self) -> dict[str, BundleJudge]:
        """Give what is to judge and what scores beside it, by role."""
        return {
            one.role: self._judge(self.hub.opened.bundle(one.bundle_id))
            for signed in offers(self.hub, LINE, STATION, shadows=True)
            for one in [Deployment.model_validate_json(signed.text)]
        }

    def _judge(self, bundle: Bundle) -> BundleJudge:
        with self.hub.database.reading() as connection:
            set_band = band_in_force(connection, LINE, bundle.bundle_id, PRODUCT)
        return BundleJudge(bundle, WHOLE, set_band or bundle.card.band)

    def _one(
        self,
        judge: BundleJudge,
        pixels: Rgb,
        part: Drawn,
        at: datetime,
    ) -> Event:
        look = look_at(pixels, judge, GuardSettings())
        self.count += 1
        event_id = hash_json([STATION, self.count])[:32]
        frame = FrameRecord(
            camera=CAMERA,
            source=part.path.name,
            source_sha256="",
            bundle_id=judge.bundle_id,
            band=judge.band,
            verdict=look.verdict,
            score=look.score,
            reason=look.reason,
            image=f"{event_id}.png",
            statistics=look.statistics,
        )
        event = Event(
            event_id=event_id,
            sequence=self.count,
            part_id=f"part {self.count}",
            product=PRODUCT,
            line=LINE,
            station=STATION,
            verdict=frame.verdict,
            reason=look.reason,
            frames=(frame,),
            captured_at=at,
            judged_at=at,
            latency_ms=LATENCY_MS,
        )
        self.truth[event_id] = part.defect
        self.judged.append(Judged(event_id, at, part.defect, event.verdict, judge.bundle_id))
        return event

    def _send(self, seen: Sequence[tuple[Event, Rgb]], said: Sequence[Shadow]) -> None:
        events = [event.model_dump(mode="json") | {"action": "none"} for event, _ in seen]
        store_events(self.hub, SENDER, json.dumps(events).encode())
        for event, pixels in seen:
            drawn = is_drawn(event.event_id, "pass", self.hub.config.review.pass_share)
            if event.verdict is Verdict.PASS and not drawn:
                continue
            picture = encode_picture(pixels)
            sha256 = hashlib.sha256(picture).hexdigest()
            sent = SentPicture(event.event_id, f"{event.event_id}.png", picture, sha256)
            keep_picture(self.hub, SENDER, sent)
        take_shadows(self.hub, SENDER, said)


@cache
def _picture(path: Path) -> Rgb:
    """Read a picture of the store once: to decode it takes as long as to judge it."""
    return load_image(path)


def _shadow(event: Event, challenger: BundleJudge, pixels: Rgb) -> Shadow:
    """Give what a challenger says of a part, as a station sends it."""
    look = look_at(pixels, challenger, GuardSettings())
    return Shadow(
        event_id=event.event_id,
        camera=CAMERA,
        bundle_id=challenger.bundle_id,
        score=look.score,
        verdict=look.verdict,
        champion=event.verdict,
        latency_ms=LATENCY_MS,
        at=event.judged_at,
    )


def _status(judge: BundleJudge, sequence: int, now: datetime) -> StationStatus:
    """Give what a station says of itself that works and has nothing else to tell."""
    judging = BundleStatus(
        product=PRODUCT,
        camera=CAMERA,
        name=NAME,
        bundle_id=judge.bundle_id,
        review_above=judge.band.review_above,
        reject_above=judge.band.reject_above,
        since=now,
        trial=False,
        note="",
    )
    return StationStatus(
        line=LINE,
        station=STATION,
        state=StationState.READY,
        reason="",
        beat=sequence,
        at=now,
        started_at=now,
        version="simulated",
        deadline_ms=DEADLINE_MS,
        counts={},
        since_start={},
        sequence=sequence,
        last=(),
        latency=None,
        waiting=0,
        late=0,
        source="",
        outputs=(),
        bundles=(judging,),
        disk_bytes=0,
        budget_bytes=1,
        dropped={},
    )
