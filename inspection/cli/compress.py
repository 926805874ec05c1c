"""The command that makes a champion fit a slower PC."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, options, say
from inspection.cli.tables import aligned
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.compression.compress import CompressReport
    from inspection.compression.ranking import Step


def compress(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the champion's run")],
    out: Annotated[Path, typer.Option(help="folder of the candidates; goes on where it ended")],
    budget_ms: Annotated[float | None, typer.Option(help="median per part on this CPU, ms")] = None,
    budget_share: Annotated[
        float | None, typer.Option(help="in its place, of the champion's time on this CPU")
    ] = None,
    config_file: Annotated[
        Path | None, typer.Option("--config", help="configs/export.yaml; else all defaults")
    ] = None,
    most_cost: Annotated[
        float, typer.Option(help="recall it may lose; above it on test ends with 1")
    ] = 0.03,
    as_json: Json = False,
) -> None:
    """Find what a champion can lose to keep a budget, and what it costs in recall.

    Exit 1: nothing keeps the budget and its gate, or it loses more than --most-cost on the test
    split, or the champion's own gate refuses it.

    Example: inspection compress runs/plate --budget-ms 2 --out compressed/plate
    """
    from inspection.compression.compress import CompressConfig
    from inspection.compression.compress import compress as climb
    from inspection.core.settings import ExportConfig

    export = load_config(config_file, ExportConfig) if config_file else ExportConfig()
    budgets = {"budget_ms": budget_ms, "budget_share": budget_share}
    values = {**budgets, "most_cost": most_cost, "export": export.model_dump()}
    report = climb(run, options(CompressConfig, values), out)
    say(report, _text(report, out), as_json=as_json)
    raise typer.Exit(_code(report))


def _code(report: "CompressReport") -> int:
    """Give 0 for a choice that loses no more than asked."""
    return 0 if report.kept else 1


def _text(report: "CompressReport", out: Path) -> str:
    columns = ("candidate", "ms", "of champion's", "AUROC", "recall", "cost in recall", "")
    rows = [columns, *(_cells(row, report) for row in (report.champion, *report.rows))]
    failed = [f"{row.name} failed: {row.failed}" for row in report.rows if row.failed]
    tried = (report.champion, *report.rows)
    refused = [f"{row.name} refused: {row.refused}" for row in tried if row.refused]
    table = f"on {_defects(report)} generated defects\n{aligned(rows)}"
    lines = [table, *failed, *refused, report.words]
    if report.bundle is not None:
        lines.append(f"bundle {out / report.bundle}")
    return "\n".join(lines)


def _defects(report: "CompressReport") -> int:
    return report.champion.measured.defects if report.champion.measured else 0


def _cells(row: "Step", report: "CompressReport") -> tuple[str, ...]:
    if row.measured is None or row.took is None:
        return (row.name, "-", "-", "-", "-", "-", "failed")
    return (
        row.name,
        f"{row.took.p50_ms.value:.2f}",
        str(row.ratio),
        f"{row.measured.auroc.value:.4f}",
        str(row.measured.recall),
        str(row.cost),
        _mark(row, report),
    )


def _mark(row: "Step", report: "CompressReport") -> str:
    if row.refused is not None:
        return "refused"
    if row.name == report.chosen:
        return "chosen"
    slow = row.took is not None and row.took.p50_ms.value > report.budget_ms
    return "too slow" if slow else ""
