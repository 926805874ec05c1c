"""The record of the gate: what the shipped graph and its reference gave, and what followed."""

from typing import Literal

from pydantic import Field

from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.limits import (
    MAX_ENTRIES,
    Count,
    DurationMs,
    Figure,
    Finite,
    PathText,
    Reason,
    Sha256,
)
from inspection.core.records import Interval, Label, Origin, Record, Split


class GateRow(Settings):
    """One test frame as both graphs scored it."""

    path: PathText
    label: Label
    defect: PathText | None
    score: Finite = Field(description="of the shipped graph")
    reference_score: Finite | None = Field(
        description="of the FP32 reference; none where it was not asked"
    )
    verdict: Verdict


class Latency(Settings):
    """Milliseconds per part of one graph, one part at a time."""

    p50_ms: DurationMs
    p95_ms: DurationMs
    p99_ms: DurationMs


class GateRecord(Record):
    """The paired evidence on the test split and what it led to."""

    bundle_id: Sha256
    passed: bool
    refusals: tuple[Reason, ...] = Field(
        max_length=1_000, description="every limit that was missed, with the numbers"
    )
    evidence: Literal["test defects", "generated defects"]
    goods: Split = Field(description="where the good parts are from; test unless it has none")
    test_manifest_sha256: Sha256
    compared: Count | None = Field(
        None,
        description="parts on which FP32 was asked, too; none: all. Of a bundle whose bank took in "
        "new pictures some are enough: the gate of the one it comes from compared them all, and "
        "its backbone is the same. The AUROC drop must then keep its limit with its upper end",
    )
    feature_correlations: dict[PathText, Figure] = Field(max_length=1_000)
    map_correlation: Figure
    score_correlation: Figure
    verdict_flips: Count
    auroc: Interval
    reference_auroc: Interval
    auroc_drop: Interval = Field(description="reference minus shipped, paired bootstrap")
    aupro: Interval | None = Field(description="none without masks")
    pixel_auroc: Interval | None = Field(description="none without masks")
    reference_aupro: Interval | None = None
    recall: Interval = Field(description="defects above review_above")
    recall_by_defect: dict[PathText, Interval] = Field(max_length=MAX_ENTRIES)
    false_reject_rate: Interval | None = Field(
        description="good test parts above review_above; none where calibrate stood in for them"
    )
    latency: Latency
    reference_latency: Latency
    origin: Origin
    rows: tuple[GateRow, ...] = Field(max_length=10 * MAX_ENTRIES)

    @property
    def judged_drop(self) -> float:
        """The AUROC drop that is held to its limit.

        On fewer parts it is known less well, and must be small all the same.
        """
        return self.auroc_drop.value if self.compared is None else self.auroc_drop.high
