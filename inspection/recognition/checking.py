"""Gathers labels from all their sources and names everything that is wrong with them, all at once.

A problem makes the labels unsound; a note says what will be done or what to look at.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, StrictBool, StrictInt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from inspection.core.errors import DatasetError, ImageError
from inspection.core.imaging import decode_image, read_bytes
from inspection.core.progress import follow
from inspection.core.records import Record
from inspection.data.duplicates import NearPair, Signature, image_signature, near_duplicates
from inspection.data.findings import Finding, Findings, Kind
from inspection.data.split import group_of, place_of
from inspection.recognition.labels import Box, LabelledPicture, Labels, Side, count_types
from inspection.recognition.settings import LabelSettings, LabelSource
from inspection.recognition.sources import Drawn, read_source
from inspection.review.exports import UNNAMED

LEAST_TAUGHT, LEAST_JUDGED = 10, 5  # defects of a type; fewer teach little and show less
MOST_MERGED, SHARE_MERGED = 5, 0.1  # pictures, of all: so large a part is told of


class TypeCount(Record):
    """How often a type was drawn."""

    type: str
    train: StrictInt = Field(description="defects that teach")
    test: StrictInt = Field(description="defects that judge")
    with_mask: StrictInt = Field(description="of both, those whose mask is known")


class LabelsReport(Record):
    """What the labels hold and what is wrong with them."""

    pictures: dict[str, StrictInt] = Field(description="with and without defects, of each side")
    types: tuple[TypeCount, ...]
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    sound: StrictBool = Field(description="there is no problem")


@dataclass(frozen=True)
class _Read:
    """A picture before it has a side."""

    drawn: Drawn
    fixed: Side | None
    size_hw: tuple[int, int]
    sha256: str
    group: str | None
    """Which part its name says it shows; none where names say nothing."""
    signature: Signature


def report_labels(settings: LabelSettings) -> LabelsReport:
    """Say what labels hold.

    Raises:
        DatasetError: a source is none, or a file of it is damaged.
    """
    labels = gather(settings)
    taught, judged = count_types(labels.of("train")), count_types(labels.of("test"))
    masked = Counter(d.type for one in labels.pictures for d in one.defects if d.rle is not None)
    sides: tuple[Side, ...] = ("train", "test")
    kinds = Counter((one.side, bool(one.defects)) for one in labels.pictures)
    return LabelsReport(
        pictures={
            f"{side}, {'with defects' if defective else 'good'}": kinds[side, defective]
            for side in sides
            for defective in (True, False)
        },
        types=tuple(
            TypeCount(type=one, train=taught[one], test=judged[one], with_mask=masked[one])
            for one in labels.types
        ),
        problems=labels.problems,
        notes=labels.notes,
        sound=not labels.problems,
    )


def require_sound(settings: LabelSettings) -> Labels:
    """Give labels to learn from.

    Raises:
        DatasetError: as for `gather`, or with all problems.
    """
    labels = gather(settings)
    if labels.problems:
        told = "\n".join(one.message for one in labels.problems)
        raise DatasetError(f"{told}\n{len(labels.problems)} problems; mend them, or take these out")
    return labels


def gather(settings: LabelSettings) -> Labels:
    """Read all sources, divide their pictures, and say what is wrong.

    Raises:
        DatasetError: a source is none, a file of it is damaged, or no defect is drawn at all.
    """
    findings = Findings()
    found = [
        (source, drawn) for source in settings.sources for drawn in read_source(source, findings)
    ]
    reads = [
        read
        for source, drawn in follow(found, "read labels")
        if (read := _read(source, drawn, settings, findings))
    ]
    pairs = near_duplicates([one.signature for one in reads], [str(i) for i in range(len(reads))])
    pictures = _divided(reads, pairs, settings.test_share)
    _report_leaks(pictures, pairs, findings)
    if settings.group is None:
        _report_merged(pictures, findings)
    pictures = _once(pictures, findings)
    names = count_types(pictures)
    if not names:
        raise DatasetError("labels: no defect is drawn on any picture; name a source with some")
    types = settings.types or tuple(sorted(names))
    _report_types(pictures, types, findings)
    return Labels(types, tuple(pictures), _sorted(findings.problems), _sorted(findings.notes))


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: (one.path, one.kind, one.message)))


def _read(
    source: LabelSource, drawn: Drawn, settings: LabelSettings, findings: Findings
) -> _Read | None:
    try:
        encoded = read_bytes(drawn.path)
        pixels = decode_image(encoded, drawn.name)
    except ImageError as error:
        findings.problem(drawn.name, Kind.UNREADABLE, str(error))
        return None
    size = pixels.shape[0], pixels.shape[1]
    if drawn.size_hw not in (None, size):
        findings.problem(
            drawn.name,
            Kind.MASK_SIZE,
            f"{drawn.name}: has {size[0]}×{size[1]} px, its labels say {drawn.size_hw}; wanted "
            "labels of this picture; label it again",
        )
        return None
    try:
        group = group_of(drawn.name, settings.group) if settings.group else None
    except DatasetError as error:
        findings.problem(drawn.name, Kind.NO_GROUP, str(error))
        return None
    digest = hashlib.sha256(encoded).hexdigest()
    return _Read(drawn, source.side, size, digest, group, image_signature(pixels))


def _divided(
    reads: Sequence[_Read], pairs: Sequence[NearPair], test_share: float
) -> list[LabelledPicture]:
    """Give each picture its part and its side: the one that is fixed for the part, or by its hash.

    Where names say nothing of parts, pictures too alike are taken for one part, whose name is the
    least of their sha256. How alike is too alike depends on all pictures, so that a new one may
    bring two together that stood apart, and move one of them.
    """
    joined = coo_matrix(
        (np.ones(len(pairs)), ([one.first for one in pairs], [one.second for one in pairs])),
        (len(reads), len(reads)),
    )
    alike = connected_components(joined, directed=False)[1] if reads else []
    least: dict[int, str] = {}
    for read, number in zip(reads, alike, strict=True):
        least[number] = min(read.sha256, least.get(number, read.sha256))
    groups = [read.group or least[number] for read, number in zip(reads, alike, strict=True)]
    fixed = {group: read.fixed for read, group in zip(reads, groups, strict=True) if read.fixed}
    return [
        LabelledPicture(
            path=read.drawn.path,
            name=read.drawn.name,
            size_hw=read.size_hw,
            sha256=read.sha256,
            group=group,
            side=read.fixed or fixed.get(group) or _hashed(group, test_share),
            defects=read.drawn.defects,
        )
        for read, group in zip(reads, groups, strict=True)
    ]


def _hashed(group: str, test_share: float) -> Side:
    return "test" if place_of(group) >= 1 - test_share else "train"


def _once(pictures: Sequence[LabelledPicture], findings: Findings) -> list[LabelledPicture]:
    """Keep each picture once; what is labelled twice otherwise is a problem."""
    by_hash: dict[str, list[LabelledPicture]] = defaultdict(list)
    for picture in pictures:
        by_hash[picture.sha256].append(picture)
    for same in by_hash.values():
        places = ", ".join(f"{one.name} ({one.side})" for one in same)
        if len({(one.side, _drawn(one)) for one in same}) > 1:
            findings.problem(
                same[0].name,
                Kind.SAME_BYTES,
                f"{same[0].name}: the same bytes stand {len(same)} times, on two sides or labelled "
                f"otherwise: {places}; keep one",
            )
        elif len(same) > 1:
            findings.note(
                same[0].name,
                Kind.SAME_BYTES,
                f"{same[0].name}: the same bytes stand {len(same)} times: {places}; taken once",
            )
    return [same[0] for same in by_hash.values()]


def _drawn(picture: LabelledPicture) -> tuple[tuple[str, Box, str], ...]:
    return tuple(sorted((one.type, one.box, str(one.rle)) for one in picture.defects))


def _report_leaks(
    pictures: Sequence[LabelledPicture], pairs: Sequence[NearPair], findings: Findings
) -> None:
    """Name parts, and pictures too alike, that stand on both sides."""
    sides: dict[str, dict[Side, str]] = defaultdict(dict)
    for one in sorted(pictures, key=lambda one: one.name):
        sides[one.group].setdefault(one.side, one.name)
    for group, found in sorted(sides.items()):
        if len(found) == 2:
            findings.problem(
                found["train"],
                Kind.GROUP,
                f"{found['train']}: part '{group[:24]}' teaches and judges ({found['test']}); "
                "wanted one of them; move a picture, or mend labels.group and the sources' sides",
            )
    for pair in pairs:
        first, second = pictures[pair.first], pictures[pair.second]
        if first.side == second.side or first.group == second.group:
            continue
        told = f"{first.name} ({first.side}) and {second.name} ({second.side})"
        likeness = f"(correlation {pair.correlation:.3f})"
        if pair.same_shot:
            findings.problem(
                first.name,
                Kind.NEAR_DUPLICATE,
                f"{told}: are the same shot {likeness}; remove one, or give both one group",
            )
        else:
            findings.note(
                first.name,
                Kind.NEAR_DUPLICATE,
                f"{told}: may show the same part {likeness}; look at them, and give a part that "
                "is photographed twice one group",
            )


def _report_merged(pictures: Sequence[LabelledPicture], findings: Findings) -> None:
    """Name the largest part that likeness alone made of several pictures, where it is large."""
    sizes = Counter(one.group for one in pictures)
    for group, size in sizes.most_common(1):
        if size >= max(MOST_MERGED, SHARE_MERGED * len(pictures)):
            first = min(one.name for one in pictures if one.group == group)
            findings.note(
                first,
                Kind.GROUP,
                f"{first}: it and {size - 1} others of {len(pictures)} pictures are so alike that "
                "they are taken for one part, which stands on one side; name parts by labels.group "
                "if they are several",
            )


def _report_types(
    pictures: Sequence[LabelledPicture], types: Sequence[str], findings: Findings
) -> None:
    for picture in pictures:
        for name in sorted({defect.type for defect in picture.defects} - set(types)):
            findings.problem(
                picture.name,
                Kind.UNKNOWN_TYPE,
                f"{picture.name}: shows '{name}'; wanted one of {', '.join(types)}; mend the label "
                "or name the type in labels.types",
            )
    taught = count_types(one for one in pictures if one.side == "train")
    judged = count_types(one for one in pictures if one.side == "test")
    if len(types) > 1 and UNNAMED in types:
        findings.note(
            ".",
            Kind.UNKNOWN_TYPE,
            f"'{UNNAMED}': {(taught + judged)[UNNAMED]} defects that nobody named; learnt as a "
            "type of their own; name them where they are reviewed",
        )
    for name in types:
        if not taught[name]:
            findings.problem(
                ".", Kind.TOO_FEW, f"'{name}': none is drawn on a picture that teaches; draw some"
            )
        elif taught[name] < LEAST_TAUGHT:
            findings.note(
                ".", Kind.TOO_FEW, f"'{name}': {taught[name]} teach, which is few; draw more"
            )
        if judged[name] < LEAST_JUDGED:
            findings.note(
                ".", Kind.TOO_FEW, f"'{name}': {judged[name]} judge, so that figures say little"
            )
