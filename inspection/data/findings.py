"""What can be wrong with a data set, and the findings that its names and its manifest show.

Each report adds to one collection, so that all problems are named at once.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath

from pydantic import Field

from inspection.core.config import Settings
from inspection.core.imaging import CONVERSIONS
from inspection.core.records import Label, ManifestEntry, Split
from inspection.data.duplicates import Signature, near_duplicates
from inspection.data.folder import FoundImage, Listing
from inspection.data.split import SplitRule
from inspection.metrics.calibration import normals_needed, promisable

PLAIN_MODES = frozenset({"RGB", "L"})  # need no word


class Kind(StrEnum):
    """What a finding is about."""

    UNREADABLE = "unreadable image"
    UNREADABLE_MASK = "unreadable mask"
    OUTSIDE = "link not followed"
    UNNAMED = "name no UTF-8"
    MISSING = "listed file missing"
    MASK_WITHOUT_IMAGE = "mask without image"
    IMAGE_WITHOUT_MASK = "image without mask"
    TWO_MASKS = "two masks for one image"
    TWO_IMAGES = "two images for one mask"
    MASK_SIZE = "mask of another size"
    MASK_ON_GOOD = "mask marks a good part"
    EMPTY_MASK = "mask marks nothing"
    SAME_BYTES = "same bytes twice"
    NEAR_DUPLICATE = "near duplicate across splits"
    GROUP = "group in two splits"
    NO_GROUP = "no group in the name"
    TOO_FEW = "too few normals"
    EMPTY_SPLIT = "empty split"
    PIXEL_MODE = "pixel mode"
    NO_AREA = "box without area"
    BEYOND = "box beyond its picture"
    BAD_MASK = "mask that cannot be used"
    UNKNOWN_TYPE = "unknown type"
    UNREAD = "annotation not read"
    IGNORED = "ignored files"


class Finding(Settings):
    """One thing about one path, said in one sentence."""

    path: str = Field(description="POSIX path relative to the root; '.' is the whole set")
    kind: Kind
    message: str


@dataclass
class Findings:
    """What was found so far."""

    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def problem(self, path: str, kind: Kind, message: str) -> None:
        """Add what makes the set unsound."""
        self.problems.append(Finding(path=path, kind=kind, message=message))

    def note(self, path: str, kind: Kind, message: str) -> None:
        """Add what a person should know."""
        self.notes.append(Finding(path=path, kind=kind, message=message))


def report_listing(listing: Listing, findings: Findings) -> None:
    """Say what the names alone show."""
    _report_untaken(listing, findings)
    for path in listing.missing:
        findings.problem(
            path, Kind.MISSING, f"{path}: stands in the split table but not in the folder; fetch it"
        )
    for path in listing.orphan_masks:
        findings.problem(
            path,
            Kind.MASK_WITHOUT_IMAGE,
            f"{path}: no image has this name; wanted one with the same stem; rename or remove it",
        )
    for image, mask in listing.rival_masks:
        findings.problem(
            mask, Kind.TWO_MASKS, f"{mask}: {image} has another mask already; keep one of them"
        )
    for image, other in listing.rival_images:
        findings.problem(
            image, Kind.TWO_IMAGES, f"{image}: shares its mask with {other}; rename one of them"
        )
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in listing.ignored:
        by_folder[str(PurePosixPath(path).parent)].append(path)
    for folder, paths in sorted(by_folder.items()):
        findings.note(
            folder,
            Kind.IGNORED,
            f"{folder}: {len(paths)} files are no image of this layout and are left out, "
            f"first {paths[0]}",
        )


def _report_untaken(listing: Listing, findings: Findings) -> None:
    for path in listing.outside:
        findings.problem(
            path,
            Kind.OUTSIDE,
            f"{path}: is a link to a folder or out of the set; wanted a file inside it; copy it",
        )
    for path in listing.unnamed:
        findings.problem(
            path, Kind.UNNAMED, f"{path}: its name is no UTF-8; wanted one that is; rename it"
        )


def report_masks(images: Iterable[FoundImage], findings: Findings) -> None:
    """Name defects without mask; when no defect has one it is a note only."""
    defects = [image for image in images if image.label is Label.DEFECT]
    bare = [image.path for image in defects if image.mask is None]
    if bare and len(bare) == len(defects):
        findings.note(
            ".",
            Kind.IMAGE_WITHOUT_MASK,
            f"none of {len(defects)} defects has a mask; parts are judged, pixels are not",
        )
        return
    for path in bare:
        findings.problem(
            path,
            Kind.IMAGE_WITHOUT_MASK,
            f"{path}: has no mask while other defects have; wanted one of the same stem; draw it "
            "or remove the image",
        )


def report_modes(entries: Iterable[ManifestEntry], findings: Findings) -> None:
    """Say what will be done with pixel modes that are not plain 8-bit RGB or grey."""
    by_mode: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if entry.mode not in PLAIN_MODES:
            by_mode[entry.mode].append(entry.path)
    for mode, paths in sorted(by_mode.items()):
        findings.note(
            paths[0],
            Kind.PIXEL_MODE,
            f"{paths[0]}: pixel mode {mode}, {len(paths)} images; {CONVERSIONS[mode]}",
        )


def report_same_bytes(entries: Iterable[ManifestEntry], findings: Findings) -> None:
    """Name files of the same bytes that stand in two splits or are called good and defect."""
    by_hash: dict[str, list[ManifestEntry]] = defaultdict(list)
    for entry in entries:
        by_hash[entry.sha256].append(entry)
    for same in by_hash.values():
        if len({(entry.split, entry.label) for entry in same}) > 1:
            places = ", ".join(f"{entry.path} ({entry.split}, {entry.label})" for entry in same)
            findings.problem(
                same[0].path,
                Kind.SAME_BYTES,
                f"{same[0].path}: the same bytes stand {len(same)} times: {places}; wanted one "
                "split and one label; keep one file",
            )


def report_near(
    entries: Sequence[ManifestEntry], signatures: Sequence[Signature], findings: Findings
) -> None:
    """Name pairs across splits that are too alike though their bytes differ."""
    for pair in near_duplicates(signatures, [entry.split for entry in entries]):
        first, second = entries[pair.first], entries[pair.second]
        if first.sha256 == second.sha256:
            continue
        where = f"{first.path} ({first.split}) and {second.path} ({second.split})"
        if pair.same_shot:
            findings.problem(
                first.path,
                Kind.NEAR_DUPLICATE,
                f"{where}: are the same shot (correlation {pair.correlation:.3f}); wanted it in "
                "one split; remove one or give both one group",
            )
        else:
            findings.note(
                first.path,
                Kind.NEAR_DUPLICATE,
                f"{where}: may show the same part (correlation {pair.correlation:.3f}); look at "
                "them, and give a part that is photographed twice one group",
            )


def report_counts(
    entries: Iterable[ManifestEntry],
    rule: SplitRule,
    false_reject_rate: float,
    findings: Findings,
) -> None:
    """Say whether calibrate can promise the false-reject rate, and which splits are empty."""
    known = list(entries)
    counts = Counter(entry.split for entry in known)
    if not counts[Split.FIT]:
        findings.problem(
            ".", Kind.EMPTY_SPLIT, "fit is empty; wanted good parts to learn from; add some"
        )
    if not counts[Split.TEST]:
        findings.note(
            ".", Kind.EMPTY_SPLIT, "test is empty; the gate will judge on generated defects only"
        )
    if not any(e.split is Split.TEST and e.label is Label.GOOD for e in known):
        findings.note(
            ".",
            Kind.EMPTY_SPLIT,
            "test has no good part; those of calibrate will stand in for them at the gate, which "
            "then measures no false-reject rate",
        )
    wanted, found = normals_needed(false_reject_rate), counts[Split.CALIBRATE]
    if found < wanted:
        goods = counts[Split.FIT] + found
        findings.problem(
            ".",
            Kind.TOO_FEW,
            f"calibrate holds {found} good parts; wanted {wanted} to promise a false-reject rate "
            f"of {false_reject_rate:g}; {_remedy(goods, wanted, found, rule)}",
        )


def _remedy(goods: int, wanted: int, found: int, rule: SplitRule) -> str:
    """Say what would be enough: more parts, a larger share, or a weaker promise."""
    ways = [f"add about {math.ceil(wanted / rule.calibrate_share) - goods:,} good parts"]
    share = math.ceil(110 * wanted / max(goods, 1)) / 100  # a tenth more: the hash only comes close
    if share <= 0.5:
        ways.append(f"raise the calibrate share to {share:g}")
    if found:
        ways.append(f"promise {promisable(found):g}")
    return " or ".join(ways)
