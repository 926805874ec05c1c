"""Simulated stations: their events are made up, what sends them is a real station's courier."""

import io
import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from inspection.core.decision import Band, decide
from inspection.core.records import Event, FrameRecord, hash_json
from inspection.hub.hub import Hub
from inspection.hub.stations import enrol
from inspection.hub.wire.line import NewStation
from inspection.station.outputs.courier import Courier
from inspection.station.outputs.hub import HubOutput
from inspection.station.outputs.settings import ActionSettings, HubSettings

BAND = Band(review_above=0.8, reject_above=0.95)
BEGIN = datetime(2026, 1, 5, 6, tzinfo=UTC)
LINES = 4
TIMEOUT_MS = 3_000


@dataclass(frozen=True)
class Enrolled:
    """A station the hub knows."""

    station: str
    line: str
    token_file: Path


def enrol_stations(hub: Hub, count: int, folder: Path) -> list[Enrolled]:
    """Enrol stations, spread over some lines, and keep their tokens as files."""
    enrolled = []
    for number in range(count):
        station, line = f"station-{number + 1}", f"line-{number % LINES + 1}"
        token_file = folder / f"{station}.token"
        token = enrol(hub, NewStation(station=station, line=line), "bench").token
        token_file.write_text(token, encoding="utf-8")
        enrolled.append(Enrolled(station, line, token_file))
    return enrolled


@dataclass(frozen=True)
class Shift:
    """When a station's events are, and by what they were judged."""

    begin: datetime = BEGIN
    pace: timedelta = timedelta(seconds=1)
    bundle_id: str = "0" * 64
    band: Band = BAND


def make_events(
    station: Enrolled, count: int, pictures: Sequence[str | None] = (), shift: Shift = Shift()
) -> list[Event]:
    """Make the events of a station.

    Args:
        station: whose they are.
        count: how many.
        pictures: file names the events get in turn; none for an event without.
        shift: when they are.
    """
    scores = np.random.default_rng(crc32(station.station.encode())).beta(4, 4, count)
    names = itertools.cycle(pictures or [None])
    return [
        _event(station, number, float(score), name, shift)
        for number, (score, name) in enumerate(zip(scores, names, strict=False))
    ]


def _event(
    station: Enrolled, number: int, score: float, picture: str | None, shift: Shift
) -> Event:
    at = shift.begin + number * shift.pace
    verdict = decide(score, shift.band)
    frame = FrameRecord(
        camera="main",
        source=f"{number}.png",
        source_sha256="0" * 64,
        bundle_id=shift.bundle_id,
        band=shift.band,
        verdict=verdict,
        score=score,
        reason="",
        image=picture,
    )
    return Event(
        event_id=hash_json([station.station, number])[:32],
        sequence=number + 1,
        part_id=f"{station.station}-{number}",
        product="plate",
        line=station.line,
        station=station.station,
        record_id=hash_json(station.station)[:32],
        verdict=verdict,
        reason="",
        frames=(frame,),
        captured_at=at,
        judged_at=at,
        latency_ms=12.0,
    )


def make_picture(seed: int, side_px: int) -> bytes:
    """Make a PNG of noise, which does not compress: about 3·side² bytes."""
    noise = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG", compress_level=0)
    return stream.getvalue()


class SimulatedStation:
    """A record in memory and the real courier that carries it to a hub.

    Args:
        station: as the hub knows it.
        url: of the hub.
        events: its record, in order.
        pictures: folder of the pictures the events name.
    """

    def __init__(
        self, station: Enrolled, url: str, events: Sequence[Event], pictures: Path
    ) -> None:
        self._events = events
        self._done = threading.Event()
        settings = HubSettings(
            kind="hub", url=url, token_file=station.token_file, timeout_ms=TIMEOUT_MS
        )
        output = HubOutput(
            settings,
            station.line,
            station.station,
            ActionSettings(),
            lambda event: files_of(event, pictures),
        )
        self._courier = Courier(output, lambda: self, 0, self._acknowledge, newest=len(events))

    def start(self) -> None:
        """Begin to send."""
        self._courier.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the hub has everything; false when it was not in time."""
        return self._done.wait(timeout_s)

    def stop(self) -> None:
        """End."""
        self._courier.stop()

    def after(self, sequence: int, limit: int) -> list[Event]:
        """Give events as a station's record does."""
        return list(self._events[sequence : sequence + limit])

    def close(self) -> None:
        """Let go of nothing."""

    def _acknowledge(self, _name: str, sequence: int) -> None:
        if sequence >= len(self._events):
            self._done.set()


def files_of(event: Event, pictures: Path) -> list[Path]:
    """Give the files of an event's pictures."""
    return [pictures / frame.image for frame in event.frames if frame.image]
