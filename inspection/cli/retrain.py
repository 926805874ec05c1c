"""The commands of retraining: look once at what is due, do one job or one step, ask the policy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, choose, new_app, say
from inspection.cli.hub import CONFIG as HUB_CONFIG
from inspection.cli.hub import opened_hub
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.hub.hub import Hub
    from inspection.hub.wire.retraining import Job, JobState, PolicyWords
    from inspection.retraining.once import Once
    from inspection.retraining.settings import RetrainingConfig

retrain = new_app("Train again what is due: once, by hand or from cron.")
ConfigFile = Annotated[Path, typer.Option("--config", help="the configuration of the retraining")]
HubFile = Annotated[Path, typer.Option("--hub", help="the hub's configuration")]
CONFIG = Path("configs/retraining.yaml")
LISTED = 1_000  # jobs among which one is looked for
NO_PRODUCT = "no product is configured; add one under products"


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
    with opened_hub(hub, is_there=True) as opened:
        settings = _settings(config)
        done = train_if_due(opened, settings)
    say(done, _done_text(done, len(settings.products)), as_json=as_json)
    states = (one.state for one in (*done.jobs, *done.left))
    raise typer.Exit(max(_code(*states), 3 * bool(done.faults)))


@retrain.command("job")
def job(
    job_id: Annotated[
        str, typer.Argument(metavar="JOB_ID", help="or how it begins, as the dashboard shows it")
    ],
    config: ConfigFile = CONFIG,
    hub: HubFile = HUB_CONFIG,
) -> None:
    """Do one job that waits, or whose worker is gone, as the hub does. Exit 1: refused, 3: a fault.

    Example: inspection retrain job 0123abcd
    """
    from inspection.hub.jobs import get_job
    from inspection.retraining.worker import work

    with opened_hub(hub, is_there=True) as opened:
        found = _found(opened, job_id)
        state = work(opened, _settings(config), found)
        now = get_job(opened, found).state
    typer.echo(f"{found}  {state or f'nothing to do: it is {now}, or another worker has it'}")
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

    with opened_hub(hub, is_there=True) as opened:
        said = speak(opened, _settings(config))
    say(said, _policy_text(said), as_json=as_json)


def _found(hub: "Hub", begin: str) -> str:
    """Give the id of the one job whose id begins so.

    Raises:
        NotThere: there is none, or several.
    """
    from inspection.hub.jobs import list_jobs
    from inspection.hub.refusals import NotThere

    newest = list_jobs(hub, LISTED)
    found = [one.job_id for one in newest if one.job_id.startswith(begin)]
    if len(found) != 1:
        known = ", ".join(f"{one.job_id[:12]} ({one.kind}, {one.state})" for one in newest[:5])
        raise NotThere(
            f"job '{begin}': {len(found)} begin so; wanted one; the newest are {known or 'none'}"
        )
    return found[0]


def _settings(path: Path) -> "RetrainingConfig":
    from inspection.retraining.settings import RetrainingConfig

    return load_config(path, RetrainingConfig)


def _code(*states: "JobState | None") -> int:
    """Give the worst exit code; none is a job that another worker has."""
    from inspection.hub.wire.retraining import JobState

    codes = {JobState.REFUSED: 1, JobState.FAILED: 3, JobState.IMPOSSIBLE: 3}
    return max((codes.get(one, 0) for one in states if one is not None), default=0)


def _done_text(done: "Once", products: int) -> str:
    lines = [
        *(f"{_named(one)}  {one.state}: {one.outcome}" for one in done.jobs),
        *(f"{_named(one)}  asked for by {one.who}; {_with_whom(one)}" for one in done.left),
        *(f"{one.line}  {one.product}  nothing was done: {one.words}" for one in done.barred),
        *(f"fault: {one}" for one in done.faults),
    ]
    return "\n".join(lines) or ("nothing is due" if products else NO_PRODUCT)


def _named(job: "Job") -> str:
    return f"{job.line}  {job.product}  {job.kind}"


def _with_whom(job: "Job") -> str:
    from inspection.hub.wire.retraining import JobState

    words = {
        JobState.WAITING: "it waits, for another worker has one",
        JobState.RUNNING: "another worker has it",
    }
    return words.get(job.state, f"another worker had it, {job.state}: {job.outcome}")


def _policy_text(said: "tuple[PolicyWords, ...]") -> str:
    return "\n\n".join(f"{one.line}  {one.product}\n{one.words}" for one in said) or NO_PRODUCT
