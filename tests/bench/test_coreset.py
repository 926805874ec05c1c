from pathlib import Path

import torch

from inspection.bench import coreset
from inspection.bench.frame import BenchReport
from inspection.bench.stock import stock_coreset
from inspection.core.records import read_record


def test_stock_selects_as_many_distinct_rows_as_asked():
    """Stock's ratio is rounded down; asked for 29 of 1,000 it gives 29, the same for one seed."""
    points = torch.randn(1000, 8, generator=torch.Generator().manual_seed(1))
    chosen = stock_coreset(points, 29, seed=3)
    assert len(chosen.unique()) == len(chosen) == 29
    assert torch.equal(chosen, stock_coreset(points, 29, seed=3))


def test_both_greedies_are_timed_on_the_same_points(tmp_path: Path):
    """Ours runs before and after stock; time ratio and cover radii stand in the record."""
    path = coreset.run(tmp_path, points=2000, size=40, depth=12)
    report = read_record(path, BenchReport)
    (table,) = report.tables
    before, stock, after = ((row[1], row[2], row[3]) for row in table.rows)
    assert [row[0] for row in table.rows] == [
        "ours, before stock",
        "stock k-center greedy",
        "ours, after stock",
    ]
    assert before[1] == stock[1] == after[1] == 40
    ratio, radius = report.goals
    assert ratio.found == stock[0] / max(before[0], after[0])
    assert (ratio.relation, ratio.wanted) == ("≥", 30)
    assert (radius.relation, radius.wanted, radius.found) == ("≤", stock[2], before[2])
