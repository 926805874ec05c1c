"""Small real doubles for tests: a judge with a table of scores, a clock that stands."""

import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from inspection.core.decision import Band, Judgement, ScoreRule, Verdict, judge_map
from inspection.core.errors import FrameRejected
from inspection.core.geometry import Geometry, Roi
from inspection.core.guards import GuardLimits
from inspection.core.imaging import Rgb
from inspection.core.records import Event
from inspection.station.judge import Accepted, Seen
from inspection.station.sources.settings import CAMERA


class TableScorer:
    """Judges by the red value of the part's first pixel: its table's score, or value / 255.

    The score map holds that score in one cell and zeros elsewhere; a NaN in the table makes the map
    unsound, an exception in the table is raised. Band: REVIEW above 0.5, REJECT above 0.8.
    """

    bundle_id = "table-scorer"
    band = Band(review_above=0.5, reject_above=0.8)
    override = ""
    geometry = Geometry()
    roi = Roi()
    rule = ScoreRule(smooth_sigma=0)
    guards: GuardLimits | None = None
    predecessor: "TableScorer | None" = None
    challenger: "TableScorer | None" = None

    def __init__(
        self, table: Mapping[int, float | Exception] | None = None, takes_s: float = 0
    ) -> None:
        self.table = dict(table or {})
        self.takes_s = takes_s
        self.judged: list[int] = []
        """The red values in the order they were judged."""
        self.left_s: list[float] = []
        """What was left for the second stage of each."""

    def cut(self, pixels: Rgb) -> Rgb:
        """Give the whole frame."""
        return pixels

    def prepare(self, pixels: Rgb) -> Rgb:
        """Give the frame as the only tile."""
        return pixels[None]

    def judge(self, tiles: Rgb, part_hw: tuple[int, int]) -> Judgement:
        """Look the score up and decide as a bundle does."""
        red = int(tiles[0, 0, 0, 0])
        self.judged.append(red)
        time.sleep(self.takes_s)
        score = self.table.get(red, red / 255)
        if isinstance(score, Exception):
            raise score
        score_map = np.zeros((4, 6), np.float32)
        score_map[1, 2] = math.nan if math.isnan(score) else score
        return judge_map(
            score_map, band=self.band, rule=self.rule, geometry=self.geometry, part_hw=part_hw
        )

    def recognise(
        self,
        cut: Rgb,
        judgement: Judgement,
        verdict: Verdict,
        left_s: Callable[[], float] | None,
    ) -> Seen | None:
        """Name nothing, as a recipe without a detector does."""
        if left_s is not None:
            self.left_s.append(left_s())

    def accept(self, cut: Rgb, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Leave every verdict, as a recipe without accept rules does."""
        return Accepted(judgement.verdict)


class TableJudges:
    """The judges of each product by camera; keeps every event it hears of."""

    def __init__(self, **recipes: Mapping[str, TableScorer]) -> None:
        self.recipes = recipes or {"default": {CAMERA: TableScorer()}}
        self.events: list[Event] = []

    def of(self, product: str) -> Mapping[str, TableScorer]:
        """Give the judges of a product."""
        if product not in self.recipes:
            raise FrameRejected(f"product '{product}' has no recipe")
        return self.recipes[product]

    def check_golden(self) -> str:
        """Find nothing wrong."""
        return ""

    def judged(self, event: Event) -> None:
        """Keep the event."""
        self.events.append(event)


class StillClock:
    """A clock that moves only when it is told to; wall clock and monotonic clock apart."""

    def __init__(self) -> None:
        self.wall = datetime(2025, 3, 1, 6, 30, tzinfo=UTC)
        self.seconds = 100.0

    def now(self) -> datetime:
        """Give the wall clock."""
        return self.wall

    def monotonic(self) -> float:
        """Give the monotonic seconds."""
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def set_back(self, seconds: float) -> None:
        """Set the wall clock back; durations do not notice."""
        self.wall -= timedelta(seconds=seconds)
