from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from inspection.bench.frame import (
    BenchReport,
    Goal,
    Table,
    Times,
    begin_report,
    render,
    show,
    time_lanes,
    write_report,
)
from inspection.core.errors import InspectionError
from inspection.core.records import read_record

TIMES = Times(("ours", "stock"), np.array([[1.0, 2.0, 10.0], [10.0, 30.0, 20.0]]))


@pytest.mark.fast
def test_ratio_is_taken_within_each_round():
    """A ratio is the median of the rounds' ratios (10, 15, 2), not the ratio of the medians."""
    ratio = TIMES.ratio("ours", "stock")
    assert ratio.median == 10.0
    assert (ratio.p05, ratio.p95) == pytest.approx((2.8, 14.5))


@pytest.mark.fast
def test_lane_gives_percentiles_of_its_own_times():
    """p50, p95 and p99 are those of one lane."""
    lane = TIMES.lane("stock")
    assert (lane.p50_ms, lane.p95_ms, lane.p99_ms) == pytest.approx((20.0, 29.0, 29.8))


@pytest.mark.fast
def test_race_holds_every_lane_and_the_pairs_asked_for():
    """A race names all lanes in order, and its rounds."""
    race = TIMES.race("both", [("ours", "stock")])
    assert [lane.name for lane in race.lanes] == ["ours", "stock"]
    assert [(ratio.fast, ratio.slow) for ratio in race.ratios] == [("ours", "stock")]
    assert race.rounds == 3


@pytest.mark.fast
def test_lanes_take_turns():
    """Every round asks each lane in order; what the first rounds say does not count."""
    called: list[str] = []

    def lane(name: str) -> float:
        called.append(name)
        return float(len(called))

    lanes = {name: lambda name=name: lane(name) for name in "abc"}
    times = time_lanes(lanes, rounds=2, warm_up=3)
    assert "".join(called) == "abc" * 5
    np.testing.assert_array_equal(times.times_ms, [[10, 13], [11, 14], [12, 15]])


@pytest.mark.fast
@pytest.mark.parametrize(("lanes", "rounds"), [({}, 5), ({"a": lambda: 1.0}, 0)])
def test_race_of_nothing_is_refused(lanes: dict, rounds: int):
    """A race needs a lane and a round."""
    with pytest.raises(InspectionError, match="wanted at least one of each"):
        time_lanes(lanes, rounds)


@pytest.mark.fast
@given(found=st.floats(0, 100), wanted=st.floats(0, 100))
def test_reached_follows_from_the_numbers(found: float, wanted: float):
    """A goal is reached when the number is at least, or at most, what was wanted; never by hand."""
    assert Goal.at_least("speed", wanted, found).reached == (found >= wanted)
    assert Goal.at_most("loss", wanted, found).reached == (found <= wanted)


@pytest.mark.fast
def test_what_was_not_measured_is_not_reached():
    """Without a number there is no goal reached, and the page says why."""
    goal = Goal.at_most("memory", 300, None, "MB")
    assert not goal.reached
    page = render(begin_report("x", {}).model_copy(update={"goals": (goal,)}))
    assert "| memory | ≤ 300 MB | not measured | **no** |" in page


@pytest.mark.fast
@pytest.mark.parametrize("found", [9.99, None])
def test_goal_that_contradicts_its_numbers_is_refused(found: float | None):
    """Nobody can write 'reached' beside numbers that say otherwise."""
    with pytest.raises(ValidationError, match="must follow from found and wanted"):
        Goal(what="speed", relation="≥", wanted=10, found=found, unit="×", reached=True)


@pytest.mark.fast
def test_table_with_a_short_row_is_refused():
    """Every row has a cell for every column."""
    with pytest.raises(ValidationError, match="every row needs 2 cells"):
        Table(title="times", columns=("a", "b"), rows=((1, 2), (3,)))


@pytest.mark.fast
def test_report_is_written_as_record_and_as_page(tmp_path: Path):
    """JSON reads back as the same record; the page beside it shows goals, lanes and ratios."""
    report = begin_report("probe", {"rounds": 3}).model_copy(
        update={
            "goals": (Goal.at_least("ours", 12, 10.0),),
            "races": (TIMES.race("both", [("ours", "stock")]),),
            "tables": (Table(title="more", columns=("a", "b"), rows=((1, None),)),),
            "notes": ("said once",),
        }
    )
    path = write_report(tmp_path / "bench", report)
    assert path == tmp_path / "bench" / "probe.json"
    assert read_record(path, BenchReport) == report
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| ours | ≥ 12 × | 10 × | **no** |" in page
    assert "| stock | 20 | 29 | 29.8 |" in page
    assert "| stock | ours | 10 | 2.8 | 14.5 |" in page
    assert "| 1 | – |" in page
    assert "- said once" in page
    assert f"commit: {report.origin.git_revision}" in page


@pytest.mark.fast
@pytest.mark.parametrize(
    ("cell", "text"),
    [
        pytest.param(None, "–", id="nothing"),
        pytest.param(1.23456, "1.235", id="four-digits"),
        pytest.param(0.97912, "0.9791", id="auroc"),
        pytest.param(12345.6, "12346", id="no-powers-of-ten"),
        pytest.param(204800, "204,800", id="count"),
        pytest.param("a|b", "a\\|b", id="bar-does-not-break-the-table"),
    ],
)
def test_cells_are_short(cell: str | float | None, text: str):
    """Cells show four digits, thousands of counts and no bare bar."""
    assert show(cell) == text
