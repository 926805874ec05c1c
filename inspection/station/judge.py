"""What the loop asks of whatever judges: an open bundle, or a double in tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inspection.core.decision import Band, Defects, Judgement, ScoreRule, Verdict
from inspection.core.geometry import Geometry, Roi
from inspection.core.guards import GuardLimits
from inspection.core.imaging import Mask, Rgb
from inspection.core.known import BLIND, Named, Recognised
from inspection.core.records import Event


@dataclass(frozen=True)
class Object:
    """One object the second stage named, with the px it covers."""

    named: Named
    mask: Mask
    """bool, as large as its box; all of it where the detector draws no masks."""
    drawn: bool
    """Whether the detector drew the mask."""


@dataclass(frozen=True)
class Accepted:
    """What a judged frame is after its product's accept rules."""

    verdict: Verdict
    reason: str = ""
    """Which rules led to it, or why they could not be asked."""
    defects: Defects | None = None
    """What was measured for them; none where they did not ask."""
    recognised: Recognised | None = None
    """What the second stage said; none where it was not asked."""
    relieved: Verdict | None = None
    """What the rules make of a frame all of whose defects they accept; none where they do not."""
    held_by: str = ""
    """Why the second stage would hold it, whatever its score and rules; empty for nothing."""


@dataclass(frozen=True)
class Seen:
    """What the second stage found on a frame, and what that alone makes of it."""

    recognised: Recognised
    objects: tuple[Object, ...]
    """None where it came late or failed; some where there are more than it tells of."""
    verdict: Verdict
    """The worse of the frame's before and what known defects make of it."""
    reason: str = ""
    """What led to it; empty where it is as before."""
    held_by: str = ""
    """What led to `recognised.alone`, which holds whatever the frame's score; empty for PASS."""

    @property
    def is_blind(self) -> bool:
        """Whether nobody knows which known defects there are."""
        return self.recognised.status in BLIND


@dataclass(frozen=True)
class Challenger:
    """What scores in the shadow, in a process of its own: what that needs to know."""

    bundle_id: str
    folder: Path
    """The station's own copy, verified and tested."""
    roi: Roi
    band: Band


class Judge(Protocol):
    """Judges the frames of one camera of one product; for several threads at once."""

    @property
    def bundle_id(self) -> str:
        """Which bundle judges."""
        ...

    @property
    def band(self) -> Band:
        """The thresholds in force."""
        ...

    @property
    def override(self) -> str:
        """Who let them lie beyond the limits of the bundle's card; empty when they do not."""
        ...

    @property
    def geometry(self) -> Geometry:
        """Where on the part the map lies."""
        ...

    @property
    def rule(self) -> ScoreRule:
        """How a map becomes a score."""
        ...

    @property
    def guards(self) -> GuardLimits | None:
        """What a frame of the calibrate normals looks like; none for bundles that do not say."""
        ...

    @property
    def predecessor(self) -> "Judge | None":
        """The judge that returns should this one fail its trial; none when it is on none."""
        ...

    @property
    def challenger(self) -> Challenger | None:
        """What scores what this one decided, and decides nothing; often none."""
        ...

    @property
    def roi(self) -> Roi:
        """What the recipe cuts out of a camera's frame."""
        ...

    def cut(self, pixels: Rgb) -> Rgb:
        """Cut the recipe's ROI out of a camera's frame; uint8 H×W×3 RGB, a view."""
        ...

    def prepare(self, pixels: Rgb) -> Rgb:
        """Give the model inputs of a cut frame, uint8 (tiles, h, w, 3)."""
        ...

    def judge(self, tiles: Rgb, part_hw: tuple[int, int]) -> Judgement:
        """Judge the model inputs of a cut frame of height and width `part_hw`, px."""
        ...

    def recognise(
        self,
        cut: Rgb,
        judgement: Judgement,
        verdict: Verdict,
        left_s: Callable[[], float] | None,
    ) -> Seen | None:
        """Name the known defects of a cut frame; whatever goes wrong is said in the answer.

        Args:
            cut: uint8 H×W×3 RGB.
            judgement: of it, by the anomaly model.
            verdict: of score and guards.
            left_s: gives the seconds until the part's deadline; none has none.

        Returns:
            None where nothing names defects on such frames.
        """
        ...

    def accept(self, cut: Rgb, judgement: Judgement, seen: Seen | None) -> Accepted:
        """Measure the defects of a cut frame that is held, where its product accepts some.

        Args:
            cut: uint8 H×W×3 RGB.
            judgement: of it: a REJECT, or one that known defects made worse.
            seen: what the second stage found; none where it was not asked.
        """
        ...


class Judges(Protocol):
    """The judges of all recipes, as they stand now."""

    def of(self, product: str) -> Mapping[str, Judge]:
        """Give the judge of every camera of a product; cheap, once per part.

        Raises:
            FrameRejected: no recipe has this product code.
        """
        ...

    def judged(self, event: Event) -> None:
        """Hear of every event, in the loop's thread: a new bundle on trial may have to go."""
        ...

    def check_golden(self) -> str:
        """Judge one golden frame again, each in its turn; say what is wrong, or nothing."""
        ...
