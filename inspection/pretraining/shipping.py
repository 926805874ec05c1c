"""Writes weights of our own with the record of how they came about."""

from pathlib import Path

from pydantic import Field
from safetensors.torch import save_file

from inspection.core.folders import new_folder
from inspection.core.origin import describe_origin
from inspection.core.records import Origin, Record, hash_file, write_record
from inspection.pretraining.backbone import Lap, train_backbone
from inspection.pretraining.settings import BackboneRecipe
from inspection.training.formulanet import NAME

RECORD = "weights.json"
FILE = f"{NAME}.formulas.safetensors"
PACKAGES = ("numpy", "opencv-python-headless", "safetensors", "scipy", "timm", "torch")


class WeightsRecord(Record):
    """How weights came about; beside them."""

    file: str
    sha256: str
    recipe: BackboneRecipe
    laps: tuple[Lap, ...] = Field(description="the learning curve, on pictures held out")
    origin: Origin


def make_backbone(recipe: BackboneRecipe, out: Path) -> WeightsRecord:
    """Train `formulanet` and write it, with its record.

    Args:
        recipe: of the training.
        out: a new folder.

    Raises:
        ConfigError: `out` exists and is not empty.
    """
    with new_folder(out) as folder:
        model, laps = train_backbone(recipe)
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / FILE, metadata={"format": "pt"})
        record = WeightsRecord(
            file=FILE,
            sha256=hash_file(folder / FILE),
            recipe=recipe,
            laps=laps,
            origin=describe_origin(PACKAGES),
        )
        write_record(folder / RECORD, record)
    return record
