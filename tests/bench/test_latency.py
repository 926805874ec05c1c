from pathlib import Path

import pytest

from inspection.bench.frame import Race, Ratio
from inspection.bench.latency import CASES, Case, choose_cases, judge_race, race_case
from inspection.bench.ours import make_manifest
from inspection.core.errors import ConfigError
from inspection.synthetic.dataset import Counts, Product
from tests.bench.libraries import quiet

pytestmark = quiet
TINY = Case("tiny", "test_resnet", ("layer2", "layer3"), (256, 512), 10, 3.5)


def race_of(lanes: dict[str, float], pairs: list[tuple[str, str]]) -> Race:
    """Make a race whose lanes always took so many ms."""
    return Race.model_validate(
        {
            "name": "tiny",
            "rounds": 1,
            "lanes": [{"name": n, "p50_ms": t, "p95_ms": t, "p99_ms": t} for n, t in lanes.items()],
            "ratios": [
                Ratio(fast=f, slow=s, median=lanes[s] / lanes[f], p05=1, p95=1) for f, s in pairs
            ],
        }
    )


def test_goals_hold_against_both_readings_of_stock():
    """FP32 goals are judged against stock in float32 and as OpenVINO runs it; PTQ goals alike."""
    lanes = {"ours a": 2.0, "ours b": 3.0, "stock FP32": 20.0, "stock default (bf16)": 19.0}
    lanes |= {"stock PTQ": 7.0, "stock PTQ default (bf16)": 6.0}
    pairs = [("ours a", name) for name in lanes if name.startswith("stock")]
    goals = judge_race(
        TINY, race_of(lanes, [*pairs, ("ours b", "stock PTQ"), ("ours a", "ours b")])
    )
    assert [(goal.relation, goal.wanted, goal.found, goal.reached) for goal in goals] == [
        ("≥", 10, 10.0, True),
        ("≥", 10, 9.5, False),
        ("≥", 3.5, 3.5, True),
        ("≥", 3.5, 3.0, False),
        ("≤", 1.3, 1.5, False),
    ]


def test_the_issue_names_four_cases():
    """All cases run by default, some by name, none by a wrong name."""
    assert choose_cases(()) == CASES
    assert [case.name for case in choose_cases(("stfpm", "resnet18"))] == ["resnet18", "stfpm"]
    with pytest.raises(ConfigError, match="only: found vgg; wanted some of mobilenetv2, resnet18"):
        choose_cases(("vgg", "stfpm"))


def test_case_races_both_banks_against_four_stock_lanes_each(tmp_path: Path):
    """Real graphs: our INT8 with both banks; stock FP32 and PTQ, pinned or not."""
    manifest = make_manifest(
        tmp_path, Product.PLATE, Counts(train_good=4, test_good=0, per_defect=0)
    )
    raced = race_case(TINY, manifest, rounds=2)
    names = [lane.name for lane in raced.race.lanes]
    assert names[:2] == ["ours INT8, bank 256", "ours INT8, bank 512"]
    assert sum(name.startswith("stock FP32") for name in names) == 2
    assert sum(name.startswith("stock default (") for name in names) == 2
    assert sum(name.startswith("stock PTQ, ") for name in names) == 2
    assert sum(name.startswith("stock PTQ default (") for name in names) == 2
    assert len(raced.goals) == 5
    built = raced.built["ours INT8, bank 512"]
    assert built.precision.startswith("INT8")
    assert [weights.source for weights in built.weights] == ["random"]
    assert built.tile.shape == (256, 256, 3)
