"""What half the latency costs: goals say what was found, and nothing chosen reaches none."""

import pytest

from inspection.bench.compress import Options, judge, run
from inspection.compression.compress import CompressReport
from inspection.core.errors import ConfigError
from inspection.core.records import Interval
from tests.compression.test_ranking import step

pytestmark = pytest.mark.fast


def report(ratio: float, cost: float | None) -> CompressReport:
    """What a climb left."""
    fast = step("fast", "1110", 4).model_copy(
        update={"ratio": Interval(value=ratio, low=ratio, high=ratio)}
    )
    return CompressReport(
        run_sha256="0" * 64,
        manifest_sha256="0" * 64,
        budget_ms=5,
        most_cost=0.03,
        champion=step("champion", "1111", 10),
        champion_bundle="champion-0/bundle",
        rows=(fast,),
        chosen=None if cost is None else "fast",
        bundle=None,
        champion_gate=None,
        gate=None,
        cost=None if cost is None else Interval(value=cost, low=cost, high=cost),
        words="",
    )


@pytest.mark.parametrize(
    ("ratio", "cost", "reached"),
    [
        (0.5, 0.03, [True, True]),
        (0.51, 0.02, [False, True]),
        (0.4, 0.031, [True, False]),
        (0.4, None, [False, False]),
    ],
)
def test_half_the_time_within_three_hundredths(ratio, cost, reached):
    """Both are goals of the issue."""
    assert [goal.reached for goal in judge(report(ratio, cost))] == reached


def test_unknown_data_set_is_refused(tmp_path):
    """Before anything is trained."""
    with pytest.raises(ConfigError, match="dataset: found 'nosuch'"):
        run(tmp_path, options=Options(dataset="nosuch"))
