"""Decodes pictures in threads that can be left behind: FAULT comes at the deadline in any case.

A decoder cannot be interrupted. When a part's deadline passes, its frame becomes a fault, and the
thread goes on alone. As many threads as may be left behind stand ready beside those that decode. If
all of them are, pictures become faults at once; if none ever comes back, the station ends, and the
one its supervisor starts goes on behind the parts that have their event.
"""

from concurrent.futures import CancelledError, Future
from functools import partial
from threading import Lock

from inspection.core.errors import ImageError, StationError
from inspection.core.imaging import Rgb, decode_image
from inspection.station.clock import Clock
from inspection.station.pool import Pool

AT_ONCE = 2  # pictures decoded for parts whose deadline runs
MAX_LEFT = 4  # threads left behind with a picture, each with the memory that takes
LOST_S = 10.0  # beyond its deadline after which a decoder is taken for one that never comes back


class Decoders:
    """The threads that decode a station's pictures; `decode` is for at most `AT_ONCE` threads.

    Args:
        deadline_s: from a part's arrival to its verdict, s; none waits for every picture.
        clock: monotonic clock for durations.
    """

    def __init__(self, deadline_s: float | None, clock: Clock) -> None:
        self._deadline_s, self._clock = deadline_s, clock
        self._pool: Pool[Rgb] = Pool(AT_ONCE + MAX_LEFT, "decode")
        self._left: dict[Future[Rgb], float] = {}  # → monotonic s when it was left behind
        self._lock = Lock()

    def decode(self, encoded: bytes, name: str, arrived_s: float | None) -> Rgb:
        """Decode an image file's bytes as `decode_image` does, but no longer than the part has.

        Args:
            encoded: the file.
            name: stands in errors.
            arrived_s: when the part arrived, monotonic s; none counts from now.

        Returns:
            uint8 H×W×3 RGB.

        Raises:
            ImageError: as `decode_image` does, or there is no picture within the deadline.
        """
        left_s = self._left_s(arrived_s)
        if left_s is not None and left_s <= 0:
            raise ImageError(f"{name}: waited beyond the deadline before it could be decoded")
        if reason := self.state:
            raise ImageError(f"{name}: not decoded: {reason}")
        future = self._pool.submit(partial(decode_image, encoded, name))
        try:
            return future.result(left_s)
        except CancelledError as error:
            raise ImageError(f"{name}: not decoded: the station is stopping") from error
        except TimeoutError as error:
            self._leave(future)
            raise ImageError(
                f"{name}: not decoded within the deadline; lighten the machine's load, send "
                "smaller pictures or raise deadline_ms"
            ) from error

    def _left_s(self, arrived_s: float | None) -> float | None:
        if self._deadline_s is None or arrived_s is None:
            return self._deadline_s
        return arrived_s + self._deadline_s - self._clock.monotonic()

    def _leave(self, future: Future[Rgb]) -> None:
        """Leave a picture to its thread, unless none has begun with it."""
        if not future.cancel():
            with self._lock:
                self._left[future] = self._clock.monotonic()

    def _left_behind(self) -> list[float]:
        """Give when each thread was left behind that still is."""
        with self._lock:
            self._left = {one: since_s for one, since_s in self._left.items() if not one.done()}
            return list(self._left.values())

    @property
    def state(self) -> str:
        """Empty while pictures can be decoded, else what is wrong, for people."""
        left = len(self._left_behind())
        if left < MAX_LEFT:
            return ""
        return (
            f"{left} pictures are still being decoded beyond their deadline; look at what the "
            "camera sends, or raise deadline_ms"
        )

    def require(self) -> None:
        """Check that a decoder may come back.

        Raises:
            StationError: none of those left behind did for long; only a new process has others.
        """
        left = self._left_behind()
        if len(left) >= MAX_LEFT and self._clock.monotonic() - max(left) > LOST_S:
            raise StationError(
                f"{len(left)} decoders have not come back from their pictures; look at what the "
                "camera sends, then start the station again"
            )

    def close(self) -> None:
        """Let the threads end; those left behind end with the process."""
        self._pool.close()
