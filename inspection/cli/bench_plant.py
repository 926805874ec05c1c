"""The benches of what keeps a plant running: thresholds, drift, the hub, retraining."""

from pathlib import Path
from typing import Annotated

import typer

from inspection.cli.arguments import Json, new_app
from inspection.cli.bench import REPORTS, Out, say_report

plant = new_app("Joins the other benches.")


@plant.command("thresholds")
def thresholds(
    out: Out = REPORTS,
    shifts: Annotated[int, typer.Option(min=20, help="of each scenario")] = 200,
    as_json: Json = False,
) -> None:
    """Check that the false rejects foretold of a band hold in simulated shifts.

    Example: inspection bench thresholds --shifts 50
    """
    from inspection.bench.thresholds import run

    say_report(run(out, shifts=shifts), as_json=as_json)


@plant.command("drift")
def drift(
    out: Out = REPORTS,
    months: Annotated[int, typer.Option(min=2, help="without drift")] = 50,
    runs: Annotated[int, typer.Option(min=1, help="lines for each drift")] = 20,
    as_json: Json = False,
) -> None:
    """Count false alarms of the drift monitors, and what they find of drift.

    Example: inspection bench drift --months 5 --runs 2
    """
    from inspection.bench.drift.suite import run

    say_report(run(out, months=months, runs=runs), as_json=as_json)


@plant.command("hub")
def hub(
    out: Out = REPORTS,
    ingested: Annotated[int, typer.Option(min=20, help="timed, each with a picture")] = 3_000,
    survived: Annotated[int, typer.Option(min=20, help="events while things die")] = 50_000,
    shown: Annotated[int, typer.Option(min=2_000, help="events behind the pages")] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Measure the hub: ingest, loss when things die, pages in a browser.

    Example: inspection bench hub --survived 2000 --shown 20000
    """
    from inspection.bench.hub.suite import run

    report = run(out, ingested=ingested, survived=survived, shown=shown)
    say_report(report, as_json=as_json)


@plant.command("update")
def update(
    out: Out = REPORTS,
    dataset: Annotated[str, typer.Option(help="magnetic_tile, plate, fabric, board")] = (
        "magnetic_tile"
    ),
    new: Annotated[int, typer.Option(min=1, help="pictures the update takes in")] = 50,
    work: Annotated[Path | None, typer.Option(help="folder that keeps the bundles")] = None,
    as_json: Json = False,
) -> None:
    """Update PatchCore's bank and train anew: accuracy and seconds of both.

    Example: inspection bench update --dataset plate --new 20
    """
    from inspection.bench.retraining.update import Options, run

    say_report(run(out, options=Options(dataset=dataset, new=new), work=work), as_json=as_json)


@plant.command("fleet")
def fleet(
    out: Out = REPORTS,
    lines: Annotated[int, typer.Option(min=6, help="trained on either side")] = 24,
    pictures: Annotated[int, typer.Option(min=2_000, help="judged again")] = 4_000,
    as_json: Json = False,
) -> None:
    """Train lines on a local Dask cluster against one after another; kill a worker; replay.

    Example: inspection bench fleet --lines 6
    """
    from inspection.bench.retraining.fleet import run

    say_report(run(out, lines=lines, pictures=pictures), as_json=as_json)


@plant.command("month")
def month(
    out: Out = REPORTS,
    seeds: Annotated[int, typer.Option(min=1, help="months")] = 20,
    work: Annotated[Path | None, typer.Option(help="folder that keeps parts and bundle")] = None,
    as_json: Json = False,
) -> None:
    """Simulate months of a line that changes, with the whole loop running beside it.

    Example: inspection bench month --seeds 2
    """
    from inspection.bench.retraining.months import run

    say_report(run(out, seeds=seeds, work=work), as_json=as_json)


@plant.command("beside")
def beside(out: Out = REPORTS, as_json: Json = False) -> None:
    """Train magnetic_tile on the cores of a station that judges: is each part still in time?

    Example: inspection bench beside
    """
    from inspection.bench.retraining.beside import run

    say_report(run(out), as_json=as_json)


@plant.command("kill")
def kill(
    out: Out = REPORTS,
    kills: Annotated[int, typer.Option(min=1, help="kill -9 at random moments")] = 200,
    as_json: Json = False,
) -> None:
    """Kill -9 a retraining at every boundary of its steps and at random: it makes the same bundle.

    Example: inspection bench kill --kills 10
    """
    from inspection.bench.retraining.kill import run

    say_report(run(out, kills=kills), as_json=as_json)
