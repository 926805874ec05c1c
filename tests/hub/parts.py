"""Events of a line for tests of reviewing: stored as ingest stores them, with their pictures."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np

from inspection.core.decision import Band, Verdict, decide
from inspection.core.known import Named, Recognised, Status
from inspection.core.records import Event, FrameRecord
from inspection.hub.artefacts import picture_name
from inspection.hub.hub import Hub
from inspection.hub.ingest import Sender, store_events
from inspection.hub.pictures import SentPicture, keep_picture
from inspection.hub.tables import corrections, reviews
from inspection.hub.wire.review import Decision
from tests.synthetic import make_part

BAND = Band(review_above=1.0, reject_above=2.0)
BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)
SENDER = Sender("station-1", "line-1")


def part(
    number: int,
    score: float | None,
    *cameras: str,
    bundle_id: str = "b" * 64,
    event_id: str | None = None,
) -> Event:
    """Give the event of a part whose first camera saw `score`; none is a FAULT."""
    verdict = Verdict.FAULT if score is None else decide(score, BAND)
    frames = [
        FrameRecord(
            camera=camera,
            source=f"{number}.png",
            source_sha256="",
            bundle_id=bundle_id,
            band=BAND,
            verdict=verdict if place == 0 else Verdict.PASS,
            score=score if place == 0 else 0.0,
            reason="",
            image=f"{number}-{camera}.png",
        )
        for place, camera in enumerate(cameras or ("top",))
    ]
    captured_at = BEGIN + timedelta(seconds=number)
    return Event(
        event_id=event_id or f"part-{number}",
        sequence=number,
        part_id=f"serial {number}",
        product="plate",
        line=SENDER.line,
        station=SENDER.station,
        verdict=verdict,
        reason="",
        frames=tuple(frames),
        captured_at=captured_at,
        judged_at=captured_at,
        latency_ms=5.0,
    )


def named(
    event: Event,
    *found: tuple[str, float],
    status: Status = "done",
    held: bool = False,
    detector_id: str = "d" * 64,
    mask: str | None = None,
) -> Event:
    """Give the event with what a second stage named on its first frame, surest first."""
    recognised = Recognised(
        detector="pores",
        detector_id=detector_id,
        status=status,
        latency_ms=9.5,
        counts={type_: sum(one == type_ for one, _ in found) for type_, _ in found},
        found=tuple(
            Named(type=type_, score=score, box=(20, 10, 40, 25), area_px=300, mask=mask)
            for type_, score in found
        ),
        held=held,
    )
    first = event.frames[0].model_copy(update={"recognised": recognised})
    return event.model_copy(update={"frames": (first, *event.frames[1:])})


def store(hub: Hub, *parts: Event) -> None:
    """Store events as the station's own batches."""
    records = [event.model_dump(mode="json") | {"action": "none"} for event in parts]
    for first in range(0, len(records), 100):
        store_events(hub, SENDER, json.dumps(records[first : first + 100]).encode())


def add_picture(
    hub: Hub,
    number: int,
    camera: str = "top",
    *,
    seed: int | None = None,
    event_id: str | None = None,
) -> bytes:
    """Send the picture of a part, 64×80 px; of one seed all are the same."""
    pixels = make_part(np.random.default_rng(number if seed is None else seed))
    encoded = cv2.imencode(".png", pixels)[1].tobytes()
    name = f"{number}-{camera}.png"
    sha256 = hashlib.sha256(encoded).hexdigest()
    keep_picture(hub, SENDER, SentPicture(event_id or f"part-{number}", name, encoded, sha256))
    return encoded


def draw_mask(
    hub: Hub, number: int, camera: str = "top", *, empty: bool = False, at: datetime = BEGIN
) -> None:
    """Keep a mask of the part's middle, or an empty one, as a person's next correction."""
    mask = np.zeros((64, 80), np.uint8)
    mask[20:30, 30:50] = 0 if empty else 255
    encoded = cv2.imencode(".png", mask)[1].tobytes()
    sha256 = hashlib.sha256(encoded).hexdigest()
    hub.artefacts.put(picture_name(sha256), encoded)
    row = {
        "event_id": f"part-{number}",
        "camera": camera,
        "revision": 1,
        "reviewer": "ann",
        "defect": None,
        "sha256": sha256,
        "at": at,
    }
    with hub.database.writing() as connection:
        connection.execute(corrections.insert().values(row))


def contradict(hub: Hub, number: int, decision: Decision, revision: int = 1) -> None:
    """Let a second person decide blindly."""
    row = {"event_id": f"part-{number}", "line": "line-1", "second": True, "revision": revision}
    row |= {"reviewer": "ben", "decision": decision, "comment": "", "at": hub.now()}
    with hub.database.writing() as connection:
        connection.execute(reviews.insert().values(row))
