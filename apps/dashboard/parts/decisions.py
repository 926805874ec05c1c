"""Holds a reviewer's place in the queue: the next parts, decisions, undo and conflicts.

Draws nothing. A decision is sent with the revision it was made on; what came first stays, and what
this person wanted is kept until they choose.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
from pydantic import ValidationError

from inspection.core.errors import HubError
from inspection.core.records import FrameRecord
from inspection.hub.asking import Conflicted, Refused
from inspection.hub.client import HubClient
from inspection.hub.wire.line import EventDetail
from inspection.hub.wire.review import Decision, Look, NewReview, QueueItem, Review

SIDE_PX = 720  # the page shows a part no larger at 1366×768
AHEAD = 10  # parts asked for at once
FEW = 3  # left before more are asked for
KEPT = 6  # parts with pictures; some 200 kB each
MOST = 100  # the hub gives no more at once
UNDOABLE = 100  # decisions
UNNAMED = "unnamed"
SETTLED = {  # how the hub says that the part is gone, or decided by others meanwhile
    httpx.codes.FORBIDDEN,
    httpx.codes.NOT_FOUND,
    httpx.codes.UNPROCESSABLE_ENTITY,
}


@dataclass(frozen=True)
class Shown:
    """One frame of a part with what explains it; `note` says what could not be had."""

    detail: EventDetail
    frame: FrameRecord
    picture: bytes | None
    look: Look | None
    note: str

    @property
    def cameras(self) -> tuple[str, ...]:
        """Give the cameras that saw the part, frame by frame where there are several."""
        return tuple(frame.view for frame in self.detail.event.frames)


@dataclass(frozen=True)
class Clash:
    """A decision that came second: what this person wanted, and what stands."""

    item: QueueItem
    wanted: NewReview
    current: Review


@dataclass
class Desk:
    """One reviewer's place on one line; lives as long as the browser session."""

    line: str
    waiting: list[QueueItem] = field(default_factory=list)
    skipped: set[tuple[str, bool]] = field(default_factory=set)
    done: list[tuple[QueueItem, Review]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    clash: Clash | None = None
    note: str = ""
    seen: dict[tuple[str, str | None], Shown] = field(default_factory=dict)
    only: str | None = None
    """Type that a second stage named on the parts to look at; none: all parts."""
    named: tuple[str, ...] | None = None
    """Types it named on the line lately; none: not asked yet."""

    def fill(self, hub: HubClient) -> None:
        """Ask for more parts when few are left; the first stays where it is."""
        if len(self.waiting) >= FEW:
            return
        first = self.waiting[:1]
        found = hub.queue(self.line, min(MOST, AHEAD + len(self.skipped)), self.only)
        known = self.skipped | {_pass(item) for item in first}
        self.waiting = first + [item for item in found if _pass(item) not in known]

    def narrow(self, only: str | None) -> None:
        """Look at parts of a type only, from the next `fill` on; none looks at all."""
        if only != self.only:
            self.only = only
            self.waiting.clear()

    def learn(self, types: Iterable[str]) -> None:
        """Add defect types at the end, so that each keeps its key."""
        self.types += [name for name in types if name not in {*self.types, UNNAMED}]

    def decide(
        self, hub: HubClient, item: QueueItem, decision: Decision, defect: str | None, comment: str
    ) -> None:
        """Decide on the part that is shown; a conflict is kept in `clash`.

        A key pressed while the page changes can reach buttons of the part before: that does
        nothing.

        Raises:
            HubError: the defect's name cannot be one, or the hub refuses.
        """
        if not self._shows(item):
            return
        try:
            wanted = NewReview(
                decision=decision,
                defect=defect,
                comment=comment,
                second=item.second,
                revision=item.revision,
            )
        except ValidationError as error:
            raise HubError(
                f"defect type '{defect}' cannot be one; use letters, digits, blanks, . and -"
            ) from error
        self._send(hub, item, wanted)

    def keep_theirs(self) -> None:
        """Leave what the other person decided."""
        if self.clash is not None:
            self._drop(self.clash.item)
            self.clash = None

    def decide_on_top(self, hub: HubClient) -> None:
        """Put this person's decision on top of the other's; both stay in the log."""
        if self.clash is not None:
            clash, self.clash = self.clash, None
            onto = {"revision": clash.current.revision}
            self._send(hub, clash.item, clash.wanted.model_copy(update=onto))

    def undo(self, hub: HubClient, mine: Review) -> None:
        """Take back the last decision, if it is this; the part is the next to look at again."""
        if not self.done or self.done[-1][1] != mine:
            return
        item = self.done[-1][0]
        undone = NewReview(decision=Decision.UNDONE, second=mine.second, revision=mine.revision)
        try:
            answer = hub.review(mine.event_id, undone)
        except Conflicted as conflict:
            self.done.pop()
            self.note = (
                f"Part {item.part_id} was not taken back: {conflict.current.reviewer} has decided "
                f"'{said(conflict.current)}' on it since, and that stands."
            )
            return
        self.done.pop()
        self.waiting.insert(0, item.model_copy(update={"revision": answer.revision}))

    def skip(self, item: QueueItem) -> None:
        """Go to the next part; the one shown comes no more until `look_again`."""
        if self._shows(item):
            self.skipped.add(_pass(item))
            self._drop(item)

    def look_again(self) -> None:
        """Let the skipped parts come again."""
        self.skipped.clear()
        self.waiting.clear()

    def show(self, hub: HubClient, event_id: str, camera: str | None = None) -> Shown:
        """Give a part with its picture and look, from memory where they were seen lately."""
        key = (event_id, camera)
        if key not in self.seen:
            self.seen[key] = fetch(hub, event_id, camera)
        while len(self.seen) > KEPT:
            del self.seen[next(iter(self.seen))]
        return self.seen[key]

    def forget(self, event_id: str) -> None:
        """Drop what is kept of a part, because it has changed on the hub."""
        self.seen = {key: shown for key, shown in self.seen.items() if key[0] != event_id}

    def _send(self, hub: HubClient, item: QueueItem, wanted: NewReview) -> None:
        try:
            review = hub.review(item.event_id, wanted)
        except Conflicted as conflict:
            self.clash = Clash(item, wanted, conflict.current)
            return
        except Refused as error:
            if error.status not in SETTLED:
                raise
            self._drop(item)
            self.note = f"Part {item.part_id} is not yours to decide any more: {error}"
            return
        self.learn([wanted.defect] if wanted.defect else [])
        self._drop(item)
        self.done = [*self.done, (item, review)][-UNDOABLE:]

    def _shows(self, item: QueueItem) -> bool:
        return bool(self.waiting) and self.waiting[0] == item

    def _drop(self, item: QueueItem) -> None:
        self.waiting = [other for other in self.waiting if _pass(other) != _pass(item)]


def fetch(hub: HubClient, event_id: str, camera: str | None = None) -> Shown:
    """Get a part's event, the picture of one camera, and what explains its score.

    Args:
        hub: where it is.
        event_id: of the part.
        camera: none takes the one that decided.
    """
    detail = hub.event(event_id)
    frame = next((one for one in detail.event.frames if one.view == camera), detail.event.deciding)
    here = {picture.name for picture in detail.pictures}
    if frame.image is None or frame.image not in here:
        return Shown(detail, frame, None, None, "its picture is not on the hub (yet)")
    picture = hub.picture(event_id, frame.image, SIDE_PX)
    try:
        look = hub.look(event_id, frame.view, SIDE_PX)
    except Refused as error:
        if error.status == httpx.codes.UNAUTHORIZED:
            raise
        return Shown(detail, frame, picture, None, str(error))
    return Shown(detail, frame, picture, look, look.note)


def said(review: Review | NewReview) -> str:
    """Say a decision in words, with the defect's type."""
    return f"{review.decision}: {review.defect}" if review.defect else str(review.decision)


def _pass(item: QueueItem) -> tuple[str, bool]:
    return item.event_id, item.second
