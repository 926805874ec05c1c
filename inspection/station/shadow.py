"""Scores frames with challengers after their verdict has left, in processes nobody waits for.

What they find decides nothing here. They take what the champion leaves of the processor; parts that
find no room before them are counted and not scored. Accept rules are asked on neither side: what is
compared is the verdict by score and guards.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Protocol, runtime_checkable

from inspection.core.config import Settings
from inspection.core.decision import Verdict, severity
from inspection.core.errors import StationError
from inspection.core.limits import DurationMs, Finite, Moment, Sha256, Short
from inspection.core.records import Event, FrameRecord
from inspection.station.judge import Challenger
from inspection.station.look import Look, words_of
from inspection.station.part import Fault, Frame, Part
from inspection.station.pictures import Picture
from inspection.station.pool import Pool
from inspection.station.scorer import Scorer, Starved
from inspection.station.scoring import Answered, Asked, Opening, disagree
from inspection.station.settings import StationConfig

logger = logging.getLogger(__name__)

WAITING = 4  # parts that may wait to be scored, with their pixels
PAUSE_S = 30.0  # between two starts of a process that crashed, hung or could not open its bundle


class ShadowScore(Settings):
    """What a challenger said of a frame that the champion decided, as the hub takes it."""

    event_id: Short
    camera: Short
    bundle_id: Sha256
    score: Finite | None
    verdict: Verdict
    champion: Verdict
    latency_ms: DurationMs
    """Of the processor, in one thread: at the lowest priority the wall says nothing."""
    at: Moment


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
    challenger: Challenger
    champion: Verdict
    """The champion's, before its product's accept rules."""


class Shadow:
    """Scores in one process of lowest priority per challenger; `take` never waits.

    Args:
        config: the station's: keys, guards, the folder of compiled graphs.
        tell: hears of each frame that was scored, in a thread of its own; must not wait.
    """

    def __init__(self, config: StationConfig, tell: Callable[[Scored], None]) -> None:
        self._config, self._tell = config, tell
        self._pool: Pool[None] | None = None  # since the first part
        self._taken, self._ended = 0, 0  # this and the next are written by one thread each
        self._crowded, self._failed = Counter[str](), Counter[str]()
        self._complaints: dict[str, str] = {}  # the last, by challenger
        self._lock = Lock()  # guards the next two
        self._scorers: dict[str, Scorer] = {}
        self._over = False
        self._paused: dict[str, tuple[float, str]] = {}  # until when, and why

    def take(self, event: Event, part: Part, looks: tuple[Look, ...]) -> None:
        """Hear of a part whose verdict has left; it is scored where a challenger is open."""
        frames = tuple(
            _Waiting(record, frame, look.challenger, _by_score(record, look))
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
        self._taken += 1
        scoring = self._pool.submit(partial(self._score, event, frames))
        scoring.add_done_callback(partial(self._end, frames))

    def lost(self, bundle_id: str) -> int:
        """Give how many parts a challenger did not score, for want of time or by a fault."""
        return self._crowded[bundle_id] + self._failed[bundle_id]

    def keep(self, bundle_ids: Collection[str]) -> None:
        """End the processes of all challengers but these; one still asked for starts again.

        Waits for none of them: the thread of the heartbeat calls it.
        """
        with self._lock:
            gone = [self._scorers.pop(one) for one in self._scorers.keys() - set(bundle_ids)]
        for scorer in gone:
            scorer.close()

    def close(self) -> None:
        """Score nothing more."""
        if self._pool is not None:
            self._pool.close()
        self._over = True
        self.keep(())

    def _score(self, event: Event, frames: tuple[_Waiting, ...]) -> None:
        lost: set[str] = set()
        for one in frames:
            try:
                answered = self._ask(one)
            except StationError as error:  # the other challengers score on
                lost.add(one.challenger.bundle_id)
                self._complain(one.challenger.bundle_id, words_of(error))
                continue
            if answered is None:
                continue
            said = ShadowScore(
                event_id=event.event_id,
                camera=one.decided.view,
                bundle_id=one.challenger.bundle_id,
                score=answered.score,
                verdict=answered.verdict,
                champion=one.champion,
                latency_ms=answered.latency_ms,
                at=event.judged_at,
            )
            self._tell(Scored(said, _picture(one, answered)))
        self._failed.update(lost)

    def _ask(self, one: _Waiting) -> Answered | None:
        """Let a frame be scored; none where the station lets go of the challenger meanwhile.

        A frame on which the process ends is the challenger's FAULT. One without an answer in time
        is not: on a busy line the lowest priority may get no processor for minutes.

        Raises:
            StationError: its process cannot be had now, or gave no answer in time.
        """
        pixels, bundle_id = one.frame.pixels, one.challenger.bundle_id
        if isinstance(pixels, Fault):
            return None
        scorer = self._scorer(one.challenger)
        if scorer is None:
            return None
        try:
            scorer.open()
        except StationError as error:
            if self._let_go(bundle_id, scorer, error):
                raise
            return None
        asked = Asked(
            height_px=pixels.shape[0],
            width_px=pixels.shape[1],
            roi=one.challenger.roi,
            band=one.challenger.band,
            champion=one.champion,
            illustrate=one.decided.image is not None and one.frame.encoded is None,
        )
        try:
            return scorer.score(asked, pixels)
        except StationError as error:
            if not self._let_go(bundle_id, scorer, error):
                return None
            if isinstance(error, Starved):
                raise
            self._complain(bundle_id, words_of(error))
            return Answered(None, Verdict.FAULT, 0.0)

    def _scorer(self, challenger: Challenger) -> Scorer | None:
        """Give a challenger's process, started where there is none; none once all is over.

        Raises:
            StationError: it ended by itself a moment ago, by this.
        """
        bundle_id, config = challenger.bundle_id, self._config
        until_s, why = self._paused.get(bundle_id, (0.0, ""))
        if time.monotonic() < until_s:
            raise StationError(why)
        with self._lock:
            if self._over:
                return None
            if bundle_id not in self._scorers:
                self._scorers[bundle_id] = Scorer(
                    Opening(challenger.folder, config.keys, config.guards)
                )
            return self._scorers[bundle_id]

    def _let_go(self, bundle_id: str, scorer: Scorer, error: StationError) -> bool:
        """Forget a process that ended; false where the station ended it itself."""
        with self._lock:
            mine = self._scorers.get(bundle_id) is scorer
            if mine:
                del self._scorers[bundle_id]
                self._paused[bundle_id] = time.monotonic() + PAUSE_S, str(error)
        return mine

    def _end(self, frames: tuple[_Waiting, ...], scoring: Future[None]) -> None:
        self._ended += 1
        error = None if scoring.cancelled() else scoring.exception()
        if isinstance(error, Exception):
            self._failed.update({one.challenger.bundle_id for one in frames})
            self._complain("", words_of(error))

    def _complain(self, whose: str, words: str) -> None:
        if words != self._complaints.get(whose):
            self._complaints[whose] = words
            logger.warning("part not scored in the shadow", extra={"reason": words})


def _by_score(decided: FrameRecord, look: Look) -> Verdict:
    """Give the champion's verdict by score and guards, before accept rules and known defects."""
    if look.judgement is None:
        return decided.verdict
    return max(look.judgement.verdict, look.doubted, key=severity)


def _picture(one: _Waiting, answered: Answered) -> Picture | None:
    """Give the picture the event names, where a person should look at it."""
    if one.decided.image is None or not disagree(answered.verdict, one.champion):
        return None
    content = one.frame.encoded or answered.picture or b""
    return Picture(one.decided.image, lambda: content)
