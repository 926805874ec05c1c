"""What the commands share: their options, and how a result is printed."""

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from inspection.cli.tables import json_text
from inspection.core.config import SettingsT, parse_config
from inspection.core.decision import Band
from inspection.core.errors import ConfigError
from inspection.core.settings import TrainConfig

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)

Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would be done, do nothing")]
Group = Annotated[
    str | None, typer.Option(help="regular expression on the file name; its match is the group")
]
CalibrateShare = Annotated[float, typer.Option(help="share of the good parts for thresholds")]
TestShare = Annotated[float, typer.Option(help="share tested, where the layout has no test")]
Manifest = Annotated[Path, typer.Option("--data", metavar="MANIFEST", help="of dataset check")]
ManifestOfGate = Annotated[
    Path | None, typer.Option("--data", metavar="MANIFEST", help="else the bundle's own")
]
Threshold = Annotated[float | None, typer.Option(help="threshold, with the other")]
BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the bundle's folder")]
TrustedKeys = Annotated[
    list[str] | None,
    typer.Option("--trusted-key", metavar="KEY", help="whose signature counts; else anyone's"),
]


def new_app(purpose: str) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"max_content_width": 100},  # examples stay on one line
        help=purpose,
        epilog="--debug, anywhere on the line, shows the traceback of an error.",
    )


def say(result: object, text: str, *, as_json: bool) -> None:
    """Print a result on stdout, for a machine or for a person."""
    typer.echo(json_text(result) if as_json else text)


def options(model: type[SettingsT], values: Mapping[str, object]) -> SettingsT:
    """Check what stood on the command line as the settings of a stage.

    Raises:
        ConfigError: naming every value that does not fit.
    """
    return parse_config(json.dumps(values), model, "command line")  # JSON is YAML


def chosen_band(review_above: float | None, reject_above: float | None) -> Band | None:
    """Give the thresholds of the command line; none where none were given.

    Raises:
        ConfigError: there is only one, or the first lies above the second.
    """
    if review_above is None and reject_above is None:
        return None
    if review_above is None or reject_above is None:
        raise ConfigError("--review-above and --reject-above: found one; wanted both or none")
    return options(Band, {"review_above": review_above, "reject_above": reject_above})


def choose(kinds: type[ChoiceT], word: str, option: str) -> ChoiceT:
    """Give the kind of that name.

    Raises:
        ConfigError: there is none; names those that are.
    """
    if word not in list(kinds):
        raise ConfigError(f"{option}: found '{word}'; wanted one of {', '.join(kinds)}")
    return kinds(word)


def with_random_weights(settings: TrainConfig) -> TrainConfig:
    """Allow random weights, for trials, when none are found."""
    backbone = settings.backbone.model_copy(update={"allow_random_weights": True})
    return settings.model_copy(update={"backbone": backbone})
