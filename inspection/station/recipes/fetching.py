"""Copies offered bundles into the station, whole or not at all, whatever becomes of their source.

A bundle's id is the sha256 of its SHA256SUMS, and that names the sha256 of every file, so nothing
of a source is believed. Signature, gate and self-test are looked at afterwards, by others.
"""

import hashlib
import shutil
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Event as Flag
from typing import Protocol

from inspection.bundles.bundle import CARD, read_signed_card
from inspection.bundles.seal import GATE, SIGNATURE, SUMS, parse_sums
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    BundleUnavailable,
    InspectionError,
    StationError,
)
from inspection.core.folders import new_folder
from inspection.core.limits import (
    EPOCH,
    MAX_GATE_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_SUMS_BYTES,
    list_folder,
    open_file,
    read_file,
)
from inspection.core.records import hash_file
from inspection.station.recipes.standing import rank

MOST_BYTES = 2_000_000_000  # of a whole bundle; ours have 10 MB, the largest backbones 300
LIST_S = 10  # the longest request for a list, beyond what a hub was asked to wait
MOST_RENEWED_BYTES = MAX_SIGNATURE_BYTES + MAX_GATE_BYTES
MOST_OF = {SUMS: MAX_SUMS_BYTES, SIGNATURE: MAX_SIGNATURE_BYTES, GATE: MAX_GATE_BYTES}
PIECE_BYTES = 1 << 20
Pieces = Generator[bytes, None, None]
Stamp = tuple[int, int, int]


class SourceGone(StationError):
    """A place of updates does not give what was asked of it now; it is asked again later."""


@dataclass(frozen=True)
class Offer:
    """A bundle some source has, as it says; only the id is proven by what is fetched."""

    bundle_id: str
    name: str
    created_at: datetime
    where: str
    """For people."""
    read: Callable[[str], Pieces]
    """Gives the bytes of one of its files, in pieces; raises SourceGone."""
    chosen_at: datetime | None = None
    """When a person chose it for this station; none: nobody did."""
    shadow: bool = False
    """It is to score beside the bundle of its name, and not to judge."""
    refused: str = ""
    """Why nothing more is known of it, its name neither: nobody trusted signed it, or it is
    damaged."""

    @property
    def rank(self) -> datetime:
        """Of several offers that with the highest is wanted."""
        return rank(self.created_at, self.chosen_at)


class BundleSource(Protocol):
    """A place that may hold bundles."""

    def offers(self, stop: Flag, /) -> tuple[Offer, ...]:
        """Give what is there now; nothing where the place itself is not there.

        Args:
            stop: the station is to end; what is asked of the place and its offers ends with it.

        Raises:
            SourceGone: it does not say.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class FolderSource:
    """A folder, a USB stick's too, that is a bundle or holds bundles directly below.

    Args:
        folder: may come and go.
        trusted_keys: who may sign bundles; nothing of another's is read but its signature.
        chosen_at: when a person chose what lies there; none: nobody did.
    """

    def __init__(
        self, folder: Path, trusted_keys: tuple[str, ...], chosen_at: datetime | None = None
    ) -> None:
        self._folder, self._trusted_keys, self._chosen_at = folder, trusted_keys, chosen_at
        self._known: dict[Path, tuple[tuple[Stamp, ...], Offer]] = {}

    def offers(self, _stop: Flag, /) -> tuple[Offer, ...]:
        """Give every bundle that is there; what was there before is not read again.

        Raises:
            SourceGone: the folder cannot be read.
        """
        try:
            below = list_folder(self._folder) if self._folder.is_dir() else []
            folders = [one for one in (self._folder, *below) if (one / SUMS).is_file()]
            return tuple(self._offer(one) for one in folders if not one.name.startswith("."))
        except OSError as error:
            raise SourceGone(f"{self._folder}: cannot be read ({error.strerror})") from error

    def _offer(self, folder: Path) -> Offer:
        stamps = tuple(_stamp(folder / name) for name in (SUMS, SIGNATURE, CARD))
        known = self._known.get(folder)
        if known and known[0] == stamps:
            return known[1]

        def read(name: str) -> Pieces:
            return read_pieces(folder / name)

        try:
            bundle_id, card = read_signed_card(folder, self._trusted_keys)
        except BundleError as error:
            offer = Offer("", "", EPOCH, str(folder), read, refused=str(error))
            if isinstance(error, BundleUnavailable) or isinstance(error.__cause__, OSError):
                return offer  # the stick's trouble, which may pass
        else:
            created_at = card.origin.created_at
            offer = Offer(bundle_id, card.name, created_at, str(folder), read, self._chosen_at)
        self._known[folder] = stamps, offer
        return offer

    def close(self) -> None:
        """Let go of nothing."""


def _stamp(path: Path) -> Stamp:
    """Give what changes with a file's bytes; zeros for one that is not there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_pieces(path: Path) -> Pieces:
    """Give the bytes of a file; raises SourceGone."""
    try:
        with open_file(path) as stream:
            while chunk := stream.read(PIECE_BYTES):
                yield chunk
    except OSError as error:
        raise SourceGone(
            f"{path}: cannot be read ({error.strerror}); leave the bundle where it is until it is "
            "copied"
        ) from error


def fetch(offer: Offer, copies: Path, stop: Flag) -> Path:
    """Copy an offered bundle to `copies`/bundle_id; files that came earlier are not fetched again.

    Args:
        offer: which bundle.
        copies: folder of the station's own copies.
        stop: the station is to end; what came is kept for the next time.

    Returns:
        The folder of the copy, durable and complete.

    Raises:
        SourceGone: the source went away, the station is to end, or the bundle has no gate record.
        BundleCorrupt: what the source gave is not what the id promises; it may be mended there.
        BundleError: this can never be a bundle.
        InspectionError: the copy cannot be written; what came is deleted, for its room.
    """
    copy = copies / offer.bundle_id
    if copy.is_dir():
        return copy
    arriving = arriving_folder(copies, offer.bundle_id)
    try:
        arriving.mkdir(parents=True, exist_ok=True)
        _Fetching(offer, arriving, stop, MOST_BYTES).everything()
        with new_folder(copy) as whole:
            for path in arriving.iterdir():
                path.rename(whole / path.name)
        arriving.rmdir()
    except OSError as error:
        shutil.rmtree(arriving, ignore_errors=True)
        raise InspectionError(
            f"{copy}: cannot be written ({error}); free space or rights"
        ) from error
    return copy


def take_back(copy: Path) -> None:
    """Make a copy one that is not complete, so that the next `fetch` mends what is not sound.

    Raises:
        OSError: it stays as it is.
    """
    copy.rename(arriving_folder(copy.parent, copy.name))


def hash_renewed(read: Callable[[str], Pieces]) -> str:
    """Hash what may be renewed of a bundle under the same id: its signature and its gate record.

    Raises:
        SourceGone: they cannot be read, or are too large to be that.
    """
    digest, left = hashlib.sha256(), MOST_RENEWED_BYTES
    for name in (SIGNATURE, GATE):
        with closing(read(name)) as pieces:
            for piece in pieces:
                digest.update(piece)
                left -= len(piece)
                if left < 0:
                    raise SourceGone(f"{SIGNATURE}, {GATE}: more than {MOST_RENEWED_BYTES:,} bytes")
    return digest.hexdigest()


def arriving_folder(copies: Path, bundle_id: str) -> Path:
    """Give the place of a copy that is not complete."""
    return copies / f".{bundle_id}.arriving"


@dataclass
class _Fetching:
    """One bundle on its way."""

    offer: Offer
    folder: Path
    stop: Flag
    bytes_left: int

    def everything(self) -> None:
        """Fetch what is not here yet."""
        if self._fetch(SUMS) != self.offer.bundle_id:
            raise BundleCorrupt(
                f"{self.offer.where}: {SUMS} is not the one of {self.offer.bundle_id[:12]}; copy "
                "the bundle again"
            )
        sums = read_file(self.folder / SUMS, MAX_SUMS_BYTES)
        wanted = _read_sums(sums, self.offer.where)
        self._fetch(SIGNATURE)
        try:
            self._fetch(GATE)
        except SourceGone as error:
            raise SourceGone(
                f"{self.offer.where}: without gate record ({error}); run inspection gate"
            ) from error
        for name, sha256 in wanted.items():
            path = self.folder / name
            if (path.is_file() and hash_file(path) == sha256) or self._fetch(name) == sha256:
                continue
            raise BundleCorrupt(
                f"{self.offer.where}: '{name}' is not what {SUMS} says; copy the bundle again"
            )

    def _fetch(self, name: str) -> str:
        """Write one file as the source gives it, durably; gives its sha256."""
        path, digest, left = self.folder / name, hashlib.sha256(), MOST_OF.get(name, MOST_BYTES)
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self.offer.read(name)) as pieces, path.open("wb") as stream:
            for piece in pieces:
                left -= len(piece)
                self._count(len(piece), left)
                digest.update(piece)
                stream.write(piece)
        return digest.hexdigest()

    def _count(self, length: int, left: int) -> None:
        if self.stop.is_set():
            raise SourceGone(f"{self.offer.where}: the station ends; fetched after its next start")
        self.bytes_left -= length
        if min(self.bytes_left, left) < 0:
            raise BundleError(
                f"{self.offer.where}: it or one of its files is larger than that of any bundle; "
                "export it again"
            )


def _read_sums(sums: bytes, where: str) -> dict[str, str]:
    try:
        return parse_sums(sums)
    except ValueError as error:
        raise BundleCorrupt(f"{where}: {SUMS}: {error}; copy the bundle again") from error
