"""Keeps the masks that people draw, with their author, in a folder that only grows.

`records/` holds one JSON file per correction, `masks/` and `pictures/` what they are about, named
by their sha256: a label outlives the picture a station had to drop. Nothing is ever changed;
whoever corrects a correction adds one.
"""

import hashlib
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from pydantic import AwareDatetime, Field, StrictInt, field_validator

from inspection.bundles.thresholds import record_files
from inspection.core.errors import ConfigError, DatasetError, ImageError, InspectionError
from inspection.core.folders import write_whole
from inspection.core.imaging import (
    Mask,
    Rgb,
    decode_image,
    load_image,
    load_mask,
    read_bytes,
    read_header,
)
from inspection.core.limits import MAX_RECORD_BYTES, read_file
from inspection.core.records import Record, hash_file, parse_record, write_text
from inspection.review.coco import encode_mask

RECORDS, MASKS, PICTURES = "records", "masks", "pictures"
IN_FORCE, REPLACED = "in force", "replaced"
SHA256 = r"^[0-9a-f]{64}$"
DRAWN_MODES = frozenset({"1", "L", "P", "RGB"})  # in which nothing is hidden; see `read_drawing`


class Note(Record):
    """Who drew a mask of what, when and why."""

    author: str = Field(max_length=64, pattern=r"\S")
    when: AwareDatetime = Field(description="of several for the same, the newest is in force")
    defect: str | None = Field(
        None,
        max_length=64,
        pattern=r"^\w[\w .-]*$",  # it becomes a folder's name
        description="kind of defect; none speaks of the whole picture, whatever is drawn on it",
    )
    why: str = Field("", description="comment")
    event_id: str | None = Field(None, description="of the station's event, if it was about one")

    @field_validator("defect")
    @classmethod
    def _is_no_good(cls, defect: str | None) -> str | None:
        if defect == "good":
            raise ValueError("'good' is no defect; leave it out and draw nothing")
        return defect


class Correction(Note):
    """One mask of one picture; an empty mask says that there is no such defect."""

    image_sha256: str = Field(pattern=SHA256)
    image: str = Field(pattern=r"^[^/\\]+$", description="the picture's file name as it was")
    height_px: StrictInt
    width_px: StrictInt
    mask_sha256: str = Field(pattern=SHA256)
    replaces: str | None = Field(None, description="file name of the record it replaces; or none")

    def covers(self, other: "Correction") -> bool:
        """Say whether it speaks of all that another one does; without a kind it does of all."""
        return self.image_sha256 == other.image_sha256 and self.defect in {None, other.defect}

    @property
    def picture_file(self) -> str:
        """Where the picture lies in `pictures`."""
        return f"{self.image_sha256}{PurePosixPath(self.image).suffix.lower()}"

    @property
    def mask_file(self) -> str:
        """Where the mask lies in `masks`."""
        return f"{self.mask_sha256}.png"


@dataclass(frozen=True)
class ListedCorrection:
    """One record of the folder, or what stands against it."""

    path: Path
    record: Correction | None
    state: str
    """in force, replaced, or the error."""

    @property
    def damaged(self) -> bool:
        """Whether the state is an error."""
        return self.state not in {IN_FORCE, REPLACED}


@dataclass(frozen=True)
class ReviewedPicture:
    """A picture and what is in force of it."""

    pixels: Rgb
    """uint8 H×W×3 RGB."""
    corrections: tuple[Correction, ...]
    """At least one, oldest first."""
    masks: tuple[Mask, ...]
    """bool H×W, one for each correction."""

    @property
    def mask(self) -> Mask:
        """All defects, bool H×W."""
        return np.asarray(np.any(self.masks, axis=0))

    @property
    def image_sha256(self) -> str:
        """Which picture it is."""
        return self.corrections[0].image_sha256

    @property
    def image(self) -> str:
        """The picture's file name as it was."""
        return self.corrections[0].image

    @property
    def author(self) -> str:
        """Who drew."""
        return ", ".join(dict.fromkeys(one.author for one in self.corrections))

    @property
    def defects(self) -> tuple[tuple[Correction, Mask], ...]:
        """Give what was drawn; empty masks are left out."""
        drawn = zip(self.corrections, self.masks, strict=True)
        return tuple((one, mask) for one, mask in drawn if mask.any())

    @property
    def is_good(self) -> bool:
        """Whether somebody said of the whole picture that it shows no defect, and nobody drew one.

        Who says that there is no scratch says nothing of stains.
        """
        return not self.defects and any(one.defect is None for one in self.corrections)


def read_drawing(path: Path) -> Mask:
    """Read a mask that a person drew as bool H×W: 0 is sound, the one other value defect.

    Stricter than `load_mask`: a photograph, the specks of a JPEG or a shape in the alpha channel
    would teach what nobody drew.

    Raises:
        ImageError: it cannot be read, or is anything but a mask of at most two values.
    """
    encoded, name = read_bytes(path), str(path)
    pixels = decode_image(encoded, name)
    if found := _unlike_a_drawing(encoded, pixels, name):
        raise ImageError(
            f"{name}: {found}; wanted a mask of 0 and at most one other value, on the defect; "
            "save it as PNG, black and white"
        )
    return np.asarray(pixels.any(axis=2))


def _unlike_a_drawing(encoded: bytes, pixels: Rgb, name: str) -> str:
    """Say what a mask is not drawn with; nothing when all is well."""
    header = read_header(encoded, name)
    kind = header.kind.removeprefix("image/")
    with Image.open(io.BytesIO(encoded), formats=(kind,)) as image:
        if image.has_transparency_data:
            return "has an alpha channel, in which a shape would be lost"
    if header.mode not in DRAWN_MODES:
        return f"pixel mode is {header.mode}"
    colours = Image.fromarray(pixels).getcolors(2)
    if colours is None:
        return "holds more than two values"
    return "" if len(colours) < 2 or not pixels.any(axis=2).all() else "holds two values, none of 0"


def add_correction(folder: Path, picture: Path, mask: Mask, note: Note) -> ListedCorrection:
    """Add a mask to a folder of corrections, made if need be; on the disk when it returns.

    Args:
        folder: of the corrections.
        picture: file that was looked at; its bytes are kept, once.
        mask: bool H×W like the picture; empty says that there is no such defect.
        note: who, when, what and why.

    Raises:
        ImageError: the picture cannot be read, or the mask does not fit it.
        ConfigError: a record there is dated later, so that this one would not be in force; or one
            kind is corrected while a mask without kind is in force, which may hold it, too.
        InspectionError: the folder cannot be read or written.
    """
    encoded = read_bytes(picture)
    pixels = decode_image(encoded, str(picture))
    _require_fitting(mask, pixels, picture)
    drawn = encode_mask(mask)
    wanted = Correction(
        **dict(note),
        image_sha256=hashlib.sha256(encoded).hexdigest(),
        image=picture.name.encode(errors="replace").decode().replace("\\", "_"),
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        mask_sha256=hashlib.sha256(drawn).hexdigest(),
    )
    try:
        earlier = _earlier(folder, wanted)
        _keep(folder / PICTURES / wanted.picture_file, encoded, wanted.image_sha256)
        _keep(folder / MASKS / wanted.mask_file, drawn, wanted.mask_sha256)
    except OSError as error:
        raise InspectionError(
            f"{folder}: cannot be read or written ({error.strerror}); free space or rights"
        ) from error
    record = wanted.model_copy(update={"replaces": earlier})
    text = record.model_dump_json(indent=1) + "\n"
    path = folder / RECORDS / _file_name(record, text)
    write_text(path, text)
    return ListedCorrection(path, record, IN_FORCE)


def read_corrections(folder: Path) -> tuple[ListedCorrection, ...]:
    """List every record of a folder, oldest first; what is damaged is listed as such.

    The bytes of mask and picture are checked of the records in force.

    Raises:
        DatasetError: the folder does not exist or cannot be read.
    """
    try:
        paths = record_files(folder / RECORDS)
    except OSError as error:
        raise DatasetError(
            f"{folder}: holds no corrections ({error.strerror}); name the folder that inspection "
            "review correct writes"
        ) from error
    listed: list[ListedCorrection] = []
    newer: defaultdict[str, list[Correction]] = defaultdict(list)
    for path in reversed(paths):
        try:
            record = _read(path)
        except InspectionError as error:
            listed.append(ListedCorrection(path, None, str(error)))
            continue
        replaced = any(one.covers(record) for one in newer[record.image_sha256])
        state = REPLACED if replaced else _damage(folder, record) or IN_FORCE
        listed.append(ListedCorrection(path, record, state))
        newer[record.image_sha256].append(record)
    return tuple(reversed(listed))


def read_labels(folder: Path) -> Iterator[ReviewedPicture]:
    """Give every reviewed picture with its masks, in the order of their first review.

    Raises:
        DatasetError: there is no such folder, or what is in force is damaged; names all of it,
            because a picture without one of its masks would teach that a defect is none.
    """
    listed = read_corrections(folder)
    if damaged := [one.state for one in listed if one.damaged]:
        raise DatasetError(
            "\n".join(damaged) + f"\n{folder}: {len(damaged)} records are damaged; put them back "
            "from a copy, or move them away and correct the pictures anew"
        )
    by_picture: dict[str, list[Correction]] = {}
    for one in listed:
        if one.record:
            known = by_picture.setdefault(one.record.image_sha256, [])
            known += [one.record] * (one.state == IN_FORCE)
    return (_reviewed(folder, corrections) for corrections in by_picture.values())


def _reviewed(folder: Path, corrections: Sequence[Correction]) -> ReviewedPicture:
    return ReviewedPicture(
        load_image(folder / PICTURES / corrections[0].picture_file),
        tuple(corrections),
        tuple(load_mask(folder / MASKS / one.mask_file) for one in corrections),
    )


def _require_fitting(mask: Mask, pixels: Rgb, picture: Path) -> None:
    if mask.dtype != np.bool_ or mask.shape != pixels.shape[:2]:
        raise ImageError(
            f"{picture}: the mask is {mask.dtype} {mask.shape}; wanted bool {pixels.shape[:2]} "
            "like the picture; draw it on the picture itself"
        )


def _earlier(folder: Path, wanted: Correction) -> str | None:
    """Give the file name of the newest record that another one replaces; none when there is none.

    Raises:
        ConfigError: a later record speaks of the same, or a mask without kind of one kind, too.
        ImageError: such a mask cannot be read.
        OSError: the folder is there and cannot be read.
    """
    earlier = whole = None
    files = record_files(folder / RECORDS) if (folder / RECORDS).exists() else []
    for path in files:
        if f"-{wanted.image_sha256[:12]}-" not in path.name:
            continue
        try:
            record = _read(path)
        except InspectionError:
            continue  # read_corrections names it
        related = record.covers(wanted) or wanted.covers(record)
        if related and record.when >= wanted.when:
            raise ConfigError(
                f"{folder}: {record.author} corrected {record.image} at {_utc(record)}, the new "
                f"mask is of {_utc(wanted)} and would not replace it; check this machine's clock"
            )
        earlier = path.name if wanted.covers(record) else earlier
        whole = record if record.covers(wanted) and record.defect is None else whole
    if whole and wanted.defect:
        _require_empty(folder, whole)
    return earlier


def _require_empty(folder: Path, whole: Correction) -> None:
    """Refuse to correct one kind beside a mask of all, which would be exported, too.

    Raises:
        ConfigError: something is drawn on the mask of all.
        ImageError: it cannot be read.
    """
    if load_mask(folder / MASKS / whole.mask_file).any():
        raise ConfigError(
            f"{folder}: the mask of {whole.image} by {whole.author}, {_utc(whole)}, names no kind "
            "and is in force; correct the whole picture anew without --defect, or first clear it "
            "so by an empty mask and then draw each kind"
        )


def _file_name(record: Correction, text: str) -> str:
    """Name a record by when, which picture and its own hash: names sort by time, none is twice."""
    when = f"{record.when.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return f"{when}-{record.image_sha256[:12]}-{sha256[:12]}.json"


def _utc(record: Correction) -> str:
    return f"{record.when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _read(path: Path) -> Correction:
    """Read one record, and hold its text against the hash in its name.

    Raises:
        InspectionError: it cannot be read, is damaged or is none.
    """
    try:
        text = read_file(path, MAX_RECORD_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InspectionError(f"{path}: cannot be read ({error})") from error
    record = parse_record(text, Correction, str(path))
    if path.name != _file_name(record, text):
        raise InspectionError(f"{path}: its content does not fit its name; it was changed")
    return record


def _damage(folder: Path, record: Correction) -> str:
    """Say which file behind a record is gone or changed; nothing when none is."""
    for path, sha256 in (
        (folder / PICTURES / record.picture_file, record.image_sha256),
        (folder / MASKS / record.mask_file, record.mask_sha256),
    ):
        if not path.is_file():
            return f"{path}: is gone"
        if hash_file(path) != sha256:
            return f"{path}: its bytes have changed"
    return ""


def _keep(path: Path, content: bytes, sha256: str) -> None:
    """Write what is named by its hash, durably, unless it is there and whole.

    Raises:
        OSError: it cannot be written.
    """
    if path.is_file() and hash_file(path) == sha256:
        return
    write_whole(path, content)
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
