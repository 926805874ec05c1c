"""configs/tune.yaml: which models are compared on a product, and what they may cost."""

from typing import Self

from pydantic import Field, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.settings import ExportConfig, TrainConfig


class Candidate(Settings):
    """One model that may judge the product."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="of its folder and row")
    train: TrainConfig = Field(default_factory=TrainConfig)


class TuneConfig(Settings):
    """The whole file."""

    latency_ms: StrictFloat = Field(
        10.0, gt=0, description="median per part on this CPU that the recommended one may take, ms"
    )
    defects_per_normal: StrictInt = Field(
        2, ge=1, le=20, description="generated on each calibrate part, to rank the candidates by"
    )
    export: ExportConfig = Field(default_factory=ExportConfig)
    candidates: tuple[Candidate, ...] = Field(min_length=1, description="the models; names differ")

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        names = [one.name for one in self.candidates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"candidates: '{twice[0]}' stands twice; wanted each name once")
        return self
