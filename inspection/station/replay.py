"""Judges the kept frames of recorded parts again, to see what other thresholds or bundles say.

Frames whose maps are averaged are judged again together, and only where all of them are kept.
Only what a frame's pixels decided is judged again. A FAULT of the line or of the machine, such as a
frozen camera or no score in time, would be another verdict now though nothing else had changed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.core.decision import Band, Verdict
from inspection.core.errors import InspectionError
from inspection.core.imaging import load_image
from inspection.core.records import Event, FrameRecord
from inspection.station.frames.bands import card_band, judges_alone
from inspection.station.frames.fuse import fuse
from inspection.station.look import FROZEN, Look, fault, look_at
from inspection.station.part import Fault, Frame, Part
from inspection.station.pictures import FOLDER
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.recipes.opening import open_recipes
from inspection.station.recipes.recipes import Recipes
from inspection.station.settings import GuardSettings, StationConfig
from inspection.station.spool import DeskReader

AT_ONCE = 100  # events read from the record at a time
GUARDED = "the good parts"  # said by every complaint of a guard, which holds a frame against them


@dataclass(frozen=True)
class Replayed:
    """One kept frame as it was judged then and is judged now."""

    sequence: int
    part_id: str
    camera: str
    then: Verdict
    score_then: float | None
    now: Verdict
    score_now: float | None
    reason: str
    """Why it is REVIEW or FAULT now, beyond its score."""


@dataclass(frozen=True)
class Replay:
    """All frames of the record; those judged again in its order."""

    frames: tuple[Replayed, ...]
    not_kept: int
    """Frames whose picture was not kept, or was dropped since."""
    not_by_pixels: int
    """Frames that were FAULT for another cause, like a frozen camera or no score in time."""

    @property
    def changed(self) -> tuple[Replayed, ...]:
        """Those whose verdict is another one now."""
        return tuple(frame for frame in self.frames if frame.then is not frame.now)


def replay(
    config: StationConfig, *, bundle: Path | None, band: Band | None, after: int = 0
) -> Replay:
    """Judge every kept frame of a station's record again, up to its last event now.

    The station may be running. Nothing is written.

    Args:
        config: the station's configuration.
        bundle: judges instead of the bundles in force, also when its gate refused it.
        band: thresholds instead of those in force.
        after: sequence of the last event to leave out.

    Raises:
        StationError: there is no record yet, or it cannot be read.
        BundleError: a bundle cannot be opened.
    """
    opened = None if bundle is None else open_bundle(bundle, allow_refused=True)
    judges = _WhatIf(open_recipes(config, at_desk=True), config, opened, band)
    frames, not_kept, not_by_pixels = [], 0, 0
    for event in events_after(config.data_dir, after):
        asked = [frame for frame in event.frames if _by_pixels(frame)]
        not_by_pixels += len(event.frames) - len(asked)
        kept = [frame for frame in asked if _picture(config, event, frame).is_file()]
        if event.fusion is not None and len(kept) < len(asked) and not judges_alone(config):
            kept = []
        not_kept += len(asked) - len(kept)
        looks = tuple(
            _look_again(_picture(config, event, frame), event, frame, judges, config.guards)
            for frame in kept
        )
        if event.fusion is not None and config.frames is not None and kept:
            looks, _ = fuse(config.frames, _part_of(event, kept), looks)
        frames += [_replayed(event, *one) for one in zip(kept, looks, strict=True)]
    return Replay(tuple(frames), not_kept, not_by_pixels)


def _picture(config: StationConfig, event: Event, frame: FrameRecord) -> Path:
    return config.data_dir / FOLDER / event.verdict / (frame.image or "")


def _part_of(event: Event, frames: list[FrameRecord]) -> Part:
    """Say which frames are fused again; their pixels are in what was found of them."""
    return Part(
        event_id=event.event_id,
        part_id=event.part_id,
        product=event.product,
        frames=tuple(
            Frame(frame.camera, frame.source, Fault("looked at already"), number=frame.frame)
            for frame in frames
        ),
        captured_at=event.captured_at,
        arrived_s=None,
    )


def events_after(data_dir: Path, after: int = 0) -> Iterator[Event]:
    """Give the events behind a place in a station's record, up to the last one now.

    The station may be running. Nothing is written.

    Raises:
        StationError: there is no record yet, or it cannot be read.
    """
    with DeskReader(data_dir) as record:
        last = record.last_sequence()
    while after < last:
        with DeskReader(data_dir) as record:
            events = record.after(after, AT_ONCE)
        yield from (event for event in events if event.sequence <= last)
        after = events[-1].sequence if events else last


def _by_pixels(frame: FrameRecord) -> bool:
    """Say whether the pixels decided: a score did, a guard, or a map that was no number."""
    if frame.verdict is not Verdict.FAULT or frame.band is not None:
        return True
    return GUARDED in frame.reason and FROZEN not in frame.reason


@dataclass(frozen=True)
class _WhatIf:
    """The judges in force, but with another bundle, another band or both."""

    recipes: Recipes
    config: StationConfig
    bundle: Bundle | None
    band: Band | None

    def of(self, product: str) -> Mapping[str, BundleJudge]:
        judges = self.recipes.of(product)
        return {camera: self._changed(judge, product) for camera, judge in judges.items()}

    def _changed(self, judge: BundleJudge, product: str) -> BundleJudge:
        own = judge.band
        if self.bundle is not None:
            own = card_band(self.bundle.card, self.config, product)
        return replace(judge, bundle=self.bundle or judge.bundle, band=self.band or own)


def _look_again(
    path: Path, event: Event, frame: FrameRecord, judges: _WhatIf, guards: GuardSettings
) -> Look:
    try:
        judge = judges.of(event.product).get(frame.camera)
        pixels = load_image(path)
    except (InspectionError, OSError) as error:
        return fault(str(error))
    if judge is None:
        return fault(f"camera '{frame.camera}' has no recipe any more")
    return look_at(pixels, judge, guards, lambda: FROZEN in frame.reason)


def _replayed(event: Event, frame: FrameRecord, look: Look) -> Replayed:
    return Replayed(
        sequence=event.sequence,
        part_id=event.part_id,
        camera=frame.view,
        then=frame.verdict,
        score_then=frame.score,
        now=look.verdict,
        score_now=look.score,
        reason=look.reason,
    )
