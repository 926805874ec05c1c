"""What one checkout does in one round of `bench cost`; run as a file, beside whichever checkout.

It uses nothing of the benches that the commit compared with lacks, so the same lines time both.
"""

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from inspection.bench.hub import ingest
from inspection.bench.line import DISTINCT, configure, large, make_bundle
from inspection.core.decision import Verdict
from inspection.core.errors import InspectionError
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.outputs.couriers import Couriers
from inspection.station.service import serve
from inspection.station.sources import cameras
from inspection.station.sources.settings import CAMERA
from inspection.station.sources.trigger import IntervalTriggers, Trigger
from inspection.synthetic.dataset import Product, make_good

EVERY_MS = 60  # from trigger to trigger, well above what a part takes
WARM_PARTS = 20  # judged before those that count


class MemoryCamera:
    """A camera whose frames lie in memory."""

    rest_s = 1.0

    def __init__(self, frames: list[Rgb]) -> None:
        self._frames, self._next = frames, 0

    def open(self) -> None:
        """Be there."""

    def grab(self) -> Rgb | None:
        """Give the next frame at once."""
        self._next += 1
        return self._frames[self._next % len(self._frames)]

    def rest(self) -> None:
        """Throw nothing away."""

    def close(self) -> None:
        """Be gone."""


def time_line(bundle: Path, parts: int) -> float:
    """Give the median ms from a camera's trigger to the durable, signalled verdict.

    Raises:
        InspectionError: a part that counts was FAULT.
    """
    frames = [large(make_good(Product.PLATE, f"line/{number}")) for number in range(DISTINCT)]
    vars(cameras)["OpenCvCamera"] = lambda _settings, **_how: MemoryCamera(frames)
    given_s: dict[str, float] = {}
    took_ms: list[float] = []
    faults: list[str] = []
    wait, publish = IntervalTriggers.wait, Couriers.publish

    def timed_wait(triggers: IntervalTriggers, timeout_s: float) -> Trigger | None:
        if (trigger := wait(triggers, timeout_s)) is not None:
            given_s[trigger.part_id] = time.perf_counter()
        return trigger

    def timed_publish(couriers: Couriers, event: Event) -> None:
        publish(couriers, event)
        took_ms.append((time.perf_counter() - given_s[event.part_id]) * 1e3)
        if event.verdict is Verdict.FAULT and WARM_PARTS < len(took_ms) <= WARM_PARTS + parts:
            faults.append(event.reason)
        if len(took_ms) == WARM_PARTS + parts:
            os.kill(os.getpid(), signal.SIGTERM)

    setattr(IntervalTriggers, IntervalTriggers.wait.__name__, timed_wait)
    setattr(Couriers, Couriers.publish.__name__, timed_publish)
    trigger = {"kind": "interval", "every_ms": EVERY_MS}
    source = {"kind": "cameras", "cameras": {CAMERA: {}}, "trigger": trigger}
    with tempfile.TemporaryDirectory() as work:
        serve(configure(bundle, Path(work), source=source))
    counted = took_ms[WARM_PARTS : WARM_PARTS + parts]
    if faults or len(counted) < parts:
        raise InspectionError(f"{len(counted)} of {parts} parts, FAULT: {faults[:1]}; see its log")
    return float(np.median(counted))


def time_hub(each: int) -> float:
    """Give the ms per event with a picture of 100 kB, from 20 stations at once to a hub."""
    with tempfile.TemporaryDirectory() as work:
        seconds, _ = ingest._ingest("SQLite", Path(work), each)
    return seconds * 1e3 / (each * ingest.STATIONS)


def main(what: str, *words: str) -> object:
    """Do one thing and give what came of it."""
    match what, words:
        case "bundle", (folder,):
            return str(make_bundle(Path(folder)))
        case "line", (bundle, parts):
            return time_line(Path(bundle), int(parts))
        case "hub", (each,):
            return time_hub(int(each))
    raise InspectionError(f"found {what} {words}; expected bundle, line or hub and what it needs")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))  # to the process that asks
