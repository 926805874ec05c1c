"""The program that scores frames with one challenger, in a process of its own.

A station starts it at the lowest priority, with one end of a socket. It opens the bundle and says
so, then answers frame after frame. It ends with the station, however that ends.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

import numpy as np

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.bundles.graph import Compiling
from inspection.bundles.overlay import encode_picture
from inspection.bundles.priority import go_first
from inspection.core.decision import Band, Verdict
from inspection.core.errors import InspectionError
from inspection.core.geometry import Roi
from inspection.station.look import look_at
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.settings import GuardSettings


@dataclass(frozen=True)
class Opening:
    """What a process scores with; the first it hears of. It answers why that does not go, or ''."""

    folder: Path
    """Of the bundle."""
    trusted_keys: tuple[str, ...]
    guards: GuardSettings


@dataclass(frozen=True)
class Asked:
    """A frame to score; its pixels follow, uint8 H×W×3 RGB, as bytes."""

    height_px: int
    width_px: int
    roi: Roi
    band: Band
    champion: Verdict
    """What the deciding bundle made of it."""
    illustrate: bool
    """Whether its picture is wanted should the two not agree."""


@dataclass(frozen=True)
class Answered:
    """What the challenger says of a frame."""

    score: float | None
    verdict: Verdict
    latency_ms: float
    """Of the processor: at the lowest priority the clock on the wall says nothing."""
    picture: bytes | None = None
    """The frame as PNG, where it was wanted."""


def main() -> None:
    """Serve the station at the other end of the socket whose number is the first argument."""
    go_first()  # and not the station
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # parts under way are still scored
    Thread(target=_end_with_station, daemon=True).start()
    with Connection(int(sys.argv[1])) as station:
        serve(station)


def _end_with_station() -> None:
    """Wait until nobody holds the other end of standard input; a killed station does not."""
    sys.stdin.read()
    os._exit(0)


def serve(station: "Connection[object, object]") -> None:
    """Open the bundle a station names, then score its frames until it hangs up."""
    opening = station.recv()
    if not isinstance(opening, Opening):
        raise TypeError(f"found {type(opening).__name__}; wanted an Opening")
    compiling = Compiling("throughput", 1)
    try:
        bundle = open_bundle(opening.folder, trusted_keys=opening.trusted_keys, compiling=compiling)
    except InspectionError as error:
        station.send(str(error))
        return
    station.send("")
    while True:
        try:
            asked, pixels = station.recv(), station.recv_bytes()
        except EOFError:
            return
        if not isinstance(asked, Asked):
            raise TypeError(f"found {type(asked).__name__}; wanted an Asked")
        station.send(answer(bundle, opening.guards, asked, pixels))


def answer(bundle: Bundle, guards: GuardSettings, asked: Asked, pixels: bytes) -> Answered:
    """Score a frame as the judge would, but for accept rules: only the score matters here."""
    frame = np.frombuffer(pixels, np.uint8).reshape(asked.height_px, asked.width_px, 3)
    begun_s = time.thread_time()
    look = look_at(frame, BundleJudge(bundle, asked.roi, asked.band), guards, measured=False)
    latency_ms = (time.thread_time() - begun_s) * 1000
    wanted = asked.illustrate and disagree(look.verdict, asked.champion)
    picture = encode_picture(frame) if wanted else None
    return Answered(look.score, look.verdict, latency_ms, picture)


def disagree(challenger: Verdict, champion: Verdict) -> bool:
    """Say whether a part would go another way; what could not be scored says nothing of it."""
    passes = challenger is Verdict.PASS, champion is Verdict.PASS
    return challenger is not Verdict.FAULT and passes[0] is not passes[1]
