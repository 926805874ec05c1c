"""Each limit of the gate, just met and just missed."""

from datetime import UTC, datetime

import pytest

from inspection.core.decision import Band, ScoreRule
from inspection.core.gate import GateRecord, Latency
from inspection.core.geometry import Geometry
from inspection.core.records import Card, Certificate, Interval, Origin
from inspection.core.settings import ExportConfig, GateLimits
from inspection.export.gate import find_refusals

pytestmark = pytest.mark.fast

ORIGIN = Origin(
    created_at=datetime(2026, 1, 2, tzinfo=UTC), git_revision="0", machine="one", versions={}
)
LIMITS = GateLimits(
    feature_correlation=0.97,
    map_correlation=0.8,
    estimated_map_correlation=0.6,
    score_correlation=0.95,
    auroc_drop=0.01,
    auroc_least=0.7,
    false_reject_factor=3.0,
)
CARD = Card(
    name="part",
    run_sha256="a",
    manifest_sha256="b",
    model="Patchcore",
    precision="INT8",
    graph_note="",
    geometry=Geometry(),
    score=ScoreRule(),
    band=Band(review_above=1.0, reject_above=2.0),
    certificate=Certificate(normals=99, rank=99, target=0.01, mean=0.01, bound95=0.03),
    calibrate_scores=(0.5,),
    weights=(),
    origin=ORIGIN,
    export=ExportConfig(gate=LIMITS),
    golden=("00",),
)


def exactly(value: float) -> Interval:
    """A value whose interval is nothing wide."""
    return Interval(value=value, low=value, high=value)


def record(**changes: object) -> GateRecord:
    """A record that meets every limit exactly, changed."""
    numbers: dict[str, object] = {
        "bundle_id": "c",
        "passed": False,
        "refusals": (),
        "evidence": "test defects",
        "goods": "test",
        "test_manifest_sha256": "b",
        "feature_correlations": {"feature.a": 0.97, "pooled.a": 0.97},
        "map_correlation": 0.8,
        "score_correlation": 0.95,
        "verdict_flips": 3,
        "auroc": exactly(0.7),
        "reference_auroc": exactly(0.71),
        "auroc_drop": exactly(0.01),
        "aupro": None,
        "pixel_auroc": None,
        "recall": exactly(0.0),
        "recall_by_defect": {},
        "false_reject_rate": Interval(value=0.5, low=0.03, high=0.6),
        "latency": Latency(p50_ms=1, p95_ms=1, p99_ms=1),
        "reference_latency": Latency(p50_ms=1, p95_ms=1, p99_ms=1),
        "origin": ORIGIN,
        "rows": (),
    }
    return GateRecord.model_validate(numbers | changes)


MISSED = [
    (
        "feature",
        {"feature_correlations": {"feature.a": 0.9699, "pooled.a": 1.0}},
        "feature map feature.a correlates with FP32 by 0.9699, below 0.97",
    ),
    ("map", {"map_correlation": 0.7999}, "score maps correlate with FP32 by 0.7999, below 0.8"),
    ("score", {"score_correlation": 0.9499}, "scores correlate with FP32 by 0.9499, below 0.95"),
    (
        "drop",
        {"auroc_drop": exactly(0.0101)},
        "image AUROC is 0.0101 [0.0101, 0.0101] below FP32, more than 0.01",
    ),
    ("auroc", {"auroc": exactly(0.6999)}, "image AUROC is 0.6999 [0.6999, 0.6999], below 0.7"),
    (
        "false rejects",
        {"false_reject_rate": Interval(value=0.05, low=0.0301, high=0.1)},
        "false-reject rate on test is 0.0500 [0.0301, 0.1000], surely above 3 times the promised "
        "0.01",
    ),
]


def test_record_that_meets_every_limit_exactly_passes():
    """A limit is what may just be reached."""
    assert find_refusals(record(), CARD) == ()


@pytest.mark.parametrize(
    ("changes", "said"), [row[1:] for row in MISSED], ids=[row[0] for row in MISSED]
)
def test_limit_that_is_just_missed_is_said_with_its_numbers(changes: dict, said: str):
    """Each limit alone refuses, and says found and wanted."""
    assert find_refusals(record(**changes), CARD) == (said,)


def test_all_missed_limits_are_said_at_once():
    """One gate run tells everything there is to mend."""
    changes: dict[str, object] = {}
    for _, change, _ in MISSED:
        changes |= change
    assert find_refusals(record(**changes), CARD) == tuple(said for _, _, said in MISSED)


def test_estimated_cells_have_a_limit_of_their_own():
    """A map whose quiet cells are estimates may differ more, and no further."""
    estimated = CARD.model_copy(update={"estimated": True})
    assert find_refusals(record(map_correlation=0.6), estimated) == ()
    found = find_refusals(record(map_correlation=0.5999), estimated)
    assert found == ("score maps correlate with FP32 by 0.5999, below 0.6",)


def test_two_bad_features_are_two_refusals_in_order():
    """Which map went wrong is what a person needs to know."""
    found = find_refusals(
        record(feature_correlations={"pooled.b": 0.5, "feature.a": 0.0, "feature.c": 1.0}), CARD
    )
    assert [text.split()[2] for text in found] == ["feature.a", "pooled.b"]


def test_numbers_measured_on_generated_defects_say_so():
    """No number on made-up defects is read as one on real ones."""
    changes: dict[str, object] = {"evidence": "generated defects"}
    for _, change, _ in MISSED[1:5]:
        changes |= change
    found = find_refusals(record(**changes), CARD)
    assert len(found) == 4
    assert all(text.endswith(" on generated defects") for text in found)


def test_a_drop_that_few_parts_may_show_by_chance_is_told_from_a_sure_one():
    """It refuses all the same, and says what would tell."""
    drop = Interval(value=0.0101, low=-0.01, high=0.03)
    assert find_refusals(record(auroc_drop=drop), CARD) == (
        "image AUROC is 0.0101 [-0.0100, 0.0300] below FP32, more than 0.01; may be chance: test "
        "on more parts",
    )


def test_better_than_fp32_is_no_reason_to_refuse():
    """A negative drop is a gain."""
    assert find_refusals(record(auroc_drop=exactly(-0.2)), CARD) == ()
