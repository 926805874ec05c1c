"""Gathers the files that show one part: reads their names, waits for the missing ones; no I/O."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from inspection.station.part import Share
from inspection.station.sources.scan import Found
from inspection.station.sources.settings import CAMERA, FolderSettings

PRODUCT = "default"


class PartName(NamedTuple):
    """What the pictures of one part share."""

    folder: str
    product: str
    part_id: str
    stranger: str = ""
    """The file itself if its name does not fit the pattern: it is a part of its own."""
    number: int | None = None
    """Of the frame, where a part has several; the others are another frame's pictures."""
    last: bool = False
    """The frame is marked as the part's last."""

    @property
    def share(self) -> Share | None:
        """What is known of it as a frame; none where it is a part."""
        return None if self.number is None else Share(self.number, self.last, self.folder)


@dataclass
class Gathered:
    """The pictures of one part that are there, by camera, and the cameras still missing."""

    name: PartName
    pictures: dict[str, Found]
    missing: tuple[str, ...] = ()
    superseded: bool = False
    """A newer picture of one of its cameras has come, so the missing ones will not."""

    @property
    def arrived_s(self) -> float | None:
        """When its first picture was seen; none if one of them lay there before the start."""
        seen = [found.arrived_s for found in self.pictures.values()]
        return None if None in seen else min(s for s in seen if s is not None)


class Gatherer:
    """Makes parts of files by their names.

    Pictures of one part (same sub-folder, product and part id) wait for each other. A second
    picture of the same camera begins the part anew: the older pictures go on without the missing
    ones, so that pictures of two rounds are never judged as one.

    Args:
        settings: how to read file names and how long to wait.
        cameras_of: the cameras that must see each part of a product; none for an unknown product.
    """

    def __init__(
        self, settings: FolderSettings, cameras_of: Callable[[str], tuple[str, ...]]
    ) -> None:
        self._pattern = re.compile(settings.name_pattern)
        self._together_s = settings.together_ms / 1000
        self._cameras_of = cameras_of
        self._waits_since: dict[PartName, float] = {}

    def due(self, ready: Sequence[Found], unsettled: Sequence[str], now_s: float) -> list[Gathered]:
        """Give the parts that are complete or have waited long enough.

        Parts whose deadline runs come before those that lay there at the start.

        Args:
            ready: all files that are whole and not handed in, oldest first.
            unsettled: sources that were seen but may still grow; their parts wait for them.
            now_s: monotonic seconds.
        """
        settling = {self._named(source)[0] for source in unsettled}
        due, waits_since = [], {}
        for gathered in self._gather(ready):
            since_s = self._waits_since.get(gathered.name, now_s)
            waited = now_s - since_s >= self._together_s and gathered.name not in settling
            if gathered.superseded or not gathered.missing or waited:
                due.append(gathered)
            else:
                waits_since[gathered.name] = since_s
        self._waits_since = waits_since
        return sorted(due, key=lambda gathered: gathered.arrived_s is None)

    def _gather(self, ready: Sequence[Found]) -> list[Gathered]:
        parts: list[Gathered] = []
        newest: dict[PartName, Gathered] = {}
        for found in ready:
            name, camera = self._named(found.source)
            gathered = newest.get(name)
            if gathered is None or camera in gathered.pictures:
                if gathered is not None:
                    gathered.superseded = True
                gathered = newest[name] = Gathered(name, {})
                parts.append(gathered)
            gathered.pictures[camera] = found
        for gathered in parts:
            self._order(gathered)
        return parts

    def _order(self, gathered: Gathered) -> None:
        """Bring the pictures into the order of the recipe's cameras and name the missing ones."""
        wanted = () if gathered.name.stranger else self._cameras_of(gathered.name.product)
        pictures = gathered.pictures
        others = sorted(pictures.keys() - set(wanted))
        gathered.missing = tuple(camera for camera in wanted if camera not in pictures)
        gathered.pictures = {
            camera: pictures[camera] for camera in (*wanted, *others) if camera in pictures
        }

    def _named(self, source: str) -> tuple[PartName, str]:
        """Read part and camera from a file's name."""
        path = PurePosixPath(source)
        match = self._pattern.fullmatch(path.stem)
        groups = match.groupdict() if match else {}
        part_id = groups.get("part")
        frame = groups.get("frame")
        unnumbered = "frame" in groups and not (frame and frame.isascii() and frame.isdecimal())
        if not part_id or unnumbered:
            return PartName(str(path.parent), PRODUCT, path.stem, source), CAMERA
        product, number = groups.get("product") or PRODUCT, int(frame) if frame else None
        name = PartName(
            str(path.parent), product, part_id, number=number, last=bool(groups.get("last"))
        )
        return name, groups.get("camera") or CAMERA
