"""The camera: it gives nothing for a while, and the same frame again and again."""

import time
from functools import partial
from pathlib import Path

import numpy as np

from inspection.bench.faults.process import LOOK_S, Station
from inspection.bench.faults.scenario import Finding, Scene
from inspection.bench.frame import Goal
from inspection.bench.redness import make_part
from inspection.core.decision import Verdict
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.sources.camera import CameraDown
from inspection.station.sources.cameras import CamerasSource
from inspection.station.sources.settings import CAMERA, CamerasSettings
from inspection.station.sources.trigger import IntervalTriggers
from inspection.station.state import StationState

FRAME_S = 0.005
EVERY_MS, STALL_MS = 50, 150
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
            raise CameraDown("the camera gives nothing")

    def close(self) -> None:
        """Be gone."""


def make_source(settings: CamerasSettings, folder: Path) -> CamerasSource:
    """Make the real source of cameras around the double."""
    triggers = IntervalTriggers(EVERY_MS, settings.product, SYSTEM_CLOCK)
    camera = DoubleCamera(folder)
    return CamerasSource(settings, triggers, SYSTEM_CLOCK, lambda _settings, _every: camera)


def stall(scene: Scene) -> Finding:
    """Let the camera give nothing for a while."""
    station, during, after, states = _fail(scene, STALLED)
    impaired = StationState.IMPAIRED in states
    named = sum("gave no frame" in event.reason for event in during)
