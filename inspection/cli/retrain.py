"""The commands of retraining: look once at what is due, do one job or one step, ask the policy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, choose, new_app, say
from inspection.cli.hub import CONFIG as HUB_CONFIG
from inspection.cli.hub import opened_hub
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.hub.wire.retraining import JobState, PolicyWords
    from inspection.retraining.once import Once
    from inspection.retraining.settings import RetrainingConfig

retrain = new_app("Train again what is due: once, by hand or from cron.")
ConfigFile = Annotated[Path, typer.Option("--config", help="the configuration of the retraining")]
HubFile = Annotated[Path, typer.Option("--hub", help="the hub's configuration")]
CONFIG = Path("configs/retraining.yaml")


@retrain.callback(invoke_without_command=True)
def if_due(
    context: typer.Context,
    due: Annotated[bool, typer.Option("--if-due", help="do what the policy finds due")] = False,
    config: ConfigFile = CONFIG,
    hub: HubFile = HUB_CONFIG,
    as_json: Json = False,
) -> None:
    """Train again what is due and may be done by itself. Exit 1: refused, 3: a fault.

    Example: inspection retrain --if-due --config configs/retraining.yaml
    """
    from inspection.retraining.once import train_if_due

    if context.invoked_subcommand is not None:
        return
    if not due:
        raise typer.BadParameter("wanted --if-due, or one of the commands; see --help")
    with opened_hub(hub) as opened:
        done = train_if_due(opened, _settings(config))
    say(done, _done_text(done), as_json=as_json)
    raise typer.Exit(_code(*(one.state for one in done.jobs)) or 3 * bool(done.faults))


@retrain.command("job")
def job(
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="as the hub's list of jobs says")],
    config: ConfigFile = CONFIG,
    hub: HubFile = HUB_CONFIG,
) -> None:
    """Do one job that waits, or whose worker is gone, as the hub does. Exit 1: refused, 3: a fault.

    Example: inspection retrain job 0123abcd
    """
    from inspection.retraining.worker import work

    with opened_hub(hub) as opened:
        state = work(opened, _settings(config), job_id)
    typer.echo(f"{job_id}  {state or 'nothing to do: it has ended, or another worker has it'}")
    raise typer.Exit(_code(state))


@retrain.command("step")
def step(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="of the job, below work_dir")],
    name: Annotated[str, typer.Argument(metavar="STEP", help="train, export, calibrate, …")],
) -> None:
    """Do one step of a job in its folder, unless it is done; needs no hub.

    Example: inspection retrain step demo/retraining/0123abcd train
    """
    from inspection.hub.wire.retraining import Step
    from inspection.retraining.steps import perform

    perform(choose(Step, name, "STEP"), folder)
    typer.echo(f"{folder}  {name} is done")


@retrain.command("policy")
def policy(config: ConfigFile = CONFIG, hub: HubFile = HUB_CONFIG, as_json: Json = False) -> None:
    """Say of every product what is due, or why nothing is, and when it may be.

    Example: inspection retrain policy --config configs/retraining.yaml
    """
    from inspection.retraining.due import speak

    with opened_hub(hub) as opened:
        said = speak(opened, _settings(config))
    say(said, _policy_text(said), as_json=as_json)


def _settings(path: Path) -> "RetrainingConfig":
    from inspection.retraining.settings import RetrainingConfig

    return load_config(path, RetrainingConfig)


def _code(*states: "JobState | None") -> int:
    """Give the worst exit code; none is a job that another worker has."""
    from inspection.hub.wire.retraining import JobState

    codes = {JobState.REFUSED: 1, JobState.FAILED: 3, JobState.IMPOSSIBLE: 3}
    return max((codes.get(one, 0) for one in states if one is not None), default=0)


def _done_text(done: "Once") -> str:
    lines = [
        f"{one.line}  {one.product}  {one.kind}  {one.state}: {one.outcome}" for one in done.jobs
    ]
    return "\n".join([*lines, *(f"fault: {one}" for one in done.faults)]) or "nothing is due"


def _policy_text(said: "tuple[PolicyWords, ...]") -> str:
    return "\n\n".join(f"{one.line}  {one.product}\n{one.words}" for one in said) or (
        "no product is configured; add one under products"
    )
