"""Makes a job's data set of the set it begins with and of what reviewers have said since.

The golden test split stays as it is. Reviewed good parts are divided by the hash of their part:
most enter fit and calibrate, the others are held back, with the reviewed defects, to compare
bundles on. Reviewed defects enter test, under REVIEWED, by which they are told from the golden
ones. What nobody decided, or not surely, or two people differently, enters nothing; what an earlier
job took from reviews is taken anew, so that a decision that was taken back teaches nothing any
more. Of a picture teaches what its bundle judged: what the station's recipe cut out of it.
"""

import mimetypes
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pydantic import Field
from sqlalchemy import select

from inspection.bundles.seal import GATE, SIGNATURE, SUMS, parse_sums
from inspection.core.errors import DatasetError, ImageError, UpdateImpossible
from inspection.core.folders import link_or_copy, new_folder
from inspection.core.geometry import Roi, roi_px
from inspection.core.imaging import Rgb, decode_image, read_header
from inspection.core.parts import cut
from inspection.core.progress import follow
from inspection.core.records import (
    Label,
    Manifest,
    ManifestEntry,
    Record,
    Split,
    parse_record,
    read_manifest,
    write_record,
)
from inspection.hub.artefacts import bundle_file_name, picture_name
from inspection.hub.datasets import DISPUTED, AsOf, ReviewedFrame, reviewed_frames
from inspection.hub.hub import Hub
from inspection.hub.job_request import JobRequest
from inspection.hub.refusals import NotThere
from inspection.hub.reviews import UNNAMED
from inspection.hub.tables import bundles
from inspection.hub.wire.retraining import JobKind
from inspection.hub.wire.review import Decision
from inspection.retraining.divide import divide, for_guards, is_held_back, outdate
from inspection.retraining.spoilt import spoilt_events

MANIFEST, RECENT, REPORT = "manifest.json", "recent.json", "report.json"
SET, CHAMPION = "set", "champion"
REVIEWED = "from-reviews"  # folder of the set: what reviewers decided
RECENT_MOST = 500  # good parts, and defects, that bundles are compared on: the newest

FORGOTTEN = "forgotten"
NO_PICTURE = "picture is not here"
UNREADABLE = "picture cannot be read"
SPOILT = "seen before a hand mended what an alarm told"
UNJUDGED = "no bundle could judge the picture"
OUTSIDE = "the defect lies outside what is judged of the picture"
UNKNOWN_BUNDLE = "judged by a bundle that is not on the hub"
OTHER_BUNDLE = "judged by a bundle of another name"
IN_SET = "in the set already"
TWICE = "same picture as a part decided later"
CONTRADICTED = "decided good and shown defective"
DEFECTIVE_PART = "good, but another picture of the part shows a defect"


class AssembleReport(Record):
    """What a job learns from, in pictures."""

    fit: int
    calibrate: int
    test: int
    goods: int = Field(description="of reviewed parts, in fit and calibrate")
    held_back: int = Field(description="of reviewed good parts, to compare bundles on only")
    defects: dict[str, int] = Field(description="of reviewed parts, in test, by type")
    forgotten: int = Field(description="of the first set, that teach nothing any more")
    corrected: int = Field(description="of the first set's fit and calibrate, shown defective")
    outdated: int = Field(0, description="in calibrate, for the guards alone: set no threshold")
    left_out: dict[str, int] = Field(description="of reviewed parts, by reason")

    def __str__(self) -> str:
        """Say it in one line."""
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
        return (
            f"fit {self.fit}, calibrate {self.calibrate}, test {self.test}; of reviews "
            f"{self.goods} good, {self.held_back} good held back, {sum(self.defects.values())} "
            f"defective; forgotten {self.forgotten}, corrected {self.corrected}, for guards alone "
            f"{self.outdated}; left out: {left_out or 'none'}"
        )


def assemble(hub: Hub, request: JobRequest, out: Path, recent_least: int = 0) -> AssembleReport:
    """Write a job's data set and the bundle it is up against, whole or not at all.

    Args:
        hub: that has the reviews, pictures and bundles.
        request: of the job; what came after it does not count.
        out: folder to make: MANIFEST to train, calibrate and test on, RECENT to compare bundles
            on, of since a change where such set the thresholds; both of pictures in SET; REPORT;
            CHAMPION, the bundle that judges now.
        recent_least: of fewer parts than these RECENT names none: they would show nothing.

    Raises:
        DatasetError: the first set is gone, changed, or nothing of it is left to learn from.
        NotThere: the champion is not on the hub.
        HubError: the hub does not answer.
    """
    base = _first_set(request)
    with hub.database.reading() as connection:
        as_of = AsOf(request.reviews_until, request.corrections_until)
        frames = reviewed_frames(connection, request.line, request.product, as_of)
        named = select(bundles.c.bundle_id, bundles.c.name)
        names = {row.bundle_id: row.name for row in connection.execute(named)}
        spoilt = spoilt_events(connection, request.line, request.product, request.asked_at)
    sorting = _Sorting(request, base, names, spoilt)
    with new_folder(out) as folder:
        known = _keep_champion(hub, request.champion_id, folder / CHAMPION)
        pictures = _Pictures(hub, folder / SET)
        sorting.sort(frames, pictures)
        kept, learnt, fresh = sorting.divided(known)
        for entry in follow(kept, "first set"):
            _keep_first(base, entry, folder / SET)
        entries = sorted((*kept, *learnt, *sorting.defects), key=lambda one: one.path)
        manifest = base.model_copy(update={"root": SET, "entries": tuple(entries)})
        report = _report(manifest, sorting, base)
        unseen = [one for one in (*sorting.held_back, *sorting.defects) if one.sha256 not in known]
        recent = [one for one in unseen if not fresh or one.sha256 in sorting.since]
        write_record(folder / MANIFEST, manifest)
        chosen = _newest(recent) if len(recent) >= recent_least else ()
        write_record(folder / RECENT, manifest.model_copy(update={"entries": chosen}))
        write_record(folder / REPORT, report)
    return report


def golden(manifest: Manifest) -> Manifest:
    """Give what never changes of an assembled set: its first test split.

    Where that has no good part, the first set's calibrate normals stand in, as for the gate; also
    where newer ones alone set the thresholds, but not those that guards alone learn beside them.
    """
    first = [one for one in manifest.entries if not is_reviewed(one)]
    tested = [one for one in first if one.split is Split.TEST]
    if all(one.label is Label.DEFECT for one in tested):
        normals = [one for one in first if one.split is Split.CALIBRATE]
        current = [one for one in normals if not one.outdated]
        tested += current or [one.model_copy(update={"outdated": False}) for one in normals]
    return manifest.model_copy(update={"entries": tuple(tested)})


def is_reviewed(entry: ManifestEntry) -> bool:
    """Say whether a picture of an assembled set is there because of what reviewers said."""
    return entry.path.startswith(f"{REVIEWED}/")


@dataclass
class _Pictures:
    """Brings pictures and masks of the hub into a folder."""

    hub: Hub
    folder: Path

    def get(self, sha256: str | None) -> bytes | None:
        """Give the bytes of a picture or mask; none where it is not here."""
        try:
            return None if sha256 is None else self.hub.artefacts.get(picture_name(sha256))
        except KeyError:
            return None

    def put(self, path: str, encoded: bytes) -> None:
        """Keep it; the folder it lies in is made durable as a whole."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded)


@dataclass
class _Sorting:
    """Decides what of the reviews enters what, and counts what does not."""

    request: JobRequest
    base: Manifest
    names: Mapping[str, str]
    """Of bundles, by id."""
    spoilt: Collection[str]
    """Ids of events that were seen while something was wrong that a hand has mended since."""
    taught: list[ManifestEntry] = field(default_factory=list)
    """Good parts, in test as long as they are not divided."""
    held_back: list[ManifestEntry] = field(default_factory=list)
    defects: list[ManifestEntry] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    since: set[str] = field(default_factory=set)
    """sha256 of pictures of since the last change."""
    corrected: set[str] = field(default_factory=set)
    """sha256 of pictures of fit and calibrate that show a defect."""

    def sort(self, frames: Sequence[ReviewedFrame], pictures: _Pictures) -> None:
        """Take the reviewed frames, the newest first."""
        reasons = self._reasons(frames)
        seen: set[str] = set()
        for frame in follow(frames, "reviewed"):
            reason = next((why for why, holds in reasons.items() if holds(frame)), None)
            if reason is None and frame.sha256 in seen:
                reason = TWICE
            seen.add(str(frame.sha256))
            reason = reason or self._take(frame, pictures)
            if reason is not None:
                self.left_out[reason] += 1

    def kept_of_base(self) -> list[ManifestEntry]:
        """Give what stays of the first set."""
        gone = self.corrected | set(self.request.forgotten)
        return [one for one in self.base.entries if one.sha256 not in gone]

    def divided(
        self, known: Mapping[str, ManifestEntry]
    ) -> tuple[list[ManifestEntry], list[ManifestEntry], set[str]]:
        """Give what stays of the first set, reviewed good parts, and which alone set thresholds.

        Args:
            known: what the champion was fitted and calibrated on, by sha256.

        Raises:
            UpdateImpossible: there is no champion whose guards could learn.
        """
        kept = self.kept_of_base()
        if self.request.kind is JobKind.GUARDS:
            if not known:
                raise UpdateImpossible(
                    f"{self.request.line}, {self.request.product}: new guards need a bundle that "
                    "judges; ask for a retraining"
                )
            tested = [one for one in kept if one.split is Split.TEST]
            others = [one for one in kept if one.split is not Split.TEST]
            return [*tested, *for_guards(others, known)], for_guards(self.taught, known), set()
        learnt, fresh = divide(self.taught, self.since, self.request.export.false_reject_rate)
        return outdate(kept, fresh), outdate(learnt, fresh), fresh

    def _reasons(
        self, frames: Sequence[ReviewedFrame]
    ) -> dict[str, Callable[[ReviewedFrame], bool]]:
        """Give why a frame is left out before anybody looks at its picture, in that order."""
        golden_sha256s = {one.sha256 for one in self.base.entries if one.split is Split.TEST}
        first_sha256s = {one.sha256 for one in self.base.entries}
        forgotten = set(self.request.forgotten)
        bad = [one for one in frames if one.decision is Decision.DEFECT]
        bad_parts = {one.part_id for one in bad}
        both = {one.sha256 for one in frames if one.decision is Decision.GOOD}
        both &= {one.sha256 for one in bad}
        return {
            NO_PICTURE: lambda one: one.sha256 is None,
            FORGOTTEN: lambda one: one.sha256 in forgotten,
            DISPUTED: lambda one: one.disputed,
            SPOILT: lambda one: one.event_id in self.spoilt,
            UNJUDGED: lambda one: one.score is None,
            UNKNOWN_BUNDLE: lambda one: one.bundle_id not in self.names,
            OTHER_BUNDLE: lambda one: self.names[one.bundle_id] != self.request.name,
            CONTRADICTED: lambda one: one.sha256 in both,
            IN_SET: lambda one: (
                one.sha256 in (first_sha256s if one.decision is Decision.GOOD else golden_sha256s)
            ),
            DEFECTIVE_PART: lambda one: one.decision is Decision.GOOD and one.part_id in bad_parts,
        }

    def _take(self, frame: ReviewedFrame, pictures: _Pictures) -> str | None:
        """Let a frame enter; else say why it does not."""
        encoded, mask = pictures.get(frame.sha256), pictures.get(frame.mask_sha256)
        if encoded is None:
            return NO_PICTURE
        try:
            header = read_header(encoded, frame.event_id)
            outlined = None if mask is None else decode_image(mask, f"mask of {frame.event_id}")
        except ImageError:
            return UNREADABLE
        good, drawn = frame.decision is Decision.GOOD, outlined is not None and outlined.any()
        if good and drawn:
            return CONTRADICTED
        if drawn and not cut(cast("Rgb", outlined), frame.roi).any():
            return OUTSIDE
        top, left, bottom, right = roi_px(frame.roi or Roi(), header.height_px, header.width_px)
        kind = "good" if good else frame.defect or UNNAMED
        sha256 = str(frame.sha256)
        stem = f"{REVIEWED}/{kind}/{sha256[:24]}"
        entry = ManifestEntry(
            path=f"{stem}{mimetypes.guess_extension(header.kind) or '.png'}",
            sha256=sha256,
            height_px=bottom - top,
            width_px=right - left,
            mode=header.mode,
            label=Label.GOOD if good else Label.DEFECT,
            defect=None if good else kind,
            mask=f"{stem}_mask.png" if drawn else None,
            group=f"part {frame.part_id}",
            split=Split.TEST,
            roi=frame.roi,
        )
        pictures.put(entry.path, encoded)
        if entry.mask is not None:
            pictures.put(entry.mask, cast("bytes", mask))
        changed_at = self.request.changed_at
        if changed_at is not None and frame.captured_at >= changed_at:
            self.since.add(sha256)
        self._enter(entry)
        return None

    def _enter(self, entry: ManifestEntry) -> None:
        if entry.label is Label.DEFECT:
            self.defects.append(entry)
            if any(one.sha256 == entry.sha256 for one in self.base.entries):
                self.corrected.add(entry.sha256)
            return
        if is_held_back(entry):
            self.held_back.append(entry)
        else:
            self.taught.append(entry)


def _first_set(request: JobRequest) -> Manifest:
    """Read the set a job begins with.

    Raises:
        DatasetError: it is gone, or another than when the job was asked for.
    """
    manifest = read_manifest(request.manifest)
    if manifest.sha256 != request.manifest_sha256:
        raise DatasetError(
            f"{request.manifest}: its sha256 is {manifest.sha256[:12]}; the job was asked for with "
            f"{request.manifest_sha256[:12]}; put the manifest back, or ask again"
        )
    first = tuple(one for one in manifest.entries if not is_reviewed(one))
    return manifest.model_copy(update={"entries": first})


def _keep_first(base: Manifest, entry: ManifestEntry, folder: Path) -> None:
    for path in filter(None, (entry.path, entry.mask)):
        place = folder / path
        if place.exists():  # one mask may stand for several pictures
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            link_or_copy(Path(base.root, path), place)
        except FileNotFoundError as error:
            raise DatasetError(
                f"{base.root}: '{path}' of the manifest is gone; put it back, or make the manifest "
                "again"
            ) from error


def _keep_champion(hub: Hub, bundle_id: str | None, folder: Path) -> Mapping[str, ManifestEntry]:
    """Bring the champion; give the pictures it was fitted and calibrated on, by sha256."""
    if bundle_id is None:
        return {}
    try:
        sums = hub.artefacts.get(bundle_file_name(bundle_id, SUMS))
        for path in (*parse_sums(sums), SUMS, SIGNATURE, GATE):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(hub.artefacts.get(bundle_file_name(bundle_id, path)))
    except KeyError as error:
        raise NotThere(
            f"bundle {bundle_id[:12]}: {error} is not on this hub; add the bundle again"
        ) from error
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    learnt = parse_record(text, Manifest, f"manifest of bundle {bundle_id[:12]}").entries
    return {one.sha256: one for one in learnt if one.split is not Split.TEST}


def _newest(entries: Iterable[ManifestEntry]) -> tuple[ManifestEntry, ...]:
    """Give the first good parts and defects of a list that begins with the newest of each."""
    by_label: dict[Label, list[ManifestEntry]] = {label: [] for label in Label}
    for entry in entries:
        by_label[entry.label].append(entry)
    return tuple(one for some in by_label.values() for one in some[:RECENT_MOST])


def _report(manifest: Manifest, sorting: _Sorting, base: Manifest) -> AssembleReport:
    forgotten = set(sorting.request.forgotten)
    return AssembleReport(
        fit=len(manifest.of(Split.FIT)),
        calibrate=len(manifest.of(Split.CALIBRATE)),
        test=sum(one.split is Split.TEST for one in manifest.entries),
        goods=len(sorting.taught),
        held_back=len(sorting.held_back),
        defects=dict(Counter(str(one.defect) for one in sorting.defects).most_common()),
        forgotten=sum(one.sha256 in forgotten for one in base.entries),
        corrected=len(sorting.corrected),
        outdated=sum(one.outdated for one in manifest.entries),
        left_out=dict(sorting.left_out.most_common()),
    )
