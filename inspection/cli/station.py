"""The commands of a line station: run it, test it, look at it, judge its parts again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, Threshold, chosen_band, new_app, say
from inspection.cli.logs import configure_logging
from inspection.cli.tables import aligned
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.station.replay import Replay
    from inspection.station.settings import StationConfig

station = new_app("Run a line station, test it, look at it.")
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/station.yaml")]


@station.command("run")
def run(
    config_file: Config,
    once: Annotated[bool, typer.Option("--once", help="judge what lies there and end")] = False,
    json_logs: Annotated[bool, typer.Option("--json-logs", help="log one JSON line each")] = False,
) -> None:
    """Judge every part once: one durable event each, then its signals.

    Example: inspection station run configs/station.yaml --once
    """
    from inspection.station.service import serve

    if json_logs:
        configure_logging(as_json=True)
    settings = _load(config_file)
    status = serve(settings.once() if once else settings)
    counted = ", ".join(f"{count} {verdict}" for verdict, count in status.since_start.items())
    typer.echo(f"{counted} · {status.late} late, {status.known} known already", err=True)


@station.command("selftest")
def selftest(config_file: Config, as_json: Json = False) -> None:
    """Make the start-of-shift check: golden frames, golden parts. Exit 1 when a check fails.

    Example: inspection station selftest configs/station.yaml
    """
    from inspection.station.recipes.opening import open_recipes
    from inspection.station.service import selftest_of

    settings = _load(config_file)
    record = selftest_of(settings, open_recipes(settings, at_desk=True))
    say(record, str(record), as_json=as_json)
    raise typer.Exit(0 if record.passed else 1)


@station.command("status")
def status(config_file: Config, as_json: Json = False) -> None:
    """Show how a running station stands, on one screen. Exit 1 unless it is READY.

    Example: inspection station status configs/station.yaml
    """
    from rich.console import Console

    from inspection.cli.station_text import answers, status_text
    from inspection.station.heart import is_running, read_status

    settings = _load(config_file)
    found, age_s = read_status(settings.data_dir)
    running = is_running(settings.data_dir)
    if as_json:
        say(found, "", as_json=True)
    else:
        Console().print(status_text(found, age_s, settings.heartbeat_ms, running=running))
    ready = found.state == "READY" and running and answers(age_s, settings.heartbeat_ms)
    raise typer.Exit(0 if ready else 1)


@station.command("replay")
def replay(
    config_file: Config,
    bundle: Annotated[Path | None, typer.Option(help="judges instead of the recipes'")] = None,
    review_above: Threshold = None,
    reject_above: Threshold = None,
    after: Annotated[int, typer.Option(help="leave out events up to this sequence")] = 0,
    as_json: Json = False,
) -> None:
    """Judge the kept frames of recorded parts again, and list the verdicts that change.

    Example: inspection station replay configs/station.yaml --bundle bundles/plate-2
    """
    from inspection.station.replay import replay as judge_again

    band = chosen_band(review_above, reject_above)
    found = judge_again(_load(config_file), bundle=bundle, band=band, after=after)
    say(found, _text(found), as_json=as_json)


@station.command("events")
def events(
    config_file: Config,
    after: Annotated[int, typer.Option(help="leave out events up to this sequence")] = 0,
) -> None:
    """Print the recorded events as JSON, one in each line, oldest first.

    Example: inspection station events configs/station.yaml > events.jsonl
    """
    from inspection.station.replay import events_after

    for event in events_after(_load(config_file).data_dir, after):
        typer.echo(event.model_dump_json())


def _load(config_file: Path) -> "StationConfig":
    from inspection.station.settings import StationConfig

    return load_config(config_file, StationConfig)


def _text(found: "Replay") -> str:
    """List changed verdicts, one line each, and count all."""
    rows = [("event", "part", "camera", "then", "score", "now", "score", "why")]
    for one in found.changed:
        then, now = ("-" if s is None else f"{s:.6g}" for s in (one.score_then, one.score_now))
        rows.append(
            (str(one.sequence), one.part_id, one.camera, one.then, then, one.now, now, one.reason)
        )
    counted = (
        f"{len(found.frames)} frames judged again, {len(found.changed)} verdicts change, "
        f"{found.not_kept} frames not kept, {found.not_by_pixels} not judged by their pixels"
    )
    return f"{aligned(rows)}\n{counted}" if found.changed else counted
