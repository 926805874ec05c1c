"""Writes our own segmenter with the record of how it came about, and converts it for stations."""

from pathlib import Path

from pydantic import Field

from inspection.core.folders import new_folder
from inspection.core.origin import describe_origin
from inspection.core.records import Weights, hash_file, write_record
from inspection.core.shipped import OPENVINO
from inspection.pretraining.modelcard import MadeRecord, ModelCard
from inspection.pretraining.pool import draw_pool
from inspection.pretraining.scenes import draw_scenes
from inspection.pretraining.segmenter import SegmenterLap, train_segmenter
from inspection.pretraining.settings import SegmenterRecipe
from inspection.pretraining.shipping import PACKAGES, RECORD
from inspection.review.checkpoint import save_checkpoint
from inspection.review.convert import convert_segmenter
from inspection.review.hubfolder import WEIGHTS

CONVERSIONS = "conversions"  # where the conversion stands until it has its name
ABOUT = ModelCard(
    title="A small promptable segmenter",
    what="An EdgeTAM (Zhou et al., CVPR 2025) of few channels with `formulanet` as encoder and "
    "SAM's prompt encoder and mask decoder. It outlines what a box, clicks or a score map point "
    "at; `openvino/` holds the same with its encoder in INT8, as stations run it.",
    command="inspection weights train-segmenter",
    limits=(
        "It was taught marks that formulas draw: cracks, spots, stains, pieces broken out, clouds. "
        "Other forms it outlines roughly.",
        "It sees {side_px} × {side_px} px: what is thinner than about 2 px of those it cannot "
        "outline.",
        "Its own guess of how good an outline is was learnt on drawn marks, too.",
    ),
)
SHOWN = 320  # other pictures, on which INT8's ranges are set; NNCF recommends 300


class SegmenterRecord(MadeRecord):
    """How a segmenter of our own came about; beside it."""

    recipe: SegmenterRecipe
    begun: Weights | None = Field(description="what its encoder began with; none is at random")
    laps: tuple[SegmenterLap, ...]


def make_segmenter(recipe: SegmenterRecipe, out: Path) -> SegmenterRecord:
    """Train a segmenter, write it as transformers does, and convert it to INT8 for stations.

    Args:
        recipe: of the training.
        out: a new folder; the conversion stands in its `openvino`, and is made last: where it
            fails, `inspection review convert` makes it of what was trained.

    Raises:
        ConfigError: `out` exists and is not empty.
        TrainingError: the encoder's weights are not where the recipe names them.
    """
    with new_folder(out) as folder:
        checkpoint, laps, begun = train_segmenter(recipe)
        save_checkpoint(checkpoint, folder)
        record = SegmenterRecord(
            file=WEIGHTS,
            sha256=hash_file(folder / WEIGHTS),
            recipe=recipe,
            begun=begun,
            laps=laps,
            origin=describe_origin((*PACKAGES, "transformers")),
        )
        write_record(folder / RECORD, record)
        ABOUT.write(folder, record, {"encoder began with": str(begun or "random weights")})
    chunks = draw_pool(draw_scenes, SHOWN, recipe.side_px, recipe.seed + 1)
    images = [scene.pixels for chunk in chunks for scene in chunk]
    convert_segmenter(str(out), out / CONVERSIONS, images).rename(out / OPENVINO)
    (out / CONVERSIONS).rmdir()
    return record
