"""Recipes: which open bundle, ROI and band judge each camera of each product, as they stand now.

What judges is one immutable mapping. A swap or a new band assigns another one, so that the loop
sees it between two parts only. Whoever brings new bundles or thresholds is another module.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from threading import Lock

from inspection.bundles.bundle import Bundle
from inspection.bundles.thresholds import SignedRecord, newest
from inspection.core.decision import Band
from inspection.core.errors import FrameRejected, InspectionError
from inspection.core.records import Event, write_record
from inspection.station.clock import SYSTEM_CLOCK, Clock
from inspection.station.frames.bands import card_band, judges_alone, promise_note
from inspection.station.judge import Challenger
from inspection.station.recipes.bundle_judge import BundleJudge
from inspection.station.recipes.current import Current, Opened, Tested, golden_of
from inspection.station.recipes.standing import STANDINGS, Standings
from inspection.station.recipes.trial import Trial, has_judged
from inspection.station.selftest import NO_LIMITS, Examined, unguarded
from inspection.station.settings import StationConfig
from inspection.station.state import BundleStatus

logger = logging.getLogger(__name__)


class Recipes:
    """The judges of all recipes; for several threads at once.

    Args:
        config: the station's configuration.
        opened: (product, camera) → what its recipe keeps.
        in_force: the open bundle of each name.
        configured: ids of the bundles the recipes name, for which their own bands hold.
        standings: what the last process left: refusals and attempts.
        clock: wall clock for records.
    """

    def __init__(
        self,
        config: StationConfig,
        opened: Mapping[tuple[str, str], Opened],
        in_force: Mapping[str, Current],
        configured: frozenset[str],
        standings: Standings,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._config, self._opened, self._configured = config, opened, configured
        self._lock = Lock()  # around every change; reading the judges needs none
        self._in_force, self._clock = dict(in_force), clock
        self._challengers: dict[str, Tested] = {}
        self._refused, self._attempts = dict(standings.refused), dict(standings.attempts)
        self._records: tuple[SignedRecord, ...] = ()
        self._record_note, self._unwritten = "", False
        self._golden_turn = 0
        self._leaving: list[Bundle] = []  # freed by `settle`, not in the loop's thread
        self._renew()

    def of(self, product: str) -> Mapping[str, BundleJudge]:
        """Give the judge of every camera of a product; cheap, once per part.

        Raises:
            FrameRejected: no recipe has this product code.
        """
        judges = self._judges.get(product)
        if judges is None:
            raise FrameRejected(
                f"product '{product}': no recipe has this code; wanted one of "
                f"{', '.join(sorted(self._judges))}; add it to `recipes` or mend the code at its "
                "source"
            )
        return judges

    def judged(self, event: Event) -> None:
        """Hear of every event, in the loop's thread: a new bundle on trial may have to go."""
        if not self._on_trial:
            return
        with self._lock:
            for name, now in list(self._in_force.items()):
                if now.trial is not None:
                    bundle_id = now.bundle.bundle_id
                    if has_judged(bundle_id, event) and self._attempts.pop(bundle_id, 0):
                        self._unwritten = True  # whatever ends this process now, it was another
                    self._weigh(name, now, now.trial.after(event, bundle_id))

    def check_golden(self) -> str:
        """Judge one golden frame again, each in its turn; say what is wrong, or nothing."""
        bundles = [now.bundle for now in self._in_force.values()]
        turn, place = divmod(self._golden_turn, len(bundles))
        self._golden_turn += 1
        bundle = bundles[place]
        try:
            golden = bundle.check(bundle.golden_names[turn % len(bundle.golden_names)])
        except InspectionError as error:
            return str(error)
        if golden.reproduced:
            return ""
        return (
            f"golden frame '{golden.name}' of bundle {bundle.bundle_id[:12]}: its map differs by "
            f"{golden.difference:.2%} of its largest value, and did not at the start; the memory "
            "or the processor is damaged"
        )

    def _weigh(self, name: str, now: Current, trial: Trial) -> None:
        settings, bundle_id = self._config.updates, now.bundle.bundle_id
        if trial.faults >= settings.trial_faults:
            after = Current(
                trial.previous,
                self._clock.now(),
                chosen_at=now.previous_chosen_at,
                note=_refusal(bundle_id, trial.reason),
            )
            self._refused[bundle_id] = trial.reason
            logger.error(
                "previous bundle returned", extra={"bundle_id": bundle_id, "reason": trial.reason}
            )
        elif trial.parts >= settings.trial_parts:
            note = f"stays after {trial.parts} parts on trial, {trial.faults} of them FAULT"
            after = replace(now, trial=None, note=note)
            logger.info("trial passed", extra={"bundle_id": bundle_id})
        else:
            self._in_force[name] = replace(now, trial=trial)
            self._unwritten |= trial is not now.trial
            return
        self._end_trial(name, after, trial.previous if after.bundle is now.bundle else now.bundle)

    def _end_trial(self, name: str, after: Current, leaving: Bundle) -> None:
        self._attempts.pop(self._in_force[name].bundle.bundle_id, None)
        self._in_force[name] = after
        self._leaving.append(leaving)
        self._unwritten = True
        self._renew()

    def choose(self, name: str, bundle_id: str, chosen_at: datetime) -> None:
        """Hear that a person chose a bundle that is open: the one in force, or that before a trial.

        The one in force stays; the one before a trial judges from the next part on, and the one on
        trial is not refused. Any other changes nothing. `settle` makes it durable.
        """
        with self._lock:
            now = self._in_force[name]
            if bundle_id == now.bundle.bundle_id:
                note = f"chosen by a person on {chosen_at:%Y-%m-%d %H:%M} UTC"
                self._in_force[name] = replace(now, chosen_at=chosen_at, note=note)
                self._unwritten = True
            elif now.trial and bundle_id == now.trial.previous.bundle_id:
                self._end_trial(name, self._back(now, now.trial, chosen_at), now.bundle)

    def _back(self, now: Current, trial: Trial, chosen_at: datetime) -> Current:
        left = now.bundle.bundle_id
        logger.info("trial ended by a person", extra={"bundle_id": left})
        return Current(
            trial.previous,
            self._clock.now(),
            previous=left,
            chosen_at=chosen_at,
            previous_chosen_at=now.chosen_at,
            note=f"chosen by a person while {left[:12]} was on trial",
        )

    def swap(self, name: str, bundle: Bundle, chosen_at: datetime | None = None) -> None:
        """Let a tested bundle judge from the next part on, on trial.

        Args:
            name: of the bundle.
            bundle: tested, and open.
            chosen_at: when a person chose it; none: it is newer.

        Raises:
            InspectionError: it cannot be made durable; the one before goes on.
        """
        before = self._in_force[name]
        now = Current(
            bundle,
            self._clock.now(),
            previous=before.bundle.bundle_id,
            chosen_at=chosen_at,
            previous_chosen_at=before.chosen_at,
            trial=Trial(before.bundle),
            note=f"followed {before.bundle.bundle_id[:12]}",
        )
        self._write({**self._in_force, name: now})
        with self._lock:
            self._in_force[name] = now
            self._renew()
        logger.info("bundle swapped", extra={"bundle": name, "bundle_id": bundle.bundle_id})

    def begin(self, bundle_id: str) -> None:
        """Note, durably, that this process begins to try a bundle.

        Raises:
            InspectionError: it cannot be noted.
        """
        with self._lock:
            self._attempts[bundle_id] = self._attempts.get(bundle_id, 0) + 1
            self._unwritten = True
        try:
            self.settle()
        except InspectionError:
            with self._lock:
                self._attempts[bundle_id] -= 1
            raise

    def challenge(self, name: str, challenger: Tested | None) -> None:
        """Let a tested bundle score in the shadow from the next part on; none lets go of it."""
        with self._lock:
            self._challengers.pop(name, None)
            if challenger is not None:
                self._challengers[name] = challenger
            self._renew()

    def challengers(self) -> Mapping[str, str]:
        """Give the ids of the bundles that score in the shadow, by bundle name."""
        with self._lock:
            return {name: one.bundle_id for name, one in self._challengers.items()}

    def lasted(self, bundle_id: str) -> None:
        """Hear that a bundle has judged or scored a part, and the process goes on."""
        if bundle_id in self._attempts:
            with self._lock:
                self._unwritten |= self._attempts.pop(bundle_id, 0) > 0

    def attempts(self, bundle_id: str) -> int:
        """Give how many processes began to try a bundle, and neither judged with it nor ended."""
        return self._attempts.get(bundle_id, 0)

    def refuse(self, name: str, bundle_id: str, reason: str) -> None:
        """Never let a bundle judge here, and say so; the one before goes on."""
        with self._lock:
            self._refused[bundle_id] = reason
            self._attempts.pop(bundle_id, None)
            self._unwritten = True
        self.note(name, _refusal(bundle_id, reason))
        logger.error("bundle refused", extra={"bundle_id": bundle_id, "reason": reason})

    def note(self, name: str, note: str) -> None:
        """Say on the station's page what became of an update."""
        with self._lock:
            self._in_force[name] = replace(self._in_force[name], note=note)

    def refused(self, bundle_id: str) -> bool:
        """Say whether a bundle never judges here."""
        return bundle_id in self._refused

    def refusal(self, bundle_id: str) -> str:
        """Say why a refused bundle never judges here."""
        return _refusal(bundle_id, self._refused[bundle_id])

    def in_force(self) -> Mapping[str, Current]:
        """Give what judges now, by bundle name."""
        with self._lock:
            return dict(self._in_force)

    def kept(self) -> frozenset[str]:
        """Give the ids of the bundles in force or in the shadow, of those before, or that wait."""
        now = self.in_force().values()
        shadows = set(self.challengers().values())
        before = {one.previous for one in now if one.previous}
        trials = {one.trial.previous.bundle_id for one in now if one.trial}
        waiting = {bundle_id for one in now for bundle_id in one.waiting} - self._refused.keys()
        return frozenset({o.bundle.bundle_id for o in now} | before | trials | waiting | shadows)

    def examined(self, bundles: Mapping[str, Bundle]) -> tuple[Examined, ...]:
        """Give what the start-of-shift check examines of bundles, by name, as recipes use them."""
        return tuple(
            Examined(product, camera, judge, partial(golden_of, judge.bundle), recipe.golden_parts)
            for product, cameras in self._config.recipes.items()
            for camera, recipe in cameras.items()
            if (name := self._opened[product, camera].name) in bundles
            for judge in [self._judge(product, camera, bundles[name], self._records)]
        )

    def changed_by(self, record: SignedRecord) -> tuple[Examined, ...]:
        """Give what a further threshold record would judge otherwise of what has golden parts."""
        with self._lock:
            in_force, records = dict(self._in_force), self._records
        changed: list[Examined] = []
        for (product, camera), opened in self._opened.items():
            now = in_force[opened.name]
            golden_parts = self._config.recipes[product][camera].golden_parts
            for bundle in (now.bundle, now.trial.previous) if now.trial else (now.bundle,):
                judge = self._judge(product, camera, bundle, (*records, record))
                before = self._judge(product, camera, bundle, records)
                if golden_parts is not None and judge.band != before.band:
                    changed.append(
                        Examined(product, camera, judge, partial(golden_of, bundle), golden_parts)
                    )
        return tuple(changed)

    def refusals(self, signed: SignedRecord) -> tuple[str, ...]:
        """Say why a threshold record is not in force for bundles that judge here, if it is not."""
        with self._lock:
            cards = [
                now.bundle.card
                for now in self._in_force.values()
                if now.bundle.bundle_id == signed.record.bundle_id
            ]
        found = (signed.record.refusal(one, four_eyes=self._config.four_eyes) for one in cards)
        return tuple(filter(None, found))

    @property
    def records(self) -> tuple[SignedRecord, ...]:
        """The threshold records in force, and those that wait for their bundle."""
        return self._records

    def set_records(self, records: Iterable[SignedRecord], note: str) -> None:
        """Let these threshold records be in force from the next part on.

        Args:
            records: all sound ones, of any bundle.
            note: what stands against the others; empty when nothing does.
        """
        with self._lock:
            self._records, self._record_note = tuple(records), note
            self._renew()

    def fall_back(self, name: str, before: Current, refused: Mapping[str, str]) -> None:
        """Let an older bundle judge, before the first part, and never again those refused.

        Args:
            name: of the bundle.
            before: what judges from now on.
            refused: bundle id → why it may not.
        """
        with self._lock:
            self._in_force[name] = before
            self._renew()
        for bundle_id, reason in refused.items():
            self.refuse(name, bundle_id, reason)

    def settle(self) -> None:
        """Free the bundles that left, and make durable what trials and refusals led to.

        Raises:
            InspectionError: it cannot be written; call again.
        """
        with self._lock:
            leaving, self._leaving = self._leaving, []
            unwritten, self._unwritten = self._unwritten, False
        leaving.clear()
        if unwritten:
            try:
                self._write(self._in_force)
            except BaseException:
                self._unwritten = True
                raise

    def farewell(self) -> None:
        """Note, durably, that this process ends in good order, whatever it was trying.

        Raises:
            InspectionError: it cannot be written.
        """
        with self._lock:
            self._unwritten |= bool(self._attempts)
            self._attempts.clear()
        self.settle()

    def statuses(self) -> tuple[BundleStatus, ...]:
        """Say which bundle judges each camera of each product, and how it stands."""
        with self._lock:
            in_force, judges, record_note = dict(self._in_force), self._judges, self._record_note
        statuses = []
        for (product, camera), opened in self._opened.items():
            judge = judges[product][camera]
            limits = NO_LIMITS if unguarded(judge, self._config.guards) else ""
            now = in_force[opened.name]
            promise = promise_note(now.bundle.card, self._config, product, judge.band)
            notes = (record_note, limits, promise)
            statuses.append(now.status(product, camera, judge, notes))
        return tuple(statuses)

    def _renew(self) -> None:
        """Make the judges anew and put them in force by one assignment."""
        self._judges: Mapping[str, Mapping[str, BundleJudge]] = {
            product: {camera: self._in_force_judge(product, camera) for camera in cameras}
            for product, cameras in self._config.recipes.items()
        }
        self._on_trial = any(now.trial for now in self._in_force.values())

    def _in_force_judge(self, product: str, camera: str) -> BundleJudge:
        name = self._opened[product, camera].name
        now, beside = self._in_force[name], self._challengers.get(name)
        judge = self._judge(product, camera, now.bundle, self._records)
        if beside and beside.bundle_id != judge.bundle_id and judges_alone(self._config):
            band, _ = self._band(product, camera, beside, self._records)
            scores = Challenger(beside.bundle_id, beside.folder, judge.roi, band)
            judge = replace(judge, challenger=scores)
        if now.trial is None:
            return judge
        before = self._judge(product, camera, now.trial.previous, self._records)
        return replace(judge, predecessor=before)

    def _judge(
        self, product: str, camera: str, bundle: Bundle, records: Iterable[SignedRecord]
    ) -> BundleJudge:
        opened, roi = self._opened[product, camera], self._config.recipes[product][camera].roi
        band, override = self._band(product, camera, bundle, records)
        return BundleJudge(
            bundle, roi, band, opened.acceptance, opened.recognition, override=override
        )

    def _band(
        self, product: str, camera: str, one: Bundle | Tested, records: Iterable[SignedRecord]
    ) -> tuple[Band, str]:
        """Give the thresholds in force, and who let them lie beyond the card's limits, if they do.

        A record beyond the limits that nobody else approved is in force nowhere.
        """
        four_eyes = self._config.four_eyes
        covering = (r for r in records if r.record.covers(one.bundle_id, product, camera))
        signed = newest(r for r in covering if not r.record.refusal(one.card, four_eyes=four_eyes))
        # Scores of two bundles have nothing in common, so a recipe's band is its own bundle's only.
        own = self._config.recipes[product][camera].band
        if one.bundle_id not in self._configured or one.card.threshold_limits.exceeded_by(own):
            own = None
        if signed is None:
            return own or card_band(one.card, self._config, product), ""
        return signed.record.band, signed.record.override(one.card)

    def _write(self, in_force: Mapping[str, Current]) -> None:
        with self._lock:
            standings = Standings(
                bundles={name: now.standing for name, now in in_force.items()},
                refused=dict(self._refused),
                attempts=dict(self._attempts),
            )
        write_record(self._config.data_dir / STANDINGS, standings)


def _refusal(bundle_id: str, reason: str) -> str:
    return f"{bundle_id[:12]} refused: {reason}"
