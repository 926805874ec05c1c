"""The record of the gate: what the shipped graph and its reference gave, and what followed."""

from typing import Literal

from pydantic import Field, StrictInt

from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.records import Interval, Label, Origin, Record, Split


class GateRow(Settings):
    """One test frame as both graphs scored it."""

    path: str
    label: Label
    defect: str | None
    score: float = Field(description="of the shipped graph")
    reference_score: float | None = Field(
        description="of the FP32 reference; none where it was not asked"
    )
    verdict: Verdict


class Latency(Settings):
    """Milliseconds per part of one graph, one part at a time."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class GateRecord(Record):
    """The paired evidence on the test split and what it led to."""

    bundle_id: str
    passed: bool
    refusals: tuple[str, ...] = Field(description="every limit that was missed, with the numbers")
    evidence: Literal["test defects", "generated defects"]
    goods: Split = Field(description="where the good parts are from; test unless it has none")
    test_manifest_sha256: str
    compared: StrictInt | None = Field(
        None,
        description="parts on which FP32 was asked, too; none: all. Of a bundle whose bank took in "
        "new pictures some are enough: the gate of the one it comes from compared them all, and "
        "its backbone is the same. The AUROC drop must then keep its limit with its upper end",
    )
    feature_correlations: dict[str, float]
    map_correlation: float
    score_correlation: float
    verdict_flips: StrictInt
    auroc: Interval
    reference_auroc: Interval
    auroc_drop: Interval = Field(description="reference minus shipped, paired bootstrap")
    aupro: Interval | None = Field(description="none without masks")
    pixel_auroc: Interval | None = Field(description="none without masks")
    reference_aupro: Interval | None = None
    recall: Interval = Field(description="defects above review_above")
    recall_by_defect: dict[str, Interval]
    false_reject_rate: Interval | None = Field(
        description="good test parts above review_above; none where calibrate stood in for them"
    )
    latency: Latency
    reference_latency: Latency
    origin: Origin
    rows: tuple[GateRow, ...]

    @property
    def judged_drop(self) -> float:
        """The AUROC drop that is held to its limit.

        On fewer parts it is known less well, and must be small all the same.
        """
        return self.auroc_drop.value if self.compared is None else self.auroc_drop.high
