"""Lists the pictures of an archive in one order, whatever its size: a folder, a manifest, a record.

Names and sizes only, never pixels; no more than one folder's names are held at a time.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from inspection.bundles.bundle import read_card
from inspection.core.config import load_config
from inspection.core.decision import Verdict, decide
from inspection.core.errors import ConfigError, DatasetError
from inspection.core.geometry import Roi
from inspection.core.records import FrameRecord, Label, read_manifest
from inspection.data.folder import IMAGE_SUFFIXES
from inspection.station.pictures import FOLDER
from inspection.station.replay import events_after
from inspection.station.settings import StationConfig
from inspection.station.spool import DATABASE

Rois = dict[tuple[str, str], Roi]  # by product and camera

WHOLE_FRAME = Roi()
BY_ITSELF = "Pictures were judged whole."
WHOLE = (
    "Frames were judged whole: what a recipe cuts out is known by the station's configuration only."
)
BY_RECIPE = "Frames of cameras whose recipe names this bundle, cut as it says."
NOT_ASKED = "Guards and accept rules were not asked."


class Framing(StrEnum):
    """What of a picture is judged, and whether that is what was judged then."""

    WHOLE = "whole"
    CUT = "cut"  # as the manifest, the event or the recipe says
    NOT_SAID = "not said"  # whole, because an event from before the field says nothing
    OTHERWISE = "otherwise"  # as the recipe says now; the event says that it was other then


Framings = Counter[Framing]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of an archive, known by name, size and time of its last change."""

    name: str
    """In the archive; bytes that are no UTF-8 are escaped."""
    path: str
    size: int
    changed_ns: int
    roi: Roi = WHOLE_FRAME
    then: Verdict | None = None
    """What its score was called when it was judged; none where that is not known."""
    score_then: float | None = None
    label: Label | None = None
    """What a person said of it; none where that is not known."""
    framing: Framing = Framing.WHOLE


@dataclass(frozen=True)
class Archive:
    """Pictures in an order that stays."""

    list: Callable[[], Iterator[Picture]]
    """Lists them anew, each time it is called."""
    note: Callable[[Framings], str]
    """Says what to know of verdicts on them, given how many were judged in which framing."""


def open_archive(path: Path, name: str) -> Archive:
    """Open a folder of pictures, a manifest, a station's record or a station's configuration.

    Of a record, the frames that were kept and that a score decided, cut as their events say; only
    of the configuration it is known which cameras the bundle is for, and its recipes say what is
    cut out, whatever was then.

    Args:
        path: a folder, a `.json`, a station's `data_dir`, or a `.yaml`.
        name: of the bundle that will judge.

    Raises:
        DatasetError: there is nothing of these.
        ConfigError: the configuration is wrong, or none of its recipes has a bundle of that name.
        BundleError: a recipe's bundle cannot be read.
    """
    path = path.resolve()
    if path.suffix in {".yaml", ".yml"}:
        config = load_config(path, StationConfig)
        data_dir, rois = config.data_dir.resolve(), _rois(config, name)
        return Archive(lambda: _of_record(data_dir, rois), _note_of_recipes)
    if (path / DATABASE).is_file():
        return Archive(lambda: _of_record(path, None), _note_of_record)
    if path.is_dir():
        return Archive(lambda: _of_folder(path), lambda _: BY_ITSELF)
    if path.is_file():
        return Archive(lambda: _of_manifest(path), _note_of_manifest)
    raise DatasetError(
        f"{path}: no archive; wanted a folder of pictures, a manifest, a station's data_dir or its "
        "configuration; check the path"
    )


def _note_of_manifest(judged: Framings) -> str:
    if not judged[Framing.CUT]:
        return f"{BY_ITSELF} The manifest cuts nothing out."
    words = f"{judged[Framing.CUT]:,} pictures were cut as the manifest says"
    return f"{words}, {judged[Framing.WHOLE]:,} were judged whole."


def _note_of_record(judged: Framings) -> str:
    """Say how frames were cut; where every event is older than the field, that nothing is known."""
    silent = judged[Framing.NOT_SAID]
    if silent == judged.total():
        return f"{WHOLE} {NOT_ASKED}"
    words = (
        f"{judged[Framing.CUT]:,} frames were cut as their events say, {judged[Framing.WHOLE]:,} "
        "judged whole as they were then."
    )
    if silent:
        words += (
            f" {silent:,} more of older events were judged whole: what a recipe cut out of them is "
            "known by the station's configuration only."
        )
    return f"{words} {NOT_ASKED}"


def _note_of_recipes(judged: Framings) -> str:
    words = BY_RECIPE
    if other := judged[Framing.OTHERWISE]:
        words += f" {other:,} were cut otherwise then: what changed there may be for that."
    if silent := judged[Framing.NOT_SAID]:
        words += f" Of {silent:,}, older events do not say what was cut out then."
    return f"{words} {NOT_ASKED}"


def _of_folder(root: Path) -> Iterator[Picture]:
    for folder, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield _picture(path, path.relative_to(root).as_posix())


def _refuse(error: OSError) -> None:
    """Pass over no folder: one that is away would count as one without pictures."""
    raise DatasetError(
        f"{error.filename}: cannot be listed ({error.strerror}); wanted every folder of the "
        "archive; mount it, or allow this user to read it"
    ) from error


def _of_manifest(path: Path) -> Iterator[Picture]:
    manifest = read_manifest(path)
    for entry in manifest.entries:
        picture = _picture(Path(manifest.root, entry.path), entry.path)
        roi = entry.roi or WHOLE_FRAME
        yield replace(picture, label=entry.label, roi=roi, framing=_framing(roi))


def _of_record(data_dir: Path, rois: Rois | None) -> Iterator[Picture]:
    for event in events_after(data_dir):
        for frame in event.frames:
            roi = _then(frame) if rois is None else rois.get((event.product, frame.camera))
            if roi is None or frame.image is None or frame.score is None or frame.band is None:
                continue
            path = data_dir / FOLDER / event.verdict / frame.image
            if path.is_file():  # else the byte budget took it
                yield replace(
                    _picture(path, f"{event.event_id}/{frame.view}"),
                    roi=roi,
                    then=decide(frame.score, frame.band),
                    score_then=frame.score,
                    framing=_framing_of(frame, roi),
                )


def _then(frame: FrameRecord) -> Roi:
    """Give what was judged of a frame then; all of it where its event is too old to say."""
    return frame.roi or WHOLE_FRAME


def _framing_of(frame: FrameRecord, roi: Roi) -> Framing:
    if "roi" not in frame.model_fields_set:
        return Framing.NOT_SAID
    return _framing(roi) if roi == _then(frame) else Framing.OTHERWISE


def _framing(roi: Roi) -> Framing:
    return Framing.WHOLE if roi == WHOLE_FRAME else Framing.CUT


def _picture(path: Path, name: str) -> Picture:
    """Look at a file; one that is gone has size 0, and whoever opens it says so."""
    name = os.fsencode(name).decode("utf-8", "backslashreplace")
    try:
        stat = path.stat()
    except OSError:
        return Picture(name, str(path), 0, 0)
    return Picture(name, str(path), stat.st_size, stat.st_mtime_ns)


def _rois(config: StationConfig, name: str) -> Rois:
    """Give what the recipes that name a bundle cut out of their camera's frames."""
    names: dict[str, list[str]] = {}
    rois: Rois = {}
    for product, cameras in config.recipes.items():
        for camera, recipe in cameras.items():
            used = read_card(recipe.bundle).name
            names.setdefault(used, []).append(f"{product}/{camera}")
            if used == name:
                rois[product, camera] = recipe.roi
    if not rois:
        found = "; ".join(f"'{used}' for {', '.join(places)}" for used, places in names.items())
        raise ConfigError(
            f"recipes: none has a bundle named '{name}'; found {found}; name a bundle of these, or "
            "replay the station's data_dir, whose frames are cut as their events say"
        )
    return rois
