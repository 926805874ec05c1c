"""Runs one leased job from its first step to its end, and tells the hub how it goes.

Whoever dies here loses the step it was at: the next one takes the job when its lease has run out,
and finds what was finished. Nothing of a job is to be seen outside its folder before its bundle has
passed the gate and the comparison.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

from inspection.bundles.seal import SUMS, read_gate
from inspection.core.errors import (
    BundleCorrupt,
    ClusterAway,
    GateRefused,
    HubError,
    InspectionError,
    TrainingError,
    UpdateImpossible,
)
from inspection.core.progress import watched
from inspection.core.records import hash_file, read_record
from inspection.hub import jobs
from inspection.hub.challengers import challenge
from inspection.hub.forgetting import learnt_forgotten
from inspection.hub.hub import Hub
from inspection.hub.job_rows import Leased
from inspection.hub.models import add_bundle
from inspection.hub.refusals import LeaseLost
from inspection.hub.thresholds import carry_thresholds
from inspection.hub.wire.retraining import (
    STEPS,
    ChallengerState,
    Comparison,
    JobKind,
    JobState,
    Step,
)
from inspection.retraining.assemble import REPORT, AssembleReport, assemble
from inspection.retraining.bands import fix_bands
from inspection.retraining.faults import told
from inspection.retraining.keeping import remove_forgotten, remove_old
from inspection.retraining.settings import Allowed, RetrainingConfig
from inspection.retraining.steps import COMPARISON, JobFolder
from inspection.retraining.timetable import blackout_ends

logger = logging.getLogger(__name__)
Perform = Callable[[Step, Path], None]

ACTOR = "retraining"
LOOK_S = 0.5  # between two looks at the step under way
TELL_S = 2.0  # between two words to the hub; so soon a cancelled job knows
GRACE_S = 10.0  # for a step to end that is not wanted any more
MOST_TRIES = 20  # of one step; whatever ends its worker so often will do it again


class Stopped(InspectionError):
    """A step is not wanted any more: its job was cancelled, or is another worker's."""


class Ended(NamedTuple):
    """How a job ends."""

    state: JobState
    outcome: str
    bundle_id: str | None = None


def run_job(hub: Hub, config: RetrainingConfig, leased: Leased, perform: Perform) -> JobState:
    """Do what is left of a job, and end it.

    Args:
        hub: that knows the job.
        config: of the retraining.
        leased: the job; its lease is renewed meanwhile.
        perform: does a step in the job's folder, in a thread of its own; it ends early when what
            it tells of its progress raises.

    Returns:
        How the job stands: ended; or, when it was cancelled or the lease was lost, as it is now.

    Raises:
        HubError, ClusterAway: the hub, or who does the steps, is away; the job goes on with whoever
            leases it next.
    """
    try:
        ended = _Work(hub, config, leased, perform).run()
        jobs.finish(hub, leased, *ended)
    except (LeaseLost, Stopped) as error:
        logger.info("job left", extra={"job_id": leased.job_id, "reason": str(error)})
        jobs.let_go(hub, leased)
        return jobs.get_job(hub, leased.job_id).state
    logger.info("job ended", extra={"job_id": leased.job_id, "state": ended.state})
    return ended.state


class _Work:
    """One worker's hold on one job."""

    def __init__(
        self, hub: Hub, config: RetrainingConfig, leased: Leased, perform: Perform
    ) -> None:
        self._hub, self._config, self._leased, self._perform = hub, config, leased, perform
        self._renewed = self._told = time.monotonic()
        self._folder = JobFolder(config.work_dir.absolute() / leased.job_id)

    def run(self) -> Ended:
        """Do what is left.

        Raises:
            LeaseLost, Stopped: the job is not this worker's any more.
            HubError, ClusterAway: nothing can be done now.
        """
        try:
            with told("the job"):
                if self._leased.request.kind is JobKind.REFIT:
                    return self._refit()
                return self._make_bundle()
        except (HubError, ClusterAway, Stopped):
            raise
        except GateRefused as error:
            return Ended(JobState.REFUSED, str(error))
        except UpdateImpossible as error:
            return self._failed(JobState.IMPOSSIBLE, str(error))
        except InspectionError as error:
            return self._failed(JobState.FAILED, str(error))

    def _failed(self, state: JobState, words: str) -> Ended:
        self._log("ERROR", words)
        return Ended(state, words)

    def _refit(self) -> Ended:
        from inspection.retraining.refit import refit

        who = jobs.get_job(self._hub, self._leased.job_id).who
        work = partial(refit, self._hub, self._leased.request, who, self._require_lease)
        return Ended(JobState.DONE, self._attend(work))

    def _make_bundle(self) -> Ended:
        request, work_dir = self._leased.request, self._config.work_dir.absolute()
        JobFolder.make(self._folder.path, request)
        if old := remove_old(self._hub, work_dir):
            self._log("INFO", f"folders of {len(old)} old jobs deleted")
        if count := remove_forgotten(self._hub, work_dir, request.forgotten):
            self._log("INFO", f"{count} copies of forgotten pictures deleted")
        for step in STEPS[request.kind]:
            self._do(step)
            if step is Step.GATE and (refusals := self._refusals()):
                return Ended(JobState.REFUSED, f"the gate refused it: {refusals}")
        return self._offer()

    def _do(self, step: Step) -> None:
        """Do a step, unless it is done."""
        folder, request = self._folder, self._leased.request
        if step is Step.COMPARE:
            fix_bands(self._hub, request, folder.bundle, folder.path)
        digest = folder.digest(step)
        if self._is_known(step, digest):
            return
        jobs.begin_step(self._hub, self._leased, step, digest)
        if not folder.is_done(step):
            began_s = time.monotonic()
            self._attend(self._work_of(step))
            self._log("INFO", f"{step}: {time.monotonic() - began_s:.1f} s")
        if not folder.is_done(step):
            raise TrainingError(
                f"{folder.path}: step '{step}' ended without its output; wanted "
                f"{folder.output(step).name}; do all workers see this folder?"
            )
        jobs.end_step(self._hub, self._leased, step, self._note(step))

    def _work_of(self, step: Step) -> Callable[[], object]:
        if step is Step.ASSEMBLE:
            out, least = self._folder.output(step), self._config.champion_parts
            return partial(assemble, self._hub, self._leased.request, out, least)
        return partial(self._perform, step, self._folder.path)

    def _is_known(self, step: Step, digest: str) -> bool:
        """Say whether the hub knows that a step is done, and its output is there.

        Raises:
            TrainingError: it was begun too often.
        """
        steps = jobs.get_job(self._hub, self._leased.job_id).steps
        known = next((one for one in steps if one.step is step), None)
        if known is None or known.digest != digest:
            return False
        if known.ended_at is not None and self._folder.is_done(step):
            return True
        if known.tries >= MOST_TRIES:
            raise TrainingError(
                f"step '{step}' was begun {known.tries} times and its worker died each time; look "
                "at its memory and at the output in the job's folder"
            )
        return False

    def _note(self, step: Step) -> str:
        folder = self._folder
        if step is Step.ASSEMBLE:
            return str(read_record(folder.assembled / REPORT, AssembleReport))
        if step is Step.COMPARE:
            return self._comparison().words
        return folder.output(step).name if step is not Step.GATE else self._refusals() or "passed"

    def _refusals(self) -> str:
        """Say why the gate refused the bundle; empty when it passed."""
        bundle = self._folder.bundle
        record = read_gate(bundle, hash_file(bundle / SUMS))
        if record is None:
            raise BundleCorrupt(f"{bundle}: its gate's record is gone; delete the folder")
        return "; ".join(record.refusals)

    def _comparison(self) -> Comparison:
        path = self._folder.output(Step.COMPARE) / COMPARISON
        return Comparison.model_validate_json(path.read_bytes())

    def _offer(self) -> Ended:
        """Bring the bundle to the hub, where it may challenge the one that judges."""
        request, comparison = self._leased.request, self._comparison()
        if comparison.worse:
            return Ended(JobState.REFUSED, comparison.words)
        if count := learnt_forgotten(self._hub, self._folder.manifest):
            words = f"{count} pictures it learnt from were forgotten meanwhile; ask again"
            return Ended(JobState.REFUSED, words)
        self._require_lease()
        bundle_id = add_bundle(self._hub, self._folder.bundle, ACTOR).bundle_id
        if request.champion_id is None:
            words = f"{comparison.words} A person chooses the first bundle of a line."
            return Ended(JobState.DONE, words, bundle_id)
        if request.champion_id == bundle_id:
            return Ended(JobState.DONE, "It is the bundle that judges, byte for byte.", bundle_id)
        line, name = request.line, request.name
        if request.kind is JobKind.GUARDS:
            carry_thresholds(self._hub, line, request.champion_id, bundle_id)
        state = self._first_state() if comparison.not_worse else ChallengerState.HELD
        challenge(self._hub, line, name, bundle_id, request.champion_id, comparison, state)
        return Ended(JobState.DONE, comparison.words, bundle_id)

    def _first_state(self) -> ChallengerState:
        """Say how far a challenger may come without a person, for now."""
        request = self._leased.request
        for product in self._config.products:
            if (product.line, product.product) == (request.line, request.product):
                policy = self._config.policy_of(product)
                black = blackout_ends(policy, self._hub.now()) is not None
                if policy.allowed.includes(Allowed.SHADOW) and not black:
                    return ChallengerState.SHADOW
        return ChallengerState.HELD

    def _attend(self, work: Callable[[], object]) -> str:
        """Have work done in a thread of its own, while the lease is kept and the hub is told."""
        watch = _Watch()
        pool = ThreadPoolExecutor(1, "step")
        try:
            future = pool.submit(watch.run, work)
            while not wait([future], LOOK_S).done:
                self._tell(watch)
            self._tell_lines(watch)
            return str(future.result())
        finally:
            watch.stop.set()
            wait([future], GRACE_S)
            pool.shutdown(wait=False)

    def _tell(self, watch: "_Watch") -> None:
        if time.monotonic() - self._told < TELL_S:
            return
        self._require_lease()
        try:
            self._tell_lines(watch)
            if (found := watch.found) is not None:
                jobs.progress(self._hub, self._leased, *found)
                watch.found = None
        except LeaseLost:
            raise
        except HubError as error:  # told later; only the lease may run out
            logger.warning("progress not told", extra={"reason": str(error)})

    def _tell_lines(self, watch: "_Watch") -> None:
        while watch.lines:
            self._log(*watch.lines[0])
            watch.lines.popleft()

    def _require_lease(self) -> None:
        """Renew the lease; while the hub is away it holds until its time is over.

        Raises:
            Stopped: it is over, or the job was cancelled.
        """
        self._told = now = time.monotonic()
        try:
            kept = jobs.renew(self._hub, self._leased, self._config.lease_s)
            self._renewed = now if kept else self._renewed
        except HubError as error:
            logger.warning("lease not renewed", extra={"reason": str(error)})
            kept = now - self._renewed < self._config.lease_s
        if not kept:
            raise Stopped(f"job {self._leased.job_id[:12]}: cancelled, or another worker's")

    def _log(self, level: str, text: str) -> None:
        jobs.log(self._hub, self._leased, level, text)


class _Watch(logging.Handler):
    """Hears what the thread of a step says, and stops it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.stop = threading.Event()
        self.found: tuple[int, int] | None = None
        self.lines: deque[tuple[str, str]] = deque(maxlen=1000)
        self._thread = 0

    def run(self, work: Callable[[], object]) -> object:
        """Do the work in this thread."""
        self._thread = threading.get_ident()
        heard = logging.getLogger("inspection")
        heard.addHandler(self)
        try:
            with watched(self._look):
                return work()
        finally:
            heard.removeHandler(self)

    def _look(self, done: int, total: int) -> None:
        self.found = done, total
        if self.stop.is_set():
            raise Stopped("not wanted any more")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line of the thread's for the job's log."""
        if record.thread == self._thread:
            self.lines.append((record.levelname[:8], record.getMessage()))
