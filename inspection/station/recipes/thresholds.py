"""Brings signed threshold records into a running station, beside the loop.

Every sound record of the configured folder is copied to data_dir first, so that a band in force
survives a restart and the folder's absence. Only a newer record takes it back.
"""

import logging
from pathlib import Path
from threading import Event as Flag

from inspection.bundles.thresholds import SignedRecord, newest, read_thresholds, record_files
from inspection.core.errors import InspectionError
from inspection.station.recipes.recipes import Recipes
from inspection.station.settings import StationConfig

COPIES = "thresholds"
logger = logging.getLogger(__name__)
Stamp = tuple[int, int, int]


class ThresholdUpdates:
    """Looks for threshold records; the first look is done when it is made, before any part."""

    def __init__(self, config: StationConfig, recipes: Recipes) -> None:
        self._config, self._recipes = config, recipes
        self._copies = config.data_dir / COPIES
        self._sound: dict[str, SignedRecord] = {}  # by sha256
        self._read: dict[Path, tuple[Stamp, SignedRecord | str]] = {}
        self._said: set[str] = set()
        self._handed_on: tuple[frozenset[str], str] = frozenset(), ""
        if config.updates.thresholds is not None:
            self._lost = self._look_into(self._copies)
            self.look()

    def run(self, stop: Flag) -> None:
        """Look every `updates.poll_ms` until `stop` is set."""
        while not stop.wait(self._config.updates.poll_ms / 1000):
            self.look()

    def look(self) -> None:
        """Look once; what is unsound or for no bundle here is noted, and the band before stays."""
        folder = self._config.updates.thresholds
        if folder is None:
            return
        problems = [*self._lost, *self._look_into(folder)]
        if not folder.is_dir():
            problems.append(f"{folder}: is not there; the thresholds in force stay")
        last = newest(self._sound.values())
        if last and last.record.bundle_id not in self._recipes.kept():
            problems.append(
                f"{last.file_name}: is for bundle {last.record.bundle_id[:12]}, which does not "
                "judge here; it waits for it"
            )
        for problem in set(problems) - self._said:
            self._said.add(problem)
            logger.warning("threshold record not in force", extra={"reason": problem})
        further = f" ({len(problems) - 1} more in the log)" if len(problems) > 1 else ""
        handed_on = frozenset(self._sound), problems[-1] + further if problems else ""
        if handed_on != self._handed_on:
            self._handed_on = handed_on
            self._recipes.set_records(self._sound.values(), handed_on[1])
            logger.info("thresholds read", extra={"records": len(self._sound)})

    def _look_into(self, folder: Path) -> list[str]:
        """Take the sound records of a folder; give what stands against the others."""
        problems: list[str] = []
        for path in record_files(folder):
            found = self._read_changed(path)
            if isinstance(found, str):
                problems.append(found)
            elif found.sha256 not in self._sound:
                problem = "" if folder == self._copies else self._keep(found)
                if problem:
                    problems.append(problem)
                else:
                    self._sound[found.sha256] = found
        return problems

    def _keep(self, signed: SignedRecord) -> str:
        """Copy a record to data_dir; say what went wrong, or nothing."""
        try:
            signed.write(self._copies)
        except InspectionError as error:
            return str(error)
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
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror})"
        self._read[path] = stamp, found
        return found
