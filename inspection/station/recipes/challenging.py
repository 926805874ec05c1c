"""Brings the bundles that are to score in the shadow, and lets go of them; they never judge.

A challenger is copied, verified and tested as an update is, and closed again: a process of its own
opens it anew, see `shadow`. It is tested in one thread, as it will score.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event as Flag

from inspection.bundles.bundle import REST_S, read_released
from inspection.core.errors import BundleCorrupt, BundleError, InspectionError
from inspection.station.recipes.current import Tested
from inspection.station.recipes.fetching import Offer, fetch, take_back
from inspection.station.recipes.opening import FATAL, MOST_ATTEMPTS, open_tested
from inspection.station.recipes.recipes import Recipes
from inspection.station.selftest import selftest
from inspection.station.settings import InferenceSettings, StationConfig

PAUSE_S = 60.0  # between two attempts at the same challenger


class Challengers:
    """The bundles in the shadow, as the hub offers them.

    Args:
        config: the station's configuration.
        recipes: where they score.
        copies: folder of the station's own copies.
        say: told what stands against one.
    """

    def __init__(
        self, config: StationConfig, recipes: Recipes, copies: Path, say: Callable[[str], None]
    ) -> None:
        alone = InferenceSettings(mode="throughput", threads=1)
        self._config = config.model_copy(update={"inference": alone})
        self._recipes, self._copies, self._say = recipes, copies, say
        self._due_s: dict[str, float] = {}
        """Bundle id → monotonic second of the next attempt; never for one that may not judge."""

    def look(self, offers: Sequence[Offer], stop: Flag) -> None:
        """Let the offered challengers score, and no others.

        Args:
            offers: of challengers, from every source; all of them answered.
            stop: the station is to end.
        """
        wanted = {one.name: one for one in offers if one.name in self._recipes.in_force()}
        open_now = self._recipes.challengers()
        for name, bundle_id in open_now.items():
            if name not in wanted or wanted[name].bundle_id != bundle_id:
                self._recipes.challenge(name, None)
        offered = {one.bundle_id for one in offers}
        self._due_s = {one: due_s for one, due_s in self._due_s.items() if one in offered}
        for name, offer in wanted.items():
            due_s = self._due_s.get(offer.bundle_id, 0.0)
            if open_now.get(name) != offer.bundle_id and time.monotonic() >= due_s:
                self._due_s[offer.bundle_id] = time.monotonic() + PAUSE_S
                self._take(offer, stop)

    def coming(self) -> frozenset[str]:
        """Give the ids of those that are tried again."""
        return frozenset(self._due_s)

    def _take(self, offer: Offer, stop: Flag) -> None:
        """Copy a bundle, test it, let it score; whatever goes wrong, nothing else changes."""
        bundle_id = offer.bundle_id
        if self._recipes.refused(bundle_id) or stop.is_set():
            return
        try:
            copy = fetch(offer, self._copies, stop)
            self._try(offer.name, bundle_id, copy)
        except InspectionError as error:
            self._say(f"challenger {bundle_id[:12]} does not score yet: {error}")

    def _try(self, name: str, bundle_id: str, copy: Path) -> None:
        if self._recipes.attempts(bundle_id) >= MOST_ATTEMPTS:
            self._recipes.refuse(name, bundle_id, FATAL)
            return
        try:
            card = read_released(copy, self._config.keys).card
            if card.name != name:
                raise BundleError(f"its card says '{card.name}'; wanted '{name}'; list it right")
            self._recipes.begin(bundle_id)
            bundle = open_tested(copy, self._config, gently=True)
        except BundleCorrupt:  # the source may be mended, or the copy
            take_back(copy)
            raise
        found = selftest(self._recipes.examined({name: bundle}), self._config.guards, rest_s=REST_S)
        if found.passed:
            self._recipes.challenge(name, Tested(bundle_id, copy, bundle.card))
        else:
            self._recipes.refuse(name, bundle_id, "; ".join(map(str, found.failed)))
