"""Brings newer bundles into a running station, beside the loop.

A bundle in a configured folder, on a USB stick or at the hub takes the place of the one of the same
name when it is newer, sealed by a trusted key, passed its gate, and passes the start-of-shift check
here. It is then on trial; one that fails any of it is deleted, and the one before goes on. One that
a person chose at the hub counts as made when it was chosen, so an older bundle may come back, and
stays until a newer one is made or another one chosen. A challenger takes nobody's place, see
`challenging`.
"""

import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag

from inspection.bundles.bundle import REST_S, read_released
from inspection.core.errors import (
    BundleCorrupt,
    BundleError,
    BundleUnavailable,
    InspectionError,
)
from inspection.station.extras import with_extra
from inspection.station.look import words_of
from inspection.station.recipes.challenging import Challengers
from inspection.station.recipes.current import Current
from inspection.station.recipes.fetching import (
    BundleSource,
    FolderSource,
    Offer,
    arriving_folder,
    fetch,
    hash_renewed,
    read_pieces,
    take_back,
)
from inspection.station.recipes.opening import FATAL, MOST_ATTEMPTS, open_tested
from inspection.station.recipes.recipes import Recipes
from inspection.station.recipes.standing import COPIES, rank
from inspection.station.selftest import selftest
from inspection.station.settings import StationConfig

OWN = re.compile(r"\.?[0-9a-f]{64}(\.arriving|\.partial)?")  # names of what updates leave behind
MOST_PAUSE_S = 60.0  # between two attempts to copy or try the same bundle
logger = logging.getLogger(__name__)


class BundleUpdates:
    """Looks for newer bundles until the station ends.

    It is made before the first part, and `run` belongs in a thread of its own, at every station:
    it also settles the trials that were going on when the last process ended.
    """

    def __init__(self, config: StationConfig, recipes: Recipes) -> None:
        self._config, self._recipes = config, recipes
        self._copies = config.data_dir / COPIES
        copies = (
            FolderSource(self._copies / one, config.keys, chosen_at)
            for now in recipes.in_force().values()
            for one, chosen_at in now.waiting.items()
        )
        self._sources: tuple[BundleSource, ...] = (*open_sources(config), *copies)
        self._set_aside: dict[str, str] = {}
        """Bundle id → hash of the signature and gate record with which it may not judge here."""
        self._pauses: dict[str, tuple[int, float]] = {}
        """Bundle id → how often it failed, and the monotonic second of the next attempt."""
        self._said: set[str] = set()
        self._trouble = ""  # why the last look came to no end
        self._challengers = Challengers(config, recipes, self._copies, self._say)
        for now in recipes.in_force().values():
            if now.trial is not None:
                self._resume(now.bundle.bundle_id)

    def _resume(self, bundle_id: str) -> None:
        """Count one more process that has a bundle on trial."""
        try:
            self._recipes.begin(bundle_id)
        except InspectionError as error:  # the disk is full; a trial goes on without
            self._say(str(error))

    def run(self, stop: Flag) -> None:
        """Look every `updates.poll_ms` until `stop` is set; then let go of every source."""
        try:
            while not stop.wait(self._config.updates.poll_ms / 1000):
                self._look_in_thread(stop)
        finally:
            for source in self._sources:
                source.close()
            try:
                self._recipes.farewell()
            except InspectionError as error:
                self._say(str(error))

    def _look_in_thread(self, stop: Flag) -> None:
        """Look once; whatever goes wrong is said, and the bundles in force go on."""
        trouble = ""
        try:
            self.look(stop)
        except Exception as error:  # noqa: BLE001 - top of a thread; it looks again at the next poll
            trouble = f"no look for updates: {words_of(error)}"
            self._say(trouble)
        for name, now in self._recipes.in_force().items():
            if trouble != self._trouble and now.note in {"", self._trouble}:
                self._recipes.note(name, trouble)
        self._trouble = trouble

    def look(self, stop: Flag) -> None:
        """Look once, and try at most one newer bundle of each name."""
        self._settle()
        self._clear()
        found, all_answered = self._offers(stop)
        for offer in found:
            self._refuse(offer.refused)
        offers = [offer for offer in found if not offer.shadow and not offer.refused]
        for offer in offers:
            self._heed(offer)
        self._settle()
        for name, now in self._recipes.in_force().items():
            newer = [offer for offer in offers if offer.name == name and self._wants(offer, now)]
            if newer and not stop.is_set():
                self._take(name, max(newer, key=lambda offer: offer.rank), stop)
        if all_answered:
            self._challengers.look([offer for offer in found if offer.shadow], stop)

    def _settle(self) -> None:
        try:
            self._recipes.settle()
        except InspectionError as error:  # the disk is full: again next time
            self._say(str(error))

    def _refuse(self, why: str) -> None:
        """Note once, for every bundle since its name is not known, why one is not looked at."""
        if why and (said := f"not taken: {why}") not in self._said:
            for name in self._recipes.in_force():
                self._note(name, said)

    def _heed(self, offer: Offer) -> None:
        """Follow a person's choice as far as no bundle has to be opened for it, or say why not."""
        now = self._recipes.in_force().get(offer.name)
        if now is None or offer.chosen_at is None or offer.chosen_at <= now.rank:
            return
        if self._recipes.refused(offer.bundle_id):
            self._note(offer.name, self._recipes.refusal(offer.bundle_id))
        else:
            self._recipes.choose(offer.name, offer.bundle_id, offer.chosen_at)

    def _offers(self, stop: Flag) -> tuple[list[Offer], bool]:
        """Give what every source has, and whether all of them answered."""
        offers: list[Offer] = []
        silent = False
        for source in self._sources:
            try:
                offers += source.offers(stop)
            except Exception as error:  # noqa: BLE001 - top of a thread; the others are looked at
                silent = True
                self._say(words_of(error))
        if not silent:  # else what came of a bundle is of use when its source answers again
            offered = {offer.bundle_id for offer in offers}
            self._pauses = {one: pause for one, pause in self._pauses.items() if one in offered}
            self._set_aside = {one: why for one, why in self._set_aside.items() if one in offered}
        return offers, not silent

    def _wants(self, offer: Offer, now: Current) -> bool:
        _, due_s = self._pauses.get(offer.bundle_id, (0, 0.0))
        return (
            now.trial is None
            and offer.bundle_id != now.bundle.bundle_id
            and offer.rank > now.rank
            and not self._recipes.refused(offer.bundle_id)
            and time.monotonic() >= due_s
        )

    def _take(self, name: str, offer: Offer, stop: Flag) -> None:
        """Fetch a bundle, look at it, try it; whatever goes wrong, the one before goes on."""
        bundle_id, decided = offer.bundle_id, False
        try:
            decided = not self._is_set_aside(offer) and self._decide(name, offer, stop)
        except Exception as error:  # noqa: BLE001 - top of a thread; it is tried again after a pause
            self._note(name, f"{bundle_id[:12]} not taken yet: {words_of(error)}")
        failures, _ = self._pauses.pop(bundle_id, (0, 0.0))
        if not decided:
            pause_s = min(MOST_PAUSE_S, self._config.updates.poll_ms / 1000 * 2**failures)
            self._pauses[bundle_id] = min(failures + 1, 10), time.monotonic() + pause_s
        self._clear()

    def _is_set_aside(self, offer: Offer) -> bool:
        """Say whether a person has to do something about a bundle, and has not yet."""
        known = self._set_aside.get(offer.bundle_id)
        if known is None or (known and hash_renewed(offer.read) != known):
            self._set_aside.pop(offer.bundle_id, None)
            return False
        return True

    def _decide(self, name: str, offer: Offer, stop: Flag) -> bool:
        """Let a bundle judge or refuse it for good; false when a person has to do something."""
        copy = self._copies / offer.bundle_id
        try:
            if not self._is_released(name, offer, stop):
                return False
            self._try(name, offer, copy)
        except BundleCorrupt:  # the source may be mended, or the copy
            if copy.is_dir():
                take_back(copy)
            raise
        return True

    def _is_released(self, name: str, offer: Offer, stop: Flag) -> bool:
        """Copy a bundle and say whether it may judge here; if not, set it aside."""
        renewed = ""  # what can never be copied stays set aside, whatever its gate says
        try:
            copy = fetch(offer, self._copies, stop)
            renewed = hash_renewed(lambda file_name: read_pieces(copy / file_name))
            self._require_newer(name, offer, copy)
        except (BundleCorrupt, BundleUnavailable):
            raise
        except BundleError as error:
            self._set_aside[offer.bundle_id] = renewed
            self._note(name, f"{offer.bundle_id[:12]} not taken: {error}")
            return False
        return True

    def _require_newer(self, name: str, offer: Offer, copy: Path) -> None:
        """Refuse a copy that may not judge, or is not what was offered, before it is opened."""
        card = read_released(copy, self._config.keys).card
        now = self._recipes.in_force()[name]
        if card.name != name or rank(card.origin.created_at, offer.chosen_at) <= now.rank:
            raise BundleError(
                f"its card says '{card.name}' of {card.origin.created_at:%Y-%m-%d %H:%M} UTC; "
                f"wanted a newer '{name}' than that of {now.rank:%Y-%m-%d %H:%M} UTC; "
                "list it right"
            )

    def _try(self, name: str, offer: Offer, copy: Path) -> None:
        """Open a bundle gently, make the start-of-shift check with it, and let it judge."""
        bundle_id = offer.bundle_id
        if self._recipes.attempts(bundle_id) >= MOST_ATTEMPTS:
            self._recipes.refuse(name, bundle_id, FATAL)
            return
        self._recipes.begin(bundle_id)
        try:
            bundle = open_tested(copy, self._config, gently=True)
        except BundleError as error:
            may_pass = isinstance(error, BundleCorrupt | BundleUnavailable)
            if may_pass and self._recipes.attempts(bundle_id) < MOST_ATTEMPTS:
                raise
            self._recipes.refuse(name, bundle_id, str(error))
            return
        examined = self._recipes.examined({name: bundle})
        found = selftest(examined, self._config.guards, rest_s=REST_S)
        if found.passed:
            self._recipes.swap(name, bundle, offer.chosen_at)
        else:
            self._recipes.refuse(name, bundle_id, "; ".join(map(str, found.failed)))

    def _clear(self) -> None:
        """Delete the copies of bundles that neither judge nor ever will."""
        coming = (self._pauses.keys() - self._set_aside.keys()) | self._challengers.coming()
        kept = self._recipes.kept() | coming
        kept |= {arriving_folder(self._copies, one).name for one in coming}
        try:
            paths = list(self._copies.iterdir()) if self._copies.is_dir() else []
        except OSError as error:  # cleared when it can be read again
            self._say(f"{self._copies}: cannot be cleared ({error.strerror}); check rights")
            return
        for path in paths:
            if OWN.fullmatch(path.name) and path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _note(self, name: str, note: str) -> None:
        self._recipes.note(name, note)
        self._say(note)

    def _say(self, problem: str) -> None:
        """Log a problem once."""
        if problem not in self._said:
            self._said.add(problem)
            logger.warning("update not taken", extra={"reason": problem})


def open_sources(config: StationConfig) -> tuple[BundleSource, ...]:
    """Give the configured places of bundles; a hub that is also an output gets its token."""
    return tuple(_sources(config))


def _sources(config: StationConfig) -> Iterator[BundleSource]:
    for place in config.updates.bundles:
        if place.startswith(("http://", "https://")):
            with with_extra("a hub in updates.bundles"):  # a station without one needs no httpx
                from inspection.station.recipes.hub import HubSource
            token_file = config.hub_token_file(place)
            yield HubSource(place, config.station, config.keys, token_file)
        else:
            yield FolderSource(Path(place), config.keys)
