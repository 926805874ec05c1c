"""The commands that make our own weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inspection.cli.arguments import Json, say
from inspection.cli.tables import aligned
from inspection.core.config import load_config

if TYPE_CHECKING:
    from inspection.pretraining.shipping import WeightsRecord
    from inspection.pretraining.shipping_segmenter import SegmenterRecord

weights = typer.Typer(help="Make our own weights from formulas alone.", no_args_is_help=True)


@weights.command("train-backbone")
def train_backbone(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/backbone.yaml")],
    out: Annotated[Path, typer.Option(help="new folder of the weights and their record")],
    as_json: Json = False,
) -> None:
    """Train a backbone on procedural pictures; backbone.weights or INSPECTION_WEIGHTS names it.

    Example: inspection weights train-backbone configs/backbone.yaml --out weights
    """
    from inspection.pretraining.settings import BackboneRecipe
    from inspection.pretraining.shipping import make_backbone

    record = make_backbone(load_config(config_file, BackboneRecipe), out)
    say(record, _text(record), as_json=as_json)


@weights.command("train-segmenter")
def train_segmenter(
    config_file: Annotated[Path, typer.Argument(metavar="CONFIG", help="configs/segmenter.yaml")],
    out: Annotated[Path, typer.Option(help="new folder of the checkpoint and its conversion")],
    as_json: Json = False,
) -> None:
    """Train a segmenter on procedural pictures; stations take its folder openvino.

    Example: inspection weights train-segmenter configs/segmenter.yaml --out segmenter
    """
    from inspection.pretraining.settings import SegmenterRecipe
    from inspection.pretraining.shipping_segmenter import make_segmenter

    record = make_segmenter(load_config(config_file, SegmenterRecipe), out)
    say(record, _text(record), as_json=as_json)


def _text(record: "WeightsRecord | SegmenterRecord") -> str:
    """Give the learning curve as a table, and the file."""
    rows = [("epoch", "seconds", *record.laps[0].found)]
    rows += [
        (str(lap.epoch), f"{lap.seconds:.0f}", *(f"{value:.3f}" for value in lap.found.values()))
        for lap in record.laps
    ]
    return f"{aligned(rows)}\n{record.file}: sha256 {record.sha256[:12]}"
