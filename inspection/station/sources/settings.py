"""What may bring parts to a station: a watched folder, cameras or a video, pictures over HTTP."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StrictBool, StrictFloat, StrictInt, field_validator, model_validator

from inspection.core.config import Settings
from inspection.core.exposure import Exposed, refuse_clear

CAMERA = "main"
"""Name of the camera where there is only one."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Suffix = Annotated[str, Field(pattern=r"^\.[a-z0-9]+$")]


class FolderSettings(Settings):
    """A watched folder, sub-folders included."""

    kind: Literal["folder"] = "folder"
    path: Path = Field(Path("demo/incoming"), description="the folder")
    suffixes: tuple[Suffix, ...] = Field(
        (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
        min_length=1,
        description="files that are parts, lower case; the case of the file's name does not matter",
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
    name_pattern: str = Field(
        r"(?P<part>.+)",
        description="regular expression of the whole file name without suffix; group `part` is the "
        "part id, groups `camera` and `product`, where there, name camera and product code; "
        "where a part has several `frames`, group `frame` is the number and `last`, unless empty, "
        "marks the last",
    )
    together_ms: StrictInt = Field(
        1_000,
        ge=1,
        le=600_000,
        description="how long a part waits for the pictures of its other cameras, ms; then it is "
        "FAULT",
    )
    once: StrictBool = Field(
        default=False, description="judge what lies in the folder and end, instead of watching"
    )

    @field_validator("name_pattern")
    @classmethod
    def _has_part(cls, value: str) -> str:
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        unknown = groups.keys() - {"part", "camera", "product", "frame", "last"}
        if "part" not in groups or unknown:
            raise ValueError(
                "wanted the group (?P<part>…) and no others but camera, product, frame and last"
            )
        return value

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups of the pattern."""
        return frozenset(re.compile(self.name_pattern).groupindex)


class CameraSettings(Settings):
    """One camera of a part."""

    driver: Literal["opencv", "aravis"] = Field(
        "opencv", description="opencv: USB, RTSP or a video file; aravis: GenICam, GigE Vision"
    )
    address: str = Field(
        "0",
        min_length=1,
        description="opencv: number of the USB camera, rtsp:// address or path of a video; aravis: "
        "the camera's name or IP address, as arv-tool-0.8 of aravis-tools-cli lists it",
    )
    grey: StrictBool = Field(
        default=False, description="the camera shows grey: one channel, or three nearly equal ones"
    )
    exposure_us: StrictFloat | None = Field(
        None, gt=0, description="exposure time, µs; none leaves it to the camera"
    )
    stall_ms: StrictInt = Field(
        1_000,
        ge=1,
        le=86_400_000,
        description="a camera that gives no frame so long is stalled: its part is FAULT and it is "
        "opened anew; with every_ms 0 it must exceed the longest pause between parts",
    )
    exposed: Exposed = False

    @model_validator(mode="after")
    def _keeps_its_login(self) -> Self:
        if urlsplit(self.address).username is not None:
            what = "the login within address"
            refuse_clear(what, self.address, exposed=self.exposed, instead="rtsps://")
        return self


class IntervalTrigger(Settings):
    """A part at fixed times, or each frame of a video."""

    kind: Literal["interval"] = "interval"
    every_ms: StrictInt = Field(
        0, ge=0, le=3_600_000, description="time from part to part, ms; 0 takes every frame"
    )


class ModbusTrigger(Settings):
    """A part whenever the PLC counts its trigger register up; needs the modbus output."""

    kind: Literal["modbus"] = "modbus"


class CamerasSettings(Settings):
    """Cameras that look at each part together, when triggered."""

    kind: Literal["cameras"]
    cameras: dict[Name, CameraSettings] = Field(
        default_factory=lambda: {CAMERA: CameraSettings()},
        min_length=1,
        description="the cameras of a part by name; a recipe names a bundle for each",
    )
    trigger: IntervalTrigger | ModbusTrigger = Field(
        default_factory=IntervalTrigger, discriminator="kind", description="when a part is taken"
    )
    product: str = Field("default", description="product code, where the trigger gives none")


class PushSettings(Settings):
    """Pictures that come as `POST /frames` to the station's web address."""

    kind: Literal["push"]
    wait_ms: StrictInt = Field(
        30_000,
        ge=1,
        le=600_000,
        description="how long a request waits for its verdict, ms; then it is told to ask again",
    )
    max_mb: StrictInt = Field(
        64, ge=1, le=2_048, description="largest request, MB; larger ones are refused"
    )
    token_file: Path = Field(
        description="file whose first line is the secret every request must bring as bearer token, "
        "16 characters or more"
    )

    @model_validator(mode="before")
    @classmethod
    def _strangers_bring_no_part(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("token_file") is None:
            raise ValueError(
                "there is no token_file, so any program, and any page in a browser, could bring "
                "parts; expected a file with a token; make one by `umask 077; openssl rand -hex 32 "
                "> push.token` and set source.token_file"
            )
        return values


SourceSettings = FolderSettings | CamerasSettings | PushSettings
