"""The configuration of our own weights."""

from pydantic import Field, StrictFloat, StrictInt

from inspection.core.config import Settings


class BackboneRecipe(Settings):
    """configs/backbone.yaml: what our own backbone is trained on, and how long."""

    pictures: StrictInt = Field(32_000, ge=256, description="procedural pictures")
    side_px: StrictInt = Field(128, ge=64, multiple_of=16, description="of each, px")
    epochs: StrictInt = Field(18, ge=1, description="passes over them")
    batch_size: StrictInt = Field(32, ge=2, description="pictures per step")
    learning_rate: StrictFloat = Field(3e-3, gt=0, description="highest, of one cycle")
    seed: StrictInt = Field(0, ge=0, description="of pictures, order and first weights")


class SegmenterRecipe(Settings):
    """configs/segmenter.yaml: what our own segmenter is trained on, and how long."""

    backbone: str | None = Field(
        None,
        description="safetensors file of `formulanet` that its encoder begins with; none looks "
        "where training does, and begins at random where there is none",
    )
    pictures: StrictInt = Field(8_000, ge=32, description="procedural pictures with marks")
    side_px: StrictInt = Field(
        256,
        ge=64,
        multiple_of=16,
        description="of each, and of the square it sees, px; divisible by 16",
    )
    epochs: StrictInt = Field(3, ge=1, description="passes over them, each turned anew")
    batch_size: StrictInt = Field(4, ge=1, le=32, description="pictures per step")
    learning_rate: StrictFloat = Field(1e-3, gt=0, description="highest, of one cycle")
    seed: StrictInt = Field(0, ge=0, description="of pictures, prompts and first weights")
