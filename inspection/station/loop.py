"""The core loop of a station: capture → guard → score → decide → durable event → signal.

Each part gets exactly one event, however often the process is killed: the event is one SQLite
transaction, durable before its signal, and a part whose event is there already is not judged
again. Whatever goes wrong with one part is its FAULT. While events cannot be made durable no
verdict leaves; the loop waits until they can.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from threading import Event as Flag
from typing import TypeVar

from inspection.core.decision import Verdict, severity
from inspection.core.draw import is_drawn
from inspection.core.errors import FrameRejected, SpoolFull, StationError
from inspection.core.fusion import PartFusion
from inspection.core.limits import MAX_NAME, MAX_PART_ID, cut
from inspection.core.records import Event, FrameRecord
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.frames.fuse import fuse, with_doubt
from inspection.station.health import LATE_FRAMES, Health
from inspection.station.judge import Judge, Judges
from inspection.station.look import (
    Left,
    Look,
    Seconds,
    fault,
    join_reasons,
    kept_pictures,
    late_pictures,
    look_at,
    same_bytes,
    suffix_of,
)
from inspection.station.part import Fault, Frame, Intake, Part, with_missing_cameras
from inspection.station.pictures import Pictures
from inspection.station.pool import Pool
from inspection.station.settings import MB, StationConfig
from inspection.station.spool import EVENTS_DROPPED, Intent, Spool

logger = logging.getLogger(__name__)

T = TypeVar("T")
Beside = Callable[[Event, Part, tuple[Look, ...]], None]

IDLE_S = 0.05  # how long the loop waits for a part before it looks around
RETRY_S = 1.0  # between two tries to make an event durable
LOOK_AROUND_S = 1.0  # between two looks at the record's size and the places in the outbox
HURRY_S = 0.1  # the same while the record is beyond its budget: parts may come fast
GOLDEN_S = 10.0  # between two golden frames judged again, of one bundle after the other
GOLDEN_BUSY_S = 60.0  # the same while parts leave no pause
IN_FLIGHT = "the station stopped while the part was in flight; nobody judged it"
FORGOTTEN_AT_ONCE = 200  # events deleted in one transaction when the budget is used up


@dataclass(frozen=True)
class _Asked:
    """A look that is being had in the pool."""

    judge: Judge
    answer: Future[Look]


@dataclass(frozen=True)
class _Begun:
    """A part in work: what each of its frames is found to be, now or soon."""

    part: Part
    arrived_s: float
    looks: tuple[Look | _Asked, ...]
    """Empty for a part that has its event, or a twin of one in work."""
    fusion: PartFusion | None = None  # how several frames became one verdict


class Line:
    """Judges the parts of one line.

    Args:
        config: the station's configuration.
        judges: what turns frames into judgements.
        spool: the durable record.
        pictures: keeps frames and overlays.
        health: hears of every event and every trouble.
        signal: gets each event after it is durable, in order; must not wait.
        clock: wall clock for records, monotonic clock for durations.
        beside: hears last of each judged part, with what its frames were found to be; must not
            wait.
    """

    def __init__(  # noqa: PLR0913 - the one place where they meet
        self,
        config: StationConfig,
        judges: Judges,
        spool: Spool,
        pictures: Pictures,
        health: Health,
        signal: Callable[[Event], None],
        clock: Clock = SYSTEM_CLOCK,
        beside: Beside | None = None,
    ) -> None:
        self._config, self._judges, self._spool, self._pictures = config, judges, spool, pictures
        self._health, self._signal, self._clock, self._beside = health, signal, clock, beside
        ahead = config.inference.mode == "throughput"
        self._in_work = config.inference.at_once + ahead  # parts begun at once
        self._pool: Pool[Look] = Pool(config.inference.at_once, "look")
        self._begun: deque[_Begun] = deque()
        self._taken: Part | None = None
        self._last_frames: dict[str, Frame] = {}
        self._seconds = Seconds()
        self._faults_in_a_row = 0
        self._ends = tuple(output.name for output in config.outputs)
        self._look_around_s = clock.monotonic() + LOOK_AROUND_S
        self._golden_at_s = clock.monotonic()
        self._left = spool.intents()  # before a source runs, whose own are no earlier process's

    def run(self, intake: Intake, stop: Flag, ended: Callable[[], bool]) -> None:
        """Judge what comes until nothing will come any more and the queue is empty.

        Args:
            intake: the queue the source fills.
            stop: set when the station is to end; what waits in the queue is still judged.
            ended: says that the source will bring nothing any more.

        Raises:
            SpoolFull: the station is to end while an event cannot be made durable.
            StationError: the database is damaged, a golden frame came out otherwise, or the bundle
                failed on too many parts in a row.
        """
        try:
            self._insist(lambda _: self._recover(), stop)
            while True:
                over = ended()  # before the queue is asked: a source hands in, then ends
                part = intake.take(0 if self._begun else IDLE_S)
                self._health.tick()
                if part is not None:
                    self._taken = part  # until it is begun
                    self._begun.append(self._begin(part, stop))
                    self._taken = None
                if self._begun and (part is None or len(self._begun) >= self._in_work):
                    self._finish(self._begun[0], stop)
                elif part is None and over:
                    return
                self._check_golden(idle=part is None and not self._begun)
                self._look_around()
        finally:
            self._pool.close()

    def _recover(self) -> None:
        """Record parts as FAULT that an earlier process began and never judged, and signal them."""
        framed = self._config.frames is not None  # else each trigger is a part, whatever its id
        parts: dict[tuple[str, str, str], list[Intent]] = {}
        for intent in self._left:
            of_part = intent.product, intent.part_id, "" if framed else intent.event_id
            parts.setdefault(of_part, []).append(intent)
        for noted in parts.values():
            first = noted[0]
            fault_frame = Frame("", "", Fault(IN_FLIGHT))
            part = Part(
                event_id=first.event_id,
                part_id=first.part_id,
                product=first.product,
                frames=(fault_frame,),
                captured_at=first.captured_at,
                arrived_s=self._clock.monotonic(),
                intents=tuple(one.event_id for one in noted),
            )
            looks = (fault(IN_FLIGHT),)
            begun = _Begun(part, self._clock.monotonic(), looks)
            self._tell(self._write(begun, looks, again=True), part)
            # told once, though the disk refuses the next one and all is tried again
            self._left = tuple(one for one in self._left if one not in noted)

    def give_up(self, intake: Intake, why: str) -> None:
        """Record as FAULT what `run` left unfinished when it raised; files wait for the next."""
        begun = [one.part for one in self._begun]
        taken = [] if self._taken is None else [self._taken]
        waiting = [*begun, *taken, *iter(partial(intake.take, 0), None)]
        lost = deque(part for part in waiting if not part.stamps)
        untold = {one.part.event_id for one in self._begun if one.looks}  # maybe durable already
        try:
            while lost:
                part = lost[0]
                if part.event_id in untold or not self._answer_again(part, True):  # noqa: FBT003 - a try came true
                    ended = _Begun(part, part.arrived_s or self._clock.monotonic(), ())
                    looks = tuple(fault(f"the station ended: {why}") for _ in part.frames)
                    self._tell(self._write(ended, looks, again=True), part)
                    untold.discard(part.event_id)
                lost.popleft()
        except StationError as error:
            names = [part.part_id for part in lost]
            logger.error("parts without event", extra={"part_ids": names, "reason": str(error)})  # noqa: TRY400 - the words say it all

    def _begin(self, part: Part, stop: Flag) -> _Begun:
        """Let the frames of a part be looked at, unless it has its event."""
        arrived_s = self._clock.monotonic() if part.arrived_s is None else part.arrived_s
        in_work = any(begun.part.event_id == part.event_id for begun in self._begun)
        if in_work or self._insist(lambda _: self._spool.find(part.event_id), stop):
            return _Begun(part, arrived_s, ())
        try:
            judges = self._judges.of(part.product)
        except FrameRejected as error:
            return _Begun(part, arrived_s, tuple(fault(str(error)) for _ in part.frames))
        part = with_missing_cameras(part, tuple(judges))
        behind = reversed(range(len(part.frames)))  # looks of this part after each
        looks = tuple(
            self._look(one, judges.get(one.camera), part, partial(self._left_s, arrived_s, others))
            for one, others in zip(part.frames, behind, strict=True)
        )
        return _Begun(part, arrived_s, looks)

    def _look(self, frame: Frame, judge: Judge | None, part: Part, left_s: Left) -> Look | _Asked:
        if isinstance(frame.pixels, Fault):
            return fault(frame.pixels.reason)
        if judge is None:
            return fault(
                f"camera '{frame.camera}' has no recipe for this product; add it to `recipes`"
            )
        if left_s(0.0) <= 0:
            return fault("waited beyond the deadline before it could be judged")
        frozen = partial(same_bytes, self._last_frames.get(frame.camera), frame)
        self._last_frames[frame.camera] = frame
        measured = self._seconds.first(part.product, frame.camera, part.captured_at)
        asked = partial(look_at, frame.pixels, judge, self._config.guards, frozen)
        return _Asked(judge, self._pool.submit(partial(asked, measured=measured, left_s=left_s)))

    def _left_s(self, arrived_s: float, others: int = 0, took_s: float = 0.0) -> float:
        needed_s = others * took_s / self._config.inference.at_once
        due_s = arrived_s + self._config.deadline_ms / 1000 - needed_s
        return max(0.0, due_s - self._clock.monotonic())

    def _finish(self, begun: _Begun, stop: Flag) -> None:
        """Wait for what is found, make the event durable, then signal it."""
        part = begun.part
        if not begun.looks:
            self._insist(partial(self._answer_again, part), stop)
            self._begun.popleft()
            return
        looks = tuple(self._wait(look, begun.arrived_s) for look in begun.looks)
        if self._config.frames is not None and part.frames[0].number is not None:
            looks, fusion = fuse(self._config.frames, part, looks)
            begun = replace(begun, fusion=fusion)
        event = self._record(begun, looks, stop)
        self._keep_pictures(event, part, looks)
        self._begun.popleft()  # nobody need tell it any more
        self._tell(event, part)
        self._judges.judged(event)
        if self._beside is not None:
            self._beside(event, part, looks)
        self._watch_faults(event)

    def _wait(self, look: Look | _Asked, arrived_s: float) -> Look:
        """Wait for a look, but not beyond the part's deadline."""
        if isinstance(look, Look):
            return look
        try:
            return look.answer.result(self._left_s(arrived_s))
        except TimeoutError:
            look.answer.cancel()
            reason = (
                f"no score within {self._config.deadline_ms} ms; lighten the machine's load or "
                "raise deadline_ms"
            )
            return Look(Verdict.FAULT, reason, look.judge)

    def _record(self, begun: _Begun, looks: tuple[Look, ...], stop: Flag) -> Event:
        """Make the event durable; one that became so too late is FAULT before anybody hears it."""
        event = self._insist(partial(self._write, begun, looks), stop)
        if event.latency_ms <= self._config.deadline_ms < self._latency_ms(begun):
            event = self._event(begun, looks, event.sequence)
            self._insist(lambda _: self._spool.amend(event), stop)
        return event

    def _write(self, begun: _Begun, looks: tuple[Look, ...], again: bool) -> Event:
        """Write the event, unless a try that was reported to have failed came true."""
        earlier = self._spool.find(begun.part.event_id) if again else None
        if earlier is not None:
            return earlier
        event = self._event(begun, looks, self._spool.next_sequence)
        part = begun.part
        self._spool.append(event, part.stamps, part.gone, part.intents)
        return event

    def _answer_again(self, part: Part, _again: bool) -> bool:
        """Answer a part that has its event with that one; false for one that has none."""
        if (earlier := self._spool.find(part.event_id)) is None:
            return False
        self._spool.remember(part.stamps, part.gone, part.intents)
        self._health.again()
        part.answer(earlier)
        if part.late:
            self._pictures.hand_in(earlier, late_pictures(earlier, part), LATE_FRAMES)
        return True

    def _insist(self, do: Callable[[bool], T], stop: Flag) -> T:
        """Do something with the record, told whether it is tried again.

        While the disk refuses, wait: no verdict leaves and nothing is lost.

        Raises:
            SpoolFull: the station is to end before the disk takes it.
        """
        try:
            return do(False)  # noqa: FBT003 - the first try
        except SpoolFull as error:
            refused = error
        logger.error("no event can be recorded", extra={"reason": str(refused)})
        while True:
            self._health.block(f"{refused}; the station goes on by itself")
            last = stop.wait(RETRY_S)
            self._health.tick()
            try:
                self._spool.reopen()
                done = do(True)  # noqa: FBT003 - tried again
            except SpoolFull as again:
                if last:
                    raise
                refused = again
            else:
                self._health.block("")
                logger.warning("events can be recorded again")
                return done

    def _tell(self, event: Event, part: Part) -> None:
        """Let everybody hear of a durable event."""
        self._health.judged(event)
        self._signal(event)
        part.answer(event)

    def _latency_ms(self, begun: _Begun) -> float:
        return (self._clock.monotonic() - begun.arrived_s) * 1000

    def _event(self, begun: _Begun, looks: tuple[Look, ...], sequence: int) -> Event:
        """Describe the part as it stands now; a verdict that comes too late is FAULT."""
        part = begun.part
        worst = max(looks, key=lambda look: severity(look.verdict))
        verdict, reason = with_doubt(worst.verdict, join_reasons(part, looks), begun.fusion)
        latency_ms = self._latency_ms(begun)
        if latency_ms > self._config.deadline_ms:
            said = str(verdict) if worst.score is None else f"{verdict} (score {worst.score:.6g})"
            late = (
                f"{said} came after {latency_ms:.0f} ms; wanted within {self._config.deadline_ms} "
                "ms; lighten the machine's load or raise deadline_ms"
            )
            verdict, reason = Verdict.FAULT, f"{late}; {reason}" if reason else late
        return Event(
            event_id=part.event_id,
            sequence=sequence,
            part_id=cut(part.part_id, MAX_PART_ID),
            product=cut(part.product, MAX_NAME),
            line=self._config.line,
            station=self._config.station,
            record_id=self._spool.record_id,
            verdict=verdict,
            reason=reason,
            frames=tuple(
                self._frame_record(
                    f"{sequence:010d}-{frame.view[:MAX_NAME]}",
                    frame,
                    look,
                    keep=self._keeps(part, verdict),
                )
                for frame, look in zip(part.frames, looks, strict=True)
            ),
            fusion=begun.fusion,
            captured_at=part.captured_at,
            judged_at=self._clock.now(),
            latency_ms=latency_ms,
        )

    def _keeps(self, part: Part, verdict: Verdict) -> bool:
        """Say whether a part's frames are kept; of PASS parts at least those people will see."""
        spool = self._config.spool
        drawn = verdict is Verdict.PASS and is_drawn(part.event_id, "pass", spool.keep_pass_share)
        return drawn or verdict in spool.keep_images

    def _frame_record(self, name: str, frame: Frame, look: Look, *, keep: bool) -> FrameRecord:
        spool, suffix = self._config.spool, suffix_of(frame)
        named = keep or look.challenger is not None  # kept if that does not agree
        image = name + suffix if suffix and named else None
        drawn = look.cut is not None and look.verdict in spool.overlay_for
        return FrameRecord(
            camera=cut(frame.camera, MAX_NAME),
            frame=frame.number,
            source=frame.source,
            source_sha256=frame.sha256,
            bundle_id=look.judge.bundle_id if look.judge else "",
            band=look.judgement.band if look.judgement else None,
            override=look.judge is not None and bool(look.judge.override),
            verdict=look.verdict,
            score=look.score,
            reason=look.reason,
            statistics=look.statistics,
            roi=look.roi,
            defects=look.defects,
            recognised=look.recognised,
            image=image,
            overlay=f"{name}-overlay.png" if drawn else None,
        )

    def _keep_pictures(self, event: Event, part: Part, looks: tuple[Look, ...]) -> None:
        if kept := kept_pictures(event, part, looks, frames=self._keeps(part, event.verdict)):
            self._pictures.hand_in(event, kept)

    def _watch_faults(self, event: Event) -> None:
        """End the station when the bundle judges nothing any more: a new process may."""
        if event.verdict is Verdict.FAULT:
            logger.error("part not judged", extra={"part_id": event.part_id, "why": event.reason})
        failed = any(f.verdict is Verdict.FAULT and f.bundle_id for f in event.frames)
        self._faults_in_a_row = self._faults_in_a_row + 1 if failed else 0
        self._health.fail(f"the bundle fails: {event.reason}" if failed else "")
        if self._faults_in_a_row >= self._config.faults_in_a_row:
            raise StationError(
                f"the bundle failed on {self._faults_in_a_row} parts in a row, the last "
                f"'{event.part_id}': {event.reason}; mend the cause, then start the station again"
            )

    def _check_golden(self, *, idle: bool) -> None:
        """Judge a golden frame again when one is due, which takes as long as a frame of a part.

        Raises:
            StationError: its map came out otherwise, so no verdict can be believed; a new process
                reads the bundle anew and verifies it.
        """
        now_s = self._clock.monotonic()
        if now_s - self._golden_at_s < (GOLDEN_S if idle else GOLDEN_BUSY_S):
            return
        self._golden_at_s = now_s
        if wrong := self._judges.check_golden():
            raise StationError(f"{wrong}; start the station again")

    def _look_around(self) -> None:
        """Make places in the outbox durable and keep the budget: pictures go before events."""
        now_s = self._clock.monotonic()
        if now_s < self._look_around_s:
            return
        self._look_around_s = now_s + LOOK_AROUND_S
        try:
            self._spool.flush()
            used = self._spool.used_bytes()
            self._pictures.leave_room(used)
            if used > self._config.spool.budget_mb * MB:
                self._look_around_s = now_s + HURRY_S
                if self._pictures.spent:
                    forgotten = self._spool.forget(self._ends, FORGOTTEN_AT_ONCE)
                    self._health.drop(EVENTS_DROPPED, forgotten)
        except SpoolFull as error:
            self._health.block(f"{error}; the station goes on by itself")
        else:
            self._health.block("")
