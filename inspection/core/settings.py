"""The configuration of training and export, one model per YAML file."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from inspection.core.config import Settings
from inspection.core.decision import ScoreRule
from inspection.core.geometry import Geometry
from inspection.core.limits import MAX_SCORE, Count, Figure, Finite, PathText, Short


class BackboneConfig(Settings):
    """Which timm feature extractor, with which weights, seen through which layers."""

    name: PathText = Field("formulanet", description="timm model name, or our own `formulanet`")
    layers: tuple[PathText, ...] = Field(
        ("fine", "coarse"), min_length=1, max_length=100, description="feature layers, finest first"
    )
    weights: PathText | None = Field(
        None,
        description="safetensors file; none looks in INSPECTION_WEIGHTS, shipped, then the hub",
    )
    allow_random_weights: StrictBool = Field(
        default=False, description="go on with random weights when none are found; for trials only"
    )
    normalise: Literal["fixed", "per_image"] = Field(
        "fixed",
        description="input normalisation in the graph: the model's fixed one, or the same after "
        "bringing each image to one mean grey level (evens out the light)",
    )


class PatchcoreConfig(Settings):
    """PatchCore's own settings."""

    bank_size: StrictInt = Field(10_000, ge=16, le=200_000, description="vectors in the bank")
    candidates: StrictInt = Field(
        200_000, ge=1_000, le=2_000_000, description="patches drawn from fit before the coreset"
    )
    pool: Literal[1, 3, 5] = Field(3, description="side of the average pooling of features, cells")
    layer_weights: tuple[Finite, ...] | None = Field(
        None,
        max_length=100,
        description="factor on the features of each layer before distances; none is 1 each",
    )


class TrainConfig(Settings):
    """configs/train*.yaml: what is fitted on the fit split."""

    model: Short = Field("Patchcore", description="an Anomalib image model by its class name")
    backbone: BackboneConfig = Field(default_factory=BackboneConfig)
    geometry: Geometry = Field(default_factory=Geometry)
    patchcore: PatchcoreConfig = Field(default_factory=PatchcoreConfig)
    score: ScoreRule = Field(default_factory=ScoreRule)
    epochs: StrictInt = Field(20, ge=1, le=10_000, description="passes over fit; PatchCore needs 1")
    batch_size: StrictInt = Field(16, ge=1, le=256, description="images per training step")
    model_options: dict[
        Short,
        bool
        | Annotated[int, Field(ge=-(2**53), le=2**53)]
        | Figure
        | PathText
        | Annotated[tuple[PathText, ...], Field(max_length=1_000)],
    ] = Field(
        default_factory=dict,
        max_length=1_000,
        description="further constructor arguments of the Anomalib model",
    )
    seed: Count = Field(0, description="seed of every random choice")
    accelerator: Literal["cpu", "gpu", "auto"] = Field(
        "auto", description="Lightning's accelerator"
    )

    @property
    def is_day0(self) -> bool:
        """Whether the model judges by words, with nothing fitted; its scores lie from 0 to 1."""
        return self.model.lower() == "winclip"


class GateLimits(Settings):
    """What a bundle must show against its FP32 reference; found worse, the gate refuses."""

    feature_correlation: StrictFloat = Field(
        0.97, ge=0, le=1, description="least, of every feature map"
    )
    map_correlation: StrictFloat = Field(
        0.95, ge=0, le=1, description="least, of the smoothed score maps; INT8 gives 0.98 and more"
    )
    estimated_map_correlation: StrictFloat = Field(
        0.7,
        ge=0,
        le=1,
        description="the same where PatchCore's two-stage search estimates the quiet cells; "
        "0.79 on magnetic_tile",
    )
    score_correlation: StrictFloat = Field(
        0.95, ge=0, le=1, description="least, of the part scores"
    )
    auroc_drop: StrictFloat = Field(0.01, ge=0, le=1, description="most, of the image AUROC")
    auroc_least: StrictFloat = Field(
        0.7, ge=0, le=1, description="least image AUROC of the graph itself"
    )
    false_reject_factor: StrictFloat = Field(
        3.0,
        ge=1,
        le=MAX_SCORE,
        description="most, false-reject rate on test (its 95 % lower bound) over target",
    )

    def least_map_correlation(self, *, estimated: bool) -> float:
        """Give the limit for score maps with or without estimated cells."""
        return self.estimated_map_correlation if estimated else self.map_correlation


class ExportConfig(Settings):
    """configs/export.yaml: how a run becomes a bundle."""

    precision: Literal["int8", "fp16", "fp32"] = Field("int8", description="of the shipped graph")
    calibration_images: StrictInt = Field(
        300, ge=8, le=5_000, description="fit normals NNCF reads; 300 is its own recommendation"
    )
    coarse_bank: StrictInt = Field(
        2_048,
        ge=0,
        le=2_000_000,
        description="vectors every patch is compared with; 0 compares with all",
    )
    search_dimensions: StrictInt = Field(
        64,
        ge=0,
        le=100_000,
        description="principal directions in which every patch is compared, at most half of what "
        "the features have; 0 compares in all of them",
    )
    refine_patches: StrictInt = Field(
        64,
        ge=1,
        le=4096,
        description="worst patches per image compared with the whole bank in all dimensions",
    )
    false_reject_rate: StrictFloat = Field(
        0.01, gt=0, lt=0.5, description="promised share of good parts above review_above"
    )
    reject_margin: StrictFloat = Field(
        0.5,
        ge=0,
        le=100,
        description="how far above review_above REJECT begins, as a share of the distance from the "
        "median calibrate score to review_above; normals alone cannot tell, a person may move it",
    )
    golden_frames: StrictInt = Field(4, ge=1, le=32, description="frames with expected maps")
    gate: GateLimits = Field(default_factory=GateLimits)
