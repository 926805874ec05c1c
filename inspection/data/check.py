"""Reads a whole data set, makes its manifest and names everything that is wrong, all at once.

A problem makes the set unsound; a note says what will be done or what to look at.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, StrictBool, model_validator

from inspection.core.errors import ImageError
from inspection.core.imaging import (
    Header,
    Rgb,
    decode_image,
    load_mask,
    read_bytes,
    read_header,
)
from inspection.core.progress import advancing
from inspection.core.records import Label, Manifest, ManifestEntry, Record, Split
from inspection.data.duplicates import Signature, image_signature
from inspection.data.findings import (
    Finding,
    Findings,
    Kind,
    report_counts,
    report_listing,
    report_masks,
    report_modes,
    report_near,
    report_same_bytes,
)
from inspection.data.folder import FoundImage, list_folder
from inspection.data.split import SplitRule, assign_splits, group_conflicts, regroup


class DatasetReport(Record):
    """A manifest of what could be read, and all that was found."""

    manifest: Manifest
    problems: tuple[Finding, ...] = Field(description="each makes the set unsound; sorted")
    notes: tuple[Finding, ...] = Field(description="what will be done, what to look at; sorted")
    sound: StrictBool = Field(description="there is no problem")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.sound == bool(self.problems):
            raise ValueError("sound must be true without problems and false with them")
        return self


@dataclass(frozen=True)
class _Read:
    """One image as it was read, its mask if that can be used, and what was wrong with it."""

    found: FoundImage
    sha256: str
    header: Header
    signature: Signature
    mask: str | None
    findings: Findings


def check_dataset(
    root: Path, *, rule: SplitRule | None = None, false_reject_rate: float = 0.01
) -> DatasetReport:
    """Read every image and mask of a folder and report on it.

    Args:
        root: a folder in one of the four layouts of `inspection.data.folder`.
        rule: how good parts are divided; shares and group pattern.
        false_reject_rate: share of good parts that may be rejected; calibrate must be able to
            promise it.

    Returns:
        The manifest of the readable images, sorted by path, and all problems and notes.

    Raises:
        DatasetError: the folder is no data set.
    """
    rule = rule or SplitRule()
    listing = list_folder(root)
    findings = Findings()
    report_listing(listing, findings)
    reads = _read_all(root.resolve(), listing.images, findings)
    entries, complaints = regroup((_entry(read) for read in reads), rule.group)
    for complaint in complaints:
        findings.problem(complaint.split(":", 1)[0], Kind.NO_GROUP, complaint)
    free = any(image.label is Label.GOOD and image.side is None for image in listing.images)
    for conflict in [] if free else group_conflicts(entries):
        findings.problem(conflict.split(":", 1)[0], Kind.GROUP, conflict)
    entries = assign_splits(entries, rule, free=free)
    report_masks((read.found for read in reads), findings)
    report_modes(entries, findings)
    report_same_bytes(entries, findings)
    report_near(entries, [read.signature for read in reads], findings)
    report_counts(entries, rule, false_reject_rate, findings)
    manifest = Manifest(root=str(root.resolve()), layout=listing.layout, entries=entries)
    return DatasetReport(
        manifest=manifest,
        problems=_sorted(findings.problems),
        notes=_sorted(findings.notes),
        sound=not findings.problems,
    )


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(
        sorted(findings, key=lambda finding: (finding.path, finding.kind, finding.message))
    )


def _read_all(root: Path, images: Sequence[FoundImage], findings: Findings) -> list[_Read]:
    """Read all images in order, on a few threads, with a bar on stderr."""
    workers = min(4, os.cpu_count() or 1)
    reads = []
    with ThreadPoolExecutor(workers) as pool, advancing(len(images), "check images") as advance:
        for result in pool.map(lambda found: _read(root, found), images):
            advance(1)
            if isinstance(result, Finding):
                findings.problems.append(result)
                continue
            reads.append(result)
            findings.problems += result.findings.problems
            findings.notes += result.findings.notes
    return reads


def _read(root: Path, found: FoundImage) -> _Read | Finding:
    try:
        encoded = read_bytes(root / found.path)
        header = read_header(encoded, found.path)
        pixels = decode_image(encoded, found.path)
    except ImageError as error:
        message = str(error).replace(f"{root}{os.sep}", "")
        return Finding(path=found.path, kind=Kind.UNREADABLE, message=message)
    findings = Findings()
    mask = _usable_mask(root, found, pixels, findings)
    digest = hashlib.sha256(encoded).hexdigest()
    return _Read(found, digest, header, image_signature(pixels), mask, findings)


def _usable_mask(root: Path, found: FoundImage, pixels: Rgb, findings: Findings) -> str | None:
    """Check the mask of an image; give its path only when it can be used."""
    if found.mask is None:
        return None
    try:
        mask = load_mask(root / found.mask)
    except ImageError as error:
        message = str(error).replace(f"{root}{os.sep}", "")
        findings.problem(found.mask, Kind.UNREADABLE_MASK, message)
        return None
    if mask.shape != pixels.shape[:2]:
        findings.problem(
            found.mask,
            Kind.MASK_SIZE,
            f"{found.mask}: is {mask.shape[0]}×{mask.shape[1]} px; wanted "
            f"{pixels.shape[0]}×{pixels.shape[1]} px like {found.path}; draw it again",
        )
        return None
    if found.label is Label.GOOD:
        if mask.any():
            findings.problem(
                found.mask,
                Kind.MASK_ON_GOOD,
                f"{found.mask}: marks {int(mask.sum())} px of {found.path}, a good part; wanted "
                "none; move the image or empty the mask",
            )
        return None
    if not mask.any():
        findings.note(
            found.mask,
            Kind.EMPTY_MASK,
            f"{found.mask}: marks nothing on the defect {found.path}; pixel figures "
            "leave this part out; draw it again",
        )
    return found.mask


def _entry(read: _Read) -> ManifestEntry:
    """Make an entry with the layout's side; group and split follow later."""
    found = read.found
    return ManifestEntry(
        path=found.path,
        sha256=read.sha256,
        height_px=read.header.height_px,
        width_px=read.header.width_px,
        mode=read.header.mode,
        label=found.label,
        defect=found.defect,
        mask=read.mask,
        group=found.path,
        split=Split.TEST if found.side == "test" else Split.FIT,
    )
