"""Writes our own backbone with the record of how it came about."""

from pathlib import Path

from safetensors.torch import save_file

from inspection.core.folders import new_folder
from inspection.core.origin import describe_origin
from inspection.core.records import hash_file, write_record
from inspection.networks.formulanet import NAME
from inspection.pretraining.backbone import Lap, train_backbone
from inspection.pretraining.modelcard import MadeRecord, ModelCard
from inspection.pretraining.settings import BackboneRecipe

RECORD = "weights.json"
FILE = f"{NAME}.formulas.safetensors"
ABOUT = ModelCard(
    title=f"{NAME}: features for PatchCore and STFPM",
    what="A small residual network that computes the local energies of a filter bank: how strongly "
    "a picture varies, in which direction, at which scale, and how that varies in turn.",
    command="inspection weights train-backbone",
    limits=(
        "It knows textures and edges, not objects: a part that is whole but of the wrong kind, or "
        "a piece in the wrong place, looks normal to it where its texture does.",
        "Weights of ImageNet see more on real parts; where they may be used, "
        "`configs/train-imagenet.yaml` takes them.",
        "Trained at {side_px} px; features of larger pictures are the same, being local.",
        "No real part trained it, but one number of its targets, how far variances are evened out, "
        "was chosen on the defects of magnetic_tile (reports/LOG.md).",
    ),
)
PACKAGES = ("numpy", "opencv-python-headless", "safetensors", "scipy", "timm", "torch")


class WeightsRecord(MadeRecord):
    """How weights of a backbone came about; beside them."""

    recipe: BackboneRecipe
    laps: tuple[Lap, ...]


def make_backbone(recipe: BackboneRecipe, out: Path) -> WeightsRecord:
    """Train `formulanet` and write it, with its record and model card.

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
        ABOUT.write(folder, record)
    return record
