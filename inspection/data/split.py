"""Divides a set into fit, calibrate and test by a hash of each part's group.

The hash decides alone, so adding files never moves others; what a layout fixes stays fixed.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from inspection.core.config import Settings
from inspection.core.errors import DatasetError
from inspection.core.records import Label, Manifest, ManifestEntry, Split


def _is_expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_is_expression)]


class SplitRule(Settings):
    """How good parts are divided."""

    group: Pattern | None = Field(
        None,
        description="regular expression searched in the file name; its group(1), or its whole "
        "match, is the part's group; none makes each image its own",
    )
    calibrate_share: float = Field(
        0.15, gt=0, lt=1, description="share of the groups kept out of the bank for thresholds"
    )
    test_share: float = Field(
        0.2, ge=0, lt=1, description="share of the groups tested, where the layout has no test"
    )

    @model_validator(mode="after")
    def _leaves_fit(self) -> "SplitRule":
        if self.calibrate_share + self.test_share >= 1:
            raise ValueError("calibrate_share and test_share must leave something to fit")
        return self


def group_of(path: str, pattern: str | None) -> str:
    """Give the group of an image: what the pattern finds in its name, or its path without suffix.

    Raises:
        DatasetError: the pattern does not match the name, or finds nothing there.
    """
    if pattern is None:
        return str(PurePosixPath(path).with_suffix(""))
    name = PurePosixPath(path).name
    found = re.search(pattern, name)
    group = found and (found.group(1) if found.re.groups else found.group(0))
    if not group:
        raise DatasetError(
            f"{path}: group pattern '{pattern}' finds nothing in '{name}'; wanted a match in each "
            "name; widen the pattern"
        )
    return group


def place_of(group: str) -> float:
    """Give the place of a group in [0, 1), by its sha256 alone."""
    digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def choose_split(group: str, rule: SplitRule, *, tested: bool) -> Split:
    """Choose the split of a group of good parts; `tested` says that test may be chosen too."""
    place = place_of(group)
    if tested and place >= 1 - rule.test_share:
        return Split.TEST
    return Split.CALIBRATE if place < rule.calibrate_share else Split.FIT


def split_manifest(manifest: Manifest, rule: SplitRule) -> Manifest:
    """Divide a manifest anew by a rule.

    What stands in test stays there, except the good parts of a plain folder: those are divided into
    all three, and follow a defect of their group into test.

    Raises:
        DatasetError: names without group, or groups that the layout has in train and in test; all
            at once.
    """
    entries, complaints = regroup(manifest.entries, rule.group)
    free = manifest.layout == "plain"
    complaints += [] if free else group_conflicts(entries)
    if complaints:
        raise DatasetError("\n".join(complaints))
    divided = assign_splits(entries, rule, free=free)
    return manifest.model_copy(update={"entries": divided})


def regroup(
    entries: Iterable[ManifestEntry], pattern: str | None
) -> tuple[tuple[ManifestEntry, ...], list[str]]:
    """Give each entry its group; also what is wrong with the names, sorted."""
    grouped, complaints = [], []
    for entry in entries:
        try:
            group = group_of(entry.path, pattern)
        except DatasetError as error:
            complaints.append(str(error))
            group = group_of(entry.path, None)
        grouped.append(entry.model_copy(update={"group": group}))
    return tuple(grouped), sorted(complaints)


def group_conflicts(entries: Iterable[ManifestEntry]) -> list[str]:
    """Name the groups that a layout has in train and in test; sorted."""
    sides: dict[str, dict[bool, str]] = defaultdict(dict)
    for entry in sorted(entries, key=lambda entry: entry.path):
        sides[entry.group].setdefault(entry.split is Split.TEST, entry.path)
    return [
        f"{found[False]}: group '{group}' stands in train and in test ({found[True]}); wanted one "
        "of them; move the files or change the group pattern"
        for group, found in sorted(sides.items())
        if len(found) == 2
    ]


def assign_splits(
    entries: tuple[ManifestEntry, ...], rule: SplitRule, *, free: bool
) -> tuple[ManifestEntry, ...]:
    """Give each entry its split; unless `free`, good parts that stand in test stay there."""
    tested = {
        entry.group
        for entry in entries
        if entry.label is Label.DEFECT or (not free and entry.split is Split.TEST)
    }
    return tuple(
        entry.model_copy(
            update={
                "split": Split.TEST
                if entry.group in tested
                else choose_split(entry.group, rule, tested=free)
            }
        )
        for entry in entries
    )
