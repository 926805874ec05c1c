"""Races our k-center greedy against stock Anomalib's on the same points: time and cover radius."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from inspection.bench.frame import Goal, Table, begin_report, write_report
from inspection.bench.stock import stock_coreset
from inspection.core.progress import advancing
from inspection.training.coreset import cover_radius, k_center_greedy

LEAST_RATIO = 30.0
SEED = 0


def run(out: Path, *, points: int = 204_800, size: int = 2_048, depth: int = 128) -> Path:
    """Select `size` of `points` normally distributed vectors by both; write `coreset.json`, `.md`.

    Ours runs before and after stock and is judged by the slower of the two. The full size takes
    stock about three minutes.

    Args:
        out: folder of the evidence.
        points: vectors to select from.
        size: vectors to select.
        depth: numbers per vector.
    """
    settings = {"points": points, "size": size, "depth": depth, "threads": torch.get_num_threads()}
    report = begin_report("coreset", settings)
    vectors = torch.randn(points, depth, generator=torch.Generator().manual_seed(SEED))
    k_center_greedy(vectors[:1024], 32, SEED)  # threads and kernels are loaded once
    before, chosen = _timed(lambda: _ours(vectors, size))
    stock_s, stock_chosen = _timed(lambda: stock_coreset(vectors, size, SEED))
    after, _ = _timed(lambda: _ours(vectors, size))
    radius, stock_radius = cover_radius(vectors, chosen), cover_radius(vectors, stock_chosen)
    rows = (
        ("ours, before stock", before, len(chosen), radius),
        ("stock k-center greedy", stock_s, len(stock_chosen), stock_radius),
        ("ours, after stock", after, len(chosen), radius),
    )
    ratio = stock_s / max(before, after)
    goals = (
        Goal.at_least("stock time over ours, the slower run", LEAST_RATIO, ratio),
        Goal.at_most("cover radius of ours, against stock's", stock_radius, radius, unit=""),
    )
    columns = ("lane", "seconds", "selected", "cover radius")
    table = Table(title=f"{size:,} of {points:,} × {depth}", columns=columns, rows=rows)
    return write_report(out, report.model_copy(update={"goals": goals, "tables": (table,)}))


def _ours(vectors: Tensor, size: int) -> Tensor:
    with advancing(size, "ours") as advance:
        return k_center_greedy(vectors, size, SEED, advance)


def _timed(select: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = time.perf_counter()
    chosen = select()
    return time.perf_counter() - started, chosen
