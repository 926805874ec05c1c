"""The commands that make our own weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, say
from inspection.cli.tables import aligned
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.pretraining.shipping import WeightsRecord

weights = typer.Typer(help="Make our own weights from formulas alone.", no_args_is_help=True)


@weights.command("train-backbone")
def train_backbone(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/backbone.yaml")],
    out: Annotated[Path, typer.Option(help="new folder of the weights and their record")],
    as_json: Json = False,
) -> None:
    """Train a backbone on procedural pictures; name its folder in INSPECTION_WEIGHTS to use it.

    Example: inspection weights train-backbone configs/backbone.yaml --out weights
    """
    from inspection.pretraining.settings import BackboneRecipe
    from inspection.pretraining.shipping import make_backbone

    record = make_backbone(load_config(config_file, BackboneRecipe), out)
    say(record, _text(record), as_json=as_json)


def _text(record: "WeightsRecord") -> str:
    rows = [("epoch", "seconds", "fine", "coarse")]
    rows += [
        (str(lap.epoch), f"{lap.seconds:.0f}", f"{lap.fine:.3f}", f"{lap.coarse:.3f}")
        for lap in record.laps
    ]
    return f"{aligned(rows)}\n{record.file}: sha256 {record.sha256[:12]}"
