"""Scores whole good parts of several frames, for a threshold on exactly what a station decides by.

The threshold of single frames, taken for N of them, holds for parts however they are fused. It
gives power away where frames have much in common or are averaged; scores of whole parts do not.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event as Flag

from inspection.core.decision import Verdict
from inspection.core.errors import ConfigError
from inspection.station.clock import SYSTEM_CLOCK
from inspection.station.frames.fuse import fuse
from inspection.station.frames.intake import bring, make_intake
from inspection.station.frames.settings import FramesSettings
from inspection.station.look import Look, fault, look_at
from inspection.station.part import Fault, Part, Stamp
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.recipes.opening import open_recipes
from inspection.station.settings import StationConfig
from inspection.station.sources.folder import FolderSource
from inspection.station.sources.settings import FolderSettings
from inspection.station.tasks import running

TAKE_S = 0.05
Judges = Mapping[str, BundleJudge]


@dataclass(frozen=True)
class PartScores:
    """What the good parts of a folder score."""

    judges: Judges
    """By camera: what judged them."""
    scores: dict[str, list[float]]
    """By camera, one raw score for each part: the largest of its frames, as fused."""
    left_out: dict[str, str]
    """Parts that were not scored, and why."""


class _NothingRecorded:
    """Stands in for a station's record: every file counts."""

    def stamp_of(self, _source: str) -> Stamp | None:
        """Know no file."""
        return None

    def sources(self) -> set[str]:
        """Know none."""
        return set()

    def close(self) -> None:
        """Hold nothing."""


def score_parts(
    config: StationConfig, folder: Path, product: str, name_pattern: str | None = None
) -> PartScores:
    """Score the parts of a folder as a station would; nothing is recorded.

    Args:
        config: of the station; its `frames`, `guards` and the bundles of its recipes count.
        folder: frames of good parts the bundles were not fitted on.
        product: whose recipe judges.
        name_pattern: as `source.name_pattern`; none takes that.

    Raises:
        ConfigError: parts have one frame, or nobody says how files are named.
        FrameRejected: no recipe has this product.
        StationError: no such folder.
        BundleError: a bundle cannot be opened.
    """
    if config.frames is None:
        raise ConfigError(
            "the station's parts have one frame; wanted `frames` in its configuration; its "
            "bundle's own thresholds hold already, or use inspection thresholds set"
        )
    judges = open_recipes(config, at_desk=True).of(product)
    found = PartScores(judges, {camera: [] for camera in judges}, {})
    for part in _parts(config, config.frames, _source(config, folder, name_pattern), judges):
        looks, fusion = fuse(config.frames, part, _looks(config, judges, part))
        failed = [look.reason for look in looks if look.verdict is Verdict.FAULT]
        if failed or fusion.lacking:
            found.left_out[part.part_id] = fusion.lacking or failed[0]
            continue
        for camera in judges:
            seen = zip(part.frames, looks, strict=True)
            own = [look.score for frame, look in seen if frame.camera == camera]
            found.scores[camera].append(max(score for score in own if score is not None))
    return found


def _source(config: StationConfig, folder: Path, name_pattern: str | None) -> FolderSettings:
    known = config.source if isinstance(config.source, FolderSettings) else None
    if known is None and name_pattern is None:
        raise ConfigError(
            f"the source is '{config.source.kind}', which says nothing of file names; wanted "
            r"--name-pattern, like '(?P<part>.+)_(?P<frame>\d+)'"
        )
    pattern = name_pattern or (known.name_pattern if known else "")
    values = {"path": folder, "name_pattern": pattern, "settle_ms": 0, "poll_ms": 1, "once": True}
    source = FolderSettings.model_validate(values)
    if "frame" not in source.groups:
        raise ConfigError(
            f"name pattern '{pattern}' has no group `frame`; wanted (?P<frame>...) with the number"
        )
    return source


def _parts(
    config: StationConfig, frames: FramesSettings, settings: FolderSettings, judges: Judges
) -> Iterator[Part]:
    intake = make_intake(config.queue_parts, frames, SYSTEM_CLOCK)
    source = FolderSource(settings, lambda _: tuple(judges), _NothingRecorded, SYSTEM_CLOCK)
    stop = Flag()
    with running("source", partial(bring, source, intake), stop) as bringing:
        while True:
            over = bringing.over()
            part = intake.take(TAKE_S)
            if part is not None:
                yield part
            elif over:
                return


def _looks(config: StationConfig, judges: Judges, part: Part) -> tuple[Look, ...]:
    looks = []
    for frame in part.frames:
        judge = judges.get(frame.camera)
        if isinstance(frame.pixels, Fault) or judge is None:
            reason = frame.pixels.reason if isinstance(frame.pixels, Fault) else "no recipe"
            looks.append(fault(reason))
        else:
            plain = replace(judge, recognition=None, acceptance=None)  # of scores only
            looks.append(look_at(frame.pixels, plain, config.guards, measured=False))
    return tuple(looks)
