"""The configuration of our own weights."""

from pydantic import Field, StrictFloat, StrictInt

from inspection.core.config import Settings


class BackboneRecipe(Settings):
    """configs/backbone.yaml: what our own backbone is trained on, and how long."""

    pictures: StrictInt = Field(20_000, ge=256, description="procedural pictures")
    side_px: StrictInt = Field(128, ge=64, multiple_of=16, description="of each, px")
    epochs: StrictInt = Field(8, ge=1, description="passes over them")
    batch_size: StrictInt = Field(32, ge=2, description="pictures per step")
    learning_rate: StrictFloat = Field(3e-3, gt=0, description="highest, of one cycle")
    seed: StrictInt = Field(0, ge=0, description="of pictures, order and first weights")
