"""Puts the frames of one part together, whatever source they come from; no I/O.

No frame is lost and none is judged with another part's: a number that comes twice with other bytes
begins the part anew, and what comes after its part was handed on is told apart. A part that is not
whole says so, and is then never PASS.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inspection.core.records import Event
from inspection.station.frames.settings import FramesSettings
from inspection.station.part import Fault, Part

logger = logging.getLogger(__name__)

HANDED_ON = 1_000  # parts whose late frames are known as such
Key = tuple[str, str, str]
LATE = "frame {number} came after the verdict on its part; wanted it within frames.wait_ms"


@dataclass
class _Open:
    """A part some frames of which are there, by number."""

    since_s: float
    shots: dict[int, Part] = field(default_factory=dict)
    twins: list[Part] = field(default_factory=list)
    last: int | None = None
    """Number of the frame that said it is the last."""


@dataclass(frozen=True)
class _HandedOn:
    event_id: str
    shots: dict[int, str]
    whole: bool
    at_s: float | None


class Grouping:
    """The parts that wait for frames; for one thread at a time."""

    def __init__(self, settings: FramesSettings) -> None:
        self._settings = settings
        self._open: OrderedDict[Key, _Open] = OrderedDict()
        self._handed_on: OrderedDict[Key, _HandedOn] = OrderedDict()

    def holds(self, event_id: str) -> bool:
        """Say whether a frame, by the id it was handed in with, waits for others."""
        return any(
            shot.event_id == event_id
            for group in self._open.values()
            for shot in group.shots.values()
        )

    def add(self, shot: Part, now_s: float) -> list[Part]:
        """Take one frame of every camera, and give what can be judged by it.

        Args:
            shot: what a source hands in; without a `share` it is a whole part.
            now_s: monotonic seconds.

        Returns:
            Whole parts, parts given up for this one, and frames of a part handed on before, under
            that part's event_id.
        """
        if shot.share is None:
            return [shot]
        key = (shot.share.of, shot.product, shot.part_id)
        if key not in self._open and (again := self._again(key, shot, now_s)) is not None:
            return [again]
        due = self._give_way(key, shot.arrived_s)
        number = self._number(key, shot)
        group = self._open.get(key)
        if group is not None and number in group.shots:
            if group.shots[number].event_id == shot.event_id:
                group.twins.append(replace(shot, frames=()))  # nobody looks at it again
                return due
            why = f"frame {number} came again with another picture, which begins the part anew"
            due.append(self._close(key, now_s, why))
        return [*due, *self._take(key, shot, number, now_s)]

    def _take(self, key: Key, shot: Part, number: int, now_s: float) -> list[Part]:
        """Put a frame in its place; give its part where that is whole, and what has no room."""
        due = []
        group = self._open.setdefault(key, _Open(now_s))
        group.shots[number] = self._in_range(shot, number)
        if shot.share is not None and shot.share.last:
            group.last = number
        if self._is_whole(group):
            due.append(self._close(key, shot.arrived_s))
        elif len(group.shots) >= self._settings.count:
            due.append(self._close(key, shot.arrived_s, self._misnumbered(group)))
        while len(self._open) > self._settings.open_parts:
            why = f"more than {self._settings.open_parts} parts waited for frames at once"
            due.append(self._close(next(iter(self._open)), now_s, why))
        return due

    def due(self, now_s: float) -> list[Part]:
        """Give the parts that have waited long enough."""
        wait_s = self._settings.wait_ms / 1000
        late = [key for key, group in self._open.items() if now_s - group.since_s >= wait_s]
        return [self._close(key, now_s, self._missing(self._open[key])) for key in late]

    def end(self, now_s: float, *, stopped: bool) -> list[Part]:
        """Give what is left when no frame will come any more.

        Args:
            now_s: monotonic seconds.
            stopped: the station is to end. Parts whose frames are all files are then left, for the
                next process begins them anew.
        """
        left = [
            key
            for key, group in self._open.items()
            if not (stopped and all(shot.stamps for shot in group.shots.values()))
        ]
        why = "the station was stopped" if stopped else "no more frames come"
        return [self._close(key, now_s, why) for key in left]

    def _again(self, key: Key, shot: Part, now_s: float) -> Part | None:
        """Give a frame of a part handed on before, under its event_id; none of another round."""
        before = self._handed_on.get(key)
        if before is None or shot.share is None:
            return None
        number = shot.share.number
        if number is None:
            same = [one for one, event_id in before.shots.items() if event_id == shot.event_id]
            number = same[0] if same else max(before.shots) + 1
            last, wait_s = before.at_s, self._settings.wait_ms / 1000
            if number >= self._settings.first + self._settings.count or (
                not same and last is not None and now_s - last > wait_s
            ):
                return None  # nobody numbers them: too many, or too late, the part comes once more
        if before.shots.get(number) == shot.event_id:
            return replace(shot, event_id=before.event_id, share=None)
        if number in before.shots or before.whole:
            return None
        late = LATE.format(number=number)
        logger.warning("late frame", extra={"part_id": shot.part_id, "reason": late})
        before.shots[number] = shot.event_id
        return replace(
            shot,
            event_id=before.event_id,
            frames=tuple(replace(frame, number=number) for frame in shot.frames),
            share=None,
            late=late,
            lacking=late,
        )

    def _give_way(self, key: Key, arrived_s: float | None) -> list[Part]:
        """End the parts before, where the next one ends them."""
        if self._settings.ends != "next":
            return []
        return [
            self._close(other, arrived_s, self._gaps(self._open[other]))
            for other in list(self._open)
            if other != key
        ]

    def _number(self, key: Key, shot: Part) -> int:
        if shot.share is not None and shot.share.number is not None:
            return shot.share.number
        group = self._open.get(key)
        if group is None:
            return self._settings.first
        twins = [n for n, one in group.shots.items() if one.event_id == shot.event_id]
        return twins[0] if twins else max(group.shots) + 1

    def _in_range(self, shot: Part, number: int) -> Part:
        first, last = self._settings.first, self._settings.first + self._settings.count - 1
        frames = tuple(replace(frame, number=number) for frame in shot.frames)
        if not first <= number <= last:
            stray = Fault(
                f"frame number {number}; wanted {first} to {last}; mend the number at its source, "
                "or frames.first and frames.count"
            )
            frames = tuple(replace(frame, pixels=stray) for frame in frames)
        return replace(shot, frames=frames)

    def _wanted(self, group: _Open) -> int | None:
        """Give the number of the last frame; none where it is not known."""
        most = self._settings.first + self._settings.count - 1
        if self._settings.ends == "count":
            return most
        if self._settings.ends == "marker":
            return group.last
        return most if most in group.shots else None

    def _absent(self, group: _Open, last: int) -> list[int]:
        """List the frames before the last that are missing, however large its number is."""
        first, most = self._settings.first, self._settings.first + self._settings.count - 1
        return [n for n in range(first, min(last, most) + 1) if n not in group.shots]

    def _is_whole(self, group: _Open) -> bool:
        last = self._wanted(group)
        return last is not None and max(group.shots) <= last and not self._absent(group, last)

    def _gaps(self, group: _Open) -> str:
        """Say which frames before the last that came are missing; nothing when none is."""
        last = max(group.shots)
        return self._short(group, last, "the next part came") if self._absent(group, last) else ""

    def _missing(self, group: _Open) -> str:
        last, waited = self._wanted(group), f"within {self._settings.wait_ms} ms"
        if last is None:
            what = "last frame" if self._settings.ends == "marker" else "next part"
            return f"no {what} came {waited}"
        if not self._absent(group, last):
            return f"frame {max(group.shots)} lies beyond {last}, which is marked as the last"
        return self._short(group, last, f"they did not come {waited}")

    def _misnumbered(self, group: _Open) -> str:
        if self._settings.ends == "marker" and group.last is None:
            return "none of them is marked as the last"
        return self._short(group, self._wanted(group) or max(group.shots), "others came instead")

    def _short(self, group: _Open, last: int, why: str) -> str:
        absent = ", ".join(map(str, self._absent(group, last)))
        return f"{absent} missing: {why}" if absent else why

    def _close(self, key: Key, at_s: float | None, why: str = "") -> Part:
        """Hand a part on; `why` says what makes it less than whole."""
        group = self._open.pop(key)
        shots = dict(sorted(group.shots.items()))
        parts, first = [*shots.values(), *group.twins], self._settings.first
        stray = [number for number in shots if not first <= number < first + self._settings.count]
        why = why or (f"{stray[0]} is no number of a frame" if stray else "")
        last = self._wanted(group)
        wanted = None if last is None else last - first + 1
        of = f"{len(shots)} of {'an unknown number' if wanted is None else wanted}"
        if self._settings.ends == "next" and not why:
            wanted = len(shots)
        lines = [f"{number}\n{shot.event_id}" for number, shot in shots.items()]
        event_id = hashlib.sha256("\n".join(["frames", *lines]).encode()).hexdigest()[:32]
        self._remember(key, _HandedOn(event_id, _ids(shots), not why, at_s))
        arrived_s = None if any(shot.arrived_s is None for shot in shots.values()) else at_s
        answers = tuple(part.answer for part in parts)
        return replace(
            next(iter(shots.values())),
            event_id=event_id,
            frames=tuple(frame for shot in shots.values() for frame in shot.frames),
            captured_at=min(shot.captured_at for shot in shots.values()),
            arrived_s=arrived_s,
            stamps=tuple(dict.fromkeys(stamp for part in parts for stamp in part.stamps)),
            gone=tuple(dict.fromkeys(name for part in parts for name in part.gone)),
            intents=tuple(dict.fromkeys(name for part in parts for name in part.intents)),
            answer=lambda event: _answer_all(answers, event),
            share=None,
            lacking=f"frames {of}; {why}" if why else "",
            wanted=wanted,
        )

    def _remember(self, key: Key, handed_on: _HandedOn) -> None:
        self._handed_on.pop(key, None)
        self._handed_on[key] = handed_on
        while len(self._handed_on) > HANDED_ON:
            self._handed_on.popitem(last=False)


def _ids(shots: dict[int, Part]) -> dict[int, str]:
    return {number: shot.event_id for number, shot in shots.items()}


def _answer_all(answers: tuple[Callable[[Event], None], ...], event: Event) -> None:
    for answer in answers:
        answer(event)
