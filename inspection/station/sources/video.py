"""Brings each frame of a video file as a part; of several files, the frames of one number."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import count
from threading import Event as Flag

from inspection.core.errors import ImageError
from inspection.core.imaging import Rgb
from inspection.core.records import hash_file
from inspection.station.frames.settings import FramesSettings
from inspection.station.part import Fault, Frame, Intake, Part, Share, identify
from inspection.station.sources.opencv import Video
from inspection.station.sources.scan import file_time
from inspection.station.sources.settings import CamerasSettings, IntervalTrigger
from inspection.station.sources.trigger import count_frames

logger = logging.getLogger(__name__)

OFFER_S = 0.2  # how late a stop is heard


def play(
    settings: CamerasSettings,
    intake: Intake,
    stop: Flag,
    frames: FramesSettings | None = None,
    record: str = "",
) -> None:
    """Hand in every frame, in order, until the longest video ends or `stop` is set.

    A frame keeps its identity (path and content of the file, number) when the video is played
    again, so that frames with an event are not judged again; another recording at the same path is.
    The files are read once before the first frame. A video waits: no frame is late.

    Raises:
        StationError: a video cannot be read.
    """
    every_ms = settings.trigger.every_ms if isinstance(settings.trigger, IntervalTrigger) else 0
    with ExitStack() as opened:
        videos = {
            name: opened.enter_context(closing(Video(camera)))
            for name, camera in settings.cameras.items()
        }
        for part in _parts(videos, settings.product, frames, record):
            while not stop.is_set() and not intake.offer(part, OFFER_S):
                pass
            if stop.wait(every_ms / 1000):
                return


def _parts(
    videos: Mapping[str, Video], product: str, frames: FramesSettings | None, record: str
) -> Iterator[Part]:
    paths = [video.path for video in videos.values()]
    origin = "\n".join(f"{path}\n{hash_file(path)}" for path in paths)
    captured_at = file_time(min(path.stat().st_mtime_ns for path in paths))
    stem = paths[0].stem
    for number in count():
        pixels = {name: _read(video) for name, video in videos.items()}
        if all(frame is None for frame in pixels.values()):
            _tell_end(videos, number)
            return
        place, frame_number = count_frames(number, frames)
        yield Part(
            event_id=identify(record, origin, str(number)),
            part_id=f"{stem}-{place:06d}",
            product=product,
            frames=tuple(
                Frame(name, str(videos[name].path), _ended(name) if frame is None else frame)
                for name, frame in pixels.items()
            ),
            captured_at=captured_at,
            arrived_s=None,
            share=None if frame_number is None else Share(frame_number),
        )


def _read(video: Video) -> Rgb | Fault | None:
    try:
        return video.read()
    except ImageError as error:
        return Fault(str(error))


def _ended(camera: str) -> Fault:
    return Fault(
        f"the video of camera '{camera}' has ended and another goes on; wanted videos of the same "
        "length; record them together"
    )


def _tell_end(videos: Mapping[str, Video], frames: int) -> None:
    """Say how a video ended: one with fewer frames than its header promises may be damaged."""
    for video in videos.values():
        level = logging.WARNING if frames < video.frame_count else logging.INFO
        fields = {"video": str(video.path), "frames": frames, "promised": video.frame_count}
        logger.log(level, "video ended", extra=fields)
