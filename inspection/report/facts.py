"""Everything one report page says, gathered before anything is drawn."""

from dataclasses import dataclass

from pydantic import AwareDatetime

from inspection.core.decision import Verdict
from inspection.core.gate import GateRecord
from inspection.core.imaging import Rgb
from inspection.core.records import Card, Label
from inspection.report.edge import Edge
from inspection.report.robustness import Robustness


@dataclass(frozen=True)
class NotMeasured:
    """Why a section has nothing to show."""

    reason: str


@dataclass(frozen=True)
class Case:
    """One part worth looking at: the picture and its heatmap, both with the true outline."""

    path: str
    label: Label
    defect: str | None
    score: float
    verdict: Verdict
    picture: Rgb  # uint8 h×w×3
    heat: Rgb  # uint8 h×w×3, same size as the picture


@dataclass(frozen=True)
class Cases:
    """Best and worst cases, the most telling first."""

    hardest: tuple[Case, ...]  # defects of the lowest scores
    worst_goods: tuple[Case, ...]  # good parts of the highest scores
    clearest: tuple[Case, ...]  # defects of the highest scores


@dataclass(frozen=True)
class ReportFacts:
    """The facts of one bundle; the gate is none when the bundle was never put to one."""

    bundle_id: str
    card: Card
    gate: GateRecord | None
    size_bytes: int
    made_at: AwareDatetime
    cases: Cases | NotMeasured
    edge: Edge | NotMeasured
    robustness: Robustness | NotMeasured
