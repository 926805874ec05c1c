"""configs/recognise.yaml: from which labels which second stage is trained, and how."""

from typing import Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.data.split import Pattern


class LabelSource(Settings):
    """Where labels lie."""

    path: str = Field(
        description="a COCO file (.json), a folder of corrections, or a data set with masks"
    )
    pictures: str | None = Field(
        None, description="folder of a COCO file's pictures; none is the folder it lies in"
    )
    side: Literal["train", "test"] | None = Field(
        None, description="where its pictures go; none divides them by a hash of their group"
    )


class LabelSettings(Settings):
    """Which labels, and how they are divided."""

    sources: tuple[LabelSource, ...] = Field(min_length=1, description="several are one set")
    types: tuple[str, ...] | None = Field(
        None, min_length=1, description="the types to learn; none takes those that are found"
    )
    group: Pattern | None = Field(
        None,
        description="regular expression searched in the file name; its group(1), or its whole "
        "match, is the part; none makes each picture its own, with those too like it",
    )
    test_share: StrictFloat = Field(
        0.4, gt=0, lt=1, description="share of the parts that judge and never teach"
    )


class NetworkSettings(Settings):
    """Which network finds typed defects."""

    name: Literal["centermask", "maskrcnn", "fcos", "retinanet", "huggingface"] = Field(
        "centermask", description="kind; docs/recognise.md says what each is"
    )
    backbone: str = Field(
        "formulanet", description="timm model with maps at strides 8, 16 and, where it has, 32"
    )
    weights: str | None = Field(
        None, description="safetensors file of the backbone; none looks as configs/train.yaml does"
    )
    allow_random_weights: StrictBool = Field(
        default=False, description="go on with random weights when none are found; for trials only"
    )
    channels: StrictInt = Field(
        128, ge=32, le=512, multiple_of=32, description="of the pyramid and the heads"
    )
    checkpoint: str | None = Field(
        None, description="huggingface: name at the hub, or a local folder"
    )

    @model_validator(mode="after")
    def _checkpoint_belongs(self) -> "NetworkSettings":
        if (self.name == "huggingface") != (self.checkpoint is not None):
            raise ValueError(
                f"checkpoint belongs to 'huggingface' and to nothing else; name is '{self.name}'"
            )
        return self


class Augmentation(Settings):
    """How the pictures that teach are varied."""

    flips: StrictBool = Field(default=True, description="left and right, up and down")
    scale: StrictFloat = Field(0.2, ge=0, lt=1, description="enlarged or reduced by up to this")
    light: StrictFloat = Field(
        0.2, ge=0, lt=1, description="brightness and contrast changed by up to this share"
    )
    pasted: StrictFloat = Field(
        0.5, ge=0, le=1, description="share of good parts that get labelled defects pasted on"
    )
    good: StrictFloat = Field(
        0.5, ge=0, description="good parts in a pass, as a share of the pictures with defects"
    )


class DetectorExport(Settings):
    """How a trained network becomes a detector."""

    precision: Literal["int8", "fp32"] = Field("int8", description="of the graphs")
    calibration_pictures: StrictInt = Field(
        200, ge=8, le=5_000, description="pictures that teach, which set INT8's ranges"
    )
    most_drop: StrictFloat = Field(
        0.01, ge=0, le=1, description="most that INT8 may lose of the box and mask AP50 of FP32"
    )
    again_epochs: StrictInt = Field(
        3, ge=0, description="passes of quantisation-aware training where INT8 loses more; 0 none"
    )
    least_score: StrictFloat = Field(0.3, gt=0, lt=1, description="from which a box counts")
    most_overlap: StrictFloat = Field(
        0.5, ge=0, le=1, description="IoU above which the less sure of two of one type goes"
    )
    most: StrictInt = Field(30, ge=1, le=100, description="defects of a picture")


class RecogniseConfig(Settings):
    """configs/recognise.yaml."""

    labels: LabelSettings
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    input_hw: tuple[StrictInt, StrictInt] = Field(
        (320, 320), description="height and width of the input, px; multiples of 64"
    )
    augmentation: Augmentation = Field(default_factory=Augmentation)
    epochs: StrictInt = Field(40, ge=1, le=10_000, description="passes over what teaches")
    batch_size: StrictInt = Field(8, ge=1, le=256, description="pictures per training step")
    learning_rate: StrictFloat = Field(1e-3, gt=0, le=1, description="highest of the one cycle")
    seed: StrictInt = Field(0, ge=0, description="seed of every random choice")
    accelerator: Literal["cpu", "gpu", "auto"] = Field(
        "auto", description="Lightning's accelerator"
    )
    export: DetectorExport = Field(default_factory=DetectorExport)

    @model_validator(mode="after")
    def _levels_fit(self) -> "RecogniseConfig":
        if any(side % 64 or side < 128 for side in self.input_hw):
            raise ValueError(f"input_hw {self.input_hw}: wanted multiples of 64 from 128 on")
        return self
