"""Keeps the frames and overlays of judged parts within a byte budget, off the loop's path.

Files lie in `pictures/VERDICT/` and are named by the event's sequence, so the folder itself says
what is kept. What the budget, a full disk or a slow one takes is counted.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread

from inspection.core.decision import Verdict
from inspection.core.folders import write_whole
from inspection.core.records import Event

logger = logging.getLogger(__name__)

FOLDER = "pictures"
LEAST_INTERESTING_FIRST = (Verdict.PASS, Verdict.FAULT, Verdict.REJECT, Verdict.REVIEW)
"""In which order pictures go: a person is still to look at REVIEW; nobody asks for a PASS."""
WAITING = 16  # events whose pictures may wait to be written, with their pixels


@dataclass(frozen=True)
class Picture:
    """One picture of an event: its file name, and what makes its bytes."""

    name: str
    encode: Callable[[], bytes]


@dataclass(frozen=True)
class _Job:
    event: Event
    pictures: tuple[Picture, ...]


class Pictures:
    """Writes pictures in a thread of its own; `hand_in` never waits.

    Args:
        data_dir: the station's folder.
        budget_bytes: most bytes of all pictures together with `record_bytes`.
        count: told the counter's name for every picture that was dropped.
    """

    def __init__(self, data_dir: Path, budget_bytes: int, count: Callable[[str], None]) -> None:
        self._folder = data_dir / FOLDER
        self._budget_bytes = budget_bytes
        self._count = count
        self.record_bytes = 0
        """Bytes of the event database as `leave_room` was told, which come before pictures."""
        self._kept = {verdict: self._present(verdict) for verdict in LEAST_INTERESTING_FIRST}
        self._bytes = sum(size for kept in self._kept.values() for _, size in kept)
        self._jobs: deque[_Job] = deque()
        self._unsettled: Counter[int] = Counter()  # sequences handed in and not written yet
        self._changed = Condition()
        self._due = True  # the budget may be lower than when these pictures were kept
        self._ending = False
        self._thread = Thread(target=self._run, name="pictures", daemon=True)
        self._thread.start()

    @property
    def kept_bytes(self) -> int:
        """Bytes of all pictures."""
        return self._bytes

    @property
    def spent(self) -> bool:
        """Whether no picture is left that could be dropped."""
        return not any(self._kept.values())

    def leave_room(self, record_bytes: int) -> None:
        """Take how large the record is; the thread drops what has no room beside it."""
        with self._changed:
            self.record_bytes = record_bytes
            self._due = True
            self._changed.notify_all()

    def hand_in(self, event: Event, pictures: tuple[Picture, ...], counted: str = "") -> None:
        """Take the pictures of an event, or drop them when the disk is too slow.

        Args:
            event: what they show.
            pictures: to be written.
            counted: the counter's name, where they are to be counted as such.
        """
        if counted:
            self._count(counted)
        with self._changed:
            if len(self._jobs) < WAITING:
                self._jobs.append(_Job(event, pictures))
                self._unsettled[event.sequence] += 1
                self._changed.notify_all()
                return
        for _ in pictures:
            self._drop(event.verdict)

    def of(self, event: Event) -> list[Path] | None:
        """Give the pictures kept of an event; none while they are being written."""
        with self._changed:
            if event.sequence in self._unsettled:
                return None
        folder = self._folder / event.verdict
        return [path for name in names_of(event) if (path := folder / name).is_file()]

    def close(self) -> None:
        """Write what was handed in, then end."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._due or self._ending)
                jobs = list(self._jobs)[:1]
                if not jobs and not self._due:
                    return
                self._due = False
            try:
                for job in jobs:
                    for picture in job.pictures:
                        self._keep(job.event.verdict, picture)
                self._shrink()
            except Exception:  # a picture never ends the station, nor this thread
                logger.exception("pictures in trouble")
            finally:
                self._settle(jobs)

    def _settle(self, jobs: list[_Job]) -> None:
        with self._changed:
            for job in jobs:
                self._jobs.popleft()
                del self._unsettled[job.event.sequence]

    def _room(self) -> int:
        return self._budget_bytes - self.record_bytes

    def _keep(self, verdict: Verdict, picture: Picture) -> None:
        if self._room() <= 0:  # it would only go again, and hold up that events may be forgotten
            self._drop(verdict)
            return
        path = self._folder / verdict / picture.name
        try:
            content = picture.encode()
            write_whole(path, content)
        except Exception as error:  # noqa: BLE001 - a verdict is worth more than its picture
            self._drop(verdict)
            logger.warning("picture lost", extra={"picture": str(path), "reason": str(error)})
            return
        self._kept[verdict].append((picture.name, len(content)))
        self._bytes += len(content)

    def _shrink(self) -> None:
        """Delete the least interesting pictures until the budget holds, the oldest first.

        One that cannot be deleted is given up until the next start; its bytes go on counting.
        """
        for verdict in LEAST_INTERESTING_FIRST:
            kept = self._kept[verdict]
            while kept and self._bytes > self._room():
                name, size = kept.popleft()
                (self._folder / verdict / name).unlink(missing_ok=True)
                self._bytes -= size
                self._drop(verdict)

    def _drop(self, verdict: Verdict) -> None:
        self._count(f"pictures of {verdict}")

    def _present(self, verdict: Verdict) -> deque[tuple[str, int]]:
        """List what is kept, oldest first; sweep up what a killed process left half-written."""
        folder = self._folder / verdict
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith("."):
                path.unlink(missing_ok=True)
            else:
                found.append((path.name, path.stat().st_size))
        return deque(found)


def names_of(event: Event) -> list[str]:
    """Give the file names of all pictures of an event."""
    return [name for frame in event.frames for name in (frame.image, frame.overlay) if name]
