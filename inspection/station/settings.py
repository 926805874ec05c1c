"""configs/station.yaml: what one line station watches, how it judges, records and answers."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from inspection.bundles.signing import Purpose, has_keys, own_keys
from inspection.core.config import Settings
from inspection.core.decision import AcceptRule, Band, Verdict, lacking_mm
from inspection.core.draw import PASS_SHARE
from inspection.core.errors import ConfigError
from inspection.core.exposure import Page, is_loopback
from inspection.core.geometry import Roi
from inspection.masks.settings import RefineSettings
from inspection.station.frames.settings import FramesSettings
from inspection.station.outputs.settings import (
    Action,
    ActionSettings,
    HubSettings,
    OutputSettings,
    StdoutSettings,
)
from inspection.station.recognition import RESERVED, RecognitionSettings
from inspection.station.sources.settings import (
    CAMERA,
    CamerasSettings,
    FolderSettings,
    IntervalTrigger,
    ModbusTrigger,
    Name,
    SourceSettings,
)

HubAddress = Annotated[str, Field(pattern=r"^https?://")]
PublicKey = Annotated[
    str, Field(pattern=r"^(bundle|gate|thresholds|deployment):[0-9a-f]{64}$", max_length=80)
]
Judged = Literal[Verdict.PASS, Verdict.REVIEW, Verdict.REJECT]
Guarded = Literal["off", Verdict.REVIEW, Verdict.FAULT]
MB = 1_000_000
ENROL = "write the keys there that 'inspection hub station enrol' prints"


class CameraRecipe(Settings):
    """What judges one camera's frames of one product."""

    bundle: Path = Field(Path("demo/bundle"), description="gated bundle that judges")
    roi: Roi = Field(
        default_factory=Roi,
        description="where in the camera's frame the part lies; cut before the bundle's ROI",
    )
    band: Band | None = Field(
        None,
        description="thresholds instead of those of the bundle named here; a signed record goes "
        "before both, and a newer bundle brings its own",
    )
    golden_parts: Path | None = Field(
        None,
        description="folder with good/ and defect/ pictures that must be judged as such at the "
        "start of a shift; none has none",
    )
    mm_per_px: StrictFloat | None = Field(
        None, gt=0, description="of the camera's frame, at the part's surface; none has px only"
    )
    accept: tuple[AcceptRule, ...] = Field(
        (),
        description="defects the product may have: a REJECT all of whose defects fit the rules "
        "becomes PASS or REVIEW; none leaves every REJECT",
    )
    refine: RefineSettings = Field(
        default_factory=RefineSettings,
        description="how defects are outlined for `accept`; nothing else uses it",
    )

    recognition: RecognitionSettings | None = Field(
        None, description="what names this camera's defects; none is the station's `recognition`"
    )

    @model_validator(mode="after")
    def _bounds_can_be_measured(self) -> Self:
        if lacking := lacking_mm(self.accept, self.mm_per_px):
            raise ValueError(lacking)
        return self


class GuardSettings(Settings):
    """What becomes of a frame a guard complains of: off, REVIEW or FAULT."""

    size: Guarded = Field(Verdict.FAULT, description="another size than the calibrate normals")
    exposure: Guarded = Field(Verdict.REVIEW, description="darker, brighter or more clipped")
    focus: Guarded = Field(Verdict.REVIEW, description="less sharp")
    missing: Guarded = Field(Verdict.FAULT, description="unlike any normal: no part in the frame")
    frozen: Guarded = Field(Verdict.FAULT, description="the same bytes as the camera's last frame")


class InferenceSettings(Settings):
    """How OpenVINO uses the processor."""

    mode: Literal["latency", "throughput"] = Field(
        "latency",
        description="latency: one frame at a time on all threads; throughput: a frame per thread, "
        "for several cameras",
    )
    threads: StrictInt = Field(2, ge=1, le=256, description="processor threads of the inference")

    @property
    def at_once(self) -> int:
        """How many frames are looked at at once."""
        return self.threads if self.mode == "throughput" else 1


class UpdateSettings(Settings):
    """Where new bundles and thresholds come from while the station runs."""

    bundles: tuple[str, ...] = Field(
        (),
        description="folders (a USB stick's too) and hub addresses (http://…) that may hold newer "
        "bundles; one of the same name as a recipe's, but newer, takes its place",
    )
    thresholds: HubAddress | Path | None = Field(
        None,
        description="folder of signed threshold records, or hub address (http://…) that has them; "
        "none takes those of the bundles",
    )
    poll_ms: StrictInt = Field(
        1_000, ge=50, le=3_600_000, description="pause between two looks for updates, ms"
    )
    trial_parts: StrictInt = Field(
        200, ge=1, description="parts a new bundle is on trial; then it stays"
    )
    trial_faults: StrictInt = Field(
        3,
        ge=1,
        description="parts the new bundle could not judge in its trial, at which the "
        "previous one returns",
    )


class SpoolSettings(Settings):
    """What is kept on the disk."""

    keep_images: tuple[Verdict, ...] = Field(
        (Verdict.REVIEW, Verdict.REJECT, Verdict.FAULT),
        description="verdicts whose frames are kept, as captured or lossless",
    )
    keep_pass_share: StrictFloat = Field(
        PASS_SHARE,
        ge=0,
        le=1,
        description="share of PASS parts whose frames are kept all the same; at least the hub's "
        "review.pass_share, which draws the same ones for people to look at",
    )
    overlay_for: tuple[Judged, ...] = Field(
        (Verdict.REVIEW, Verdict.REJECT), description="verdicts that get an overlay picture"
    )
    budget_mb: StrictInt = Field(
        10_000,
        ge=16,
        description="most disk for record and pictures, MB; pictures go first, the least "
        "interesting before others; then events every output has; never others",
    )


class WebSettings(Page):
    """The station's own page, /healthz, /metrics and, for source push, POST /frames."""

    port: StrictInt = Field(8090, ge=1, le=65_535, description="port to listen on")


class StationConfig(Settings):
    """configs/station.yaml: one line station; paths are relative to the working directory."""

    line: str = Field("line-1", min_length=1, max_length=64, description="name of the line")
    station: str = Field(
        "station-1", min_length=1, max_length=64, description="name of this station on the line"
    )
    data_dir: Path = Field(
        Path("demo/station"), description="events.sqlite and pictures; one station process each"
    )
    source: SourceSettings = Field(
        default_factory=FolderSettings, discriminator="kind", description="where parts come from"
    )
    frames: FramesSettings | None = Field(
        None, description="parts of several frames of each camera; none: each frame is a part"
    )
    recipes: dict[str, dict[Name, CameraRecipe]] = Field(
        default_factory=lambda: {"default": {CAMERA: CameraRecipe()}},
        min_length=1,
        description="product code → camera → bundle, ROI and band; every camera of a product must "
        "see each part",
    )
    trusted_keys: tuple[PublicKey, ...] = Field(
        (),
        max_length=64,
        description="purpose and Ed25519 public key (64 hex digits) of whom the station believes; "
        "`inspection hub station enrol` prints them. None: the keys of this machine alone",
    )
    four_eyes: StrictBool = Field(
        default=True,
        description="thresholds beyond the limits of a bundle's card are in force only where "
        "another person than who set them approved them; false believes one person",
    )
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    guards: GuardSettings = Field(default_factory=GuardSettings)
    recognition: RecognitionSettings | None = Field(
        None,
        description="what names known defects, where a recipe has nothing of its own; none names "
        "none",
    )
    deadline_ms: StrictInt = Field(
        1_000,
        ge=1,
        le=600_000,
        description="from a part's arrival to its verdict, ms; a later one is FAULT. For files "
        "that waited when the station started, and with `once`, from turning to the file",
    )
    queue_parts: StrictInt = Field(
        16, ge=1, le=10_000, description="parts that may wait with their pixels; more are FAULT"
    )
    faults_in_a_row: StrictInt = Field(
        20,
        ge=1,
        le=100_000,
        description="parts in a row the bundle could not judge, after which the station ends with "
        "an error, for its supervisor to start it anew",
    )
    outputs: tuple[OutputSettings, ...] = Field(
        (StdoutSettings(),), description="where events go; each has its own place in the outbox"
    )
    actions: ActionSettings = Field(default_factory=ActionSettings)
    heartbeat_ms: StrictInt = Field(
        500, ge=50, le=60_000, description="time between two heartbeats of every output, ms"
    )
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    updates: UpdateSettings = Field(default_factory=UpdateSettings)
    web: WebSettings | None = Field(
        default=None, description="the station's page; none opens no port"
    )

    def once(self) -> Self:
        """Give the same, but ending when the folder's files are judged.

        Raises:
            ConfigError: the source is no folder.
        """
        if not isinstance(self.source, FolderSettings):
            raise ConfigError(
                f"--once: the source is '{self.source.kind}'; wanted a folder, whose files have an "
                "end; leave --once out"
            )
        source = self.source.model_copy(update={"once": True})
        return self.model_copy(update={"source": source})

    @property
    def keys(self) -> tuple[str, ...]:
        """Whose signatures the station believes: those named, else this machine's own.

        Raises:
            ConfigError: none are named and this machine has none, so it would believe nobody.
        """
        if self.trusted_keys:
            return self.trusted_keys
        if not has_keys():
            raise ConfigError(
                f"trusted_keys is empty and this machine has no keys of its own; {ENROL}"
            )
        return own_keys()

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Every camera of every product: (product, camera)."""
        return tuple((product, one) for product, of in self.recipes.items() for one in of)

    def recognition_of(self, product: str, camera: str) -> RecognitionSettings | None:
        """Give what names the defects on a camera's frames of a product; none: nothing."""
        return self.recipes[product][camera].recognition or self.recognition

    def hub_token_file(self, address: str) -> Path | None:
        """Give the token file of the hub output with this address; none where there is none."""
        hubs = [output for output in self.outputs if isinstance(output, HubSettings)]
        tokens = {hub.url.rstrip("/"): hub.token_file for hub in hubs}
        return tokens.get(address.rstrip("/"))

    @model_validator(mode="after")
    def _folders_stand_apart(self) -> Self:
        if not isinstance(self.source, FolderSettings):
            return self
        source, data_dir = self.source.path.resolve(), self.data_dir.resolve()
        if source.is_relative_to(data_dir) or data_dir.is_relative_to(source):
            raise ValueError(
                f"source '{self.source.path}' and data_dir '{self.data_dir}' lie within each "
                "other; overlays would be judged as parts; name two folders that stand apart"
            )
        return self

    @model_validator(mode="after")
    def _names_come_from_somewhere(self) -> Self:
        for product, camera in self.places:
            found = self.recognition_of(product, camera)
            rules = self.recipes[product][camera].accept
            named = [f"'{rule.name}'" for rule in rules if rule.types]
            if named and found is None:
                raise ValueError(
                    f"recipe '{product}', camera '{camera}': accept rules {', '.join(named)} name "
                    "types, but nothing names defects; set `recognition`"
                )
        return self

    @model_validator(mode="after")
    def _names_take_no_time_of_scores(self) -> Self:
        count = self.frames.count if self.frames else 1
        workers = self.inference.at_once
        most_ms = self.deadline_ms * (1 - RESERVED)
        for product, cameras in self.recipes.items():
            found = [self.recognition_of(product, camera) for camera in cameras]
            budgets = [one.budget_ms for one in found if one]
            if budgets and max(sum(budgets) * count / workers, max(budgets)) >= most_ms:
                looks = f"{len(budgets)} × {count} frames on {workers} at once"
                raise ValueError(
                    f"recipe '{product}': recognition.budget_ms {max(budgets)} for each of {looks} "
                    f"is no less than the {most_ms:.0f} ms that deadline_ms {self.deadline_ms} "
                    "leaves; the scores need time, too; lower the budget, or raise the deadline"
                )
        return self

    @model_validator(mode="after")
    def _nothing_unseen_is_released(self) -> Self:
        doubtful = [name for name, verdict in self.guards if verdict == Verdict.REVIEW]
        if self.actions.review is Action.RELEASE and doubtful:
            raise ValueError(
                f"actions.review is release and guards.{doubtful[0]} is REVIEW: a frame that "
                "cannot be judged well would be released; set that guard to FAULT or off"
            )
        looked = [self.recognition_of(*place) for place in self.places]
        if self.actions.review is Action.RELEASE and any(one and one.holding for one in looked):
            raise ValueError(
                "actions.review is release and recognition looks at all frames: one on which "
                "nobody could look for known defects is REVIEW, and would be released; set "
                "actions.review to reject or hold, or `on: held`"
            )
        return self

    @model_validator(mode="after")
    def _frames_fit_their_source(self) -> Self:
        source, frames = self.source, self.frames
        groups = source.groups if isinstance(source, FolderSettings) else frozenset()
        if frames is None:
            if stray := groups & {"frame", "last"}:
                raise ValueError(
                    f"source.name_pattern has the group '{min(stray)}', but a part has one frame; "
                    "set `frames`, or take the group out"
                )
            return self
        if self.actions.review is Action.RELEASE:
            raise ValueError(
                "actions.review is release and `frames` is set: a part whose frames did not all "
                "come is REVIEW and would be released; let actions.review reject or hold"
            )
        if isinstance(source, FolderSettings) and "frame" not in groups:
            raise ValueError(
                "`frames` is set, but source.name_pattern does not say which frame a file is; give "
                r"it the group (?P<frame>\d+)"
            )
        if isinstance(source, CamerasSettings) and (problem := _countable(source, frames)):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _keys_take_what_comes(self) -> Self:
        if problem := _lacking_keys(self.trusted_keys, self.updates):
            raise ValueError(f"{problem}; {ENROL}")
        return self

    @model_validator(mode="after")
    def _outputs_have_names_of_their_own(self) -> Self:
        twice = [name for name, count in Counter(o.name for o in self.outputs).items() if count > 1]
        if twice:
            raise ValueError(f"outputs: the name '{twice[0]}' stands twice; give each its own")
        return self

    @model_validator(mode="after")
    def _sources_have_what_they_need(self) -> Self:
        source, kinds = self.source, [output.kind for output in self.outputs]
        if source.kind == "push" and self.web is None:
            raise ValueError("source push needs `web`, the address it listens on")
        if isinstance(source, CamerasSettings):
            if isinstance(source.trigger, ModbusTrigger) and kinds.count("modbus") != 1:
                raise ValueError("trigger modbus needs one output of kind modbus")
            for product, cameras in self.recipes.items():
                if cameras.keys() != source.cameras.keys():
                    raise ValueError(
                        f"recipe '{product}' has cameras {', '.join(sorted(cameras))}; the source "
                        f"has {', '.join(sorted(source.cameras))}; name the same"
                    )
        return self


def _countable(source: CamerasSettings, frames: FramesSettings) -> str:
    """Say why frames of cameras cannot be counted as configured; empty where they can."""
    if frames.ends == "marker":
        return "a trigger cannot say that a frame is the last; set frames.ends to count or next"
    if isinstance(source.trigger, IntervalTrigger) and frames.ends != "count":
        return "an interval trigger tells no part from the next; set frames.ends to count"
    return ""


def _lacking_keys(trusted_keys: tuple[str, ...], updates: UpdateSettings) -> str:
    """Say why nothing that comes would be taken; empty where it would."""
    hubs = [place for place in updates.bundles if place.startswith(("http://", "https://"))]
    if not trusted_keys:
        hubs += [updates.thresholds] if isinstance(updates.thresholds, str) else []
        far = next((hub for hub in hubs if not is_loopback(urlsplit(hub).hostname or "")), None)
        why = f"trusted_keys is empty, and the keys of this machine sign nothing that '{far}' gives"
        return why if far else ""
    needed = [Purpose.BUNDLE, Purpose.GATE]
    needed += [Purpose.DEPLOYMENT] if hubs else []
    needed += [Purpose.THRESHOLDS] if updates.thresholds is not None else []
    named = {key.partition(":")[0] for key in trusted_keys}
    lacking = [str(purpose) for purpose in needed if purpose not in named]
    why = f"trusted_keys has no {' and no '.join(lacking)} key, so nothing signed as such is taken"
    return why if lacking else ""
