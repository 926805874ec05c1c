"""The command that compares models on a product and recommends one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, Manifest, say
from inspection.cli.tables import aligned
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.retraining.ranking import Row
    from inspection.retraining.tune import TuneReport


def tune(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/tune.yaml")],
    data: Manifest,
    out: Annotated[Path, typer.Option(help="folder of the candidates; goes on where it ended")],
    as_json: Json = False,
) -> None:
    """Compare models on generated defects under a budget. Exit 1: none passed its gate.

    Example: inspection tune configs/tune.yaml --data sets/plate.json --out tuned/plate
    """
    from inspection.retraining.candidates import TuneConfig
    from inspection.retraining.tune import tune as compare

    report = compare(load_config(config_file, TuneConfig), data, out)
    say(report, _text(report), as_json=as_json)
    raise typer.Exit(_code(report))


def _code(report: "TuneReport") -> int:
    """Give 0 for a recommendation; none is a refusal, or a fault where nothing could be made."""
    if report.recommended is not None:
        return 0
    return 1 if any(row.measured for row in report.rows) else 3


def _text(report: "TuneReport") -> str:
    columns = ("candidate", "AUROC", "recall", "AUPRO", "ms", "p95 ms", "MB", "")
    rows: list[tuple[str, ...]] = [columns]
    for row in report.rows:
        one, took = row.measured, row.took
        if one is None or took is None:
            rows.append((row.name, "-", "-", "-", "-", "-", "-", "failed"))
            continue
        accuracy = (f"{value.value:.4f}" for value in (one.auroc, one.recall, one.aupro))
        cost = f"{took.p50_ms.value:.1f}", f"{took.p95_ms:.1f}", f"{one.megabytes:.1f}"
        rows.append((row.name, *accuracy, *cost, _mark(row, report)))
    failed = [f"{row.name} failed: {row.failed}" for row in report.rows if row.failed]
    refused = [
        f"{row.name} refused: {row.refused}" for row in report.rows if row.refused is not None
    ]
    return "\n".join((aligned(rows), *failed, *refused, report.words))


def _mark(row: "Row", report: "TuneReport") -> str:
    if row.refused is not None:
        return "refused"
    return "recommended" if row.name == report.recommended else "Pareto" if row.best else ""
