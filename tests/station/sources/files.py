"""Writes pictures and videos as cameras do, and runs a source into a real intake, for tests."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread

import cv2
import numpy as np
from PIL import Image

from inspection.station.part import Fault, Intake, Part, Stamp
from inspection.station.sources.source import Source

PATIENCE_S = 20


def encoded(red: int, hw: tuple[int, int] = (12, 20), kind: str = "PNG") -> bytes:
    """Encode a uniform non-square picture of one grey value."""
    stream = io.BytesIO()
    Image.fromarray(np.full((*hw, 3), red, np.uint8)).save(stream, kind, quality=95)
    return stream.getvalue()


def put(folder: Path, name: str, content: bytes) -> Path:
    """Put a file into the folder as an atomic rename does."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    return partial.replace(path)


def write_video(path: Path, greys: list[int], hw: tuple[int, int] = (48, 64)) -> Path:
    """Write a Motion JPEG video of uniform frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, hw[::-1])
    for grey in greys:
        writer.write(np.full((*hw, 3), grey, np.uint8))
    writer.release()
    return path


class RecordedNothing:
    """A record in which stamps can be noted, and that knows whether it was closed."""

    def __init__(self) -> None:
        self.stamps: dict[str, Stamp] = {}
        self.closed = 0

    def stamp_of(self, source: str) -> Stamp | None:
        """Give the noted stamp."""
        return self.stamps.get(source)

    def sources(self) -> set[str]:
        """Give the sources of all noted stamps."""
        return set(self.stamps)

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def note(self, part: Part) -> None:
        """Note a part's stamps as its event's transaction does."""
        self.stamps.update(part.stamps)


def drained(intake: Intake) -> list[Part]:
    """Take all parts that are there."""
    return list(iter(lambda: intake.take(0), None))


def reason(part: Part, frame: int = 0) -> str:
    """Give why a frame of the part is a Fault."""
    fault = part.frames[frame].pixels
    assert isinstance(fault, Fault)
    return fault.reason


def red(part: Part, frame: int = 0) -> int:
    """Give the red value of a frame's first pixel."""
    pixels = part.frames[frame].pixels
    assert not isinstance(pixels, Fault), pixels.reason
    return int(pixels[0, 0, 0])


def eventually(check: Callable[[], object]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


@contextmanager
def running(source: Source, intake: Intake) -> Iterator[list[Exception]]:
    """Run a source in its thread; give what it raised, once it ended."""
    raised: list[Exception] = []
    stop = Flag()

    def run() -> None:
        try:
            source.run(intake, stop)
        except Exception as error:  # noqa: BLE001 - handed to the test
            raised.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield raised
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def next_part(intake: Intake) -> Part:
    """Wait for the next part."""
    part = intake.take(PATIENCE_S)
    assert part is not None
    return part
