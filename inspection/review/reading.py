"""Finds the pictures to refine: picture files, and the kept frames of a station's events.

Events are read as stations print them, one JSON line each; no station is needed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from inspection.core.decision import Band
from inspection.core.errors import ConfigError, InspectionError
from inspection.core.records import Event, FrameRecord, parse_record

EVENT_FILES = frozenset({".json", ".jsonl"})
PICTURES = "pictures"  # as a station names the folder in its data_dir


@dataclass(frozen=True)
class Recorded:
    """What a station's event says of a frame."""

    event_id: str
    score: float
    band: Band
    """In force when it was judged."""


@dataclass(frozen=True)
class Source:
    """One picture to refine."""

    path: Path
    recorded: Recorded | None = None
    """None for a picture that stands in no event."""


@dataclass(frozen=True)
class Sources:
    """The pictures to refine, each once, and what was left out of the events."""

    pictures: tuple[Source, ...]
    problems: tuple[str, ...] = ()
    """Lines of event files that are no event."""
    not_kept: int = 0
    """Frames whose picture was not kept, or was dropped since."""
    other_frames: int = 0
    """Frames without a score of this bundle: another one's, or FAULT."""


def find_pictures(paths: Sequence[Path], bundle_id: str, pictures: Path | None = None) -> Sources:
    """Find what is to be refined.

    Args:
        paths: picture files, and files of events (.json, .jsonl) with one event in each line.
        bundle_id: which bundle will judge; frames of events it did not score are left out.
        pictures: folder with the frames of the events, as a station keeps them; else `pictures`
            beside each file of events.

    Raises:
        ConfigError: the folder of the frames or a file of events is not there, or the file holds
            no event.
    """
    found = {_place(path): Source(path) for path in paths if not _holds_events(path)}
    problems: list[str] = []
    events: dict[str, tuple[Event, Path]] = {}
    for path in filter(_holds_events, paths):
        folder = _frames_of(path, pictures)
        for event in _read_events(path, problems):
            events[event.event_id] = event, folder  # a killed station may print one twice
    frames = [
        (folder / event.verdict / (frame.image or ""), _recorded(event, frame, bundle_id))
        for event, folder in events.values()
        for frame in event.frames
    ]
    ours = [(path, recorded) for path, recorded in frames if recorded]
    kept = [(path, recorded) for path, recorded in ours if path.is_file()]
    found |= {_place(path): Source(path, recorded) for path, recorded in kept}
    return Sources(
        tuple(found.values()),
        tuple(problems),
        not_kept=len(ours) - len(kept),
        other_frames=len(frames) - len(ours),
    )


def _place(path: Path) -> str:
    """Give the one name of a file that may be named in several ways."""
    return os.path.abspath(path)  # noqa: PTH100 - without '..'


def _holds_events(path: Path) -> bool:
    return path.suffix.lower() in EVENT_FILES


def _frames_of(path: Path, pictures: Path | None) -> Path:
    """Give the folder with the frames of a file of events.

    Raises:
        ConfigError: it is not there.
    """
    folder = pictures or path.parent / PICTURES
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder; wanted the frames that the station kept of the events in "
            f"{path}; name the {PICTURES} folder of its data_dir by --pictures"
        )
    return folder


def _read_events(path: Path, problems: list[str]) -> list[Event]:
    """Read a file of events; lines that are none are added to the problems.

    Raises:
        ConfigError: it cannot be read, or no line is an event.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # JSON's text may hold other ends
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); name a file of events, one JSON line each"
        ) from error
    events, complaints = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(parse_record(line, Event, f"{path}:{number}"))
        except InspectionError as error:
            complaints.append(_complaint(error, f"{path}:{number}"))
    if not events:
        found = complaints[0] if complaints else f"{path}: is empty"
        raise ConfigError(
            f"{found}; wanted events, one JSON line each, and no line of {path} is one; "
            "write it by inspection station events"
        )
    problems += complaints
    return events


def _complaint(error: InspectionError, place: str) -> str:
    """Say in one line why a line is no event."""
    if not isinstance(error.__cause__, ValidationError):
        return str(error)
    first, *more = error.__cause__.errors(include_url=False)
    where = ".".join(map(str, first["loc"])) or "whole line"
    return f"{place}: not an event: {where}: {first['msg']}" + f", and {len(more)} more" * bool(
        more
    )


def _recorded(event: Event, frame: FrameRecord, bundle_id: str) -> Recorded | None:
    if frame.bundle_id != bundle_id or frame.score is None or frame.band is None:
        return None
    return Recorded(event.event_id, frame.score, frame.band)
