"""The records that stages hand to each other as JSON files: manifest, run, card, gate, event.

Every record is frozen and checked at birth; nothing else travels between stages.
"""

import hashlib
import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from inspection.core.config import Settings
from inspection.core.decision import (
    Band,
    Defects,
    ScoreRule,
    ThresholdLimits,
    Verdict,
    score_floor,
    severity,
    threshold_limits,
)
from inspection.core.errors import DatasetError, InspectionError
from inspection.core.fusion import PartFusion, view_of
from inspection.core.geometry import Geometry, Roi
from inspection.core.guards import GuardLimits
from inspection.core.image_statistics import ImageStatistics, StatisticsReference
from inspection.core.known import Recognised
from inspection.core.limits import (
    MAX_ENTRIES,
    MAX_FRAMES,
    MAX_PART_ID,
    MAX_PX,
    MAX_RECORD_BYTES,
    Count,
    DurationMs,
    Figure,
    Finite,
    Moment,
    PathText,
    Reason,
    Sha256,
    Share,
    Short,
    Some,
    open_file,
    read_file,
)
from inspection.core.settings import ExportConfig, TrainConfig

SCHEMA_VERSION = 1


class Record(Settings):
    """Parent of what is written as JSON; refuses files of a newer schema."""

    schema_version: StrictInt = Field(SCHEMA_VERSION, ge=0, le=9_999)


RecordT = TypeVar("RecordT", bound=Record)


class Split(StrEnum):
    """What an image is for: fit enters the bank, calibrate never does, test is the gate's."""

    FIT = "fit"
    CALIBRATE = "calibrate"
    TEST = "test"


class Label(StrEnum):
    """What a person said of an image."""

    GOOD = "good"
    DEFECT = "defect"


class ManifestEntry(Settings):
    """One image of the set: where, which bytes, what it shows, what it may be used for."""

    path: PathText = Field(description="POSIX path relative to the manifest's root")
    sha256: Sha256
    height_px: StrictInt = Field(ge=0, le=MAX_PX)
    width_px: StrictInt = Field(ge=0, le=MAX_PX)
    mode: Short = Field(description="pixel mode of the file, Pillow's name")
    label: Label
    defect: PathText | None = Field(None, description="defect type; none for good parts")
    mask: PathText | None = Field(
        None, description="POSIX path of the pixel mask, relative to the root"
    )
    group: PathText = Field(description="images of one group never stand in two splits")
    split: Split
    roi: Roi | None = Field(
        None, description="of the file, cut out as it is read; sizes are of what is left"
    )
    outdated: StrictBool = Field(
        default=False,
        description="in calibrate: guards know it, thresholds do not",
    )

    @model_validator(mode="after")
    def _defects_are_tested_only(self) -> Self:
        if self.label is Label.DEFECT and self.split is not Split.TEST:
            raise ValueError(f"{self.path}: a defect stands in '{self.split}'; wanted 'test'")
        return self


class Manifest(Record):
    """Which image, which split, which label, which hash; sorted by path."""

    root: PathText = Field(description="folder of the images, absolute or relative to this file")
    layout: Literal["mvtec", "visa", "btad", "plain"]
    entries: tuple[ManifestEntry, ...] = Field(max_length=10 * MAX_ENTRIES)

    def of(self, split: Split) -> tuple[ManifestEntry, ...]:
        """Give the entries of one split.

        Raises:
            DatasetError: the split is empty.
        """
        found = tuple(entry for entry in self.entries if entry.split is split)
        if not found:
            raise DatasetError(
                f"manifest of {self.root}: split '{split}' is empty; run inspection dataset split"
            )
        return found

    @property
    def sha256(self) -> str:
        """Hash of the entries; moving the folder does not change it."""
        return hash_json([_hashed(entry) for entry in self.entries])


def _hashed(entry: ManifestEntry) -> dict[str, object]:
    """Give what is hashed of an entry; without the later fields where they say nothing."""
    silent = {name for name in ("roi", "outdated") if not getattr(entry, name)}
    return entry.model_dump(mode="json", exclude=silent)


class Weights(Settings):
    """Which weights judged."""

    name: PathText = Field(description="what was asked for, a timm or hub name")
    source: Literal["file", "folder", "shipped", "hub", "random"]
    sha256: Sha256 = Field(description="of the state as loaded; of the seed when random")

    def __str__(self) -> str:
        """Say it in one line, loudly when the weights mean nothing."""
        warning = " – RANDOM WEIGHTS, verdicts mean nothing on real parts" * (
            self.source == "random"
        )
        return f"{self.name} ({self.source}, {self.sha256[:12]}){warning}"


class Origin(Settings):
    """Where and with what something was made."""

    created_at: Moment
    git_revision: Short = Field(description="of the project, 'unknown' outside a checkout")
    machine: PathText = Field(description="processor and number of cores")
    versions: dict[Short, Short] = Field(
        max_length=1_000, description="of the packages that matter"
    )


class PixelNorm(Settings):
    """How a graph normalises pixels x of 0 to 255: (gain·x - mean) / std, one value per channel.

    The gain is grey_level / (mean level of the image + 1), or 1 where there is no grey level.
    """

    mean: tuple[Finite, Finite, Finite] = Field(description="0 to 255")
    std: tuple[Finite, Finite, Finite] = Field(description="0 to 255")
    grey_level: Finite | None = Field(
        description="mean level each image is brought to; none leaves"
    )


class RunRecord(Record):
    """One training: everything that is needed to do it again."""

    config: TrainConfig
    pixels: PixelNorm
    graph: Literal["features", "map"] = Field(
        description="what graph.xml gives: feature maps for a bank, or the score map itself"
    )
    manifest_sha256: Sha256
    weights: tuple[Weights, ...] = Field(max_length=100)
    origin: Origin
    duration_s: Finite
    files: dict[PathText, Sha256] = Field(
        max_length=MAX_ENTRIES, description="sha256 of every file of the run folder"
    )

    @property
    def sha256(self) -> str:
        """Hash of all but its date and duration: the same training done again has the same."""
        lasting = self.model_dump(mode="json", exclude={"duration_s": True, "origin": True})
        origin = self.origin.model_dump(mode="json", exclude={"created_at"})
        return hash_json({**lasting, "origin": origin})


class Certificate(Settings):
    """What split conformal calibration promises of future good parts (design §4)."""

    normals: Count = Field(description="calibrate scores used, n")
    rank: Count = Field(description="the threshold is the rank-th smallest of them, k")
    target: Share = Field(description="false-reject rate asked for")
    mean: Share = Field(description="expected false-reject rate, (n + 1 - k) / (n + 1)")
    bound95: Share = Field(description="95 % upper bound of it, from Beta(n + 1 - k, k)")


class Card(Record):
    """What a bundle is, how it was made and what it promises."""

    name: Short
    run_sha256: Sha256
    manifest_sha256: Sha256
    model: Short
    precision: Reason = Field(description="of each part of the graph, in words")
    graph_note: Reason = Field(description="how the precision was chosen, with numbers")
    estimated: bool = Field(default=False, description="quiet cells of the map are estimates")
    geometry: Geometry
    score: ScoreRule
    band: Band
    certificate: Certificate | None = Field(
        description="none: no false-reject rate is promised, and nothing is rejected"
    )
    calibrate_scores: tuple[Finite, ...] = Field(
        max_length=10 * MAX_ENTRIES, description="ascending, of the shipped graph"
    )
    weights: tuple[Weights, ...] = Field(max_length=100)
    origin: Origin
    export: ExportConfig
    train: TrainConfig | None = Field(None, description="of the fit; none in older bundles")
    updated_from: Sha256 | None = Field(
        None, description="bundle whose bank took in new pictures; none where it was fitted anew"
    )
    golden: tuple[PathText, ...] = Field(
        min_length=1, max_length=100, description="names of the golden frames"
    )
    golden_defects: dict[PathText, Finite] = Field(
        default_factory=dict,
        max_length=100,
        description="names of golden frames with a generated defect that the band holds, and the "
        "raw score of each",
    )
    guards: GuardLimits | None = Field(
        None, description="what a frame that can be judged looks like; none in older bundles"
    )
    statistics: StatisticsReference | None = Field(
        None, description="of the calibrate normals' pictures; none in older bundles"
    )

    @property
    def score_floor(self) -> float:
        """The least score that is believed; lower ones are FAULT."""
        return score_floor(self.calibrate_scores)

    @property
    def threshold_limits(self) -> ThresholdLimits:
        """Which thresholds one person may set."""
        return threshold_limits(
            self.band, self.calibrate_scores, tuple(self.golden_defects.values())
        )


class Interval(Settings):
    """A measured value with its 95 % interval."""

    value: Figure
    low: Figure
    high: Figure

    def __str__(self) -> str:
        """Say value and interval with four digits."""
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


class FrameRecord(Settings):
    """What one camera's frame of a part was found to be."""

    camera: Short
    frame: Count | None = Field(None, description="its number where a camera has several")
    source: Reason = Field(
        description="where the frame is from: path in the watched folder, address"
    )
    source_sha256: Sha256 = Field(description="of the file's bytes; empty where there was no file")
    bundle_id: Sha256 = Field(description="which bundle judged; empty when none did")
    band: Band | None = Field(description="thresholds it was held against; none without a bundle")
    override: StrictBool = Field(
        default=False, description="the thresholds lie beyond the limits of the bundle's card"
    )
    verdict: Verdict
    score: Finite | None = Field(description="raw; none for FAULT")
    reason: Reason = Field(description="what a guard found, what accepted it, why nobody judged it")
    statistics: ImageStatistics | None = Field(
        None, description="of what was judged; none for FAULT, older ones, others in its second"
    )
    roi: Roi | None = Field(None, description="what the recipe cut out and was judged; or all")
    defects: Defects | None = Field(None, description="sizes, for accept rules, where measured")
    recognised: Recognised | None = Field(None, description="what the second stage named, if asked")
    image: str | None = Field(
        None,
        max_length=200,
        description="file name of the kept frame; the byte budget may have dropped it since",
    )
    overlay: str | None = Field(
        None, max_length=200, description="file name of the overlay picture, likewise"
    )

    @property
    def view(self) -> str:
        """Names it within its event: the camera, with its number where there are several."""
        return view_of(self.camera, self.frame)


class Event(Record):
    """The durable record of one verdict on one part."""

    event_id: Short = Field(description="the same when the same part is handed in again")
    sequence: Some = Field(description="place in this station's record, without gaps")
    part_id: str = Field(max_length=MAX_PART_ID)
    product: Short = Field(description="product code, which chose the recipe")
    line: Short
    station: Short
    record_id: str = Field(
        "", max_length=32, description="of the station's record; another after that was lost"
    )
    verdict: Verdict = Field(description="the worst of the frames', or FAULT when it came too late")
    reason: Reason = Field(description="empty, or why its verdict is not that of its score")
    frames: tuple[FrameRecord, ...] = Field(
        min_length=1, max_length=MAX_FRAMES, description="one per camera, or several"
    )
    fusion: PartFusion | None = Field(None, description="where the part has several frames")
    captured_at: Moment
    judged_at: Moment
    latency_ms: DurationMs = Field(description="from the part's arrival to its verdict")

    @property
    def deciding(self) -> FrameRecord:
        """The frame that decided: the worst one; of equals the one farthest above its band."""
        return max(self.frames, key=_badness)


def _badness(frame: FrameRecord) -> tuple[int, float]:
    excess = 0.0
    if frame.score is not None and frame.band is not None:
        scale = abs(frame.band.reject_above) or 1.0
        excess = (frame.score - frame.band.reject_above) / scale
    return severity(frame.verdict), excess


def hash_json(value: object) -> str:
    """Hash a JSON value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Hash the bytes of a file by sha256."""
    with open_file(path, follow=True) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, durably.

    Raises:
        InspectionError: it cannot be written.
    """
    try:
        _replace_text(path, text)
    except OSError as error:
        raise InspectionError(
            f"{path}: cannot be written ({error.strerror}); free space or rights"
        ) from error


def _replace_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # the new name is durable, too
        os.close(folder)
    finally:
        partial.unlink(missing_ok=True)


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record as JSON, whole or not at all, durably.

    Raises:
        InspectionError: it cannot be written.
    """
    write_text(path, record.model_dump_json(indent=1) + "\n")


def read_record(path: Path, kind: type[RecordT]) -> RecordT:
    """Read a record.

    Raises:
        InspectionError: unreadable, from a newer version, or not of this kind.
    """
    try:
        text = read_file(path, MAX_RECORD_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InspectionError(
            f"{path}: cannot be read ({error}); wanted a {kind.__name__}; make it again"
        ) from error
    return parse_record(text, kind, str(path))


def parse_record(text: str, kind: type[RecordT], name: str) -> RecordT:
    """Read a record from JSON text; `name` stands in the error.

    Raises:
        InspectionError: from a newer version, or not of this kind.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InspectionError(f"{name}: not JSON ({error}); make it again") from error
    version = values.get("schema_version", 0) if isinstance(values, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise InspectionError(
            f"{name}: {kind.__name__} of schema {version}; this program reads up to "
            f"{SCHEMA_VERSION}; update it"
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InspectionError(f"{name}: not a {kind.__name__}: {error}") from error


def read_manifest(path: Path) -> Manifest:
    """Read a manifest and make its root absolute.

    Raises:
        DatasetError: unreadable, from a newer version, or its root is gone.
    """
    if path.is_dir():
        raise DatasetError(
            f"{path}: is a folder; wanted a manifest; make one with "
            f"inspection dataset check {path} --out manifest.json"
        )
    try:
        manifest = read_record(path, Manifest)
    except InspectionError as error:
        raise DatasetError(str(error)) from error
    root = (path.parent / manifest.root).resolve()
    if not root.is_dir():
        raise DatasetError(f"{path}: root {root} is no folder; put the images back or check again")
    return manifest.model_copy(update={"root": str(root)})
