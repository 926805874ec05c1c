"""configs/station.yaml: what one line station watches, how it judges and where it records."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from inspection.core.config import Settings
from inspection.core.decision import Verdict

Suffix = Annotated[str, Field(pattern=r"^\.[a-z0-9]+$")]
PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Judged = Literal[Verdict.PASS, Verdict.REVIEW, Verdict.REJECT]


class StationConfig(Settings):
    """One station with a watched folder; paths are relative to the working directory."""

    bundle: Path = Field(Path("demo/bundle"), description="gated bundle that judges")
    trusted_keys: tuple[PublicKey, ...] = Field(
        (), description="Ed25519 public keys (64 hex digits) whose signature the bundle must carry"
    )
    source: Path = Field(Path("demo/incoming"), description="watched folder, sub-folders included")
    suffixes: tuple[Suffix, ...] = Field(
        (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
        min_length=1,
        description="files that are parts, lower case; the case of the file's name does not matter",
    )
    data_dir: Path = Field(
        Path("demo/station"), description="events.sqlite and overlays/; one station process each"
    )
    line: str = Field("line-1", min_length=1, max_length=64, description="name of the line")
    station: str = Field(
        "station-1", min_length=1, max_length=64, description="name of this station on the line"
    )
    poll_ms: StrictInt = Field(
        50, ge=1, le=60_000, description="pause between two looks into the folder, ms"
    )
    settle_ms: StrictInt = Field(
        200,
        ge=0,
        le=60_000,
        description="a file is taken when its size and times stood still so long, ms; 0 is right "
        "only for writers that rename finished files into the folder",
    )
    deadline_ms: StrictInt = Field(
        1_000,
        ge=1,
        le=600_000,
        description="from turning to a file to its verdict, ms; a later verdict is FAULT",
    )
    faults_in_a_row: StrictInt = Field(
        20, ge=1, le=100_000, description="FAULT parts after which the station stops"
    )
    overlay_for: tuple[Judged, ...] = Field(
        (Verdict.REVIEW, Verdict.REJECT), description="verdicts that get an overlay picture"
    )
    threads: StrictInt = Field(2, ge=1, le=256, description="processor threads of the inference")
    once: StrictBool = Field(
        default=False, description="judge what lies in the folder and end, instead of watching"
    )

    @model_validator(mode="after")
    def _folders_stand_apart(self) -> Self:
        source, data_dir = self.source.resolve(), self.data_dir.resolve()
        if source.is_relative_to(data_dir) or data_dir.is_relative_to(source):
            raise ValueError(
                f"source '{self.source}' and data_dir '{self.data_dir}' lie within each other; "
                "overlays would be judged as parts; name two folders that stand apart"
            )
        return self
