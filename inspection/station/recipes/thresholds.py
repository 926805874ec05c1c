"""Brings signed threshold records into a running station, beside the loop.

Every sound record of the configured folder is copied to data_dir first, so that a band in force
survives a restart and the folder's absence. Only a newer record takes it back. One by which a
golden part is judged otherwise than known is neither copied nor in force.
"""

import logging
from pathlib import Path
from threading import Event as Flag

from inspection.bundles.bundle import REST_S
from inspection.bundles.thresholds import SignedRecord, newest, read_thresholds, record_files
from inspection.core.errors import InspectionError
from inspection.station.look import words_of
from inspection.station.recipes.recipes import Recipes
from inspection.station.selftest import selftest
from inspection.station.settings import StationConfig

COPIES = "thresholds"
logger = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


def read_records(config: StationConfig, recipes: Recipes) -> None:
    """Put the threshold records a station follows in force; nothing is written."""
    ThresholdUpdates(config, recipes, keeps=False)


class ThresholdUpdates:
    """Looks for threshold records; the first look is done when it is made, before any part.

    Args:
        config: the station's configuration.
        recipes: what the records are for; those in force there stay so.
        keeps: copy new records to data_dir.
    """

    def __init__(self, config: StationConfig, recipes: Recipes, *, keeps: bool = True) -> None:
        self._config, self._recipes, self._keeps = config, recipes, keeps
        self._copies = config.data_dir / COPIES
        self._sound = {one.sha256: one for one in recipes.records}
        self._kept: set[str] = set()
        self._refused: dict[str, str] = {}  # sha256 → which golden parts stand against it
        self._read: dict[Path, tuple[Stamp, SignedRecord | str]] = {}
        self._said: set[str] = set()
        self._handed_on: tuple[frozenset[str], str] = frozenset(), ""
        if config.updates.thresholds is not None:
            copies, self._lost = self._read_all(self._copies)
            self._kept = {one.sha256 for one in copies}
            self._sound |= {one.sha256: one for one in copies}
            recipes.set_records(self._sound.values(), "")
            self.look()

    def run(self, stop: Flag) -> None:
        """Look every `updates.poll_ms` until `stop` is set."""
        while not stop.wait(self._config.updates.poll_ms / 1000):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - top of a thread; it looks again at the next poll
                self._hand_on([f"no look for thresholds: {words_of(error)}"])

    def look(self) -> None:
        """Look once; what is unsound or for no bundle here is noted, and the band before stays."""
        folder = self._config.updates.thresholds
        if folder is None:
            return
        found, unsound = self._read_all(folder)
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

    def _read_all(self, folder: Path) -> tuple[list[SignedRecord], list[str]]:
        """Give the sound records of a folder, and what stands against the others."""
        try:
            found = [self._read_changed(path) for path in record_files(folder)]
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            if absent and folder == self._copies:
                return [], []
            trouble = "is not there" if absent else f"cannot be read ({error.strerror})"
            return [], [f"{folder}: {trouble}; the thresholds in force stay"]
        sound = [one for one in found if isinstance(one, SignedRecord)]
        return sound, [one for one in found if isinstance(one, str)]

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
        """Say which golden parts a record would let be judged otherwise than known, or nothing."""
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

    def _read_changed(self, path: Path) -> SignedRecord | str:
        """Read a file, or give what was found when it was last read as it is now."""
        try:
            status = path.stat()
            stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns
            known = self._read.get(path)
            if known and known[0] == stamp:
                return known[1]
            found: SignedRecord | str = read_thresholds(path, self._config.trusted_keys)
        except InspectionError as error:
            found = str(error)
            if isinstance(error.__cause__, OSError):
                return found  # the share's trouble, not the record's
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror})"
        self._read[path] = stamp, found
        return found
