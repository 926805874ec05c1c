"""Opens bundles and the segmenter on the hub, on first use; few bundles stay open at a time."""

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock

from inspection.bundles.bundle import Bundle, open_bundle
from inspection.bundles.graph import Compiling
from inspection.bundles.seal import SUMS
from inspection.core.errors import BundleCorrupt, BundleUnavailable, HubError
from inspection.hub.artefacts import Artefacts, bundle_file_name
from inspection.hub.patches import Patches, open_patches
from inspection.hub.refusals import NotThere
from inspection.masks.clicks import Clicks
from inspection.masks.opening import open_segmenter
from inspection.station.recipes.fetching import Offer, Pieces, fetch, take_back

MOST_OPEN = 4  # bundles; one of a small backbone takes 50 MB
MOST_AT_ONCE = 4  # pictures that are looked at: one of 64 Mpx takes 0.2 GB, and its map and masks
COMPILING = Compiling(gently=True)  # one graph at a time on all cores; what stations send goes on
NEVER = Event()


@dataclass
class _Slot:
    """A bundle that is open, or is being opened."""

    bundle: Bundle | None = None
    patches: Patches | None = None
    patched: bool = False
    """Whether `patches` was looked for; most models have none."""
    lock: Lock = field(default_factory=Lock)


class Opened:
    """What judges, explains and outlines on the hub; for several threads at once.

    Args:
        artefacts: where the bundles are kept.
        cache_dir: local folder for copies of them; may be deleted while no hub runs.
        segmenter: as `masks.opening.open_segmenter` takes it.
    """

    def __init__(self, artefacts: Artefacts, cache_dir: Path, segmenter: Path | None) -> None:
        self._artefacts, self._copies = artefacts, cache_dir / "bundles"
        self._segmenter = segmenter
        self._slots: OrderedDict[str, _Slot] = OrderedDict()
        self._clicks: Clicks | None = None
        self._lock, self._clicks_lock = Lock(), Lock()
        self.room = BoundedSemaphore(MOST_AT_ONCE)
        """Held by whoever has a decoded picture, so that many askers do not fill the memory."""

    def bundle(self, bundle_id: str) -> Bundle:
        """Give an open bundle; the first time, and after others were asked for, that takes a while.

        Raises:
            NotThere: it is not on this hub.
            HubError: it cannot be fetched or opened now.
            BundleError: what is kept of it is damaged.
        """
        slot = self._slot(bundle_id)
        with slot.lock:
            return self._in_slot(slot, bundle_id)

    def patches(self, bundle_id: str) -> Patches | None:
        """Give what compares patches of parts with a bundle's normals; none for other models.

        Raises:
            NotThere, HubError, BundleError: as for `bundle`.
        """
        slot = self._slot(bundle_id)
        with slot.lock:
            if not slot.patched:
                slot.patches = open_patches(self._in_slot(slot, bundle_id), COMPILING)
                slot.patched = True
            return slot.patches

    @property
    def clicks(self) -> Clicks:
        """The segmenter, with what it has seen of pictures that are clicked on.

        Raises:
            BundleError: no segmenter where the settings name one, or a damaged one.
        """
        with self._clicks_lock:
            if self._clicks is None:
                self._clicks = Clicks(open_segmenter(self._segmenter, COMPILING))
            return self._clicks

    def _slot(self, bundle_id: str) -> _Slot:
        """Give a bundle's place, the least used one leaving for it; no other name gets one."""
        if not re.fullmatch("[0-9a-f]{64}", bundle_id) or not self._artefacts.has(
            bundle_file_name(bundle_id, SUMS)
        ):
            raise NotThere(
                f"bundle '{bundle_id[:12]}': is not on this hub; wanted one that is; add it by "
                "inspection hub bundle add"
            )
        with self._lock:
            slot = self._slots.setdefault(bundle_id, _Slot())
            self._slots.move_to_end(bundle_id)
            if len(self._slots) > MOST_OPEN:
                self._slots.popitem(last=False)
        return slot

    def _in_slot(self, slot: _Slot, bundle_id: str) -> Bundle:
        if slot.bundle is None:
            slot.bundle = self._open(bundle_id)
        return slot.bundle

    def _open(self, bundle_id: str) -> Bundle:
        """Open a copy, fetched anew when the one that is here is not sound."""
        try:
            try:
                return open_bundle(self._fetch(bundle_id), compiling=COMPILING)
            except BundleCorrupt:
                take_back(self._copies / bundle_id)
            return open_bundle(self._fetch(bundle_id), compiling=COMPILING)
        except (BundleUnavailable, OSError) as error:
            raise HubError(f"bundle {bundle_id[:12]}: cannot be opened now ({error})") from error

    def _fetch(self, bundle_id: str) -> Path:
        read = partial(self._pieces, bundle_id)
        offer = Offer(bundle_id, "", datetime.now(UTC), "artefacts", read)
        return fetch(offer, self._copies, NEVER)

    def _pieces(self, bundle_id: str, path: str) -> Pieces:
        yield from self._artefacts.pieces(bundle_file_name(bundle_id, path))
