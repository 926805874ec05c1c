"""The camera: it gives nothing for a while, and the same frame again and again.

Everything but the camera itself is the station's own: triggers, readers, what it notes of a part
before the shutter.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inspection.bench.faults.process import Station
from inspection.bench.faults.scenario import Finding, Scene
from inspection.bench.frame import Goal
from inspection.bench.redness import make_part
from inspection.core.decision import Verdict
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.sources import cameras
from inspection.station.sources.camera import CameraDown
from inspection.station.sources.reader import LONGEST_PAUSE_S
from inspection.station.sources.settings import CAMERA
from inspection.station.state import StationState

FRAME_S = 0.001
EVERY_MS, STALL_MS = 50, 150
SETTLED_S = 0.5  # after which every part that comes out was taken during the fault
MOST_RECOVERY_S = LONGEST_PAUSE_S + 1  # a camera that is down is opened anew after such a pause
PARTS = 10
STALLED, FROZEN = "camera stalls", "camera frozen"


class DoubleCamera:
    """A camera that runs freely, and does as the name of a file in a folder says."""

    rest_s = 0.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._frames = 0

    def open(self) -> None:
        """Be there."""

    def grab(self) -> Rgb | None:
        """Give a frame unlike the last one, the last one, or none."""
        time.sleep(FRAME_S)
        if (self._folder / STALLED).exists():
            time.sleep(STALL_MS / 1000)
            return None
        self._frames += not (self._folder / FROZEN).exists()
        return np.asarray(make_part(self._frames))

    def rest(self) -> None:
        """Throw a frame away."""
        if self.grab() is None:
            raise CameraDown(f"camera '{CAMERA}' gave no frame to throw away")

    def close(self) -> None:
        """Be gone."""


def use_doubles(folder: Path) -> None:
    """Let every camera of this process be a double."""
    vars(cameras)["OpenCvCamera"] = lambda _settings, **_how: DoubleCamera(folder)


def triggered(every_ms: int, **camera: int) -> dict[str, Any]:
    """Give the settings of a source of one camera that looks at fixed times."""
    trigger = {"kind": "interval", "every_ms": every_ms}
    return {"kind": "cameras", "cameras": {CAMERA: camera}, "trigger": trigger}


def stall(scene: Scene) -> Finding:
    """Let the camera give nothing for a while."""
    return _fail(scene, STALLED, "gave no frame", StationState.IMPAIRED)


def freeze(scene: Scene) -> Finding:
    """Let the camera give one frame again and again for a while."""
    return _fail(scene, FROZEN, "the same bytes", StationState.READY)


def _fail(scene: Scene, name: str, reason: str, state: StationState) -> Finding:
    """Let the camera fail for a while; `state` is what the station must say meanwhile."""
    folder = scene.work / "camera"
    folder.mkdir()
    source = triggered(EVERY_MS, stall_ms=STALL_MS)
    with Station(scene.work, scene.bundle, source=source) as station:
        station.start(partial(use_doubles, folder))
        station.wait(partial(station.signalled, PARTS), "parts")
        (folder / name).touch()
        time.sleep(SETTLED_S)
        began_s = time.monotonic()
        time.sleep(scene.options.fault_s)
        said = station.status().state
        ended_s = time.monotonic()
        (folder / name).unlink()
        station.wait(lambda: _judged(station, ended_s) >= PARTS, "verdicts after the fault")
        station.stop()
    timed = station.timed_events()
    during = [event for at_s, event in timed if began_s < at_s < ended_s]
    named = sum(_is_fault(event) and reason in event.reason for event in during)
    first_s = next(at_s for at_s, event in timed if at_s > ended_s and not _is_fault(event))
    numbers = [int(event.part_id.rpartition("-")[2]) for _, event in timed]
    missing = numbers[-1] - len(numbers)
    ledger = station.account([event.part_id for _, event in timed])
    return Finding(
        (
            Goal.at_most(f"{name}: not FAULT with the reason", 0, len(during) - named, "parts"),
            Goal.at_most(f"{name}: states other than {state}", 0, float(said is not state), ""),
            Goal.at_most(f"{name}: triggers without an event", 0, missing, "parts"),
            Goal.at_most(f"{name}: recovers by itself", MOST_RECOVERY_S, first_s - ended_s, "s"),
            *ledger.goals(name),
        ),
        ((f"{name} for, s", scene.options.fault_s), (f"{name}: FAULT parts", named)),
    )


def _judged(station: Station, since_s: float) -> int:
    return sum(at_s > since_s and not _is_fault(e) for at_s, e in station.timed_events())


def _is_fault(event: Event) -> bool:
    return event.verdict is Verdict.FAULT
