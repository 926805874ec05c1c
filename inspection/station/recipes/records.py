"""Where a station finds signed threshold records: in a folder, or at the plant's hub.

Whoever reads them gets the sound ones and, for people, what stands against the others.
"""

from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Protocol

from inspection.bundles.signing import SignedText
from inspection.bundles.thresholds import (
    SignedRecord,
    check_thresholds,
    read_thresholds,
    record_files,
)
from inspection.core.errors import BundleError, InspectionError
from inspection.station.extras import with_extra
from inspection.station.recipes.fetching import SourceGone
from inspection.station.settings import StationConfig

if TYPE_CHECKING:
    from inspection.station.recipes.hub import HubTexts

LONG_POLL_S = 20  # below the half minute after which proxies give up
Found = tuple[list[SignedRecord], list[str]]
Stamp = tuple[int, int, int]


class RecordSource(Protocol):
    """A place of threshold records."""

    wait_s: int
    """How long it may wait for news in `read`, seconds; 0: it does not wait."""

    def read(self, stop: Flag, wait_s: int, most_s: float, /) -> Found:
        """Give every sound record that is there, and what stands against the others.

        Args:
            stop: the station is to end; what is asked of the place ends with it.
            wait_s: how long to wait for other records than were given last, seconds.
            most_s: how long the place may take beyond that, seconds.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class FolderRecords:
    """A folder of records; what was read before is not read again while it is the same.

    Args:
        folder: may come and go.
        trusted_keys: whose signature a record must carry.
        needed: its absence is said.
    """

    wait_s = 0

    def __init__(self, folder: Path, trusted_keys: tuple[str, ...], *, needed: bool = True) -> None:
        self._folder, self._trusted_keys, self._needed = folder, trusted_keys, needed
        self._read: dict[Path, tuple[Stamp, SignedRecord | str]] = {}

    def read(self, _stop: Flag, _wait_s: int, _most_s: float, /) -> Found:
        """Give the sound records of the folder, and what stands against the others."""
        try:
            found = [self._read_changed(path) for path in record_files(self._folder)]
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            if absent and not self._needed:
                return [], []
            trouble = "is not there" if absent else f"cannot be read ({error.strerror})"
            return [], [f"{self._folder}: {trouble}; the thresholds in force stay"]
        return _sorted_out(found)

    def _read_changed(self, path: Path) -> SignedRecord | str:
        """Read a file, or give what was found when it was last read as it is now."""
        try:
            status = path.stat()
            stamp = status.st_size, status.st_mtime_ns, status.st_ctime_ns
            known = self._read.get(path)
            if known and known[0] == stamp:
                return known[1]
            found: SignedRecord | str = read_thresholds(path, self._trusted_keys)
        except InspectionError as error:
            found = str(error)
            if isinstance(error.__cause__, OSError):
                return found  # the share's trouble, not the record's
        except OSError as error:
            return f"{path}: cannot be read ({error.strerror})"
        self._read[path] = stamp, found
        return found

    def close(self) -> None:
        """Let go of nothing."""


class HubRecords:
    """The records a hub has for this station, believed no more than a folder's.

    Args:
        texts: what the hub has.
        trusted_keys: whose signature a record must carry.
    """

    wait_s = LONG_POLL_S

    def __init__(self, texts: "HubTexts", trusted_keys: tuple[str, ...]) -> None:
        self._texts, self._trusted_keys = texts, trusted_keys
        self._checked: dict[SignedText, SignedRecord | str] = {}

    def read(self, stop: Flag, wait_s: int, most_s: float, /) -> Found:
        """Give the sound records of the hub, and what stands against the others."""
        try:
            texts = self._texts.ask(stop, wait_s, most_s)
        except SourceGone as error:
            return [], [f"{error}; the thresholds in force stay"]
        self._checked = {one: self._checked.get(one) or self._check(one) for one in texts}
        return _sorted_out(list(self._checked.values()))

    def _check(self, signed: SignedText) -> SignedRecord | str:
        try:
            return check_thresholds(signed, self._trusted_keys, self._texts.place)
        except BundleError as error:
            return str(error)

    def close(self) -> None:
        """Close the connections."""
        self._texts.close()


def _sorted_out(found: list[SignedRecord | str]) -> Found:
    sound = [one for one in found if isinstance(one, SignedRecord)]
    return sound, [one for one in found if isinstance(one, str)]


def open_records(place: str | Path, config: StationConfig) -> RecordSource:
    """Give the configured place of records; a hub that is also an output gets its token.

    Raises:
        ConfigError: it is a hub, and what asks one is not installed.
    """
    if isinstance(place, Path):
        return FolderRecords(place, config.keys)
    with with_extra("a hub in updates.thresholds"):  # a station without one needs no httpx
        from inspection.station.recipes.hub import HubTexts
    texts = HubTexts(place, config.station, config.hub_token_file(place))
    return HubRecords(texts, config.keys)
