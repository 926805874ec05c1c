"""Runs a station as a process: opens its bundle, writes each signal as a JSON line to stdout."""

import sys
from dataclasses import dataclass

from inspection.bundles.bundle import GOLDEN_TOLERANCE, Bundle, open_bundle
from inspection.core.decision import Band, Judgement, ScoreRule
from inspection.core.errors import BundleError, StationError
from inspection.core.geometry import Geometry
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.loop import Emit, StationCounts, run_station
from inspection.station.settings import StationConfig
from inspection.station.stopping import stop_on_signals


@dataclass(frozen=True)
class BundleJudge:
    """An open bundle as the loop sees it."""

    bundle: Bundle

    @property
    def bundle_id(self) -> str:
        """Which bundle judges."""
        return self.bundle.bundle_id

    @property
    def band(self) -> Band:
        """The thresholds of the bundle's card."""
        return self.bundle.card.band

    @property
    def geometry(self) -> Geometry:
        """The geometry of the bundle's card."""
        return self.bundle.card.geometry

    @property
    def rule(self) -> ScoreRule:
        """The score rule of the bundle's card."""
        return self.bundle.card.score

    def judge(self, pixels: Rgb) -> Judgement:
        """Judge one part, uint8 H×W×3 RGB."""
        return self.bundle.judge(pixels)


def write_signal(event: Event) -> None:
    """Write one event as one JSON line to stdout, at once.

    Raises:
        StationError: whoever read stdout is gone.
    """
    try:
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()
    except OSError as error:
        raise StationError(
            f"signal of event {event.event_id} cannot be written to stdout ({error.strerror}); "
            "the event is recorded; restart the reader, then the station"
        ) from error


def serve(config: StationConfig, emit: Emit = write_signal) -> StationCounts:
    """Run one station until SIGTERM or SIGINT, or with `once` until every file is judged.

    Must be called in the main thread. The part in work is finished, a second signal ends at once.

    Raises:
        BundleError: the bundle cannot be opened, or this CPU does not compute its golden maps.
        StationError: as for `run_station`.
    """
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys, threads=config.threads)
    _require_golden(bundle)
    with stop_on_signals() as stop:
        return run_station(config, BundleJudge(bundle), emit, stop)


def _require_golden(bundle: Bundle) -> None:
    """Refuse to judge on a CPU that computes another map than the one the thresholds belong to."""
    wrong = [golden for golden in bundle.selftest() if not golden.reproduced]
    if wrong:
        most = max(golden.difference for golden in wrong)
        raise BundleError(
            f"{bundle.path}: this CPU computes {len(wrong)} of {len(bundle.card.golden)} golden "
            f"maps otherwise, by up to {most:.1%} of their largest value; wanted at most "
            f"{GOLDEN_TOLERANCE:.0%}; use a CPU with VNNI, or export with precision fp16"
        )
