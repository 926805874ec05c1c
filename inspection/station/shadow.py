"""Scores frames with challengers after their verdict has left, in a thread nobody waits for.

What it finds decides nothing here. It takes what the champion leaves of the processor; parts that
find no room before it are counted and not scored.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from pydantic import AwareDatetime

from inspection.bundles.priority import step_back
from inspection.core.config import Settings
from inspection.core.decision import Verdict
from inspection.core.records import Event, FrameRecord
from inspection.station.judge import Judge
from inspection.station.look import Look, as_captured, look_at, words_of
from inspection.station.part import Fault, Frame, Part
from inspection.station.pictures import Picture
from inspection.station.pool import Pool
from inspection.station.settings import GuardSettings

logger = logging.getLogger(__name__)

WAITING = 4  # parts that may wait to be scored, with their pixels


class ShadowScore(Settings):
    """What a challenger said of a frame that the champion decided, as the hub takes it."""

    event_id: str
    camera: str
    bundle_id: str
    score: float | None
    verdict: Verdict
    champion: Verdict
    latency_ms: float
    """Of the processor, in one thread: a thread of lowest priority waits much longer."""
    at: AwareDatetime


@dataclass(frozen=True)
class Scored:
    """A challenger's word, and the frame's picture where a person should look at it."""

    said: ShadowScore
    picture: Picture | None


@runtime_checkable
class Hearer(Protocol):
    """An output that brings what challengers said to where it is weighed."""

    def hear(self, scored: Scored) -> None:
        """Take what was said of a frame; must not wait."""
        ...

    def unheard(self, bundle_id: str) -> int:
        """Give how many frames of a challenger it lost."""
        ...


@dataclass(frozen=True)
class _Waiting:
    """What is scored of one frame: by what the champion made of it, and with what."""

    decided: FrameRecord
    frame: Frame
    challenger: Judge


class Shadow:
    """Scores in one thread of lowest priority; `take` never waits.

    Args:
        guards: what becomes of a frame a guard complains of, as in the loop.
        tell: hears of each frame that was scored, in that thread; must not wait.
    """

    def __init__(self, guards: GuardSettings, tell: Callable[[Scored], None]) -> None:
        self._guards, self._tell = guards, tell
        self._pool: Pool[None] | None = None  # since the first part
        self._taken, self._ended = 0, 0  # this and the next are written by one thread each
        self._crowded, self._failed = Counter[str](), Counter[str]()
        self._complaint = ""

    def take(self, event: Event, part: Part, looks: tuple[Look, ...]) -> None:
        """Hear of a part whose verdict has left; it is scored where a challenger is open."""
        frames = tuple(
            _Waiting(record, frame, look.challenger)
            for record, frame, look in zip(event.frames, part.frames, looks, strict=True)
            if look.challenger is not None
        )
        if not frames:
            return
        if self._taken - self._ended >= WAITING:
            self._crowded.update({one.challenger.bundle_id for one in frames})
            return
        if self._pool is None:
            self._pool = Pool(1, "shadow")
            self._pool.submit(step_back)
        self._taken += 1
        scoring = self._pool.submit(partial(self._score, event, frames))
        scoring.add_done_callback(partial(self._end, frames))

    def lost(self, bundle_id: str) -> int:
        """Give how many parts a challenger did not score, for want of time or by a fault."""
        return self._crowded[bundle_id] + self._failed[bundle_id]

    def close(self) -> None:
        """Score nothing more; what hangs is left behind."""
        if self._pool is not None:
            self._pool.close()

    def _score(self, event: Event, frames: tuple[_Waiting, ...]) -> None:
        for one in frames:
            if isinstance(one.frame.pixels, Fault):
                continue
            begun_s = time.thread_time()
            look = look_at(one.frame.pixels, one.challenger, self._guards)
            said = ShadowScore(
                event_id=event.event_id,
                camera=one.decided.camera,
                bundle_id=one.challenger.bundle_id,
                score=look.score,
                verdict=look.verdict,
                champion=one.decided.verdict,
                latency_ms=(time.thread_time() - begun_s) * 1000,
                at=event.judged_at,
            )
            self._tell(Scored(said, _picture(one) if _disagrees(said) else None))

    def _end(self, frames: tuple[_Waiting, ...], scoring: Future[None]) -> None:
        self._ended += 1
        error = None if scoring.cancelled() else scoring.exception()
        if isinstance(error, Exception):
            self._failed.update({one.challenger.bundle_id for one in frames})
            if (words := words_of(error)) != self._complaint:
                self._complaint = words
                logger.warning("part not scored in the shadow", extra={"reason": words})


def _disagrees(said: ShadowScore) -> bool:
    """Say whether a part would go another way; what could not be scored says nothing of it."""
    passes = said.verdict is Verdict.PASS, said.champion is Verdict.PASS
    return said.verdict is not Verdict.FAULT and passes[0] is not passes[1]


def _picture(one: _Waiting) -> Picture | None:
    """Give the picture the event names, encoded: its pixels are let go of."""
    if one.decided.image is None:
        return None
    encoded = as_captured(one.frame)
    return Picture(one.decided.image, lambda: encoded)
