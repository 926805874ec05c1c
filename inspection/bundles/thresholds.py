"""Threshold records: signed, reversible changes of a bundle's band, in a folder that only grows.

A record never changes the bundle. Whoever wants an older band back writes a new record that says
so, hence the folder tells who set what, when and why.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from pydantic import Field, ValidationError

from inspection.bundles.signing import Purpose, SignedText, check_signature, sign
from inspection.core.decision import Band
from inspection.core.errors import BundleCorrupt, BundleError, ConfigError, InspectionError
from inspection.core.limits import (
    MAX_NAME,
    MAX_THRESHOLDS_BYTES,
    MAX_WORDS,
    Line,
    Moment,
    list_folder,
    read_file,
)
from inspection.core.records import Card, Record, parse_record, write_record


class ThresholdRecord(Record):
    """Which band a bundle's scores are held against from now on, who says so and why."""

    bundle_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    product: Line | None = Field(
        None, max_length=MAX_NAME, description="product code it is for; none is every one"
    )
    camera: Line | None = Field(
        None, max_length=MAX_NAME, description="camera it is for; none is every one"
    )
    band: Band
    who: Line = Field(min_length=1, max_length=MAX_NAME)
    approved_by: Line | None = Field(
        None,
        min_length=1,
        max_length=MAX_NAME,
        description="second person, for thresholds beyond the limits of the bundle's card",
    )
    when: Moment = Field(description="of several for the same frames the newest is in force")
    why: Line = Field(min_length=1, max_length=MAX_WORDS)
    previous: str | None = Field(
        None,
        max_length=64,
        description="sha256 of the record it replaces; none is the first of its kind",
    )

    def covers(self, bundle_id: str, product: str | None, camera: str | None) -> bool:
        """Say whether it is about all frames of this bundle, product and camera; none is every."""
        return (
            self.bundle_id == bundle_id
            and self.product in {None, product}
            and self.camera in {None, camera}
        )

    def override(self, card: Card) -> str:
        """Say who let the thresholds lie beyond their card's limits; nothing where they do not.

        Args:
            card: of the bundle they are for.
        """
        exceeded = card.threshold_limits.exceeded_by(self.band)
        return exceeded and f"{exceeded}; set by {self.who}, approved by {self.approved_by}"

    def refusal(self, card: Card, *, four_eyes: bool = True) -> str:
        """Say why the thresholds may not be in force; nothing where they may.

        Args:
            card: of the bundle they are for.
            four_eyes: who approves thresholds beyond the card's limits must not have set them.
        """
        exceeded = card.threshold_limits.exceeded_by(self.band)
        alone = (self.approved_by or "").strip().casefold() in {"", self.who.strip().casefold()}
        if not exceeded or (self.approved_by and not (four_eyes and alone)):
            return ""
        return f"{exceeded}; set thresholds within them, or let a second person approve these"


@dataclass(frozen=True)
class SignedRecord:
    """A threshold record with its signed text, as it lies in a folder."""

    record: ThresholdRecord
    signed: SignedText

    @property
    def sha256(self) -> str:
        """Hash of the signed text, by which the next record names this one."""
        return hashlib.sha256(self.signed.text.encode()).hexdigest()

    @property
    def file_name(self) -> str:
        """When and which, so that names sort by time and none is taken twice."""
        return f"{self.record.when.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{self.sha256[:12]}.json"

    def write(self, folder: Path) -> Path:
        """Add the record to a folder, durably.

        Raises:
            InspectionError: it cannot be written.
        """
        path = folder / self.file_name
        write_record(path, self.signed)
        return path


@dataclass(frozen=True)
class ListedThresholds:
    """One file of a folder of threshold records: its record, or what stands against it."""

    path: Path
    record: ThresholdRecord | None
    state: str
    """in force, replaced, or the error."""


def sign_thresholds(record: ThresholdRecord) -> SignedRecord:
    """Sign a record with this machine's key."""
    text = record.model_dump_json()
    return SignedRecord(record, sign(Purpose.THRESHOLDS, text))


def read_thresholds(path: Path, trusted_keys: tuple[str, ...] | None = None) -> SignedRecord:
    """Read one record and check its signature.

    Raises:
        BundleCorrupt: it cannot be read, is damaged or is no signed threshold record.
        BundleError: signed by a key that is not trusted.
    """
    try:
        signed = SignedText.model_validate_json(read_file(path, MAX_THRESHOLDS_BYTES))
    except (OSError, ValidationError, ValueError) as error:
        raise _damaged(str(path), str(error)) from error
    return check_thresholds(signed, trusted_keys, str(path))


def check_thresholds(
    signed: SignedText, trusted_keys: tuple[str, ...] | None, name: str
) -> SignedRecord:
    """Check the signature of one record, wherever it came from; `name` stands in the error.

    Raises:
        BundleCorrupt: it is damaged or is no threshold record.
        BundleError: signed by a key that is not trusted.
    """
    try:
        check_signature(Purpose.THRESHOLDS, signed.text, signed.signature, trusted_keys, name)
        return SignedRecord(parse_record(signed.text, ThresholdRecord, name), signed)
    except BundleCorrupt as error:
        raise _damaged(name, "its signature does not fit its content") from error
    except BundleError:
        raise
    except (ValueError, InspectionError) as error:
        raise _damaged(name, str(error)) from error


def _damaged(name: str, found: str) -> BundleCorrupt:
    return BundleCorrupt(
        f"{name}: no sound threshold record ({found}); write a new one with "
        "inspection thresholds set"
    )


def list_thresholds(
    folder: Path, trusted_keys: tuple[str, ...] | None = None
) -> tuple[ListedThresholds, ...]:
    """List every record of a folder, oldest first; a damaged one is listed as such.

    Raises:
        BundleError: the folder does not exist or cannot be read.
    """
    try:
        paths = record_files(folder)
    except OSError as error:
        found = "no such folder" if isinstance(error, FileNotFoundError) else error.strerror
        raise BundleError(f"{folder}: {found}; name one that holds threshold records") from error
    listed: list[ListedThresholds] = []
    newer: list[ThresholdRecord] = []
    for path in reversed(paths):
        try:
            record = read_thresholds(path, trusted_keys).record
        except BundleError as error:
            listed.append(ListedThresholds(path, None, str(error)))
            continue
        scope = record.bundle_id, record.product, record.camera
        replaced = any(one.covers(*scope) for one in newer)
        listed.append(ListedThresholds(path, record, "replaced" if replaced else "in force"))
        newer.append(record)
    return tuple(reversed(listed))


def record_files(folder: Path) -> list[Path]:
    """Give the files of a folder that may be records, sorted by name; half-written ones are not.

    Raises:
        OSError: the folder is not there or cannot be read; a glob would say it were empty.
    """
    paths = list_folder(folder)
    return [one for one in paths if one.suffix == ".json" and not one.name.startswith(".")]


def newest(records: Iterable[SignedRecord]) -> SignedRecord | None:
    """Give the record in force of those that cover the same frames; none of none."""
    return max(records, key=lambda one: (one.record.when, one.sha256), default=None)


def set_thresholds(folder: Path, wanted: ThresholdRecord, card: Card) -> Path:
    """Sign a record, name the one it replaces, and add it to a folder, made if need be.

    Args:
        folder: of the records.
        wanted: the new one.
        card: of its bundle.

    Raises:
        ConfigError: the thresholds lie beyond their card's limits and nobody else approved them; a
            record there is dated later, so that this one would not be in force.
        InspectionError: the folder cannot be read or written.
    """
    if refusal := wanted.refusal(card):
        raise ConfigError(f"{refusal} (--approved-by)")
    try:
        before = newest(_rivals(folder, wanted))
    except FileNotFoundError:
        before = None  # the folder is made with its first record
    except OSError as error:
        raise InspectionError(
            f"{folder}: cannot be read ({error.strerror}); check rights"
        ) from error
    if before and before.record.when >= wanted.when:
        raise ConfigError(
            f"{folder}: the newest record for this bundle is of {before.record.when:%Y-%m-%d %H:%M}"
            f" UTC, the new one of {wanted.when:%Y-%m-%d %H:%M} UTC would not be in force; check "
            "this machine's clock"
        )
    previous = before.sha256 if before else None
    return sign_thresholds(wanted.model_copy(update={"previous": previous})).write(folder)


def _rivals(folder: Path, wanted: ThresholdRecord) -> Iterable[SignedRecord]:
    """Give the sound records that are about some of the same frames."""
    for path in record_files(folder):
        try:
            signed = read_thresholds(path)
        except BundleError:
            continue  # `thresholds list` names it
        record = signed.record
        if (
            record.bundle_id == wanted.bundle_id
            and _meet(record.product, wanted.product)
            and _meet(record.camera, wanted.camera)
        ):
            yield signed


def _meet(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other
