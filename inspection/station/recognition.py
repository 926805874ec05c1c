"""The second stage of a station as it is configured: which detector names defects, and when."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, StrictFloat, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.known import Holds

RESERVED = 0.1  # of deadline_ms, left for accept rules and the disk: what comes later is FAULT


class RecognitionSettings(Settings):
    """What names known defects on a frame, after its anomaly score."""

    detector: Path = Field(description="sealed folder, as inspection recognise import makes it")
    on: Literal["held", "all"] = Field(
        "held",
        description="held: frames that are REVIEW or REJECT get names, and no verdict changes; "
        "all: every frame that above_normals does not skip, and known defects hold it whatever "
        "its score, as `holds` says",
    )
    above_normals: StrictFloat = Field(
        0.0,
        ge=0,
        lt=1,
        description="with `on: all`, share of the bundle's calibrate parts whose anomaly score a "
        "frame that would pass must reach to be looked at; 0 looks at every frame",
    )
    budget_ms: StrictInt = Field(
        200,
        ge=1,
        le=600_000,
        description="time of the detector on each frame, ms, at most what is left of deadline_ms; "
        "then it is stopped. That of all frames of a part together, less where several threads "
        "share them, must lie below deadline_ms less a tenth",
    )
    holds: Holds | None = Field(
        None,
        description="which objects hold a frame, with `on: all`; none is REVIEW from a score of "
        "0.5, whatever the type",
    )

    @model_validator(mode="after")
    def _holds_what_it_sees(self) -> Self:
        if self.on == "held" and self.holds is not None:
            raise ValueError(
                "holds says which frames are held for what is found on them, but on: held looks "
                "at those that are held already; set on: all, or leave holds out"
            )
        if self.on == "held" and self.above_normals > 0:
            raise ValueError(
                "above_normals says which frames that pass are looked at, but on: held looks at "
                "none; set on: all, or leave above_normals out"
            )
        return self

    @property
    def holding(self) -> Holds | None:
        """Which objects hold a frame; none where none does."""
        return (self.holds or Holds()) if self.on == "all" else None
