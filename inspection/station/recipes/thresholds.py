"""Brings signed threshold records into a running station, beside the loop.

Every sound record of the configured folder or hub is copied to data_dir first, so that a band in
force survives a restart and the absence of both. Only a newer record takes it back. One by which a
golden part is judged otherwise than known is neither copied nor in force.
"""

import logging
import time
from pathlib import Path
from threading import Event as Flag

from inspection.bundles.bundle import REST_S
from inspection.bundles.thresholds import SignedRecord, newest
from inspection.core.errors import InspectionError
from inspection.station.look import words_of
from inspection.station.recipes.fetching import LIST_S
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.records import FolderRecords, RecordSource, open_records
from inspection.station.selftest import selftest
from inspection.station.settings import StationConfig

COPIES = "thresholds"
START_S = 2.0  # so long a hub may hold up the start of a station
NEVER = Flag()
logger = logging.getLogger(__name__)


def read_records(config: StationConfig, recipes: Recipes) -> None:
    """Put the threshold records a station follows in force; of a hub's those that came before.

    Nothing is written, and no hub is asked.
    """
    ThresholdUpdates(config, recipes, keeps=False)


class ThresholdUpdates:
    """Looks for threshold records; the first look is done when it is made, before any part.

    Args:
        config: the station's configuration.
        recipes: what the records are for; those in force there stay so.
        keeps: copy new records to data_dir, and ask a hub for them.
    """

    def __init__(self, config: StationConfig, recipes: Recipes, *, keeps: bool = True) -> None:
        self._config, self._recipes, self._keeps = config, recipes, keeps
        self._copies = config.data_dir / COPIES
        self._sound = {one.sha256: one for one in recipes.records}
        self._kept: set[str] = set()
        self._refused: dict[str, str] = {}  # sha256 → which golden parts stand against it
        self._said: set[str] = set()
        self._handed_on: tuple[frozenset[str], str] = frozenset(), ""
        place = config.updates.thresholds
        self._source: RecordSource | None = None
        if place is not None:
            if keeps or isinstance(place, Path):
                self._source = open_records(place, config)
            copied = FolderRecords(self._copies, config.keys, needed=False)
            copies, self._lost = copied.read(NEVER, 0, 0)
            self._kept = {one.sha256 for one in copies}
            self._sound |= {one.sha256: one for one in copies}
            recipes.set_records(self._sound.values(), "")
            self._try_look(NEVER, 0, START_S)

    def run(self, stop: Flag) -> None:
        """Look until `stop` is set, every `updates.poll_ms`; a hub is left to wait for news."""
        if self._source is None:
            return
        longest_s, poll_s = self._source.wait_s, self._config.updates.poll_ms / 1000
        pace_s = pause_s = min(poll_s, longest_s) if longest_s else poll_s
        try:
            while not stop.wait(pause_s):
                asked_s = time.monotonic()
                wait_s = 0 if self._handed_on[1] else longest_s  # what is wrong may pass any time
                self._try_look(stop, wait_s, LIST_S)
                spent_s = time.monotonic() - asked_s if wait_s else 0.0
                pause_s = max(0.0, pace_s - spent_s)
        finally:
            self._source.close()

    def _try_look(self, stop: Flag, wait_s: int, most_s: float) -> None:
        """Look once; whatever goes wrong is said, and the band in force stays."""
        try:
            self.look(stop, wait_s, most_s)
        except Exception as error:  # noqa: BLE001 - top of a thread; it looks again at the next poll
            self._hand_on([f"no look for thresholds: {words_of(error)}"])

    def look(self, stop: Flag = NEVER, wait_s: int = 0, most_s: float = LIST_S) -> None:
        """Look once; what is unsound or for no bundle here is noted, and the band before stays.

        Args:
            stop: the station is to end; the look ends with it.
            wait_s: how long a hub may wait for news, seconds.
            most_s: how long it may take beyond that, seconds.
        """
        if self._source is None:
            return
        found, unsound = self._source.read(stop, wait_s, most_s)
        if stop.is_set():
            return
        problems = [*self._lost, *unsound, *self._take(found)]
        last = newest(self._sound.values())
        if last and last.record.bundle_id not in self._recipes.kept():
            problems.append(
                f"{last.file_name}: is for bundle {last.record.bundle_id[:12]}, which does not "
                "judge here; it waits for it"
            )
        self._hand_on(problems)

    def _hand_on(self, problems: list[str]) -> None:
        """Put what is sound in force; say what stands against the others, in the log once."""
        for problem in set(problems) - self._said:
            self._said.add(problem)
            logger.warning("threshold record not in force", extra={"reason": problem})
        further = f" ({len(problems) - 1} more in the log)" if len(problems) > 1 else ""
        handed_on = frozenset(self._sound), problems[-1] + further if problems else ""
        if handed_on != self._handed_on:
            self._handed_on = handed_on
            self._recipes.set_records(self._sound.values(), handed_on[1])
            logger.info("thresholds read", extra={"records": len(self._sound)})

    def _take(self, found: list[SignedRecord]) -> list[str]:
        """Take new records, newest first, so that only what would judge is held against parts."""
        problems: list[str] = []
        for one in sorted(found, key=lambda one: (one.record.when, one.sha256), reverse=True):
            problem = "" if one.sha256 in self._sound else self._misjudged(one)
            problem = problem or self._keep(one)
            if problem:
                problems.append(problem)
            elif one.sha256 not in self._sound:
                self._sound[one.sha256] = one
                self._recipes.set_records(self._sound.values(), self._handed_on[1])
        return problems

    def _misjudged(self, signed: SignedRecord) -> str:
        """Say why a record may not be in force, or nothing.

        It lies beyond its card's limits, or golden parts would be judged otherwise than known.
        """
        if beyond := self._recipes.refusals(signed):
            return f"{signed.file_name}: refused, the thresholds before stay ({beyond[0]})"
        if signed.sha256 not in self._refused:
            changed = self._recipes.changed_by(signed)
            failed = selftest(changed, self._config.guards, rest_s=REST_S).failed if changed else ()
            if not failed:
                return ""
            parts = ", ".join(f"{one.name}: {one.found}; wanted {one.wanted}" for one in failed)
            self._refused[signed.sha256] = (
                f"{signed.file_name}: refused, the thresholds before stay ({parts}); set others, "
                "or mend golden_parts and start the station again"
            )
        return self._refused[signed.sha256]

    def _keep(self, signed: SignedRecord) -> str:
        """Copy a record to data_dir; say what went wrong, or nothing."""
        if self._keeps and signed.sha256 not in self._kept:
            try:
                signed.write(self._copies)
            except InspectionError as error:
                return str(error)
            self._kept.add(signed.sha256)
        return ""
